"""Is the doctor right, and do its remedies help? Trainings that are healthy and trainings that are broken on purpose.

    python -m benchmarks.doctor collect --data mnist.npz     # trains, and keeps the signals of every training
    python -m benchmarks.doctor rescue --data mnist.npz      # the broken ones: under the autopilot, and just retried
    python -m benchmarks.doctor score                        # what the doctor says of all signals; writes the rows

Each training is kept in benchmarks/results/.doctor/ when it is over, and what is there is not run again: stop it, start
it, and run several side by side as you like. The doctor sees signals only; what became of a training is judged apart,
by modes and reverse KL on mixtures and by coverage, FID and agreement with the class elsewhere. A training is healthy
by outcome if it is at most a tenth worse than the worst seed of the world's base recipe.

The plan of all trainings is split. "fit" was looked at when thresholds were set. "first" was frozen then: other seeds,
a second variant of every fault, one world that was never fitted on ("grid") and one that was never looked at ("mnist").
It was scored once (benchmarks/results/doctor-first.json), and as the score was poor, looked at. So was "second", with
other seeds and a third variant of every fault (doctor-second.json). "test" was frozen after that: again other seeds,
and a fourth variant. The plan's fingerprint is in benchmarks/results/doctor-plan.sha256.
"""

import argparse
import gzip
import hashlib
import json
import os
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.planting import DOSES, HEALTHY, PLANTS, Plant, World, healthy, played, worlds
from benchmarks.speed import commit
from equipoise.doctor.autopilot import Autopilot, Decision, Intervention
from equipoise.doctor.diagnosis import Diagnosis
from equipoise.doctor.fault import Settings
from equipoise.doctor.finding import Finding, Remedy
from equipoise.runs.environment import processor_name
from equipoise.runs.journal import without_undone
from equipoise.runs.piloting import Pilot
from equipoise.runs.run import Run

RESULTS = Path(__file__).parent / "results" / "doctor.json"
JOURNALS = Path(__file__).parent / "results" / ".doctor"
FROZEN = Path(__file__).parent / "results" / "doctor-plan.sha256"

# ---------------------------------------------------------------- the plan


@dataclass(frozen=True)
class Cell:
    """One training: a healthy recipe, or a fault in a variant and a dose."""

    split: str
    world: str
    fault: str
    """"healthy" without one."""
    variant: str
    """Of the fault, or the name of the healthy recipe."""
    dose: str
    seed: int

    @property
    def name(self) -> str:
        words = (self.split, self.world, self.fault, self.variant, self.dose, str(self.seed))
        return "-".join(words).replace(" ", "_").replace(",", "")

    def plant(self, world: World) -> Plant:
        if self.fault == "healthy":
            return healthy(world, self.variant)
        return PLANTS[self.fault][self.variant](world, DOSES.index(self.dose))


def fits(fault: str, world: str) -> bool:
    """Whether a fault makes sense in a world: labels where there are some; in high dimensions, what would oscillate in
    the plane collapses."""
    if fault == "oscillation":
        return world in ("ring", "grid")
    return (fault == "empty-labels") == (world == "classes")


