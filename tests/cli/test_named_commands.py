"""Commands on a set by its name, and `equipoise data preview`."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from made import TINY, Command, images, tree
from PIL import Image

from equipoise.data.hub import Column, Found, Row, Wanted
from equipoise.data.named import fetched


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """A cache of its own with a set called mnist in it, and no network."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "100")
    for part in ("train", "test"):
        fetched(Wanted(name="mnist", part=part), load=library)


def library(wanted: Wanted) -> Found:
    """Noise in two classes; one image of the test part is blank."""

    def rows(part: str, image: str, label: str | None) -> Iterator[Row]:
        draw = np.random.default_rng(len(part))
        for number in range(60 if part == "train" else 30):
            buffer = io.BytesIO()
            pixels = draw.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels * (part == "train" or number != 7)).save(buffer, "PNG")
            yield buffer.getvalue(), number % 2

    columns = {"image": Column("image", "images"), "label": Column("classes", "2 classes", ("a", "b"))}
    return Found({"train": 60, "test": 30}, columns, rows)


def test_a_set_is_trained_on_by_its_name(command: Command, tmp_path: Path):
    settings = [*TINY, "data.held_out=10"]
    answer = command("train", "--data", "mnist", "--run", "run", "--set", *settings)
    assert answer.code == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["data"]["name"] == "mnist-train"
    assert command("resume", "run", "--set", "training.steps=3").code == 0


def test_check_looks_at_a_set_by_its_name_and_speaks_of_it_by_that(command: Command):
    answer = command("data", "check", "mnist")
    assert answer.code == 0
    assert "mnist: 60 images in 2 classes." in answer.out
    assert "equipoise train --data mnist" in answer.out
    answer = command("data", "check", "mnist", "--part", "test", "--page", "page.html")
    assert answer.code == 10
    assert "mnist: 30 images in 2 classes." in answer.out
    assert "Blank" in answer.out
    assert Path("page.html").is_file()


def test_a_set_can_be_cleaned_and_converted_by_its_name(command: Command, tmp_path: Path):
    assert command("data", "clean", "mnist", "out", "--part", "test").code == 0
    assert len(list((tmp_path / "out").rglob("*.png"))) == 29
    answer = command("data", "convert", "mnist", "shards", "--per-shard", 50, "--json")
    assert json.loads(answer.out)["images"] == 60


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data", "check", "minst"], "The set 'mnist' is fetched by its name: --data mnist"),
        (["data", "check", "cifar10"], "HF_HUB_OFFLINE=1 forbids to ask the hub"),
        (["data", "check", "hub:mnits"], "Did you mean 'mnist'?"),
        (["train", "--data", "minst"], "The set 'mnist' is fetched by its name: --data mnist"),
        (["train", "--data", "hub:someone/birds"], "--data hub:./birds"),
        (["data", "preview", "minst", "out.png", "--set", "game.diffaugment=true"], "The set 'mnist' is fetched"),
    ],
)
def test_names_that_lead_nowhere_leave_65_with_what_to_do(
    command: Command, tmp_path: Path, arguments: list[str], message: str
):
    answer = command(*arguments)
    assert answer.code == 65
    assert message in answer.err
    assert tree(tmp_path) == {}


def test_a_folder_of_that_name_wins(command: Command, tmp_path: Path):
    images(tmp_path / "mnist", 5)
    assert "mnist: 5 images." in command("data", "check", "mnist").out


def test_preview_draws_a_recipe_file_and_settings(command: Command, tmp_path: Path):
    (tmp_path / "mine.toml").write_text('base = "images"\n[data.augmentation]\nrotation = 20\n')
    arguments = ["--recipe", "mine.toml", "--num", 3, "--variants", 2, "--set", "game.diffaugment=true"]
    answer = command("data", "preview", "mnist", "look.png", *arguments)
    assert answer.code == 0
    assert "Rows 1 to 3: an image, then as data.augmentation (rotation = 20, fill = reflect) deals it." in answer.out
    assert "Rows 4 to 6: an image, then as the critic sees it by game.diffaugment" in answer.out
    assert answer.out.splitlines()[-1] == "look.png"
    with Image.open(tmp_path / "look.png") as picture:
        assert picture.height > picture.width
        assert picture.info == {}
    assert not (tmp_path / "runs").exists()


def test_preview_of_the_digits_and_of_a_folder(command: Command, tmp_path: Path):
    images(tmp_path / "photos", 20)
    for name in ("digits", "photos"):
        answer = command("data", "preview", name, "look.png", "--set", "data.augmentation.rotation=10")
        assert (answer.code, answer.err) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digits", "look.png"], "This recipe augments nothing"),
        (["digits", "look.jpg"], "expected a name ending in .png"),
        (["digits", "look.png", "--set", "data.augmentation.rotaton=10"], "Did you mean 'rotation'?"),
        (["digits", "look.png", "--set", "game.diffaugment=true", "--num", "0"], "expected at least 1 of both"),
        (["digits", "look.png", "--recipe", "imges"], "Did you mean 'images'?"),
    ],
)
def test_previews_that_make_no_sense_are_refused(command: Command, tmp_path: Path, arguments: list[str], message: str):
    answer = command("data", "preview", *arguments)
    assert answer.code == 2
    assert message in answer.err
    assert tree(tmp_path) == {}
