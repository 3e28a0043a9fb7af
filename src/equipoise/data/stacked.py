"""Stacked images: three grey images of known classes become one colour image, so a thousand modes can be counted."""

import hashlib
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from equipoise.core.errors import DataError
from equipoise.core.seeding import generator
from equipoise.data.source import Source, without_labels


@final
@dataclass(frozen=True, eq=False)
class Stacked(Source):
    """Red, green and blue are three examples of a grey source, drawn at random once and for all.

    Of a source with K classes there are K³ kinds of stack: with MNIST the 1,000 modes of Metz et al. 2017 (App. E). The
    class of a stack is the number whose digits, to the base K, are the classes of red, green and blue.
    """

    base: Source
    num: int
    seed: int = 0
    picks: Tensor = field(init=False, repr=False)
    """Which three examples of the base make each stack, int64 [M, 3]."""

    def __post_init__(self):
        if self.base.shape[0] != 1 or len(self.base.shape) != 3:
            raise DataError(
                f"{self.base.name} has examples of shape {list(self.base.shape)}: expected grey images [1, H, W] to "
                "stack. Open it with channels=1."
            )
        picks = torch.randint(len(self.base), (self.num, 3), generator=generator(self.seed, "stacked"))
        object.__setattr__(self, "picks", picks)

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"stacked {self.base.name}"

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return (3, *self.base.shape[1:])

    @property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]
        names = self.base.classes
        return tuple(f"{red}{green}{blue}" for red in names for green in names for blue in names)

    @property
    def fingerprint(self) -> str:  # type: ignore[override]
        return hashlib.sha256(f"stacked {self.num} {self.seed} {self.base.fingerprint}".encode()).hexdigest()

    @property
    def skipped(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.base.skipped

    @property
    def notes(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.base.notes

    def __len__(self) -> int:
        return self.num

    def examples(self, indices: Tensor) -> Tensor:
        chosen = self.picks[indices.cpu()].flatten()
        return self.base.examples(chosen).view(-1, *self.shape)  # [N, 3, H, W]

    def labels(self, indices: Tensor) -> Tensor:
        if not self.base.classes:
            raise without_labels(self.name)
        of_each = self.base.labels(self.picks[indices.cpu()].flatten()).view(-1, 3)
        return stack_number(of_each, len(self.base.classes))

    def to(self, device: torch.device | str) -> "Stacked":
        return Stacked(self.base.to(device), self.num, self.seed)


def stack_number(classes: Tensor, num_classes: int) -> Tensor:
    """The class of stacks whose channels have the given classes: int64 [N, 3] to [N].

    >>> stack_number(torch.tensor([[1, 2, 3]]), 10)
    tensor([123])
    """
    return (classes[:, 0] * num_classes + classes[:, 1]) * num_classes + classes[:, 2]
