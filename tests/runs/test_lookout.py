"""What a run looks at: games of every kind, in every space, without disturbing them."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from equipoise.core.errors import RecipeError
from equipoise.core.game import Game, Move
from equipoise.data.loader import Loader
from equipoise.data.source import split, tensor_source
from equipoise.engine.optimizers import Optimizer
from equipoise.engine.trainer import Plan, Trainer
from equipoise.games.gan import GAN
from equipoise.monitor.spaces import pixels
from equipoise.networks.mlp import MLPCritic, MLPGenerator
from equipoise.objectives import non_saturating
from equipoise.runs.lookout import Lookout
from equipoise.runs.recipe import Recipe, Watching

PARTS = split(
    tensor_source("squares", torch.rand(120, 1, 8, 8, generator=torch.Generator().manual_seed(0))), 40, seed=0
)


class Mender(Game):
    """Makes an image of an image; `hears` says how much of the input gets through."""

    def __init__(self, hears: float, noise: float):
        super().__init__()
        self.hears, self.noise = hears, noise
        self.G, self.D = nn.Conv2d(1, 1, 1), MLPCritic((1, 8, 8), width=8)

    @property
    def players(self):
        return {"D": [self.D], "G": [self.G]}

    def sample(self, batch: Tensor) -> dict[str, Tensor]:
        return {"fake": self.hears * batch + self.noise * torch.randn_like(batch)}

    def judge(self, batch: Tensor) -> Tensor:
        return self.D(batch).logits

    def step(self, data, now):
        yield Move("D", loss=self.judge(next(data)).mean())


def gan() -> GAN:
    torch.manual_seed(0)
    G, D = MLPGenerator(4, (1, 8, 8), width=8), MLPCritic((1, 8, 8), width=8)
    return GAN(G, D, z_dim=4, loss=non_saturating)


def looking(game: Game, **settings) -> tuple[Lookout, Trainer]:
    players = {"D": Optimizer(), "G": Optimizer()}
    trainer = Trainer(game, Loader(PARTS.train, labels=False, seed=0), players=players, plan=Plan(steps=10, batch=8))
    recipe = Recipe(watching=Watching(probes_every=5, **settings))
    judge = SimpleNamespace(features=pixels)
    run = SimpleNamespace(recipe=recipe, extractor=lambda train, held_out: judge)
    return Lookout(run, trainer, PARTS), trainer  # type: ignore[arg-type]


def seen(game: Game, **settings) -> dict[str, float]:
    lookout, trainer = looking(game, **settings)
    return {name: float(value.mean()) for name, value in lookout.look(trainer.clock).items()}


def test_a_game_with_an_input_is_asked_whether_it_hears_it():
    deaf, open_eared, inventive = seen(Mender(0.0, 1.0)), seen(Mender(1.0, 0.0)), seen(Mender(1.0, 0.5))
    assert deaf["input/effect"] == 0
    assert open_eared["input/effect"] == pytest.approx(1, abs=0.1)
    assert open_eared["input/diversity"] == 0
    assert inventive["input/diversity"] > 0.5
    assert deaf["input/diversity"] > 1


def test_a_game_of_latents_has_no_input():
    assert "input/effect" not in seen(gan())


@pytest.mark.parametrize("space", ["pixels", "random", "critic", "trained"])
def test_examples_are_compared_in_every_space(space):
    numbers = seen(gan(), space=space)
    assert numbers["diversity"] > 0
    assert abs(numbers["energy/real"]) < 0.2


def test_the_critics_space_moves_with_the_critic():
    game = gan()
    lookout, trainer = looking(game, space="critic")
    first = lookout.look(trainer.clock)["diversity"]
    with torch.no_grad():
        for parameter in game.D.parameters():
            parameter.add_(torch.randn_like(parameter))
    assert lookout.look(trainer.clock)["diversity"] != first


def test_a_critic_without_features_is_refused_with_what_helps():
    with pytest.raises(RecipeError, match=r'shows no features\. Use "random"'):
        looking(Mender(1.0, 0.0), space="critic")


def test_a_look_changes_neither_weights_nor_randomness():
    game = gan()
    lookout, trainer = looking(game)
    weights = {name: value.clone() for name, value in game.state_dict().items()}
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    lookout.look(trainer.clock)
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(value, weights[name]) for name, value in game.state_dict().items())
    assert game.training
