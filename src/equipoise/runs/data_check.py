"""The look at the data before a run: what `equipoise data check` finds, in a few lines."""

import json
import shlex
from pathlib import Path

from equipoise.core.disk import disk_errors, replace_file
from equipoise.core.errors import DataError
from equipoise.data.inspection import KINDS, inspected
from equipoise.runs.parts import DataSettings

MOST = 5_000
"""Examples that are opened; the whole set is looked at by `equipoise data check`, and then remembered."""
OF_RANGE = ("range", "refused")
"""Findings that standardisation answers."""


def check_before_training(data: DataSettings, folder: Path) -> list[str]:
    """What is wrong with the files of a recipe, a line for each kind; all of it goes into data-check.json in `folder`.

    Nothing is said of data without files, nor where nothing was found.
    """
    if data.files is None or not data.check:
        return []
    path, part = data.files
    try:
        inspection = inspected(path, part=part, most=MOST)
    except DataError as error:  # training could open it all the same
        return [f"Data check: {error}"]
    with disk_errors("writing what was found in the data", folder):
        replace_file(folder / "data-check.json", json.dumps(inspection.as_dict(), indent=1).encode())
    skip = OF_RANGE if data.standardises else ()
    told = {kind: found for kind, found in inspection.by_kind().items() if kind not in skip}
    lines = []
    for kind, found in told.items():
        first = f", such as {found[0].paths[0]}" if found[0].paths else f": {found[0].explanation}"
        number = f"{len(found):,} × " if len(found) > 1 else ""
        lines.append(f"Data check, {found[0].severity}: {number}{KINDS[kind].title.lower()}{first}")
    if any(found[0].severity != "note" for found in told.values()):
        source = shlex.quote(str(path)) + ("" if part is None else f" --part {shlex.quote(part)}")
        lines.append(f"See what was found: equipoise data check {source} --page page.html")
    return [*lines, *(f"Data check: {line}" for line in inspection.unseen)]
