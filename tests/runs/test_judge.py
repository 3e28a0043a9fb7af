"""Evaluation during training: it changes nothing, keeps the best state, and ends what gets no better."""

import json
from functools import partial

import pytest
import torch

import equipoise
from equipoise.core.errors import CheckpointError, RecipeError
from equipoise.engine.checkpoint import Checkpoints
from equipoise.runs import features, judge
from equipoise.runs import run as module
from equipoise.runs.judge import Stop
from equipoise.runs.recipe import parse_setting
from equipoise.runs.report import write_report
from tests.cli.made import TINY

SETTINGS = dict(map(parse_setting, TINY)) | {
    "training.steps": 6,
    "training.save_every": 2,
    "training.keep": 9,
    "judging.num_samples": 20,
}


@pytest.fixture(autouse=True)
def lean(monkeypatch):
    """No report, and a network that judges after hardly any training."""
    monkeypatch.setattr(module, "write_report", lambda folder: folder)
    monkeypatch.setattr(features, "fit_feature_net", partial(features.fit_feature_net, num_steps=3))


OFTEN = SETTINGS | {"judging.every": 2}


def train(folder, settings, **how):
    return equipoise.Run.create(equipoise.load("ring", settings=settings)[0], origin="ring", folder=folder).train(
        quiet=True, **how
    )


def metrics(run):
    return json.loads((run.folder / "metrics.json").read_text())


def newest(run):
    snapshot = Checkpoints(run.folder / "checkpoints").newest()
    assert snapshot is not None
    return snapshot


def test_evaluating_while_training_leaves_every_bit_as_it_is(tmp_path):
    without, judged = train(tmp_path / "a", SETTINGS), train(tmp_path / "b", OFTEN)
    assert [entry["step"] for entry in metrics(judged)] == [2, 4, 6]
    one, other = newest(without), newest(judged)
    assert one.state == other.state
    for group, tensors in one.tensors.items():
        assert all(torch.equal(tensor, other.tensors[group][name]) for name, tensor in tensors.items()), group
    assert not (without.folder / "best").exists()


def test_what_is_measured_on_the_way_is_what_its_checkpoint_is_worth(tmp_path):
    run = train(tmp_path / "run", OFTEN)
    during = {entry["step"]: entry["values"] for entry in metrics(run)}
    for step in (2, 4):
        assert vars(run.evaluate(at=step).fake) == pytest.approx(during[step], rel=1e-6)


def test_the_best_state_is_kept_and_can_be_sampled(tmp_path):
    run = train(tmp_path / "run", OFTEN | {"judging.metric": "kid"})
    best = min(metrics(run), key=lambda entry: entry["values"]["kid"])["step"]
    assert run.step_of("best") == best
    assert [path.name for path in (run.folder / "best").iterdir()] == [f"step-{best:09d}"]
    assert torch.equal(run.sample(4, at="best"), run.sample(4, at=best))


def test_training_that_gets_no_better_ends_early_and_is_saved(tmp_path):
    still = {"players.D.learning_rate": 0.0, "players.G.learning_rate": 0.0}
    run = train(tmp_path / "run", OFTEN | still | {"judging.every": 1, "judging.patience": 2})
    assert run.newest_step() == 3
    assert run.step_of("best") == 1
    events = [json.loads(line) for line in (run.folder / "events.jsonl").read_text().splitlines()]
    assert "No better fid" in next(event["message"] for event in events if event["kind"] == "stopped")
    assert events[-1]["kind"] == "finished"


def test_a_referee_hears_of_every_evaluation_and_may_end_training(tmp_path):
    heard = []

    def referee(step, scores, findings):
        heard.append((step, scores["fid"] > 0))
        if step == 4:
            raise Stop("Enough.")

    run = train(tmp_path / "run", OFTEN, referee=referee)
    assert heard == [(2, True), (4, True)]
    assert run.newest_step() == 4


def test_a_resumed_run_measures_again_what_it_trains_again(tmp_path):
    whole = train(tmp_path / "whole", OFTEN)
    run = train(tmp_path / "run", OFTEN)
    for place in ("checkpoints", "best"):
        Checkpoints(run.folder / place).forget_from(3)
    run = equipoise.resume(run.folder, quiet=True)
    strip = [(entry["step"], entry["values"]) for entry in metrics(run)]
    assert strip == [(entry["step"], entry["values"]) for entry in metrics(whole)]
    assert run.step_of("best") == whole.step_of("best")


def test_a_resumed_run_that_is_judged_no_more_forgets_what_it_trains_again(tmp_path):
    run = train(tmp_path / "run", OFTEN)
    Checkpoints(run.folder / "checkpoints").forget_from(3)
    path = run.folder / "recipe.toml"
    lines = path.read_text("utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("every = 2")), "utf-8")
    run = equipoise.resume(run.folder, quiet=True)
    assert run.recipe.judging.every is None
    assert [entry["step"] for entry in metrics(run)] == [2]
    assert {path.name for path in (run.folder / "best").iterdir()} <= {"step-000000002"}


def test_a_checkpoint_that_is_not_there_is_an_error_that_names_those_that_are(tmp_path):
    run = train(tmp_path / "run", SETTINGS)
    with pytest.raises(RecipeError, match=r"no checkpoint of step 3\. There are: 0, 2, 4, 6"):
        run.sample(4, at=3)
    with pytest.raises(RecipeError, match=r"judging\.every"):
        run.sample(4, at="best")
    Checkpoints(run.folder / "checkpoints").forget_from(0)
    with pytest.raises(CheckpointError, match="no checkpoint yet"):
        run.sample(4)


def test_too_few_samples_are_the_fault_of_who_asked_for_them(tmp_path):
    run = train(tmp_path / "run", SETTINGS)
    with pytest.raises(RecipeError, match="--num 9: expected at least 10 samples"):
        run.evaluate(num=9)
    assert run.evaluate(num=10).num_samples == 10


def test_a_wrong_metric_is_refused(tmp_path):
    with pytest.raises(RecipeError, match=r"judging\.metric"):
        equipoise.load("digits", settings={"judging.metric": "fidd"})


def test_copies_of_training_examples_are_told_and_shown(tmp_path, monkeypatch):
    run = equipoise.train("digits", settings=SETTINGS | {"data.held_out": 300}, folder=tmp_path / "run", quiet=True)
    parts = run.parts(run.source())
    copied = parts.train.examples(torch.arange(200))
    monkeypatch.setattr(judge, "samples", lambda game, num, **how: copied[:num])
    found = run.evaluate(num=200).memorisation
    assert found is not None
    assert found.verdict == "copies"
    assert found.pairs[0].distance < 1e-4
    assert (run.folder / "samples" / "nearest-step-00000006.png").exists()
    assert metrics(run)[-1]["memorisation"]["verdict"] == "copies"
    monkeypatch.undo()
    page = write_report(run.folder).read_text()
    assert "Copies. " in page
    assert "resemble a training picture most" in page


def test_an_evaluation_says_what_it_rests_on_and_what_to_beware_of(tmp_path):
    run = train(tmp_path / "run", SETTINGS)
    result = run.evaluate(num=20)
    assert result.provenance.num_real == result.provenance.num_fake == 20
    assert result.provenance.features == result.feature_space
    low, high, level = result.fid_interval
    assert low <= high
    assert level == 0.95
    assert any("FID of 20 examples" in sentence for sentence in result.cautions)
    assert result.memorisation is None  # points in the plane
    assert run.evaluate(num=20, seed=1).provenance != result.provenance
