"""Settings of paired translation, and how its answers are judged: label maps by their overlap, images by features."""

from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor

from equipoise.core.errors import DataError, RecipeError
from equipoise.core.game import Game
from equipoise.core.schedule import Scheduled
from equipoise.core.seeding import shuffled
from equipoise.data.labels import Labels
from equipoise.data.source import Source
from equipoise.games.pix2pix import Pix2Pix
from equipoise.metrics.distribution import frechet_distance, kernel_distance
from equipoise.metrics.image_quality import eight_bit, psnr, ssim
from equipoise.metrics.perceptual import feature_distance
from equipoise.metrics.segmentation import dice, iou
from equipoise.runs.feature_networks import FeatureNetwork
from equipoise.runs.parts import DataSettings, Examples
from equipoise.runs.restored import SMALLEST, check_task, judging_network, restored, whole_pictures
from equipoise.runs.restoring import LIKENESSES, AnyRestorer, LikenessName, PicturesData, RestorerSettings, Unet
from equipoise.runs.scores import Scored

if TYPE_CHECKING:
    from equipoise.runs.run import Run

OF_LABELS, OF_IMAGES, OF_CROPS = ("dice", "iou"), ("psnr", "ssim", "perceptual"), ("fid", "kid")
CROP = 64
"""The side of the squares whose distribution is compared, at most that of training's."""
FEWEST_CROPS, MOST_CROPS = 100, 5000
"""Squares, of answers and of pictures each: fewer say nothing of a distribution, and more are drawn from."""


class Pix2PixSettings(RestorerSettings):
    """`games.pix2pix`: translation that is learnt from pairs, between images and label maps of any kind."""

    kind: Literal["pix2pix"] = "pix2pix"
    network: AnyRestorer = Unet(normalisation="instance", residual=False, dropout=0.5, final="tanh")
    warmup: float = 0.0
    first: LikenessName = "l1"
    """What a warm-up minimises."""
    terms: dict[LikenessName, Scheduled] = {"l1": 100.0}
    critic_weight: Scheduled = 0.5
    """Of the critic's loss: halved, so that it learns slowly beside the generator."""

    def build(self, examples: Examples) -> Game:
        if examples.given is not None and examples.given[1:] != examples.shape[1:]:
            raise RecipeError(
                f"pix2pix translates images into others of the same size; here {examples.given[2]} pixels are given of "
                f"{examples.shape[2]}. Resize one side, or use game.kind = srgan."
            )
        networks = self.networks(examples, critic_sees=examples.given[0] if examples.given else 0)
        return Pix2Pix(*networks, self.aims(examples), first=LIKENESSES[self.first], critic=self.critic_weight)

    @property
    def own_scores(self) -> tuple[str, ...]:
        return (*OF_LABELS, *OF_IMAGES, *OF_CROPS)

    def measured(self, data: DataSettings) -> tuple[str, ...]:
        labels = data.pairing.target_labels if isinstance(data, PicturesData) else None
        return (*OF_IMAGES, *OF_CROPS) if labels is None else OF_LABELS

    def scored(self, run: "Run", game: Game, held_out: Source, *, num: int | None = None) -> Scored:
        answered = translated(run, game, held_out, num=num)
        if answered.labels is not None:
            return label_scores(answered, answered.labels)
        return image_scores(run, answered, judging_network(run), real_pictures(run))


class Answered(NamedTuple):
    """Whole pictures, what was made of them, and what should have been."""

    data: str
    labels: Labels | None
    """Of targets that are label maps."""
    answers: list[Tensor]
    targets: list[Tensor]
    """Each [1, C, H, W]."""


def translated(run: "Run", game: Game, source: Source, *, num: int | None = None) -> Answered:
    """The answers to whole pictures of a source, always the same."""
    pictures, chosen = whole_pictures(source)
    check_task(run, pictures)
    pairs = [pictures.whole(index) for index in chosen[:num]]
    restorer = run.picture_game(game)
    answers = [restored(restorer, pair.given, scale=1) for pair in pairs]
    return Answered(source.name, pictures.target_labels, answers, [pair.target.cpu() for pair in pairs])


