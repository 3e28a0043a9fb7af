"""Runs beside each other: what differs in their recipes, what they reached, and whether that is more than chance."""

import base64
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import isnan
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from equipoise.core.disk import disk_errors, replace_file
from equipoise.core.errors import RecipeError
from equipoise.data.source import Source
from equipoise.runs.charts import Chart, Line, array, chart, number
from equipoise.runs.evaluation import evaluate
from equipoise.runs.examination import examine
from equipoise.runs.journal import read, without_undone
from equipoise.runs.judge import drawn, entries, newest_entries
from equipoise.runs.pages import rendered
from equipoise.runs.recipe import dotted, to_dict
from equipoise.runs.register import UNTOLD
from equipoise.runs.run import Run
from equipoise.runs.scores import LOWER, OF_PICTURES, OF_SAMPLES, TITLES

SEED = "training.seed"
TOLD = tuple(dict.fromkeys((*OF_SAMPLES, *OF_PICTURES, *TITLES)))
CURVES = {
    "probe/energy": ("Distance to the data", "Energy distance of made examples to held-out ones, seen by the doctor."),
    "probe/diversity": ("Variety", "Distances between made examples, relative to those between real ones."),
    "watch/accuracy": ("Critic's accuracy", "How often the critic scores a real example above a made one."),
}
DURING = {"fid": "FID while training", "coverage": "Coverage while training", "psnr": "PSNR while training"}
SURE = 0.05


@dataclass(frozen=True)
class Member:
    """One of the runs that are compared."""

    run: Run
    settings: Mapping[str, Any]
    measured: Mapping[str, Any] | None
    """Its evaluation at the newest step that was judged, as in metrics.json; None where there is none."""
    provenance: Mapping[str, Any]
    """What its scores depend on beside the fakes: two of different provenance cannot be compared."""
    findings: tuple[str, ...]

    @property
    def outdated(self) -> str:
        """That it was trained on since it was judged, in words; empty if it was not."""
        reached = self.run.newest_step()
        if self.measured is None or self.measured["step"] >= reached:
            return ""
        judged = self.measured["step"]
        return f"{self.run.id} was judged at step {judged:,} and has reached {reached:,}: evaluate it again."

    @property
    def recipe(self) -> tuple[tuple[str, str], ...]:
        """All that matters, but for the seed: runs that are equal here are repetitions of each other."""
        told = ((k, v) for k, v in self.settings.items() if k != SEED and not k.startswith(UNTOLD))
        return tuple(sorted((key, repr(value)) for key, value in told))


@dataclass(frozen=True)
class Group:
    """Repetitions of one recipe, by their seeds."""

    name: str
    members: tuple[Member, ...]

    def scores(self, metric: str) -> list[float]:
        """One for each member that was evaluated."""
        return [member.measured["values"][metric] for member in self.members if member.measured]


@dataclass(frozen=True)
class Contrast:
    """Whether the scores of a group differ from those of the first one by more than chance."""

    metric: str
    group: str
    difference: float
    p: float | None
    """Of Welch's t-test, corrected for the number of tests (Holm); None with a single run on a side."""

    @property
    def words(self) -> str:
        """The finding in words."""
        if self.p is None:
            return "one run on a side: nothing can be said of chance"
        return f"p = {self.p:.2g}" + (": more than chance" if self.p < SURE else ": may well be chance")


@dataclass(frozen=True)
class Comparison:
    """All that is told of some runs."""

    groups: tuple[Group, ...]
    differences: Mapping[str, tuple[Any, ...]]
    """Settings that are not the same in all groups: key -> value of each group."""
    refused: str
    """Why scores cannot be compared; empty if they can."""
    tests: tuple[Contrast, ...]

    @property
    def members(self) -> list[Member]:
        return [member for group in self.groups for member in group.members]

    @property
    def metrics(self) -> tuple[str, ...]:
        """The scores that all of them have; none where they cannot be compared."""
        return () if self.refused else shared_metrics(self.members)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "groups": [
                {
                    "name": group.name,
                    "runs": [str(member.run.folder) for member in group.members],
                    "scores": {m: group.scores(m) for m in self.metrics} if not self.refused else None,
                    "findings": [list(member.findings) for member in group.members],
                }
                for group in self.groups
            ],
            "differences": {key: list(values) for key, values in self.differences.items()},
            "refused": self.refused or None,
            "outdated": [one.outdated for one in self.members if one.outdated],
            "provenance": dict(self.members[0].provenance) if not self.refused else None,
            "tests": [vars(test) for test in self.tests],
        }


