"""How good stylised pictures are: how much content they keep, how near to the style they are, and by what strokes."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from equipoise.core.errors import DataError
from equipoise.core.game import Game
from equipoise.core.seeding import generator, stable_seed
from equipoise.data.pictures import as_float, cut
from equipoise.data.source import Source
from equipoise.data.styled import Styled, styled_behind
from equipoise.games.answers import Choice, PictureGame
from equipoise.networks.vgg import SmallVGG
from equipoise.objectives import gram, relative_content, relative_style
from equipoise.runs.feature_networks import FeatureNetwork, fit_small_vgg
from equipoise.runs.restored import JUDGE_SEED, JUDGE_STEPS, JUDGE_WIDTH
from equipoise.runs.restoring import Features
from equipoise.runs.scores import Scored

if TYPE_CHECKING:
    from equipoise.runs.run import Run

STYLES = 4
"""Each content is stylised in at most so many styles."""
PATCH = 32
"""The side of the patches by which strokes are known."""
STROKE_STEPS, STROKE_BATCH, STROKE_WIDTH = 300, 64, 16
"""How the classifier of patches is fitted."""
RECOLOURED = 0.5
"""How much the colours of each patch are changed meanwhile, so that it learns strokes rather than these colours."""


class Distances(NamedTuple):
    """Of one picture from what it should keep and from what it should become; 0 is the same, in both."""

    content: float
    style: float


def distances(judge: FeatureNetwork, image: Tensor, content: Tensor, style: Tensor) -> Distances:
    """Of a picture [1, 3, H, W] from its content, in the judge's last layer, and from a style, in all its layers.

    Both are shares, as in `objectives.relative_content` and `relative_style`.
    """
    seen = judge(image)
    kept = relative_content(judge(content)[-1:], seen[-1:])
    near = relative_style([gram(layer) for layer in judge(style)], seen)
    return Distances(kept.item(), near.item())


def style_judge(run: "Run", features: Features) -> FeatureNetwork:
    """A small network with another seed, width and length of training than any that is in a loss."""
    source = features.to_learn_from(run.examples)
    return fit_small_vgg(source, seed=JUDGE_SEED, width=JUDGE_WIDTH, num_steps=JUDGE_STEPS)


class Stylised(NamedTuple):
    """A held-out picture, what became of it, and the style that was wanted; [1, 3, H, W] each."""

    content: Tensor
    answer: Tensor
    style: Tensor
    style_name: str


def stylised(run: "Run", game: PictureGame, held_out: Source, *, num: int | None) -> Iterator[Stylised]:
    """Whole held-out contents in the one style of a game, or in up to four of those that it never saw."""
    source, indices = styled_behind(held_out)
    any_style = len(source.styles) + len(source.unseen) > 1
    styles = source.unseen or source.styles
    names = source.unseen_names or source.style_names
    device = next(game.parameters()).device
    for position, index in enumerate(indices[:num]):
        content = as_float(source.contents[index])[None].to(device)
        for k in range(min(STYLES, len(styles))):
            number = (position + k) % len(styles)
            style = as_float(styles[number])[None].to(device)
            choice = Choice(style=style[0]) if any_style else Choice()
            answer = run.answerer(game, choice).answer(content)
            yield Stylised(content, answer.float(), style, names[number])


def scored_styles(run: "Run", game: Game, held_out: Source, features: Features, *, num: int | None = None) -> Scored:
    """Content and style distances of held-out pictures, with those of the pictures as they were."""
    judge = style_judge(run, features)
    rows, before = [], []
    with torch.no_grad():
        for one in stylised(run, run.picture_game(game), held_out, num=num):
            judge.net.to(one.content.device)
            rows.append(distances(judge, one.answer, one.content, one.style))
            before.append(distances(judge, one.content, one.content, one.style))
    source, _ = styled_behind(held_out)
    return Scored(
        values=mean_of(rows),
        beside=mean_of(before),
        of="the untouched picture",
        data=held_out.name,
        num=len(rows),
        features=judge.name,
        more={"styles": list(source.unseen_names or source.style_names)},
    )


def mean_of(rows: Sequence[Distances]) -> dict[str, float]:
    """The means by name."""
    return {name: sum(getattr(row, name) for row in rows) / len(rows) for name in Distances._fields}


# ---------------------------------------------------------------- strokes


def scored_strokes(run: "Run", game: Game, held_out: Source, features: Features, *, num: int | None = None) -> Scored:
    """As `scored_styles`, and "strokes": how much of the pictures a classifier of patches takes for the painting."""
    whole = scored_styles(run, game, held_out, features, num=num)
    source, _ = styled_behind(held_out)
    critics = stroke_critics(source)
    answers, untouched = [], []
    with torch.no_grad():
        for one in stylised(run, run.picture_game(game), held_out, num=num):
            answers.append(taken_for_style(critics, one.answer))
            untouched.append(taken_for_style(critics, one.content))
    strokes = {"strokes": sum(answers) / len(answers)}
    return Scored(
        values={**whole.values, **strokes},
        beside={**whole.beside, "strokes": sum(untouched) / len(untouched)},
        of=whole.of,
        data=whole.data,
        num=whole.num,
        features=whole.features,
        more={**whole.more, "patches": PATCH},
    )


def stroke_critics(source: Styled) -> list[SmallVGG]:
    """Three classifiers of patches, whose mean is asked: single ones differ by a factor of two."""
    return [stroke_critic(source, seed) for seed in range(3)]


def stroke_critic(source: Styled, seed: int = 0) -> SmallVGG:
    """A classifier of patches [N, 3, 32, 32]: of what was set aside of the style (class 1) against others (class 0).

    It has seen nothing of the style that was trained on, unless nothing was set aside, and none of a game's answers.
    The others are patches of contents, half of them in the colours of the style, and all have their colours changed at
    random: colours do not decide.
    """
    painting = as_float((source.aside or source.styles)[0])
    if min(painting.shape[1:]) < PATCH:
        raise DataError(
            f"{source.style_names[0]}: {painting.shape[2]} × {painting.shape[1]} pixels were set aside, and patches of "
            f"{PATCH} × {PATCH} are judged. Raise data.aside or data.style_size."
        )
    style = as_float(source.styles[0])[None]
    photos = [as_float(x) for x in source.contents]
    others = photos + [colour_matched(x[None], style)[0] for x in photos]
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.default_generator.manual_seed(stable_seed(seed, "strokes/weights"))
        net = SmallVGG(2, width=STROKE_WIDTH, batch_norm=True)
        optimizer = torch.optim.Adam(net.parameters(), 2e-3)
        labels = torch.arange(STROKE_BATCH) % 2
        for step in range(STROKE_STEPS):
            draw = generator(seed, "strokes/batch", step)
            whose = torch.randint(len(others), (STROKE_BATCH,), generator=draw)
            x = torch.stack([patch(painting if y else others[int(w)], draw) for y, w in zip(labels, whose)])
            optimizer.zero_grad()
            cross_entropy(net.classes(x), labels).backward()
            optimizer.step()
    net.fold()
    return net.eval().requires_grad_(False)


def patch(x: Tensor, draw: torch.Generator) -> Tensor:
    """A patch of a picture [3, H, W] from a random place, in colours changed a little; half of them mirrored."""
    top, left = (int(torch.randint(side - PATCH + 1, (), generator=draw)) for side in x.shape[1:])
    piece = cut(x, top, left, PATCH)
    mean = piece.mean((1, 2), keepdim=True)
    contrast, shift = RECOLOURED * (2 * torch.rand(2, 3, 1, 1, generator=draw) - 1)
    piece = (piece - mean) * (1 + contrast) + mean + shift
    return piece.flip(2) if int(torch.randint(2, (), generator=draw)) else piece


def taken_for_style(critics: Sequence[SmallVGG], image: Tensor) -> float:
    """The mean probability, over critics and whole patches of a picture [1, 3, H, W], that they are the painting's."""
    patches = image.cpu().unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH)  # [1, 3, h, w, 32, 32]
    x = patches[0].permute(1, 2, 0, 3, 4).reshape(-1, 3, PATCH, PATCH)
    return torch.stack([critic.classes(x).softmax(1)[:, 1].mean() for critic in critics]).mean().item()


def colour_matched(image: Tensor, style: Tensor) -> Tensor:
    """A picture [1, 3, H, W] with the mean and covariance that colours have in another: the simplest transfer there is.

    y = L_s L_x⁻¹ (x - μ_x) + μ_s with the Cholesky factors of both covariances, clipped to [-1, 1].
    Source: Reinhard et al. 2001, for a whole covariance; also Gatys et al. 2017, Eq. 2.
    """
    (mean_x, root_x), (mean_s, root_s) = (colours(x) for x in (image, style))
    mapped = root_s @ torch.linalg.solve_triangular(root_x, image[0].flatten(1).double() - mean_x, upper=False)
    return (mapped + mean_s).view_as(image).to(image).clamp(-1, 1)


def colours(image: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [3, 1] and the Cholesky factor of the covariance [3, 3] of the colours of [1, 3, H, W]."""
    pixels = image[0].flatten(1).double()
    return pixels.mean(1, keepdim=True), torch.linalg.cholesky(pixels.cov() + 1e-6 * torch.eye(3).to(pixels))
