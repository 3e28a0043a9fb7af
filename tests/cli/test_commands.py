"""Every command on made data with tiny settings: what it prints, writes and leaves with."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from made import TINY, Command, images, tree
from PIL import Image

import equipoise
from equipoise.recipes import SHIPPED
from equipoise.runs.journal import read
from equipoise.runs.provenance import read_label
from equipoise.runs.recipe import parse_setting

GAME = '''
"""A game of my own: the mean of the data, sought by a generator of one number."""

from torch import nn

from equipoise import Examples, Game, GameSettings, LatentGame, Move, Optimizer, Plan, Recipe, Verdict


class Mean(LatentGame):
    z_dim = 1

    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.G, self.D = nn.Linear(1, 64), nn.Linear(64, 1)

    @property
    def players(self):
        return {"D": [self.D], "G": [self.G]}

    def generate(self, z, labels=None):
        return self.G(z).view(-1, *self.shape).tanh()

    def step(self, data, now):
        x = next(data)
        fake = self.generate(x.flatten(1)[:, :1])
        real, forged = self.judge(x), self.judge(fake.detach())
        yield Move("D", adversarial=forged - real, watch={"real": real, "fake": forged})
        yield Move("G", adversarial=-self.judge(fake))

    def sample(self, batch):
        return {"fake": self.generate(batch.flatten(1)[:, :1])}

    def judge(self, batch):
        return self.D(batch.flatten(1)).squeeze(1)


class MeanSettings(GameSettings):
    kind: str = "mean"
    sharpness: float = 1.0

    def build(self, examples: Examples) -> Game:
        return Mean(examples.shape)


def recipe() -> Recipe:
    """My recipe."""
    return Recipe(name="mine", game=MeanSettings(), training=Plan(steps=2, batch=8, precision="fp32"))
'''
QUIET = ("watching.tensorboard=false", "judging.at_end=false", "watching.num_samples=4", "data.held_out=40")


def equipoise_command(*arguments: object, cwd: Path) -> subprocess.Popen:
    """The real command, in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "equipoise", *map(str, arguments)]
    return subprocess.Popen(line, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kinds(run: Path) -> list[str]:
    return [event["kind"] for event in read(run / "events.jsonl")]


# The real command


def test_training_judges_draws_and_reports(tmp_path: Path):
    small = [setting for setting in TINY if "tensorboard" not in setting and "judging" not in setting]
    process = equipoise_command("train", "--set", *small, "judging.num_samples=30", cwd=tmp_path)
    out, err = process.communicate(timeout=240)
    assert (process.returncode, err) == (0, "")
    (run,) = (tmp_path / "runs").iterdir()
    assert f"runs/{run.name}/report.html" in out
    assert f"equipoise sample runs/{run.name}" in out
    names = set(tree(run))
    assert {"recipe.toml", "run.json", "environment.json", "signals.jsonl", "events.jsonl", "metrics.json"} <= names
    assert {"report.html", "samples/step-00000000.png", "samples/step-00000002.png", "samples/formation.webp"} <= names
    assert any(name.startswith("tensorboard/events") for name in names)
    assert [line["step"] for line in read(run / "signals.jsonl")] == [1, 2]
    assert kinds(run)[0] == "started"
    assert kinds(run)[-1] == "finished"
    (metrics,) = json.loads((run / "metrics.json").read_text())
    assert metrics["step"] == 2
    assert metrics["num_fake"] == 30
    assert (run / "report.html").stat().st_size > 10_000
    label = read_label(run / "samples" / "step-00000002.png")
    assert label is not None
    assert label.step == 2


def test_a_reader_that_closes_the_pipe_does_not_end_training(tmp_path: Path):
    run = tmp_path / "run"
    process = equipoise_command("train", "--run", run, "--set", *TINY, "training.steps=4", cwd=tmp_path)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=240) == 0
    assert err == ""
    assert kinds(run)[-1] == "finished"
    assert (run / "report.html").exists()
    assert (run / "checkpoints" / "step-000000004").is_dir()


