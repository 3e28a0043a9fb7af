"""Several tasks in one model: noise, small pictures, holes and colours, of pictures of your own."""

from equipoise.core.schedule import Schedule
from equipoise.engine.optimizers import Optimizer
from equipoise.engine.trainer import Plan
from equipoise.runs.multitasking import MultitaskSettings, TaskNetwork, TaskPatches, TasksData, TaskSettings
from equipoise.runs.recipe import Judging, Recipe


def multitask() -> Recipe:
    """Noise, small pictures, holes and missing colours in one model: `equipoise train multitask --data FOLDER`."""
    names = ("denoise", "super-resolve", "inpaint", "colourise")
    return Recipe(
        name="multitask",
        game=MultitaskSettings(network=TaskNetwork(width=32, depth=3), critic=TaskPatches(width=32)),
        data=TasksData(crop=48, held_out=8, tasks=tuple(TaskSettings(name=name) for name in names)),
        training=Plan(steps=4000, batch=16, ema_half_life=10_000, save_every=500),
        players={
            "G": Optimizer(
                learning_rate=Schedule(start=1e-3, end=1e-5, shape="cosine", warmup=0.01), betas=(0.9, 0.99)
            ),
            "D": Optimizer(learning_rate=2e-4, betas=(0.9, 0.99)),
        },
        judging=Judging(metric="mean_score"),
    )
