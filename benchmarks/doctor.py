"""Is the doctor right? Trainings that are healthy and trainings that are broken on purpose, and what it says of them.

python -m benchmarks.doctor collect --split fit  --data mnist.npz
"""

import argparse
import gzip
import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.planting import DOSES, HEALTHY, PLANTS, Plant, World, played, worlds

RESULTS = Path(__file__).parent / "results" / "doctor.json"
JOURNALS = Path(__file__).parent / "results" / ".doctor"


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
            return Plant(HEALTHY[self.variant])
        return PLANTS[self.fault][self.variant](world, DOSES.index(self.dose))


def fits(fault: str, world: str) -> bool:
    """Whether a fault makes sense in a world."""
    return (fault == "empty-labels") == (world == "classes")


def plan() -> Iterator[Cell]:
    """All trainings. Thresholds are fitted on the first split only; the second has other seeds, the other variant of
    every fault and a world of its own, "mnist"."""
    for world in ("ring", "digits", "classes", "grid"):
        for fault, variants in PLANTS.items():
            if fits(fault, world):
                for number, variant in enumerate(variants):
                    for dose in DOSES:
                        if number == 0 and world != "grid":
                            yield from (Cell("fit", world, fault, variant, dose, seed) for seed in (0, 1))
                        yield from (Cell("test", world, fault, variant, dose, seed) for seed in (10, 11, 12))
        for recipe in HEALTHY:
            if world != "classes":
                if world != "grid":
                    yield from (Cell("fit", world, "healthy", recipe, "none", seed) for seed in (0, 1))
                yield from (Cell("test", world, "healthy", recipe, "none", seed) for seed in (10, 11, 12, 13))
    for fault, variants in PLANTS.items():
        if fits(fault, "mnist"):
            yield from (Cell("test", "mnist", fault, next(iter(variants)), "large", seed) for seed in (10, 11, 12))
    yield from (Cell("test", "mnist", "healthy", recipe, "none", 10) for recipe in HEALTHY)
    yield from (Cell("test", "mnist", "healthy", "base", "none", seed) for seed in (11, 12))


def fingerprint() -> str:
    """SHA-256 of the plan: committed before any threshold was fitted."""
    return hashlib.sha256("\n".join(cell.name for cell in plan()).encode()).hexdigest()


def collect(cells: list[Cell], data: Path | None) -> None:
    """Train what has not been trained; keep the signals and the outcome of each."""
    JOURNALS.mkdir(parents=True, exist_ok=True)
    opened: dict[str, World] = {}
    makers = worlds(data)
    for cell in cells:
        target = JOURNALS / f"{cell.name}.json.gz"
        claim = target.with_suffix(".claimed")
        if target.exists() or claim.exists() or cell.world not in makers:
            continue
        claim.touch()
        world = opened.setdefault(cell.world, makers[cell.world]()) if cell.world not in opened else opened[cell.world]
        begin = time.process_time()
        run, scores, ending = played(world, cell.plant(world), seed=cell.seed)
        journal = run.folder / "signals.jsonl"
        lines = journal.read_text().splitlines() if journal.exists() else []
        row = {
            **vars(cell),
            "scores": scores,
            "ending": ending,
            "onset": cell.plant(world).onset,
            "cpu_seconds": round(time.process_time() - begin, 1),
            "lines": [json.loads(line) for line in lines],
        }
        target.write_bytes(gzip.compress(json.dumps(row).encode()))
        claim.unlink()
        shutil.rmtree(run.folder, ignore_errors=True)
        print(cell.name, ending, {k: round(v, 3) for k, v in scores.items()}, row["cpu_seconds"], flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["collect", "plan"])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--split", choices=["fit", "test"])
    parser.add_argument("--worlds", nargs="+")
    parser.add_argument("--faults", nargs="+")
    parser.add_argument("--doses", nargs="+")
    parser.add_argument("--seeds", nargs="+", type=int)
    options = parser.parse_args()
    cells = [
        cell
        for cell in plan()
        if options.split in (None, cell.split)
        and (not options.worlds or cell.world in options.worlds)
        and (not options.faults or cell.fault in options.faults)
        and (not options.doses or cell.dose in options.doses)
        and (not options.seeds or cell.seed in options.seeds)
    ]
    if options.what == "plan":
        print(len(cells), fingerprint())
    if options.what == "collect":
        collect(cells, options.data)


if __name__ == "__main__":
    main()
