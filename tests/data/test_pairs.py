"""Pairs: A beside B in one picture, in folders or parts of their own; which side is given; what does not fit."""

import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from equipoise.core.errors import DataError
from equipoise.core.seeding import generator
from equipoise.data.labels import Labels
from equipoise.data.pairs import Pairing, partners_of
from equipoise.data.pictures import pictures

CLASSES = Labels.of({"membrane": 0, "cell": 255})


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def label_map(height, width, *, seed=0):
    return (noise(height, width, seed=seed) > 127).astype(np.uint8) * 255


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def aligned(tmp_path):
    """Three pictures with a photo (A) beside its label map (B)."""
    for number in range(3):
        a, b = noise(16, 20, 3, seed=number), np.repeat(label_map(16, 20, seed=9 + number)[..., None], 3, axis=2)
        save(tmp_path / "pairs" / f"{number}.png", np.concatenate([a, b], axis=1))
    return tmp_path / "pairs"


@pytest.fixture
def parts(tmp_path):
    """A .zip with a part for each side."""
    with zipfile.ZipFile(tmp_path / "cells.zip", "w") as archive:
        for number in range(3):
            for part, pixels in (("image", noise(16, 20, seed=number)), ("label", label_map(16, 20, seed=number))):
                save(tmp_path / "one.png", pixels)
                archive.write(tmp_path / "one.png", f"train/{part}/{number}.png")
    return tmp_path / "cells.zip"


def pixels_of(x):
    return ((x + 1) * 127.5).round().to(torch.uint8)


def test_the_left_half_is_given_and_the_right_half_is_the_target(aligned):
    source = pictures(aligned, crop=16, pairing=Pairing(aligned=True))
    assert (source.shape, source.given_shape, source.factor) == ((3, 16, 16), (3, 16, 16), 1)
    given, target = source.whole(1)
    stored = torch.from_numpy(np.asarray(Image.open(aligned / "1.png")).copy()).permute(2, 0, 1)
    assert torch.equal(pixels_of(given[0]), stored[:, :, :20])
    assert torch.equal(pixels_of(target[0]), stored[:, :, 20:])
    other = pictures(aligned, crop=16, pairing=Pairing(aligned=True, direction="BtoA"))
    back = other.whole(1)
    assert torch.equal(back.given, target)
    assert torch.equal(back.target, given)
    assert other.fingerprint != source.fingerprint


def test_a_side_that_is_a_label_map_has_a_plane_for_each_class(aligned):
    pairing = Pairing(aligned=True, labels={"B": CLASSES})
    source = pictures(aligned, crop=16, pairing=pairing)
    assert (source.shape, source.given_shape) == ((2, 16, 16), (3, 16, 16))
    stored = np.asarray(Image.open(aligned / "0.png"))[:, 20:, 0]
    assert np.array_equal(source.whole(0).target[0].argmax(0).numpy() * 255, stored)
    assert torch.equal(source.examples(torch.tensor([0]))[0], source.whole(0).target[0, :, :, 2:18])
    back = pictures(aligned, crop=16, pairing=Pairing(aligned=True, direction="BtoA", labels={"B": CLASSES}))
    assert (back.shape, back.given_shape) == ((3, 16, 16), (2, 16, 16))
    assert torch.equal(back.whole(2).given, source.whole(2).target)


def test_sides_lie_in_parts_of_one_zip_and_are_cut_and_turned_alike(parts):
    pairing = Pairing(part="train/image", labels={"B": CLASSES})
    source = pictures(parts, crop=8, part="train/label", pairing=pairing)
    assert source.names == ("train/label/0", "train/label/1", "train/label/2")
    assert (source.shape, source.given_shape) == ((2, 8, 8), (1, 8, 8))
    for position in range(5):  # the label map says where the picture, made of the same numbers, is bright
        given, target = source.batch(torch.tensor([0, 1, 2]), draw=generator(position))
        assert torch.equal(target.argmax(1) == 1, pixels_of(given[:, 0]) > 127)


