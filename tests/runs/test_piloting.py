"""The autopilot saves a training that fails by itself, writes down what it did, and keeps to the budget."""

import json
import shutil

import pytest

import equipoise
from benchmarks.planting import Plant, PlantedRun, bad_pixels
from equipoise.core.errors import DataError, DivergedError
from equipoise.doctor.autopilot import Apply, GiveUp, Intervention
from equipoise.doctor.diagnosis import Diagnosis
from equipoise.doctor.finding import Finding, Remedy
from equipoise.runs import piloting
from equipoise.runs.examination import examine
from equipoise.runs.parts import Examples
from equipoise.runs.piloting import Pilot, RemediesUsedUp, healthy, interventions
from equipoise.runs.recipe import dotted, to_dict, with_settings
from equipoise.runs.watcher import Watcher

WEAK = {
    "training.steps": 1000,
    "training.batch": 32,
    "training.save_every": 100,
    "watching.probes_every": 25,
    "watching.tensorboard": False,
    "judging.at_end": False,
    "players.D.learning_rate": 1e-6,
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A run whose critic hardly learns, under the autopilot."""
    folder = tmp_path_factory.mktemp("runs") / "saved"
    return equipoise.train("ring", settings={**WEAK, "watching.autopilot": True}, folder=folder, quiet=True)


def rows(run):
    return json.loads((run.folder / "interventions.json").read_text())


def test_a_weak_critic_is_given_a_faster_rate_and_the_training_is_saved(saved):
    [row] = rows(saved)
    assert row["fault"] == "critic-too-weak"
    assert row["outcome"] == "helped"
    assert row["former"]["players.D.learning_rate"] == 1e-6
    assert row["after"]["energy"] < 0.1 < row["before"]["energy"]
    assert examine(saved.folder).findings == []


def test_the_whole_training_takes_as_many_steps_as_planned(saved):
    [row] = rows(saved)
    lost = row["step"] - row["back_to"]
    assert saved.newest_step() == 1000 - lost == saved.recipe.training.steps


def test_the_resulting_recipe_can_be_trained_from_the_start(saved):
    recipe, _ = equipoise.load(saved.folder / "recipe-healed.toml")
    assert recipe.training.steps == 1000
    assert recipe.players["D"].learning_rate.start == pytest.approx(1e-3)


def test_the_run_can_be_sampled_resumed_and_shows_what_was_done(saved):
    assert saved.sample(4).shape == (4, 2)
    again = equipoise.resume(saved.folder, settings={"training.steps": saved.newest_step() + 50}, quiet=True)
    assert len(rows(again)) == 1
    page = (again.folder / "report.html").read_text()
    assert "What the autopilot did" in page
    assert "players.D.learning_rate: 1e-06" in page


def test_without_a_remedy_left_training_stops_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(Pilot, "fits", lambda self, remedy, undone: False)
    with pytest.raises(RemediesUsedUp, match="no remedy left after 0 interventions"):
        equipoise.train("ring", settings={**WEAK, "watching.autopilot": True}, folder=tmp_path / "r", quiet=True)
    events = (tmp_path / "r" / "events.jsonl").read_text()
    assert '"kind":"failed"' in events
    assert (tmp_path / "r" / "report.html").exists()


def test_training_goes_on_from_the_newest_checkpoint_at_which_it_had_got_somewhere():
    energy = {50: 0.8, 100: 0.5, 200: 0.1, 300: 0.12, 400: 3.0}
    assert healthy([100, 200, 300, 400], 450, energy) == 300
    assert healthy([100, 400], 450, energy) == 0
    assert healthy([400, 500], 600, {50: 0.8, 400: 0.08, 500: 0.09, 525: 0.045}) == 500  # looks are noisy
    assert healthy([200, 300], 250, energy) == 200
    assert healthy([], 250, energy) == 0
    assert healthy([100, 200], 250, {50: 0.8, 100: 0.7, 200: 0.75}) == 0  # it never got anywhere
    assert healthy([100, 200], 250, {}) == 200


def proposed(number, settings, *, undoes=None):
    """An intervention as the autopilot decides on it."""
    finding = Finding("fault", "Fault", "critical", since=50, until=100, evidence=(), explanation="")

    def intervention(which, remedy):
        return Intervention(which, 0, finding, Remedy(remedy, "why", restarts=True), former={}, before={})

    return Apply(intervention(number, settings), None if undoes is None else intervention(undoes, {}))


def at(step):
    """A diagnosis that has come so far."""
    diagnosis = Diagnosis()
    diagnosis.observe(step, {})
    return diagnosis


def test_a_change_that_did_not_help_is_taken_back_whole(saved):
    recipe, _ = equipoise.load(saved.folder / "recipe-healed.toml")
    pilot = Pilot(saved.with_recipe(recipe))
    first = pilot.next_run(proposed(1, {"game.penalties.r1": 0.5, "game.packing": 2}), saved=[], diagnosis=at(600))
    second = pilot.next_run(proposed(2, {"game.critic_steps": 3}, undoes=1), saved=[], diagnosis=at(100))
    assert first.recipe.game.packing == 2
    assert second.recipe.game == recipe.game.model_copy(update={"critic_steps": 3})
    assert second.recipe.training.steps == 1000 - 600 - 100  # what was lost stays lost


def test_a_run_killed_right_after_an_intervention_goes_on_with_the_changed_recipe(tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    begun = Watcher.begin

    def begin(self, trainer):
        if (tmp_path / "r" / "interventions.json").exists() and trainer.clock.step:
            raise Killed
        begun(self, trainer)

    settings = {**WEAK, "watching.autopilot": True, "training.save_every": 50}
    monkeypatch.setattr(Watcher, "begin", begin)
    monkeypatch.setattr(piloting, "healthy", lambda saved, since, energy: saved[0])
    with pytest.raises(Killed):
        equipoise.train("ring", settings=settings, folder=tmp_path / "r", quiet=True)
    monkeypatch.undo()
    run = equipoise.Run.open(tmp_path / "r")
    assert run.newest_step() == rows(run)[-1]["back_to"] > 0
    changed = rows(run)[-1]["settings"]
    again = equipoise.resume(tmp_path / "r", settings={"watching.autopilot": False}, quiet=True)
    assert {key: dotted(to_dict(again.recipe))[key] for key in changed} == changed
    assert again.newest_step() == again.recipe.training.steps


def test_a_run_killed_between_the_new_recipe_and_going_back_finishes_that(tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    def killed(trainer, step):
        raise Killed

    settings = {**WEAK, "watching.autopilot": True, "training.save_every": 50}
    monkeypatch.setattr("equipoise.runs.run.go_on_from", killed)
    monkeypatch.setattr(piloting, "healthy", lambda saved, since, energy: saved[0])
    with pytest.raises(Killed):
        equipoise.train("ring", settings=settings, folder=tmp_path / "r", quiet=True)
    monkeypatch.undo()
    run = equipoise.Run.open(tmp_path / "r")
    [row] = rows(run)
    assert run.newest_step() > row["back_to"] > 0
    again = equipoise.resume(tmp_path / "r", settings={"watching.autopilot": False}, quiet=True)
    assert {key: dotted(to_dict(again.recipe))[key] for key in row["settings"]} == row["settings"]
    assert again.newest_step() == again.recipe.training.steps == 1000 - (row["step"] - row["back_to"])


def test_giving_up_takes_the_last_remedy_out_of_the_healed_recipe(saved, tmp_path):
    shutil.copytree(saved.folder, tmp_path / "r")
    run = equipoise.Run.open(tmp_path / "r")
    pilot = Pilot(run)
    undone = pilot.next_run(proposed(1, {"game.packing": 2}), saved=[], diagnosis=at(100))
    assert undone.recipe.game.packing == 2
    last = proposed(2, {"game.packing": 4}, undoes=1)
    pilot.give_up(GiveUp(last.intervention.finding, last.undone))
    assert equipoise.load(tmp_path / "r" / "recipe-healed.toml")[0].game.packing == 1


@pytest.mark.parametrize("rows", ["[1, 2]", '[{"outcome": "helped"}]', '[{"settings": null}]', "{", "null"])
def test_damaged_interventions_are_said(tmp_path, rows):
    (tmp_path / "interventions.json").write_text(rows)
    with pytest.raises(DataError, match="is damaged"):
        interventions(tmp_path)


def test_a_training_that_diverges_between_reports_and_at_one_is_found_all_the_same(tmp_path):
    for every in (1, 50):
        folder = tmp_path / str(every)
        with pytest.raises((DivergedError, RemediesUsedUp)):
            poisoned(folder, {**WEAK, "watching.signals_every": every})
        assert "non-finite" in [finding.fault for finding in examine(folder).findings]


def poisoned(folder, settings):
    """Train on points of which one in twenty is not a number."""
    recipe = with_settings(equipoise.load("ring")[0], settings)
    source = recipe.data.open()
    folder.mkdir()
    plant = Plant(data=bad_pixels(0.05))
    examples = Examples(source.name, source.shape, source.classes)
    return PlantedRun(folder, recipe, "ring", examples, source, plant=plant).play(source, resume=False, quiet=True)
