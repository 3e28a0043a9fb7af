"""Settings of several tasks in one model: what they are, their mixture, the game, and how each is judged."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from equipoise.core.errors import DataError, RecipeError, nearest
from equipoise.core.game import Game
from equipoise.core.schedule import Scheduled
from equipoise.data.degradations import Blur, Degradation, Downscale, Grey, Jpeg, Noise
from equipoise.data.masks import Boxes, Irregular, Mask
from equipoise.data.pictures import Pictures, Small, Task, pictures
from equipoise.data.source import Source, Subset
from equipoise.data.tasks import Part as TaskPart
from equipoise.data.tasks import Tasks, tasks
from equipoise.games.multitask import Multitask
from equipoise.games.restorer import Aims
from equipoise.metrics.image_quality import eight_bit, psnr
from equipoise.networks.patch import PatchCritic
from equipoise.networks.taskunet import TaskCritic, TaskUNet
from equipoise.objectives.balance import AdaptiveAdversarial, GradientShares
from equipoise.runs.parts import LOSSES, PENALTIES, DataSettings, Examples, GameSettings, LossName, Penalties
from equipoise.runs.restoring import LIKENESSES, LikenessName, labelled
from equipoise.runs.scores import Scored
from equipoise.runs.techniques import Part

if TYPE_CHECKING:
    from equipoise.runs.run import Run

KNOWN: dict[str, Task] = {
    "denoise": Task(degradations=(Noise(sigma=(25.0, 25.0)),)),
    "super-resolve": Task(degradations=(Downscale(factor=2),)),
    "inpaint": Task(masks=(Irregular(share=0.6, hole=(0.05, 0.4)), Boxes(share=0.4, hole=(0.05, 0.4)))),
    "colourise": Task(degradations=(Grey(),)),
    "deblur": Task(degradations=(Blur(),)),
    "decompress": Task(degradations=(Jpeg(quality=(10, 50)),)),
}
"""Tasks that need nothing but their name."""


class TaskSettings(Part):
    """One task of several."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    """One of the known ones, or any with degrade or masks."""
    share: float | None = Field(default=None, gt=0, le=1)
    """Of the examples; equal shares where no task has one."""
    degrade: tuple[Annotated[Degradation, Field(discriminator="kind")], ...] = ()
    masks: tuple[Annotated[Mask, Field(discriminator="kind")], ...] = ()

    @model_validator(mode="after")
    def with_something_to_do(self) -> "TaskSettings":
        """Raise ValueError for a name that says nothing, or one that the game needs itself."""
        if self.name in ("adversarial", "matching", "classify"):
            raise ValueError(f"a task cannot be called {self.name!r}: that is another term of the game. Rename it.")
        if self.name not in KNOWN and not (self.degrade or self.masks):
            raise ValueError(
                f"the task {self.name!r} is not known. {nearest(self.name, KNOWN)} Any other name needs degrade or "
                "masks, which say how what is given is made."
            )
        return self

    def part(self, share: float) -> TaskPart:
        """The task with its share."""
        made = Task(degradations=self.degrade, masks=self.masks) if self.degrade or self.masks else KNOWN[self.name]
        return TaskPart(name=self.name, task=made, share=share)


class TasksData(DataSettings):
    """Pictures of any size, of which squares are cut, and several tasks over them, mixed by their shares."""

    kind: Literal["tasks"] = "tasks"
    path: Path | None = None
    """A folder or .zip of pictures; shipped recipes are given it by `--data`. Sub-folders are classes."""
    part: str | None = None
    channels: Literal[1, 3] | None = None
    crop: int = Field(default=64, ge=8, le=1024)
    """The side of the squares."""
    small: Small = "refuse"
    """What becomes of pictures smaller than a square."""
    turns: bool = True
    """Training also sees squares mirrored and turned by quarters."""
    tasks: tuple[TaskSettings, ...] = Field(min_length=1)

    @field_validator("path")
    @classmethod
    def from_anywhere(cls, path: Path | None) -> Path | None:
        """A run can be resumed from any folder."""
        return None if path is None else path.expanduser().absolute()

    @model_validator(mode="after")
    def that_fit(self) -> "TasksData":
        """Raise ValueError for shares that are no shares of one whole, a task that is named twice, and other data's."""
        names = [task.name for task in self.tasks]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"the task {twice[0]!r} is named twice. Name it once, with its whole share.")
        given = [task.share for task in self.tasks if task.share is not None]
        if given and len(given) < len(names):
            missing = next(task.name for task in self.tasks if task.share is None)
            raise ValueError(f"some tasks have a share and {missing!r} has none. Give all of them one, or none.")
        if given and abs(sum(given) - 1) > 1e-6:
            raise ValueError(f"the shares of the tasks are {given}, together {sum(given):g}: expected a sum of 1.")
        for name in ("augmentation", "per_class"):
            if getattr(self, name) is not None:
                raise ValueError(f"data.{name} is not for tasks: data.turns mirrors and turns pictures. Leave it out.")
        if self.standardise != "none":
            raise ValueError("data.standardise is not for tasks. Leave it out.")
        return self

    def open(self) -> Tasks:
        parts = [task.part(task.share or 1 / len(self.tasks)) for task in self.tasks]
        return tasks(self.squares(), parts)

    def squares(self) -> Pictures:
        """The pictures by themselves."""
        return pictures(
            self.place,
            crop=self.crop,
            part=self.part,
            channels=self.channels,
            small=self.small,
            turns=self.turns,
        )

    @property
    def place(self) -> Path:
        """Where the pictures are. Raises `DataError` if nobody has said it."""
        if self.path is None:
            raise DataError(
                "The recipe names no pictures. Say where they are: --data FOLDER, or data.path in the recipe."
            )
        return self.path

    @property
    def files(self) -> tuple[Path, str | None]:
        return self.place, self.part

    def to_learn_from(self) -> Source:
        return labelled(self.place) or self.squares()


