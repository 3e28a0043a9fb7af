"""Masks: holes have the shapes and shares they were asked for, and files are read the way round they are meant."""

import io
import math
from typing import Annotated

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import Field, TypeAdapter

from equipoise.data.images import ImageError
from equipoise.data.masks import Boxes, Half, Irregular, Mask, Outpaint, drawn_masks, mask_from_file


def at(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def extent(hole: torch.Tensor) -> tuple[int, int, int, int]:
    """First row, last row, first column, last column of a hole [H, W]."""
    rows, columns = hole.any(1).nonzero().flatten(), hole.any(0).nonzero().flatten()
    return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])


@pytest.mark.parametrize("kind", [Irregular(), Boxes(), Half(), Outpaint(), [Irregular(), Boxes(share=3.0)]])
def test_masks_are_zero_and_one_never_empty_or_full_and_a_function_of_the_generator(kind):
    masks = drawn_masks(kind, 40, size=(24, 40), draw=at(1))
    assert masks.shape == (40, 1, 24, 40)
    assert masks.dtype == torch.float32
    assert set(masks.unique().tolist()) == {0, 1}
    assert ((masks.mean((1, 2, 3)) > 0) & (masks.mean((1, 2, 3)) < 1)).all()
    assert torch.equal(masks, drawn_masks(kind, 40, size=(24, 40), draw=at(1)))
    assert not torch.equal(masks, drawn_masks(kind, 40, size=(24, 40), draw=at(2)))


@pytest.mark.parametrize("kind", [Irregular(hole=(0.2, 0.3)), Boxes(hole=(0.2, 0.3))])
def test_holes_have_the_share_asked_for(kind):
    parts = drawn_masks(kind, 200, size=(64, 64), draw=at()).mean((1, 2, 3))
    assert parts.min() >= 0.2
    assert parts.max() <= 0.3
    assert parts.std() > 0.02


def test_a_stroke_has_the_area_of_a_line_with_round_ends():
    one = Irregular(strokes=(1, 1), segments=(1, 1), length=(0.4, 0.4), width=(0.1, 0.1), hole=(0.0, 1.0))
    holes = drawn_masks(one, 100, size=(256, 256), draw=at())[:, 0]
    inside = [hole for hole in holes if min(extent(hole)[::2]) > 0 and max(extent(hole)[1::2]) < 255]
    areas = torch.stack([hole.sum() for hole in inside])
    length, width = 0.4 * 256, round(0.1 * 256)
    assert len(inside) > 20
    assert areas == pytest.approx(torch.full_like(areas, length * width + math.pi * width**2 / 4), rel=0.06)
    reaches = torch.tensor([math.hypot(d - u, r - l) for u, d, l, r in map(extent, inside)])
    assert reaches.min() > length
    assert reaches.max() < length + 1.5 * width


def test_without_turns_a_stroke_goes_straight_on():
    straight = Irregular(strokes=(1, 1), segments=(5, 5), turn=0.0, length=(0.1, 0.1), width=(0.0, 0.0), hole=(0, 1))
    for hole in drawn_masks(straight, 20, size=(128, 128), draw=at())[:, 0]:
        places = hole.nonzero().to(torch.float32)
        if places.min() > 0 and places.max() < 127:
            assert torch.linalg.svdvals(places - places.mean(0))[1] / math.sqrt(len(places)) < 1


def test_more_strokes_make_larger_holes():
    few, many = (
        drawn_masks(Irregular(strokes=(n, n), width=(0.05, 0.1), hole=(0, 1)), 100, size=(64, 64), draw=at()).mean()
        for n in (1, 6)
    )
    assert many > 2.5 * few


def test_a_box_has_sides_within_the_range_and_keeps_the_margin():
    one = Boxes(boxes=(1, 1), side=(0.25, 0.5), margin=0.1, hole=(0.0, 1.0))
    sides = []
    for hole in drawn_masks(one, 200, size=(40, 80), draw=at())[:, 0]:
        top, bottom, left, right = extent(hole)
        assert hole[top : bottom + 1, left : right + 1].all()
        assert min(top, 39 - bottom) >= 4
        assert min(left, 79 - right) >= 8
        sides.append((bottom - top + 1, right - left + 1))
    heights, widths = zip(*sides)
    assert (min(heights), max(heights), min(widths), max(widths)) == (10, 20, 20, 40)


def test_a_half_is_exactly_a_half_on_each_side_equally_often():
    masks = drawn_masks(Half(), 400, size=(16, 32), draw=at())[:, 0]
    assert (masks.mean((1, 2)) == 0.5).all()
    corners = masks[:, [0, 0, -1], [0, -1, 0]].to(torch.int64) @ torch.tensor(
        [4, 2, 1]
    )  # 5, 2, 6, 1: left, right, top, bottom
    assert corners.unique().tolist() == [1, 2, 5, 6]
    assert corners.bincount()[[1, 2, 5, 6]].min() > 70
    left = drawn_masks(Half(sides=("left",)), 1, size=(8, 8), draw=at())[0, 0]
    assert torch.equal(left, (torch.arange(8) < 4).float().expand(8, 8))


