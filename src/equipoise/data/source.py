"""A source is a finite set of examples, asked by index: pure, on a device, with or without labels."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from equipoise.core.errors import DataError
from equipoise.core.seeding import shuffled
from equipoise.data.splits import k_fold


class TaskFacts(NamedTuple):
    """What a game must know of one of several tasks."""

    share: float
    """Of the examples."""
    factor: int
    """How many times smaller the pictures are that it begins with; they are given enlarged."""
    masked: bool
    """Whether it fills holes that a mask tells."""


class Source(ABC):
    """A finite set of examples. What it answers depends on the indices alone.

    Images are [C, H, W] in [-1, 1] (a byte b means b / 127.5 - 1); vectors are [D] and may have any range. Only what is
    still to be standardised (`standardise.standardised`) may be images of another range.
    """

    name: str
    shape: tuple[int, ...]
    """The shape of one example."""
    classes: tuple[str, ...]
    """Names of the classes, by number; empty where there are no labels."""
    fingerprint: str
    """SHA-256 over content and labels: equal fingerprints mean equal examples."""
    skipped: tuple[str, ...]
    """Files that could not be read and were left out, each as "path: reason"."""
    notes: tuple[str, ...]
    """What was decided while opening the source and a person may want to know."""

    @abstractmethod
    def __len__(self) -> int:
        """The number of examples."""

    @abstractmethod
    def examples(self, indices: Tensor) -> Tensor:
        """The examples with the given numbers (int64 [N]): float32 [N, *shape] on the source's device."""

    @abstractmethod
    def labels(self, indices: Tensor) -> Tensor:
        """Their class numbers: int64 [N] on the source's device. A `DataError` where there are no labels."""

    @property
    def given_shape(self) -> tuple[int, ...] | None:
        """Of sources of pairs: the shape of what a game is given of one example; `shape` is that of the target."""
        return None

    @property
    def tasks(self) -> Mapping[str, TaskFacts]:
        """Of sources of several tasks: their names in order, with what a game must know of them."""
        return {}

    def batch(self, indices: Tensor, *, labels: bool = False, draw: torch.Generator | None = None) -> Any:
        """What a game is given of these examples: x, or (x, y) with labels; (given, target) from sources of pairs.

        `draw` is the randomness of training, for sources that crop or degrade; without it every answer is the same.
        """
        x = self.examples(indices)
        return (x, self.labels(indices)) if labels else x

    @abstractmethod
    def to(self, device: torch.device | str) -> "Source":
        """The same source, answering on another device."""


@final
@dataclass(frozen=True, eq=False)
class ArraySource(Source):
    """Examples that live in memory, on the device they are used on. Made by `tensor_source`."""

    name: str
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    fingerprint: str
    values: Tensor
    """uint8 [N, C, H, W] or float32 [N, *shape]."""
    targets: Tensor | None
    """int64 [N], or None."""
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.values)

    def examples(self, indices: Tensor) -> Tensor:
        chosen = self.values[indices.to(self.values.device)]
        return to_float(chosen) if chosen.dtype == torch.uint8 else chosen

    def labels(self, indices: Tensor) -> Tensor:
        if self.targets is None:
            raise without_labels(self.name)
        return self.targets[indices.to(self.targets.device)]

    def to(self, device: torch.device | str) -> "ArraySource":
        targets = None if self.targets is None else self.targets.to(device)
        return replace(self, values=self.values.to(device), targets=targets)


def tensor_source(
    name: str, values: Tensor, labels: Tensor | None = None, *, classes: tuple[str, ...] = ()
) -> ArraySource:
    """A source over tensors: uint8 images [N, C, H, W], or float32 [N, *shape] taken as they are.

    `labels` are class numbers [N]; `classes` names them, else they are called "0", "1", …

    >>> tensor_source("noise", torch.zeros(10, 1, 8, 8, dtype=torch.uint8)).shape
    (1, 8, 8)
    """
    if values.dtype not in (torch.uint8, torch.float32):
        raise DataError(f"{name}: the values are {values.dtype}. Expected uint8 images or float32; convert them first.")
    if values.dtype == torch.uint8 and values.ndim != 4:
        raise DataError(f"{name}: uint8 values of shape {list(values.shape)}. Expected images [N, C, H, W].")
    if labels is not None:
        labels = labels.to(torch.int64)
        if labels.shape != values.shape[:1]:
            raise DataError(
                f"{name}: labels of shape {list(labels.shape)} for {len(values)} examples. "
                "Expected one number per example, [N]."
            )
        classes = classes or tuple(str(number) for number in range(int(labels.max()) + 1))
        if int(labels.min()) < 0 or int(labels.max()) >= len(classes):
            raise DataError(
                f"{name}: labels from {int(labels.min())} to {int(labels.max())} for {len(classes)} classes. "
                f"Expected 0 to {len(classes) - 1}."
            )
    content = values.detach().cpu().contiguous()
    digest = hashlib.sha256(json.dumps([str(content.dtype), list(content.shape), classes]).encode())
    digest.update(content.numpy().data)
    if labels is not None:
        digest.update(labels.cpu().contiguous().numpy().data)
    return ArraySource(
        name=name,
        shape=tuple(values.shape[1:]),
        classes=classes if labels is not None else (),
        fingerprint=digest.hexdigest(),
        values=values,
        targets=labels,
    )


