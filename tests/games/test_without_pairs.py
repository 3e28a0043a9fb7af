"""Unpaired translation: whose loss is which, the pool of former fakes, what CUT compares, and the engine's promises."""

import math
from functools import partial

import pytest
import torch

from equipoise import objectives
from equipoise.core.game import Clock
from equipoise.core.schedule import Schedule
from equipoise.engine.conformance import check_game
from equipoise.engine.optimizers import Optimizer
from equipoise.engine.trainer import Plan, Trainer
from equipoise.games.answers import Choice
from equipoise.games.cut import CUT, Contrast
from equipoise.games.cyclegan import CycleGAN, Weights
from equipoise.games.pool import FakePool
from equipoise.networks.patch import PatchCritic
from equipoise.networks.projections import Projections
from equipoise.networks.translator import ResNetTranslator
from equipoise.objectives import l1

CRITIC = partial(PatchCritic, 3, width=4, num_layers=1, normalisation="instance")
LAYERS = (0, 2, 3)


def noise(*shape, seed):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def domains(position, size):
    return noise(size, 3, 12, 12, seed=2 * position), noise(size, 3, 12, 12, seed=2 * position + 1)


def translator():
    return ResNetTranslator(3, 3, width=4, num_blocks=1, num_downs=1)


def cyclegan(*, loss=objectives.least_squares, pool=50, **weights):
    pools = FakePool(pool, (3, 12, 12)), FakePool(pool, (3, 12, 12))
    networks = (translator(), translator()), (CRITIC(), CRITIC())
    return CycleGAN(*networks, pools, loss=loss, weights=Weights(**weights))


def cut(*, loss=objectives.least_squares, **contrast):
    G = translator()
    H = Projections([G.channels[layer] for layer in LAYERS], width=8)
    return CUT(G, CRITIC(), H, loss=loss, contrast=Contrast(layers=LAYERS, num_patches=16, **contrast))


def fastcut():
    return cut(contrast=10.0, identity=0.0, flips=True)


GAMES = {
    "cyclegan": cyclegan,
    "cyclegan without identity, relativistic": partial(cyclegan, loss=objectives.relativistic_average, identity=0.0),
    "cyclegan without a pool": partial(cyclegan, pool=0),
    "cut": cut,
    "cut, relativistic": partial(cut, loss=objectives.relativistic_average),
    "fastcut": fastcut,
}


@pytest.mark.parametrize("name", GAMES)
def test_a_game_keeps_the_promises_of_the_engine(name):
    check_game(GAMES[name], domains, batch=4, steps=5, sample_range=(-1.0, 1.0))


@pytest.mark.parametrize("name", GAMES)
def test_a_game_plays_in_narrow_formats_too(name):
    plan = Plan(steps=3, batch=2, precision="bf16")
    torch.manual_seed(0)
    trainer = Trainer(GAMES[name](), domains, players={}, plan=plan)
    trainer.fit()
    assert all(torch.isfinite(p).all() for p in trainer.game.parameters())


@pytest.mark.parametrize("name", GAMES)
def test_judging_gives_one_logit_for_each_picture_of_the_second_domain(name):
    game = GAMES[name]().eval()
    x, y = domains(0, 3)
    assert game.judge((x, y)).shape == (3,)
    assert torch.equal(game.judge((x, y)), game.judge((y, y)))
    described = game.described((x, y))
    assert described is not None
    assert described.ndim == 2


# ---------------------------------------------------------------- CycleGAN


def test_the_terms_of_cyclegan_are_those_of_the_paper():
    game = cyclegan()
    x, y = domains(0, 2)
    generators, critics = game.step(iter([(x, y)]), Clock())
    y_hat, x_hat = game.G(x), game.F(y)
    assert torch.allclose(generators.terms["cycle"], l1(x, game.F(y_hat)) + l1(y, game.G(x_hat)))
    assert torch.allclose(generators.terms["identity"], l1(y, game.G(y)) + l1(x, game.F(x)))
    fooled = [(logits - 1).square().mean() for logits in (game.D_Y(y_hat).logits, game.D_X(x_hat).logits)]
    adversarial = game.weights["G/adversarial"] * generators.terms["adversarial"].mean()
    assert torch.allclose(adversarial, fooled[0] + fooled[1])  # Eq. 1 with squares, as in Sec. 4
    told = [
        (D(real).logits - 1).square().mean() + D(fake).logits.square().mean()
        for D, real, fake in ((game.D_Y, y, y_hat), (game.D_X, x, x_hat))
    ]
    halved = game.weights["D/adversarial"] * critics.terms["adversarial"].mean()
    assert torch.allclose(halved, (told[0] + told[1]) / 2)
    assert (game.weights["G/cycle"], game.weights["G/identity"]) == (10.0, 5.0)


def test_halving_the_critics_loss_follows_a_schedule():
    weight = Schedule(start=2.0, end=4.0)
    assert cyclegan(adversarial=weight).weights["D/adversarial"] == Schedule(start=1.0, end=2.0)


def test_directions_are_chosen_by_name():
    game = cyclegan().eval()
    x, _ = domains(0, 1)
    assert torch.equal(game.answerer(Choice()).answer(x), game.G(x))
    assert torch.equal(game.answerer(Choice(direction="AtoB")).answer(x), game.G(x))
    assert torch.equal(game.answerer(Choice(direction="BtoA")).answer(x), game.F(x))
    assert game.answerer(Choice()).fit.reach is None  # instance normalisation sees all of a picture
    with pytest.raises(ValueError, match="'AtoC': expected \"AtoB\""):
        game.answerer(Choice(direction="AtoC"))
    with pytest.raises(ValueError, match="lets you choose: direction"):
        game.answerer(Choice(strength=0.5))


