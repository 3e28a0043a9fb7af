"""`equipoise doctor`: what went wrong in a run, with evidence and remedies."""

import json
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def doctor(run: Path, /, *, as_json: Annotated[bool, Parameter(name="--json", negative=())] = False) -> None:
    """Say what is wrong with a training, under way or finished.

    Leaves with 0 (healthy), 10 (warning), 20 (critical) or 30 (nothing to judge).

    Parameters
    ----------
    run
        A run folder, or a signals.jsonl alone.
    as_json
        Print the findings as JSON.
    """
    from equipoise.runs.examination import examine

    result = examine(run)
    print(json.dumps(result.as_dict(), indent=1) if as_json else result)
    if result.exit_code:
        sys.stdout.flush()
        sys.exit(result.exit_code)
