"""Pictures translated: between two domains of your own."""

from equipoise.core.schedule import Schedule
from equipoise.engine.optimizers import Optimizer
from equipoise.engine.trainer import Plan
from equipoise.runs.parts import GameSettings
from equipoise.runs.recipe import Judging, Recipe
from equipoise.runs.restoring import Patches
from equipoise.runs.translating import CutSettings, CycleGANSettings, Translator, UnpairedData

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
