"""Mixtures in the plane whose modes are known: whether a GAN collapsed is a fact, not an opinion."""

from dataclasses import replace

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
    """Twenty-five Gaussians on a grid: `equipoise train grid`.

    All 25 modes and at least 96 % of samples within 3σ of one, of 98.9 % that are possible, in 8 CPU minutes; 3,000
    steps find the modes in 15 seconds. Measured by `python -m benchmarks.coverage grid`, three seeds.
    """
    base = ring()
    network = Mlp(width=64, generator_activation="relu")
    return base.model_copy(
        update={
            "name": "grid",
            "game": base.game.model_copy(update={"network": network}),
            "data": Toy(layout="grid"),
            "training": replace(base.training, steps=100_000, ema_half_life=20_000),
        }
    )
