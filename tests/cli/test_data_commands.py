"""`equipoise data check`, `clean` and `convert`: what they print, write and leave with."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from made import TINY, Command, tree

from benchmarks.defects import CLASSES, encoded, picture, plant_images


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """A cache of its own, and the same width of the terminal everywhere."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Good images in two classes."""
    draw = np.random.default_rng(0)
    for number in range(20):
        folder = tmp_path / "photos" / CLASSES[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.jpg").write_bytes(encoded(picture(draw, CLASSES[number % 2])))
    return tmp_path / "photos"


def test_check_says_that_nothing_is_wrong_and_leaves_0(command: Command, photos: Path):
    answer = command("data", "check", photos)
    assert answer.code == 0
    assert "20 images in 2 classes." in answer.out
    assert "Nothing was found to be wrong." in answer.out
    assert f"equipoise train --data {photos}" in answer.out
    assert answer.err == ""


def test_check_lists_what_is_wrong_and_leaves_20(command: Command, tmp_path: Path):
    plant_images(tmp_path / "planted", 0, num_good=60)
    answer = command("data", "check", tmp_path / "planted")
    assert answer.code == 20
    lines = [line.split() for line in answer.out.splitlines()]
    assert ["critical", "Decompression", "bomb", "3", "left", "out"] in [line[:6] for line in lines]
    assert ["warning", "Near", "duplicate", "3", "left", "out"] in [line[:6] for line in lines]
    assert f"equipoise data clean {tmp_path / 'planted'} NEW_FOLDER" in answer.out
    assert "equipoise train" not in answer.out


@pytest.mark.parametrize(("defect", "code"), [("orientation", 0), ("copy", 10), ("empty", 20)])
def test_the_exit_code_goes_by_the_worst_finding(command: Command, photos: Path, defect: str, code: int):
    if defect == "orientation":
        from PIL import Image

        exif = Image.Exif()
        exif[0x0112] = 6
        picture(np.random.default_rng(5), "tiles").save(photos / "discs" / "turned.jpg", exif=exif)
    elif defect == "copy":
        shutil.copyfile(photos / "discs" / "1.jpg", photos / "discs" / "again.jpg")
    else:
        (photos / "discs" / "empty.jpg").touch()
    assert command("data", "check", photos).code == code


def test_a_second_check_is_remembered_and_says_so(command: Command, photos: Path):
    assert "Looked at before" not in command("data", "check", photos).out
    assert "Looked at before: nothing has changed since" in command("data", "check", photos).out
    assert "Looked at before" not in command("data", "check", photos, "--fresh").out


def test_check_prints_json_and_writes_a_page(command: Command, photos: Path, tmp_path: Path):
    (photos / "discs" / "empty.jpg").touch()
    answer = command("data", "check", photos, "--json", "--page", tmp_path / "page.html")
    content = json.loads(answer.out)
    assert (content["exit_code"], answer.code) == (20, 20)
    (finding,) = content["findings"]
    assert finding["paths"] == ["discs/empty.jpg"]
    assert finding["action"] == "drop"
    assert "discs/empty.jpg" in (tmp_path / "page.html").read_text("utf-8")


def test_a_part_can_be_checked_alone(command: Command, photos: Path):
    (photos / "discs" / "empty.jpg").touch()
    assert command("data", "check", photos, "--part", "clouds").code == 0
    assert command("data", "check", photos, "--part", "discs").code == 20


def test_clean_writes_a_copy_and_says_where_the_decisions_are(command: Command, photos: Path, tmp_path: Path):
    (photos / "discs" / "empty.jpg").touch()
    before = tree(photos)
    answer = command("data", "clean", photos, tmp_path / "out")
    assert answer.code == 0
    assert "Empty file: 1 left out" in answer.out
    assert "20 of 21 examples are in" in answer.out
    assert tree(photos) == before
    assert command("data", "check", tmp_path / "out").code == 0
    assert str(tmp_path / "out" / "cleaning.jsonl") in answer.out


def test_clean_prints_json_and_keeps_what_it_is_told_to(command: Command, photos: Path, tmp_path: Path):
    shutil.copyfile(photos / "discs" / "1.jpg", photos / "discs" / "again.jpg")
    answer = command("data", "clean", photos, tmp_path / "out", "--keep", "duplicate", "blank", "--json")
    content = json.loads(answer.out)
    assert (content["written"], content["dropped"]) == (21, 0)
    assert content["decisions"] == [{"kind": "duplicate", "action": "keep", "count": 1}]


def test_convert_makes_shards_to_train_on(command: Command, photos: Path, tmp_path: Path):
    answer = command("data", "convert", photos, tmp_path / "shards", "--per-shard", 8)
    assert answer.code == 0
    assert "20 images in 3 shards in" in answer.out
    settings = [*TINY, "data.size=8", "data.held_out=4", "training.steps=1"]
    assert command("train", "--data", tmp_path / "shards", "--run", tmp_path / "run", "--set", *settings).code == 0


def test_convert_takes_parts_side_by_side(command: Command, photos: Path, tmp_path: Path):
    (tmp_path / "both").mkdir()
    shutil.copytree(photos, tmp_path / "both" / "train")
    shutil.copytree(photos / "discs", tmp_path / "both" / "test" / "discs")
    answer = command("data", "convert", tmp_path / "both", tmp_path / "shards", "--json")
    assert json.loads(answer.out)["shards"] == ["test-000000.tar", "train-000000.tar"]
    assert json.loads(answer.out)["images"] == 30


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["check", "gone"], 65, "gone does not exist"),
        (["check", "photos", "--part", "disks"], 65, "Did you mean 'discs'"),
        (["clean", "photos", "photos/out"], 65, "never written to"),
        (["clean", "photos", "out", "--keep", "blanks"], 2, "Did you mean 'blank'"),
        (["convert", "photos", "photos"], 65, "never written to"),
        (["convert", "set.npz", "out"], 65, "a single file already"),
        (["convert", "photos", "out", "--per-shard", "0"], 65, "at least 1 image"),
    ],
)
def test_refusals_say_what_to_do_and_leave_nothing_behind(
    command: Command, photos: Path, tmp_path: Path, arguments: list[str], code: int, message: str
):
    np.savez(tmp_path / "set.npz", images=np.zeros((3, 4, 4), np.uint8))
    before = tree(tmp_path)
    answer = command("data", *arguments)
    assert answer.code == code
    assert message in answer.err
    assert tree(tmp_path) == before


def test_names_that_are_no_text_can_be_printed(command: Command, photos: Path, tmp_path: Path):
    (photos / "discs" / "\udcff.jpg").touch()
    answer = command("data", "check", photos, "--page", tmp_path / "page.html")
    assert answer.code == 20
    assert "\\udcff.jpg" in answer.out
    assert command("data", "clean", photos, tmp_path / "out").code == 0
