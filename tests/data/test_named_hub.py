"""Sets of the hub by the real library, from copies on this disk and from a small hub on the loopback."""

import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from loopback import COMMIT, hub
from PIL import Image

from equipoise.core.errors import DataError
from equipoise.data import open_source
from equipoise.data.hub import Wanted, from_hub
from equipoise.data.named import fetched

pytest.importorskip("datasets")

CLASSES = ("owl", "jay")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for variable in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)


def encoded(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (6, 6), number).save(buffer, "PNG")
    return buffer.getvalue()


def write_parquet(file: Path, num: int, *, path: str | None = None) -> None:
    """Images of one brightness each with alternating classes, as the hub holds them."""
    import datasets

    features = {
        "image": datasets.Image(),
        "label": datasets.ClassLabel(names=list(CLASSES)),
        "raw": datasets.Value("binary"),
        "text": datasets.Value("string"),
    }
    images = [{"bytes": None if path else encoded(20 * n), "path": path} for n in range(num)]
    rows = {
        "image": images,
        "label": [n % 2 for n in range(num)],
        "raw": [encoded(20 * n) for n in range(num)],
        "text": [f"picture {n}" for n in range(num)],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_dict(rows, features=datasets.Features(features)).to_parquet(file)


@pytest.fixture(scope="module")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of a set with two parts."""
    root = tmp_path_factory.mktemp("hub") / "birds"
    write_parquet(root / "data" / "train-00000-of-00001.parquet", 8)
    write_parquet(root / "data" / "test-00000-of-00001.parquet", 4)
    (root / "README.md").write_text("---\nlicense: [mit, cc-by-4.0]\n---\n# Birds\n")
    return root


def test_a_copy_in_parquet_is_read_byte_for_byte(parquet):
    folder = fetched(Wanted(name=str(parquet)))
    source = open_source(folder)
    assert (source.name, len(source), source.classes) == ("birds-train", 8, ("0 owl", "1 jay"))
    brightness = source.examples(torch.arange(8)).mean(dim=(1, 2, 3)).add(1).mul(127.5).round()
    assert brightness.tolist() == [0, 40, 80, 120, 20, 60, 100, 140]
    assert source.labels(torch.arange(8)).tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    index = json.loads((folder / "shards.json").read_text())
    assert set(index["sha256"]) == {hashlib.sha256(encoded(20 * n)).hexdigest() for n in range(8)}
    card = json.loads((folder / "card.json").read_text())
    assert (card["license"], card["commit"]) == ("mit, cc-by-4.0", None)
    assert list(card["parts"]) == ["train", "test"] or list(card["parts"]) == ["test", "train"]
    assert card["columns"] == {"image": "images", "label": "2 classes", "raw": "binary", "text": "string"}


def test_part_limit_and_columns_can_be_chosen(parquet):
    source = open_source(fetched(Wanted(name=str(parquet), part="test", image="raw", label="text", limit=3)))
    assert (len(source), source.classes) == (3, ("picture 0", "picture 1", "picture 2"))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"part": "val"}, "has no part 'val'. Valid: test, train"),
        (
            {"image": "text"},
            r"holds no images. Its columns: image \(images\), label \(2 classes\), raw \(binary\), text",
        ),
        ({"config": "large"}, "holds no set 'large'. Choose one with data.config. Valid: default"),
    ],
)
def test_what_is_not_there_is_named(parquet, asked, message):
    with pytest.raises(DataError, match=message):
        fetched(Wanted(name=str(parquet), **asked))


def test_a_set_without_images_is_refused_with_its_columns(tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "train.csv").write_text("text,stars\ngood,5\nbad,1\n")
    with pytest.raises(DataError, match=r"no column of images. Its columns: text \(str\), stars \(int\)"):
        fetched(Wanted(name=str(tmp_path / "texts")))


def test_one_of_several_configurations_has_to_be_chosen(tmp_path):
    for name in ("small", "large"):
        write_parquet(tmp_path / "birds" / name / "train.parquet", 3 if name == "small" else 5)
    configs = "".join(f"- config_name: {name}\n  data_files: {name}/*.parquet\n" for name in ("small", "large"))
    (tmp_path / "birds" / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    with pytest.raises(DataError, match=r"holds several sets. Choose one with data.config. Valid: large, small"):
        fetched(Wanted(name=str(tmp_path / "birds")))
    assert len(open_source(fetched(Wanted(name=str(tmp_path / "birds"), config="small")))) == 3


def test_code_that_comes_with_a_set_is_never_run(tmp_path):
    (tmp_path / "birds").mkdir()
    (tmp_path / "birds" / "birds.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(DataError, match=r"program of its own \(birds.py\), and code of a data set is never run"):
        fetched(Wanted(name=str(tmp_path / "birds")))
    assert not (tmp_path / "ran").exists()


def test_a_folder_without_data_is_refused(tmp_path):
    (tmp_path / "birds").mkdir()
    with pytest.raises(DataError, match="holds no data files that `datasets` reads"):
        fetched(Wanted(name=str(tmp_path / "birds")))


def write_images(folder: Path) -> Path:
    """Four images in folders of two classes."""
    for number, name in enumerate(("jay", "owl", "owl", "jay")):
        (folder / "train" / name).mkdir(parents=True, exist_ok=True)
        (folder / "train" / name / f"{number}.png").write_bytes(encoded(20 * number))
    return folder


def test_a_copy_of_plain_images_is_read(tmp_path):
    write_images(tmp_path / "birds")
    source = open_source(fetched(Wanted(name=str(tmp_path / "birds"))))
    assert (len(source), source.classes) == (4, ("jay", "owl"))


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_rows_that_name_files_of_this_machine_are_refused(tmp_path, scheme):
    (tmp_path / "secret.png").write_bytes(encoded(7))
    write_parquet(tmp_path / "birds" / "train.parquet", 3, path=f"{scheme}{tmp_path / 'secret.png'}")
    with pytest.raises(DataError, match="names an image outside of itself"):
        fetched(Wanted(name=str(tmp_path / "birds")))


def test_no_network_is_said_at_once_and_not_tried_again(monkeypatch):
    from huggingface_hub import constants

    def never(seconds: float) -> None:
        raise AssertionError("it waited to try again")

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setattr("time.sleep", never)
    expected = (
        r"someone/birds could not be fetched from http://127.0.0.1:9 \(\w+: .+\). Is there a network.*"
        r"`hf download someone/birds --repo-type dataset --local-dir birds`.*--data hub:./birds"
    )
    with pytest.raises(DataError, match=expected):
        from_hub(Wanted(name="someone/birds"))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"name": "someone/brids"}, "no data set someone/brids on the Hugging Face hub, or it is private"),
        ({"name": "someone/birds", "revision": "v9"}, "someone/birds has no revision 'v9'"),
    ],
)
def test_what_the_hub_does_not_have_is_said(parquet, monkeypatch, asked, message):
    from huggingface_hub import constants

    with hub(birds=parquet) as address:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        with pytest.raises(DataError, match=message):
            from_hub(Wanted(**asked))


def test_sets_are_fetched_from_a_hub_by_their_commit_and_nothing_is_imported_before(parquet, tmp_path):
    code = """
import sys
from equipoise.data.named import Wanted, fetched
from equipoise.recipes import load
recipe, _ = load(data="hub:someone/birds", settings={"data.revision": "v1", "data.label": ""})
assert not {"datasets", "huggingface_hub"} & sys.modules.keys()
print(recipe.data.files[0])
print(fetched(Wanted(name="someone/photos")))
try:
    fetched(Wanted(name="someone/gated"))
except ValueError as error:
    print(error)
"""
    with hub(birds=parquet, photos=write_images(tmp_path / "photos")) as address:
        home = {"HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": address, "XDG_CACHE_HOME": str(tmp_path / "cache")}
        done = subprocess.run([sys.executable, "-c", code], env=os.environ | home, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    folder, photos, gated = done.stdout.splitlines()
    assert gated.startswith("someone/gated is given only to those who agreed to its terms. Do so on https://")
    card = json.loads((Path(folder) / "card.json").read_text())
    assert (card["set"], card["commit"], card["license"]) == ("someone/birds", COMMIT, "cc0-1.0")
    assert card["asked"] == {"name": "someone/birds", "part": "train", "revision": "v1", "label": ""}
    source = open_source(folder)
    assert (source.name, len(source), source.classes) == ("birds-train", 8, ())
    assert open_source(photos).classes == ("jay", "owl")
    assert not list((tmp_path / "hf").rglob("*.parquet"))  # nothing is kept twice
