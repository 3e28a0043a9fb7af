"""From signals to findings: every fault is asked at every look, and the first that persists is the diagnosis."""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from equipoise.doctor.fault import Fault, Settings
from equipoise.doctor.faults import FAULTS
from equipoise.doctor.finding import Evidence, Finding
from equipoise.doctor.history import History

TOGETHER = 3
"""Symptoms so many looks apart may have one cause."""


@dataclass
class Course:
    """How one fault went: since when its symptom is there without a break."""

    in_a_row: int = 0
    began: int = 0
    evidence: Sequence[Evidence] = ()
    confirmed: tuple[int, int, Sequence[Evidence]] | None = None
    """Since when it first persisted, until when it did last, and the newest evidence."""
    lately: int = 0
    """When it began the last time that it persisted."""


@dataclass
class Diagnosis:
    """Takes looks one by one; the same for a training under way and for an old run."""

    faults: Sequence[Fault] = FAULTS
    history: History = field(default_factory=History)

    def __post_init__(self):
        self.courses = {fault.name: Course() for fault in self.faults}

    def look(self, line: Mapping[str, Any]) -> None:
        """Take in a line of `signals.jsonl`, and ask every fault about it."""
        before = len(self.history.steps)
        self.history.add_line(line)
        if len(self.history.steps) > before:
            self.ask()

    def observe(self, step: int, numbers: Mapping[str, float | None]) -> None:
        """Take in numbers by name, and ask every fault about them."""
        self.history.add(step, numbers)
        self.ask()

    def ask(self) -> None:
        """Count in how many looks in a row each symptom was there."""
        for fault in self.faults:
            if not (self.history.knows(*fault.needs) and all(self.history.fresh(name) for name in fault.needs[:1])):
                continue
            course, evidence = self.courses[fault.name], fault.symptom(self.history)
            if not evidence:
                course.in_a_row = 0
                continue
            if course.in_a_row == 0:
                course.began = fault.began(self.history) if fault.began else self.history.step
            course.in_a_row += 1
            course.evidence = evidence
            if course.in_a_row >= fault.looks:
                since = course.confirmed[0] if course.confirmed else course.began
                course.confirmed, course.lately = (since, self.history.step, evidence), course.began

    def findings(self, settings: Settings | None = None) -> list[Finding]:
        """What was found, the first persistent cause first.

        Symptoms that appear within a few looks of each other have one cause: of those the order of faults decides.
        `settings` is the recipe, for remedies that change what is there.
        """
        found: list[Finding] = []
        for fault in self.faults:
            course = self.courses[fault.name]
            if course.confirmed is None:
                continue
            since, until, evidence = course.confirmed
            finding = Finding(
                fault.name,
                fault.title,
                fault.severity,
                since,
                until,
                tuple(evidence),
                fault.explanation,
                tuple(fault.remedies(settings or {}, evidence)),
                active=course.in_a_row >= fault.looks,
                lately=course.lately,
                curves={item.signal: self.history.curve(item.signal) for item in evidence},
            )
            found.append(finding)
        exact = {fault.name for fault in self.faults if fault.began}
        surface = {fault.name for fault in self.faults if fault.surface}
        causes = in_order([one for one in found if one.fault not in surface], self.history.steps, exact)
        return causes + in_order([one for one in found if one.fault in surface], self.history.steps, exact)

    def suspected(self) -> dict[str, int]:
        """The faults whose symptom is there and has not persisted yet, and since which step."""
        courses = ((fault, self.courses[fault.name]) for fault in self.faults if not fault.surface)
        return {fault.name: course.began for fault, course in courses if 0 < course.in_a_row < fault.looks}

    def silent(self) -> dict[str, str]:
        """The faults about which nothing can be said, and which signals they would need."""
        gone = {f.name: [n for n in f.needs if not self.history.knows(n)] for f in self.faults}
        return {name: ", ".join(signals) for name, signals in gone.items() if signals}


def in_order(findings: Sequence[Finding], steps: Sequence[int], exact: Collection[str]) -> list[Finding]:
    """Findings, in the order of their faults, by the looks at which they began: causes before their consequences.

    Of those of which it is known exactly when they began, the earlier comes first.
    """
    left, ordered = list(findings), []
    while left:
        earliest = bisect_left(steps, min(finding.since for finding in left))
        together = [finding for finding in left if bisect_left(steps, finding.since) <= earliest + TOGETHER]
        first = together[0]
        if first.fault in exact:
            first = min((finding for finding in together if finding.fault in exact), key=lambda one: one.since)
        left.remove(first)
        ordered.append(first)
    return ordered


def diagnosed(lines: Iterable[Mapping[str, Any]], *, faults: Sequence[Fault] = FAULTS) -> Diagnosis:
    """The diagnosis of all lines of a `signals.jsonl`."""
    diagnosis = Diagnosis(faults)
    for line in lines:
        diagnosis.look(line)
    return diagnosis
