"""Which examples are drawn at which position: a pure function, one permutation of the source per epoch."""

from typing import Any, final

import torch
from torch import Tensor

from equipoise.core.seeding import generator, shuffled
from equipoise.data.classical import Changes, changed
from equipoise.data.source import Source, without_labels


@final
class Loader:
    """Batches by position, where a position is the number of examples drawn before.

    Epoch e visits every example once, in its own order; a batch may reach into the next epochs, and none is cut short.
    With `changes`, images are augmented anew each time.
    The answer depends on (seed, position, size) alone, so nothing has to be saved to resume.

    >>> from equipoise.data.digits import digits
    >>> x, y = Loader(digits(), labels=True, seed=0)(position=1790, size=16)
    >>> x.shape, y.shape
    (torch.Size([16, 1, 8, 8]), torch.Size([16]))
    """

    def __init__(self, source: Source, *, labels: bool, seed: int, changes: Changes | None = None):
        if labels and not source.classes:
            raise without_labels(source.name)
        self.source = source
        self.with_labels = labels
        self.seed = seed
        self.changes = changes
        self._orders: dict[int, Tensor] = {}

    def __call__(self, position: int, size: int) -> Any:
        """The examples at `position` … `position + size - 1`: x, (x, y) with labels, or (given, target) of pairs."""
        chosen = self.indices(position, size)
        draw = generator(self.seed, "batch", position)
        batch = self.source.batch(chosen, labels=self.with_labels, draw=draw)  # [N, *shape]
        if self.changes is None:
            return batch
        parts = [
            changed(part, self.changes, draw=generator(self.seed, "augmentation", position, *([k] if k else [])))
            if part.is_floating_point()
            else part
            for k, part in enumerate(batch if self.with_labels else (batch,))
        ]
        return tuple(parts) if self.with_labels else parts[0]

    def indices(self, position: int, size: int) -> Tensor:
        """Their numbers in the source, int64 [N]."""
        if position < 0 or size < 1:
            raise ValueError(f"Loader(position={position}, size={size}): expected a position >= 0 and a size >= 1.")
        length = len(self.source)
        first, last = position // length, (position + size - 1) // length
        kept = self._orders
        # Only what the last batch touched is kept: the current epoch and, at its end, the next.
        orders = {
            epoch: kept[epoch] if epoch in kept else shuffled(length, self.seed, "epoch", epoch)
            for epoch in range(first, last + 1)
        }
        self._orders = orders
        begin = position - first * length
        order = orders[first] if first == last else torch.cat(list(orders.values()))
        return order[begin : begin + size]
