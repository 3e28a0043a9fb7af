"""Mixtures in the plane whose modes are known: whether a GAN collapsed is a fact, not an opinion."""

from equipoise.core.schedule import Schedule
from equipoise.engine.optimizers import Optimizer
from equipoise.engine.trainer import Plan
from equipoise.runs.parts import Gan, Mlp, Toy
from equipoise.runs.recipe import Judging, Recipe


def ring() -> Recipe:
    """Eight Gaussians on a circle: `equipoise train ring`."""
    rate = Schedule(start=1e-3, end=0.0)
    player = Optimizer(learning_rate=rate, betas=(0.5, 0.999))
    return Recipe(
        name="ring",
        game=Gan(network=Mlp(width=64), z_dim=2, loss="relativistic-pairing", penalties={"r1": 0.05, "r2": 0.05}),
        data=Toy(layout="ring"),
        training=Plan(steps=3000, batch=64, ema_half_life=5000, precision="fp32", threads=1),
        players={"D": player, "G": player},
        judging=Judging(num_samples=500),
    )


def grid() -> Recipe:
    """Twenty-five Gaussians on a grid: `equipoise train grid`."""
    base = ring()
    game = Gan(network=Mlp(width=128), z_dim=2, loss="relativistic-pairing", penalties={"r1": 0.05, "r2": 0.05})
    return base.model_copy(update={"name": "grid", "game": game, "data": Toy(layout="grid")})
