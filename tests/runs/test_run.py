"""A run as a whole: what it promises before, while and after it trains."""

import json

import numpy as np
import pytest
import torch

import equipoise
from equipoise.core.errors import DataError, DiskError, DivergedError, EquipoiseError, RecipeError
from equipoise.engine.checkpoint import Checkpoints
from equipoise.engine.trainer import Trainer
from equipoise.runs import run as module
from equipoise.runs.recipe import parse_setting
from equipoise.runs.run import known_runs, snapshot_at
from tests.cli.made import TINY

SETTINGS = dict(map(parse_setting, TINY))


def test_a_run_computes_with_the_threads_of_its_recipe_and_leaves_the_others_alone(tmp_path, monkeypatch):
    seen = []
    fit = Trainer.fit
    monkeypatch.setattr(Trainer, "fit", lambda self: (seen.append(torch.get_num_threads()), fit(self)))
    former = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        one = SETTINGS | {"training.threads": 1}
        run = equipoise.train("digits", settings=one, folder=tmp_path / "run", quiet=True)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(former)
    assert seen == [1]
    assert json.loads((run.folder / "environment.json").read_text())["threads"] == 1


def test_a_disk_that_cannot_hold_the_checkpoints_is_refused_before_the_first_step(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "free_bytes", lambda path: 1000)
    with pytest.raises(DiskError, match=r"1\.0 kB free.*training\.keep"):
        equipoise.train("digits", settings=SETTINGS, folder=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_diverging_run_ends_with_70_and_a_report_and_a_sound_checkpoint(tmp_path):
    hopeless = {"players.D.learning_rate": 1e30, "players.G.learning_rate": 1e30, "training.steps": 60}
    with pytest.raises(DivergedError, match="learning rate") as ended:
        equipoise.train("digits", settings=SETTINGS | hopeless, folder=tmp_path / "run", quiet=True)
    assert ended.value.exit_code == 70
    assert "diverged" in (tmp_path / "run" / "report.html").read_text()
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert kinds.count("rollback") == 3
    assert kinds[-1] == "diverged"
    snapshot = Checkpoints(tmp_path / "run" / "checkpoints").newest()
    assert snapshot is not None
    assert all(t.isfinite().all() for group in snapshot.tensors.values() for t in group.values())


def test_evaluating_on_data_that_changed_is_refused(tmp_path):
    run = equipoise.train("digits", settings=SETTINGS, folder=tmp_path / "run", quiet=True)
    other = equipoise.load("ring")[0].data.open()
    with pytest.raises(DataError, match="has changed"):
        run.evaluate(source=other)


def test_no_samples_at_all_is_an_error(tmp_path):
    run = equipoise.train("digits", settings=SETTINGS, folder=tmp_path / "run", quiet=True)
    with pytest.raises(equipoise.EquipoiseError, match="0 samples"):
        run.sample(0)


@pytest.mark.parametrize("settings", [{}, {"data.held_out_at": "end", "data.fold": "1/5"}])
def test_a_gap_without_a_held_out_end_is_refused(settings, tmp_path):
    recipe, origin = equipoise.load("ring", settings={"data.gap": 3, **settings})
    with pytest.raises(RecipeError, match=r'data\.gap = 3 is for data\.held_out_at = "end"'):
        equipoise.Run.create(recipe, origin=origin, folder=tmp_path / "run").train(quiet=True)


def test_a_game_whose_weights_match_no_term_leaves_no_folder(tmp_path):
    from equipoise.games.gan import GAN
    from equipoise.networks.mlp import MLPCritic, MLPGenerator
    from equipoise.objectives import hinge

    class Wrong(equipoise.GameSettings):
        kind: str = "wrong"

        def build(self, examples):
            game = GAN(
                MLPGenerator(4, examples.shape, width=4), MLPCritic(examples.shape, width=4), z_dim=4, loss=hinge
            )
            game.weights = {"G/adversrial": 2.0}
            return game

    with pytest.raises(equipoise.EquipoiseError, match="Did you mean 'G/adversarial'"):
        equipoise.train(equipoise.Recipe(game=Wrong()), folder=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_data_is_opened_once(tmp_path, monkeypatch):
    from equipoise.runs.parts import Digits

    opened = []
    really = Digits.open
    monkeypatch.setattr(Digits, "open", lambda self: (opened.append(1), really(self))[1])
    equipoise.train("digits", settings=SETTINGS, folder=tmp_path / "run", quiet=True)
    assert opened == [1]


def test_a_trained_run_is_not_started_anew(tmp_path):
    run = equipoise.train("digits", settings=SETTINGS, folder=tmp_path / "run", quiet=True)
    before = (run.folder / "signals.jsonl").read_bytes()
    with pytest.raises(equipoise.EquipoiseError, match="equipoise resume"):
        equipoise.Run.open(run.folder).train(quiet=True)
    assert (run.folder / "signals.jsonl").read_bytes() == before


def test_fewer_steps_than_reached_are_refused_and_stretched_schedules_are_announced(tmp_path):
    run = equipoise.train("digits", settings=SETTINGS, folder=tmp_path / "run", quiet=True)
    recipe = (run.folder / "recipe.toml").read_bytes()
    with pytest.raises(equipoise.EquipoiseError, match="reached step 2"):
        equipoise.resume(run.folder, settings={"training.steps": 1}, quiet=True)
    assert (run.folder / "recipe.toml").read_bytes() == recipe
    equipoise.resume(run.folder, settings={"training.steps": 4}, quiet=True)
    events = [json.loads(line) for line in (run.folder / "events.jsonl").read_text().splitlines()]
    assert any("stretch" in event["message"] for event in events)


def test_a_run_follows_its_data_to_another_place(tmp_path):
    images = torch.randint(0, 256, (60, 8, 8), dtype=torch.uint8).numpy()
    np.save(tmp_path / "here.npy", images)
    settings = SETTINGS | {"data.held_out": 10}
    run = equipoise.train("digits", data=tmp_path / "here.npy", settings=settings, folder=tmp_path / "run", quiet=True)
    (tmp_path / "here.npy").rename(tmp_path / "there.npy")
    with pytest.raises(DataError, match=r"here\.npy"):
        equipoise.resume(run.folder, settings={"training.steps": 3}, quiet=True)
    moved = {"training.steps": 3, "data.path": str(tmp_path / "there.npy")}
    assert equipoise.resume(run.folder, settings=moved, quiet=True).newest_step() == 3


def test_damaged_metrics_are_set_aside(tmp_path):
    run = equipoise.train("digits", settings=SETTINGS, folder=tmp_path / "run", quiet=True)
    (run.folder / "metrics.json").write_text("[{")
    run.evaluate()
    assert len(json.loads((run.folder / "metrics.json").read_text())) == 1
    assert (run.folder / "metrics.damaged.json").read_text() == "[{"


def test_beside_a_folder_that_is_none_the_runs_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "runs/other"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "run.json").write_text("{}")
    assert known_runs(tmp_path / "nosuch") == f"Runs here: {tmp_path / 'mine'}, {tmp_path / 'runs/other'}."
    assert known_runs(tmp_path / "runs" / "nosuch") == f"Runs here: {tmp_path / 'runs/other'}."
    assert known_runs(tmp_path / "mine" / "deep") == f"Runs here: {tmp_path / 'runs/other'}."
    (tmp_path / "runs/other/run.json").unlink()
    assert known_runs(tmp_path / "mine" / "deep") == "There are no runs here yet."


def test_a_checkpoint_that_is_not_there_is_the_fault_of_who_asked_and_none_at_all_that_of_the_run(tmp_path):
    for at in (123, "best"):
        with pytest.raises(EquipoiseError) as error:
            snapshot_at(tmp_path, at)
        assert error.value.exit_code == 2
    with pytest.raises(EquipoiseError) as error:
        snapshot_at(tmp_path, "newest")
    assert error.value.exit_code == 74


def test_a_damaged_card_is_one_message(tmp_path):
    run = equipoise.train("digits", settings=SETTINGS, folder=tmp_path / "run", quiet=True)
    card = json.loads((run.folder / "run.json").read_text())
    del card["origin"]
    (run.folder / "run.json").write_text(json.dumps(card))
    with pytest.raises(equipoise.EquipoiseError, match=r"run\.json is damaged"):
        equipoise.Run.open(run.folder)


def test_single_numbers_are_drawn_on_a_line(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(100, 1)).astype("float32"))
    settings = SETTINGS | {"game.network.kind": "mlp", "data.held_out": 20}
    run = equipoise.train("digits", data=tmp_path / "x.npy", settings=settings, folder=tmp_path / "run", quiet=True)
    assert (run.folder / "samples" / "step-00000002.png").exists()


def test_out_of_memory_is_a_message_and_keeps_what_was_saved(tmp_path, monkeypatch):
    def refuse(self):
        self.save()
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(Trainer, "fit", refuse)
    with pytest.raises(equipoise.EquipoiseError, match=r"training\.batch"):
        equipoise.train("digits", settings=SETTINGS, folder=tmp_path / "run", quiet=True)
    assert Checkpoints(tmp_path / "run" / "checkpoints").sound(0)
