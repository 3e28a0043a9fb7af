"""Every fault is found where it was planted, and not in the same training without the plant."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

import equipoise
from benchmarks.planting import Happening, Plant, PlantedRun, bad_pixels, fewer, killed, shuffled_labels, stretched
from equipoise.core.errors import DivergedError
from equipoise.doctor.fault import Seeded
from equipoise.doctor.faults import FAULTS
from equipoise.runs.examination import examine
from equipoise.runs.parts import Examples
from equipoise.runs.recipe import with_settings

SHARED = {
    "training.threads": 1,
    "watching.probes_every": 25,
    "watching.tensorboard": False,
    "watching.samples_every": 10**6,
    "training.save_every": 10**6,
    "judging.at_end": False,
}

BY_HAND: Mapping[str, Plant] = {
    "": Plant(),
    "one value in twenty training examples is NaN": Plant(data=bad_pixels(0.05)),
    "training images go from 0 to 1, held-out ones from -1 to 1": Plant(
        data=stretched(lambda x: (x + 1) / 2, lambda x: x)
    ),
    "the labels are shuffled": Plant(data=shuffled_labels(1.0)),
    "only 32 training points": Plant(data=fewer(32)),
    "only 40 training images": Plant(data=fewer(40)),
    "the biases of a hidden layer of G become -20 at step 250": Plant(event=killed(1.0, how="bias"), onset=250),
}


SEEDS = {"learning-rate": 2, "mode-collapse": 2, "oscillation": 1}
"""Of trainings on the ring that are chaotic: on some processors other seeds take another way (docs/log.md)."""


@dataclass
class Trainings:
    """Each is run once."""

    folder: Path
    done: dict[str, list[str]]

    def found(self, recipe: str, settings: Mapping[str, object], steps: int, plant: Plant) -> list[str]:
        """The names of the faults that are found."""
        key = repr((recipe, settings, steps, plant))
        if key not in self.done:
            self.done[key] = self.train(recipe, {**SHARED, **settings, "training.steps": steps}, plant)
        return self.done[key]

    def train(self, name: str, settings: Mapping[str, object], plant: Plant) -> list[str]:
        recipe = with_settings(equipoise.load(name)[0], settings)
        source = recipe.data.open()
        examples = Examples(source.name, source.shape, source.classes)
        folder = self.folder / str(len(self.done))
        folder.mkdir()
        happening = Happening(plant) if plant.event else None
        with suppress(DivergedError):
            PlantedRun(folder, recipe, name, examples, source, plant=plant, happening=happening).play(
                source, resume=False, quiet=True
            )
        return [finding.fault for finding in examine(folder).findings]


@pytest.fixture(scope="module")
def trainings(tmp_path_factory) -> Trainings:
    return Trainings(tmp_path_factory.mktemp("seeded"), {})


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_found_where_it_was_planted_and_nowhere_else(fault, trainings):
    seeded = fault.seeded
    settings = {**seeded.healthy, **seeded.settings, "training.seed": SEEDS.get(fault.name, 0)}
    assert fault.name in trainings.found(seeded.recipe, settings, seeded.steps, BY_HAND[seeded.by_hand])
    longest = max(other.seeded.steps for other in FAULTS if same(other.seeded, seeded))
    assert trainings.found(seeded.recipe, seeded.healthy, longest, Plant()) == []


def same(a: Seeded, b: Seeded) -> bool:
    """Whether two faults have the same healthy training beside them; the longest of those is run."""
    return (a.recipe, a.healthy) == (b.recipe, b.healthy)
