"""The doctor's look at a run folder: whole, damaged, old or empty."""

import json
import subprocess
import sys

import pytest

import equipoise
from equipoise.core.errors import RecipeError
from equipoise.runs.examination import examine
from equipoise.runs.recipe import dotted

SMALL = {
    "training.steps": 500,
    "training.batch": 32,
    "watching.probes_every": 25,
    "watching.tensorboard": False,
    "judging.at_end": False,
}


@pytest.fixture(scope="module")
def weak(tmp_path_factory):
    """A run whose critic hardly learns."""
    folder = tmp_path_factory.mktemp("runs") / "weak"
    equipoise.train("ring", settings={**SMALL, "players.D.learning_rate": 1e-6}, folder=folder, quiet=True)
    return folder


def command(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "equipoise", "doctor", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_a_fault_is_found_in_a_run_and_told_while_it_trains(weak):
    result = examine(weak)
    assert [finding.fault for finding in result.findings] == ["critic-too-weak"]
    assert result.exit_code == 10
    events = [json.loads(line) for line in (weak / "events.jsonl").read_text().splitlines()]
    [told] = [event for event in events if event["kind"] == "finding"]
    assert told["message"].startswith("Critic too weak since step 250")


def test_remedies_follow_from_the_recipe(weak):
    [finding] = examine(weak).findings
    rates = finding.remedies[0].settings
    assert rates["players.D.learning_rate"]["start"] == pytest.approx(1e-3)  # that of G, which was far ahead
    assert not any(key.startswith("players.G.") for key in rates)
    page = (weak / "report.html").read_text()
    assert "What the doctor says" in page
    assert "players.D.learning_rate=&#34;{start = 0.001, end = 0.0}&#34;" in page


def test_the_command_prints_findings_and_leaves_with_their_severity(weak):
    plain = command(weak)
    assert plain.returncode == 10
    assert "Critic too weak (warning), since step 250; the first to come" in plain.stdout
    machine = command(weak, "--json")
    assert machine.returncode == 10
    assert json.loads(machine.stdout)["findings"][0]["fault"] == "critic-too-weak"


def test_a_journal_alone_and_one_with_half_a_line(weak, tmp_path):
    journal = tmp_path / "signals.jsonl"
    journal.write_bytes((weak / "signals.jsonl").read_bytes() + b'{"step": 525, "sig')
    result = examine(journal)
    assert [finding.fault for finding in result.findings] == ["critic-too-weak"]
    assert "half written" in str(result)
    assert "remedies cannot follow" in str(result)
    assert result.looks == len((weak / "signals.jsonl").read_text().splitlines())


def test_an_empty_run_says_that_there_is_nothing(weak, tmp_path):
    (tmp_path / "run.json").write_text("{}")
    assert "Nothing to judge by" in str(examine(tmp_path))
    (tmp_path / "signals.jsonl").write_text("")
    result = examine(tmp_path)
    assert (result.looks, result.exit_code) == (0, 30)


def test_a_run_of_an_older_version_is_judged_by_what_it_has(tmp_path):
    lines = [
        {"step": step, "signals": {"watch/real": {"mean": 0.1, "std": 1.0, "count": 8}, "watch/fake": None}}
        for step in range(50, 500, 50)
    ]
    (tmp_path / "signals.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = str(examine(tmp_path))
    assert "not probed" in text
    assert "mode-collapse (needs diversity, nearest)" in text


def test_no_run_is_refused(tmp_path):
    with pytest.raises(RecipeError, match="neither a run folder nor a journal"):
        examine(tmp_path)
    assert command(tmp_path / "nowhere").returncode not in (0, 10, 20)


def test_a_resumed_run_knows_what_was_found_before(weak):
    equipoise.resume(weak, settings={"training.steps": 550}, quiet=True)
    events = [json.loads(line)["kind"] for line in (weak / "events.jsonl").read_text().splitlines()]
    assert events.count("finding") == 1


def test_schedules_stay_tables():
    table = {"players": {"D": {"learning_rate": {"start": 1.0, "end": 0.0}, "betas": [0, 1]}}}
    assert dotted(table) == {
        "players.D.learning_rate": {"start": 1.0, "end": 0.0},
        "players.D.betas": [0, 1],
    }
