"""How games of style look at pictures: through the layers of a frozen network, as what is there and as texture."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from equipoise.core.schedule import Scheduled


class Seen(NamedTuple):
    """What a frozen network sees of pictures: layers [N, C, h, w]."""

    content: Sequence[Tensor]
    """Those that say what is where."""
    style: Sequence[Tensor]
    """Those whose Gram matrices are the texture."""


See = Callable[[Tensor], Seen]
"""From pictures [N, 3, H, W] in [-1, 1]; gradients flow to the pictures and not into the network."""

Matrices = Callable[[], Sequence[Tensor]]
"""Answers the Gram matrices [1, C, C] of the one style that is learnt, layer by layer, as `Seen.style` has them."""


@dataclass(frozen=True, kw_only=True)
class Tastes:
    """The weights of what a stylised picture is wanted to be."""

    content: Scheduled = 1.0
    """Of the distance to what is in the picture."""
    style: Scheduled = 10.0
    """Of the distance to the texture of the style."""
    smoothness: Scheduled = 1.0
    """Of the total variation, against noise."""
