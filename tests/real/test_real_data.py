"""Real sets open as documented. The folder that holds them is named by the environment variable EQUIPOISE_DATA."""

import os
from pathlib import Path

import pytest
import torch

from equipoise.data import Loader, Source, open_source


def opened(name: str, **rules) -> Source:
    root = os.environ.get("EQUIPOISE_DATA")
    if not root:
        pytest.skip("EQUIPOISE_DATA is not set: it names the folder of the real data sets")
    if not (Path(root) / name).exists():
        pytest.skip(f"{name} is not in the folder that EQUIPOISE_DATA names")
    return open_source(Path(root) / name, **rules)


@pytest.mark.parametrize(("part", "length"), [("train", 60_000), ("test", 10_000)])
def test_mnist_has_its_parts_and_its_mean(part, length):
    source = opened("mnist.npz", part=part)
    assert (len(source), source.shape, source.classes) == (length, (1, 28, 28), tuple("0123456789"))
    # The mean brightness 0.1307 of the training part is the constant that normalises MNIST everywhere.
    assert (source.examples(torch.arange(length)).mean().item() + 1) / 2 == pytest.approx(0.1307, abs=0.003)


@pytest.mark.timeout(600)
def test_cifar10_trains_on_its_train_part():
    source = opened("cifar10.zip")
    assert (len(source), source.shape, len(source.classes)) == (50_000, (3, 32, 32), 10)
    assert source.skipped == ()
    assert any("using 'train'" in note for note in source.notes)
    assert source.labels(torch.arange(50_000)).bincount().tolist() == [5_000] * 10
    # The channel means 0.491, 0.482, 0.447 are well known.
    means = (source.examples(torch.arange(50_000)).mean(dim=(0, 2, 3)) + 1) / 2
    assert means.tolist() == pytest.approx([0.491, 0.482, 0.447], abs=0.003)


def test_cifar10_from_disk_equals_cifar10_in_memory():
    held, streamed = opened("cifar10.zip", part="test"), opened("cifar10.zip", part="test", memory=0)
    assert held.fingerprint == streamed.fingerprint
    x, y = Loader(held, labels=True, seed=0)(9_990, 64)
    same_x, same_y = Loader(streamed, labels=True, seed=0)(9_990, 64)
    assert torch.equal(x, same_x)
    assert torch.equal(y, same_y)


def test_sign_digits_are_2062_photos_in_ten_classes():
    source = opened("sign_digits.zip", size=64)
    assert (len(source), source.shape, source.classes) == (2_062, (3, 64, 64), tuple("0123456789"))


def test_artworks_of_all_shapes_become_squares():
    source = opened("styles.zip", part="style", size=128)
    assert (len(source), source.shape, source.classes) == (20, (3, 128, 128), ())


def test_microscopy_is_grey():
    source = opened("membrane.zip", part="train/image")
    assert (len(source), source.shape) == (30, (1, 512, 512))


def test_bitmaps_of_t91_are_read():
    assert len(opened("t91.zip", size=64)) == 91
