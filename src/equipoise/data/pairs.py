"""How the two sides of pairs lie: A and B in folders of their own, or side by side in one picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal, NamedTuple, final

import numpy as np

from equipoise.core.errors import DataError
from equipoise.data.labels import Labels

Side = Literal["A", "B"]
Direction = Literal["AtoB", "BtoA"]


@final
@dataclass(frozen=True, kw_only=True)
class Pairing:
    """Which side is given, and which of them are label maps.

    A lies in the partners' place, or is the left half of a picture; B lies in the pictures' own place, or is the right
    half.
    """

    part: str | None = None
    """Where A lies in the same folder or .zip as B, or in its own: a sub-folder."""
    aligned: bool = False
    """Whether each picture holds A and B side by side."""
    direction: Direction = "AtoB"
    """Which side is given: of "AtoB" A."""
    labels: Mapping[Side, Labels] = field(default_factory=dict)

    @property
    def given_labels(self) -> Labels | None:
        """The classes of what is given, if it is a label map."""
        return self.labels.get("A" if self.direction == "AtoB" else "B")

    @property
    def target_labels(self) -> Labels | None:
        """The classes of targets, if they are label maps."""
        return self.labels.get("B" if self.direction == "AtoB" else "A")


class Sides(NamedTuple):
    """The pixels [C, H, W] of both sides of every pair."""

    a: list[np.ndarray]
    b: list[np.ndarray]


def halves(names: Sequence[str], found: Sequence[np.ndarray]) -> Sides:
    """The two sides of aligned pictures. Raises `DataError` for a width that cannot be halved."""
    for name, pixels in zip(names, found):
        height, width = pixels.shape[1:]
        if width % 2:
            raise DataError(
                f"{name} has {width} × {height} pixels: with data.aligned = true each picture holds A on the left and "
                "B on the right, of one size, so that its width is even. Cut it, or give two folders by data.given."
            )
    both = [np.split(pixels, 2, axis=2) for pixels in found]
    return Sides([left for left, _ in both], [right for _, right in both])


def partners_of(names: Sequence[str], others: Sequence[str]) -> dict[str, str]:
    """For each name the other of the same name: in the same sub-folder of another top, or the only one so called.

    Names without a partner are left out. Raises `DataError` where several are called so.

    >>> partners_of(["train/label/0", "train/label/1"], ["train/image/0", "train/image/2"])
    {'train/label/0': 'train/image/0'}
    """
    top, other_top = depth_of_top(names), depth_of_top(others)
    below = {PurePosixPath(name).parts[other_top:]: name for name in others}
    called: dict[str, list[str]] = {}
    for name in others:
        called.setdefault(PurePosixPath(name).name, []).append(name)
    known, found = set(others), {}
    for name in names:
        alike = called.get(PurePosixPath(name).name, [])
        other = name if name in known else below.get(PurePosixPath(name).parts[top:])
        if other is None and len(alike) > 1:
            raise DataError(
                f"{name} has {len(alike)} partners of its name: {', '.join(alike[:3])}. Expected one. Put pairs into "
                "sub-folders of the same names, or rename them."
            )
        other = other or next(iter(alike), None)
        if other is not None:
            found[name] = other
    return found


def depth_of_top(names: Sequence[str]) -> int:
    """In how many folders all of the names lie together."""
    parents = [PurePosixPath(name).parent.parts for name in names]
    depth = 0
    while all(len(parts) > depth for parts in parents) and len({parts[depth] for parts in parents}) == 1:
        depth += 1
    return depth
