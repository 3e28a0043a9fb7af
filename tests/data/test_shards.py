"""Shards: the same examples as from the folder, tar files that others read, an index that is not believed blindly."""

import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from equipoise.core.errors import DataError
from equipoise.data import ArraySource, Loader, open_source
from equipoise.data.files import folder_files, zip_files
from equipoise.data.folders import FileSource
from equipoise.data.inspection.contents import files_of
from equipoise.data.shards import shard_files, write_shards


def photo(seed: int, form: str = "JPEG", side: int = 12) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side + seed % 3, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


@pytest.fixture
def photos(tmp_path) -> Path:
    """Forty images in three classes, in two parts."""
    folder = tmp_path / "set"
    for number in range(40):
        part = "test" if number % 4 == 3 else "train"
        name = f"{part}/{('ant', 'bee', 'cow')[number % 3]}/{number}" + (".png" if number % 5 == 0 else ".JPG")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(photo(number, "PNG" if number % 5 == 0 else "JPEG"))
    return folder


@pytest.fixture
def shards(photos, tmp_path) -> Path:
    write_shards(photos, folder_files(photos), tmp_path / "shards", parts=("test", "train"), per_shard=9)
    return tmp_path / "shards"


@pytest.mark.parametrize(
    "rules", [{}, {"part": "test"}, {"size": 7, "channels": 1, "fit": "pad"}, {"size": 5, "filter": "box"}]
)
@pytest.mark.parametrize("memory", [0, 2**30])
def test_training_gets_the_same_examples_labels_and_fingerprint(photos, shards, rules, memory):
    one, two = open_source(photos, memory=memory, **rules), open_source(shards, memory=memory, **rules)
    assert isinstance(two, FileSource if memory == 0 else ArraySource)
    assert (one.shape, one.classes, one.fingerprint, one.notes) == (two.shape, two.classes, two.fingerprint, two.notes)
    for position in (0, 17, 61):
        x, y = Loader(one, labels=True, seed=3)(position, 16)
        same_x, same_y = Loader(two, labels=True, seed=3)(position, 16)
        assert torch.equal(x, same_x)
        assert torch.equal(y, same_y)


