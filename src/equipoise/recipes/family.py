"""Games of generation that are a paper each: few labels, discovered codes, two domains, pyramids, autoencoders."""

from equipoise.core.schedule import Schedule
from equipoise.engine.optimizers import Optimizer
from equipoise.engine.trainer import Plan
from equipoise.recipes.digits import digits
from equipoise.runs.generating_games import DenseCritic, SganSettings
from equipoise.runs.parts import Digits, Gan, Mlp
from equipoise.runs.recipe import Judging, Recipe
from equipoise.runs.techniques import MutualInformation


def infogan() -> Recipe:
    """Ten codes and two directions that nobody named: `equipoise train infogan --data FOLDER`.

    Evaluation shows a row of samples for each code and, where the data has classes, how codes agree with them; the game
    never sees those.
    """
    codes = MutualInformation(weight=1.0, num_categories=10, num_continuous=2)
    base = digits()
    game = Gan(network=Mlp(), z_dim=64, loss="non-saturating", penalties={"r1": 0.15}, mutual_information=codes)
    return base.model_copy(update={"name": "infogan", "game": game})


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
