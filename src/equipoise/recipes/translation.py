"""Pictures translated: from one kind to another, learnt from pairs."""

from equipoise.core.schedule import Schedule
from equipoise.engine.optimizers import Optimizer
from equipoise.engine.trainer import Plan
from equipoise.runs.paired import Pix2PixSettings
from equipoise.runs.recipe import Judging, Recipe
from equipoise.runs.restoring import Patches, PicturesData, Unet


def pix2pix() -> Recipe:
    """Translation learnt from pairs, A and B side by side in each picture: `equipoise train pix2pix --data FOLDER`.

    In two folders: `--set data.given=A --data B`; in parts of one: `--set data.given_part=A --set data.part=B`. The
    other way round: `--set data.direction=BtoA`. For a few minutes of a processor: small squares, and a critic of
    bounded slope beside L1 of weight 10. Dropout stays on in use; where there is one answer, as of label maps:
    `--set game.network.noise=false`.
    """
    network = Unet(width=24, normalisation="none", residual=False, dropout=0.5, noise=True, final="tanh")
    critic = Patches(width=24, num_layers=2)  # patches of 34 pixels
    game = Pix2PixSettings(network=network, critic=critic, terms={"l1": 10.0})
    rates = {name: Schedule(start=rate, end=0.0, begin=0.5) for name, rate in (("G", 5e-4), ("D", 2e-4))}
    return Recipe(
        name="pix2pix",
        game=game,
        data=PicturesData(aligned=True, crop=64, held_out=16, turns=False),
        training=Plan(steps=2500, batch=4, ema_half_life=2000, save_every=250),
        players={name: Optimizer(learning_rate=rate, betas=(0.5, 0.999)) for name, rate in rates.items()},
        judging=Judging(metric="perceptual"),
    )
