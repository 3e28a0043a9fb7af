"""One generator and one critic for several tasks, told apart by a code (StarGAN, Choi et al. 2018; PromptIR, 2023)."""

from collections.abc import Iterator, Mapping
from math import ceil
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from equipoise.core.errors import nearest
from equipoise.core.game import Clock, Move, Moves, Verdict
from equipoise.core.schedule import Scheduled, scaled
from equipoise.data.degradations import resized
from equipoise.data.source import TaskFacts
from equipoise.games.answers import Answerer, Choice, Fit, fit_of
from equipoise.games.restorer import Aims, Likeness, Restorer
from equipoise.objectives.reconstruction import l1

BICUBIC = 3
"""Small pixels to each side that an enlarged one depends on."""


class Request(NamedTuple):
    """What is given [N, C + 2, H, W], or one channel more with classes, taken apart."""

    image: Tensor
    """[N, C, H, W]"""
    mask: Tensor
    """[N, 1, H, W], 1 where something is missing."""
    task: Tensor
    """Numbers [N]."""
    classes: Tensor | None
    """Numbers [N]."""


class Multitask(Restorer):
    """G answers images of any of its `tasks`, which are told by a number; D is told it too.

    Each task has a term of its name, the mean of `first` over its own examples, so that tasks can be balanced with each
    other; it is there from the first step on. A task weighs as much as its share of the examples, times its number in
    `weights`: without those the sum is the mean over the whole batch. With `classify`, a weight, G also tells the class
    of what it is given. Known pixels of masked tasks stay.
    """

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        aims: Aims,
        tasks: Mapping[str, TaskFacts],
        *,
        first: Likeness = l1,
        weights: Mapping[str, Scheduled] | None = None,
        classify: Scheduled | None = None,
    ):
        super().__init__(G, D, aims)
        self.tasks, self.first, self.classifies = dict(tasks), first, classify is not None
        of_tasks = {f"G/{name}": scaled((weights or {}).get(name, 1.0), facts.share) for name, facts in tasks.items()}
        self.weights = {**self.weights, **of_tasks, **({"G/classify": classify} if classify is not None else {})}

    def step(self, data: Iterator[Any], now: Clock) -> Moves:
        given, target = next(data)
        if now.progress < self.warmup:
            answer, classes = self.answer_and_classes(given)
            yield Move("G", self.of_tasks(given, target, answer, classes))
            return
        with torch.set_grad_enabled(now.reuse):
            answer, classes = self.answer_and_classes(given)
        yield self.critic_move(given, target, answer.detach(), now)
        if not now.reuse:
            answer, classes = self.answer_and_classes(given)
        move = self.generator_move(given, target, answer)
        yield Move("G", {**move.terms, **self.of_tasks(given, target, answer, classes)})

    def of_tasks(self, given: Tensor, target: Tensor, answer: Tensor, classes: Tensor | None) -> dict[str, Tensor]:
        """The terms by task, one value an example: its error over the task's share, and 0 for those of other tasks."""
        request, errors = self.asked(given), self.first(target, answer)  # [N]
        terms = {
            name: errors * (request.task == number) / facts.share
            for number, (name, facts) in enumerate(self.tasks.items())
        }
        if classes is not None and request.classes is not None:
            terms["classify"] = cross_entropy(classes, request.classes, reduction="none")
        return terms

    def asked(self, given: Tensor) -> Request:
        """What is given, taken apart."""
        planes = 2 + self.classifies
        image, mask, facts = given[:, :-planes], given[:, -planes, None], given[:, -planes + 1 :, 0, 0].long()
        return Request(image, mask, facts[:, 0], facts[:, 1] if self.classifies else None)

    def answer_and_classes(self, given: Tensor) -> tuple[Tensor, Tensor | None]:
        """What G makes of it, with the known pixels of images that have holes, and class scores."""
        image, mask, task, _ = self.asked(given)
        made, classes = self.G(torch.cat([image, mask], dim=1), task)
        free = torch.where(mask.amax((1, 2, 3), keepdim=True) > 0, mask, torch.ones_like(mask))
        return image * (1 - free) + made * free, classes

    def answer(self, given: Tensor) -> Tensor:
        return self.answer_and_classes(given)[0]

    def verdict(self, given: Tensor, image: Tensor) -> Verdict:
        """D is told the task."""
        return self.D(image, self.asked(given).task)

    def answerer(self, choice: Choice) -> Answerer:
        """One task by name, which may be left out where there is but one."""
        choice.refuse("task")
        listing = ", ".join(self.tasks)
        if choice.task is None and len(self.tasks) > 1:
            raise ValueError(f"This game does several things: {listing}. Choose one of them as the task.")
        name = choice.task or next(iter(self.tasks))
        if name not in self.tasks:
            raise ValueError(f"The task {name!r} is none of this game's. {nearest(name, self.tasks)}")
        number, facts = list(self.tasks).index(name), self.tasks[name]

        def answer(x: Tensor) -> Tensor:
            image, mask = (x[:, :-1], x[:, -1:]) if facts.masked else (x, torch.zeros_like(x[:, :1]))
            if facts.factor > 1:
                size = (facts.factor * x.shape[2], facts.factor * x.shape[3])
                image = resized(image, size).clamp(-1, 1)
                mask = mask.repeat_interleave(facts.factor, 2).repeat_interleave(facts.factor, 3)
            told = torch.zeros_like(mask) + number
            return self.restore(torch.cat([image, mask, told, *([told] if self.classifies else [])], dim=1))

        reach, period, smallest = fit_of(self.G)
        small = None if reach is None else ceil(reach / facts.factor) + (BICUBIC if facts.factor > 1 else 0)
        fit = Fit(small, period, ceil(smallest / facts.factor))
        return Answerer(answer, fit, self.channels + facts.masked, facts.factor)

    @property
    def channels(self) -> int:
        """Of images."""
        return self.G.out_channels  # type: ignore[return-value]

    def sample(self, batch: Any) -> dict[str, Tensor]:
        given, _ = batch
        return {"answer": self.restore(given)}
