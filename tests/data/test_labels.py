"""Label maps: from files to classes to planes and back, and what is no label map."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from equipoise.core.errors import DataError
from equipoise.data.labels import Labels

GREY = Labels.of({"background": 0, "cell": 7, "edge": 255})
COLOURS = Labels.of({"road": "#804080", "sky": "#4682B4"})


def encoded(pixels, *, mode=None, kind="PNG", palette=None) -> bytes:
    image = Image.fromarray(np.asarray(pixels), mode) if mode else Image.fromarray(np.asarray(pixels))
    if palette is not None:
        image.putpalette(palette)
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def test_grey_values_are_classes_in_the_order_of_the_table():
    pixels = np.array([[255, 7], [0, 0]], dtype=np.uint8)
    numbers = GREY.numbers(GREY.pixels(encoded(pixels)), "a.png")
    assert numbers.tolist() == [[[2, 1], [0, 0]]]
    thrice = encoded(np.repeat(pixels[..., None], 3, axis=2))  # grey, saved as colours
    assert np.array_equal(GREY.numbers(GREY.pixels(thrice), "a.png"), numbers)


def test_colours_are_classes():
    pixels = np.array([[[0x80, 0x40, 0x80], [0x46, 0x82, 0xB4]]], dtype=np.uint8)
    assert COLOURS.numbers(COLOURS.pixels(encoded(pixels)), "a.png").tolist() == [[[0, 1]]]
    black = Labels.of({"black": "#000000", "red": "#ff0000"})
    assert black.numbers(black.pixels(encoded(np.zeros((1, 2), np.uint8))), "grey.png").tolist() == [[[0, 0]]]


def test_sixteen_bits_stay_and_of_a_palette_of_colours_the_indices_count():
    labels = Labels.of({"none": 0, "first": 1, "other": 40_000})
    deep = encoded(np.array([[40_000, 1, 0]], dtype=np.uint16))
    assert labels.numbers(labels.pixels(deep), "deep.png").tolist() == [[[2, 1, 0]]]
    indexed = encoded(np.array([[1, 0]], dtype=np.uint8), mode="P", palette=[9, 90, 200, 255, 0, 0])
    assert labels.numbers(labels.pixels(indexed), "indexed.png").tolist() == [[[1, 0]]]
    by_colour = Labels.of({"blue": "#095ac8", "red": "#ff0000"})
    assert by_colour.numbers(by_colour.pixels(indexed), "indexed.png").tolist() == [[[1, 0]]]
    inverted = encoded(np.array([[1, 0]], dtype=np.uint8), mode="P", palette=[255, 255, 255, 0, 0, 0])
    assert GREY.numbers(GREY.pixels(inverted), "grey palette.png").tolist() == [[[0, 2]]]  # its greys, not its indices


@pytest.mark.parametrize("labels", [GREY, COLOURS])
def test_planes_become_the_values_of_files_again(labels):
    numbers = torch.randint(len(labels), (2, 1, 4, 5), generator=torch.Generator().manual_seed(0))
    planes = labels.planes(numbers)
    assert planes.shape == (2, len(labels), 4, 5)
    assert planes.unique().tolist() == [-1, 1]
    assert torch.equal(planes.argmax(1, keepdim=True), numbers)
    blurred = planes * 0.3 + 0.1 * torch.rand(planes.shape, generator=torch.Generator().manual_seed(1))
    picture = labels.picture(blurred)
    stored = picture.to(torch.uint8).numpy()
    assert all(np.array_equal(labels.numbers(x, "x"), n.numpy()) for x, n in zip(stored, numbers))
    assert labels.shown(planes).abs().max() <= 1


@pytest.mark.parametrize(
    ("labels", "pixels", "words"),
    [
        (GREY, [[0, 7, 8]], r"a\.png: 33\.3% of its pixels have no class, with values such as 8\..*cell = 7"),
        (GREY, [[[0, 0, 0], [255, 0, 0]]], r"a\.png has colours, and data\.labels gives classes by grey values"),
        (COLOURS, [[[0x80, 0x40, 0x80], [1, 2, 3]]], r"a\.png: 50.0%.*#010203.*road = #804080"),
        (COLOURS, [[0, 128]], r"a\.png: 100\.0%.*#000000, #808080"),
    ],
)
def test_what_has_no_class_is_named(labels, pixels, words):
    with pytest.raises(DataError, match=words):
        labels.numbers(labels.pixels(encoded(np.array(pixels, dtype=np.uint8))), "a.png")


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"one": 0}, "2 to 256"),
        ({"a": 0, "b": "#ffffff"}, "grey values alone, or colours alone"),
        ({"a": 0, "b": 70_000}, "70000 stands for no class"),
        ({"a": "#fff", "b": "#000000"}, "'#fff' stands for no class"),
        ({"a": "#FFFFFF", "b": "#ffffff"}, "another value for each"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(table, words):
    with pytest.raises(ValueError, match=words):
        Labels.of(table)
