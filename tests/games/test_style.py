"""Games of style: what each minimises, what it keeps, and the engine's promises."""

import pytest
import torch
from torch import nn

from equipoise import objectives
from equipoise.core.game import Clock
from equipoise.engine.conformance import check_game
from equipoise.games.adain import AdaIN
from equipoise.games.answers import Choice
from equipoise.games.gatys import Gatys
from equipoise.games.looks import Seen, Tastes
from equipoise.games.patchstyle import PatchStyle
from equipoise.games.restorer import Aims
from equipoise.games.style import OneStyle
from equipoise.networks.patch import PatchCritic
from equipoise.networks.stylised import Canvas, StyleDecoder, TransformerNet
from equipoise.networks.vgg import SmallVGG


def noise(*shape, seed):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def pairs(position, size):
    return noise(size, 3, 16, 16, seed=position), noise(size, 3, 16, 16, seed=1000 + position)


def network():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return SmallVGG(2, width=4).requires_grad_(False)


NET = network()


def see(x):
    layers = NET(x)
    return Seen(content=layers[1:2], style=layers)


def matrices():
    return [objectives.gram(layer) for layer in see(noise(1, 3, 20, 24, seed=9)).style]


def gatys(num=4):
    x = noise(num, 3, 16, 16, seed=0)
    return Gatys(Canvas(x), see, Seen(see(x).content, matrices()), Tastes())


def one_style():
    return OneStyle(TransformerNet(width=4, num_blocks=1), see, matrices, Tastes())


def any_style(**more):
    return AdaIN(network(), StyleDecoder((4, 8, 16)), **more)


def patch_style(**more):
    penalties = {"r1": (objectives.r1, 0.1)}
    aims = Aims(loss=objectives.hinge, penalties=penalties, adversarial=0.5, warmup=0.4, **more)
    critic = PatchCritic(3, width=4, num_layers=1, normalisation="none")
    return PatchStyle(TransformerNet(width=4, num_blocks=1), critic, see, aims)


GAMES = {"gatys": gatys, "style": one_style, "adain": any_style, "patch-style": patch_style}


@pytest.mark.parametrize("name", GAMES)
def test_a_game_keeps_the_promises_of_the_engine(name):
    check_game(GAMES[name], pairs, batch=4, steps=5, sample_range=(-1.0, 1.0))


def test_the_picture_is_what_moves_and_nothing_is_drawn():
    game = gatys()
    (move,) = game.step(iter(()), Clock())
    assert move.player == "picture"
    assert [p.shape for p in game.parameters()] == [(4, 3, 16, 16)]
    assert move.terms["content"].tolist() == [0, 0, 0, 0]  # it starts from the content
    expected = objectives.relative_style(matrices(), see(game.canvas()).style)
    assert torch.allclose(move.terms["style"], expected)
    assert game.weights == {"picture/content": 1.0, "picture/style": 10.0, "picture/smoothness": 1.0}


def test_one_style_compares_the_answer_with_its_content_and_with_the_whole_painting():
    game = one_style()
    x, other = pairs(0, 2)
    (move,) = game.step(iter([(x, other)]), Clock())
    y = game.G(x)
    assert torch.allclose(move.terms["content"], objectives.relative_content(see(x).content, see(y).content))
    assert torch.allclose(move.terms["style"], objectives.relative_style(matrices(), see(y).style))
    (again,) = game.step(iter([(x, -other)]), Clock())
    assert torch.equal(move.terms["style"], again.terms["style"])  # the style of the batch is not looked at


def test_one_style_lets_nobody_choose():
    for game in (one_style(), patch_style()):
        with pytest.raises(ValueError, match=r"choose a style\. It does one thing"):
            game.answerer(Choice(style=noise(3, 16, 16, seed=0)))


def test_adain_decodes_features_with_the_statistics_of_the_style():
    game = any_style()
    c, s = pairs(0, 2)
    (move,) = game.step(iter([(c, s)]), Clock())
    of_c, of_s = game.E(c)[-1], game.E(s)[-1]
    spread = [h.var((2, 3), correction=0, keepdim=True).add(1e-5).sqrt() for h in (of_c, of_s)]
    means = [h.mean((2, 3), keepdim=True) for h in (of_c, of_s)]
    t = spread[1] * (of_c - means[0]) / spread[0] + means[1]
    y = game.G(t)
    seen = game.E(y)
    assert torch.allclose(move.terms["content"], (seen[-1] - t).square().flatten(1).mean(1), rtol=1e-4)
    assert torch.allclose(move.terms["style"], objectives.statistics([s, *game.E(s)], [y, *seen]), rtol=1e-4)


