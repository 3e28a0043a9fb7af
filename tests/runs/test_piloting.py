"""The autopilot saves a training that fails by itself, writes down what it did, and keeps to the budget."""

import json

import pytest

import equipoise
from equipoise.runs.examination import examine
from equipoise.runs.piloting import RemediesUsedUp, healthy, undoing

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
    assert recipe.players["D"].learning_rate.start == pytest.approx(2e-3)


def test_the_run_can_be_sampled_resumed_and_shows_what_was_done(saved):
    assert saved.sample(4).shape == (4, 2)
    again = equipoise.resume(saved.folder, settings={"training.steps": saved.newest_step() + 50}, quiet=True)
    assert len(rows(again)) == 1
    page = (again.folder / "report.html").read_text()
    assert "What the autopilot did" in page
    assert "players.D.learning_rate: 1e-06" in page


def test_without_a_remedy_left_training_stops_and_says_so(tmp_path, monkeypatch):
    from equipoise.doctor import faults

    hopeless = [fault for fault in faults.FAULTS if fault.name == "critic-too-weak"]
    object.__setattr__(hopeless[0], "remedies", lambda settings: [])
    try:
        with pytest.raises(RemediesUsedUp, match="no remedy left after 0 interventions"):
            equipoise.train("ring", settings={**WEAK, "watching.autopilot": True}, folder=tmp_path / "r", quiet=True)
    finally:
        from equipoise.doctor.faults import critic_too_weak

        object.__setattr__(hopeless[0], "remedies", critic_too_weak.remedies)
    events = (tmp_path / "r" / "events.jsonl").read_text()
    assert '"kind":"failed"' in events
    assert (tmp_path / "r" / "report.html").exists()


def test_training_goes_on_from_the_newest_checkpoint_that_was_near():
    energy = {100: 0.5, 200: 0.1, 300: 0.12, 400: 3.0}
    assert healthy([100, 200, 300, 400], 450, energy) == 300
    assert healthy([100, 400], 450, energy) == 0
    assert healthy([200, 300], 250, energy) == 200
    assert healthy([], 250, energy) == 0


def test_a_change_is_taken_back_to_what_was_there():
    former = {"game.penalties.r1": 0.5, "players.G.learning_rate": 1e-3}
    assert undoing(former, {"players.G.learning_rate": 1.0}) == {"players.G.learning_rate": 1e-3}
    assert undoing(former, {"game.penalties.r2": 1.0}) == {"game.penalties": {"r1": 0.5}}
    assert undoing({}, {"game.critic_steps": 3}) == {"game.critic_steps": 1}
