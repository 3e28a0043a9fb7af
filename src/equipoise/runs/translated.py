"""How good translations are: beside pictures of the target domain, beside untranslated ones, and what was kept."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from equipoise.core.errors import DataError
from equipoise.core.game import Game
from equipoise.data.source import Source, Split
from equipoise.data.unpaired import Unpaired, domains_of
from equipoise.games.answers import Choice, PictureGame
from equipoise.metrics.image_quality import eight_bit, luma, psnr, ssim
from equipoise.runs import features
from equipoise.runs.evaluation import FEWEST, evaluate
from equipoise.runs.scores import Scored

if TYPE_CHECKING:
    from equipoise.runs.run import Run

BATCH = 64
JUDGE_STEPS = 500
"""In which the judge learns to tell domains apart."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """How content that a translation keeps is measured."""

    name: str
    measure: Callable[[PictureGame, Tensor, Tensor], Tensor]
    """Of a game, pictures and their translations, [N, C, H, W]: one value each, [N]; higher is better."""


def of_cycle(game: PictureGame, x: Tensor, answer: Tensor) -> Tensor:
    """PSNR between pictures and what comes back of them, in dB."""
    return psnr(eight_bit(answers(game, answer, "BtoA")), x)


def of_structure(game: PictureGame, x: Tensor, answer: Tensor) -> Tensor:
    """Structural similarity of the luma of pictures and their translations."""
    return ssim(*(luma(one) if one.shape[1] == 3 else one for one in (answer, x)))


cycle_kept = Kept(name="PSNR of the cycle, dB", measure=of_cycle)
structure_kept = Kept(name="SSIM of the luma to what was given", measure=of_structure)


def translated(run: "Run", game: Game, held_out: Source, *, kept: Kept, num: int | None = None) -> Scored:
    """Translate held-out pictures of the first domain and measure them; the game is in eval mode.

    "fid" and "kid" compare with held-out pictures of the second domain, in the features of a small network that was
    fitted to tell the domains of the training pictures apart; "domain" is the share that it takes for the second;
    "kept" is how well content is kept. Beside them stands what the untranslated pictures reach; `fid_real`, `kid_real`
    and `domain_real` are what real pictures of the second domain do.
    """
    if not isinstance(game, PictureGame) or not isinstance(held_out, Unpaired):
        raise DataError(f'{held_out.name} is not two domains. Use data.kind = "unpaired".')
    parts = run.parts(run.source())
    train = parts.train
    assert isinstance(train, Unpaired)
    wanted = num or run.recipe.judging.num_samples
    n = min(wanted, len(held_out.a), len(held_out.b), len(train.b))
    if n < FEWEST:
        raise DataError(
            f"{n} pictures of a domain are too few to judge by: expected at least {FEWEST}. Give more in testA and "
            f"testB, or raise data.held_out = {run.recipe.data.held_out}; at most three tenths are held out."
        )
    judge = judge_of(run, parts)
    every = torch.arange(n)
    x, y, real = held_out.first(every).cpu(), held_out.examples(every).cpu(), train.examples(every).cpu()
    y_hat = eight_bit(answers(game, x, "AtoB"))
    found, untouched = (evaluate(judge, y, fake=fake, real_train=real) for fake in (y_hat, x))
    return Scored(
        values={
            "fid": found.fake.fid,
            "kid": found.fake.kid,
            "domain": second(found.class_shares),
            "kept": kept.measure(game, x, y_hat).mean().item(),
            "fid_real": found.floor.fid,
            "kid_real": found.floor.kid,
            "domain_real": second(found.real_class_shares),
        },
        beside={"fid": untouched.fake.fid, "kid": untouched.fake.kid, "domain": second(untouched.class_shares)},
        of="untranslated",
        data=held_out.name,
        num=n,
        features=judge.name,
        more={"kept": kept.name},
    )


def judge_of(run: "Run", parts: Split) -> features.FeatureExtractor:
    """The network that tells the domains of a run apart: fitted once, on its training pictures, then kept."""
    folder = run.folder / "features" / "domains"
    if (folder / "extractor.json").exists():
        return features.load(folder)
    train, held_out = (domains_of(part) for part in parts if isinstance(part, Unpaired))
    extractor = features.fit_feature_net(train, held_out=held_out, num_steps=JUDGE_STEPS)
    features.save(extractor, folder)
    return extractor


@torch.no_grad()
def answers(game: PictureGame, x: Tensor, direction: str) -> Tensor:
    """Translations of pictures [N, C, H, W], on the CPU."""
    device, answer = next(game.parameters()).device, game.answerer(Choice(direction=direction)).answer
    return torch.cat([answer(part.to(device)).float().cpu() for part in x.split(BATCH)])


def second(shares: Mapping[str, float] | None) -> float:
    """The share that is taken for the second domain."""
    assert shares is not None
    return shares["B"]