class TaskNetwork(Part):
    """`networks.taskunet.TaskUNet`."""

    kind: Literal["task-unet"] = "task-unet"
    width: int = Field(default=32, ge=1)
    depth: int = Field(default=3, ge=1, le=8)


class TaskPatches(Part):
    """`networks.taskunet.TaskCritic`: a patch critic that is told the task."""

    kind: Literal["task-patch"] = "task-patch"
    width: int = Field(default=32, ge=1)
    num_layers: int = Field(default=2, ge=0)
    normalisation: Literal["none", "batch", "instance", "spectral"] = "spectral"


class MultitaskSettings(GameSettings):
    """`games.multitask`: one generator and one critic for several tasks."""

    kind: Literal["multitask"] = "multitask"
    network: TaskNetwork = TaskNetwork()
    critic: TaskPatches = TaskPatches()
    loss: LossName = "hinge"
    warmup: float = Field(default=0.7, ge=0, le=1)
    """The share of training in which the generator learns without the critic."""
    first: LikenessName = "l1"
    """What compares answers with their targets, in the term of each task."""
    weights: dict[str, Scheduled] = {}
    """Of tasks, beside their shares; those that are not named have 1."""
    adversarial: Scheduled = 0.02
    matching: Scheduled | None = None
    """Weight of the distance between layers of the critic."""
    classify: Scheduled | None = None
    """Weight of telling the class of a picture too, of pictures in one folder per class."""
    penalties: Penalties = {}

    @property
    def needs_labels(self) -> bool:
        return self.classify is not None

    def build(self, examples: Examples) -> Game:
        if not examples.tasks:
            raise RecipeError(
                f"A game of several tasks needs data that says them, and {examples.name} has none. Use "
                'data.kind = "tasks" with data.tasks = [{name = "denoise"}, {name = "inpaint"}].'
            )
        for name in self.weights:
            if name not in examples.tasks:
                raise RecipeError(f"game.weights.{name}: no task of that name. {nearest(name, examples.tasks)}")
        if self.classify is not None and not examples.classes:
            raise DataError(
                f"game.classify needs labels, and {examples.name} has none. Expected pictures in one folder per class. "
                "Leave game.classify out for pictures without classes."
            )
        channels, num = examples.shape[0], len(examples.tasks)
        G = TaskUNet(
            channels + 1,
            channels,
            num_tasks=num,
            num_classes=len(examples.classes) if self.classify is not None else 0,
            width=self.network.width,
            depth=self.network.depth,
        )
        critic = self.critic
        patches = PatchCritic(
            channels, width=critic.width, num_layers=critic.num_layers, normalisation=critic.normalisation
        )
        aims = Aims(
            loss=LOSSES[self.loss],
            adversarial=self.adversarial,
            matching=self.matching,
            penalties={name.replace("-", "_"): (PENALTIES[name], w) for name, w in self.penalties.items()},
            warmup=self.warmup,
        )
        return Multitask(
            G,
            TaskCritic(patches, num_tasks=num),
            aims,
            examples.tasks,
            first=LIKENESSES[self.first],
            weights=self.weights,
            classify=self.classify,
        )

    def balanced(self, game: Game) -> Game:
        """What is balanced, where nothing is said, are the tasks, with which training begins; not the critic's say."""
        assert isinstance(game, Multitask)
        balance = self.balance
        if balance is not None and not balance.terms and not isinstance(balance, AdaptiveAdversarial):
            shared = tuple(balance.shares) if isinstance(balance, GradientShares) else ()
            balance = replace(balance, terms=shared or tuple(game.tasks))
        game.balance = {} if balance is None else {"G": balance}
        return game

    # ---------------------------------------------------------------- judging

    @property
    def own_scores(self) -> tuple[str, ...]:
        return ("mean_score",)

    def scored(self, run: "Run", game: Game, held_out: Source, *, num: int | None = None) -> Scored:
        """PSNR of each task on whole pictures, in dB, and of what was given; the accuracy of classes, if there are any.

        `mean_score` is the mean PSNR over the tasks.
        """
        assert isinstance(game, Multitask)
        source, chosen = behind(held_out)
        chosen = chosen[:num]
        if source.tasks.keys() != game.tasks.keys():
            listings = [", ".join(tasks) for tasks in (source.tasks, game.tasks)]
            raise DataError(f"{held_out.name} has the tasks {listings[0]}, and the run those of {listings[1]}.")
        values: dict[str, float] = {}
        beside: dict[str, float] = {}
        right = []
        for task, name in enumerate(source.tasks):
            rows = list(compared(game, source, chosen, task))
            values[name], beside[name] = (float(torch.stack(column).mean()) for column in zip(*[r[:2] for r in rows]))
            right += [row[2] for row in rows if row[2] is not None]
        for scores in (values, beside):
            scores["mean_score"] = sum(scores.values()) / len(scores)
        if right:
            values["accuracy"] = float(torch.stack(right).float().mean())
            labels = source.numbers[torch.tensor(chosen)]
            beside["accuracy"] = float(labels.bincount().max() / len(labels))  # always the most frequent class
        return Scored(
            values=values,
            beside=beside,
            of="given",
            data=held_out.name,
            num=len(chosen),
            features="PSNR alone",
            more={"tasks": list(source.tasks)},
        )


def compared(
    game: Multitask, source: Tasks, chosen: list[int], task: int
) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """Of whole pictures: the PSNR of the answer, that of what was given, and whether the class was told right."""
    device = next(game.parameters()).device
    for index in chosen:
        given, target = (part.to(device) for part in source.whole(index, task))
        if game.classifies:
            given = torch.cat([given, torch.zeros_like(given[:, :1])], dim=1)
        answer, classes = game.answer_and_classes(given)
        told = None if classes is None else classes.argmax(1)[0].cpu() == source.numbers[index]
        plain, alike = eight_bit(given[:, : target.shape[1]].clamp(-1, 1)), eight_bit(answer.clamp(-1, 1))
        yield psnr(alike, target)[0].cpu(), psnr(plain, target)[0].cpu(), told


def behind(source: Source) -> tuple[Tasks, list[int]]:
    """The tasks behind a source, and which of their pictures it is."""
    if isinstance(source, Subset):
        whole, chosen = behind(source.whole)
        return whole, [chosen[int(i)] for i in source.indices]
    if not isinstance(source, Tasks):
        raise DataError(f'{source.name} has no tasks. Use data.kind = "tasks".')
    return source, list(range(len(source)))
