"""`equipoise report`: the report of a run, made anew."""

from pathlib import Path


def report(run: Path, /) -> None:
    """Write report.html from what is in a run folder, finished or not.

    Parameters
    ----------
    run
        The run folder.
    """
    from equipoise.runs.run import Run

    print(Run.open(run).report())
