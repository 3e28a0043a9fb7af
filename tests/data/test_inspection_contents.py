"""What lies where: the same reading as training's, and the trouble told where training refuses."""

import io
import json
import zipfile

import pytest
from PIL import Image

from equipoise.core.errors import DataError
from equipoise.data.files import folder_files
from equipoise.data.inspection.contents import contents_of
from equipoise.data.layout import find_layout


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (4, 4), value).save(buffer, "PNG")
    return buffer.getvalue()


def write(folder, names, index=None):
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(number))
    if index is not None:
        name, labels = index
        (folder / name).write_text(json.dumps({"labels": labels}))
    return folder


PARTS = ["train/cat/1.png", "train/dog/2.png", "test/cat/3.png", "test/dog/4.png"]
SOUND = [
    ([f"{number}.png" for number in (10, 9, 1)], None),
    (["10/a.png", "2/b.png", "2/deep/c.png"], None),
    (["top/more/a/1.png", "top/more/b/2.png"], None),
    (["cats/1.png", "cats/2.png"], None),
    (PARTS, None),
    ([f"top/{name}" for name in PARTS], None),
    ([name.replace("test", "Validation") for name in PARTS], None),
    (["train/1.png", "train/2.png", "val/3.png"], None),
    (["train/1.png", "plane/2.png"], None),
    (["a.png", ".hidden.png", "__MACOSX/a.png", "b.png", "notes.txt", "film.mp4"], None),
    (["x/a.png", "y/b.png"], ("dataset.json", [["x/a.png", 10], ["y/b.png", 2]])),
    (["top/x/a.png", "top/y/b.png"], ("top/dataset.json", [["x/a.png", 1], ["y/b.png", 1]])),
    (["x/a.png", "y/b.png"], ("dataset.json", None)),
    (PARTS, ("dataset.json", [[name, number] for number, name in enumerate(PARTS)])),
]


@pytest.mark.parametrize(("names", "index"), SOUND)
def test_a_sound_layout_is_read_as_in_training(tmp_path, names, index):
    contents = contents_of(write(tmp_path, names, index))
    assert (contents.unlabelled, dict(contents.absent), contents.faults) == ((), {}, ())
    parts = sorted(set(contents.parts.values())) or [None]
    found = [find_layout("", folder_files(tmp_path), part) for part in parts]
    assert set(contents.images) == {name for layout in found for name in layout.names}
    for layout in found:
        expected = layout.labels or {}
        assert {name: contents.labels.get(name) for name in layout.names} == {n: expected.get(n) for n in layout.names}


@pytest.mark.parametrize("part", ["train", "test", "test/dog"])
def test_a_part_is_read_as_in_training(tmp_path, part):
    contents = contents_of(write(tmp_path, PARTS), part)
    layout = find_layout("", folder_files(tmp_path), part)
    assert contents.images == layout.names
    assert contents.labels == (layout.labels or {})


def test_images_beside_classes_are_without_label(tmp_path):
    contents = contents_of(write(tmp_path, ["x.png", "a/1.png", "b/2.png"]))
    assert contents.unlabelled == ("x.png",)
    assert contents.labels == {"a/1.png": "a", "b/2.png": "b"}


def test_images_beside_parts_and_classes_are_without_label(tmp_path):
    contents = contents_of(write(tmp_path, [*PARTS, "loose.png", "train/loose.png"]))
    assert set(contents.unlabelled) == {"loose.png", "train/loose.png"}
    assert contents.parts["test/dog/4.png"] == "test"
    assert contents.labels["test/dog/4.png"] == "dog"


def test_media_are_told_apart_by_suffix(tmp_path):
    contents = contents_of(write(tmp_path, ["a.PNG", "b.wav", "c.mp4", "d.txt"]))
    assert (contents.images, contents.sounds, contents.videos) == (("a.PNG",), ("b.wav",), ("c.mp4",))
    assert contents.others == ("d.txt",)


def test_files_of_a_zip_have_the_same_names(tmp_path):
    write(tmp_path / "set", PARTS)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name in PARTS:
            archive.write(tmp_path / "set" / name, name)
    assert contents_of(tmp_path / "set.zip").images == contents_of(tmp_path / "set").images


@pytest.mark.parametrize("name", ["gone.zip", "gone", "image.png"])
def test_what_is_no_set_is_refused(tmp_path, name):
    (tmp_path / "image.png").write_bytes(png(1))
    with pytest.raises(DataError, match=r"Expected a folder, a \.zip of one, shards"):
        contents_of(tmp_path / name)
