"""The search for hyper-parameters: what is searched, what is learned, and that no trial is lost."""

import json
import subprocess
import sys
from functools import partial

import pytest

import equipoise
from equipoise.core.errors import RecipeError, RunBusyError
from equipoise.runs import features, tuning
from equipoise.runs import run as module
from equipoise.runs.recipe import parse_setting
from equipoise.runs.run import Run
from equipoise.runs.tuning import Choice, Range, Search, begin, given, opened, parse_dimension, placed, tune
from tests.cli.made import TINY

SETTINGS = dict(map(parse_setting, TINY)) | {"training.steps": 4, "judging.num_samples": 20}
OVER = (Range("players.D.learning_rate", 1e-5, 1e-2), Choice("game.loss", ("hinge", "non-saturating")))


@pytest.fixture(autouse=True)
def lean(monkeypatch):
    """No report, and a network that judges after hardly any training."""
    monkeypatch.setattr(module, "write_report", lambda folder: folder)
    monkeypatch.setattr(features, "fit_feature_net", partial(features.fit_feature_net, num_steps=3))


def search(folder, **changes):
    recipe, origin = equipoise.load("digits", settings=SETTINGS)
    return begin(
        Search(**{"folder": folder, "recipe": recipe, "origin": origin, "over": OVER, "metric": "fid", **changes})
    )


def states(made):
    return [(trial.number, trial.state.name) for trial in tuning.study_of(made).trials if trial.state.name != "WAITING"]


def test_a_number_takes_the_place_of_the_start_of_a_schedule_and_of_a_lazy_weight():
    recipe = equipoise.load("digits", settings={"game.penalties.r1": {"weight": 0.5, "every": 4}})[0]
    recipe = equipoise.load(recipe, settings={"players.D.learning_rate": {"start": 1e-3, "end": 1e-4}})[0]
    put = placed(recipe, {"players.D.learning_rate": 4e-3, "game.penalties.r1": 2.0})
    rate = put.players["D"].learning_rate
    assert (rate.start, rate.end) == (4e-3, pytest.approx(4e-4))
    assert put.game.penalties["r1"] == equipoise.Lazy(2.0, every=4)
    assert given(recipe, (Range("game.penalties.r1", 0.1, 1), Range("players.D.learning_rate", 0.1, 1))) == {
        "game.penalties.r1": 0.5
    }


@pytest.mark.parametrize("text", ["game.loss", "game.clip=a..b", "game.clip=2..1", "game.loss=hinge", "=1..2,"])
def test_what_is_no_dimension_is_refused(text):
    with pytest.raises(RecipeError, match=r"expected key=low\.\.high"):
        parse_dimension(text)


def test_a_search_ends_with_a_recipe_and_says_how_sure_it_is(tmp_path):
    made = search(tmp_path / "study")
    found = tune(made, trials=3, repeats=2, quiet=True)
    assert found.trials == 3
    assert len(found.again) == 2
    assert found.score == min(trial.value for trial in tuning.study_of(made).trials if trial.value is not None)
    best, _ = equipoise.load(tmp_path / "study" / "best.toml")
    assert best == placed(made.recipe, found.settings)
    assert json.loads((tmp_path / "study" / "result.json").read_text())["score"] == found.score
    assert "3 seeds" in found.words("fid")
    page = (tmp_path / "study" / "tune.html").read_text()
    assert "players.D.learning_rate" in page
    kept = [path.read_bytes() for path in sorted((tmp_path / "study").rglob("extractor.safetensors"))]
    assert len(kept) == 6  # the study's, three trials', two repeats': one network judges all
    assert len(set(kept)) == 1


def test_repeats_that_another_process_is_at_are_asked_for_at_the_end(tmp_path, monkeypatch):
    made = search(tmp_path / "study")
    found = tune(made, trials=1, repeats=0, quiet=True)
    seeds, trained = [], tuning.trained

    def busy_at_first(search, recipe, folder, referee=None):
        seeds.append(recipe.training.seed)
        if len(seeds) == 1:
            raise RunBusyError("another process")
        return trained(search, recipe, folder, referee)

    monkeypatch.setattr(tuning, "trained", busy_at_first)
    assert len(list(tuning.repeated(made, found.settings, 2))) == 2
    assert seeds == [1, 2, 1]


