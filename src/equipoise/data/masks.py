"""Masks of holes for inpainting: strokes, boxes, halves and frames drawn at random, or read from a file; 1 is hole."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, assert_never, get_args

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw
from torch import Tensor

from equipoise.data.checks import Range, check_choice, check_number, check_range
from equipoise.data.degradations import chosen
from equipoise.data.images import Fit, ImageError, decode

Side = Literal["left", "right", "top", "bottom"]

MAX_TRIES = 1000
"""A mask whose hole is too small or too large is drawn anew so often at most."""


@dataclass(frozen=True, kw_only=True)
class Irregular:
    """Thick zigzag strokes with round ends, as if wiped by hand (after Yu et al. 2019, Free-Form Image Inpainting).

    There are as many strokes as drawn from `strokes`, each of so many `segments`. A stroke starts anywhere in any
    direction; each next segment turns by up to `turn` degrees either way and stops at the border. `length` and `width`
    of a segment are shares of the shorter side; the defaults are the wide masks of LaMa at 256 pixels. `hole` is the
    share of the image that the hole may take, `share` how often such masks are drawn beside others.
    """

    kind: Literal["irregular"] = "irregular"
    strokes: tuple[int, int] = (1, 5)
    segments: tuple[int, int] = (1, 5)
    turn: float = 180.0
    length: Range = (0.04, 0.8)
    width: Range = (0.02, 0.4)
    hole: Range = (0.05, 0.6)
    share: float = 1.0

    def __post_init__(self):
        check_range("strokes", self.strokes, 1, 100)
        check_range("segments", self.segments, 1, 100)
        check_number("turn", self.turn, 0, 180)
        check_range("length", self.length, 0, 2)
        check_range("width", self.width, 0, 1)
        check_range("hole", self.hole, 0, 1)
        check_number("share", self.share, 0, 1e6)


@dataclass(frozen=True, kw_only=True)
class Boxes:
    """Upright boxes that may overlap: `boxes` of them, their sides shares of the image's, `margin` away from its edges.

    The defaults are those of LaMa at 256 pixels. `hole` and `share` are as for `Irregular`.
    """

    kind: Literal["boxes"] = "boxes"
    boxes: tuple[int, int] = (1, 4)
    side: Range = (0.12, 0.58)
    margin: float = 0.04
    hole: Range = (0.01, 0.7)
    share: float = 1.0

    def __post_init__(self):
        check_range("boxes", self.boxes, 1, 100)
        check_range("side", self.side, 0.001, 1)
        check_number("margin", self.margin, 0, 0.45)
        if self.side[1] + 2 * self.margin > 1:
            raise ValueError(
                f"side is {self.side} with a margin of {self.margin}: the largest box does not fit between them. "
                f"Expected a side of at most {1 - 2 * self.margin:g}."
            )
        check_range("hole", self.hole, 0, 1)
        check_number("share", self.share, 0, 1e6)


@dataclass(frozen=True, kw_only=True)
class Half:
    """One half of the image, on one of the `sides`, each equally likely; `share` is as for `Irregular`."""

    kind: Literal["half"] = "half"
    sides: tuple[Side, ...] = ("left", "right", "top", "bottom")
    share: float = 1.0

    def __post_init__(self):
        if not self.sides:
            raise ValueError(f"sides is empty: expected some of {', '.join(get_args(Side))}.")
        for side in self.sides:
            check_choice("sides", side, get_args(Side))
        check_number("share", self.share, 0, 1e6)


@dataclass(frozen=True, kw_only=True)
class Outpaint:
    """All that is outside a window: from each side a part is missing, or not.

    A side misses a part with the chance `per_side`, at least one side does; the part is drawn from `padding`, as a
    share of the image's width or height. `share` is as for `Irregular`.
    """

    kind: Literal["outpaint"] = "outpaint"
    padding: Range = (0.05, 0.25)
    per_side: float = 0.5
    share: float = 1.0

    def __post_init__(self):
        check_range("padding", self.padding, 0.001, 0.49)
        check_number("per_side", self.per_side, 0, 1)
        check_number("share", self.share, 0, 1e6)


Mask = Irregular | Boxes | Half | Outpaint


def drawn_masks(
    masks: Mask | Sequence[Mask], num: int, *, size: tuple[int, int], draw: torch.Generator
) -> Float[Tensor, "n 1 h w"]:
    """As many masks as `num`, float32 [N, 1, H, W] of a `size` (height, width): 1 is a hole, 0 is known.

    Each is of one of the kinds, drawn by their `share`. No mask is empty or full. Where a `hole` is out of its range
    the mask is drawn anew; settings that miss it a thousand times in a row are a ValueError. Random numbers come from
    `draw`, a generator on the CPU: equal states give equal masks.

    >>> drawn_masks([Irregular(share=0.8), Half(share=0.2)], 4, size=(64, 64), draw=torch.Generator()).shape
    torch.Size([4, 1, 64, 64])
    """
    kinds = list(masks) if isinstance(masks, Sequence) else [masks]
    shares = [kind.share for kind in kinds]
    if sum(shares) == 0:
        raise ValueError(f"there are {len(kinds)} kinds of masks with the shares {shares}: expected one above 0.")
    if min(size) < 8:
        raise ValueError(f"size is {size}: expected a height and width of at least 8 pixels to draw masks on.")
    drawn = [_one(kinds[chosen(shares, draw)], size, draw) for _ in range(num)]
    return torch.from_numpy(np.stack(drawn))[:, None].to(torch.float32)


def mask_from_file(data: bytes, *, size: int | None = None, fit: Fit = "crop") -> Float[Tensor, "1 h w"]:
    """The mask in an encoded image, float32 [1, H, W]: white is a hole (1), black is known (0).

    Any mode that `images.decode` reads; what is lighter than middle grey is white, transparent pixels too. `size` and
    `fit` are as for `decode` and should be those of the images; pixels are never mixed. An `ImageError` where nothing
    or everything would be a hole.
    """
    grey = decode(data, size=size, channels=1, fit=fit, filter="nearest")
    hole = grey >= 128
    if hole.any() and not hole.all():
        return torch.from_numpy(hole).to(torch.float32)
    if hole.all():
        raise ImageError(
            f"the mask is white everywhere (its darkest pixel is {grey.min()} of 255), so nothing of the image would "
            "be known. Expected white where the hole is and black elsewhere."
        )
    hint = "its values seem to be 0 and 1: save them as 0 and 255" if grey.max() == 1 else "expected white for the hole"
    raise ImageError(f"the mask has no hole (its lightest pixel is {grey.max()} of 255); {hint}.")


def _one(kind: Mask, size: tuple[int, int], draw: torch.Generator) -> np.ndarray:
    """One mask, uint8 [H, W] of 0 and 1."""
    height, width = size
    numbers = _numbers(draw)
    for _ in range(MAX_TRIES):
        image = Image.new("L", (width, height))
        canvas = ImageDraw.Draw(image)
        lowest, highest = 0.0, 1.0
        match kind:
            case Irregular():
                lowest, highest = kind.hole
                _strokes(canvas, kind, size, numbers)
            case Boxes():
                lowest, highest = kind.hole
                _boxes(canvas, kind, size, numbers)
            case Half():
                side = kind.sides[int(next(numbers) * len(kind.sides))]
                _cut(canvas, size, {side: 0.5})
            case Outpaint():
                _cut(canvas, size, _paddings(kind, numbers))
            case _:
                assert_never(kind)
        mask = np.asarray(image)
        part = mask.mean()
        if 0 < part < 1 and lowest <= part <= highest:
            return mask
    raise ValueError(
        f"{kind} drew {MAX_TRIES} masks of {height} x {width} pixels in a row whose hole was empty, full or not from "
        f"{lowest:g} to {highest:g} of the image. Choose other sizes and numbers, or a wider range for `hole`."
    )


def _numbers(draw: torch.Generator) -> Iterator[float]:
    """Numbers from U(0, 1), drawn in blocks: one by one they would take longer than the strokes."""
    while True:
        yield from torch.rand(64, generator=draw).tolist()


def _within(ends: Range, number: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * number


def _count(ends: tuple[int, int], number: float) -> int:
    return ends[0] + int(number * (ends[1] - ends[0] + 1))


def _strokes(canvas: ImageDraw.ImageDraw, kind: Irregular, size: tuple[int, int], numbers: Iterator[float]) -> None:
    height, width = size
    shorter = min(size)
    for _ in range(_count(kind.strokes, next(numbers))):
        x, y = next(numbers) * (width - 1), next(numbers) * (height - 1)
        direction = 2 * math.pi * next(numbers)
        for _ in range(_count(kind.segments, next(numbers))):
            length = _within(kind.length, next(numbers)) * shorter
            thick = max(1, round(_within(kind.width, next(numbers)) * shorter))
            to_x = min(max(x + length * math.cos(direction), 0), width - 1)
            to_y = min(max(y + length * math.sin(direction), 0), height - 1)
            canvas.line((x, y, to_x, to_y), fill=1, width=thick)
            reach = (thick - 1) / 2
            for end_x, end_y in ((x, y), (to_x, to_y)):
                canvas.ellipse((end_x - reach, end_y - reach, end_x + reach, end_y + reach), fill=1)
            x, y = to_x, to_y
            direction += math.radians(kind.turn) * (2 * next(numbers) - 1)


def _boxes(canvas: ImageDraw.ImageDraw, kind: Boxes, size: tuple[int, int], numbers: Iterator[float]) -> None:
    for _ in range(_count(kind.boxes, next(numbers))):
        starts, ends = [], []
        for whole in size:
            side = max(1, round(_within(kind.side, next(numbers)) * whole))
            margin = min(round(kind.margin * whole), (whole - side) // 2)
            start = _count((margin, whole - margin - side), next(numbers))
            starts.append(start)
            ends.append(start + side - 1)
        canvas.rectangle((starts[1], starts[0], ends[1], ends[0]), fill=1)


def _paddings(kind: Outpaint, numbers: Iterator[float]) -> dict[Side, float]:
    sides: tuple[Side, ...] = get_args(Side)
    at_least: Side = sides[int(next(numbers) * 4)]
    missing: list[Side] = [side for side in sides if next(numbers) < kind.per_side] or [at_least]
    return {side: _within(kind.padding, next(numbers)) for side in missing}


def _cut(canvas: ImageDraw.ImageDraw, size: tuple[int, int], parts: dict[Side, float]) -> None:
    """The given parts of the image, from its sides on, become holes: at least one row or column each."""
    height, width = size
    for side, part in parts.items():
        rows, columns = max(1, round(part * height)), max(1, round(part * width))
        match side:
            case "left":
                canvas.rectangle((0, 0, columns - 1, height - 1), fill=1)
            case "right":
                canvas.rectangle((width - columns, 0, width - 1, height - 1), fill=1)
            case "top":
                canvas.rectangle((0, 0, width - 1, rows - 1), fill=1)
            case "bottom":
                canvas.rectangle((0, height - rows, width - 1, height - 1), fill=1)
