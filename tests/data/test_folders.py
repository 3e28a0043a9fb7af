"""Images from folders and zips: layouts, parts, labels, damage, limits, and disk against memory."""

import io
import json
import os
import stat
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from equipoise.core.errors import DataError
from equipoise.data import ArraySource, Loader, decode, folder, split
from equipoise.data.files import check_members, natural_order, zip_files
from equipoise.data.folders import FileSource


def png(value: int = 0, *, side: int = 4, width: int | None = None, mode: str = "L") -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (width or side, side), value).convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def write_folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    root.mkdir(exist_ok=True)
    return root


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


@pytest.fixture(params=["folder", "zip"])
def write(request, tmp_path):
    """Puts the same files into a folder or into a zip."""
    if request.param == "folder":
        return lambda files: write_folder(tmp_path / "set", files)
    return lambda files: write_zip(tmp_path / "set.zip", files)


def first_bytes(source) -> list[int]:
    """The grey value of each image: which one is where."""
    x = source.examples(torch.arange(len(source)))
    return ((x[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()


def class_names(source) -> list[str]:
    return [source.classes[number] for number in source.labels(torch.arange(len(source))).tolist()]


# Layouts


def test_a_flat_folder_is_unlabelled_and_in_natural_order(write):
    source = folder(write({"10.png": png(10), "9.png": png(9), "1.png": png(1)}))
    assert isinstance(source, ArraySource)
    assert source.values.dtype == torch.uint8
    assert first_bytes(source) == [1, 9, 10]
    assert source.classes == ()
    assert source.shape == (1, 4, 4)


def test_sub_folders_are_classes_in_natural_order(write):
    source = folder(write({"10/a.png": png(1), "2/b.png": png(2), "2/deep/c.png": png(3)}))
    assert source.classes == ("2", "10")
    assert first_bytes(source) == [2, 3, 1]
    assert class_names(source) == ["2", "2", "10"]


def test_one_common_folder_is_entered(write):
    source = folder(write({"top/more/a/1.png": png(1), "top/more/b/2.png": png(2)}))
    assert source.classes == ("a", "b")


def test_a_lone_folder_of_images_is_no_class(write):
    assert folder(write({"cats/1.png": png(1), "cats/2.png": png(2)})).classes == ()


PARTS = {
    "train/cat/1.png": png(1),
    "train/dog/2.png": png(2),
    "test/cat/3.png": png(3),
    "test/dog/4.png": png(4),
    "test/dog/5.png": png(5),
}


def test_of_train_and_test_train_is_taken_and_said(write):
    source = folder(write(PARTS))
    assert first_bytes(source) == [1, 2]
    assert source.classes == ("cat", "dog")
    assert any("using 'train'" in note and "test, train" in note for note in source.notes)
    assert any("--set data.part=…, or --part of `equipoise data`" in note for note in source.notes)


@pytest.mark.parametrize("other", ["val", "valid", "validation"])
def test_the_held_out_part_has_several_names(write, other):
    files = {name.replace("test/", f"{other}/"): data for name, data in PARTS.items()}
    assert len(folder(write(files))) == 2


def test_parts_are_found_below_a_common_folder(write):
    source = folder(write({f"top/{name}": data for name, data in PARTS.items()}))
    assert first_bytes(source) == [1, 2]


@pytest.mark.parametrize(("part", "expected"), [("test", [3, 4, 5]), ("train/", [1, 2]), ("test/dog", [4, 5])])
def test_a_part_can_be_asked_for(write, part, expected):
    assert first_bytes(folder(write(PARTS), part=part)) == expected


def test_an_unknown_part_is_answered_with_the_nearest(write):
    with pytest.raises(DataError, match=r"no images in a part named 'tset'. Did you mean 'test'"):
        folder(write(PARTS), part="tset")


def test_train_beside_something_else_is_a_class(write):
    assert folder(write({"train/1.png": png(1), "plane/2.png": png(2)})).classes == ("plane", "train")


def test_hidden_files_and_macos_leftovers_do_not_count(write):
    files = {"a.png": png(1), "b.png": png(2), ".hidden.png": png(3), "__MACOSX/a.png": b"x", ".git/c.png": b"x"}
    source = folder(write(files))
    assert first_bytes(source) == [1, 2]
    assert source.notes == ()


def test_other_files_are_ignored_and_counted(write):
    source = folder(write({"a.png": png(1), "b.PNG": png(2), "readme.txt": b"x", "sub/data.csv": b"x"}))
    assert first_bytes(source) == [1, 2]
    assert source.notes == ("2 files that are not images were ignored",)


def test_images_beside_sub_folders_are_refused(write):
    words = r"1 images beside 2 sub-folders with images \(a, b\).*Move.*: --set data.part=…, or --part of"
    with pytest.raises(DataError, match=words):
        folder(write({"x.png": png(), "a/1.png": png(), "b/2.png": png()}))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "is empty: no files. Expected images"),
        ({"a.txt": b"", "b.txt": b"", "c.heic": b""}, r"3 files but no images \(2 .txt, 1 .heic\)"),
        ({"a.png": png()}, "holds 1 image; expected at least 2"),
    ],
)
def test_too_little_to_learn_from_is_refused(write, files, words):
    with pytest.raises(DataError, match=words):
        folder(write(files))


