"""How good pairs of two domains are that were made of the same latents: each domain beside real images of its own."""

from typing import TYPE_CHECKING

import torch

from equipoise.core.errors import DataError
from equipoise.core.game import Game
from equipoise.core.seeding import stable_seed
from equipoise.data.source import Source
from equipoise.data.unpaired import Unpaired
from equipoise.games.cogan import CoGAN
from equipoise.runs.evaluation import FEWEST, evaluate
from equipoise.runs.sampling import samples_together
from equipoise.runs.scores import Scored
from equipoise.runs.translated import judge_of

if TYPE_CHECKING:
    from equipoise.runs.run import Run


def coupled_scores(run: "Run", game: Game, held_out: Source, *, num: int | None = None) -> Scored:
    """Make pairs and measure each side; the game is in eval mode.

    "fid" and "fid_a" compare with held-out images of the second and the first domain, in the features of a small
    network that was fitted to tell the training images of both apart; "domain" and "domain_a" are the shares that it
    takes for the right one. Beside them stands what real training images reach. Whether both images of a pair show the
    same thing is not measured: nothing in the data says it.
    """
    if not isinstance(game, CoGAN) or not isinstance(held_out, Unpaired):
        raise DataError(f'{held_out.name} is not two domains. Use data.kind = "unpaired".')
    parts = run.parts(run.source())
    train = parts.train
    assert isinstance(train, Unpaired)
    n = min(num or run.recipe.judging.num_samples, *map(len, (held_out.a, held_out.b, train.a, train.b)))
    if n < FEWEST:
        raise DataError(
            f"{n} images of a domain are too few to judge by: expected at least {FEWEST}. Give more in testA and "
            f"testB, or raise data.held_out = {run.recipe.data.held_out}; at most three tenths are held out."
        )
    judge, every = judge_of(run, parts), torch.arange(n)
    made = samples_together(game, n, seed=stable_seed(0, "evaluation"), place=run.place)
    values: dict[str, float] = {}
    beside: dict[str, float] = {}
    for k, (side, name) in enumerate((("_a", "A"), ("", "B"))):
        real, known = ((x.first if k == 0 else x.examples)(every).cpu() for x in (held_out, train))
        found = evaluate(judge, real, fake=made[k], real_train=known)
        assert found.class_shares is not None
        assert found.real_class_shares is not None
        values |= {f"fid{side}": found.fake.fid, f"domain{side}": found.class_shares[name]}
        beside |= {f"fid{side}": found.floor.fid, f"domain{side}": found.real_class_shares[name]}
    return Scored(
        values=values,
        beside=beside,
        of="real against real",
        data=held_out.name,
        num=n,
        features=judge.name,
        more={},
        generated=True,
    )
