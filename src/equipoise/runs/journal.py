"""The run's journals: JSON lines that are only appended to, survive a kill and have no step twice after a resume."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from equipoise.core.disk import disk_errors, replace_file
from equipoise.core.errors import DataError


class Journal:
    """A file of JSON objects, one a line. The file is opened for each line, so nothing is lost and nothing is held.

    >>> from tempfile import mkdtemp
    >>> journal = Journal(Path(mkdtemp()) / "signals.jsonl")
    >>> journal.append({"step": 100, "loss": math.nan})
    >>> read(journal.path)
    [{'step': 100, 'loss': None}]
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)

    def append(self, entry: Mapping[str, Any]) -> None:
        """Write one line. A half-written last line, left by a kill, is cut off first. NaN and ±∞ become null."""
        line = json.dumps(_strict(entry), allow_nan=False, ensure_ascii=False, separators=(",", ":")) + "\n"
        content = line.encode("utf-8", "backslashreplace")
        with (
            disk_errors("writing a journal", self.path, num_bytes=len(content)),
            open(self.path, "a+b") as file,
        ):
            end = file.seek(0, os.SEEK_END)
            if end and file.seek(end - 1) is not None and file.read(1) != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
            file.write(content)

    def truncate_after(self, step: int) -> None:
        """Drop the lines of later steps, all at once: what a run that goes on from `step` will write again."""
        if self.path.exists():
            kept = [line for line in _lines(self.path) if (_entry(line, self.path).get("step") or 0) <= step]
            with disk_errors("shortening a journal", self.path):
                replace_file(self.path, "".join(line + "\n" for line in kept).encode())


def read(path: Path | str) -> list[dict[str, Any]]:
    """All whole lines of a journal; none if there is no such file."""
    path = Path(path)
    return [_entry(line, path) for line in _lines(path)] if path.exists() else []


def without_undone(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A rollback takes steps back: a line replaces all earlier lines of its step and of later ones."""
    kept: list[dict[str, Any]] = []
    for line in lines:
        while kept and (kept[-1].get("step") or 0) >= (line.get("step") or 0):
            kept.pop()
        kept.append(line)
    return kept


def _lines(path: Path) -> list[str]:
    with disk_errors("reading a journal", path):
        text = path.read_bytes().decode("utf-8", "replace")
    return [line for line in text.split("\n")[:-1] if line.strip()]  # what follows the last line end is half a line


def _entry(line: str, path: Path) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise DataError(
            f"{path} holds a line that is not JSON: {line[:60]!r}. Remove the line; whole lines are written only."
        ) from error
    if not isinstance(entry, dict):
        raise DataError(f"{path} holds a line that is not a JSON object: {line[:60]!r}. Remove the line.")
    return entry


def _strict(value: Any) -> Any:
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _strict(item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_strict(item) for item in value]
    return value