def compare(folders: Sequence[Path | str], *, judge: Path | str | None = None, num: int | None = None) -> Comparison:
    """Compare at least two runs; those that differ in nothing but the seed count as repetitions of one recipe.

    Of each the newest step that was judged counts; where that was judged in several ways, the way that all have in
    common, else the last. Or all are measured anew in the feature space of the run `judge`, against its held-out
    examples. Raises `RecipeError` for fewer than two runs, or for runs that make other shapes.
    """
    runs = [Run.open(folder) for folder in dict.fromkeys(Path(folder).resolve() for folder in folders)]
    if len(runs) < 2:
        raise RecipeError(f"{len(runs)} run was given: expected at least two different ones to compare.")
    members = members_of(runs)
    if judge is not None:
        members = judged_anew(members, Run.open(judge), num)
    groups = grouped(members)
    refused = refusal(members)
    metrics = () if refused else shared_metrics(members)
    tests = tuple(holm([test(m, groups[0], other) for other in groups[1:] for m in metrics]))
    everything = [dict(group.members[0].settings) for group in groups]
    keys = [key for key in dict.fromkeys(k for one in everything for k in one) if not key.startswith(UNTOLD)]
    values = spelt_out({key: tuple(one.get(key) for one in everything) for key in keys if key != SEED})
    differences = {key: value for key, value in values.items() if any(one != value[0] for one in value)}
    return Comparison(groups, differences, refused, tests)


def shared_metrics(members: Sequence[Member]) -> tuple[str, ...]:
    """The scores that all of these have."""
    return tuple(m for m in TOLD if all(one.measured is not None and m in one.measured["values"] for one in members))


def members_of(runs: Sequence[Run]) -> list[Member]:
    """The runs with what is known of them."""
    judged = [newest_entries(run.folder) for run in runs]
    shared = [one for one in map(rests_on, judged[0]) if all(one in map(rests_on, others) for others in judged)]
    members = []
    for run, found in zip(runs, judged):
        measured = next((entry for entry in found if rests_on(entry) in shared[:1]), next(iter(found), None))
        findings = tuple(finding.title for finding in examine(run.folder).findings)
        settings = dotted(to_dict(run.recipe))
        members.append(Member(run, settings, measured, rests_on(measured) if measured else {}, findings))
    return members


