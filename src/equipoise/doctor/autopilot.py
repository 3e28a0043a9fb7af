"""The autopilot: which remedy is tried when, and whether it helped. It decides; somebody else carries it out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from equipoise.doctor.diagnosis import Diagnosis
from equipoise.doctor.fault import Settings
from equipoise.doctor.faults import FAULTS
from equipoise.doctor.finding import Finding, Remedy
from equipoise.doctor.standing import harm

TOLD = ("energy", "diversity", "nearest", "coverage", "auc/held_out", "overfit", "copies")
"""Signals that are written down before and after an intervention."""
Outcome = Literal["on probation", "helped", "undone", "not judged"]


@dataclass
class Intervention:
    """A remedy that was applied: why, what, and what came of it."""

    number: int
    step: int
    """At which the decision was made."""
    finding: Finding
    remedy: Remedy
    former: Settings
    """The whole recipe before."""
    before: dict[str, float]
    """Signals at the decision."""
    back_to: int = 0
    """The step from which training went on."""
    outcome: Outcome = "on probation"
    judged_at: int | None = None
    after: dict[str, float] = field(default_factory=dict)
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        changed = {key: self.former.get(key) for key in self.remedy.settings}
        return {
            "number": self.number,
            "step": self.step,
            "fault": self.finding.fault,
            "title": self.finding.title,
            "since": self.finding.since,
            "evidence": [vars(item) for item in self.finding.evidence],
            "settings": dict(self.remedy.settings),
            "former": changed,
            "why": self.remedy.why,
            "restarted": self.remedy.restarts,
            "back_to": self.back_to,
            "before": self.before,
            "outcome": self.outcome,
            "judged_at": self.judged_at,
            "after": self.after,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class Apply:
    """Try this: from the former recipe, with these changes, from the last checkpoint before `since`."""

    intervention: Intervention
    undone: Intervention | None = None
    """What is taken back at the same time."""


@dataclass(frozen=True)
class GiveUp:
    """No remedy is left for this."""

    finding: Finding
    undone: Intervention | None = None


Decision = Apply | GiveUp


URGENT = ("non-finite", "learning-rate", "dead-generator", "exploding-critic")
"""Faults that do not wait for the end of a probation."""
SURFACE = tuple(fault.name for fault in FAULTS if fault.surface)
"""Faults that are only what is seen, and are left in peace until their cause had time to show."""
BETTER = 0.7
"""A fault that is still there may stay for a while if the distance to the data fell to this share of what it was."""


@dataclass
class Autopilot:
    """Watches the findings; one remedy at a time, each at most once, and each judged after a probation.

    `fits` says whether the recipe with such a remedy, and without what is undone for it, is a valid one. After
    `probation` looks a remedy has helped if no fault is there; it gets up to four times as long while the fakes come
    nearer; otherwise it is undone and the next one is tried.
    """

    fits: Callable[[Remedy, Intervention | None], bool]
    probation: int = 12
    most: int = 8
    """Interventions in one training."""
    earlier: int = 0
    """Interventions of the same training before it was resumed."""
    interventions: list[Intervention] = field(default_factory=list)
    tried: set[tuple[str, str]] = field(default_factory=set)
    looks: int = 0
    """Since the last intervention began."""
    at_first: float = float("nan")
    """The distance to the data at the first of them."""

    def consider(self, diagnosis: Diagnosis, settings: Settings, *, ended: bool = False) -> Decision | None:
        """After each look: nothing to do, a remedy to try, or nothing left to try.

        `ended` means that training cannot go on as it is: a remedy does not get the rest of its probation.
        """
        self.looks += 1
        active = [finding for finding in diagnosis.findings(settings) if finding.active and finding.severity != "note"]
        present = self.present()
        if present is None:
            if not active or (active[0].fault in SURFACE and self.is_young(active[0], diagnosis)):
                return None
            if not ended and any(began < active[0].lately for began in diagnosis.suspected().values()):
                return None  # what may be its cause is about to show
            return self.treat_one_of(active, diagnosis, settings, undone=None)
        energy = diagnosis.history.last("energy")
        if self.looks == 1:
            self.at_first = energy
        urgent = [f for f in active if f.fault in URGENT and f.fault != present.finding.fault]
        if self.looks < self.probation and not urgent and not ended:
            return None
        patient = self.looks < 4 * self.probation and not urgent and not ended
        if not active and patient and harm(diagnosis.history) and not energy < BETTER * self.at_first:
            return None  # nothing is found, but nothing is good yet
        if not active and not ended:
            self.judge(present, diagnosis, "helped", "The fault did not come back.")
            return None
        if energy < BETTER * self.at_first and patient:
            return None  # still there, but on the way
        again = any(finding.fault == present.finding.fault for finding in active)
        if not active:
            what = "Training could not go on."
        else:
            what = "The fault is still there." if again else f"It brought another fault: {(urgent or active)[0].title}."
        self.judge(present, diagnosis, "undone", what)
        former = {finding.fault: finding for finding in diagnosis.findings(present.former)}
        others = [former[finding.fault] for finding in active if finding.fault != present.finding.fault]
        causes = [finding for finding in others[:1] if is_deeper(finding, present)]
        decision = self.treat_one_of([*causes, present.finding, *others], diagnosis, present.former, undone=present)
        if decision is None:
            self.judge(present, diagnosis, "not judged", "The fault is still there, and no other remedy is known.")
        return decision

    def treat_one_of(
        self, findings: Sequence[Finding], diagnosis: Diagnosis, settings: Settings, *, undone: Intervention | None
    ) -> Decision | None:
        """The first remedy for the first of these for which there is one.

        If there is none, training is given up, but not for what is only seen.
        """
        decisions = (self.treat(finding, diagnosis, settings, undone=undone) for finding in findings)
        left = next((one for one in decisions if isinstance(one, Apply)), None)
        gravest = next((finding for finding in findings if finding.fault not in SURFACE), None)
        return left or (GiveUp(gravest, undone) if gravest else None)

    def is_young(self, finding: Finding, diagnosis: Diagnosis) -> bool:
        """Whether it was first seen less than a probation ago: its cause may still show."""
        return sum(step >= finding.since for step in diagnosis.history.steps) < self.probation

    def present(self) -> Intervention | None:
        """The intervention that is on probation."""
        last = self.interventions[-1] if self.interventions else None
        return last if last is not None and last.outcome == "on probation" else None

    def treat(
        self, finding: Finding, diagnosis: Diagnosis, settings: Settings, *, undone: Intervention | None
    ) -> Decision:
        """The first remedy that was not tried and makes a valid recipe."""
        for remedy in finding.remedies:
            key = (finding.fault, remedy.why)
            if key in self.tried or self.earlier + len(self.interventions) >= self.most:
                continue
            self.tried.add(key)
            if all(settings.get(k) == v for k, v in remedy.settings.items()) or not self.fits(remedy, undone):
                continue
            intervention = Intervention(
                self.earlier + len(self.interventions) + 1,
                diagnosis.history.step,
                finding,
                remedy,
                dict(settings),
                measured(diagnosis),
            )
            self.interventions.append(intervention)
            self.looks, self.at_first = 0, float("nan")
            return Apply(intervention, undone)
        return GiveUp(finding, undone)

    def finish(self, diagnosis: Diagnosis, settings: Settings) -> None:
        """At the end of training: judge what is still on probation, as far as that can be said."""
        present = self.present()
        if present is None:
            return
        active = [found for found in diagnosis.findings(settings) if found.active and found.severity != "note"]
        if self.looks >= self.probation and not active and not harm(diagnosis.history):
            self.judge(present, diagnosis, "helped", "The fault did not come back.")
        else:
            self.judge(present, diagnosis, "not judged", "Training ended during the probation.")

    def judge(self, intervention: Intervention, diagnosis: Diagnosis, outcome: Outcome, reason: str) -> None:
        """Write down what came of it."""
        intervention.outcome, intervention.reason = outcome, reason
        intervention.judged_at, intervention.after = diagnosis.history.step, measured(diagnosis)


def is_deeper(finding: Finding, intervention: Intervention) -> bool:
    """Whether a finding was there before the treated one and before its remedy, or causes what is only seen."""
    treated = intervention.finding
    if finding.fault in SURFACE:
        return False
    return treated.fault in SURFACE or finding.since <= min(treated.since, intervention.back_to)


def measured(diagnosis: Diagnosis) -> dict[str, float]:
    """The newest values of the signals that say how well things stand."""
    return {name: diagnosis.history.last(name) for name in TOLD if diagnosis.history.knows(name)}


def told(row: Mapping[str, Any]) -> str:
    """An intervention in one line."""
    what = ", ".join(f"{key}: {row['former'].get(key)} -> {value}" for key, value in row["settings"].items())
    where = "anew from the start" if row["restarted"] or row["back_to"] == 0 else f"from step {row['back_to']:,}"
    return f"{row['number']}. Step {row['step']:,}: {row['title']}. {what}; {where}. {row['outcome'].capitalize()}."