def test_the_recipe_as_given_comes_first_and_later_calls_go_on(tmp_path):
    made = search(tmp_path / "study", over=(Range("players.D.learning_rate", 1e-5, 1e-2),))
    tune(made, trials=1, repeats=0, quiet=True)
    first = tuning.study_of(made).trials[0]
    assert first.params == {"players.D.learning_rate": 1.5e-3}
    tune(opened(tmp_path / "study"), trials=2, repeats=0, quiet=True)
    assert states(made) == [(0, "COMPLETE"), (1, "COMPLETE")]
    assert tuning.study_of(made).trials[0].value == first.value
    assert "WAITING" in [trial.state.name for trial in tuning.study_of(made).trials]  # laid out, but not asked for
    assert "waiting" not in (made.folder / "tune.html").read_text()


def test_a_killed_trial_is_taken_up_where_its_run_stands(tmp_path, monkeypatch):
    made = search(tmp_path / "study")
    train = Run.train

    def killed(self, *, referee, **how):
        def dies(step, scores, findings):
            referee(step, scores, findings)
            if step == 2:
                raise KeyboardInterrupt

        return train(self, referee=dies, **how)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "train", killed)
        with pytest.raises(KeyboardInterrupt):
            tune(made, trials=2, repeats=0, quiet=True)
    assert states(made) == [(0, "RUNNING")]
    monkeypatch.setattr(tuning, "alive", lambda trial: False)  # as seen by another process
    tune(made, trials=2, repeats=0, quiet=True)
    assert states(made) == [(0, "COMPLETE"), (1, "COMPLETE")]
    events = [json.loads(line) for line in (made.folder / "trials" / "0000" / "events.jsonl").read_text().splitlines()]
    assert "resumed" in [event["kind"] for event in events]


def test_a_trial_that_diverges_is_pruned_with_the_reason(tmp_path):
    made = search(tmp_path / "study", over=(Choice("players.D.learning_rate", (1e30, 1e25)), OVER[1]))
    with pytest.raises(equipoise.EquipoiseError, match="None of 1 trials finished: Values that are not finite"):
        tune(made, trials=1, repeats=0, quiet=True)
    assert states(made) == [(0, "PRUNED")]


def test_a_folder_with_another_study_is_refused(tmp_path):
    search(tmp_path / "study")
    search(tmp_path / "study")
    with pytest.raises(RecipeError, match="a study of something else"):
        search(tmp_path / "study", metric="kid")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("x")
    with pytest.raises(RecipeError, match="holds no study"):
        search(tmp_path / "mine")
    with pytest.raises(RecipeError, match="holds no study that can be read"):
        opened(tmp_path)
    with pytest.raises(RecipeError, match=r"game\.los: unknown key"):
        search(tmp_path / "other", over=(Choice("game.los", ("hinge", "minimax")),))


def test_a_study_that_another_process_is_just_beginning_is_joined(tmp_path):
    folder = tmp_path / "study"
    folder.mkdir()
    for name in (".base.toml.17.tmp", "base.toml", ".study.json.17.tmp"):
        (folder / name).write_text("half")
    assert search(folder) == search(folder)
    assert opened(folder).over == OVER


def test_two_processes_share_a_study_and_no_trial_is_lost_or_made_twice(tmp_path):
    settings = [f"{key}={value}" for key, value in SETTINGS.items() if not isinstance(value, bool)]
    command = [sys.executable, "-m", "equipoise", "tune", "ring", "--trials", "3", "--repeats", "0", "--set", *settings]
    command += ["watching.tensorboard=false", "--over", "players.D.learning_rate=1e-5..1e-2"]
    both = [subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=240)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    numbers = [line.split(":")[0] for one in said for line in one.splitlines() if line.startswith("trial ")]
    assert sorted(numbers) == ["trial 0", "trial 1", "trial 2"]
    assert len(list((tmp_path / "tune-ring" / "trials").iterdir())) == 3


def test_the_command_refuses_what_it_does_not_know(tmp_path, capsys, monkeypatch):
    from equipoise.cli import main

    monkeypatch.chdir(tmp_path)
    for arguments, words in (
        (["--metric", "fidd"], "Did you mean 'fid'"),
        (["--trials", "0"], "at least 1 trial"),
        (["--over", "game.loss"], "expected key=low..high"),
    ):
        with pytest.raises(SystemExit):
            main(["tune", "digits", *arguments])
        assert words in capsys.readouterr().err