def test_a_missing_path_is_refused(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        folder(tmp_path / "nothing")


# dataset.json


def index(labels) -> bytes:
    return json.dumps({"labels": labels}).encode()


STYLEGAN = {"00000/img0.png": png(1), "00000/img1.png": png(2), "00001/img2.png": png(3)}


@pytest.mark.parametrize("top", ["", "top/"])
def test_dataset_json_gives_the_labels(write, top):
    labels = [["00000/img0.png", 10], ["00000/img1.png", 2], ["00001/img2.png", 10]]
    files = {f"{top}{name}": data for name, data in {**STYLEGAN, "dataset.json": index(labels)}.items()}
    source = folder(write(files))
    assert source.classes == ("2", "10")
    assert class_names(source) == ["10", "2", "10"]
    assert source.notes == ()


def test_null_labels_are_none(write):
    assert folder(write({**STYLEGAN, "dataset.json": index(None)})).classes == ()


def test_dataset_json_covers_parts_too(write):
    labels = [[name, number] for number, name in enumerate(PARTS)]
    files = {**PARTS, "dataset.json": index(labels)}
    assert len(folder(write(files))) == 5
    assert class_names(folder(write(files), part="test")) == ["2", "3", "4"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"{", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"\xff\xfe\xfa", "not valid JSON"),
        (b"[]", 'has no "labels"'),
        (b"{}", 'has no "labels"'),
        (b'{"labels": 3}', '"labels" is a int'),
        (index([["00000/img0.png", 1.5]]), "entry 0"),
        (index([["00000/img0.png", True]]), "entry 0"),
        (index([["00000/img0.png", [0, 1]]]), "entry 0"),
        (index([["00000/img0.png", 1]]), r"no label for 2 of 3 images \(00000/img1.png"),
        (index([[name, 0] for name in [*STYLEGAN, "gone.png"]]), r"1 files that are not there \(gone.png"),
    ],
)
def test_a_dataset_json_that_does_not_fit_is_refused(write, data, words):
    with pytest.raises(DataError, match=words):
        folder(write({**STYLEGAN, "dataset.json": data}))


# Size and channels


def test_the_shortest_side_of_all_is_taken_and_said(write):
    source = folder(write({"a.png": png(side=6, width=9), "b.png": png(side=8, width=5), "c.png": png(side=7)}))
    assert source.shape == (1, 5, 5)
    assert source.notes == ("images are cropped to 5 x 5, the shortest side found (b.png)",)


def test_an_asked_size_is_given_by_the_rules_of_decode(write):
    data = png(7, side=6, width=9)
    source = folder(write({"a.png": data, "b.png": data}), size=4, fit="pad", channels=3)
    assert isinstance(source, ArraySource)
    assert np.array_equal(source.values[0].numpy(), decode(data, size=4, fit="pad", channels=3))


@pytest.mark.parametrize(("modes", "channels"), [("LL", 1), (["L", "RGB"], 3), (["LA", "1"], 1)])
def test_channels_are_one_only_where_all_are_grey(write, modes, channels):
    files = {f"{number}.png": png(255, mode=mode) for number, mode in enumerate(modes)}
    assert folder(write(files)).shape == (channels, 4, 4)


@pytest.mark.parametrize("rules", [{"channels": 2}, {"size": -1}, {"fit": "squash"}])
def test_rules_are_checked_before_any_file(tmp_path, rules):
    with pytest.raises(DataError, match=r"expected|Valid"):
        folder(tmp_path / "nothing", **rules)


# Damage


