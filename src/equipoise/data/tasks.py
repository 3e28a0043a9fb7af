"""Several tasks over the same pictures: what is given says of each example which task it is of."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import final

import torch
from torch import Tensor

from equipoise.core.errors import DataError
from equipoise.core.seeding import generator
from equipoise.data.degradations import degraded, resized
from equipoise.data.masks import Mask, drawn_masks
from equipoise.data.pictures import Pair, Pictures, Task, as_float
from equipoise.data.source import Source, TaskFacts, without_labels

GOLDEN = (math.sqrt(5) - 1) / 2
"""Multiples of it, without their whole part, are spread evenly however many there are."""


@final
@dataclass(frozen=True, kw_only=True)
class Part:
    """One task of several: how what is given is made, and which share of the examples it has."""

    name: str
    task: Task
    share: float

    @property
    def facts(self) -> TaskFacts:
        return TaskFacts(self.share, self.task.factor, bool(self.task.masks))


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Tasks(Source):
    """Pairs of several tasks, mixed by their shares. Made by `tasks`.

    What is given of a target [N, C, H, W] is [N, C + 2, H, W]: an image of the same size (a smaller one is enlarged
    bicubically), the mask, which is 0 for tasks without holes, and the number of the task at every pixel; with labels
    comes the number of the class after that. In training the tasks of a batch are as near to their shares as whole
    numbers allow; looked at, a picture always has the same task.
    """

    name: str
    shape: tuple[int, ...]
    """Of a target square."""
    classes: tuple[str, ...]
    """The folders of the pictures, if each lies in one of several."""
    fingerprint: str
    pictures: Pictures
    parts: tuple[Part, ...]
    numbers: Tensor
    """The class of each picture, int64 [N]."""
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def tasks(self) -> Mapping[str, TaskFacts]:
        return {part.name: part.facts for part in self.parts}

    @property
    def given_shape(self) -> tuple[int, ...]:
        return (self.shape[0] + 2, *self.shape[1:])

    def examples(self, indices: Tensor) -> Tensor:
        return self.pictures.examples(indices)

    def labels(self, indices: Tensor) -> Tensor:
        if not self.classes:
            raise without_labels(self.name)
        return self.numbers[indices.cpu()].to(self.pictures.device)

    def batch(self, indices: Tensor, *, labels: bool = False, draw: torch.Generator | None = None) -> Pair:
        """(given, target) of these pictures, of the tasks that `draw` deals, or of each picture's own."""
        target = self.pictures.batch(indices, draw=draw).target.cpu()
        dealt = self.dealt(len(indices), draw) if draw is not None else self.own(indices)
        given = []
        for number, (index, task) in enumerate(zip(indices.tolist(), dealt.tolist())):
            here = draw if draw is not None else generator(0, "degradation", index)
            given.append(self.given(task, target[number : number + 1], here))
        planes = [torch.cat(given)]
        if labels:
            numbers = self.labels(indices).cpu().to(target)
            planes.append(numbers[:, None, None, None].expand(-1, 1, *target.shape[2:]))
        device = self.pictures.device
        return Pair(torch.cat(planes, dim=1).to(device), target.to(device))

    def dealt(self, num: int, draw: torch.Generator) -> Tensor:
        """The tasks of a batch in training, [num]: of each as many as its share, up to a remainder; in random order."""
        places = (torch.arange(num) + torch.rand((), generator=draw)) / num
        return self.at(places)[torch.randperm(num, generator=draw)]

    def own(self, indices: Tensor) -> Tensor:
        """The tasks of pictures that are looked at: each always has the same."""
        return self.at((indices.cpu().double() * GOLDEN) % 1)

    def at(self, places: Tensor) -> Tensor:
        """The tasks at places in [0, 1), where each has an interval as long as its share."""
        ends = torch.tensor([part.share for part in self.parts], dtype=torch.float64).cumsum(0)
        return torch.searchsorted(ends[:-1], places.double(), right=True)

    def given(self, task: int, target: Tensor, draw: torch.Generator) -> Tensor:
        """What is given of targets [N, C, H, W] of one task: image, mask and number, [N, C + 2, H, W]."""
        made, size = self.parts[task].task, (target.shape[2], target.shape[3])
        image = degraded(target, made.degradations, draw)
        if image.shape[2:] != size:
            image = resized(image, size).clamp(-1, 1)
        mask = target.new_zeros(len(target), 1, *size)
        if made.masks:
            mask = self.holes(made.masks, len(target), size, draw).to(target)
        return torch.cat([image * (1 - mask), mask, torch.full_like(mask, task)], dim=1)

    def holes(self, masks: Sequence[Mask], num: int, size: tuple[int, int], draw: torch.Generator) -> Tensor:
        """Masks [N, 1, H, W]: large pictures have the holes of many squares, which are as large as in training."""
        side = self.shape[-1]
        down, across = (-(-length // side) for length in size)
        squares = drawn_masks(masks, num * down * across, size=(side, side), draw=draw)
        lines = squares.reshape(num, down, across, side, side).transpose(2, 3)
        return lines.reshape(num, 1, down * side, across * side)[:, :, : size[0], : size[1]]

    def whole(self, index: int, task: int) -> Pair:
        """A whole picture, cut to multiples of the task's factor, and what is given of it, [1, …]; always the same."""
        target, factor = as_float(self.pictures.targets[index])[None], self.parts[task].task.factor
        height, width = (side // factor * factor for side in target.shape[2:])
        target = target[:, :, :height, :width]
        given = self.given(task, target, generator(0, "degradation", index))
        return Pair(given.to(self.pictures.device), target.to(self.pictures.device))

    def to(self, device: torch.device | str) -> "Tasks":
        return replace(self, pictures=self.pictures.to(device))


def tasks(pictures: Pictures, parts: Sequence[Part]) -> Tasks:
    """Several tasks over pictures of which nothing is given. Raises `DataError` for parts that do not fit together."""
    names = [part.name for part in parts]
    if not parts:
        raise DataError("No task is named. Expected at least one.")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"The task {twice[0]} is named twice. Give each task once, with its whole share.")
    total = sum(part.share for part in parts)
    if min(part.share for part in parts) <= 0 or not math.isclose(total, 1, abs_tol=1e-6):
        listing = ", ".join(f"{part.name} {part.share:g}" for part in parts)
        raise DataError(f"The shares of the tasks are {listing}, together {total:g}: expected shares above 0 of sum 1.")
    for part in parts:
        if pictures.shape[1] % part.task.factor:
            raise DataError(
                f"crop = {pictures.shape[1]}: expected a multiple of {part.task.factor}, by which {part.name} makes "
                "pictures smaller."
            )
    folders = [str(PurePosixPath(name).parent) for name in pictures.names]
    classes = tuple(sorted(set(folders)))
    if len(classes) < 2 or "." in classes:
        classes = ()
    rules = json.dumps([pictures.fingerprint, classes, *(repr(part) for part in parts)])
    return Tasks(
        name=pictures.name,
        shape=pictures.shape,
        classes=classes,
        fingerprint=hashlib.sha256(rules.encode()).hexdigest(),
        pictures=pictures,
        parts=tuple(parts),
        numbers=torch.tensor([classes.index(folder) if classes else 0 for folder in folders]),
        skipped=pictures.skipped,
        notes=pictures.notes,
    )
