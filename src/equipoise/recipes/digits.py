"""The digits of scikit-learn: the default run, about a minute and a half on one CPU core."""

from equipoise.core.schedule import Schedule
from equipoise.engine.optimizers import Optimizer
from equipoise.engine.trainer import Plan
from equipoise.runs.parts import Conditional, Digits, Gan, Mlp
from equipoise.runs.recipe import Recipe, Watching


def digits() -> Recipe:
    """1,797 handwritten digits of 8×8 pixels, unconditional: `equipoise train`.

    Multi-layer perceptrons, since convolutions cost ten times as much per step at this size. R1 keeps every class
    alive; the high learning rate that falls to zero gives the quality. Measured by `python -m benchmarks.digits`.
    """
    player = Optimizer(learning_rate=Schedule(start=1.5e-3, end=0.0), betas=(0.5, 0.99))
    return Recipe(
        name="digits",
        game=Gan(network=Mlp(), z_dim=64, loss="non-saturating", penalties={"r1": 0.15}),
        data=Digits(),
        training=Plan(steps=11_000, batch=64, precision="fp32", threads=1, save_every=1000),
        players={"D": player, "G": player},
        watching=Watching(samples_every=275, signals_every=100, histograms_every=2000),
    )


def conditional_digits() -> Recipe:
    """The same digits with a chosen class, by projection: `equipoise train conditional-digits`."""
    game = Conditional(network=Mlp(), z_dim=64, loss="non-saturating", penalties={"r1": 0.15})
    return digits().model_copy(update={"name": "conditional-digits", "game": game})
