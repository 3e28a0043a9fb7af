"""pix2pix: what D sees, the weights of the paper, several scales, noise, and the engine's promises."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from equipoise import objectives
from equipoise.core.game import Clock
from equipoise.engine.conformance import check_game
from equipoise.games.answers import Choice
from equipoise.games.pix2pix import Pix2Pix
from equipoise.games.restorer import Aims
from equipoise.networks.patch import MultiScaleCritic, PatchCritic
from equipoise.networks.unet import UNet
from equipoise.objectives import perceptual, reconstruction
from equipoise.objectives.classification import pixel_classes

PAPER = Aims(loss=objectives.non_saturating, terms={"l1": (reconstruction.l1, 100.0)}, warmup=0.0)
HD = replace(PAPER, loss=objectives.least_squares, terms={}, matching=10.0)


def pairs(position, size):
    """Grey images and label maps of three classes."""
    draw = torch.Generator().manual_seed(position)
    x = torch.rand(size, 1, 16, 16, generator=draw) * 2 - 1
    numbers = torch.bucketize(x, torch.tensor([-0.3, 0.3]))
    return x, (numbers == torch.arange(3)[:, None, None]).float() * 2 - 1


def critic(**more):
    return PatchCritic(1 + 3, width=4, num_layers=1, normalisation="none", **more)


def pix2pix(aims=PAPER, *, scales=1, **more):
    G = UNet(1, 3, width=4, depth=2, normalisation="instance", dropout=0.5, **more)
    D = critic() if scales == 1 else MultiScaleCritic([critic() for _ in range(scales)])
    return Pix2Pix(G, D, aims)


@pytest.mark.parametrize(
    "game",
    [
        pix2pix,
        lambda: pix2pix(HD, scales=2),
        lambda: pix2pix(replace(PAPER, warmup=0.5)),
        lambda: pix2pix(noise=True),
        lambda: pix2pix(replace(PAPER, terms={"classes": (pixel_classes, 10.0)}), final="softmax"),
    ],
    ids=["paper", "two scales", "warm-up", "noise", "softmax"],
)
def test_it_keeps_the_promises_of_the_engine(game):
    check_game(game, pairs, batch=4, steps=4, sample_range=(-1.0, 1.0))


def test_the_terms_and_weights_are_those_of_the_paper():
    game = pix2pix().eval()
    x, y = pairs(0, 2)
    d_move, g_move = game.step(iter([(x, y)]), Clock(step=0, total=10))
    made = game.answer(x)
    real, fake = (game.D(torch.cat([x, image], dim=1)).logits for image in (y, made))
    assert torch.allclose(d_move.terms["adversarial"], objectives.non_saturating.d(real, fake))
    assert torch.allclose(g_move.terms["adversarial"], objectives.non_saturating.g(real, fake))
    assert torch.allclose(g_move.terms["l1"], reconstruction.l1(y, made))
    assert game.weights == {"D/adversarial": 0.5, "G/adversarial": 1.0, "G/l1": 100.0}


def test_features_of_all_scales_are_matched_on_the_same_given():
    game = pix2pix(HD, scales=2).eval()
    x, y = pairs(0, 2)
    *_, move = game.step(iter([(x, y)]), Clock(step=0, total=10))
    real, fake = (game.D(torch.cat([x, image], dim=1)) for image in (y, game.answer(x)))
    assert fake.logits.shape[1] == 2
    assert torch.allclose(move.terms["matching"], perceptual.critic_feature_matching(real.features, fake.features))
    assert game.weights == {"D/adversarial": 0.5, "G/adversarial": 1.0, "G/matching": 10.0}


def test_the_critic_judges_whether_an_image_belongs_to_what_is_given():
    game = pix2pix().eval()
    x, y = pairs(0, 2)
    assert not torch.equal(game.judge((x, y)), game.judge((x.flip(0), y)))
    assert game.judge((x, y)).shape == (2,)


def test_a_warm_up_that_never_ends_is_the_likeness_alone():
    game = pix2pix(replace(PAPER, warmup=1.0))
    (move,) = game.step(iter([pairs(0, 2)]), Clock(step=9, total=10))
    assert (move.player, set(move.terms), dict(game.weights)) == ("G", {"first"}, {})


def test_dropout_is_noise_in_use_where_it_is_asked_for():
    x, _ = pairs(0, 2)
    with torch.no_grad():
        still, noisy = pix2pix().eval(), pix2pix(noise=True).eval()
        assert torch.equal(still.answer(x), still.answer(x))
        assert not torch.equal(noisy.answer(x), noisy.answer(x))
    assert noisy.answerer(Choice()).fit.reach is None  # tiles would not agree
    assert UNet(1, 1, width=4, depth=2, dropout=0.5).reach is not None
    with pytest.raises(ValueError, match="dropout above 0"):
        UNet(1, 1, noise=True)


def test_there_is_one_direction_to_choose():
    with pytest.raises(ValueError, match="lets nobody choose a direction"):
        pix2pix().answerer(Choice(direction="BtoA"))


def test_the_networks_of_a_game_are_its_own():
    assert {name: type(modules[0]) for name, modules in pix2pix().players.items()} == {"D": PatchCritic, "G": UNet}
    assert isinstance(pix2pix(), nn.Module)
