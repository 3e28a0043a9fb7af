"""Bad input: the exit code, a message that says what was passed and how to fix it, and nothing left behind."""

import fcntl
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from made import TINY, Command, images, tree

from equipoise.core.errors import RecipeError
from equipoise.recipes import load
from equipoise.runs.journal import read
from equipoise.runs.run import Run


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    """Cut a file short, as a full disk would."""
    path.write_bytes(path.read_bytes()[:-100])


def checkpoint(run: Path, step: int) -> Path:
    return run / "checkpoints" / f"step-{step:09d}"


# Recipes and settings


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digts"], "There is no recipe 'digts'. Did you mean 'digits'?"),
        (["gone.toml"], "There is no recipe file gone.toml"),
        (["gone.py:recipe"], "expected FILE.py:FUNCTION"),
        (["--set", "training.step=2"], "training.step: unknown key. Did you mean 'steps'?"),
        (["--set", "training.steps=many"], "training.steps: Input should be a valid integer"),
        (["--set", "training.steps=0"], "steps is 0: expected a whole number of at least 1"),
        (
            ["--set", "training.batch=9", "training.accumulate=2"],
            "batch = 9 cannot be split into 2 equal micro-batches",
        ),
        (["--set", "game.loss=hing"], "Did you mean 'hinge'?"),
        (["--set", "game.kind=cgan"], "game: kind 'cgan' is not known"),
        (["--set", "training.steps"], "expected key=value, for example --set training.steps=2000"),
        (["--set", "players.Q.rule=sgd"], "Settings for the player 'Q', whom the game does not have"),
        (["--set", "data.kind=files"], "data.path: a value is needed"),
        (["sngan", "--data", "odd", "--set", "game.network.width=4"], "cannot make images of 9×9 pixels"),
        (
            ["--data", "odd", "--set", "game.network.kind=resnet"],
            "The nearest are 8 and 10: set data.size to one of them",
        ),
        (["--data", "small"], "expected a size from 8 to 256. Choose one, for example --set data.size=64"),
        (["ring", "--set", "game.network.kind=dcgan"], "Use --set game.network.kind=mlp"),
    ],
)
@pytest.mark.parametrize("dry", [False, True])
def test_what_cannot_be_a_recipe_leaves_2_and_nothing_behind(
    command: Command, tmp_path: Path, arguments: list[str], message: str, dry: bool
):
    images(tmp_path / "odd", 30, size=9)
    images(tmp_path / "small", 30, size=5)
    before = tree(tmp_path)
    answer = command("train", *arguments, *["--dry-run"] * dry)
    assert answer.code == 2
    assert message in answer.err
    assert answer.err.startswith("\nequipoise: ")
    assert tree(tmp_path) == before
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def recipe(:\n", "stops with SyntaxError"),
        ("import nothing_of_that_name\n", "stops with ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ("1 / 0\n", "stops with ZeroDivisionError"),
        ("def recip(): ...\n", "has no function 'recipe'. Did you mean 'recip'?"),
        ("x = 1\n", "has no function 'recipe'. There are none."),
        ("def recipe(): return 3\n", "returned a int: expected an equipoise.Recipe"),
        ("def recipe(size): return size\n", "stops with TypeError"),
        ("import equipoise\ndef recipe(): return equipoise.Recipe(nam='x')\n", "stops with ValidationError"),
    ],
)
def test_a_python_file_that_gives_no_recipe_leaves_2(command: Command, tmp_path: Path, text: str, message: str):
    (tmp_path / "mine.py").write_text(text)
    answer = command("train", "mine.py:recipe", "--run", "run")
    assert answer.code == 2
    assert message in answer.err
    assert not (tmp_path / "run").exists()


def test_a_python_file_may_have_the_name_of_a_module(tmp_path: Path):
    import random

    (tmp_path / "random.py").write_text("import equipoise\ndef recipe(): return equipoise.Recipe(name='mine')\n")
    assert load(f"{tmp_path}/random.py:recipe")[0].name == "mine"
    import random as still

    assert still is random
    assert __import__("sys").modules["random"] is random


# Data


def test_a_path_that_does_not_exist_leaves_65(command: Command, tmp_path: Path):
    images(tmp_path / "pictures", 3)
    answer = command("train", "--data", "pictres", "--run", "run")
    assert answer.code == 65
    assert "pictres does not exist. Did you mean 'pictures'?" in answer.err
    assert "Expected a folder of images" in answer.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("num", "message"), [(0, "is empty: no files"), (1, "expected at least 2 images to learn from")]
)
def test_too_few_images_leave_65(command: Command, tmp_path: Path, num: int, message: str):
    images(tmp_path / "pictures", num)
    for place in (["--run", "run"], [], ["--dry-run"]):
        answer = command("train", "--data", "pictures", *place)
        assert answer.code == 65
        assert message in answer.err
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


def test_an_array_of_one_example_leaves_65(command: Command, tmp_path: Path):
    np.save(tmp_path / "one.npy", np.zeros((1, 8, 8), np.uint8))
    answer = command("train", "--data", "one.npy", "--run", "run")
    assert answer.code == 65
    assert [path.name for path in tmp_path.iterdir()] == ["one.npy"]