def test_a_signal_saves_and_the_run_goes_on_later(tmp_path: Path, command: Command):
    run = tmp_path / "run"
    long = ("training.steps=100000", "training.save_every=100000", "watching.samples_every=100000")
    process = equipoise_command("train", "--run", run, "--set", *TINY, *long, cwd=tmp_path)
    assert process.stdout is not None
    while not any(word in process.stdout.readline() for word in ("step 5", "5/100")):
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 143
    assert "everything is saved" in err
    stopped = max(int(path.name.removeprefix("step-")) for path in (run / "checkpoints").iterdir())
    assert stopped > 0
    assert kinds(run)[-1] == "interrupted"
    assert command("resume", run, "--set", f"training.steps={stopped + 1}").code == 0
    assert kinds(run)[-1] == "finished"


def test_a_wrong_key_leaves_the_real_command_with_2_and_one_message(tmp_path: Path):
    process = equipoise_command("train", "--set", "training.step=2", cwd=tmp_path)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (2, "")
    assert err.startswith("\nequipoise: training.step: unknown key. Did you mean 'steps'?")
    assert not list(tmp_path.iterdir())


# Training and resuming


def test_a_dry_run_prints_what_would_happen_and_writes_nothing(command: Command, tmp_path: Path):
    answer = command("train", "conditional-digits", "--dry-run", "--set", *TINY)
    assert answer.code == 0
    assert 'conditioning = "projection"' in answer.out
    assert "1757 to train on, 40 held out, 1×8×8, 10 classes" in answer.out
    assert "Player D" in answer.out
    assert "Nothing was trained or written." in answer.out
    assert not list(tmp_path.iterdir())


def test_a_finished_run_goes_on_with_more_steps(command: Command, run: Path):
    assert command("resume", run, "--set", "training.steps=4").code == 0
    assert [line["step"] for line in read(run / "signals.jsonl")] == [1, 2, 3, 4]
    assert kinds(run).count("started") == 1
    assert kinds(run).count("resumed") == 1
    assert "steps = 4" in (run / "recipe.toml").read_text()
    assert (run / "samples" / "step-00000004.png").exists()


def test_a_run_that_goes_on_equals_one_that_never_stopped(command: Command, run: Path, tmp_path: Path):
    # The steps of a plan are its schedules' clock, so both plans have four; the first stops at two.
    constant = ("players.D.learning_rate=1e-3", "players.G.learning_rate=1e-3")
    assert command("train", "--run", "straight", "--set", *TINY, *constant, "training.steps=4").code == 0
    assert command("train", "--run", "parts", "--set", *TINY, *constant).code == 0
    assert command("resume", "parts", "--set", "training.steps=4").code == 0
    straight, parts = (tmp_path / name / "checkpoints" / "step-000000004" for name in ("straight", "parts"))
    for group in ("game", "averaged", "optimizer-D", "optimizer-G"):
        assert (straight / f"{group}.safetensors").read_bytes() == (parts / f"{group}.safetensors").read_bytes()


def test_a_finished_run_that_is_resumed_stays_as_it_is(command: Command, run: Path):
    before = tree(run / "checkpoints")
    assert command("resume", run).code == 0
    assert tree(run / "checkpoints") == before


def test_many_settings_may_follow_one_set(command: Command):
    several = ("--set", "training.steps=1", *QUIET, "--set", "game.network.width=4")
    assert command("train", "ring", "--run", "a", *several).code == 0
    assert command("train", "--set", *TINY, "--run", "b").code == 0


def test_points_are_trained_sampled_and_reported(command: Command, tmp_path: Path):
    small = ("training.steps=2", "game.network.width=4", "data.num_examples=500", *QUIET)
    assert command("train", "ring", "--run", "ring", "--set", *small).code == 0
    assert command("sample", "ring", "--num", 32).code == 0
    assert command("sample", "ring", "--num", 32, "--out", "points.npy").code == 0
    assert np.load(tmp_path / "points.npy").shape == (32, 2)
    assert json.loads((tmp_path / "points.npy.json").read_text())["run"] == "ring"


def test_images_of_ones_own_are_trained(command: Command, tmp_path: Path):
    images(tmp_path / "pictures", 30, size=9)
    small = (*TINY, "game.penalties.r1={weight=0.1, every=2}", "judging.at_end=true")
    answer = command("train", "--data", "pictures", "--run", "mine", "--set", *small)
    assert answer.code == 0
    assert kinds(tmp_path / "mine").count("warning") == 1  # nine held-out images are too few to judge by
    assert command("sample", "mine", "--out", "x.npy", "--num", 3).code == 0
    assert np.load(tmp_path / "x.npy").shape == (3, 1, 9, 9)


