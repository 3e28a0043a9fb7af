"""All runs of a folder side by side: what was changed, what was found, what was done, how good it became."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from equipoise.core.errors import EquipoiseError
from equipoise.runs.examination import examine
from equipoise.runs.journal import read
from equipoise.runs.piloting import interventions
from equipoise.runs.recipe import dotted, read_toml

ENDINGS = ("finished", "interrupted", "diverged", "failed")
UNTOLD = ("name", "watching.", "judging.", "data.path")
"""Settings that say nothing about how good a run becomes."""


@dataclass(frozen=True)
class Entry:
    """One run in a line."""

    folder: Path
    created: str
    state: str
    step: int
    changes: dict[str, tuple[Any, Any]]
    """Settings that differ from those of the run before it with the same recipe name: key -> before and now."""
    findings: list[str]
    interventions: list[str]
    scores: dict[str, float]
    """Of the newest evaluation."""

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**vars(self), "folder": str(self.folder), "changes": {k: list(v) for k, v in self.changes.items()}}


def entries(folder: Path | str) -> list[Entry]:
    """The runs in a folder, the oldest first; a folder without readable run.json and recipe.toml is none."""
    found = []
    for card in Path(folder).glob("*/run.json"):
        try:
            content = json.loads(card.read_text("utf-8"))
            found.append((str(content.get("created", "")), card.parent, dotted(read_toml(card.parent / "recipe.toml"))))
        except (EquipoiseError, ValueError, OSError, AttributeError):
            continue
    rows: list[Entry] = []
    last: dict[str, dict[str, Any]] = {}
    for created, path, settings in sorted(found, key=lambda item: (item[0], item[1].name)):
        name = str(settings.get("name"))
        rows.append(entry(path, created, settings, before=last.get(name)))
        last[name] = settings
    return rows


AGAIN = ("resumed", "intervention")
"""Events after which a training that had ended goes on."""


def entry(folder: Path, created: str, settings: dict[str, Any], *, before: dict[str, Any] | None) -> Entry:
    """One run; what is damaged in it is left out."""
    changes: dict[str, tuple[Any, Any]] = {}
    if before is not None:
        for key in dict.fromkeys((*before, *settings)):
            if not key.startswith(UNTOLD) and before.get(key) != settings.get(key):
                changes[key] = (before.get(key), settings.get(key))
    try:
        examined = examine(folder)
        found, step = [finding.title for finding in examined.findings], examined.step
        ends = [event["kind"] for event in read(folder / "events.jsonl") if event.get("kind") in (*ENDINGS, *AGAIN)]
    except EquipoiseError:
        found, step, ends = [], 0, []
    try:
        done = [f"{row['title']}: {row['outcome']}" for row in interventions(folder)]
    except (EquipoiseError, KeyError, TypeError):
        done = []
    return Entry(
        folder,
        created,
        ends[-1] if ends and ends[-1] in ENDINGS else "not finished",
        step,
        changes,
        found,
        done,
        scores(folder),
    )


def scores(folder: Path) -> dict[str, float]:
    """The newest evaluation of the newest step that was judged; nothing where there is none."""
    try:
        entries = json.loads((folder / "metrics.json").read_text("utf-8"))
        values = max(reversed(entries), key=lambda entry: entry.get("step", 0))["values"]
        return {name: float(value) for name, value in values.items() if isinstance(value, int | float)}
    except (OSError, ValueError, LookupError, TypeError):
        return {}
