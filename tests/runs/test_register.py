"""Runs are listed with what was changed, found, done and reached; damaged folders spoil nothing."""

import json
import subprocess
import sys

import equipoise
from equipoise.runs.register import entries

TINY = {"training.steps": 4, "training.batch": 8, "watching.tensorboard": False, "judging.at_end": False}


def test_runs_are_listed_with_their_changes(tmp_path):
    equipoise.train("ring", settings=TINY, folder=tmp_path / "b", quiet=True)
    (tmp_path / "b" / "run.json").write_text(
        json.dumps(json.loads((tmp_path / "b" / "run.json").read_text()) | {"created": "2020-01-01T00:00:00Z"})
    )
    equipoise.train("ring", settings={**TINY, "game.loss": "hinge"}, folder=tmp_path / "a", quiet=True)
    (tmp_path / "a" / "metrics.json").write_text(json.dumps([{"values": {"fid": 1.5, "note": None}}]))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    first, second = entries(tmp_path)
    assert (first.folder.name, first.state, first.step, first.changes) == ("b", "finished", 4, {})
    assert second.changes == {"game.loss": ("relativistic-pairing", "hinge")}
    assert second.scores == {"fid": 1.5}
    told = subprocess.run([sys.executable, "-m", "equipoise", "runs", tmp_path], capture_output=True, text=True)
    assert "game.loss: relativistic-pairing -> hinge" in told.stdout
    plain = subprocess.run([sys.executable, "-m", "equipoise", "runs", tmp_path, "--json"], capture_output=True)
    assert [row["state"] for row in json.loads(plain.stdout)] == ["finished", "finished"]


def test_damage_in_one_file_leaves_the_rest(tmp_path):
    equipoise.train("ring", settings=TINY, folder=tmp_path / "a", quiet=True)
    (tmp_path / "a" / "signals.jsonl").write_text("no json\n")
    (tmp_path / "a" / "interventions.json").write_text("{")
    (tmp_path / "a" / "metrics.json").write_text("[]")
    [row] = entries(tmp_path)
    assert (row.findings, row.interventions, row.scores) == ([], [], {})
    assert entries(tmp_path / "nowhere") == []
