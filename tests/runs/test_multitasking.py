"""Runs of several tasks: trained, balanced, judged task by task, resumed, and applied to files by name."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import equipoise
from equipoise.cli import main
from equipoise.core.errors import DataError, RecipeError
from equipoise.engine.checkpoint import Checkpoints
from equipoise.games.answers import Choice
from equipoise.metrics.image_quality import eight_bit, psnr
from equipoise.runs import run as module
from equipoise.runs.applying import apply_to_files
from equipoise.runs.comparison import compare
from equipoise.runs.multitasking import KNOWN, behind
from equipoise.runs.recipe import Recipe, from_dict, parse_setting, parse_toml, to_toml, with_settings
from tests.cli.made import TINY

QUIET = dict(map(parse_setting, (s for s in TINY if not s.startswith("game.")))) | {"data.check": False}
NAMES = ("denoise", "super-resolve", "inpaint", "colourise")
FOUR = {
    "game.kind": "multitask",
    "game.network": {"width": 4, "depth": 2},
    "game.critic": {"width": 4, "num_layers": 1},
    "game.warmup": 0.5,
    "data.kind": "tasks",
    "data.crop": 16,
    "data.tasks": [{"name": name} for name in NAMES],
    "judging.metric": "mean_score",
}


@pytest.fixture(autouse=True)
def lean(monkeypatch):
    """No report."""
    monkeypatch.setattr(module, "write_report", lambda folder: folder)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    smooth = np.random.default_rng(0).uniform(0, 255, (8, 4, 5, 3)).astype(np.uint8)
    for number, pixels in enumerate(smooth):
        place = folder / ("even" if number % 2 == 0 else "odd")
        place.mkdir(exist_ok=True)
        Image.fromarray(pixels).resize((40, 32), Image.Resampling.BICUBIC).save(place / f"{number}.png")
    return folder


def trained(settings, folder, **more):
    recipe = with_settings(Recipe(), {**QUIET, **settings, **more})
    return equipoise.Run.create(recipe, origin="python", folder=folder).train(quiet=True)


@pytest.fixture(scope="module")
def run(pictures, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "write_report", lambda folder: folder)
        return trained(FOUR, tmp_path_factory.mktemp("runs") / "four", **{"data.path": str(pictures)})


def weights(run):
    return {name: tensor.tolist() for name, tensor in run.trained_game()[0].state_dict().items()}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"game.balance": {"kind": "gradnorm", "at": "G.out"}, "game.classify": 0.1},
        {"game.balance": {"kind": "dynamic-average", "window": 1, "terms": NAMES}},
    ],
    ids=["fixed", "gradnorm, classes", "dynamic average"],
)
def test_a_recipe_is_a_file_and_a_run_trains_judges_and_resumes_exactly(more, pictures, tmp_path):
    settings = FOUR | more | {"data.path": str(pictures), "training.steps": 4, "judging.at_end": True}
    recipe = with_settings(Recipe(), {**QUIET, **settings})
    assert from_dict(parse_toml(to_toml(recipe), where="here")) == recipe
    whole = trained(settings, tmp_path / "whole")
    entry = json.loads((whole.folder / "metrics.json").read_text())[-1]
    extra = {"accuracy"} if "game.classify" in more else set()
    assert set(entry["values"]) == {*NAMES, "mean_score"} | extra == set(entry["given"])
    torn = trained(settings, tmp_path / "torn", **{"training.save_every": 1})
    Checkpoints(torn.folder / "checkpoints").forget_from(3)
    again = equipoise.Run.open(torn.folder).train(resume=True, quiet=True)
    assert weights(again) == weights(whole)
    signals = [json.loads(line)["signals"] for line in (whole.folder / "signals.jsonl").read_text().splitlines()]
    assert {f"loss/G/{name}" for name in NAMES} <= signals[-1].keys()
    assert any("weight/G/denoise" in line for line in signals) == ("game.balance" in more)
    assert len(list((whole.folder / "samples").glob("step-*.png"))) >= 2


def test_scores_are_those_of_whole_pictures_task_by_task(run):
    result = run.evaluate_own(num=2)
    game, (source, chosen) = run.trained_game()[0], behind(run.parts(run.source()).held_out)
    assert result.num == 2
    for task, name in enumerate(NAMES):
        pairs = [source.whole(index, task) for index in chosen[:2]]
        with torch.no_grad():
            ours = [psnr(eight_bit(game.restore(pair.given)), pair.target).item() for pair in pairs]
        plain = [psnr(eight_bit(pair.given[:, :3]), pair.target).item() for pair in pairs]
        assert result.values[name] == pytest.approx(np.mean(ours))
        assert result.beside[name] == pytest.approx(np.mean(plain))
    assert result.values["mean_score"] == pytest.approx(np.mean([result.values[name] for name in NAMES]))


def test_judging_while_training_keeps_the_best_and_changes_nothing(run, pictures, tmp_path):
    often = {"data.path": str(pictures), "training.steps": 2, "judging.every": 1}
    judged = trained(FOUR, tmp_path / "judged", **often)
    entries = json.loads((judged.folder / "metrics.json").read_text())
    assert [entry["step"] for entry in entries] == [1, 2]
    best = max(entries, key=lambda entry: entry["values"]["mean_score"])
    assert judged.step_of("best") == best["step"]
    assert weights(judged) == weights(run)


def test_probes_look_at_it(pictures, tmp_path):
    many = tmp_path / "many"
    many.mkdir()
    for number in range(60):
        Image.effect_noise((20, 20), 60).convert("RGB").save(many / f"{number}.png")
    looked = trained(FOUR, tmp_path / "run", **{"data.path": str(many), "watching.probes_every": 1})
    signals = json.loads((looked.folder / "signals.jsonl").read_text().splitlines()[-1])["signals"]
    assert {"probe/energy", "probe/auc/held_out"} <= signals.keys()


def test_each_task_is_applied_by_name(run, pictures, tmp_path):
    picture = pictures / "even" / "0.png"
    sizes = {"denoise": (40, 32), "colourise": (40, 32), "super-resolve": (80, 64)}
    for task, size in sizes.items():
        done = apply_to_files(run, picture, tmp_path / f"{task}.png", choice=Choice(task=task), tile=16)
        whole = apply_to_files(run, picture, tmp_path / f"{task}-whole.png", choice=Choice(task=task))
        images = [np.asarray(Image.open(one.written[0])).astype(int) for one in (done, whole)]
        assert Image.open(done.written[0]).size == size
        assert np.abs(images[0] - images[1]).max() <= 1  # tiles are the whole
    with pytest.raises(DataError, match="--mask"):
        apply_to_files(run, picture, tmp_path / "filled.png", choice=Choice(task="inpaint"))
    mask = np.zeros((32, 40), np.uint8)
    mask[8:20, 8:20] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    filled = apply_to_files(
        run, picture, tmp_path / "filled.png", choice=Choice(task="inpaint"), masks=tmp_path / "mask.png"
    )
    before, after = (np.asarray(Image.open(path)) for path in (picture, filled.written[0]))
    assert np.array_equal(before[mask == 0], after[mask == 0])
    assert run.apply(torch.zeros(3, 9, 10), choice=Choice(task="super-resolve")).shape == (3, 18, 20)
    with pytest.raises(RecipeError, match=r"expected \[4, h, w\]"):
        run.apply(torch.zeros(3, 9, 10), choice=Choice(task="inpaint"))


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ((), "several things: denoise, super-resolve, inpaint, colourise"),
        (("--task", "denose"), "Did you mean 'denoise'"),
        (("--task", "denoise", "--direction", "AtoB"), "lets nobody choose a direction"),
    ],
)
def test_the_command_refuses_a_task_that_is_missing_or_unknown(task, words, run, pictures, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["apply", str(run.folder), str(pictures), str(tmp_path / "out"), *task])
    assert end.value.code == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_command_applies_a_task_to_a_folder(run, pictures, tmp_path):
    with pytest.raises(SystemExit) as end:
        main(["apply", str(run.folder), str(pictures), str(tmp_path / "out"), "--task", "super-resolve"])
    assert end.value.code in (0, None)
    written = list((tmp_path / "out").rglob("*.png"))
    assert len(written) == 8
    assert Image.open(written[0]).size == (80, 64)


def test_runs_of_the_same_tasks_are_compared(run, pictures, tmp_path):
    other = trained(FOUR, tmp_path / "other", **{"data.path": str(pictures), "training.seed": 1})
    for one in (run, other):
        one.evaluate_own(data=pictures)
    assert "mean_score" in compare([run.folder, other.folder]).metrics


def test_an_own_task_may_have_any_name(pictures, tmp_path):
    own = [{"name": "denoise", "share": 0.25}, {"name": "heavy", "share": 0.75, "degrade": [{"kind": "noise"}]}]
    made = trained(FOUR | {"data.tasks": own}, tmp_path / "run", **{"data.path": str(pictures)})
    assert dict(equipoise.Run.open(made.folder).examples.tasks) == {
        "denoise": (0.25, 1, False),
        "heavy": (0.75, 1, False),
    }
    assert set(made.evaluate_own().values) == {"denoise", "heavy", "mean_score"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data.tasks": [{"name": "denose"}]}, "the task 'denose' is not known. Did you mean 'denoise'"),
        ({"data.tasks": [{"name": "denoise"}, {"name": "denoise"}]}, "'denoise' is named twice"),
        (
            {"data.tasks": [{"name": "denoise", "share": 0.5}, {"name": "inpaint", "share": 0.4}]},
            "together 0.9: expected a sum of 1",
        ),
        ({"data.tasks": [{"name": "denoise", "share": 0.5}, {"name": "inpaint"}]}, "'inpaint' has none"),
        ({"data.tasks": []}, "data.tasks"),
        ({"data.tasks": [{"name": "adversarial", "degrade": [{"kind": "grey"}]}]}, "cannot be called 'adversarial'"),
        ({"data.crop": 64}, r"40 × 32 pixels, and squares of 64 are cut"),
        ({"data.crop": 17}, "multiple of 2, by which super-resolve"),
        ({"data.augmentation": {"mirror": True}}, "data.turns"),
        ({"game.weights": {"denose": 2.0}}, "game.weights.denose: no task of that name. Did you mean 'denoise'"),
        ({"game.balance": {"kind": "gradnorm", "terms": ["denoise", "inpant"]}}, "Did you mean 'inpaint'"),
        ({"game.balance": {"kind": "gradnorm", "at": "G.outer"}}, "no module with parameters"),
        ({"game.balance": {"rate": 0.1}}, "names no kind"),
        ({"game.balance": "gradnrom"}, "Did you mean 'gradnorm'"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(change, words, pictures, tmp_path):
    with pytest.raises((RecipeError, DataError), match=words):
        trained(FOUR, tmp_path / "run", **({"data.path": str(pictures)} | change))
    assert not (tmp_path / "run").exists()


def test_classes_need_pictures_in_folders(pictures, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in pictures.rglob("*.png"):
        (flat / path.name).write_bytes(path.read_bytes())
    with pytest.raises(DataError, match=r"game\.classify needs labels"):
        trained(FOUR, tmp_path / "run", **{"data.path": str(flat), "game.classify": 0.1})


def test_a_game_of_tasks_needs_data_that_says_them(tmp_path):
    with pytest.raises(RecipeError, match=r'data\.kind = "tasks"'):
        trained({key: value for key, value in FOUR.items() if key.startswith("game.")}, tmp_path / "run")


def test_a_test_set_of_other_tasks_is_not_judged(run):
    other = with_settings(run.recipe, {"data.tasks": [{"name": "deblur"}, {"name": "decompress"}]}).data.open()
    with pytest.raises(DataError, match="has the tasks deblur, decompress, and the run those of denoise"):
        run.recipe.game.scored(run, run.trained_game()[0], other)


def test_every_known_task_can_be_made(pictures, tmp_path):
    every = [{"name": name} for name in KNOWN]
    trained(FOUR | {"data.tasks": every}, tmp_path / "run", **{"data.path": str(pictures)})


def test_the_shipped_recipe_takes_data_by_the_command(pictures):
    recipe, _ = equipoise.load("multitask", data=pictures)
    assert recipe.data.path == pictures
    assert [task.name for task in recipe.data.tasks] == list(NAMES)
    with pytest.raises(DataError, match="--data FOLDER"):
        equipoise.load("multitask")[0].data.open()


def test_any_game_with_several_terms_can_be_balanced(pictures, tmp_path):
    restoring = {
        "game.kind": "denoising",
        "game.network": {"kind": "dncnn", "width": 4, "depth": 3},
        "game.critic": {"kind": "patch", "width": 4, "num_layers": 1},
        "game.warmup": 0.0,
        "game.terms": {"l1": 1.0, "edges": 0.1},
        "game.balance": {"kind": "gradient-shares", "shares": {"l1": 0.6, "edges": 0.3, "adversarial": 0.1}},
        "data.kind": "pictures",
        "data.crop": 16,
        "data.degrade": [{"kind": "noise"}],
    }
    plan = {"data.path": str(pictures), "training.steps": 4, "training.shares_every": 1}
    done = trained(restoring, tmp_path / "run", **plan)
    lines = [json.loads(line)["signals"] for line in (done.folder / "signals.jsonl").read_text().splitlines()]
    found = {name: lines[-1][f"share/G/{name}"]["mean"] for name in ("l1", "edges", "adversarial")}
    assert found == pytest.approx({"l1": 0.6, "edges": 0.3, "adversarial": 0.1}, abs=0.15)
    assert lines[0]["weight/G/edges"]["mean"] == pytest.approx(0.1)
    assert lines[-1]["weight/G/edges"]["mean"] != pytest.approx(0.1)


def test_the_recipe_of_the_docs_is_one(pictures, tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "multitask.md").read_text("utf-8")
    (tmp_path / "house.toml").write_text(page.split("```toml\n")[1].split("```")[0], "utf-8")
    recipe, origin = equipoise.load(tmp_path / "house.toml", data=pictures, settings={"data.crop": 16})
    assert [(task.name, task.share) for task in recipe.data.tasks] == [
        ("denoise", 0.5),
        ("inpaint", 0.25),
        ("scans", 0.25),
    ]
    run = equipoise.Run.draft(recipe, origin=origin, folder=tmp_path / "run")
    trainer = run.trainer(run.parts(run.source()).train)
    assert trainer.balance["G"].terms == ("denoise", "inpaint", "scans")
    assert trainer.game.weights["G/inpaint"] == 0.5


def test_the_balance_of_the_docs_is_one(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "balancing.md").read_text("utf-8")
    changes = parse_toml(page.split("```toml\n")[1].split("```")[0], where="the page")
    recipe = with_settings(equipoise.load("denoising")[0], changes)
    assert recipe.game.balance.shares == {"l1": 0.7, "edges": 0.2, "adversarial": 0.1}


@pytest.mark.parametrize(
    ("balance", "terms"),
    [
        ("uncertainty", NAMES),
        ({"kind": "gradient-shares", "shares": {"denoise": 0.5, "adversarial": 0.5}}, ("denoise", "adversarial")),
        ("adaptive-adversarial", (*NAMES, "adversarial")),
        ({"kind": "gradnorm", "terms": ["denoise", "inpaint"]}, ("denoise", "inpaint")),
    ],
)
def test_tasks_are_balanced_unless_something_else_is_said(balance, terms, pictures, tmp_path):
    settings = {**QUIET, **FOUR, "data.path": str(pictures), "game.balance": balance, "training.steps": 8}
    run = equipoise.Run.draft(with_settings(Recipe(), settings), origin="python", folder=tmp_path / "run")
    trainer = run.trainer(run.parts(run.source()).train)
    assert set(trainer.balance["G"].terms) == set(terms)
