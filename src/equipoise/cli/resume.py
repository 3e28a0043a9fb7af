"""`equipoise resume`: go on with a run."""

from pathlib import Path

from equipoise.cli.train import Settings


def resume(run: Path, /, *, set_: Settings = None) -> None:
    """Go on with a run from its newest sound checkpoint, exactly as if it had never stopped.

    Parameters
    ----------
    run
        The run folder.
    set_
        Changes that do not enter the mathematics of the steps already taken, for example training.steps=5000; schedules
        then stretch to the new length.
    """
    from equipoise.cli.show import after_training
    from equipoise.runs.recipe import parse_setting
    from equipoise.runs.run import Run

    opened = Run.open(run)
    print("Reading the data …", flush=True)
    after_training(opened.train(resume=True, settings=dict(map(parse_setting, set_ or []))))
