"""Data by name in recipes: what a name means, what stays of the data before, and how a run finds it again."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from equipoise.core.errors import DataError, RecipeError
from equipoise.data.classical import Changes
from equipoise.data.hub import Column, Found, Row, Wanted
from equipoise.data.named import fetched
from equipoise.recipes import load
from equipoise.runs.parts import Digits, Files, Hub
from equipoise.runs.recipe import from_dict, to_dict


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder to stand in, a cache of its own, and no network by any means."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)


def library(wanted: Wanted) -> Found:
    """Six images of 9 x 7 pixels in two classes."""

    def rows(part: str, image: str, label: str | None) -> Iterator[Row]:
        for number in range(6):
            buffer = io.BytesIO()
            Image.new("RGB", (9, 7), (40 * number, 0, 0)).save(buffer, "PNG")
            yield buffer.getvalue(), number % 2

    columns = {"img": Column("image", "images"), "label": Column("classes", "2 classes", ("a", "b"))}
    return Found({"train": 6, "test": 6}, columns, rows)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("mnist", Hub(name="mnist")),
        ("hub:someone/birds", Hub(name="someone/birds")),
        (Path("hub:someone/birds"), Hub(name="someone/birds")),
        ("digits", Digits()),
    ],
)
def test_a_name_stands_for_its_data(name, data):
    recipe, _ = load(data=name)
    assert recipe.data == data
    assert recipe.name == "images"


def test_a_path_that_exists_wins_over_a_name(tmp_path):
    for name in ("mnist", "digits", "someone/birds"):
        (tmp_path / name).mkdir(parents=True)
    assert load(data="mnist")[0].data == Files(path=tmp_path / "mnist")
    assert load(data="digits")[0].data == Files(path=tmp_path / "digits")
    assert load(data="hub:someone/birds")[0].data == Hub(name=str(tmp_path / "someone" / "birds"))


def test_what_was_said_of_reading_stays_when_the_data_is_exchanged(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        '[data]\nkind = "files"\npath = "x"\nsize = 16\nchannels = 1\npart = "test"\nfit = "pad"\nfilter = "box"\n'
        "held_out = 7\nper_class = 3\n[data.augmentation]\nrotation = 5\n"
    )
    shared = {"size": 16, "channels": 1, "fit": "pad", "filter": "box", "held_out": 7, "per_class": 3}
    shared["augmentation"] = Changes(rotation=5)
    assert load(file, data="mnist")[0].data == Hub(name="mnist", part="test", **shared)
    assert load(file, data="photos")[0].data == Files(path=tmp_path / "photos", part="test", **shared)
    assert load(file, data="digits")[0].data == Digits(held_out=7, per_class=3, augmentation=Changes(rotation=5))


def test_a_split_of_a_set_is_no_folder_of_files(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('[data]\nkind = "hub"\nname = "mnist"\nsize = 16\n')
    assert load(file)[0].data == Hub(name="mnist", size=16)
    assert load(file, data="photos")[0].data == Files(path=tmp_path / "photos", size=16)
    assert load(file, data="cifar10")[0].data == Hub(name="cifar10", size=16)


def test_a_recipe_with_a_name_is_written_and_read_back():
    recipe, _ = load(data="mnist", settings={"data.limit": 100, "data.label": "", "data.revision": "v1"})
    assert to_dict(recipe)["data"]["kind"] == "hub"
    assert from_dict(to_dict(recipe)) == recipe


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data.kind": "hub"}, "data.name: a value is needed"),
        ({"data.kind": "hub", "data.name": "mnist", "data.split": "test"}, "data.split: unknown key"),
        ({"data.kind": "hub", "data.name": "mnist", "data.limit": 1}, "data.limit"),
    ],
)
def test_settings_of_a_name_are_checked(settings, message):
    with pytest.raises(RecipeError, match=message):
        load(settings=settings)


def test_a_set_in_the_cache_is_opened_as_files_are():
    fetched(Wanted(name="mnist", part="test"), load=library)
    source = Hub(name="mnist", part="test", size=4, channels=1).open()
    assert (source.name, source.shape, source.classes, len(source)) == ("mnist-test", (1, 4, 4), ("a", "b"), 6)
    assert Hub(name="mnist", part="test").open().shape == (3, 7, 7)


def test_a_set_that_is_not_in_the_cache_is_fetched():
    with pytest.raises(DataError, match=r"ylecun/mnist has not been fetched yet, and HF_HUB_OFFLINE=1"):
        Hub(name="mnist").open()
    with pytest.raises(DataError, match=r"Did you mean 'mnist'\?"):
        Hub(name="mnits").open()