def test_the_encoder_of_adain_never_moves_but_is_saved():
    game = any_style()
    assert not any(p.requires_grad for p in game.E.parameters())
    assert {name.split(".")[0] for name in game.state_dict()} == {"E", "G"}
    assert game.players == {"G": [game.G]}


def test_strength_goes_from_the_picture_to_the_style():
    game = any_style().eval()
    x, style = noise(1, 3, 16, 20, seed=0), noise(3, 24, 16, seed=1)
    with torch.no_grad():
        none, half, full = (game.answerer(Choice(style=style, strength=a)).answer(x) for a in (0.0, 0.5, 1.0))
        plain = game.G(game.E(x)[-1]).clamp(-1, 1)
        default = game.answerer(Choice(style=style)).answer(x)
        same = game.answerer(Choice(style=x[0])).answer(x)
    assert torch.allclose(none, plain)
    assert torch.equal(full, default)
    assert torch.allclose(same, plain, atol=1e-5)  # a picture in its own style is itself
    assert not torch.allclose(half, full, atol=1e-3)
    assert full.shape == x.shape


def test_adain_takes_any_size_and_says_what_is_missing():
    game = any_style().eval()
    style = noise(3, 24, 16, seed=1)
    with torch.no_grad():
        assert game.answerer(Choice(style=style)).answer(noise(1, 3, 13, 18, seed=0)).shape == (1, 3, 13, 18)
    with pytest.raises(ValueError, match="--style FILE"):
        game.answerer(Choice())
    with pytest.raises(ValueError, match=r"strength = 1\.5: expected a number from 0"):
        game.answerer(Choice(style=style, strength=1.5))
    with pytest.raises(ValueError, match="direction"):
        game.answerer(Choice(style=style, direction="AtoB"))


def test_an_encoder_that_is_missing_stops_training_and_nothing_else():
    game = any_style(missing=OSError("no pictures"))
    with pytest.raises(OSError, match="no pictures"):
        next(game.step(iter([pairs(0, 2)]), Clock()))
    assert game.eval().sample(pairs(0, 2))["answer"].shape == (2, 3, 16, 16)


def test_in_the_warm_up_the_critic_learns_photos_and_the_generator_answers_them():
    game = patch_style()
    x, style = pairs(0, 2)
    first, second = game.step(iter([(x, style)]), Clock(step=0, total=10))
    assert (first.player, second.player) == ("D", "G")
    assert torch.equal(first.watch["fake"], game.D(x).logits.flatten(1).mean(1))
    assert set(second.terms) == {"first"}
    assert torch.allclose(second.terms["first"], (x - game.G(x)).abs().flatten(1).mean(1))


def test_after_it_the_critic_tells_the_painting_from_answers():
    game = patch_style()
    x, style = pairs(0, 2)
    critic, generator = game.step(iter([(x, style)]), Clock(step=9, total=10))
    y = game.G(x)
    real, fake = game.D(style).logits, game.D(y).logits
    assert torch.allclose(critic.terms["adversarial"], objectives.hinge.d(real, fake))
    assert "r1" in critic.terms
    assert torch.allclose(generator.terms["adversarial"], objectives.hinge.g(real, fake))
    assert torch.allclose(generator.terms["content"], objectives.relative_content(see(x).content, see(y).content))
    assert game.weights == {"D/r1": 0.1, "G/adversarial": 0.5, "G/content": 1.0, "G/smoothness": 0.1}


def test_the_critic_judges_the_painting_alone():
    game = patch_style().eval()
    x, style = pairs(0, 3)
    assert torch.equal(game.judge((x, style)), game.judge((-x, style)))
    assert game.judge((x, style)).shape == (3,)
    described = game.described((x, style))
    assert described is not None
    assert described.shape == (3, 8)
    for quiet in (one_style(), any_style()):
        assert quiet.judge((x, style)).tolist() == [0, 0, 0]


def test_frozen_networks_belong_to_no_game():
    for game in (gatys(), one_style(), patch_style()):
        assert not any(isinstance(module, SmallVGG) for module in game.modules())
    assert isinstance(one_style().G, nn.Module)
