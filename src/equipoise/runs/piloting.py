"""The autopilot at work in a run: it goes back, changes the recipe, goes on, and writes all of it down."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equipoise.core.disk import disk_errors, replace_file
from equipoise.core.errors import DataError, EquipoiseError
from equipoise.core.game import Clock
from equipoise.doctor.autopilot import Apply, Autopilot, Decision, GiveUp, Intervention
from equipoise.doctor.diagnosis import Diagnosis
from equipoise.doctor.finding import Remedy
from equipoise.doctor.words import options
from equipoise.engine.trainer import seat_players
from equipoise.runs.recipe import dotted, to_dict, to_toml, with_settings

if TYPE_CHECKING:
    from equipoise.runs.run import Run

LEAST = 0.1
"""The share of the training that must be left for an intervention to be worth it."""
PROGRESS = 0.7
"""To which share of the first distance to the data a training that got somewhere came down."""
NEAR = 3.0
"""How many times as far as at best the fakes may be where training goes on: single looks differ by as much."""


class Intervene(Exception):
    """Training stops here, for the autopilot to change something."""

    def __init__(self, decision: Decision):
        super().__init__("the autopilot intervenes")
        self.decision = decision


class RemediesUsedUp(EquipoiseError):
    """The autopilot has tried what it knows."""

    exit_code = 71


@dataclass
class Pilot:
    """The autopilot of one run. Its interventions are in `interventions.json`, the former ones of a resumed run too."""

    run: "Run"
    autopilot: Autopilot = field(init=False)
    earlier: list[dict[str, Any]] = field(init=False)

    def __post_init__(self):
        self.original = self.run.recipe
        self.former = self.run.recipe  # before the intervention on probation
        self.autopilot = Autopilot(fits=self.fits)
        self.earlier = interventions(self.run.folder)
        for row in self.earlier:
            if row["outcome"] == "on probation":
                row |= {"outcome": "not judged", "reason": "Training was interrupted during the probation."}
            self.autopilot.tried.add((row["fault"], row["why"]))
        self.autopilot.earlier = len(self.earlier)
        if self.earlier:
            steps = int(self.earlier[0].get("steps", self.original.training.steps))
            self.original = self.original.model_copy(update={"training": replace(self.original.training, steps=steps)})
            self.write()

    def fits(self, remedy: Remedy, undone: Intervention | None) -> bool:
        """Whether the recipe with these changes, and without what is undone, is another one and can be played."""
        base = self.former if undone else self.run.recipe
        try:
            recipe = with_settings(base, remedy.settings)
            game = self.run.with_recipe(recipe).build_game()
            seat_players(game, recipe.game.optimizers(recipe.players))
            return recipe != base and not recipe.game.conflicts(recipe.training, recipe.players)
        except (EquipoiseError, ValueError):
            return False

    def consider(self, diagnosis: Diagnosis, clock: Clock) -> None:
        """Raise `Intervene` where something has to change."""
        if decision := self.decision(diagnosis, clock):
            raise Intervene(decision)

    def decision(self, diagnosis: Diagnosis, clock: Clock, *, ended: bool = False) -> Decision | None:
        """What has to change, if anything; `ended` where training cannot go on as it is."""
        if clock.total - clock.step < LEAST * clock.total:
            return None
        before = [i.outcome for i in self.autopilot.interventions]
        decision = self.autopilot.consider(diagnosis, dotted(to_dict(self.run.recipe)), ended=ended)
        if before != [i.outcome for i in self.autopilot.interventions]:
            self.write()
        return decision

    def next_run(self, decision: Apply, *, saved: list[int], diagnosis: Diagnosis) -> "Run":
        """The run with the changed recipe: it goes on from the last checkpoint before the fault, in the same budget.

        Steps that are taken back are lost, so that the whole training takes as many as it was planned for.
        """
        intervention, remedy = decision.intervention, decision.intervention.remedy
        planned = self.run.recipe.training.steps
        self.former = self.former if decision.undone else self.run.recipe
        sound = healthy(saved, intervention.finding.lately, dict(diagnosis.history.values.get("energy", ())))
        intervention.back_to = 0 if remedy.restarts else sound
        recipe = with_settings(self.former, remedy.settings)
        steps = planned - (diagnosis.history.step - intervention.back_to)
        recipe = recipe.model_copy(update={"training": replace(recipe.training, steps=steps)})
        self.run = self.run.with_recipe(recipe)
        self.write()
        return self.run

    def finish(self, diagnosis: Diagnosis) -> None:
        """Training is over: judge what is still on probation."""
        if self.autopilot.present() is not None:
            self.autopilot.finish(diagnosis, dotted(to_dict(self.run.recipe)))
            self.write()

    def write(self) -> None:
        """Write down all interventions, and the resulting recipe at its planned length."""
        folder, steps = self.run.folder, self.original.training.steps
        rows = [*self.earlier, *({**i.as_dict(), "steps": steps} for i in self.autopilot.interventions)]
        healed = self.run.recipe.model_copy(update={"training": replace(self.run.recipe.training, steps=steps)})
        with disk_errors("writing interventions", folder):
            replace_file(folder / "interventions.json", json.dumps(finite(rows), indent=1).encode())
            replace_file(folder / "recipe-healed.toml", to_toml(healed).encode())

    def give_up(self, decision: GiveUp) -> RemediesUsedUp:
        """What to say when no remedy is left. The resulting recipe is without what was undone at last."""
        if decision.undone is not None:
            self.run = self.run.with_recipe(self.former)
        self.write()
        title, num = decision.finding.title, len(self.autopilot.interventions)
        return RemediesUsedUp(
            f"{title} since step {decision.finding.since}, and the autopilot has no remedy left after {num} "
            f"interventions. See the report, or: equipoise doctor {self.run.folder}"
        )


def healthy(saved: list[int], since: int, energy: Mapping[int, float]) -> int:
    """The newest saved step before the fault at which training had got somewhere; 0 if there is none.

    There the fakes were about as near as they ever were before the fault, and clearly nearer than at first.
    """
    before = [step for step in saved if step < since]
    looks = [value for step, value in sorted(energy.items()) if step <= since]
    if not looks:
        return max(before, default=0)

    def good(step: int) -> bool:
        until = [value for at, value in sorted(energy.items()) if at <= step]
        return bool(until) and until[-1] <= min(NEAR * max(min(looks), 0.02), PROGRESS * looks[0])

    return max(filter(good, before), default=0)


def interventions(folder: Path) -> list[dict[str, Any]]:
    """What an autopilot did in a run; nothing where there was none. Raises `DataError` for a damaged file."""
    path = folder / "interventions.json"
    if not path.exists():
        return []
    try:
        rows = list(json.loads(path.read_text("utf-8")))
        for row in rows:
            checked = row["fault"], row["why"], row["outcome"], dict(row["settings"]), int(row.get("steps", 1))
            assert all(isinstance(word, str) for word in checked[:3])
        return rows
    except (ValueError, TypeError, LookupError, AssertionError, RecursionError) as error:
        raise DataError(f"{path} is damaged: {error}. Remove it; the run goes on without what it says.") from error


def finite(value: Any) -> Any:
    """Plain data with None for numbers that JSON does not know."""
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list | tuple) else value


def described(decision: Apply) -> str:
    """An intervention as an event."""
    intervention = decision.intervention
    undone = f"Undone: {options(decision.undone.remedy.settings)}. " if decision.undone else ""
    where = f"from step {intervention.back_to}" if intervention.back_to else "anew from the start"
    return (
        f"{undone}{intervention.finding.title} since step {intervention.finding.since}: going on {where} with "
        f"{options(intervention.remedy.settings)}. {intervention.remedy.why}"
    )