def test_a_conditional_game_without_labels_leaves_65(command: Command, tmp_path: Path):
    images(tmp_path / "pictures", 30)
    answer = command("train", "conditional", "--data", "pictures")
    assert answer.code == 65
    assert "A conditional game needs labels, and pictures has none" in answer.err
    assert "--set game.kind=gan" in answer.err
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


def test_data_that_changed_while_the_run_rested_leaves_65(command: Command, tmp_path: Path):
    images(tmp_path / "pictures", 30)
    assert command("train", "--data", "pictures", "--run", "run", "--set", *TINY).code == 0
    images(tmp_path / "pictures", 30, seed=1)
    before = tree(tmp_path / "run")
    answer = command("resume", "run")
    assert answer.code == 65
    assert "The data has changed since" in answer.err
    assert "Restore the data, or start a new run" in answer.err
    assert tree(tmp_path / "run") == before


def test_too_few_examples_to_judge_by_leave_65(command: Command, tmp_path: Path):
    images(tmp_path / "pictures", 20)
    assert command("train", "--data", "pictures", "--run", "run", "--set", *TINY).code == 0
    answer = command("evaluate", "run")
    assert answer.code == 65
    assert "6 held-out examples are too few to judge by: expected at least 10" in answer.err


# Run folders


def test_a_folder_in_use_leaves_75_and_names_the_holder(command: Command, run: Path):
    before = tree(run)
    with open(run / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(json.dumps({"pid": 4242, "host": "elsewhere", "since": "2026-01-01T00:00:00+00:00"}))
        lock.flush()
        answer = command("resume", run, "--set", "training.steps=4")
    assert answer.code == 75
    assert "in use by process 4242 on elsewhere since 2026-01-01" in answer.err
    assert tree(run) == before
    assert command("resume", run).code == 0


def test_a_run_folder_is_never_trained_over(command: Command, run: Path):
    before = tree(run)
    same = command("train", "digits", "--run", run, "--set", *TINY)
    assert same.code == 2
    assert "already holds a run with this very recipe" in same.err
    assert f"equipoise resume {run}" in same.err
    other = command("train", "digits", "--run", run, "--set", *TINY, "training.batch=4")
    assert other.code == 2
    assert "already holds a run with a different recipe (there -> here):\n  training.batch: 8 -> 4\n" in other.err
    assert tree(run) == before


def test_a_folder_with_other_things_is_left_alone(command: Command, tmp_path: Path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("keep")
    answer = command("train", "--run", "notes")
    assert answer.code == 2
    assert "is not empty and holds no run: expected a folder that is new or empty" in answer.err
    assert tree(tmp_path) == {"notes/mine.txt": b"keep"}
    answer = command("train", "--run", "notes/mine.txt")
    assert answer.code == 2
    assert "is a file" in answer.err


@pytest.mark.parametrize("name", ["resume", "sample", "evaluate", "report"])
def test_a_folder_that_is_no_run_is_refused(command: Command, tmp_path: Path, run: Path, name: str):
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "gone"):
        answer = command(name, folder)
        assert answer.code == 2
        assert f"{tmp_path / folder} is not a run folder: expected recipe.toml and run.json in it" in answer.err
    assert f"Runs here: {run}" in command(name, tmp_path).err
    assert not list((tmp_path / "empty").iterdir())


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", "{", '{"data": 3}', '{"data": {"name": "x", "shape": 3, "classes": []}}']
)
def test_a_damaged_card_is_refused(command: Command, run: Path, content: str):
    (run / "run.json").write_text(content)
    answer = command("report", run)
    assert answer.code == 2
    assert "run.json is damaged" in answer.err


def test_a_damaged_recipe_is_refused(command: Command, run: Path):
    (run / "recipe.toml").write_text("[training\n")
    answer = command("resume", run)
    assert answer.code == 2
    assert "recipe.toml is not valid TOML" in answer.err


def test_a_run_that_was_never_trained_has_nothing_to_sample(command: Command, run: Path):
    shutil.rmtree(run / "checkpoints")
    for name in ("sample", "evaluate"):
        answer = command(name, run)
        assert answer.code == 74
        assert f"holds no checkpoint yet. Train it first: equipoise resume {run}" in answer.err


def test_a_folder_that_cannot_be_made_leaves_74(command: Command, tmp_path: Path):
    (tmp_path / "file").write_text("keep")
    answer = command("train", "--run", "file/run", "--set", *TINY)
    assert answer.code == 74
    assert "Creating the run folder" in answer.err
    assert tree(tmp_path) == {"file": b"keep"}


# Checkpoints


@pytest.mark.parametrize("harm", [cut, flip, Path.unlink])
@pytest.mark.parametrize("file", ["game.safetensors", "optimizer-D.safetensors", "state.json", "manifest.json"])
def test_a_damaged_checkpoint_is_passed_over_for_an_older_one(command: Command, run: Path, harm, file: str):
    intact = (checkpoint(run, 2) / "game.safetensors").read_bytes()
    harm(checkpoint(run, 2) / file)
    assert command("sample", run).code == 0
    assert command("resume", run).code == 0
    fallbacks = [event for event in read(run / "events.jsonl") if event["kind"] == "fallback"]
    assert fallbacks
    assert str(checkpoint(run, 2)) in fallbacks[-1]["message"]
    assert "It is passed over for an older one." in fallbacks[-1]["message"]
    assert [line["step"] for line in read(run / "signals.jsonl")] == [1, 2]
    assert (checkpoint(run, 2) / "game.safetensors").read_bytes() == intact  # played again, and saved again


def test_when_no_checkpoint_can_be_trusted_nothing_is_trained(command: Command, run: Path):
    for step in (0, 1, 2):
        flip(checkpoint(run, step) / "game.safetensors")
    before = tree(run / "checkpoints")
    answer = command("resume", run, "--set", "training.steps=4")
    assert answer.code == 74
    assert "None of the checkpoints can be trusted" in answer.err
    assert tree(run / "checkpoints") == before
    assert command("sample", run).code == 74


def test_a_recipe_that_was_edited_is_refused_with_the_difference(command: Command, run: Path):
    text = (run / "recipe.toml").read_text()
    (run / "recipe.toml").write_text(text.replace("batch = 8", "batch = 4").replace("z_dim = 4", "z_dim = 5"))
    before = tree(run)
    answer = command("resume", run)
    assert answer.code == 74
    assert "belongs to a different recipe (checkpoint -> recipe.toml)" in answer.err
    assert "  game.z_dim: 4 -> 5\n  training.batch: 8 -> 4\n" in answer.err
    assert "Restore recipe.toml, or start a new run" in answer.err
    assert tree(run) == before
    assert command("sample", run).code == 74


def test_a_recipe_that_was_edited_to_another_game_is_refused_with_the_difference(command: Command, run: Path):
    text = (run / "recipe.toml").read_text()
    (run / "recipe.toml").write_text(re.sub(r"clip = .*\n", "", text).replace('kind = "gan"', 'kind = "conditional"'))
    answer = command("resume", run)
    assert answer.code == 74
    assert "game.kind: 'gan' -> 'conditional'" in answer.err


@pytest.mark.parametrize("setting", ["training.batch=4", "game.z_dim=5", "players.D.rule=sgd", "training.seed=1"])
def test_what_is_mathematics_cannot_change_on_the_way(command: Command, run: Path, setting: str):
    before = tree(run)
    answer = command("resume", run, "--set", "training.steps=4", setting)
    assert answer.code == 2
    assert "was trained with another recipe, and these cannot change on the way" in answer.err
    assert setting.partition("=")[0] in answer.err
    assert "Start a new run" in answer.err
    assert tree(run) == before


# Sampling


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--class", "3"], "class '3': digits-run was trained without labels, so it knows no classes"),
        (["--num", "0"], "--num 0: expected a number from 1 to 4096"),
        (["--num", "5000"], "--num 5000: expected a number from 1 to 4096"),
        (["--truncation", "0"], "truncation 0.0: expected a number above 0"),
        (["--truncation", "-1"], "truncation -1.0: expected a number above 0"),
        (["--truncation", "nan"], "truncation nan: expected a number above 0"),
        (["--out", "x.jpg"], "--out x.jpg: expected a name that ends in .png or .npy"),
        (["--interpolate", "--class", "3"], "was trained without labels"),
    ],
)
def test_samples_that_cannot_be_made_leave_2_and_nothing_behind(
    command: Command, run: Path, tmp_path: Path, arguments: list[str], message: str
):
    before = tree(tmp_path)
    answer = command("sample", run, *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert message in answer.err
    assert tree(tmp_path) == before


@pytest.mark.parametrize("label", ["10", "-1", "²", "cat", ""])
def test_a_class_that_is_not_known_is_answered_with_those_that_are(command: Command, conditional_run: Path, label: str):
    answer = command("sample", conditional_run, f"--class={label}")
    assert answer.code == 2
    assert f"class {label!r} is not known. Classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9." in answer.err


def test_a_place_that_cannot_be_written_to_leaves_74(command: Command, run: Path, tmp_path: Path):
    (tmp_path / "file").write_text("no folder")
    for name in ("file/x.npy", "file/x.png"):
        answer = command("sample", run, "--out", name)
        assert answer.code == 74
        assert "writing samples" in answer.err.lower()


# The command line itself


@pytest.mark.parametrize(
    "arguments", [["trian"], ["train", "--nope"], ["sample"], ["train", "a", "b"], ["sample", "x", "--num", "y"]]
)
def test_what_the_command_line_does_not_know_is_refused_without_a_traceback(command: Command, arguments: list[str]):
    answer = command(*arguments)
    assert answer.code not in (0, None)
    assert answer.out + answer.err


def test_errors_are_the_same_in_python(run: Path):
    with pytest.raises(RecipeError, match="not a run folder"):
        Run.open(run / "checkpoints")
    with pytest.raises(RecipeError, match="Did you mean 'steps'"):
        load("digits", settings={"training.step": 2})
