"""The doctor's look at a run: one under way, an old one, or a bare journal of signals."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from equipoise.core.errors import EquipoiseError, RecipeError
from equipoise.doctor.diagnosis import Diagnosis, diagnosed
from equipoise.doctor.finding import Finding
from equipoise.doctor.words import told
from equipoise.runs.journal import read, without_undone
from equipoise.runs.recipe import dotted, read_toml


@dataclass(frozen=True)
class Examination:
    """What was found in a run, and what could not be judged."""

    name: str
    looks: int
    step: int
    findings: list[Finding]
    silent: Mapping[str, str]
    notes: tuple[str, ...] = ()
    """What was odd about the files."""

    @property
    def exit_code(self) -> int:
        """0 without a fault that is still there, 10 with warnings, 20 with a critical one, 30 with nothing to judge."""
        if not self.looks:
            return 30
        severities = {finding.severity for finding in self.findings if finding.active}
        return 20 if "critical" in severities else 10 if severities else 0

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "run": self.name,
            "looks": self.looks,
            "step": self.step,
            "findings": [finding.as_dict() for finding in self.findings],
            "not_judged": dict(self.silent),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        head = f"{self.name}: {self.looks} look{'s' * (self.looks != 1)}, up to step {self.step:,}."
        return "\n".join([head, *self.notes, "", told(self.findings, self.silent, looks=self.looks)])


def examine(path: Path | str) -> Examination:
    """Examine a run folder or a `signals.jsonl` alone.

    Raises `RecipeError` if there is neither. A half-written last line is left out; missing signals leave their faults
    without a verdict; without a readable recipe the remedies name the literature's settings.
    """
    path = Path(path)
    journal = path if path.is_file() else path / "signals.jsonl"
    if not path.exists():
        raise RecipeError(f"{path} does not exist. Expected a run folder or a journal of signals.")
    if not journal.is_file() and not (path / "run.json").is_file():
        raise RecipeError(f"{path} is neither a run folder nor a journal of signals: expected {journal.name} in it.")
    notes: list[str] = []
    if journal.is_file() and not journal.read_bytes().endswith(b"\n") and journal.stat().st_size:
        notes.append("The last line of the journal is half written; it was left out.")
    settings: dict[str, Any] = {}
    try:
        settings = dotted(read_toml(journal.parent / "recipe.toml"))
    except (EquipoiseError, OSError):
        notes.append("Without a readable recipe.toml, remedies cannot follow from the present settings.")
    diagnosis = diagnosed(without_undone(read(journal)))
    return examination(diagnosis, path.resolve().name, settings, notes)


def examination(diagnosis: Diagnosis, name: str, settings: Mapping[str, Any], notes: list[str]) -> Examination:
    """What a diagnosis has come to."""
    history = diagnosis.history
    if history.steps and not history.named("auc/"):
        notes.append("The run was not probed (an older version, or probes_every = off): little can be judged.")
    return Examination(
        name, len(history.steps), history.step, diagnosis.findings(settings), diagnosis.silent(), tuple(notes)
    )