def many(num: int, num_damaged: int, damaged: bytes) -> dict[str, bytes]:
    files = {f"{number}.png": png(number % 256) for number in range(num)}
    return files | {f"{3 * number + 1}.png": damaged for number in range(num_damaged)}


CUT = png(9, side=30)[:-30]
"""Its header is sound, its pixels are not."""


@pytest.mark.parametrize(("damaged", "reason"), [(b"", "0 bytes"), (b"no image", "not a readable"), (CUT, "truncated")])
def test_up_to_one_percent_of_damage_is_named_and_left_out(write, damaged, reason):
    source = folder(write(many(200, 2, damaged)), size=4)
    assert len(source) == 198
    assert first_bytes(source)[:5] == [0, 2, 3, 5, 6]
    assert [line.split(":")[0] for line in source.skipped] == ["1.png", "4.png"]
    assert all(reason in line for line in source.skipped)
    assert "2 of 200 images could not be read and were left out" in source.notes


@pytest.mark.parametrize("damaged", [b"", CUT])
def test_more_than_one_percent_of_damage_is_refused(write, damaged):
    with pytest.raises(DataError, match=r"3 of 200 images cannot be read; at most 1%.*1\.png: .*Repair") as caught:
        folder(write(many(200, 3, damaged)))
    assert caught.value.exit_code == 65


def test_labels_and_classes_follow_what_could_be_read(write):
    files = {f"{number % 2}/{number}.png": png(number) for number in range(150)} | {"rare/0.png": CUT}
    source = folder(write(files))
    assert source.classes == ("0", "1")
    assert class_names(source) == ["0"] * 75 + ["1"] * 75


def test_a_damaged_image_has_no_say_in_size_and_channels(write):
    noise = np.random.default_rng(0).integers(0, 256, (2, 64, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    files = {f"{number}.png": png(number) for number in range(120)}
    source = folder(write(files | {"bad.png": buffer.getvalue()[:-90]}))
    assert source.shape == (1, 4, 4)
    assert len(source) == 120
    assert first_bytes(source) == list(range(120))


def test_names_that_are_no_text_can_still_be_shown(tmp_path):
    root = write_folder(tmp_path / "set", {f"{number}.png": png(number) for number in range(100)})
    with open(os.fsencode(root) + b"/\xff.png", "wb"):
        pass
    source = folder(root)
    assert source.skipped[0].encode("utf-8").startswith(b"\\udcff.png")


def test_an_oversized_file_is_left_unread(tmp_path, monkeypatch):
    monkeypatch.setattr("equipoise.data.files.MAX_FILE_BYTES", 1000)
    files = {f"{number}.png": png(number) for number in range(100)} | {"big.png": bytes(1001)}
    assert "too large (1,001 bytes" in folder(write_folder(tmp_path / "set", files)).skipped[0]


# In memory and from disk


@pytest.fixture
def photos() -> dict[str, bytes]:
    files = {}
    for number in range(40):
        pixels = np.random.default_rng(number).integers(0, 256, (9, 12, 3), np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG")
        files[f"{number % 3}/{number}.jpg"] = buffer.getvalue()
    return files


def test_a_set_beyond_the_memory_limit_is_decoded_from_disk_with_the_same_values(write, photos):
    path = write(photos)
    num_bytes = 40 * 3 * 9 * 9
    held, streamed = folder(path, memory=num_bytes), folder(path, memory=num_bytes - 1)
    assert isinstance(held, ArraySource)
    assert isinstance(streamed, FileSource)
    for attribute in ("name", "shape", "classes", "fingerprint", "skipped", "notes"):
        assert getattr(held, attribute) == getattr(streamed, attribute)
    for position in (0, 30, 75):
        x, y = Loader(held, labels=True, seed=0)(position, 25)
        same_x, same_y = Loader(streamed, labels=True, seed=0)(position, 25)
        assert torch.equal(x, same_x)
        assert torch.equal(y, same_y)


def test_damage_is_left_out_from_disk_just_the_same(write):
    path = write(many(200, 2, CUT))
    held, streamed = folder(path, size=4), folder(path, size=4, memory=0)
    assert held.skipped == streamed.skipped
    assert held.fingerprint == streamed.fingerprint
    assert first_bytes(held) == first_bytes(streamed)


def test_a_file_that_vanishes_while_training_is_named(tmp_path, photos):
    root = write_folder(tmp_path / "set", photos)
    source = folder(root, memory=0)
    (root / "0" / "0.jpg").unlink()
    with pytest.raises(DataError, match=r"0/0\.jpg could be read when training started and now cannot"):
        source.examples(torch.tensor([0]))


def test_a_source_from_disk_moves_and_splits(write, photos):
    source = folder(write(photos), memory=0)
    train, aside = split(source, 10, seed=0)
    assert (len(train), len(aside)) == (30, 10)
    assert aside.examples(torch.arange(10)).shape == (10, 3, 9, 9)
    assert source.to("meta").examples(torch.arange(2)).device.type == "meta"


# Fingerprints


def test_folder_and_zip_of_the_same_files_have_one_fingerprint(tmp_path, photos):
    at_root = folder(write_folder(tmp_path / "set", photos))
    below = folder(write_zip(tmp_path / "set.zip", {f"top/{name}": data for name, data in photos.items()}))
    assert at_root.fingerprint == below.fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"a/1.png": png(100)},
        {"a/3.png": png(3)},
        {"dataset.json": index([["a/1.png", 0], ["b/2.png", 0]])},
    ],
)
def test_fingerprint_sees_content_names_and_labels(tmp_path, change):
    files = {"a/1.png": png(1), "b/2.png": png(2)}
    before = folder(write_folder(tmp_path / "set", files)).fingerprint
    assert folder(write_folder(tmp_path / "set", change)).fingerprint != before


