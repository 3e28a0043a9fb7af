"""Pictures of any size: squares at places that training draws, pairs from files or made on the fly."""

import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from equipoise.core.errors import DataError
from equipoise.core.seeding import generator
from equipoise.data.degradations import Downscale, LowDose, Noise
from equipoise.data.loader import Loader
from equipoise.data.masks import Half
from equipoise.data.pictures import Pair, Task, pictures, turned
from equipoise.data.source import split

SR = Task(degradations=(Downscale(factor=2),))


def picture(width, height, *, seed=0, channels=3):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels)


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "pictures"
    place.mkdir()
    for number, size in enumerate([(20, 16), (17, 31), (40, 24)]):
        picture(*size, seed=number).save(place / f"{number}.png")
    return place


def test_squares_are_cut_from_pictures_of_any_size(folder):
    source = pictures(folder, crop=16, task=SR)
    assert (len(source), source.shape, source.given_shape) == (3, (3, 16, 16), (3, 8, 8))
    given, target = source.batch(torch.tensor([0, 2]), draw=generator(0))
    assert (given.shape, target.shape) == ((2, 3, 8, 8), (2, 3, 16, 16))
    assert target.abs().max() <= 1
    # What is in the middle is what `examples` shows: 20 × 16 pixels, so two columns are left out on each side.
    stored = np.asarray(Image.open(folder / "0.png")).transpose(2, 0, 1)
    expected = torch.from_numpy(stored[:, :, 2:18].copy()).float() / 127.5 - 1
    assert torch.equal(source.examples(torch.tensor([0]))[0], expected)


def test_without_a_draw_every_answer_is_the_same_whatever_the_company(folder):
    source = pictures(folder, crop=16, task=Task(degradations=(Noise(sigma=(25, 25)),)))
    alone, together = source.batch(torch.tensor([1])), source.batch(torch.tensor([0, 1, 2]))
    assert torch.equal(alone.given[0], together.given[1])
    assert torch.equal(alone.target[0], source.examples(torch.tensor([1]))[0])
    assert not torch.equal(alone.given, alone.target)


def test_training_sees_other_places_and_turns_and_the_same_from_the_same_position(folder):
    loader = Loader(split(pictures(folder, crop=12, task=SR), 1, seed=0).train, labels=False, seed=0)
    one, again, other = loader(0, 4), loader(0, 4), loader(4, 4)
    assert all(torch.equal(a, b) for a, b in zip(one, again))
    assert not torch.equal(one[1], other[1])


def test_a_square_and_what_is_given_of_it_are_laid_alike(tmp_path):
    for number in range(2):
        large = picture(32, 24, seed=number)
        large.save(tmp_path / f"{number}_HR.png")
        large.resize((16, 12), Image.Resampling.NEAREST).save(tmp_path / f"{number}_LR.png")
    source = pictures(tmp_path, crop=8, endings=("_HR", "_LR"))
    assert source.names == ("0", "1")
    for position in range(20):
        given, target = source.batch(torch.tensor([0, 1]), draw=generator(position))
        blocks = target.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)  # [N, C, 4, 4, 4]: the pixels of each block
        assert (blocks == given[..., None]).any(-1).all()


