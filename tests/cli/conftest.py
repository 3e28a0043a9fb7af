"""The command line, called in this process, and finished runs of two steps to call it on."""

import shutil
from pathlib import Path

import pytest
import torch
from made import TINY, Answer, Command

from equipoise.cli import main


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Call the command line in an empty folder of its own."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Answer:
        capsys.readouterr()
        code = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as leave:
            code = leave.code if isinstance(leave.code, int) else int(leave.code is not None)
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return Answer(code, out, err)

    return call


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Finished runs, by recipe. Not to be changed: see `run` and `conditional_run`."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("trained")
    for recipe in ("digits", "conditional-digits"):
        with pytest.raises(SystemExit) as leave:
            main(["train", recipe, "--run", str(folder / recipe), "--set", *TINY])
        assert leave.value.code in (0, None)
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture
def run(trained: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of a finished run of two steps on the digits."""
    return Path(shutil.copytree(trained["digits"], tmp_path / "digits-run"))


@pytest.fixture
def conditional_run(trained: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of a finished run with classes."""
    return Path(shutil.copytree(trained["conditional-digits"], tmp_path / "conditional-run"))
