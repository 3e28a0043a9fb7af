"""Data of which only some examples have a label that may be learnt from, for semi-supervised games."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from equipoise.core.errors import DataError
from equipoise.data.source import Source, Split, Subset, few, subset, without_labels

UNKNOWN = -1
"""The class number of an example whose label is not told."""


class Semi(NamedTuple):
    """A batch of semi-supervised training."""

    x: Tensor
    """Examples in their turn, [N, *shape], whose labels are not told."""
    known: Tensor
    """As many labelled ones, drawn beside them, [N, *shape]."""
    y: Tensor
    """The class numbers of these, [N]."""


@final
@dataclass(frozen=True, eq=False)
class PartlyLabelled(Source):
    """A view of another source that tells the labels of some examples alone. Made by `partly_labelled`."""

    name: str
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    fingerprint: str
    whole: Source
    told: Tensor
    """Numbers of the labelled examples, int64 [L], on the CPU."""
    skipped: tuple[str, ...]
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.whole)

    def examples(self, indices: Tensor) -> Tensor:
        return self.whole.examples(indices)

    def labels(self, indices: Tensor) -> Tensor:
        """Class numbers, and -1 of examples whose label is not told."""
        found = self.whole.labels(indices)
        return found.where(torch.isin(indices.cpu(), self.told).to(found.device), UNKNOWN)

    def batch(self, indices: Tensor, *, labels: bool = False, draw: torch.Generator | None = None) -> Any:
        """With labels and `draw`, for training, a `Semi`: labelled examples come equally often, in random order."""
        if not labels or draw is None:
            x = self.examples(indices)
            return (x, self.labels(indices)) if labels else x
        rounds = -(-len(indices) // len(self.told))
        order = torch.cat([torch.randperm(len(self.told), generator=draw) for _ in range(rounds)])
        chosen = self.told[order[: len(indices)]]
        return Semi(self.whole.examples(indices), self.whole.examples(chosen), self.whole.labels(chosen))

    @property
    def known(self) -> Subset:
        """The labelled examples alone."""
        return subset(self.whole, self.told, name=f"{self.name} (labelled)")

    def to(self, device: torch.device | str) -> "PartlyLabelled":
        return replace(self, whole=self.whole.to(device))


def partly_labelled(source: Source, told: Tensor) -> PartlyLabelled:
    """The same examples, of which only those with the given numbers have a label.

    Raises `DataError` where there are no labels at all, or where a class has no labelled example.

    >>> from equipoise.data.digits import digits
    >>> source = partly_labelled(digits(), told_of(digits(), 2, seed=0))
    >>> len(source), len(source.known)
    (1797, 20)
    """
    if not source.classes:
        raise without_labels(source.name)
    told = told.cpu().to(torch.int64).unique()
    counts = source.labels(told).cpu().bincount(minlength=len(source.classes))
    if (counts == 0).any():
        missing = source.classes[int(counts.argmin())]
        raise DataError(f"{source.name}: no labelled example of class {missing!r}. Expected at least one of each.")
    digest = hashlib.sha256(source.fingerprint.encode())
    digest.update(told.contiguous().numpy().data)
    return PartlyLabelled(
        name=source.name,
        shape=source.shape,
        classes=source.classes,
        fingerprint=digest.hexdigest(),
        whole=source,
        told=told,
        skipped=source.skipped,
        notes=(*source.notes, f"Labels are told of {len(told)} of {len(source)} examples to train on."),
    )


def told_of(source: Source, per_class: int, *, seed: int) -> Tensor:
    """The numbers of so many examples of each class, drawn at random. Raises `DataError` for too few of one."""
    if not source.classes:
        raise without_labels(source.name)
    return few(source, per_class, seed=seed).indices


def listed(path: Path, num: int) -> Tensor:
    """Numbers of labelled examples among `num` from a text file, separated by white space; 0 is the first."""
    try:
        words = path.read_text("utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}). Expected a text file of numbers of examples.") from error
    wrong = [word for word in words if not word.isdecimal() or int(word) >= num]
    if wrong or not words:
        found = repr(wrong[0]) if wrong else "nothing"
        raise DataError(f"{path}: {found}. Expected numbers of labelled examples from 0 to {num - 1}, one a line.")
    return torch.tensor([int(word) for word in words]).unique()


def keeping(source: Source, numbers: Tensor, divide: Callable[[Source], Split]) -> tuple[Split, Tensor]:
    """What `divide` makes of the other examples, with those of the given numbers to train on; and these in that part.

    Examples are in the order of the source in both parts.
    """
    others = torch.ones(len(source), dtype=torch.bool)
    others[numbers] = False
    parts = divide(subset(source, torch.arange(len(source))[others], name=source.name))
    train, held_out = (behind(part, source) for part in parts)
    train = torch.cat([train, numbers]).sort().values
    split = Split(
        train=subset(source, train, name=parts.train.name), held_out=subset(source, held_out, name=parts.held_out.name)
    )
    return split, torch.searchsorted(train, numbers)


def behind(part: Source, source: Source) -> Tensor:
    """The numbers in `source` of the examples of a part of a part of it."""
    indices = torch.arange(len(part))
    while part is not source:
        assert isinstance(part, Subset)
        indices, part = part.indices[indices], part.whole
    return indices


def of_all(source: Source) -> Tensor:
    """All numbers: every label is told."""
    return torch.arange(len(source))
