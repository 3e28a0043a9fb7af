"""Classical augmentation: images mirrored, turned, shifted, sheared, scaled, recoloured and cut out, each on its own.

One function serves both places: the loader, which changes training examples as a function of their position, and the
game, which changes everything a critic sees, with a gradient.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample

from equipoise.core.errors import nearest
from equipoise.data.augment import after, check_images, each, places, rotation, scaling, translation

Fill = Literal["reflect", "border", "black"]
"""What is beyond the edges: the image mirrored, its last pixels repeated, or -1."""


@dataclass(frozen=True, kw_only=True)
class Changes:
    """How much images [N, C, H, W] in [-1, 1] are changed; each number is the largest change, 0 leaves it out.

    Drawn uniformly for each image: `rotation` and `shear` in degrees either way, `shift` as a share of the side,
    `zoom` as a factor from 1/(1 + zoom) to 1 + zoom, `brightness` added (in units of the range [-1, 1]), `contrast` and
    `saturation` as factors from 1/(1 + c) to 1 + c, `cutout` the side of a square hidden at a random place, as a share
    of the image's. Mirror and flip happen to half of the images. All together happen to a `share` of them.
    """

    mirror: bool = False
    """Left and right."""
    flip: bool = False
    """Up and down."""
    rotation: float = 0.0
    shift: float = 0.0
    shear: float = 0.0
    zoom: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    cutout: float = 0.0
    share: float = 1.0
    fill: Fill = "reflect"

    def __post_init__(self):
        limits = {"rotation": 180, "shear": 60, "shift": 1, "zoom": 4, "cutout": 1, "share": 1, "brightness": 2}
        for name in (*limits, "contrast", "saturation"):
            value, limit = getattr(self, name), limits.get(name, 4)
            if not 0 <= value <= limit:
                raise ValueError(f"{name} is {value}: expected a number from 0 to {limit}.")
        if self.fill not in get_args(Fill):
            raise ValueError(f"fill is {self.fill!r}. {nearest(self.fill, get_args(Fill))}")

    @property
    def moves(self) -> bool:
        """Whether pixels go to other places."""
        return bool(self.mirror or self.flip or self.rotation or self.shift or self.shear or self.zoom)


def changed(
    x: Float[Tensor, "n c h w"], changes: Changes, *, draw: torch.Generator | None = None
) -> Float[Tensor, "n c h w"]:
    """Images [N, C, H, W] in [-1, 1], each changed on its own, in [-1, 1] again unless it was outside before.

    Random numbers come from `draw`, a generator on the CPU, or from the global stream of the images' device. Linear in
    the image but for the clipping of colours, so gradients flow through. bilinear where pixels move.
    """
    check_images(x, "classical augmentation")
    random = Random(len(x), x, draw)
    y = x
    if changes.moves:
        y = moved(y, changes, random)
    if changes.brightness or changes.contrast or changes.saturation:
        y = recoloured(y, changes, random)
    if changes.cutout:
        y = cut_out(y, changes.cutout, random)
    if changes.share < 1:
        y = torch.where(each(random.unit() < changes.share), y, x)
    return y


class Random:
    """Random numbers for N images, from a generator of one's own or from the global stream of their device."""

    def __init__(self, num: int, like: Tensor, draw: torch.Generator | None):
        self.num, self.like, self.draw = num, like, draw

    def unit(self) -> Tensor:
        """From U(0, 1), [N]."""
        if self.draw is not None:
            return torch.rand(self.num, generator=self.draw).to(self.like)
        return torch.rand(self.num, device=self.like.device).to(self.like)

    def around(self, most: float) -> Tensor:
        """From U(-most, most), [N]."""
        return (2 * self.unit() - 1) * most

    def factor(self, most: float) -> Tensor:
        """A factor from 1/(1 + most) to 1 + most, evenly in its logarithm, [N]."""
        return self.around(math.log1p(most)).exp()

    def sign(self, on: bool) -> Tensor:
        """-1 for half of the images if `on`, [N]."""
        return 1 - 2 * (self.unit() < 0.5).to(self.like) if on else torch.ones(self.num).to(self.like)


def moved(x: Tensor, changes: Changes, random: Random) -> Tensor:
    """All geometric changes at once: the image is read where the inverse of the changes sends each pixel."""
    height, width = x.shape[2:]
    zoom = 1 / random.factor(changes.zoom)
    inverse = scaling(random.sign(changes.mirror) * zoom, random.sign(changes.flip) * zoom)
    inverse = after(inverse, rotation(random.around(math.radians(changes.rotation))))
    slant = torch.eye(3).to(x).repeat(len(x), 1, 1)
    slant[:, 0, 1] = torch.tan(random.around(math.radians(changes.shear)))
    inverse = after(inverse, slant)
    right, down = random.around(changes.shift * width), random.around(changes.shift * height)
    inverse = after(inverse, translation(-right, -down))
    grid = places(inverse, x)
    if changes.fill == "black":
        return grid_sample(x + 1, grid, padding_mode="zeros", align_corners=False) - 1
    mode = {"reflect": "reflection", "border": "border"}[changes.fill]
    return grid_sample(x, grid, padding_mode=mode, align_corners=False)


def recoloured(x: Tensor, changes: Changes, random: Random) -> Tensor:
    """Brightness, contrast about the image's mean, saturation about its grey; clipped to the range it had at most."""
    y = x + each(random.around(changes.brightness))
    mean = y.mean((1, 2, 3), keepdim=True)
    y = mean + (y - mean) * each(random.factor(changes.contrast))
    if x.shape[1] == 3:
        grey = y.mean(1, keepdim=True)
        y = grey + (y - grey) * each(random.factor(changes.saturation))
    bound = x.detach().abs().amax((1, 2, 3), keepdim=True).clamp_min(1)
    return torch.maximum(torch.minimum(y, bound), -bound)


def cut_out(x: Tensor, share: float, random: Random) -> Tensor:
    """A square of `share` of the side is grey (0), around a place anywhere in the image."""
    height, width = x.shape[2:]
    top, left = random.unit() * height, random.unit() * width
    rows = torch.arange(height, device=x.device, dtype=x.dtype) + 0.5
    columns = torch.arange(width, device=x.device, dtype=x.dtype) + 0.5
    inside = (rows - top[:, None]).abs() < share * height / 2, (columns - left[:, None]).abs() < share * width / 2
    return x * ~(inside[0][:, None, :, None] & inside[1][:, None, None, :])
