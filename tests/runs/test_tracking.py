"""Trackers beside TensorBoard: what they are told, and that none of them can end a training."""

import json
import sys

import pytest

import equipoise
from equipoise.core.errors import EquipoiseError
from equipoise.runs import run as module
from equipoise.runs.recipe import parse_setting
from equipoise.runs.tracking import Everybody, means
from tests.cli.made import TINY

SETTINGS = dict(map(parse_setting, TINY))


@pytest.fixture(autouse=True)
def no_report(monkeypatch):
    monkeypatch.setattr(module, "write_report", lambda folder: folder)


class Told:
    """Remembers, or fails."""

    def __init__(self, *, fails: bool = False):
        self.fails, self.scalars_of = fails, []

    def scalars(self, step, signals):
        if self.fails:
            raise ConnectionError("no route to host")
        self.scalars_of.append(step)

    def picture(self, step, name, png, height, width, channels):
        pass

    def histograms(self, step, player, tensors):
        pass

    def close(self):
        self.closed = True


def test_a_tracker_that_fails_is_left_out_and_the_others_go_on():
    good, bad, notices = Told(), Told(fails=True), []
    everybody = Everybody({"bad": bad, "good": good}, notices.append)
    everybody.scalars(1, {})
    everybody.scalars(2, {})
    everybody.close()
    assert good.scalars_of == [1, 2]
    assert good.closed
    assert notices == ["bad failed, and is told nothing more: ConnectionError: no route to host"]


def test_moments_count_as_their_mean_and_what_is_not_finite_is_left_out():
    signals = {"a": {"mean": 1.5, "std": 2.0}, "b": 2.0, "c": {"mean": None}, "d": float("inf"), "e": float("nan")}
    assert means(signals) == {"a": 1.5, "b": 2.0}


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_extra_is_one_message_before_training(name, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, f"{name}.tracking", None)
    with pytest.raises(EquipoiseError, match=rf"pip install 'equipoise\[{name}\]'"):
        equipoise.train("digits", settings=SETTINGS | {f"watching.{name}": True}, folder=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run" / "checkpoints").exists()
    assert not (tmp_path / "run" / "signals.jsonl").exists()


def test_weights_and_biases_is_written_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    run = equipoise.train("digits", settings=SETTINGS | {"watching.wandb": True}, folder=tmp_path / "run", quiet=True)
    assert list((run.folder / "wandb").glob("offline-run-*/run-run.wandb"))


def test_mlflow_has_the_recipe_the_numbers_and_the_pictures_and_a_resumed_run_goes_on_in_it(tmp_path, monkeypatch):
    tracking = pytest.importorskip("mlflow.tracking")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    run = equipoise.train("digits", settings=SETTINGS | {"watching.mlflow": True}, folder=tmp_path / "run", quiet=True)
    equipoise.resume(run.folder, settings={"training.steps": 4}, quiet=True)
    client = tracking.MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    known = client.get_run(json.loads((run.folder / "mlflow.json").read_text())["run"])
    assert known.data.params["game.loss"] == "non-saturating"
    steps = [point.step for point in client.get_metric_history(known.info.run_id, "loss/D/adversarial")]
    assert steps == [1, 2, 3, 4]
    assert [artifact.path for artifact in client.list_artifacts(known.info.run_id)] == ["samples"]
    assert known.info.status == "FINISHED"