def label_scores(answered: Answered, labels: Labels) -> Scored:
    """Dice and IoU of each class over the pixels of all pictures, and their means, beside one class everywhere."""
    answer, truth = (
        torch.cat([planes.argmax(1).flatten() for planes in side]) for side in (answered.answers, answered.targets)
    )
    commonest = torch.full_like(truth, int(truth.mode().values))
    return Scored(
        values=of_classes(answer, truth, labels),
        beside=of_classes(commonest, truth, labels),
        of="the commonest class everywhere",
        data=answered.data,
        num=len(answered.answers),
        features="the truth",
        more={"classes": str(labels)},
    )


def of_classes(answer: Tensor, truth: Tensor, labels: Labels) -> dict[str, float]:
    """The scores of label maps; classes that are nowhere do not count."""
    values: dict[str, float] = {}
    for name, measure in (("dice", dice), ("iou", iou)):
        each = measure(answer, truth, len(labels))
        values[name] = each.nanmean().item()
        values |= {f"{name} of {one}": value for one, value in zip(labels.names, each.tolist()) if value == value}
    return values


def image_scores(run: "Run", answered: Answered, judge: FeatureNetwork, real: list[Tensor]) -> Scored:
    """How near answers are to their targets, and, of squares, how near in distribution, beside training's pictures.

    `real` are pictures [1, C, H, W] that were trained on: their squares, as many, are the floor. Raises `DataError`
    where there are too few squares, and their distribution decides which state is the best.
    """
    answers = [eight_bit(answer.clamp(-1, 1)) for answer in answered.answers]
    pairs = list(zip(answers, answered.targets))
    large = [pair for pair in pairs if min(pair[0].shape[2:]) >= SMALLEST]
    values = {"psnr": mean([psnr(*pair) for pair in pairs])}
    values |= {"ssim": mean([ssim(*pair) for pair in large])} if large else {}
    values["perceptual"] = mean([feature_distance(judge, *pair) for pair in pairs])
    side = min(CROP, run.examples.shape[1])
    sets = [squares(pictures, side) for pictures in (answered.targets, answers, real)]
    enough = min(map(len, sets))
    beside = {}
    if enough >= FEWEST_CROPS:
        drawn = [crops[shuffled(len(crops), 0, "squares")[: min(enough, MOST_CROPS)]] for crops in sets]
        held_out, made, floor = (pooled(judge, crops) for crops in drawn)
        values |= distances(held_out, made)
        beside = distances(held_out, floor)
    elif run.recipe.judging.every is not None and run.recipe.judging.metric in OF_CROPS:
        raise DataError(
            f"{enough} squares of {side} pixels are too few for judging.metric = {run.recipe.judging.metric}: expected "
            f"at least {FEWEST_CROPS}. Hold out more, or use one of: {', '.join(OF_IMAGES)}."
        )
    return Scored(
        values=values,
        beside=beside,
        of="real against real",
        data=answered.data,
        num=len(answers),
        features=judge.name,
        more={"squares": min(enough, MOST_CROPS) if beside else 0, "side": side},
    )


def real_pictures(run: "Run") -> list[Tensor]:
    """The targets that a run is trained on, whole, [1, C, H, W]."""
    pictures, chosen = whole_pictures(run.parts(run.source()).train)
    return [pictures.whole(index).target.cpu() for index in chosen]


def squares(pictures: list[Tensor], side: int) -> Tensor:
    """Pictures [1, C, H, W] cut into squares that do not overlap, [N, C, side, side]."""
    tables = [picture[0].unfold(1, side, side).unfold(2, side, side) for picture in pictures]  # [C, H, W, side, side]
    return torch.cat([table.permute(1, 2, 0, 3, 4).flatten(0, 1) for table in tables])


def pooled(judge: FeatureNetwork, images: Tensor) -> Tensor:
    """The means over positions of each layer of a network, [N, D]."""
    found = [torch.cat([layer.mean((2, 3)) for layer in judge(part)], dim=1) for part in images.split(64)]
    return torch.cat(found).float().cpu()


def distances(real: Tensor, other: Tensor) -> dict[str, float]:
    """Of features [N, D]: FID and KID."""
    return {"fid": frechet_distance(real, other), "kid": kernel_distance(real, other, seed=0).mean}


def mean(values: list[Tensor]) -> float:
    """Over pictures."""
    return torch.cat(values).double().mean().item()
