"""Pictures translated: from one kind to another, learnt from pairs."""

from equipoise.core.schedule import Schedule
from equipoise.engine.optimizers import Optimizer
from equipoise.engine.trainer import Plan
from equipoise.runs.paired import Pix2PixSettings
from equipoise.runs.recipe import Judging, Recipe
from equipoise.runs.restoring import Patches, PicturesData, Unet


def pix2pix() -> Recipe:
    """Translation learnt from pairs, A and B side by side in each picture: `equipoise train pix2pix --data FOLDER`.

    Two folders: `--set data.given=A --data B`, or one with parts: `--set data.given_part=A --set data.part=B`. The other
    way round: `--set data.direction=BtoA`.
    """
    network = Unet(width=24, normalisation="instance", residual=False, dropout=0.5, final="tanh")
    game = Pix2PixSettings(network=network, critic=Patches(width=32, normalisation="instance"))
    rate = Schedule(start=2e-4, end=0.0, begin=0.5)  # constant, then falling, as in the paper
    return Recipe(
        name="pix2pix",
        game=game,
        data=PicturesData(aligned=True, crop=128, held_out=16, turns=False),
        training=Plan(steps=3000, batch=8, ema_half_life=5000, save_every=500),
        players={name: Optimizer(learning_rate=rate, betas=(0.5, 0.999)) for name in ("G", "D")},
        judging=Judging(metric="perceptual"),
    )
