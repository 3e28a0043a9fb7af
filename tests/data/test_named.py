"""Sets by name: fetched once, kept as they are, read offline; and what is said where that cannot be."""

import hashlib
import io
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from equipoise.core.errors import DataError, DiskError
from equipoise.data import open_source
from equipoise.data.hub import Column, Found, Row, Wanted, from_hub
from equipoise.data.named import KNOWN, fetched, is_name, located, sets_folder

IMAGE = Column("image", "images")
DIGITS = Column("classes", "3 classes", ("0", "1", "2"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, and no wish of the machine to stay offline."""
    for variable in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "equipoise" / "sets"


def encoded(number: int, kind: str = "PNG") -> bytes:
    """An image of 6 x 6 pixels, all of them `number`."""
    buffer = io.BytesIO()
    Image.new("L", (6, 6), number).save(buffer, kind)
    return buffer.getvalue()


class Library:
    """Stands for `datasets`: a set of given rows, and how often it was opened."""

    def __init__(self, rows: list[Row], columns: Mapping[str, Column] | None = None):
        self.rows, self.opened = rows, 0
        self.columns = {"image": IMAGE, "label": DIGITS} if columns is None else columns

    def __call__(self, wanted: Wanted) -> Found:
        self.opened += 1

        def rows(part: str, image: str, label: str | None) -> Iterator[Row]:
            for data, number in self.rows[: wanted.limit]:
                yield data, number if label is not None else None

        return Found({"train": len(self.rows), "test": None}, self.columns, rows, commit="c0ffee", license="mit")


def some(num: int = 6) -> list[Row]:
    return [(encoded(20 * number), number % 3) for number in range(num)]


def test_a_set_is_fetched_once_and_read_offline_afterwards(monkeypatch):
    library = Library(some())
    first = fetched(Wanted(name="mnist"), load=library)
    second = fetched(Wanted(name="mnist"), load=library)
    assert (library.opened, first) == (1, second)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setitem(sys.modules, "datasets", None)
    source = open_source(fetched(Wanted(name="mnist")))
    assert (source.name, len(source), source.classes) == ("mnist-train", 6, ("0", "1", "2"))
    order = source.examples(torch.arange(6)).mean(dim=(1, 2, 3)).add(1).mul(127.5).round()
    assert order.tolist() == [0, 60, 20, 80, 40, 100]  # class by class
    assert source.labels(torch.arange(6)).tolist() == [0, 0, 1, 1, 2, 2]


def test_the_bytes_of_the_images_stay_as_they_are():
    rows: list[Row] = [
        (encoded(10 * n, kind), None) for n, kind in enumerate(("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"))
    ]
    folder = fetched(Wanted(name="a/b"), load=Library(rows, {"image": IMAGE}))
    index = json.loads((folder / "shards.json").read_text())
    assert sorted(index["sha256"]) == sorted(hashlib.sha256(data or b"").hexdigest() for data, _ in rows)
    assert [Path(name).suffix for name in sorted(index["names"])] == [".png", ".jpg", ".webp", ".gif", ".bmp", ".tif"]


def test_the_card_says_where_a_set_comes_from():
    rows = [*some(149), (None, 0)]
    folder = fetched(Wanted(name="hub:someone/birds", part="test"), load=Library(rows))
    card = json.loads((folder / "card.json").read_text())
    assert card["set"] == "someone/birds"
    assert card["page"] == "https://huggingface.co/datasets/someone/birds"
    assert (card["commit"], card["license"]) == ("c0ffee", "mit")
    assert card["asked"] == {"name": "someone/birds", "part": "test"}
    assert card["columns"] == {"image": "images", "label": "3 classes"}
    assert (card["image"], card["label"], card["parts"]) == ("image", "label", {"train": 150, "test": None})
    assert card["images"] == 149
    assert card["left_out"] == ["0/000000149.png: there is no image in this row"]
    assert card["classes"] == {"0": 51, "1": 50, "2": 49}
    assert card["fetched"].startswith("20")


def test_many_unreadable_images_are_refused_and_nothing_is_left_behind(cache):
    with pytest.raises(DataError, match=r"someone/birds: 2 of 6 images cannot be read"):
        fetched(Wanted(name="someone/birds"), load=Library([*some(4), (None, 0), (b"<html>", 1)]))
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("trouble", [DataError("it broke off"), KeyboardInterrupt()])
def test_a_download_that_breaks_off_leaves_nothing_behind_and_can_be_repeated(cache, trouble):
    library = Library(some())

    def broken(wanted: Wanted) -> Found:
        def rows(*columns: str | None) -> Iterator[Row]:
            yield from library.rows[:3]
            raise trouble

        return Found({"train": 6}, library.columns, rows)

    with pytest.raises(type(trouble)):
        fetched(Wanted(name="mnist"), load=broken)
    assert list(cache.iterdir()) == []
    assert len(open_source(fetched(Wanted(name="mnist"), load=library))) == 6


def test_what_another_process_fetched_in_the_meantime_is_taken():
    library = Library(some())

    def slow(wanted: Wanted) -> Found:
        def rows(*columns: str | None) -> Iterator[Row]:
            fetched(Wanted(name="mnist"), load=library)
            yield from library.rows

        return Found({"train": 6}, library.columns, rows)

    folder = fetched(Wanted(name="mnist"), load=slow)
    assert json.loads((folder / "card.json").read_text())["commit"] == "c0ffee"


def test_whatever_is_asked_for_has_a_folder_of_its_own(tmp_path):
    library = Library(some())
    asked = [
        Wanted(name="mnist"),
        Wanted(name="fashion-mnist"),
        Wanted(name="mnist", part="test"),
        Wanted(name="mnist", config="other"),
        Wanted(name="mnist", label=""),
        Wanted(name="mnist", revision="v1"),
        Wanted(name="mnist", limit=4),
    ]
    folders = [fetched(wanted, load=library) for wanted in asked]
    assert len(set(folders)) == len(asked)
    assert fetched(Wanted(name="hub:ylecun/mnist"), load=library) == folders[0]
    assert len(open_source(folders[-1])) == 4


def test_a_copy_that_changed_is_read_again(tmp_path):
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "train.parquet").write_bytes(b"one")
    library = Library(some())
    wanted = Wanted(name=f"hub:{tmp_path / 'copy'}")
    first = fetched(wanted, load=library)
    assert fetched(wanted, load=library) == first
    (tmp_path / "copy" / "train.parquet").write_bytes(b"other")
    assert fetched(wanted, load=library) != first
    card = json.loads((first / "card.json").read_text())
    assert (card["set"], card["page"]) == (str(tmp_path / "copy"), None)


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (("cat", "dog"), ("cat", "dog")),
        (("2", "10"), ("2", "10")),
        (("dog", "cat"), ("0 dog", "1 cat")),  # the number that the set gives a class stays
        (("T - shirt / top", "Trouser"), ("T - shirt - top", "Trouser")),
        (("a/b", "a-b"), ("0 a-b", "1 a-b")),
        (("test", "train"), ("0 test", "1 train")),  # such folders would be parts
        ((".a", "b"), ("0 .a", "1 b")),
        (("", "b"), ("0", "1 b")),
    ],
)
def test_classes_keep_their_numbers_and_as_far_as_possible_their_names(names, classes):
    columns = {"image": IMAGE, "kind": Column("classes", "2 classes", names)}
    rows: list[Row] = [(encoded(10), 0), (encoded(200), 1), (encoded(20), 0)]
    source = open_source(fetched(Wanted(name="a/b"), load=Library(rows, columns)))
    assert source.classes == classes
    dark = source.examples(torch.arange(3)).mean(dim=(1, 2, 3)) < 0
    assert source.labels(torch.arange(3)).tolist() == [0 if is_dark else 1 for is_dark in dark]


@pytest.mark.parametrize(
    ("kind", "labels", "classes"),
    [("number", (10, 9, 10), ("9", "10")), ("text", ("owl", "jay", "owl"), ("jay", "owl"))],
)
def test_plain_numbers_and_texts_become_classes_where_they_are_asked_for(kind, labels, classes):
    columns = {"image": IMAGE, "species": Column(kind, kind)}
    rows: list[Row] = [(encoded(50 * n), label) for n, label in enumerate(labels)]
    library = Library(rows, columns)
    assert open_source(fetched(Wanted(name="a/b"), load=library)).classes == ()
    assert open_source(fetched(Wanted(name="a/b", label="species"), load=library)).classes == classes


def test_a_column_of_numbers_called_label_holds_the_classes():
    columns = {"image": IMAGE, "label": Column("number", "int64")}
    assert open_source(fetched(Wanted(name="a/b"), load=Library(some(), columns))).classes == ("0", "1", "2")


@pytest.mark.parametrize(("label", "hidden"), [("", (0, 1, 2)), (None, (-1, -1, -1)), (None, (None, None, None))])
def test_classes_that_are_not_wanted_or_all_hidden_are_left_out(label, hidden):
    rows: list[Row] = [(encoded(50 * n), number) for n, number in enumerate(hidden)]
    assert open_source(fetched(Wanted(name="a/b", label=label), load=Library(rows))).classes == ()


@pytest.mark.parametrize(
    ("wanted", "columns", "message"),
    [
        (
            {},
            {"text": Column("text", "string"), "raw": Column("encoded", "binary")},
            r"no column of images. Its columns: text \(string\), raw \(binary\). .* name it by data.image",
        ),
        ({}, {"left": IMAGE, "right": IMAGE}, "several columns of images: left, right. Choose one by data.image"),
        ({"image": "imag"}, {"image": IMAGE}, r"no column 'imag'. Did you mean 'image'\?"),
        (
            {"image": "text"},
            {"image": IMAGE, "text": Column("text", "string")},
            r"'text' of a/b holds no images. Its columns: image \(images\), text \(string\)",
        ),
        (
            {},
            {"image": IMAGE, "fine": DIGITS, "coarse": DIGITS},
            "columns of classes: fine, coarse. Choose one by data.label",
        ),
        ({"label": "lable"}, {"image": IMAGE, "label": DIGITS}, r"no column 'lable'. Did you mean 'label'\?"),
        (
            {"label": "box"},
            {"image": IMAGE, "box": Column("other", "List")},
            "'box' of a/b holds List: expected classes, whole numbers or texts",
        ),
        ({"part": "tset"}, {"image": IMAGE}, r"a/b has no part 'tset'. Did you mean 'test'\? Valid: test, train"),
    ],
)
def test_a_wrong_part_or_column_is_named_with_what_there_is(wanted, columns, message):
    with pytest.raises(DataError, match=message):
        fetched(Wanted(**{"name": "a/b", **wanted}), load=Library(some(), columns))


def test_a_column_of_encoded_images_is_taken_where_it_is_named():
    library = Library(some(), {"raw": Column("encoded", "binary")})
    assert len(open_source(fetched(Wanted(name="a/b", image="raw"), load=library))) == 6


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ((0, None, 1), r"1 of 3 examples of a/b have no class. .*data.label = \"\""),
        ((0, 7, 1), "class 7, but 3 classes"),
    ],
)
def test_classes_that_do_not_fit_are_refused(labels, message):
    rows: list[Row] = [(encoded(50 * n), label) for n, label in enumerate(labels)]
    with pytest.raises(DataError, match=message):
        fetched(Wanted(name="a/b"), load=Library(rows))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mnits", r"'mnits' is neither a known data set.*Did you mean 'mnist'\?"),
        ("hub:cifar", r"Did you mean 'cifar10'\?"),
        ("a/b/c", "nor OWNER/NAME of the Hugging Face hub"),
        ("hub:./gone", "There is no folder .*gone"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(name, message):
    with pytest.raises(DataError, match=message):
        fetched(Wanted(name=name), load=Library(some()))


def test_a_copy_has_no_revisions(tmp_path):
    with pytest.raises(DataError, match="a copy has no revisions"):
        fetched(Wanted(name=str(tmp_path), revision="v1"), load=Library(some()))


def test_known_names_are_names_on_the_hub_and_paths_are_no_names(tmp_path, monkeypatch):
    assert all(known.id.count("/") == 1 for known in KNOWN.values())
    assert is_name("cifar10")
    assert is_name("hub:someone/birds")
    assert not is_name("photos")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "someone" / "birds").mkdir(parents=True)
    assert located("hub:someone/birds") == str(tmp_path / "someone" / "birds")
    assert located("hub:someone/fish") == "someone/fish"


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"])
def test_offline_by_the_environment_is_said_with_what_to_do(monkeypatch, variable):
    monkeypatch.setenv(variable, "1")
    monkeypatch.setitem(sys.modules, "datasets", None)
    expected = rf"ylecun/mnist has not been fetched yet, and {variable}=1 forbids.*Unset {variable}.*--data hub:./mnist"
    with pytest.raises(DataError, match=expected):
        fetched(Wanted(name="mnist"))


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"pip install 'equipoise\[hub\]'"):
        from_hub(Wanted(name="ylecun/mnist"))


def test_a_cache_that_cannot_be_written_to_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(DiskError, match=r"cannot be written to .*XDG_CACHE_HOME"):
        fetched(Wanted(name="mnist"), load=Library(some()))


def test_the_cache_is_the_users_and_relative_paths_are_ignored(monkeypatch, cache):
    assert sets_folder() == cache
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    assert sets_folder() == Path.home() / ".cache" / "equipoise" / "sets"


def test_fetching_is_told(capsys):
    fetched(Wanted(name="mnist"), load=Library(some()))
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("Fetching ylecun/mnist (train), this once, into ")
    assert told[1:] == ["6 images fetched", "6 images packed"]
    fetched(Wanted(name="mnist"), load=Library(some()))
    assert capsys.readouterr().err == ""
    steps = []
    fetched(Wanted(name="mnist", part="test"), load=Library(some()), progress=lambda *step: steps.append(step))
    assert steps == [*(("images fetched", n, 0) for n in range(1, 7)), ("images packed", 6, 6)]


@pytest.mark.parametrize(
    ("name", "meant"), [("mnist", "mnist"), ("fasion-mnist", "fashion-mnist"), ("cifar-10", "cifar10")]
)
def test_a_missing_path_that_looks_like_a_name_is_answered_with_it(tmp_path, name, meant):
    with pytest.raises(DataError, match=f"does not exist. The set '{meant}' is fetched by its name: --data {meant}"):
        open_source(tmp_path / name)


def test_other_missing_paths_are_not_taken_for_names(tmp_path):
    with pytest.raises(DataError, match=r"photos does not exist. Expected a folder"):
        open_source(tmp_path / "photos")


def test_pixels_are_those_of_the_set(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 5, 3), dtype=np.uint8)
    rows: list[Row] = []
    for image in pixels:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        rows.append((buffer.getvalue(), None))
    source = open_source(fetched(Wanted(name="a/b"), load=Library(rows, {"img": IMAGE})))
    expected = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1
    assert torch.allclose(source.examples(torch.arange(4)), expected)