def test_outpainting_leaves_one_window():
    settings = Outpaint(padding=(0.1, 0.2), per_side=0.5)
    missing = []
    for mask in drawn_masks(settings, 200, size=(50, 100), draw=at())[:, 0]:
        top, bottom, left, right = extent(1 - mask)
        assert not mask[top : bottom + 1, left : right + 1].any()
        parts = [top / 50, (49 - bottom) / 50, left / 100, (99 - right) / 100]
        assert all(part == 0 or 0.1 <= part <= 0.2 for part in parts)
        missing.append(sum(part > 0 for part in parts))
    assert min(missing) == 1
    assert sum(missing) / 200 == pytest.approx(2 + 1 / 16, abs=0.2)  # none of four: then one
    assert (drawn_masks(Outpaint(per_side=1.0), 20, size=(50, 50), draw=at())[:, 0, 0] == 1).all()


def test_kinds_are_mixed_by_their_shares():
    masks = drawn_masks([Half(share=3.0), Outpaint(share=1.0), Boxes(share=0.0)], 400, size=(16, 16), draw=at())
    assert 0.68 < (masks.mean((1, 2, 3)) == 0.5).float().mean() < 0.83


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Irregular(strokes=(0, 2)), "strokes is"),
        (lambda: Irregular(segments=(3, 1)), "segments is"),
        (lambda: Irregular(turn=200.0), "turn is 200"),
        (lambda: Irregular(length=(0.1, 3.0)), "length is"),
        (lambda: Irregular(width=(-0.1, 0.1)), "width is"),
        (lambda: Irregular(hole=(0.5, 0.2)), "hole is"),
        (lambda: Irregular(share=-1.0), "share is -1.0"),
        (lambda: Boxes(boxes=(0, 1)), "boxes is"),
        (lambda: Boxes(side=(0.0, 0.5)), "side is"),
        (lambda: Boxes(side=(0.5, 0.95)), "does not fit between them. Expected a side of at most 0.92"),
        (lambda: Boxes(margin=0.5), "margin is 0.5"),
        (lambda: Half(sides=()), "sides is empty"),
        (lambda: Half(sides=("lefd",)), "Did you mean 'left'"),
        (lambda: Outpaint(padding=(0.1, 0.6)), "padding is"),
        (lambda: Outpaint(per_side=2.0), "per_side is 2.0"),
    ],
)
def test_settings_without_sense_are_refused(make, reason):
    with pytest.raises(ValueError, match=reason):
        make()


@pytest.mark.parametrize(
    ("kind", "size", "reason"),
    [
        (
            Boxes(side=(0.1, 0.1), boxes=(1, 1), hole=(0.5, 0.6)),
            (32, 32),
            "1000 masks of 32 x 32 pixels.*from 0.5 to 0.6",
        ),
        (Half(share=0.0), (32, 32), "expected one above 0"),
        ([], (32, 32), "0 kinds"),
        (Half(), (4, 32), "at least 8 pixels"),
    ],
)
def test_what_cannot_be_drawn_is_refused(kind, size, reason):
    with pytest.raises(ValueError, match=reason):
        drawn_masks(kind, 1, size=size, draw=at())


def test_settings_are_read_as_tables_by_their_kind():
    adapter = TypeAdapter(list[Annotated[Mask, Field(discriminator="kind")]])
    tables = [{"kind": "irregular", "strokes": [2, 3], "share": 0.7}, {"kind": "half", "sides": ["left", "top"]}]
    assert adapter.validate_python(tables) == [Irregular(strokes=(2, 3), share=0.7), Half(sides=("left", "top"))]


def encoded(image: Image.Image, format: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, format)
    return file.getvalue()


def white_corner(side: int = 16) -> Image.Image:
    pixels = np.zeros((side, side), dtype=np.uint8)
    pixels[: side // 2, : side // 4] = 255
    return Image.fromarray(pixels)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
def test_white_is_the_hole_in_any_mode(mode):
    image = white_corner()
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    mask = mask_from_file(encoded(image if mode == "I;16" else image.convert(mode)))
    expected = torch.zeros(1, 16, 16)
    expected[:, :8, :4] = 1
    assert torch.equal(mask, expected)


def test_a_mask_with_the_noise_of_jpeg_is_still_zero_and_one():
    mask = mask_from_file(encoded(white_corner(64), "JPEG"))
    assert mask.dtype == torch.float32
    assert mask.sum() == 32 * 16


def test_transparent_pixels_are_holes():
    pixels = np.zeros((8, 8, 4), dtype=np.uint8)
    pixels[2:, :, 3] = 255
    assert mask_from_file(encoded(Image.fromarray(pixels))).sum() == 16


def test_a_resized_mask_is_not_smoothed_and_is_cropped_like_the_image():
    wide = Image.new("L", (64, 32))
    wide.paste(255, (20, 0, 32, 32))
    cropped, stretched = (mask_from_file(encoded(wide), size=16, fit=fit) for fit in ("crop", "stretch"))
    assert cropped.shape == stretched.shape == (1, 16, 16)
    assert torch.equal(cropped[0, 0].nonzero().flatten(), torch.arange(2, 8))
    assert torch.equal(stretched[0, 0].nonzero().flatten(), torch.arange(5, 8))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (0, "no hole .its lightest pixel is 0 of 255.; expected white for the hole"),
        (1, "seem to be 0 and 1: save them as 0 and 255"),
        (255, "white everywhere .its darkest pixel is 255"),
    ],
)
def test_a_mask_without_a_hole_or_without_anything_known_is_refused(value, reason):
    with pytest.raises(ImageError, match=reason):
        mask_from_file(encoded(Image.new("L", (8, 8), value)))


def test_a_file_that_is_no_image_is_refused():
    with pytest.raises(ImageError, match="not a readable"):
        mask_from_file(b"no image")
