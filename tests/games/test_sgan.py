"""SGAN: the losses of the paper, what moves whom, chosen classes, and the engine's promises."""

from functools import partial

import pytest
import torch
from torch.nn.functional import cross_entropy, softplus

from equipoise import objectives
from equipoise.core.game import Clock
from equipoise.core.schedule import Schedule
from equipoise.data.labelled import Semi
from equipoise.engine.conformance import check_game
from equipoise.engine.trainer import Plan, Trainer
from equipoise.games.sgan import SGAN, Supervised
from equipoise.networks.classifying import DenseClassifier
from equipoise.networks.mlp import MLPGenerator


def data(position, size):
    draw = torch.Generator().manual_seed(position)
    x, known = (torch.rand(size, 1, 8, 8, generator=draw) * 2 - 1 for _ in range(2))
    return Semi(x, known, torch.randint(3, (size,), generator=draw))


def sgan(*, num_classes=0, matching=objectives.mean_features, **more):
    G = MLPGenerator(4, (1, 8, 8), width=8, num_layers=1, num_classes=num_classes)
    D = DenseClassifier(64, 3, widths=(8, 6))
    loss = objectives.non_saturating
    return SGAN(G, D, z_dim=4, loss=loss, matching=matching, num_classes=num_classes, **more)


GAMES = {
    "sgan": sgan,
    "chosen classes": partial(sgan, num_classes=3),
    "squared": partial(sgan, matching=objectives.feature_matching),
}


@pytest.mark.parametrize("name", GAMES)
def test_a_game_keeps_the_promises_of_the_engine(name):
    check_game(GAMES[name], data, sample_range=(-1.0, 1.0))


@pytest.mark.parametrize("name", GAMES)
def test_a_game_plays_in_narrow_formats_too(name):
    trainer = Trainer(GAMES[name](), data, players={}, plan=Plan(steps=3, batch=4, precision="bf16"))
    trainer.fit()
    assert all(torch.isfinite(p).all() for p in trainer.game.parameters())


def test_the_critic_minimises_the_losses_of_the_paper():
    game = sgan().eval()
    x_u, x_l, y = data(0, 6)
    torch.manual_seed(0)
    move = next(game.step(iter([(x_u, x_l, y)]), Clock()))
    torch.manual_seed(0)
    fake = game.G(torch.randn(6, 4))
    scores, Z_u, Z_g = game.D(x_l).classes, game.D(x_u).classes.logsumexp(1), game.D(fake).classes.logsumexp(1)
    assert torch.allclose(move.terms["labelled"], -scores[range(6), y] + scores.logsumexp(1))
    L_unl = -0.5 * Z_u.mean() + 0.5 * softplus(Z_u).mean() + 0.5 * softplus(Z_g).mean()
    assert torch.allclose(game.weights["D/unlabelled"] * move.terms["unlabelled"].mean(), L_unl)


def test_the_generator_matches_mean_features_and_nothing_else():
    game = sgan().eval()
    x_u, x_l, y = data(0, 6)
    torch.manual_seed(0)
    _, move = game.step(iter([(x_u, x_l, y)]), Clock(reuse=True))
    torch.manual_seed(0)
    fake = game.G(torch.randn(6, 4))
    (real,), (forged,) = game.D(x_u).features, game.D(fake).features
    assert set(move.terms) == {"features"}
    assert torch.allclose(move.terms["features"], (real.mean(0) - forged.mean(0)).abs().mean())


def test_a_generator_of_chosen_classes_is_told_and_held_to_them():
    game = sgan(num_classes=3).eval()
    *_, move = game.step(iter([data(0, 6)]), Clock())
    assert set(move.terms) == {"classes", "features"}
    z = torch.randn(3, 4)
    y = torch.tensor([0, 1, 2])
    assert torch.equal(game.generate(z, y), game.G(z, y))
    torch.manual_seed(1)
    fake, wanted = game.made(torch.zeros(3, 1, 8, 8))
    torch.manual_seed(1)
    _, again = game.step(iter([data(0, 3)]), Clock(reuse=True))
    assert again.terms["classes"].shape == (3,)
    assert torch.allclose(again.terms["classes"], cross_entropy(game.D(fake).classes, wanted, reduction="none"))
    with pytest.raises(ValueError, match="from 0 to 2 are needed"):
        game.generate(z)
    with pytest.raises(ValueError, match="makes no chosen classes"):
        sgan().generate(z, y)


def test_the_weight_of_unlabelled_examples_follows_a_schedule():
    weight = sgan(unlabelled=Schedule(start=0.0, end=1.0)).weights["D/unlabelled"]
    assert weight == Schedule(start=0.0, end=0.5)


def test_the_supervised_baseline_sees_labelled_examples_alone():
    game = Supervised(DenseClassifier(64, 3, widths=(8, 6))).eval()
    x_u, x_l, y = data(0, 6)
    (move,) = game.step(iter([(x_u * float("nan"), x_l, y)]), Clock())
    assert torch.allclose(move.terms["labelled"], cross_entropy(game.D(x_l).classes, y, reduction="none"))
    check_game(lambda: Supervised(DenseClassifier(64, 3, widths=(8, 6))), data)


def test_judging_and_describing_ask_the_critic():
    game = sgan().eval()
    x, known, y = data(0, 5)
    assert torch.equal(game.judge((x, y)), game.judge(x))
    assert torch.equal(game.judge((x, known, y)), game.D(x).logits)
    assert game.described((x, y)).shape == (5, 6)
    assert torch.equal(game.classified(x), game.D(x).classes)