def plan() -> Iterator[Cell]:
    """All trainings: variants and doses in the small worlds, some at the large dose with convolutions.

    "fit" was looked at when thresholds were set. "first" was frozen, scored once, and then looked at too; so was
    "second". "test" has seeds and, of every fault, a fourth variant that nobody looked at before.
    """
    for world in ("ring", "digits", "classes", "grid"):
        for fault, variants in PLANTS.items():
            if fits(fault, world):
                for number, variant in enumerate(variants):
                    for dose in DOSES:
                        if number == 0 and world != "grid":
                            yield from (Cell("fit", world, fault, variant, dose, seed) for seed in (0, 1))
                        if number < 2:
                            yield from (Cell("first", world, fault, variant, dose, seed) for seed in (10, 11, 12))
                        if number == 2 or (number < 2 and dose == "large"):
                            yield from (Cell("second", world, fault, variant, dose, seed) for seed in (20, 21, 22))
                        if number == 3 or dose == "large":
                            yield from (Cell("test", world, fault, variant, dose, seed) for seed in (30, 31))
        for recipe in HEALTHY if world != "classes" else ("base",):
            if world != "grid":
                yield from (Cell("fit", world, "healthy", recipe, "none", seed) for seed in (0, 1))
            yield from (Cell("first", world, "healthy", recipe, "none", seed) for seed in (10, 11, 12, 13))
            yield from (Cell("second", world, "healthy", recipe, "none", seed) for seed in (20, 21, 22, 23))
            yield from (Cell("test", world, "healthy", recipe, "none", seed) for seed in (30, 31, 32, 33))
    for fault, variants in PLANTS.items():
        if fits(fault, "mnist"):
            for split, variant, seeds in zip(
                ("first", "second", "test"), (0, 1, 3), ((10, 11, 12), (20, 21), (30, 31))
            ):
                yield from (Cell(split, "mnist", fault, list(variants)[variant], "large", seed) for seed in seeds)
    for recipe in HEALTHY:
        for split, seed in (("first", 10), ("second", 20), ("test", 30)):
            yield Cell(split, "mnist", "healthy", recipe, "none", seed)
    yield from (Cell("first", "mnist", "healthy", "base", "none", seed) for seed in (11, 12))


def fingerprint() -> str:
    """SHA-256 of the plan."""
    return hashlib.sha256("\n".join(cell.name for cell in plan()).encode()).hexdigest()


# ---------------------------------------------------------------- training


class Retried(Autopilot):
    """What people do without a doctor's advice: back to the last healthy checkpoint, and the same once more."""

    def treat(
        self, finding: Finding, diagnosis: Diagnosis, settings: Settings, *, undone: Intervention | None
    ) -> Decision:
        again = [{"training.seed": settings["training.seed"] + number} for number in range(1, 6)]
        remedies = tuple(Remedy(changes, "The same once more, with other noise.") for changes in again)
        return super().treat(replace(finding, remedies=remedies), diagnosis, settings, undone=undone)


def retrying(run: Run) -> Pilot:
    pilot = Pilot(run)
    pilot.autopilot = Retried(fits=pilot.fits)
    return pilot


WAYS: dict[str, Callable[[Run], Pilot] | None] = {"alone": None, "autopilot": Pilot, "retry": retrying}


def journal_of(cell: Cell, way: str) -> Path:
    return JOURNALS / f"{cell.name}{'' if way == 'alone' else f'-{way}'}.json.gz"


def collect(cells: Sequence[Cell], ways: Sequence[str], data: Path | None) -> None:
    """Train what has not been trained; keep the signals and the outcome of each."""
    JOURNALS.mkdir(parents=True, exist_ok=True)
    makers, opened = worlds(data), dict[str, World]()
    for cell in cells:
        for way in ways:
            target = journal_of(cell, way)
            claim = target.with_suffix(".claimed")
            if target.exists() or taken(claim) or cell.world not in makers:
                continue
            claim.write_text(str(os.getpid()))
            try:
                if cell.world not in opened:
                    opened[cell.world] = makers[cell.world]()
                row = train(cell, way, opened[cell.world])
                target.write_bytes(gzip.compress(json.dumps(row).encode()))
            finally:
                claim.unlink(missing_ok=True)
            shown = {name: round(value, 3) for name, value in row["scores"].items()}
            print(cell.name, way, row["ending"], shown, row["cpu_seconds"], flush=True)


def taken(claim: Path) -> bool:
    """Whether a process that is alive is at it."""
    return claim.exists() and Path(f"/proc/{claim.read_text()}").exists()


