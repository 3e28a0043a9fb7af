"""The digits of scikit-learn: the default run, about a minute on two CPU cores."""

from equipoise.core.schedule import Lazy, Schedule
from equipoise.engine.optimizers import Optimizer
from equipoise.engine.trainer import Plan
from equipoise.runs.parts import Conditional, Dcgan, Digits, Gan
from equipoise.runs.recipe import Recipe, Watching


def digits() -> Recipe:
    """1,797 handwritten digits of 8×8 pixels, unconditional: `equipoise train`."""
    rate = Schedule(start=1e-3, end=1e-4)
    return Recipe(
        name="digits",
        game=Gan(network=Dcgan(width=64), z_dim=64, loss="non-saturating", penalties={"r1": Lazy(0.5, 4)}),
        data=Digits(),
        training=Plan(steps=2000, batch=64, ema_half_life=5000, save_every=500),
        players={"D": Optimizer(learning_rate=rate), "G": Optimizer(learning_rate=rate)},
        watching=Watching(samples_every=100),
    )


def conditional_digits() -> Recipe:
    """The same digits with a chosen class, by projection: `equipoise train conditional-digits`."""
    base = digits()
    game = Conditional(network=Dcgan(width=64), penalties={"r1": Lazy(0.5, 4)})
    return base.model_copy(update={"name": "conditional-digits", "game": game})
