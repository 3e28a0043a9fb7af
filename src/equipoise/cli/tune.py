"""`equipoise tune`: hyper-parameter search."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from equipoise.cli.train import Settings


def tune(
    recipe: str | None = None,
    /,
    *,
    data: Path | None = None,
    set_: Settings = None,
    over: Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())] = None,
    metric: str = "fid",
    trials: int = 20,
    repeats: int = 2,
    folder: Path | None = None,
    storage: str | None = None,
) -> None:
    """Search for better settings of a recipe. Stop it and start it again as you like; several processes may share it.

    Parameters
    ----------
    recipe
        The name of a recipe, a .toml file, or the folder of a study to go on with.
    data
        As for `equipoise train`.
    set_
        Changes to the recipe that all trials share, for example training.steps=2000.
    over
        What to search, as key=low..high or key=value,value; by default both learning rates and the weight of R1.
    metric
        fid, kid, precision, recall, density or coverage.
    trials
        How many, in all: those of earlier calls and of other processes count.
    repeats
        How often the best recipe is trained anew from other seeds, to say how sure its score is.
    folder
        The folder of the study; by default tune-NAME.
    storage
        A database for the trials, such as sqlite:///study.db; by default a journal file in the folder.
    """
    from typing import get_args

    from equipoise.core.errors import RecipeError, nearest
    from equipoise.recipes import load
    from equipoise.runs import tuning
    from equipoise.runs.recipe import Judging, parse_setting

    if trials < 1 or repeats < 0:
        raise RecipeError(f"--trials {trials} --repeats {repeats}: expected at least 1 trial and 0 repeats.")
    if recipe is not None and (Path(recipe) / "study.json").is_file():
        if data or set_ or over or folder or storage:
            raise RecipeError(f"{recipe} is a study already: it goes on as it began. Leave the other options out.")
        search = tuning.opened(Path(recipe).resolve())
    else:
        metrics = get_args(Judging.model_fields["metric"].annotation)
        if metric not in metrics:
            raise RecipeError(f"--metric {metric}: not known. {nearest(metric, metrics)}")
        chosen, origin = load(recipe, data=data, settings=dict(map(parse_setting, set_ or [])))
        dimensions = tuple(map(tuning.parse_dimension, over)) if over else tuning.USUAL
        where = (folder or Path(f"tune-{chosen.name}")).resolve()
        search = tuning.begin(tuning.Search(where, chosen, origin, dimensions, metric, storage))
    found = tuning.tune(search, trials=trials, repeats=repeats)
    print(f"\n{found.words(search.metric)}")
    print(f"Best recipe  {search.folder / 'best.toml'}    train it: equipoise train {search.folder / 'best.toml'}")
    print(f"Page         {search.folder / 'tune.html'}")
