"""Labelled images of your own: generation of a chosen class."""

from equipoise.core.schedule import Lazy
from equipoise.recipes.images import images
from equipoise.runs.parts import Conditional, Dcgan
from equipoise.runs.recipe import Recipe


def conditional() -> Recipe:
    """DCGAN with conditional batch norm and a projection critic: `equipoise train conditional --data FOLDER`."""
    game = Conditional(network=Dcgan(width=64), z_dim=128, penalties={"r1": Lazy(0.25, 8)})
    return images().model_copy(update={"name": "conditional", "game": game})
