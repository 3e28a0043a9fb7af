"""One door: the kind of data is told by what is there."""

import io
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from equipoise.core.errors import DataError
from equipoise.data import open_source
from equipoise.data.folders import FileSource


def png(value: int, side: int = 6) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (side, side), value).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def shelf(tmp_path):
    """The same two images in all four forms."""
    (tmp_path / "pictures").mkdir()
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
        for value in (10, 20):
            (tmp_path / "pictures" / f"{value}.png").write_bytes(png(value))
            archive.writestr(f"{value}.png", png(value))
    values = np.stack([np.full((6, 6), value, np.uint8) for value in (10, 20)])
    np.save(tmp_path / "pictures.npy", values)
    np.savez(tmp_path / "pictures.npz", images=values)
    (tmp_path / "pictures.tar").write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize("name", ["pictures", "pictures.zip", "pictures.npy", "pictures.npz"])
@pytest.mark.parametrize("text", [str, lambda path: path])
def test_every_form_gives_the_same_examples(shelf, name, text):
    source = open_source(text(shelf / name), size=3, channels=3)
    assert source.shape == (3, 3, 3)
    assert source.name == name
    expected = torch.tensor([10, 20]) / 127.5 - 1
    assert torch.allclose(source.examples(torch.arange(2)).mean(dim=(1, 2, 3)), expected)


def test_the_suffix_may_be_in_capitals(shelf):
    (shelf / "pictures.zip").rename(shelf / "PICTURES.ZIP")
    assert len(open_source(shelf / "PICTURES.ZIP")) == 2


def test_the_memory_limit_reaches_the_folder(shelf):
    assert isinstance(open_source(shelf / "pictures", memory=0), FileSource)


def test_a_missing_path_is_answered_with_its_nearest_neighbour_and_what_is_accepted(shelf):
    with pytest.raises(DataError, match=r"does not exist. Did you mean 'pictures.zip'\? Expected a folder.*\.npz"):
        open_source(shelf / "picturs.zip")


def test_a_missing_parent_is_said(shelf):
    with pytest.raises(DataError, match=r"Its folder .* does not exist either"):
        open_source(shelf / "nowhere" / "pictures")


def test_other_files_are_refused_with_what_is_accepted(shelf):
    with pytest.raises(DataError, match=r"a file ending in '.tar'. Expected a folder of images"):
        open_source(shelf / "pictures.tar")
