"""Style transfer from the command line: trained, applied with a style and a strength, and judged."""

import json
from pathlib import Path

import numpy as np
import pytest
from made import Command
from PIL import Image

from equipoise.runs import restoring, styled

SMALL = ("training.steps=2", "training.batch=2", "data.crop=32", "watching.tensorboard=false", "judging.at_end=false")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Photos and paintings, and networks that are fitted to them in two steps."""
    fit = restoring.fit_small_vgg
    monkeypatch.setattr(restoring, "fit_small_vgg", lambda source, **how: fit(source, num_steps=2, **how))
    monkeypatch.setattr(styled, "JUDGE_STEPS", 2)
    draw = np.random.default_rng(0)
    for part, num in (("content", 12), ("style", 2)):
        (tmp_path / "data" / part).mkdir(parents=True)
        for number in range(num):
            pixels = draw.integers(0, 256, (40, 48, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / part / f"{number}.png")
    return tmp_path / "data"


def test_any_style_is_chosen_at_use(command: Command, data: Path, tmp_path: Path):
    assert command("train", "adain", "--data", "data", "--run", "any", "--set", *SMALL).code == 0
    photo, painting = data / "content" / "3.png", data / "style" / "1.png"
    answer = command("apply", "any", photo, "out.png", "--style", painting, "--strength", 0.7)
    assert answer.code == 0
    assert "1 written" in answer.out
    assert Image.open(tmp_path / "out.png").size == (48, 40)
    for wrong, words in (((), "--style FILE"), (("--style", painting, "--strength", 7), "from 0 (the picture) to 1")):
        refused = command("apply", "any", photo, "x.png", *wrong)
        assert refused.code == 2
        assert words in " ".join(refused.err.split())
    assert command("apply", "any", photo, "x.png", "--style", "nowhere.png").code == 65
    scores = json.loads(command("evaluate", "any", "--json").out)
    assert set(scores["values"]) == {"content", "style"} == set(scores["given"])


def test_one_style_is_what_was_learnt(command: Command, data: Path, tmp_path: Path):
    one = (*SMALL, "game.network.width=4", "data.style_part=style/0.png")
    assert command("train", "style", "--data", "data", "--run", "one", "--set", *one).code == 0
    assert command("apply", "one", data / "content", "out").code == 0
    assert len(list((tmp_path / "out").iterdir())) == 12
    refused = command("apply", "one", data / "content", "other", "--style", data / "style" / "1.png")
    assert refused.code == 2
    assert "lets nobody choose a style" in " ".join(refused.err.split())
    several = command("train", "style", "--data", "data", "--run", "two", "--set", *SMALL)
    assert several.code == 65
    assert "learns one style, and 2 are given" in " ".join(several.err.split())
    assert not (tmp_path / "two").exists()
