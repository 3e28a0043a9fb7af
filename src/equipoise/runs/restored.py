"""How good answers are: whole held-out pictures, restored, beside what they were restored from."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from equipoise.core.errors import DataError, RecipeError
from equipoise.core.seeding import seed_torch
from equipoise.data.pictures import Pictures
from equipoise.data.source import Source, Subset
from equipoise.data.standardise import windowed
from equipoise.games.answers import Answerer, Choice, PictureGame
from equipoise.metrics.image_quality import eight_bit, luma, psnr, ssim
from equipoise.metrics.perceptual import feature_distance
from equipoise.runs.feature_networks import FeatureNetwork, fit_small_vgg
from equipoise.runs.restoring import RestorerSettings
from equipoise.runs.tiling import tiled

if TYPE_CHECKING:
    from equipoise.runs.run import Run

JUDGE_SEED, JUDGE_WIDTH, JUDGE_STEPS = 1, 16, 300
"""Of the network that judges: another than the one of the loss, whose seed is 0."""
SMALLEST = 11
"""The shortest side of which structure is compared."""


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """How alike pictures and their targets are, on average over pictures."""

    psnr: float
    """In dB; higher is better."""
    ssim: float
    """At most 1; higher is better."""
    perceptual: float
    """Between the layers of the judging network; lower is better."""
    error: float
    """The mean absolute error, in levels of 0..255 or in the units of an array."""
    bias: float
    """The mean error: 0 where nothing is shifted."""


@dataclass(frozen=True, kw_only=True)
class Restoration:
    """The likeness of the answers, and that of what was given, enlarged bicubically where it is smaller."""

    data: str
    num_pictures: int
    features: str
    """The name of the judging network; its distances compare with no other's."""
    luma: bool
    """Whether PSNR and SSIM are those of the luma: for super-resolution of colours, as is the custom."""
    shave: int
    """Pixels at the borders that do not count: as many as the scale."""
    window: tuple[float, float] | None = None
    """The values between which PSNR and SSIM are measured, where they are: those beyond count as its ends."""
    answer: Likeness
    given: Likeness

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries, numbers and strings."""
        return asdict(self)


def restored(
    game: PictureGame, given: Tensor, *, scale: int, tile: int = 256, answerer: Answerer | None = None
) -> Tensor:
    """The answer to a picture [1, C, h, w] of any size, on the CPU, tile by tile where it is large.

    A network with noise answers the same every time; the global randomness stays as it is.
    """
    device = next(game.parameters()).device
    chosen = answerer or game.answerer(Choice())

    def answer(part: Tensor) -> Tensor:
        return chosen.answer(part.to(device)).float().cpu()

    with torch.random.fork_rng():
        seed_torch(0, device)
        return tiled(answer, given, fit=chosen.fit, scale=chosen.scale or scale, tile=tile)


@torch.no_grad()
def evaluate_restoration(
    run: "Run", game: PictureGame, source: Source, *, judge: FeatureNetwork, num: int | None = None
) -> Restoration:
    """Restore whole pictures of a source and compare them with their targets. The game is in eval mode.

    `judge` is that of `judging_network`. Raises `DataError` for pictures of which something else is given than the run
    was trained on.
    """
    pictures, chosen = whole_pictures(source)
    chosen = chosen[:num]
    scale, as_files = run.scale, run.standard is None
    check_task(run, pictures)
    use_luma = scale > 1 and pictures.shape[0] == 3
    shave = scale if scale > 1 else 0
    rows: dict[str, list[Tensor]] = {"answer": [], "given": []}
    for index in chosen:
        given, target = pictures.whole(index)
        plain = given[:, : target.shape[1]]  # without the mask
        if plain.shape[2:] != target.shape[2:]:
            plain = interpolate(plain, size=target.shape[2:], mode="bicubic", antialias=True)
        for name, image in (("answer", restored(game, given, scale=scale)), ("given", plain)):
            image = image.expand_as(target).clamp(-1, 1)
            image = eight_bit(image) if as_files else image
            rows[name].append(compared(run, judge, image, target, use_luma=use_luma, shave=shave))
    means = {name: torch.stack(values).mean(0).tolist() for name, values in rows.items()}
    names = ("psnr", "ssim", "perceptual", "error", "bias")
    return Restoration(
        data=source.name,
        num_pictures=len(chosen),
        features=judge.name,
        luma=use_luma,
        shave=shave,
        window=run.recipe.data.looked_through,
        answer=Likeness(**dict(zip(names, means["answer"]))),
        given=Likeness(**dict(zip(names, means["given"]))),
    )


def check_task(run: "Run", pictures: Pictures) -> None:
    """Raise `DataError` for pictures of which something else is given, or asked for, than the run was trained on."""
    assert run.examples.given is not None
    here = task_of(pictures.given_shape, pictures.shape, pictures.factor)
    learnt = task_of(run.examples.given, run.examples.shape, run.scale)
    if here != learnt:
        raise DataError(
            f"{pictures.name}: {here}; {run.id} was trained on: {learnt}. Choose pictures for which that holds."
        )


def task_of(given: Sequence[int], target: Sequence[int], factor: int) -> str:
    """What is given and asked for, in words."""
    return f"{given[0]} channels are given and {target[0]} asked for, {factor} times larger"


def compared(run: "Run", judge: FeatureNetwork, image: Tensor, target: Tensor, *, use_luma: bool, shave: int) -> Tensor:
    """PSNR, SSIM, perceptual distance, error and bias of one picture [1, C, H, W], float64 [5]."""
    x, y = (luma(image), luma(target)) if use_luma else (image, target)
    window = run.recipe.data.looked_through
    if window is not None:
        x, y = (windowed(run.in_units(one), window) for one in (image, target))
    side = min(target.shape[2:]) - 2 * shave
    alike = ssim(x, y, shave=shave) if side >= SMALLEST else torch.full((1,), float("nan"))
    units = run.in_units if run.standard is not None else levels
    difference = (units(image) - units(target)).double()
    return torch.stack(
        [
            psnr(x, y, shave=shave)[0].double(),
            alike[0].double(),
            feature_distance(judge, image, target)[0].double(),
            difference.abs().mean(),
            difference.mean(),
        ]
    )


def levels(x: Tensor) -> Tensor:
    """Values in [-1, 1] as levels of 0..255."""
    return (x + 1) * 127.5


def judging_network(run: "Run") -> FeatureNetwork:
    """A small network fitted to the pictures of a run, or to those of its loss: with another seed than any loss has."""
    settings = run.recipe.game
    if not isinstance(settings, RestorerSettings):
        raise RecipeError("Only the games of restoration are judged by pictures beside their targets.")
    source = settings.features.to_learn_from(run.examples)
    return fit_small_vgg(source, seed=JUDGE_SEED, width=JUDGE_WIDTH, num_steps=JUDGE_STEPS)


def whole_pictures(source: Source) -> tuple[Pictures, list[int]]:
    """The pictures behind a source, and which of them it is."""
    if isinstance(source, Subset):
        pictures, chosen = whole_pictures(source.whole)
        return pictures, [chosen[int(i)] for i in source.indices]
    if not isinstance(source, Pictures):
        raise DataError(f'{source.name} has no whole pictures with targets. Use data.kind = "pictures".')
    return source, list(range(len(source)))