def train(cell: Cell, way: str, world: World) -> dict[str, Any]:
    """One training: its outcome, its interventions and its signals."""
    begin = time.process_time()
    run, scores, ending = played(world, cell.plant(world), seed=cell.seed, pilot_of=WAYS[way])
    row = {
        **vars(cell),
        "way": way,
        "scores": scores,
        "ending": ending,
        "onset": cell.plant(world).onset,
        "remedy": cell.plant(world).remedy,
        "cpu_seconds": round(time.process_time() - begin, 1),
        "commit": commit(),
        "machine": processor_name(),
        "interventions": read_json(run.folder / "interventions.json", []),
        "lines": [json.loads(line) for line in read_lines(run.folder / "signals.jsonl")],
    }
    shutil.rmtree(run.folder, ignore_errors=True)
    return row


def read_lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def read_json(path: Path, otherwise: Any) -> Any:
    return json.loads(path.read_text()) if path.exists() else otherwise


def trained(way: str = "alone") -> Iterator[tuple[Cell, dict[str, Any]]]:
    """What has been trained, in the order of the plan."""
    for cell in plan():
        path = journal_of(cell, way)
        if path.exists():
            yield cell, json.loads(gzip.decompress(path.read_bytes()))


# ---------------------------------------------------------------- scoring

SPLITS = {
    "fit": "Fitted",
    "first": "First frozen split, looked at since",
    "second": "Second frozen split, looked at since",
    "test": "Frozen test split",
}
WORSE = 0.1
"""A training is healthy if it is at most so much worse than the worst seed of the base recipe."""
HIGHER = ("modes", "coverage", "agreement")
LOWER = {"reverse_kl": 0.1, "fid": 0.0}
"""What may be added to a divergence besides, because near 0 a share of it says nothing."""


def good_enough(scores: Mapping[str, float], references: Sequence[Mapping[str, float]]) -> bool:
    """Whether an outcome is at most a tenth worse than the worst of the references."""
    for name, value in scores.items():
        known = [reference[name] for reference in references if name in reference]
        if name in HIGHER and known and value < (1 - WORSE) * min(known):
            return False
        if name in LOWER and known and value > (1 + WORSE) * max(known) + LOWER[name]:
            return False
    return True


@dataclass(frozen=True)
class Verdict:
    """What the doctor said of the signals of one training."""

    said: str
    """The first persistent cause, or "healthy"."""
    alarms: tuple[str, ...]
    looks: int
    found_at: int | None
    """The step of the look at which the planted fault was told of."""


def verdict(lines: Sequence[Mapping[str, Any]], fault: str) -> Verdict:
    """Play the signals to the doctor, look by look."""
    diagnosis, found_at = Diagnosis(), None
    for line in lines:
        diagnosis.look(line)
        if found_at is None and any(finding.fault == fault for finding in diagnosis.findings()):
            found_at = diagnosis.history.step
    findings = diagnosis.findings()
    alarms = tuple(finding.fault for finding in findings)
    return Verdict(alarms[0] if alarms else "healthy", alarms, len(diagnosis.history.steps), found_at)


def rows() -> list[dict[str, Any]]:
    """One row for every training, with what was said and what became of it."""
    everything = list(trained())
    references: dict[str, list[Mapping[str, float]]] = defaultdict(list)
    for cell, row in everything:
        if (cell.fault, cell.variant) == ("healthy", "base"):
            references[cell.world].append(row["scores"])
    treated = dict(trained("autopilot"))
    rescued, retried = (
        {cell: good_enough(row["scores"], references[cell.world]) for cell, row in some.items()}
        for some in (treated, dict(trained("retry")))
    )
    found = []
    for cell, row in everything:
        said = verdict(list(without_undone(row["lines"])), cell.fault)
        found.append(
            {
                **vars(cell),
                "said": said.said,
                "alarms": list(said.alarms),
                "looks": said.looks,
                "outcome_healthy": good_enough(row["scores"], references[cell.world]),
                "steps_to_detection": None if said.found_at is None else said.found_at - row["onset"],
                "rescued": rescued.get(cell),
                "retried": retried.get(cell),
                "interventions": len(treated[cell]["interventions"]) if cell in treated else None,
                "remedy": row["remedy"],
                "scores": {name: round(value, 4) for name, value in row["scores"].items()},
                "ending": row["ending"],
                "commit": row.get("commit"),
                "treated_at": treated[cell]["commit"] if cell in treated else None,
            }
        )
    return found