def test_sides_lie_in_two_folders_and_either_is_given(tmp_path):
    for number in range(2):
        save(tmp_path / "A" / "x" / f"{number}.png", noise(12, 12, 3, seed=number))
        save(tmp_path / "B" / "x" / f"{number}.bmp", noise(12, 12, seed=number))
    forth = pictures(tmp_path / "B", crop=8, given=tmp_path / "A")
    back = pictures(tmp_path / "B", crop=8, given=tmp_path / "A", pairing=Pairing(direction="BtoA"))
    assert (forth.given_shape, forth.shape) == ((3, 8, 8), (1, 8, 8)) == (back.shape, back.given_shape)
    assert torch.equal(forth.whole(1).given, back.whole(1).target)


def test_partners_are_found_in_sub_folders_of_the_same_names():
    names, others = ["b/one/0", "b/two/0"], ["a/one/0", "a/two/0", "a/two/1"]
    assert partners_of(names, others) == {"b/one/0": "a/one/0", "b/two/0": "a/two/0"}
    assert partners_of(["0", "1"], ["deep/er/1"]) == {"1": "deep/er/1"}
    with pytest.raises(DataError, match=r"7 has 2 partners of its name: a/7, b/7"):
        partners_of(["7"], ["a/7", "b/7"])


def test_what_lies_alone_is_named(tmp_path, parts):
    for name in ("0", "1", "9"):
        save(tmp_path / "A" / f"{name}.png", noise(16, 20))
    for name in ("0", "1"):
        save(tmp_path / "B" / f"{name}.png", noise(16, 20))
    source = pictures(tmp_path / "B", crop=8, given=tmp_path / "A")
    (told,) = source.skipped
    assert told.startswith("1 pictures in ")
    assert told.endswith("B (9)")
    with pytest.raises(DataError, match=r"1 of 3 pictures .* have no partner of the same name .*: 9"):
        pictures(tmp_path / "A", crop=8, given=tmp_path / "B")
    with pytest.raises(DataError, match="no images in a part named 'train/imag'"):
        pictures(parts, crop=8, part="train/label", pairing=Pairing(part="train/imag"))


def test_sizes_that_do_not_fit_are_named_with_the_rule(tmp_path, aligned):
    save(aligned / "3.png", noise(16, 41, 3))
    with pytest.raises(DataError, match=r"3 has 41 × 16 pixels: with data.aligned = true .* its width is even"):
        pictures(aligned, crop=8, pairing=Pairing(aligned=True))
    (aligned / "3.png").unlink()
    with pytest.raises(DataError, match=r"0 has 20 × 16 pixels, and squares of 18 are cut"):
        pictures(aligned, crop=18, pairing=Pairing(aligned=True))
    for number, width in enumerate((20, 18)):
        save(tmp_path / "A" / f"{number}.png", noise(16, 20))
        save(tmp_path / "B" / f"{number}.png", noise(16, width))
    with pytest.raises(DataError, match=r"1: target and partner have 18 × 16 and 20 × 16 pixels.*factor of 1"):
        pictures(tmp_path / "B", crop=8, given=tmp_path / "A")


def test_what_is_no_label_map_is_named(tmp_path, aligned):
    with pytest.raises(DataError, match=r"the left half of 0 has colours, and data.labels gives classes by grey"):
        pictures(aligned, crop=8, pairing=Pairing(aligned=True, labels={"A": CLASSES}))
    for side in "AB":
        save(tmp_path / side / "x.png", label_map(8, 8))
    save(tmp_path / "A" / "y.png", noise(8, 8))
    save(tmp_path / "B" / "y.png", label_map(8, 8))
    pairing = Pairing(labels={"A": CLASSES, "B": CLASSES})
    with pytest.raises(DataError, match=r"y: .* of its pixels have no class"):
        pictures(tmp_path / "B", crop=8, given=tmp_path / "A", pairing=pairing)


def test_arrays_hold_no_pairs(tmp_path):
    np.save(tmp_path / "x.npy", noise(4, 16, 16))
    with pytest.raises(DataError, match="is an array"):
        pictures(tmp_path / "x.npy", crop=8, pairing=Pairing(aligned=True))