def test_fingerprints_of_former_versions_hold_and_only_a_named_filter_changes_them(tmp_path):
    for number in range(3):
        pixels = np.arange(12 * 12 * 3).reshape(12, 12, 3) * (number + 3) % 256
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{number}.bmp")
    prints = {name: folder(tmp_path, size=8, filter=name).fingerprint for name in ("auto", "lanczos", "box")}
    assert prints["auto"] == "8b0f7fa3af29ddd56fefe83ccab651307534781bbfd2ea51b136c445828df97d"
    assert len(set(prints.values())) == 3


def test_a_filter_holds_in_memory_and_from_disk(tmp_path):
    for number in range(2):
        pixels = np.arange(64).reshape(8, 8) * 4 // (number + 1)
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{number}.png")
    means = np.arange(64).reshape(4, 2, 4, 2).mean((1, 3)) * 4
    for memory in (0, 10_000):
        x = folder(tmp_path, size=4, filter="box", memory=memory).examples(torch.arange(2))
        assert (x[0, 0].numpy() + 1) * 127.5 == pytest.approx(means)


def test_fingerprint_sees_how_images_are_decoded(write):
    path = write({"1.png": png(1), "2.png": png(2)})
    prints = {folder(path, **rules).fingerprint for rules in ({}, {"size": 2}, {"channels": 3}, {"fit": "pad"})}
    assert len(prints) == 4


# Archives


