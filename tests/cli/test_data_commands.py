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


def test_after_an_array_was_cleaned_the_command_it_names_trains(command: Command, tmp_path: Path):
    values = np.random.default_rng(0).integers(0, 256, (30, 8, 8)).astype(np.float32)
    np.save(tmp_path / "set.npy", values)
    answer = command("data", "clean", "set.npy", "out")
    assert answer.code == 0
    (line,) = (line for line in answer.out.splitlines() if line.startswith("Next"))
    settings = [*TINY, "data.size=8", "data.held_out=4", "training.steps=1"]
    assert command(*line.split()[2:], "--run", tmp_path / "run", "--set", *settings).code == 0


def test_clean_says_what_it_did_not_mend_in_place_of_a_command_that_would_fail(command: Command, tmp_path: Path):
    draw = np.random.default_rng(0)
    np.savez(tmp_path / "set.npz", images=draw.integers(0, 256, (30, 8, 8), np.uint8), labels=np.zeros(5, int))
    answer = command("data", "clean", "set.npz", "out")
    assert answer.code == 20
    assert "Refused by training: 1 left as they are" in answer.out
    assert "Not mended   Refused by training: images: 5 labels for 30 examples. Expected one each" in answer.out
    assert "Next" not in answer.out
    answer = command("data", "clean", "set.npz", "again", "--json")
    content = json.loads(answer.out)
    assert (answer.code, content["trainable"], len(content["unmended"])) == (20, None, 1)


@pytest.mark.parametrize("columns", ["40", "80"])
def test_what_is_said_of_the_whole_set_stands_below_the_table(command: Command, tmp_path: Path, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    draw = np.random.default_rng(0)
    np.savez(tmp_path / "set.npz", images=draw.integers(0, 256, (30, 8, 8), np.uint8), labels=np.zeros(5, int))
    answer = command("data", "check", "set.npz")
    assert answer.code == 20
    words = " ".join(answer.out.split())
    assert "images: 5 labels for 30 examples. Expected one each" in words
    assert max(map(len, answer.out.split("See them")[0].splitlines())) <= int(columns)
    if columns == "80":
        assert ["critical", "Refused", "by", "training", "1", "stays", "the", "whole", "set"] in [
            line.split() for line in answer.out.splitlines()
        ]


def test_long_names_leave_the_other_columns_their_room(command: Command, photos: Path):
    name = "a" * 60 + "-" + "b" * 60 + ".jpg"
    (photos / "discs" / name).touch()
    lines = command("data", "check", photos).out.splitlines()
    (first,) = (number for number, line in enumerate(lines) if line.startswith("critical"))
    assert lines[first].split()[:6] == ["critical", "Empty", "file", "1", "left", "out"]
    told = lines[first].split()[-1] + "".join(line.strip() for line in lines[first + 1 : lines.index("", first)])
    assert told == f"discs/{name}"


@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_values_of_an_unknown_range_are_told_with_the_remedy(command: Command, tmp_path: Path, kind: type):
    np.save(tmp_path / "set.npy", np.random.default_rng(0).integers(0, 9000, (30, 8, 8)).astype(kind))
    words = " ".join(command("data", "check", "set.npy").out.split())
    assert "data.range = [low, high]" in words
    assert 'data.standardise = "range"' in words


def test_an_array_that_cannot_be_read_is_said_to_be_so(command: Command, tmp_path: Path):
    np.save(tmp_path / "set.npy", np.array([{}, {}]), allow_pickle=True)
    answer = command("data", "check", "set.npy")
    assert answer.code == 20
    assert answer.out.startswith("set.npy: nothing could be read.")
    assert "It is not a readable array" in answer.out
    assert "Clean " not in answer.out
    assert command("data", "clean", "set.npy", "out").code == 65


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