# ---------------------------------------------------------------- the pool


def numbered(*numbers):
    return torch.tensor(numbers, dtype=torch.float32).view(-1, 1, 1, 1)


def test_a_pool_first_fills_and_then_shows_old_fakes_at_even_odds():
    pool, old = FakePool(50, (1, 1, 1)), 0
    for step in range(400):
        fakes = numbered(*range(10 * step, 10 * step + 10))
        shown, news = pool.exchange(fakes, Clock(examples=10 * step))
        kept = news["fakes"].flatten().tolist()
        changed = shown.flatten() != fakes.flatten()
        if step < 5:
            assert not changed.any()
        else:
            old += int(changed.sum())
            before = set(pool.fakes.flatten().tolist())
            assert before | set(fakes.flatten().tolist()) == set(kept) | set(shown.flatten().tolist())
        pool.fakes.copy_(news["fakes"])
        pool.filled.copy_(news["filled"])
    assert pool.filled.all()
    assert abs(old / 3950 - 0.5) < 0.03
    assert sorted(pool.fakes.flatten().tolist())[0] > 0  # nothing stays for ever


def test_a_fake_waits_a_hundred_examples_on_average_in_a_pool_of_fifty():
    pool, ages = FakePool(50, (1, 1, 1)), []
    for position in range(0, 20_000, 10):
        shown, news = pool.exchange(numbered(*range(position, position + 10)), Clock(examples=position))
        ages += (torch.arange(position, position + 10) - shown.flatten()).tolist()
        pool.fakes.copy_(news["fakes"])
        pool.filled.copy_(news["filled"])
    old = [age for age in ages[100:] if age > 0]
    assert abs(sum(old) / len(old) - 100) < 5


def test_the_pool_after_micro_batches_holds_the_fakes_of_all_of_them():
    torch.manual_seed(0)
    game = cyclegan(pool=8)
    plan = Plan(steps=4, batch=6, accumulate=3, precision="fp32")
    still = dict.fromkeys(("G", "D"), Optimizer(learning_rate=0.0))
    trainer = Trainer(game, domains, players=still, plan=plan)
    for _ in range(4):
        trainer.advance()
    fakes = torch.cat([game.G(domains(position, 2)[0]) for position in range(0, 24, 2)])
    assert game.pool_Y.filled.tolist() == [1.0] * 8
    for stored in game.pool_Y.fakes:
        assert min((stored - fake).abs().max().item() for fake in fakes) < 1e-5


def test_a_refused_move_leaves_the_pool_alone():
    torch.manual_seed(0)
    broken = [False]

    def data(position, size):
        x, y = domains(position, size)
        return x, y * math.nan if broken[0] else y

    trainer = Trainer(cyclegan(), data, players={}, plan=Plan(steps=4, batch=2, precision="fp32"))
    trainer.advance()
    before = trainer.game.pool_Y.fakes.clone()
    broken[0] = True
    trainer.advance()
    assert "refused/G" in trainer.record
    assert torch.equal(before, trainer.game.pool_Y.fakes)


def test_a_step_of_more_examples_than_slots_is_refused():
    with pytest.raises(ValueError, match="A step of 6 examples and a pool of 4 fakes"):
        FakePool(4, (1, 1, 1)).exchange(numbered(1, 2, 3), Clock(micro_batches=2))
    with pytest.raises(ValueError, match="at least 0"):
        FakePool(-1, (1, 1, 1))


# ---------------------------------------------------------------- CUT


def test_the_terms_of_cut_are_those_of_the_paper():
    game = cut()
    x, y = domains(0, 2)
    torch.manual_seed(3)
    critic, generator = game.step(iter([(x, y)]), Clock())
    fake = game.D(game.G(x)).logits
    halves = (game.D(y).logits - 1).square() + fake.square()
    assert torch.allclose(game.weights["D/adversarial"] * critic.terms["adversarial"].mean(), halves.mean() / 2)
    adversarial = game.weights["G/adversarial"] * generator.terms["adversarial"].mean()
    assert torch.allclose(adversarial, (fake - 1).square().mean())
    assert game.weights["G/contrast"] == game.weights["G/identity"] == 1.0
    assert generator.terms["contrast"].shape == (2,)


def test_patches_are_found_again_in_the_image_itself_and_not_in_another():
    game = cut().eval()
    x, other = domains(0, 2)
    straight = torch.zeros(2, 1, 1, 1, dtype=torch.bool)
    assert (game.contrast(x, x, straight) < game.contrast(x, other, straight)).all()


def test_mirrored_translations_are_compared_with_what_was_given_before_mirroring():
    game = fastcut().eval()
    x, _ = domains(0, 2)
    turned = torch.tensor([True, False]).view(2, 1, 1, 1)
    whole = Contrast(layers=(0,), num_patches=10_000)
    game.settings, game.H = whole, Projections([3], width=8)
    mixed = torch.stack([x[0].flip(2), x[1]])
    assert torch.allclose(game.contrast(x, mixed, turned), game.contrast(x, x, torch.zeros_like(turned)), atol=1e-5)


def test_the_heads_move_with_the_generator():
    game = cut()
    assert game.players["G"] == [game.G, game.H]
    x, y = domains(0, 2)
    _, move = game.step(iter([(x, y)]), Clock())
    move.terms["contrast"].mean().backward()
    assert all(p.grad is not None for p in game.H.parameters())


def test_cut_has_one_direction():
    game = cut().eval()
    x, _ = domains(0, 1)
    assert torch.equal(game.answerer(Choice(direction="AtoB")).answer(x), game.G(x))
    with pytest.raises(ValueError, match="CUT translates AtoB alone"):
        game.answerer(Choice(direction="BtoA"))
