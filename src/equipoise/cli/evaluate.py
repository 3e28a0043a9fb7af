"""`equipoise evaluate`: how good the samples of a run are."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def evaluate(
    run: Path,
    /,
    *,
    num: int | None = None,
    seed: int = 0,
    at: str = "newest",
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Measure samples of a run against held-out real examples, with real against real beside it.

    Parameters
    ----------
    run
        The run folder.
    num
        How many samples, at most as many as examples are held out; by default what the recipe says.
    seed
        Of the samples.
    at
        Of which checkpoint: newest, best, or a step.
    json
        Print the result as JSON.
    """
    import json as encoder

    from equipoise.cli.show import checkpoint, metrics_table
    from equipoise.runs.run import Run

    opened = Run.open(run)
    result = opened.evaluate(num=num, seed=seed, at=checkpoint(at))
    opened.report()
    if json:
        print(encoder.dumps(result.to_json(), indent=1))
    else:
        metrics_table(result)
