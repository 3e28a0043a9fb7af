"""Label maps: pictures whose grey values or colours are classes. Networks see one plane for each class."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from equipoise.core.errors import DataError
from equipoise.data.images import decode, deep_or_indexed

MAX_CLASSES = 256
Shade = int | str
"""What stands for a class in files: a grey value, or a colour as "#rrggbb"."""


@final
@dataclass(frozen=True)
class Labels:
    """The classes of label maps and the grey values or colours, all of one kind, that stand for them in files.

    Raises ValueError for fewer than two classes, and for values that are none or stand for two classes.

    >>> labels = Labels.of({"background": 0, "cell": 255})
    >>> labels.numbers(np.array([[[0, 255, 255]]], dtype=np.uint8), "a.png").tolist()
    [[[0, 1, 1]]]
    """

    names: tuple[str, ...]
    shades: tuple[Shade, ...]

    @classmethod
    def of(cls, table: Mapping[str, Shade]) -> "Labels":
        """From a table of names and their grey values or colours."""
        return cls(tuple(table), tuple(table.values()))

    def __post_init__(self):
        if not 2 <= len(self.shades) <= MAX_CLASSES:
            raise ValueError(f"{len(self.shades)} classes: expected a table of 2 to {MAX_CLASSES}.")
        if len({type(shade) for shade in self.shades}) > 1:
            raise ValueError(f'classes {self}: expected grey values alone, or colours alone, such as "#ff0000".')
        for shade in self.shades:
            if not is_shade(shade):
                raise ValueError(f'{shade!r} stands for no class: expected a grey value from 0, or "#rrggbb".')
        if len(set(self.codes)) < len(self.codes):
            raise ValueError(f"classes {self}: expected another value for each class.")

    def __str__(self) -> str:
        return ", ".join(f"{name} = {shade}" for name, shade in zip(self.names, self.shades))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def coloured(self) -> bool:
        """Whether colours stand for the classes, not grey values."""
        return isinstance(self.shades[0], str)

    @property
    def codes(self) -> tuple[int, ...]:
        """Grey values, or colours as 65536 · red + 256 · green + blue."""
        return tuple(int(shade[1:], 16) if isinstance(shade, str) else shade for shade in self.shades)

    def pixels(self, data: bytes) -> np.ndarray:
        """The values of an encoded label map [C, H, W], from which `numbers` reads classes.

        Where grey values are classes, 16-bit values stay as they are, and of a palette of colours the indices count.
        """
        exact = None if self.coloured else deep_or_indexed(data)
        return decode(data) if exact is None else exact[None]

    def numbers(self, pixels: np.ndarray, name: str) -> np.ndarray:
        """The class of each pixel of [C, H, W], uint8 [1, H, W]. Raises `DataError` naming the file."""
        codes, known = self.codes_of(pixels, name), np.array(self.codes)
        order = known.argsort()
        place = order[np.searchsorted(known, codes, sorter=order).clip(max=len(known) - 1)]
        wrong = known[place] != codes
        if wrong.any():
            strange = np.unique(codes[wrong])
            shown = ", ".join(shade(int(code), coloured=self.coloured) for code in strange[:5])
            raise DataError(
                f"{name}: {wrong.mean():.1%} of its pixels have no class, with values such as {shown}. Expected the "
                f"values of the table alone: {self}. Add what is missing to data.labels, or save the picture without "
                "smoothing and without loss, as PNG."
            )
        return place.astype(np.uint8)[None]

    def codes_of(self, pixels: np.ndarray, name: str) -> np.ndarray:
        """Grey values or packed colours [H, W]. Raises `DataError` for colours where grey values are classes."""
        if self.coloured:
            red, green, blue = np.broadcast_to(pixels, (3, *pixels.shape[1:])).astype(np.int64)
            return 65536 * red + 256 * green + blue
        if (pixels != pixels[:1]).any():
            raise DataError(
                f"{name} has colours, and data.labels gives classes by grey values: {self}. Give the colours of the "
                'classes, such as {road = "#804080", sky = "#4682b4"}, or save grey label maps.'
            )
        return pixels[0].astype(np.int64)

    def planes(self, numbers: Tensor) -> Tensor:
        """One plane for each class, 1 where it is and -1 elsewhere: float32 [..., K, H, W] from [..., 1, H, W]."""
        every = torch.arange(len(self), device=numbers.device)[:, None, None]
        return (numbers == every).float() * 2 - 1

    def picture(self, planes: Tensor) -> Tensor:
        """Label maps as in files: of planes [N, K, H, W] the values of the highest, int64 [N, 1 or 3, H, W]."""
        codes = torch.tensor(self.codes, device=planes.device)[planes.argmax(1, keepdim=True)]
        return torch.cat([codes >> 16, codes >> 8 & 255, codes & 255], dim=1) if self.coloured else codes

    def shown(self, planes: Tensor) -> Tensor:
        """Label maps as people see them, [N, 1 or 3, H, W] in [-1, 1]: greys are spread to be told apart."""
        if self.coloured:
            return self.picture(planes) / 127.5 - 1
        return planes.argmax(1, keepdim=True) / (len(self) - 1) * 2 - 1


def is_shade(value: Shade) -> bool:
    """Whether it is a grey value of at most 16 bits, or a colour."""
    if isinstance(value, str):
        return len(value) == 7 and value[0] == "#" and all(digit in "0123456789abcdefABCDEF" for digit in value[1:])
    return 0 <= value < 65536


def shade(code: int, *, coloured: bool) -> str:
    """A grey value or packed colour in words."""
    return f"#{code:06x}" if coloured else str(code)
