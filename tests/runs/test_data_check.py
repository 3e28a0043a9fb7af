"""Before a run its files are looked at, and what is wrong with them is told."""

import json

import numpy as np
import pytest
from PIL import Image

import equipoise
from equipoise.data.inspection import inspected
from equipoise.runs import data_check
from equipoise.runs import run as module
from equipoise.runs.data_check import check_before_training
from equipoise.runs.parts import Files, Toy
from equipoise.runs.recipe import parse_setting
from tests.cli.made import TINY

SETTINGS = dict(map(parse_setting, TINY)) | {
    "training.steps": 2,
    "judging.at_end": False,
    "game.network": {"kind": "mlp", "width": 8},
}


@pytest.fixture
def pictures(tmp_path):
    """Twelve noisy images, two of which are the same, and one that is black."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    draw = np.random.default_rng(0)
    images = draw.integers(0, 255, (12, 16, 16), dtype=np.uint8)
    images[3], images[5] = images[4], 0
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:02d}.png")
    return folder


def test_what_is_wrong_is_told_once_and_kept_in_the_run(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "write_report", lambda folder: folder)
    recipe, origin = equipoise.load("images", data=pictures, settings=SETTINGS)
    run = equipoise.Run.create(recipe, origin=origin, folder=tmp_path / "run").train(quiet=True)
    run.train(resume=True, settings={"training.steps": 3}, quiet=True)
    events = [json.loads(line)["message"] for line in (run.folder / "events.jsonl").read_text().splitlines()]
    said = [message for message in events if message.startswith("Data check")]
    assert sum("blank" in message.lower() and "05.png" in message for message in said) == 1
    assert sum("duplicate" in message.lower() for message in said) == 1
    assert f"See what was found: equipoise data check {pictures} --page page.html" in events
    kept = json.loads((run.folder / "data-check.json").read_text())
    assert {finding["kind"] for finding in kept["findings"]} >= {"blank", "duplicate"}


def test_nothing_is_said_of_sound_data_of_data_without_files_or_if_it_is_switched_off(pictures, tmp_path):
    assert check_before_training(Toy(), tmp_path) == []
    assert check_before_training(Files(path=pictures, check=False), tmp_path) == []
    assert not (tmp_path / "data-check.json").exists()
    for name in ("03.png", "05.png"):
        (pictures / name).unlink()
    assert check_before_training(Files(path=pictures), tmp_path) == []


def test_a_range_that_the_recipe_standardises_is_no_fault(tmp_path):
    path = tmp_path / "scan.npy"
    np.save(path, np.random.default_rng(0).uniform(-1000, 3000, (20, 8, 8)).astype(np.float32))
    assert any("range" in line for line in check_before_training(Files(path=path), tmp_path))
    assert check_before_training(Files(path=path, standardise="range"), tmp_path) == []
    assert check_before_training(Files(path=path, range=(-1000, 3000)), tmp_path) == []


def test_of_a_large_set_some_are_opened_and_that_is_said(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(data_check, "MOST", 4)
    lines = check_before_training(Files(path=pictures), tmp_path)
    assert any("4 of 12 examples were opened" in line for line in lines)
    some = inspected(pictures, most=4)
    assert some.remembered
    assert not inspected(pictures, most=5).remembered
    everything = inspected(pictures)
    assert not everything.remembered
    assert not everything.unseen
    # What is known of all is better than a look at some.
    assert inspected(pictures, most=4).by_kind().keys() == everything.by_kind().keys()
    assert not inspected(pictures, most=4).unseen


def test_of_a_large_array_some_rows_are_looked_at(tmp_path):
    path = tmp_path / "images.npz"
    images = np.random.default_rng(0).integers(0, 255, (50, 8, 8), dtype=np.uint8)
    np.savez(path, images=images, labels=np.arange(50) % 5)
    some = inspected(path, most=10)
    assert some.counts == {"rows": 50}
    assert any("10 of 50" in line for line in some.unseen)
