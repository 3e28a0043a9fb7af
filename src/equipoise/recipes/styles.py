"""Pictures in a style: of one painting, of any, and of the patches of one, for photos of your own."""

from equipoise.core.schedule import Schedule
from equipoise.engine.optimizers import Optimizer
from equipoise.engine.trainer import Plan
from equipoise.runs.parts import GameSettings
from equipoise.runs.recipe import Judging, Recipe
from equipoise.runs.restoring import Patches
from equipoise.runs.styling import AdainSettings, PatchStyleSettings, StyledData, StyleSettings, Transformer


def style() -> Recipe:
    """One painting, in one pass: `equipoise train style --data PHOTOS --set data.style=PAINTING`."""
    game = StyleSettings(network=Transformer(width=16, num_blocks=3))
    data = StyledData(crop=64, small="mirror", held_out=8)
    return styling("style", game, data, steps=3000, rate=1.5e-3)


def adain() -> Recipe:
    """Any painting, chosen at use: `equipoise train adain --data PHOTOS --set data.style=PAINTINGS`."""
    game = AdainSettings(content=1.0, style=10.0)
    data = StyledData(crop=64, small="mirror", held_out=8, unseen=1)
    return styling("adain", game, data, steps=2000, rate=1e-3)


def style_gan() -> Recipe:
    """The patches of one painting, by a critic: `equipoise train style-gan --data PHOTOS --set data.style=PAINTING`."""
    game = PatchStyleSettings(
        network=Transformer(width=16, num_blocks=3),
        critic=Patches(width=32, num_layers=2),
        loss="hinge",
        warmup=0.05,
        content=0.5,
        adversarial=1.0,
    )
    data = StyledData(crop=64, small="mirror", held_out=8, aside=0.25)
    return styling("style-gan", game, data, steps=3000, rate=1e-3)


def styling(name: str, game: GameSettings, data: StyledData, *, steps: int, rate: float) -> Recipe:
    """What they have in common: batches of 4, and a cosine from the rate to a twentieth of it."""
    falling = Schedule(start=rate, end=rate / 20, shape="cosine", warmup=0.01)
    players = {"G": Optimizer(learning_rate=falling, betas=(0.9, 0.99))}
    if "strokes" in game.own_scores:
        players |= {"D": Optimizer(learning_rate=5e-4, betas=(0.5, 0.99))}
    return Recipe(
        name=name,
        game=game,
        data=data,
        training=Plan(steps=steps, batch=4, ema_half_life=500, save_every=500),
        players=players,
        judging=Judging(metric="style"),
    )