FACTS = ("non-finite", "range-mismatch", "empty-labels")
"""Faults that are facts about the data: naming one that is there is right, whether or not it did any harm."""


def right(row: Mapping[str, Any]) -> bool:
    """The planted fault was named; or nothing was said of a training that came to no harm."""
    return row["said"] == row["fault"] or (row["outcome_healthy"] and row["said"] == "healthy")


def summary(found: Sequence[Mapping[str, Any]], split: str, dose: str) -> dict[str, Any]:
    """Accuracy, recall per class, false alarms and rescue rates of one split and dose, healthy trainings included."""
    some = [row for row in found if row["split"] == split and row["dose"] in (dose, "none")]
    planted = [row for row in some if row["fault"] != "healthy"]
    healthy = [row for row in some if row["outcome_healthy"]]
    judged = [*planted, *(row for row in some if row["fault"] == "healthy" and row["outcome_healthy"])]
    recall = {fault: share(right(row) for row in judged if row["fault"] == fault) for fault in [*PLANTS, "healthy"]}
    precision = {fault: share(row["fault"] == fault for row in planted if row["said"] == fault) for fault in PLANTS}
    alarms = sum(len([name for name in row["alarms"] if name != row["fault"]]) for row in healthy)
    alarms += sum(row["fault"] in row["alarms"] and row["fault"] not in FACTS for row in healthy)
    looks = sum(row["looks"] for row in healthy)
    treated = [row for row in planted if row["remedy"] and row["rescued"] is not None]
    failed = [row for row in treated if not row["outcome_healthy"]]
    watched = [row for row in some if row["outcome_healthy"] and row["rescued"] is not None]
    waits = [row["steps_to_detection"] for row in planted if row["steps_to_detection"] is not None]
    return {
        "split": split,
        "dose": dose,
        "trainings": len(judged),
        "accuracy": share(right(row) for row in judged),
        "macro_recall": share(value for value in recall.values() if value is not None),
        "recall": recall,
        "precision": precision,
        "median_steps_to_detection": median(waits) if waits else None,
        "false_alarms": alarms,
        "healthy_windows": looks,
        "false_alarms_per_1000_windows": round(1000 * alarms / looks, 3) if looks else None,
        "upper_bound_95": round(1000 * poisson_bound(alarms) / looks, 3) if looks else None,
        "broken": len(failed),
        "rescue_rate": share(row["rescued"] for row in failed),
        "healthy_under_autopilot": len(watched),
        "healthy_touched": sum((row.get("interventions") or 0) > 0 for row in watched),
        "healthy_made_worse": sum(not row["rescued"] for row in watched),
        "rescue_rate_left_alone": share(row["outcome_healthy"] for row in treated),
        "rescue_rate_reload_retry": share(row["retried"] for row in failed if row["retried"] is not None),
    }


def share(values: Any) -> float | None:
    known = list(values)
    return round(sum(known) / len(known), 3) if known else None


def poisson_bound(count: int) -> float:
    """The largest mean under which so few events are not rarer than 1 in 20."""
    from scipy.stats import chi2

    return float(chi2.ppf(0.95, 2 * (count + 1)) / 2)