def test_a_run_finds_its_data_from_any_folder(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    images(tmp_path / "pictures", 30)
    assert command("train", "--data", "pictures", "--run", "mine", "--set", *TINY).code == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert command("resume", "../mine", "--set", "training.steps=3").code == 0


def test_classes_of_ones_own_keep_their_names(command: Command, tmp_path: Path):
    for number, name in enumerate(("cat", "dog")):
        images(tmp_path / "pets" / name, 20, seed=number)
    assert command("train", "conditional", "--data", "pets", "--run", "mine", "--set", *TINY).code == 0
    assert command("sample", "mine", "--class", "dog", "--out", "dog.npy").code == 0
    assert command("sample", "mine", "--class", "1", "--out", "one.npy").code == 0
    assert (tmp_path / "dog.npy").read_bytes() == (tmp_path / "one.npy").read_bytes()
    answer = command("sample", "mine", "--class", "cow")
    assert answer.code == 2
    assert "class 'cow' is not known. Classes: cat, dog." in answer.err


def test_a_recipe_file_starts_from_a_base(command: Command, tmp_path: Path):
    (tmp_path / "mine.toml").write_text(
        'base = "conditional-digits"\nname = "mine"\n[training]\nsteps = 1\nbatch = 8\nprecision = "fp32"\n'
        '[game]\nconditioning = "auxiliary"\n[game.network]\nwidth = 4\n'
    )
    assert command("train", "mine.toml", "--run", "mine", "--set", *QUIET).code == 0
    assert 'conditioning = "auxiliary"' in (tmp_path / "mine" / "recipe.toml").read_text()


def test_a_game_of_ones_own_trains_resumes_samples_and_reports(command: Command, tmp_path: Path):
    folder = tmp_path / "my project"
    folder.mkdir()
    (folder / "my_game.py").write_text(GAME)
    answer = command("train", "my project/my_game.py:recipe", "--run", "mine", "--set", *QUIET, "game.sharpness=2.0")
    assert answer.code == 0
    assert command("resume", "mine", "--set", "training.steps=3").code == 0
    assert command("sample", "mine", "--num", "4").code == 0
    assert command("report", "mine").code == 0
    text = (tmp_path / "mine" / "recipe.toml").read_text()
    assert 'kind = "mean"' in text
    assert "sharpness = 2.0" in text
    wrong = command("train", "my project/my_game.py:recipe", "--run", "b", "--set", "game.sharpnes=2.0")
    assert wrong.code == 2
    assert "game.sharpnes: unknown key. Did you mean 'sharpness'?" in wrong.err


# Sampling


def test_the_same_seed_gives_the_same_samples_and_another_seed_others(command: Command, run: Path, tmp_path: Path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        for ending in ("npy", "png"):
            assert command("sample", run, "--num", 9, "--seed", seed, "--out", f"{name}.{ending}").code == 0
    values = [(tmp_path / f"{name}.npy").read_bytes() for name in "abc"]
    pictures = [Image.open(tmp_path / f"{name}.png").tobytes() for name in "abc"]  # their labels hold the time
    for a, b, c in (values, pictures):
        assert a == b
        assert a != c
    label = read_label(tmp_path / "a.png")
    assert label is not None
    assert label.seed == 3


def test_samples_go_into_the_run_folder_by_default(command: Command, conditional_run: Path):
    answer = command("sample", conditional_run, "--num", 4, "--class", 7)
    assert answer.code == 0
    assert answer.out.strip() == str(conditional_run / "samples" / "samples-step-2-seed-0-num-4-class-7.png")
    assert Path(answer.out.strip()).exists()


def test_values_can_be_taken_as_an_array(command: Command, conditional_run: Path, tmp_path: Path):
    for name, options in {"all": (), "three": ("--class", 3), "near": ("--truncation", 0.3)}.items():
        assert command("sample", conditional_run, "--num", 20, "--out", f"{name}.npy", *options).code == 0
    everything, three, near = (np.load(tmp_path / f"{name}.npy") for name in ("all", "three", "near"))
    assert everything.shape == three.shape == near.shape == (20, 1, 8, 8)
    assert everything.dtype == np.float32
    assert np.abs(everything).max() <= 1
    assert not np.array_equal(everything, three)
    assert not np.array_equal(everything, near)
    assert np.array_equal(everything[6:8], three[6:8])  # two of each class, in turn


def test_interpolations_are_rows_of_eight(command: Command, run: Path, tmp_path: Path):
    assert command("sample", run, "--interpolate", "--num", 24, "--out", "way.npy").code == 0
    way = torch.from_numpy(np.load(tmp_path / "way.npy"))
    assert way.shape == (24, 1, 8, 8)
    step = (way[1:8] - way[:7]).flatten(1).norm(dim=1).max()
    assert step < (way[7] - way[0]).norm() + (way[8] - way[7]).norm()
    assert command("sample", run, "--interpolate", "--num", 8).code == 0
    assert (run / "samples" / "interpolation-step-2-seed-0-num-8.png").exists()


# Evaluating, reporting, listing


def test_evaluating_measures_and_is_written_down(command: Command, conditional_run: Path):
    answer = command("evaluate", conditional_run, "--num", 40)
    assert answer.code == 0
    assert "FID" in answer.out
    assert "agreement" in answer.out
    answer = command("evaluate", conditional_run, "--num", 40, "--json")
    assert answer.code == 0
    result = json.loads(answer.out)
    assert result["num_samples"] == 40
    assert result["fake"]["fid"] > result["floor"]["fid"]
    assert [entry["step"] for entry in json.loads((conditional_run / "metrics.json").read_text())] == [2, 2]


def test_a_report_is_made_anew(command: Command, run: Path):
    (run / "report.html").unlink()
    answer = command("report", run)
    assert (answer.code, answer.out.strip()) == (0, str(run / "report.html"))
    assert (run / "report.html").exists()


def test_recipes_are_listed_with_a_sentence_each(command: Command):
    answer = command("recipes")
    assert answer.code == 0
    for name in SHIPPED:
        assert any(line.startswith(f"{name} ") and len(line.split()) > 3 for line in answer.out.splitlines())


def test_the_version_and_the_help_are_printed(command: Command):
    assert command("--version").out.strip() == equipoise.__version__
    assert command("train", "--help").code == 0


# From Python


def test_python_trains_samples_and_resumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    changes = dict(map(parse_setting, TINY))
    run = equipoise.train("conditional-digits", settings=changes, folder=tmp_path / "run", quiet=True)
    assert capsys.readouterr().out == ""
    x = run.sample(4)
    assert x.shape == (4, 1, 8, 8)
    assert torch.equal(x, equipoise.Run.open(tmp_path / "run").sample(4))
    assert torch.equal(run.sample(4, label="3"), run.sample(4, label=3))
    assert run.interpolate(2, 5).shape == (10, 1, 8, 8)
    longer = equipoise.resume(tmp_path / "run", settings={"training.steps": 3}, quiet=True)
    assert not torch.equal(x, longer.sample(4))


def test_python_takes_a_recipe_as_an_object(tmp_path: Path):
    recipe, _ = equipoise.load("digits", settings=dict(map(parse_setting, TINY)))
    run = equipoise.train(recipe, settings={"training.steps": 1}, folder=tmp_path / "run", quiet=True)
    assert run.recipe.training.steps == 1
    assert equipoise.Run.open(run.folder).sample(2).shape == (2, 1, 8, 8)


def test_python_trains_a_recipe_as_an_object_on_data_of_ones_own(tmp_path: Path):
    recipe, _ = equipoise.load("digits", settings=dict(map(parse_setting, TINY)))
    data = images(tmp_path / "pictures", 30, size=10)
    run = equipoise.train(recipe, data=data, folder=tmp_path / "run", quiet=True)
    assert run.sample(2).shape == (2, 1, 10, 10)


def test_evaluate_and_sample_take_any_checkpoint(command, run):
    answer = command("evaluate", run, "--at", "1", "--num", "20", "--json")
    assert answer.code == 0
    assert json.loads((run / "metrics.json").read_text())[-1]["step"] == 1
    assert "samples-step-1-" in command("sample", run, "--at", "1", "--num", "4").out
    assert "expected newest, best, or a step" in command("sample", run, "--at", "last").err
    assert "judging.every" in command("sample", run, "--at", "best").err
