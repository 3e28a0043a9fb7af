"""Pictures translated: from one kind to another, learnt from pairs, or between two domains without pairs."""

from equipoise.core.schedule import Schedule
from equipoise.engine.optimizers import Optimizer
from equipoise.engine.trainer import Plan
from equipoise.runs.paired import Pix2PixSettings
from equipoise.runs.parts import GameSettings
from equipoise.runs.recipe import Judging, Recipe
from equipoise.runs.restoring import Patches, PicturesData, Translator, Unet
from equipoise.runs.translating import CutSettings, CycleGANSettings, UnpairedData

# ---------------------------------------------------------------- with pairs


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


# ---------------------------------------------------------------- without pairs

SMALL = Translator(width=32, num_blocks=4)
PATCHES = Patches(width=32, num_layers=2, normalisation="instance")


def cyclegan() -> Recipe:
    """Two domains without pairs, both ways, by cycles: `equipoise train cyclegan --data FOLDER`."""
    return without_pairs("cyclegan", CycleGANSettings(network=SMALL, critic=PATCHES), constant=0.5)


def cut() -> Recipe:
    """Two domains without pairs, one way, by contrast of patches: `equipoise train cut --data FOLDER`."""
    return without_pairs("cut", CutSettings(network=SMALL, critic=PATCHES), constant=0.5)


def fastcut() -> Recipe:
    """CUT without its identity term, with mirrored pictures: faster, and nearer to what is given."""
    game = CutSettings(network=SMALL, critic=PATCHES, contrast=10.0, identity=0.0, flips=True)
    return without_pairs("fastcut", game, constant=0.75)


def without_pairs(name: str, game: GameSettings, *, constant: float) -> Recipe:
    """What they have in common: Adam at 2e-4, constant for a share of training, then linearly to 0."""
    player = Optimizer(learning_rate=Schedule(start=2e-4, end=0.0, begin=constant), betas=(0.5, 0.999))
    return Recipe(
        name=name,
        game=game,
        data=UnpairedData(size=72, crop=64),
        training=Plan(steps=20_000, batch=4, ema_half_life=10_000, save_every=500),
        players={"G": player, "D": player},
        judging=Judging(metric="fid"),
    )
