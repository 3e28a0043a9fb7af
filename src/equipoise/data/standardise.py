"""Examples brought to a common range by numbers that are measured once and remembered, and brought back by them."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, final

import torch
from torch import Tensor

from equipoise.data.source import Source

How = Literal["none", "range", "mean-std"]
"""Left as they are, from [min, max] to [-1, 1], or to mean 0 and deviation 1; each coordinate or channel on its own."""

CHUNK = 2**21
"""Values that are looked at together, so that measuring needs little memory."""


@final
@dataclass(frozen=True, eq=False)
class Standard:
    """(x - shift) / scale, for each coordinate of vectors [N, D] or each channel of images [N, C, H, W]; and back.

    >>> celsius = between(-50, 50)
    >>> celsius.forward(torch.tensor([[25.0]])), celsius.inverse(torch.tensor([[-1.0]]))
    (tensor([[0.5000]]), tensor([[-50.]]))
    """

    shift: Tensor
    """float32 [D] or [C], or [1] where it is the same for all; in the units of the data."""
    scale: Tensor
    """The same, above 0."""
    low: float
    """The smallest value of all, which pictures show black."""
    high: float
    """The largest, which they show white."""
    clips: bool = False
    """Whether what comes out beyond [-1, 1] is held at its ends: in images, which are nowhere expected beyond."""
    notes: tuple[str, ...] = ()
    """What a person may want to know of it."""

    def forward(self, x: Tensor) -> Tensor:
        """Standardised examples [N, *shape], of examples in the units of the data."""
        x = (x - _beside(self.shift, x)) / _beside(self.scale, x)
        return x.clamp(-1, 1) if self.clips else x

    def inverse(self, x: Tensor) -> Tensor:
        """Examples [N, *shape] in the units of the data, of standardised ones."""
        return x * _beside(self.scale, x) + _beside(self.shift, x)

    def shown(self, x: Tensor) -> Tensor:
        """Examples in the units of the data, as pictures show them.

        Images: `low` black (-1) and `high` white (1) in all channels, so that colours stay what they are; what lies
        beyond is cut off by the picture. Vectors: standardised, for their coordinates may be of different sizes.
        """
        if x.ndim < 4:
            return replace(self, clips=False).forward(x)
        return (x - self.low) * (2 / ((self.high - self.low) or 1.0)) - 1

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and lists, from which `from_json` makes the same standard."""
        return {**vars(self), "shift": self.shift.tolist(), "scale": self.scale.tolist()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Standard":
        """The standard that `to_json` wrote. A ValueError, KeyError or TypeError where it is damaged."""
        shift, scale = (torch.tensor(content[name], dtype=torch.float32) for name in ("shift", "scale"))
        low, high = float(content["low"]), float(content["high"])
        if (
            shift.ndim != 1
            or shift.shape != scale.shape
            or not (shift.isfinite() & scale.isfinite() & (scale > 0)).all()
            or low > high
        ):
            raise ValueError("the numbers by which the data is standardised are not sound")
        return cls(shift, scale, low, high, bool(content["clips"]), tuple(map(str, content["notes"])))


def windowed(x: Tensor, window: tuple[float, float]) -> Tensor:
    """Values as a screen shows them through a window: -1 at its lower end and below, 1 at its upper end and above.

    >>> windowed(torch.tensor([-500.0, 40.0, 240.0]), (-160.0, 240.0))
    tensor([-1.,  0.,  1.])
    """
    low, high = window
    return (x.clamp(low, high) - low) * (2 / (high - low)) - 1


def between(low: float, high: float) -> Standard:
    """The standard under which a range that is known beforehand becomes [-1, 1]."""
    middle, half = torch.tensor([(high + low) / 2]), torch.tensor([(high - low) / 2])
    return Standard(middle, half, float(low), float(high), clips=True)


def measured(source: Source, how: Literal["range", "mean-std"]) -> Standard:
    """The standard of a source, each coordinate or channel on its own, in one pass and in double precision.

    "range" brings [min, max] to [-1, 1], and holds other images than these there; "mean-std" gives mean 0 and deviation
    1 (of the population). What never changes has the scale 1. Give the training examples only.
    """
    size = source.shape[0]
    low, high = torch.full((size,), math.inf).double(), torch.full((size,), -math.inf).double()
    mean, squares, num = torch.zeros(size).double(), torch.zeros(size).double(), 0
    for indices in torch.arange(len(source)).split(max(1, CHUNK // math.prod(source.shape))):
        x = source.examples(indices).cpu().double().movedim(1, -1).reshape(-1, size)
        low, high = torch.minimum(low, x.amin(0)), torch.maximum(high, x.amax(0))
        # Chan, Golub & LeVeque 1983: sums of squares about the mean of each chunk lose no digits to a large mean.
        total, apart = num + len(x), x.mean(0) - mean
        squares += (x - x.mean(0)).square().sum(0) + apart.square() * (num * len(x) / total)
        mean, num = mean + apart * (len(x) / total), total
    shift, scale = ((low + high) / 2, (high - low) / 2) if how == "range" else (mean, (squares / num).sqrt())
    constant = low == high
    notes = ()
    if constant.any():
        what, numbers = "channel" if len(source.shape) == 3 else "coordinate", constant.nonzero().flatten().tolist()
        which = f"{', '.join(map(str, numbers[:10]))}{', …' if len(numbers) > 10 else ''}"
        notes = (f"the same in all training examples, and only shifted to 0 by data.standardise: {what} {which}",)
    return Standard(
        shift=torch.where(constant, low, shift).float(),
        scale=torch.where(constant, 1.0, scale).float(),
        low=low.min().item(),
        high=high.max().item(),
        clips=how == "range" and len(source.shape) == 3,
        notes=notes,
    )


@final
@dataclass(frozen=True, eq=False)
class Standardised(Source):
    """A view of another source, standardised. Made by `standardised`."""

    name: str
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    fingerprint: str
    skipped: tuple[str, ...]
    notes: tuple[str, ...]
    whole: Source
    by: Standard

    def __len__(self) -> int:
        return len(self.whole)

    def examples(self, indices: Tensor) -> Tensor:
        return self.by.forward(self.whole.examples(indices))

    def labels(self, indices: Tensor) -> Tensor:
        return self.whole.labels(indices)

    def to(self, device: torch.device | str) -> "Standardised":
        by = replace(self.by, shift=self.by.shift.to(device), scale=self.by.scale.to(device))
        return replace(self, whole=self.whole.to(device), by=by)


def standardised(source: Source, by: Standard) -> Standardised:
    """The same examples, standardised; the numbers by which are part of the fingerprint."""
    numbers = json.dumps([source.fingerprint, by.shift.tolist(), by.scale.tolist()])
    return Standardised(
        name=source.name,
        shape=source.shape,
        classes=source.classes,
        fingerprint=hashlib.sha256(numbers.encode()).hexdigest(),
        skipped=source.skipped,
        notes=(*source.notes, *by.notes),
        whole=source,
        by=by,
    )


def _beside(numbers: Tensor, x: Tensor) -> Tensor:
    """One number for each coordinate or channel of examples [N, *shape]."""
    return numbers.to(x.device).view(-1, *[1] * (x.ndim - 2))
