"""`equipoise train`: train a recipe into a new run folder."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

Settings = Annotated[list[str] | None, Parameter(name="--set", consume_multiple=True, negative=())]


def train(
    recipe: str | None = None,
    /,
    *,
    data: Path | None = None,
    set_: Settings = None,
    run: Path | None = None,
    dry_run: Annotated[bool, Parameter(negative=())] = False,
    autopilot: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Train a GAN. Without arguments: on the handwritten digits that come with scikit-learn.

    Parameters
    ----------
    recipe
        The name of a recipe (see `equipoise recipes`), a .toml file, or FILE.py:FUNCTION.
    data
        A folder of images, a folder of folders (classes), a .zip of either, or an .npy or .npz file; or the name of a
        set: mnist, fashion-mnist, cifar10, cifar100, hub:OWNER/NAME, digits.
    set_
        Changes to the recipe as key=value, for example training.steps=2000 game.loss=hinge.
    run
        The run folder to create; by default a new one under runs/.
    dry_run
        Print the resolved recipe, players, shapes, predicted memory and time; train nothing, write nothing.
    autopilot
        Treat faults on the way: go back to the last healthy checkpoint and on with a changed recipe.
    """
    from equipoise.cli.show import after_training, dry
    from equipoise.recipes import load
    from equipoise.runs.recipe import parse_setting
    from equipoise.runs.run import Run

    settings = dict(map(parse_setting, set_ or [])) | ({"watching.autopilot": True} if autopilot else {})
    chosen, origin = load(recipe, data=data, settings=settings)
    print("Reading the data …", flush=True)
    if chosen.game.preparation:
        print(chosen.game.preparation, flush=True)
    if dry_run:
        dry(chosen, origin)
        return
    after_training(Run.create(chosen, origin=origin, folder=run).train())