def test_a_zip_gives_the_same_shards_as_the_folder(photos, shards, tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in sorted(photos.rglob("*.*")):
            archive.write(path, path.relative_to(photos))
    path = tmp_path / "set.zip"
    write_shards(path, zip_files(path), tmp_path / "again", parts=("test", "train"), per_shard=9)
    assert {p.name: p.read_bytes() for p in (tmp_path / "again").iterdir()} == {
        p.name: p.read_bytes() for p in shards.iterdir()
    }


def test_the_shards_are_plain_tar_files_in_the_naming_of_webdataset(photos, shards):
    assert sorted(p.name for p in shards.glob("*.tar")) == [
        "test-000000.tar",
        "test-000001.tar",
        "train-000000.tar",
        "train-000001.tar",
        "train-000002.tar",
        "train-000003.tar",
    ]
    classes = ("ant", "bee", "cow")
    content = {path.read_bytes(): path.parent.name for path in photos.rglob("*.*")}
    seen = []
    for path in sorted(shards.glob("*.tar")):
        with tarfile.open(path) as tar:
            members = tar.getmembers()
            assert 0 < len(members) <= 18
            for image, label in zip(members[::2], members[1::2], strict=True):
                assert image.name.split(".")[0] == label.name.split(".")[0]
                assert image.name.split(".")[1] in ("jpg", "png")
                data, number = (tar.extractfile(member).read() for member in (image, label))  # pyright: ignore
                assert classes[int(number)] == content[data]
                seen.append(data)
    assert sorted(seen) == sorted(content)


def test_the_order_in_the_shards_mixes_the_classes(shards):
    with tarfile.open(shards / "train-000000.tar") as tar:
        numbers = [tar.extractfile(m).read() for m in tar.getmembers() if m.name.endswith(".cls")]  # pyright: ignore
    assert numbers != sorted(numbers)
    assert len(set(numbers)) == 3


def test_without_parts_and_labels_there_are_images_only(tmp_path):
    folder = tmp_path / "flat"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.png").write_bytes(photo(number, "PNG"))
    written = write_shards(folder, folder_files(folder), tmp_path / "shards")
    assert (written.num_images, written.shards, written.skipped) == (5, ("images-000000.tar",), ())
    with tarfile.open(tmp_path / "shards" / "images-000000.tar") as tar:
        assert all(name.endswith(".png") for name in tar.getnames())
    assert open_source(tmp_path / "shards").fingerprint == open_source(folder).fingerprint


def test_a_dataset_json_and_a_damaged_image_are_treated_as_in_training(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    for number in range(150):
        (folder / f"{number}.png").write_bytes(photo(number, "PNG", 6))
    (folder / "77.png").write_bytes(photo(77, "PNG", 6)[:60])
    labels = [[f"{number}.png", number % 7] for number in range(150)]
    (folder / "dataset.json").write_text(json.dumps({"labels": labels}))
    written = write_shards(folder, folder_files(folder), tmp_path / "shards")
    assert written.num_images == 149
    assert written.skipped[0].startswith("77.png: ")
    one, two = open_source(folder), open_source(tmp_path / "shards")
    assert one.fingerprint == two.fingerprint
    every = torch.arange(149)
    assert torch.equal(one.examples(every), two.examples(every))
    assert torch.equal(one.labels(every), two.labels(every))


def test_one_part_alone_can_be_packed(photos, tmp_path):
    write_shards(photos, folder_files(photos), tmp_path / "shards", parts=("test",))
    assert open_source(tmp_path / "shards").fingerprint == open_source(photos, part="test").fingerprint


def test_any_file_can_be_read_by_its_name_at_any_time(photos, shards):
    files = shard_files(shards)
    original = folder_files(photos)
    assert sorted(files.names) == sorted(original.names)
    for name in reversed(files.names):
        assert files.read(name) == original.read(name)
    assert sorted(files_of(shards).names) == sorted(original.names)


def test_shards_of_shards_are_the_same(shards, tmp_path):
    write_shards(shards, shard_files(shards), tmp_path / "again", parts=("test", "train"), per_shard=9)
    assert (tmp_path / "again" / "train-000001.tar").read_bytes() == (shards / "train-000001.tar").read_bytes()


# Refusals


def test_more_damage_than_training_takes_is_refused(photos, tmp_path):
    (photos / "train" / "ant" / "0.png").write_bytes(b"")
    with pytest.raises(DataError, match="1 of 30 images cannot be read"):
        write_shards(photos, folder_files(photos), tmp_path / "shards", parts=("train",))
    assert not (tmp_path / "shards").exists()


def test_a_file_that_changes_on_the_way_is_refused(photos, tmp_path):
    files = folder_files(photos)
    reads = {}

    def read(name):
        reads[name] = reads.get(name, 0) + 1
        return photo(99) if reads[name] == 2 else files.read(name)

    with pytest.raises(DataError, match="changed while it was converted"):
        write_shards(photos, type(files)(files.names, read), tmp_path / "shards", parts=("train",))
    assert not (tmp_path / "shards").exists()


@pytest.mark.parametrize("out", ["set", "set/shards", "."])
def test_it_never_writes_into_the_data(photos, tmp_path, out):
    with pytest.raises(DataError, match="lies in"):
        write_shards(photos, folder_files(photos), tmp_path / out)


def test_a_shard_needs_at_least_one_image(photos, tmp_path):
    with pytest.raises(DataError, match="per_shard=0"):
        write_shards(photos, folder_files(photos), tmp_path / "shards", per_shard=0)


def test_a_missing_or_shortened_shard_is_named(shards):
    path = shards / "train-000001.tar"
    content = path.read_bytes()
    path.write_bytes(content[:-512])
    with pytest.raises(DataError, match=rf"train-000001.tar has {len(content) - 512:,} bytes instead of"):
        open_source(shards)
    path.unlink()
    with pytest.raises(DataError, match=r"train-000001.tar is missing"):
        open_source(shards)


def test_damage_inside_of_a_shard_is_seen(shards):
    source = open_source(shards, memory=0)
    path = shards / "train-000000.tar"
    content = bytearray(path.read_bytes())
    content[700] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"cannot be read \(damaged in the shard train-000000.tar"):
        open_source(shards)
    with pytest.raises(DataError, match="now cannot: damaged in the shard"):
        source.examples(torch.arange(len(source)))


def edited(change):
    def edit(path: Path) -> None:
        index = json.loads(path.read_text())
        change(index)
        path.write_text(json.dumps(index))

    return edit


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.write_text("{"), "is not the index"),
        (lambda path: path.write_text("[" * 100_000), "is not the index"),
        (edited(lambda index: index.update(version=2)), "version 2"),
        (edited(lambda index: index.pop("places")), "KeyError: 'places'"),
        (edited(lambda index: index["names"].pop()), "is not the index"),
        (edited(lambda index: index["shards"][0].update(name="../set.tar")), "no file name ending in .tar"),
        (edited(lambda index: index["shards"][0].update(name="/etc/passwd")), "no file name ending in .tar"),
        (edited(lambda index: index["places"][0].__setitem__(1, -5)), "does not lie inside"),
        (edited(lambda index: index["places"][0].__setitem__(0, 99)), "does not lie inside"),
        (edited(lambda index: index["places"][0].__setitem__(2, 10**12)), "does not lie inside"),
    ],
)
def test_an_index_that_makes_no_sense_is_refused(shards, spoil, words):
    spoil(shards / "shards.json")
    with pytest.raises(DataError, match=words):
        open_source(shards)
