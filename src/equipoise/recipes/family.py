"""Games of generation that are a paper each: few labels, discovered codes, two domains, pyramids, autoencoders."""

from equipoise.core.schedule import Schedule
from equipoise.engine.optimizers import Optimizer
from equipoise.engine.trainer import Plan
from equipoise.recipes.digits import digits
from equipoise.runs.generating_games import (
    AaeSettings,
    CoganSettings,
    DenseCritic,
    LapganSettings,
    SganSettings,
    VaeganSettings,
)
from equipoise.runs.parts import Digits, Gan, Mlp
from equipoise.runs.recipe import Judging, Recipe
from equipoise.runs.techniques import MutualInformation
from equipoise.runs.translating import UnpairedData

RATE = Optimizer(learning_rate=Schedule(start=5e-4, end=5e-5), betas=(0.5, 0.99))


def infogan() -> Recipe:
    """Ten codes and two directions that nobody named: `equipoise train infogan --data FOLDER`.

    Evaluation shows a row of samples for each code and, where the data has classes, how codes agree with them; the game
    never sees those.
    """
    codes = MutualInformation(weight=1.0, num_categories=10, num_continuous=2)
    base = digits()
    game = Gan(network=Mlp(), z_dim=64, loss="non-saturating", penalties={"r1": 0.15}, mutual_information=codes)
    return base.model_copy(update={"name": "infogan", "game": game})


def cogan() -> Recipe:
    """Images of two domains that belong together, without pairs: `equipoise train cogan --data FOLDER`.

    In trainA and trainB; or `--set data.a=…` and `--set data.b=…`, as for cyclegan.
    """
    return Recipe(
        name="cogan",
        game=CoganSettings(width=32),
        data=UnpairedData(size=32, mirror=False),
        training=Plan(steps=10_000, batch=64, ema_half_life=20_000, save_every=500),
        players=dict.fromkeys(("D", "G"), RATE),
        judging=Judging(metric="fid"),
    )


def lapgan() -> Recipe:
    """From 4 pixels to 8, by a band of a Laplacian pyramid: `equipoise train lapgan`.

    Of pictures: `--data FOLDER --set data.size=32 --set game.network.kind=dcgan`, and with data.size=64
    `--set game.num_levels=2`.
    """
    return Recipe(
        name="lapgan",
        game=LapganSettings(network=Mlp(), band_width=32, z_dim=64, penalties={"r1": 0.15}),
        data=Digits(),
        training=Plan(steps=10_000, batch=64, ema_half_life=20_000, save_every=500),
        players=dict.fromkeys(("D", "G"), RATE),
    )


def vaegan() -> Recipe:
    """An autoencoder and a GAN in one: `equipoise train vaegan`, and of pictures `--set game.network.kind=dcgan`."""
    return Recipe(
        name="vaegan",
        game=VaeganSettings(network=Mlp(), z_dim=32, penalties={"r1": 0.15}),
        data=Digits(),
        training=Plan(steps=8000, batch=64, ema_half_life=20_000, save_every=500),
        players=dict.fromkeys(("E", "G", "D"), RATE),
    )


def aae() -> Recipe:
    """An autoencoder with latents like the prior: `equipoise train aae`, of pictures as for vaegan."""
    return Recipe(
        name="aae",
        game=AaeSettings(network=Mlp(), z_dim=8),
        data=Digits(),
        training=Plan(steps=8000, batch=64, ema_half_life=20_000, save_every=500),
        players=dict.fromkeys(("E", "G", "D"), RATE),
    )


def sgan() -> Recipe:
    """A classifier from ten labels of each class: `equipoise train sgan --data mnist.npz`.

    The dense networks of Salimans et al. for MNIST; of colour photographs `--set game.critic.kind=convolutional` and
    `--set game.network.kind=dcgan`. How many labels: `--set data.labelled=10`, or a text file of numbers.
    """
    network = Mlp(width=500, num_layers=2, generator_normalisation="batch", generator_activation="relu")
    player = Optimizer(learning_rate=Schedule(start=1e-3, end=0.0, begin=0.5), betas=(0.5, 0.999))
    return Recipe(
        name="sgan",
        game=SganSettings(network=network, critic=DenseCritic(), z_dim=100),
        data=Digits(labelled=10),
        training=Plan(steps=6000, batch=100, ema_half_life=50_000, save_every=500),
        players={"D": player, "G": player},
        judging=Judging(metric="accuracy"),
    )