def rests_on(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """The provenance of an entry of metrics.json."""
    former = ("features", "num_fake", "num_real")  # all that was written in former times
    return entry.get("provenance", {key: entry[key] for key in former})


def spelt_out(values: Mapping[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
    """The values of settings by group, with a key for each part of what is a schedule in all of them."""
    spelt: dict[str, tuple[Any, ...]] = {}
    for key, some in values.items():
        if all(isinstance(value, Mapping) for value in some):
            parts = dict.fromkeys(part for value in some for part in value)
            spelt |= {f"{key}.{part}": tuple(value.get(part) for value in some) for part in parts}
        else:
            spelt[key] = some
    return spelt


def judged_anew(members: Sequence[Member], judge: Run, num: int | None) -> list[Member]:
    """The members, measured in the feature space of one run and against its held-out examples."""
    source: Source = judge.source()
    parts = judge.parts(source)
    extractor = judge.extractor(parts.train, parts.held_out)
    done = []
    for one in members:
        if one.run.examples.shape != judge.examples.shape:
            raise RecipeError(
                f"{one.run.id} makes examples of shape {list(one.run.examples.shape)}, but {judge.id} judges those of "
                f"shape {list(judge.examples.shape)}. Compare runs of one shape."
            )
        game, step = one.run.trained_game()
        held_out, train, fake, _ = drawn(judge, one.run.latent(game), parts, num=num, seed=0)
        fake = one.run.in_units(fake)  # two runs may have standardised their data differently
        fake = fake if judge.standard is None else judge.standard.forward(fake)
        result = evaluate(extractor, held_out, fake=fake, real_train=train)
        measured = {"step": step, "features": extractor.name, "values": vars(result.fake)}
        done.append(replace(one, measured=measured, provenance=asdict(result.provenance)))
    return done


def grouped(members: Sequence[Member]) -> tuple[Group, ...]:
    """Repetitions of a recipe together, in the order in which recipes were given."""
    recipes: dict[tuple[tuple[str, str], ...], list[Member]] = {}
    for one in members:
        recipes.setdefault(one.recipe, []).append(one)
    return tuple(
        Group(some[0].run.id if len(some) == 1 else f"{some[0].run.id} and {len(some) - 1} more", tuple(some))
        for some in recipes.values()
    )


def refusal(members: Sequence[Member]) -> str:
    """Why the scores of these runs cannot be compared; empty if they can."""
    without = [one.run.id for one in members if one.measured is None]
    if without:
        return f"{', '.join(without)} was never evaluated. Run: equipoise evaluate {members[0].run.folder.parent}/…"
    first = members[0]
    lines = [
        f"{key}: {brief(first.provenance.get(key))} in {first.run.id}, {brief(one.provenance.get(key))} in {one.run.id}"
        for one in members[1:]
        for key in {**first.provenance, **one.provenance}
        if one.provenance.get(key) != first.provenance.get(key)
    ]
    if not lines:
        return ""
    return "Their scores are of different provenance. " + "; ".join(lines[:4]) + ". Measure all by one: --judge RUN"


def brief(value: Any) -> str:
    """A value of a provenance; of a SHA-256 the first digits."""
    return str(value)[:8] if len(str(value)) == 64 else str(value)


def test(metric: str, first: Group, other: Group) -> Contrast:
    """Welch's t-test of a metric between two groups."""
    from scipy.stats import ttest_ind

    a, b = first.scores(metric), other.scores(metric)
    p = None
    if min(len(a), len(b)) > 1:
        with warnings.catch_warnings(action="ignore"):  # scores that are nearly alike
            p = float(ttest_ind(a, b, equal_var=False).pvalue)  # pyright: ignore[reportAttributeAccessIssue]
        p = 1.0 if isnan(p) else p  # equal to the last digit
    return Contrast(metric, other.name, mean(b) - mean(a), p)


def holm(tests: Sequence[Contrast]) -> list[Contrast]:
    """The tests with p-values corrected for their number (Holm 1979)."""
    known = sorted((t for t in tests if t.p is not None), key=lambda t: t.p or 0.0)
    corrected: dict[int, float] = {}
    so_far = 0.0
    for rank, one in enumerate(known):
        so_far = max(so_far, min((len(known) - rank) * (one.p or 0.0), 1.0))
        corrected[id(one)] = so_far
    return [replace(one, p=corrected[id(one)]) if id(one) in corrected else one for one in tests]


# ---------------------------------------------------------------- telling


def told(scores: Sequence[float]) -> str:
    """The mean, and the standard deviation where there are several."""
    return number(mean(scores)) + (f" ± {stdev(scores):.2g}" if len(scores) > 1 else "")


def write_page(comparison: Comparison, path: Path) -> Path:
    """Write the comparison as an HTML page that needs nothing else."""
    best = {
        m: (min if m in LOWER else max)(comparison.groups, key=lambda g, m=m: mean(g.scores(m))).name
        for m in (() if len(comparison.groups) == 1 else comparison.metrics)
    }
    page = rendered(
        "comparison.html.jinja",
        comparison=comparison,
        metrics=comparison.metrics,
        told=told,
        best=best,
        number=number,
        show=lambda value: "(absent)" if value is None else str(value),
        pictures=[(one.run.id, picture) for one in comparison.members if (picture := newest_picture(one.run.folder))],
        charts=charts(comparison.members),
        notices=[],
    )
    with disk_errors("writing the comparison", path.parent, num_bytes=len(page)):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, page)
    return path


def newest_picture(folder: Path) -> str:
    """The newest sample grid as a data address; empty where there is none."""
    path = max((folder / "samples").glob("step-*.png"), default=None)
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}" if path else ""


def charts(members: Sequence[Member]) -> list[Chart]:
    """Scores and signals of all runs over their steps."""
    lines: dict[str, list[Line]] = {}
    for index, one in enumerate(members):
        during = [entry for entry in entries(one.run.folder) if entry.get("during_training")]
        for metric in (m for m in DURING if len(during) > 1 and m in during[0]["values"]):
            steps, values = (array([e["step"] for e in during]), array([e["values"][metric] for e in during]))
            lines.setdefault(metric, []).append(Line(one.run.id, steps, values, index))
        journal = without_undone(read(one.run.folder / "signals.jsonl"))
        for name in CURVES:
            found = [(line["step"], line["signals"][name]["mean"]) for line in journal if name in line["signals"]]
            if len(found) > 1:
                steps, values = (array(column) for column in zip(*found))
                lines.setdefault(name, []).append(Line(one.run.id, steps, values, index))
    titles = {**{name: (title, "") for name, title in DURING.items()}, **CURVES}
    return [chart(*titles[name], some, exact=name in TOLD) for name, some in lines.items()]