@final
@dataclass(frozen=True, eq=False)
class Subset(Source):
    """A view of some examples of another source. Made by `subset`."""

    name: str
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    fingerprint: str
    whole: Source
    indices: Tensor
    """Numbers in the whole source, int64 [N], on the CPU."""
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.indices)

    def examples(self, indices: Tensor) -> Tensor:
        return self.whole.examples(self.indices[indices.cpu()])

    def labels(self, indices: Tensor) -> Tensor:
        return self.whole.labels(self.indices[indices.cpu()])

    def batch(self, indices: Tensor, *, labels: bool = False, draw: torch.Generator | None = None) -> Any:
        return self.whole.batch(self.indices[indices.cpu()], labels=labels, draw=draw)

    def to(self, device: torch.device | str) -> "Subset":
        return replace(self, whole=self.whole.to(device))


def subset(source: Source, indices: Tensor, *, name: str) -> Subset:
    """The examples of `source` with the given numbers, int64 [N], in that order."""
    indices = indices.cpu().to(torch.int64)
    digest = hashlib.sha256(source.fingerprint.encode())
    digest.update(indices.contiguous().numpy().data)
    return Subset(
        name=name,
        shape=source.shape,
        classes=source.classes,
        fingerprint=digest.hexdigest(),
        whole=source,
        indices=indices,
        skipped=source.skipped,
        notes=source.notes,
    )


class Split(NamedTuple):
    """Two disjoint parts that together are the whole."""

    train: Source
    held_out: Source


def split(source: Source, held_out: int | float, *, seed: int) -> Split:
    """Sets examples aside: `held_out` of them, or that share of all where it is a fraction below 1.

    Where there are labels, every class gives its share (largest remainders), so both parts are alike.
    """
    total = len(source)
    count = round(held_out * total) if isinstance(held_out, float) else held_out
    if not 1 <= count < total:
        raise DataError(
            f"{source.name}: cannot hold out {held_out} of {total} examples. "
            f"Expected a number from 1 to {total - 1}, or a fraction such as 0.1 that leaves examples on both sides."
        )
    every = torch.arange(total)
    numbers = source.labels(every).cpu() if source.classes else torch.zeros(total, dtype=torch.int64)
    groups = [every[numbers == number] for number in numbers.unique()]

    quotas = [count * len(group) / total for group in groups]
    shares = [int(quota) for quota in quotas]
    by_remainder = sorted(range(len(groups)), key=lambda group: shares[group] - quotas[group])
    for group in by_remainder[: count - sum(shares)]:
        shares[group] += 1

    orders = [shuffled(len(group), seed, "split", number) for number, group in enumerate(groups)]
    aside = torch.zeros(total, dtype=torch.bool)
    for group, order, share in zip(groups, orders, shares, strict=True):
        aside[group[order[:share]]] = True
    return Split(
        train=subset(source, every[~aside], name=source.name),
        held_out=subset(source, every[aside], name=f"{source.name} (held out)"),
    )


def ending(source: Source, held_out: int, *, gap: int) -> Split:
    """The last examples held out, in their order, and the `gap` before them left out: neighbours are alike in volumes
    and films, so that a draw would hold out what is known from both sides.
    """
    first = len(source) - held_out
    if not (held_out >= 1 and gap >= 0 and first - gap >= 1):
        raise DataError(
            f"{source.name}: cannot hold out the last {held_out} of {len(source)} examples with a gap of {gap} before "
            "them. Expected some to be left to train on."
        )
    every = torch.arange(len(source))
    return Split(
        train=subset(source, every[: first - gap], name=source.name),
        held_out=subset(source, every[first:], name=f"{source.name} (the last {held_out})"),
    )


def folded(source: Source, number: int, num_folds: int, *, seed: int) -> Split:
    """One of `num_folds` equal parts held out, the others to train on: `number` from 1 to `num_folds`.

    Where there are labels, every class is spread evenly over the folds. Together the folds are the whole.
    """
    if not (2 <= num_folds <= len(source) and 1 <= number <= num_folds):
        raise DataError(
            f"{source.name}: fold {number} of {num_folds} was asked for of {len(source)} examples. Expected at least 2 "
            "folds, at most as many as examples, and a number from 1 to that of the folds."
        )
    labels = source.labels(torch.arange(len(source))).tolist() if source.classes else None
    keys = [str(index) for index in range(len(source))]
    train, aside = map(torch.tensor, k_fold(keys, num_folds, labels=labels, salt=str(seed))[number - 1])
    name = f"{source.name} (fold {number} of {num_folds})"
    return Split(train=subset(source, train, name=source.name), held_out=subset(source, aside, name=name))


def few(source: Source, per_class: int, *, seed: int) -> Subset:
    """So many examples of each class, drawn at random; of all together where there are no labels."""
    every = torch.arange(len(source))
    classes = source.labels(every).cpu() if source.classes else torch.zeros(len(source), dtype=torch.int64)
    chosen = []
    for number in range(max(len(source.classes), 1)):
        group = every[classes == number]
        if len(group) < per_class:
            which = f"class {source.classes[number]!r}" if source.classes else "it"
            raise DataError(f"{source.name}: {per_class} examples were asked for, but {which} has {len(group)}.")
        chosen.append(group[shuffled(len(group), seed, "few", number)[:per_class]])
    return subset(source, torch.cat(chosen).sort().values, name=f"{source.name} ({per_class} of each class)")


def to_float(pixels: Tensor) -> Tensor:
    """Bytes 0..255 as float32 in [-1, 1]."""
    return pixels.to(torch.float32).div_(127.5).sub_(1)


def without_labels(name: str) -> DataError:
    """The error for a source that is asked for labels and has none."""
    return DataError(
        f"{name} has no labels, but the class of every example was asked for. Give labels by one sub-folder per class, "
        'by a dataset.json with "labels" beside the images, or by an array "labels" in the .npz; '
        "or choose a game that needs none."
    )
