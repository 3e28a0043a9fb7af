"""Images of your own: unconditional generation from a folder, a zip or an array."""

from equipoise.core.schedule import Lazy, Schedule
from equipoise.engine.optimizers import Optimizer
from equipoise.engine.trainer import Plan
from equipoise.runs.parts import Dcgan, Digits, Gan, Resnet
from equipoise.runs.recipe import Recipe


def images() -> Recipe:
    """DCGAN with a lazy R1 penalty: `equipoise train --data FOLDER`."""
    player = Optimizer(learning_rate=Schedule(start=5e-4, end=5e-5))
    return Recipe(
        name="images",
        game=Gan(network=Dcgan(width=64), z_dim=128, loss="non-saturating", penalties={"r1": Lazy(0.25, 8)}),
        data=Digits(),
        training=Plan(steps=10_000, batch=64, ema_half_life=20_000, save_every=500),
        players={"D": player, "G": player},
    )


def sngan() -> Recipe:
    """Residual networks, spectral normalisation, hinge loss (Miyato et al. 2018): `equipoise train sngan --data …`."""
    base = images()
    return base.model_copy(
        update={
            "name": "sngan",
            "game": Gan(network=Resnet(width=64), z_dim=128, loss="hinge"),
            "players": {
                "D": Optimizer(learning_rate=4e-4, betas=(0.0, 0.9)),
                "G": Optimizer(learning_rate=2e-4, betas=(0.0, 0.9)),
            },
        }
    )
