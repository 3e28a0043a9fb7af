"""Games of restoration: the warm-up, the duel after it, what each term sees, and the engine's promises."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from equipoise import objectives
from equipoise.core.game import Clock
from equipoise.engine.conformance import check_game
from equipoise.games.answers import Choice
from equipoise.games.denoising import Denoising
from equipoise.games.inpainting import Inpainting, completed
from equipoise.games.restorer import Aims
from equipoise.games.srgan import SRGAN
from equipoise.networks.denoiser import DnCNN
from equipoise.networks.filling import filled
from equipoise.networks.gated import GatedInpainter
from equipoise.networks.patch import PatchCritic
from equipoise.networks.srresnet import SRResNet
from equipoise.objectives import perceptual, reconstruction

CRITIC = partial(PatchCritic, width=4, num_layers=1, normalisation="none")
DUEL = Aims(
    loss=objectives.non_saturating,
    terms={"l1": (reconstruction.l1, 0.5)},
    adversarial=0.01,
    matching=2.0,
    warmup=0.4,
)


def noise(*shape, seed):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def pairs(position, size, *, channels=3, factor=1):
    target = noise(size, channels, 16, 16, seed=position)
    given = nn.functional.avg_pool2d(target, factor) if factor > 1 else target + 0.1 * noise(*target.shape, seed=-1)
    return given, target


def holes(position, size, *, side=16):
    target = noise(size, 3, side, side, seed=position)
    mask = torch.zeros(size, 1, side, side)
    mask[:, :, 4:10, 4:10] = 1
    return torch.cat([target * (1 - mask), mask], dim=1), target


def srgan(**more):
    return SRGAN(SRResNet(3, scale=2, width=4, num_blocks=1), CRITIC(3), replace(DUEL, **more))


def inpainting(**more):
    return Inpainting(GatedInpainter(4, 3, width=4), CRITIC(4), replace(DUEL, **{"terms": {}, **more}), hole=6.0)


def prefilled(**more):
    return Inpainting(GatedInpainter(4, 3, width=4), CRITIC(4), replace(DUEL, **{"terms": {}, **more}), prefill=4)


def denoising(**more):
    penalties = {"gradient_penalty": (objectives.gradient_penalty, 10.0)}
    aims = replace(DUEL, **{"loss": objectives.wasserstein, "penalties": penalties, **more})
    return Denoising(DnCNN(3, width=4, depth=3), CRITIC(3), aims, critic_steps=2)


GAMES = {
    "srgan": (srgan, partial(pairs, factor=2)),
    "inpainting": (inpainting, holes),
    "inpainting, prefilled": (prefilled, holes),
    "denoising": (denoising, pairs),
}


@pytest.mark.parametrize("name", GAMES)
def test_a_game_keeps_the_promises_of_the_engine(name):
    game, data = GAMES[name]
    check_game(game, data, batch=4, steps=5, sample_range=(-1.0, 1.0))


@pytest.mark.parametrize("name", GAMES)
def test_the_warm_up_is_the_generators_alone(name):
    make, data = GAMES[name]
    game = make()
    batches = iter([data(n, 2) for n in range(9)])
    first = [move for move in game.step(batches, Clock(step=0, total=10))]
    assert [move.player for move in first] == ["G"]
    assert not {"adversarial", "matching", "l1"} & set(first[0].terms)
    later = [move.player for move in game.step(batches, Clock(step=4, total=10))]
    assert later == (["D", "D", "G"] if name == "denoising" else ["D", "G"])


@pytest.mark.parametrize("name", GAMES)
def test_a_warm_up_that_never_ends_has_no_critic(name):
    make, data = GAMES[name]
    game = make(warmup=1.0)
    moves = list(game.step(iter([data(0, 2)]), Clock(step=9, total=10)))
    assert [move.player for move in moves] == ["G"]
    assert set(game.weights) <= {f"G/{term}" for term in moves[0].terms}


def test_the_generators_terms_are_those_of_the_paper():
    game = srgan()
    given, target = pairs(0, 2, factor=2)
    _, move = game.step(iter([(given, target)]), Clock(step=9, total=10))
    answer = game.answer(given)
    real, fake = game.D(target), game.D(answer)
    assert torch.allclose(move.terms["l1"], reconstruction.l1(target, answer))
    assert torch.allclose(move.terms["adversarial"], objectives.non_saturating.g(real.logits, fake.logits))
    assert torch.allclose(move.terms["matching"], perceptual.critic_feature_matching(real.features, fake.features))
    assert game.weights == {"G/adversarial": 0.01, "G/l1": 0.5, "G/matching": 2.0}


def test_what_is_known_stays_in_an_inpainted_image():
    given, target = holes(0, 2)
    made = torch.full_like(target, 0.25)
    whole = completed(given, made)
    hidden = given[:, 3:].expand_as(target).bool()
    assert torch.equal(whole[~hidden], target[~hidden])
    assert (whole[hidden] == 0.25).all()
    game = inpainting()
    restored = game.restore(given)
    assert torch.equal(restored[~hidden], target[~hidden])


def test_holes_and_what_is_known_are_counted_apart():
    given, target = holes(0, 2)
    hidden = given[:, 3:]
    made = target + 0.5 * hidden  # wrong in the holes alone
    terms = inpainting().reconstruction(given, target, made)
    assert torch.allclose(terms["hole"], torch.full((2,), 0.5))
    assert torch.allclose(terms["known"], torch.zeros(2), atol=1e-7)


def test_the_critic_of_inpainting_sees_where_the_holes_were():
    game = inpainting().eval()
    given, target = holes(0, 2)
    elsewhere = given.clone()
    elsewhere[:, 3] = 0
    assert not torch.equal(game.judge((given, target)), game.judge((elsewhere, target)))


def test_judging_gives_one_logit_for_each_picture():
    for make, data in GAMES.values():
        game = make().eval()
        batch = data(0, 3)
        assert game.judge(batch).shape == (3,)
        described = game.described(batch)
        assert described is not None
        assert described.shape[0] == 3
        assert described.ndim == 2


def test_a_first_filling_reaches_further_and_is_what_g_adds_to():
    game, plain = (Inpainting(GatedInpainter(4, 3, width=4), CRITIC(4), DUEL, prefill=n) for n in (5, 0))
    fit, narrow = (one.answerer(Choice()).fit for one in (game, plain))
    assert fit.reach is not None
    assert narrow.reach is not None
    assert fit.reach > narrow.reach + 4 * 31
    assert (fit.period, fit.smallest) == (32, 17)
    given, _ = holes(0, 2, side=32)
    with torch.no_grad():
        game.G.out.weight.zero_()
        expected = filled(given[:, :3], 1 - given[:, 3:], 5)
    torch.testing.assert_close(game.restore(given), expected.clamp(-1, 1))


def test_an_image_too_small_for_its_first_filling_is_refused():
    game = Inpainting(GatedInpainter(4, 3, width=4), CRITIC(4), DUEL, prefill=5)
    with pytest.raises(ValueError, match=r"images of 16×16 pixels.*sides of at least 17.*smaller prefill"):
        game.restore(torch.zeros(1, 4, 16, 16))