def show(found: Sequence[Mapping[str, Any]], summaries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Summaries and confusion matrices as Markdown."""
    for split, title in SPLITS.items():
        chosen = [s for s in summaries if s["split"] == split and s["trainings"]]
        if not chosen:
            continue
        yield f"\n### {title}\n"
        yield (
            "| dose | trainings | accuracy | macro recall | steps to detection | "
            "false alarms / 1,000 looks (95 % bound) | rescued | left alone | retried |"
        )
        yield "|---|---|---|---|---|---|---|---|---|"
        for s in chosen:
            yield (
                f"| {s['dose']} | {s['trainings']} | {percent(s['accuracy'])} | {percent(s['macro_recall'])} | "
                f"{s['median_steps_to_detection']} | {s['false_alarms_per_1000_windows']} ({s['upper_bound_95']}) of "
                f"{s['healthy_windows']:,} | {percent(s['rescue_rate'])} of {s['broken']} | "
                f"{percent(s['rescue_rate_left_alone'])} | {percent(s['rescue_rate_reload_retry'])} |"
            )
        watched, touched, worse = (
            sum(s[key] for s in chosen if s["dose"] == "large")
            for key in ("healthy_under_autopilot", "healthy_touched", "healthy_made_worse")
        )
        if watched:
            yield f"\nHealthy ones under the autopilot: {watched}, of them touched {touched}, made worse {worse}."
        yield f"\nLarge dose, {split}: planted (rows) and said (columns).\n"
        yield from confusion([r for r in found if r["split"] == split and r["dose"] in ("large", "none")])


def confusion(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Planted against said; "came to no harm" has its own row."""
    table: dict[str, Counter[str]] = defaultdict(Counter)
    for row in found:
        failed_alone = row["fault"] == "healthy" and not row["outcome_healthy"]
        harmless = row["fault"] != "healthy" and row["outcome_healthy"]
        name = "(recipe that failed)" if failed_alone else f"{row['fault']}{' (no harm)' if harmless else ''}"
        table[name][row["said"]] += 1
    columns = sorted({said for counts in table.values() for said in counts})
    yield "| | " + " | ".join(columns) + " |"
    yield "|---|" + "---|" * len(columns)
    for name in sorted(table):
        yield f"| {name} | " + " | ".join(str(table[name][said] or "") for said in columns) + " |"


def written(found: Sequence[Mapping[str, Any]], summaries: Sequence[Mapping[str, Any]]) -> str:
    """All of it as JSON, a row a line."""
    summary, rows = (",\n".join(map(json.dumps, lines)) for lines in (summaries, found))
    return f'{{"plan": "{fingerprint()}",\n"summary": [\n{summary}\n],\n"rows": [\n{rows}\n]\n}}\n'


def percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["collect", "rescue", "score", "plan"])
    parser.add_argument("--data", type=Path, help="mnist.npz, for the convolutional world")
    for name in ("split", "worlds", "faults", "doses", "variants"):
        parser.add_argument(f"--{name}", nargs="+")
    parser.add_argument("--seeds", nargs="+", type=int)
    options = parser.parse_args()
    fields = {
        "split": options.split,
        "world": options.worlds,
        "fault": options.faults,
        "dose": options.doses,
        "variant": options.variants,
        "seed": options.seeds,
    }
    cells = [c for c in plan() if all(not some or getattr(c, name) in some for name, some in fields.items())]
    if options.what == "plan":
        print(len(cells), fingerprint())
    if options.what == "collect":
        collect(cells, ["alone"], options.data)
    if options.what == "rescue":
        known = {cell for cell, row in trained() if row["remedy"]}
        broken = [c for c in cells if c in known and c.fault != "healthy" and c.dose == "large"]
        collect(broken, ["autopilot", "retry"], options.data)
        collect([c for c in cells if c.fault == "healthy"], ["autopilot"], options.data)  # does it leave them alone?
    if options.what == "score":
        found = rows()
        planted = {(row["split"], row["dose"]) for row in found}
        summaries = [summary(found, split, dose) for split in SPLITS for dose in DOSES if (split, dose) in planted]
        RESULTS.write_text(written(found, summaries))
        print("\n".join(show(found, summaries)))


if __name__ == "__main__":
    main()
