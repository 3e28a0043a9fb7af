"""`equipoise runs`: all runs side by side."""

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def runs(
    folder: Path = Path("runs"), /, *, as_json: Annotated[bool, Parameter(name="--json", negative=())] = False
) -> None:
    """List the runs of a folder, the oldest first: state, changes to the one before, faults, interventions, scores.

    Parameters
    ----------
    folder
        Where the run folders are.
    as_json
        Print everything as JSON.
    """
    from equipoise.runs.register import entries

    rows = entries(folder)
    if as_json:
        print(json.dumps([row.as_dict() for row in rows], indent=1, default=str))
        return
    if not rows:
        print(f"There are no runs in {folder}. Train one: equipoise train")
    for row in rows:
        print(f"{row.folder.name}  {row.state}, step {row.step:,}")
        for key, (before, now) in row.changes.items():
            print(f"    {key}: {before} -> {now}")
        if row.findings:
            print(f"    found: {', '.join(row.findings)}")
        if row.interventions:
            print(f"    autopilot: {'; '.join(row.interventions)}")
        if row.scores:
            print("    " + "  ".join(f"{name} {value:.3g}" for name, value in row.scores.items()))