def test_partners_lie_in_another_folder_or_zip_by_the_same_names(tmp_path, folder):
    with zipfile.ZipFile(tmp_path / "small.zip", "w") as archive:
        for number, size in enumerate([(10, 8), (8, 15), (20, 12)]):
            picture(*size, seed=9 + number).save(tmp_path / "one.bmp")
            archive.write(tmp_path / "one.bmp", f"given/{number}.bmp")
    (tmp_path / "one.bmp").unlink()
    for name in ("0.png", "1.png", "2.png"):
        image = Image.open(folder / name)
        image.crop((0, 0, image.width // 2 * 2, image.height // 2 * 2)).save(folder / name)
    source = pictures(folder, crop=8, given=tmp_path / "small.zip")
    assert source.factor == 2
    whole = source.whole(2)
    assert (whole.given.shape, whole.target.shape) == ((1, 3, 12, 20), (1, 3, 24, 40))


def test_for_inpainting_holes_are_empty_and_the_mask_is_the_last_channel(folder):
    source = pictures(folder, crop=16, task=Task(masks=(Half(sides=("left",)),)))
    given, target = source.batch(torch.tensor([0, 1]), draw=generator(3))
    assert source.given_shape == (4, 16, 16)
    assert torch.equal(given[:, 3, :, :8], torch.ones(2, 16, 8))
    assert torch.equal(given[:, :3, :, :8], torch.zeros(2, 3, 16, 8))
    assert torch.equal(given[:, :3, :, 8:], target[:, :, :, 8:])


def test_slices_of_a_volume_in_their_own_units(tmp_path):
    volume = np.random.default_rng(0).integers(-1000, 3000, (4, 20, 20)).astype(np.int16)
    np.savez(tmp_path / "scan.npz", volume=volume)
    source = pictures(tmp_path / "scan.npz", crop=16, value_range=(-1000, 3000))
    assert source.shape == (1, 16, 16)
    expected = (volume[0, 2:18, 2:18].astype(np.float32) + 1000) / 2000 - 1
    assert np.allclose(source.examples(torch.tensor([0]))[0, 0].numpy(), expected, atol=1e-6)
    assert source.names[1] == "scan.npz[1]"


def test_there_are_eight_ways_to_lay_a_square():
    x = torch.arange(9.0).view(1, 3, 3)
    assert len({tuple(turned(x, turn).flatten().tolist()) for turn in range(8)}) == 8
    assert torch.equal(turned(x, 0), x)


def test_a_picture_that_is_too_small_is_named_or_mirrored(folder):
    with pytest.raises(DataError, match=r"0 has 20 × 16 pixels, and squares of 18.*smaller data.crop"):
        pictures(folder, crop=18)
    source = pictures(folder, crop=18, small="mirror")
    assert torch.equal(source.examples(torch.tensor([0]))[..., 15, :], source.examples(torch.tensor([0]))[..., 16, :])


def test_what_does_not_fit_is_refused_by_name(tmp_path, folder):
    other = tmp_path / "other"
    other.mkdir()
    picture(10, 8).save(other / "0.png")
    with pytest.raises(DataError, match=r"2 of 3 pictures .* no partner .*: 1, 2"):
        pictures(folder, crop=8, given=other, part=None)
    picture(8, 15).save(other / "1.png")
    picture(7, 12).save(other / "2.png")
    with pytest.raises(DataError, match=r"2: target and partner have 40 × 24 and 7 × 12"):
        pictures(folder, crop=8, given=other)
    with pytest.raises(DataError, match="multiple of 2"):
        pictures(folder, crop=9, task=SR)
    with pytest.raises(DataError, match="does not exist"):
        pictures(folder / "nowhere", crop=8)
    with pytest.raises(DataError, match="_HQ"):
        pictures(folder, crop=8, endings=("_HQ", "_LQ"))
    (folder / "3.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"1 of 4 .*3.png"):
        pictures(folder, crop=8)


def test_the_fingerprint_is_that_of_pixels_and_rules(folder):
    first = pictures(folder, crop=8, task=SR).fingerprint
    assert pictures(folder, crop=8, task=SR).fingerprint == first
    assert pictures(folder, crop=10, task=SR).fingerprint != first
    assert pictures(folder, crop=8).fingerprint != first
    Image.open(folder / "0.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "0.png")
    assert pictures(folder, crop=8, task=SR).fingerprint != first


def test_a_pair_is_a_pair():
    pair = Pair(torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 4, 4))
    given, target = pair
    assert given is pair.given
    assert target is pair.target


def test_squares_of_scans_are_told_from_whole_ones(tmp_path):
    np.save(tmp_path / "slices.npy", np.zeros((3, 24, 24), np.float32))
    dose = Task(degradations=(LowDose(low=-1000, high=1000),))
    square, whole = (
        pictures(tmp_path / "slices.npy", crop=crop, task=dose, value_range=(-1000, 1000), small="mirror")
        for crop in (16, 24)
    )
    assert "data.crop = 24" in square.notes[0]
    assert whole.notes == ()