def stored(path: Path, name: str, *, mode: int = 0, data: bytes = b"") -> Path:
    """An archive with two sound images and one file of the given name."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("1.png", png(1))
        archive.writestr("2.png", png(2))
        info = zipfile.ZipInfo("placeholder")
        info.filename = info.orig_filename = name
        info.external_attr = mode << 16
        archive.writestr(info, data)
    return path


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../evil.png", "points outside"),
        ("a/../../evil.png", "points outside"),
        ("/etc/evil.png", "absolute path"),
        ("C:/evil.png", "absolute path"),
        ("a\\evil.png", "backslash"),
        ("evil.png\0.txt", "NUL"),
        (".hidden/../../evil", "points outside"),
    ],
)
def test_unsafe_names_are_refused(tmp_path, name, words):
    with pytest.raises(DataError, match=words):
        folder(stored(tmp_path / "set.zip", name))


def test_a_symbolic_link_is_refused(tmp_path):
    with pytest.raises(DataError, match="symbolic link"):
        folder(stored(tmp_path / "set.zip", "link.png", mode=stat.S_IFLNK | 0o777, data=b"/etc/passwd"))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_repeated_name_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"'1\.png' is there twice"):
        folder(stored(tmp_path / "set.zip", "1.png"))


def test_an_encrypted_archive_is_refused(tmp_path):
    path = write_zip(tmp_path / "set.zip", {"1.png": png(1), "2.png": png(2)})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="encrypted"):
        folder(path)


def test_a_zip_bomb_is_refused_before_it_unpacks(tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(2):
            archive.writestr(f"{number}.bmp", bytes(33 * 2**20))
    with pytest.raises(DataError, match="zip bomb"):
        zip_files(path)


def test_a_member_that_is_too_large_is_refused(tmp_path):
    path = write_zip(tmp_path / "set.zip", {"1.png": png(1), "2.png": bytes(2000)})
    with zipfile.ZipFile(path) as archive, pytest.raises(DataError, match="too large"):
        check_members(path, archive, max_bytes=1999)


def test_too_many_members_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("equipoise.data.files.MAX_FILES", 2)
    with pytest.raises(DataError, match="lists 3 files; at most 2"):
        folder(write_zip(tmp_path / "set.zip", {f"{number}.png": png() for number in range(3)}))


def test_a_size_that_lies_is_noticed(tmp_path):
    files = {f"{number}.png": png(number) for number in range(100)}
    path = write_zip(tmp_path / "set.zip", files | {"bomb.png": bytes(10**6)})
    data = path.read_bytes().replace((10**6).to_bytes(4, "little"), (500).to_bytes(4, "little"))
    path.write_bytes(data)
    assert "damaged in the archive" in folder(path).skipped[0]


def test_what_is_no_zip_is_refused(tmp_path):
    (tmp_path / "set.zip").write_bytes(b"not a zip")
    with pytest.raises(DataError, match="not a readable zip"):
        folder(tmp_path / "set.zip")


def test_a_flipped_bit_in_a_member_is_noticed(tmp_path):
    files = {f"{number}.png": png(number) for number in range(100)}
    marked = png(7, side=16)
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**files, "marked.png": marked}.items():
            archive.writestr(name, data)
    data = bytearray(path.read_bytes())
    data[data.index(marked) + len(marked) // 2] ^= 1
    path.write_bytes(data)
    assert folder(path).skipped == (
        "marked.png: damaged in the archive (BadZipFile: Bad CRC-32 for file 'marked.png')",
    )


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=5),
    st.integers(0, 10**6),
    st.booleans(),
)
@pytest.mark.filterwarnings("ignore")
def test_damaged_archives_give_a_source_or_the_typed_error(tmp_path_factory, changes, cut, truncate):
    sound = io.BytesIO()
    with zipfile.ZipFile(sound, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {"a/1.png": png(1), "b/2.png": png(2), "dataset.json": index(None)}.items():
            archive.writestr(name, content)
    data = bytearray(sound.getvalue())
    for place, value in changes:
        data[place % len(data)] = value
    path = tmp_path_factory.getbasetemp() / "damaged.zip"
    path.write_bytes(data[: cut % len(data)] if truncate else data)
    with suppress(DataError):
        assert len(folder(path)) == 2


# Folders


def test_links_are_followed_and_loops_are_not(tmp_path):
    root = write_folder(tmp_path / "set", {"a/1.png": png(1), "b/2.png": png(2)})
    other = write_folder(tmp_path / "elsewhere", {"3.png": png(3)})
    (root / "c").symlink_to(other, target_is_directory=True)
    (root / "a" / "loop").symlink_to(root, target_is_directory=True)
    assert first_bytes(folder(root)) == [1, 2, 3]


def test_a_sub_folder_that_cannot_be_listed_is_not_passed_over(tmp_path, monkeypatch):
    root = write_folder(tmp_path / "set", {"a/1.png": png(1), "a/2.png": png(2), "b/3.png": png(3)})
    scandir = os.scandir

    def refuse_b(path):
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse_b)
    with pytest.raises(DataError, match=r"b cannot be listed \(Permission denied\)"):
        folder(root)


def test_a_pipe_that_looks_like_an_image_is_not_opened(tmp_path):
    root = write_folder(tmp_path / "set", {"1.png": png(1), "2.png": png(2)})
    os.mkfifo(root / "3.png")
    assert first_bytes(folder(root)) == [1, 2]


@given(st.lists(st.text(alphabet="a01239/._", min_size=1, max_size=9), unique=True, max_size=8))
def test_natural_order_is_total_and_counts(names):
    ordered = sorted(names, key=natural_order)
    assert sorted(reversed(names), key=natural_order) == ordered
    assert sorted(["x10", "x9", "x09", "x"], key=natural_order) == ["x", "x09", "x9", "x10"]


def test_numbers_beyond_any_machine_word_are_sorted_too():
    assert sorted(["9" * 6000, "1" * 6001], key=natural_order)[0] == "9" * 6000
