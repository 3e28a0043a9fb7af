"""Runs that translate without pairs: trained, judged, resumed exactly, applied both ways, and what does not fit."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import equipoise
from equipoise.core.errors import DataError, RecipeError
from equipoise.data.unpaired import Unpaired
from equipoise.engine.checkpoint import Checkpoints
from equipoise.games.answers import Choice
from equipoise.metrics.image_quality import eight_bit, luma, psnr, ssim
from equipoise.runs import run as module
from equipoise.runs import translated
from equipoise.runs.applying import apply_to_files
from equipoise.runs.comparison import compare
from equipoise.runs.recipe import Recipe, from_dict, parse_setting, parse_toml, to_toml, with_settings
from tests.cli.made import TINY

QUIET = dict(map(parse_setting, (s for s in TINY if not s.startswith("game.")))) | {"data.check": False}
NETWORK = {"width": 4, "num_blocks": 1, "num_downs": 1}
CRITIC = {"kind": "patch", "width": 4, "num_layers": 1, "normalisation": "instance"}
COMMON = {"data.kind": "unpaired", "data.size": 18, "data.crop": 16, "data.held_out": 12}
BOTH_WAYS = COMMON | {"game.kind": "cyclegan", "game.network": NETWORK, "game.critic": CRITIC}
ONE_WAY = COMMON | {"game.kind": "cut", "game.network": NETWORK, "game.critic": CRITIC, "game.head_width": 8}
FLIPPED = ONE_WAY | {"game.identity": 0.0, "game.contrast": 10.0, "game.flips": True}


@pytest.fixture(autouse=True)
def lean(monkeypatch):
    """No report, and a judge after hardly any training."""
    monkeypatch.setattr(module, "write_report", lambda folder: folder)
    monkeypatch.setattr(translated, "JUDGE_STEPS", 8)


@pytest.fixture(scope="module")
def domains(tmp_path_factory):
    """Dark pictures in trainA, bright ones in trainB, fewer of them."""
    folder = tmp_path_factory.mktemp("domains")
    draw = np.random.default_rng(0)
    for name, num, low in (("trainA", 60, 0), ("trainB", 45, 128), ("testA", 14, 0)):
        (folder / name).mkdir()
        for number in range(num):
            pixels = draw.integers(low, low + 127, (5, 6, 3)).astype(np.uint8)
            Image.fromarray(pixels).resize((24, 20), Image.Resampling.BICUBIC).save(folder / name / f"{number}.png")
    return folder


def trained(settings, folder, **more):
    recipe = with_settings(Recipe(), {**QUIET, **settings, **more})
    return equipoise.Run.create(recipe, origin="python", folder=folder).train(quiet=True)


def weights(run):
    return {name: tensor.tolist() for name, tensor in run.trained_game()[0].state_dict().items()}


@pytest.mark.parametrize("settings", [BOTH_WAYS, ONE_WAY, FLIPPED], ids=["cyclegan", "cut", "fastcut"])
def test_a_recipe_is_a_file_and_a_run_trains_judges_and_resumes_exactly(settings, domains, tmp_path):
    settings = settings | {"data.path": str(domains), "training.steps": 4, "judging.at_end": True}
    recipe = with_settings(Recipe(), {**QUIET, **settings})
    assert from_dict(parse_toml(to_toml(recipe), where="here")) == recipe
    whole = trained(settings, tmp_path / "whole")
    entry = json.loads((whole.folder / "metrics.json").read_text())[-1]
    assert {"fid", "kid", "domain", "kept", "fid_real", "kid_real", "domain_real"} == set(entry["values"])
    assert set(entry["given"]) == {"fid", "kid", "domain"}
    assert entry["given_is"] == "untranslated"
    assert entry["features"].startswith("classifier[domains of ")
    assert entry["num_fake"] == 12  # as few as were held out of B
    torn = trained(settings, tmp_path / "torn", **{"training.save_every": 1})
    Checkpoints(torn.folder / "checkpoints").forget_from(3)
    again = equipoise.Run.open(torn.folder).train(resume=True, quiet=True)
    assert weights(again) == weights(whole)
    black = torch.zeros(3, 20, 24)
    assert torch.equal(equipoise.Run.open(whole.folder).apply(black), again.apply(black))
    picture = Image.open(max((whole.folder / "samples").glob("step-*.png")))
    assert picture.width > 3 * 16  # given, answer, target


def test_the_doctor_probes_the_second_domain(domains, tmp_path):
    more = {"data.path": str(domains), "watching.probes_every": 1, "data.held_out": 20}
    apart = {"data.a.part": "trainA", "data.b.part": "trainB"}
    run = trained(BOTH_WAYS, tmp_path / "run", **more, **apart)
    last = json.loads((run.folder / "signals.jsonl").read_text().splitlines()[-1])["signals"]
    assert {"probe/logits/fake", "probe/auc/held_out", "probe/energy", "watch/real"} <= set(last)


def test_judging_while_training_changes_nothing_and_keeps_the_best(domains, tmp_path):
    settings = BOTH_WAYS | {"data.path": str(domains), "training.steps": 3}
    judged = trained(settings, tmp_path / "judged", **{"judging.every": 1, "judging.metric": "kept"})
    entries = json.loads((judged.folder / "metrics.json").read_text())
    assert len(entries) == 3
    assert judged.step_of("best") == max(entries, key=lambda entry: entry["values"]["kept"])["step"]
    assert weights(judged) == weights(trained(settings, tmp_path / "alone"))
    with pytest.raises(RecipeError, match="Use one of: fid, kid, domain, kept"):
        trained(settings, tmp_path / "wrong", **{"judging.every": 1, "judging.metric": "psnr"})


def test_scores_are_those_of_the_translations_themselves(domains, tmp_path):
    run = trained(BOTH_WAYS, tmp_path / "run", **{"data.path": str(domains)})
    scored = run.evaluate_own()
    game = run.picture_game(run.trained_game()[0])
    held_out = run.parts(run.source()).held_out
    assert isinstance(held_out, Unpaired)
    assert (len(held_out.a), len(held_out.b)) == (14, 12)  # testA, and what was set aside of trainB
    x = held_out.first(torch.arange(12))
    with torch.no_grad():
        y_hat = eight_bit(game.G(x))
        back = eight_bit(game.F(y_hat))
    assert scored.values["kept"] == pytest.approx(psnr(back, x).mean().item())
    assert scored.more == {"kept": "PSNR of the cycle, dB"}
    judge = translated.judge_of(run, run.parts(run.source()))
    seconds = (judge.classes(y_hat).argmax(1) == 1).double().mean().item()
    assert scored.values["domain"] == pytest.approx(seconds)
    assert scored.beside["domain"] == pytest.approx((judge.classes(x).argmax(1) == 1).double().mean().item())
    assert run.evaluate_own(num=10).num == 10
    assert run.evaluate_own(data=domains).num == 33  # all of other pictures, but no more than there are to train on


def test_cut_is_judged_by_the_structure_that_it_keeps(domains, tmp_path):
    run = trained(ONE_WAY, tmp_path / "run", **{"data.path": str(domains)})
    scored = run.evaluate_own()
    held_out = run.parts(run.source()).held_out
    assert isinstance(held_out, Unpaired)
    x = held_out.first(torch.arange(12))
    y_hat = eight_bit(run.picture_game(run.trained_game()[0]).G(x).detach())
    assert scored.values["kept"] == pytest.approx(ssim(luma(y_hat), luma(x)).mean().item())
    assert scored.more == {"kept": "SSIM of the luma to what was given"}


def test_too_few_held_out_pictures_are_said_to_be_so(domains, tmp_path):
    run = trained(ONE_WAY, tmp_path / "run", **{"data.path": str(domains), "data.held_out": 5})
    with pytest.raises(DataError, match=r"5 pictures of a domain are too few to judge by.*data.held_out = 5"):
        run.evaluate_own()


def test_equal_runs_are_compared_by_their_own_scores(domains, tmp_path):
    runs = [
        trained(ONE_WAY, tmp_path / f"{seed}", **{"data.path": str(domains), "training.seed": seed}) for seed in (0, 1)
    ]
    for run in runs:
        run.evaluate_own()
    found = compare([run.folder for run in runs])
    assert not found.refused
    assert {"fid", "domain", "kept"} <= set(found.metrics)


def test_files_are_translated_in_the_direction_that_was_chosen(domains, tmp_path):
    run = trained(BOTH_WAYS, tmp_path / "run", **{"data.path": str(domains)})
    picture = domains / "testA" / "0.png"
    for direction in ("AtoB", "BtoA"):
        apply_to_files(run, picture, tmp_path / f"{direction}.png", choice=Choice(direction=direction))
    apply_to_files(run, picture, tmp_path / "plain.png")
    found = {name: np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("AtoB", "BtoA", "plain")}
    assert np.array_equal(found["AtoB"], found["plain"])
    assert not np.array_equal(found["AtoB"], found["BtoA"])
    with pytest.raises(RecipeError, match='expected "AtoB"'):
        apply_to_files(run, picture, tmp_path / "no.png", choice=Choice(direction="backwards"))
    one_way = trained(ONE_WAY, tmp_path / "one-way", **{"data.path": str(domains)})
    with pytest.raises(RecipeError, match="CUT translates AtoB alone"):
        apply_to_files(one_way, picture, tmp_path / "no.png", choice=Choice(direction="BtoA"))


# ---------------------------------------------------------------- where domains are


def test_domains_are_named_by_part_label_or_path(domains, tmp_path):
    by_part = with_settings(Recipe(), {**COMMON, "data.path": str(domains), "data.a": "trainB", "data.b": "testA"})
    a, b = by_part.data.places()
    assert (a.part, b.part) == ("trainB", "testA")
    assert by_part.data.open().name.endswith(": trainB and testA")
    by_path = {"data.a": str(domains / "trainA"), "data.b.path": str(domains / "trainB"), "data.b.label": None}
    source = with_settings(Recipe(), {**COMMON, **by_path}).data.open()
    assert source.name == "trainA and trainB"
    assert len(source) == 60
    recipe, _ = equipoise.load("cut", data=domains, settings={"data.a.part": "trainA", "data.b.part": "trainB"})
    assert recipe.data.path == domains
    assert recipe.data.kind == "unpaired"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data.path": None}, "Say where trainA and trainB are"),
        ({"data.path": "trainA"}, "has no pictures in trainA and trainB"),
        ({"data.a": "trainA"}, "Only one of data.a and data.b"),
        ({"data.path": None, "data.a": "trainA", "data.b.part": "x"}, r"data.b has no path"),
        ({"data.a.path": "trainA", "data.b.path": "trainB"}, "data.path is used by no domain"),
        ({"data.crop": 24}, "data.crop = 24 and data.size = 18"),
        ({"data.size": None, "data.crop": 32}, "24 × 20 pixels, and squares of 32 are cut"),
        ({"data.augmentation": {"mirror": True}}, "data.mirror"),
        ({"data.standardise": "range"}, "data.standardise"),
        ({"game.pool": 4}, "game.pool = 4 has fewer slots than training.batch = 8"),
        ({"game.network": {**NETWORK, "num_downs": 4}}, "num_downs"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(change, words, domains, tmp_path):
    settings = {"data.path": "", **change}
    for key in ("data.path", "data.a", "data.a.path", "data.b.path"):
        if settings.get(key) is not None:
            settings[key] = str(domains / settings[key])
    with pytest.raises((RecipeError, DataError), match=words):
        trained(BOTH_WAYS, tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"game.layers": [0, 99]}, r"game.layers = \[0, 99\]: expected stages from 0 to 4"),
        ({"game.flips": True, "data.size": 17, "data.crop": 15}, "no multiple of 2"),
        ({"data.kind": "digits"}, 'Use data.kind = "unpaired"'),
    ],
)
def test_what_cut_cannot_compare_is_refused(change, words, domains, tmp_path):
    settings = ONE_WAY | {"data.path": str(domains)} | change
    if change.get("data.kind") == "digits":
        settings = {key: value for key, value in settings.items() if not key.startswith("data.")} | change
    with pytest.raises(RecipeError, match=words):
        trained(settings, tmp_path / "run")


def test_the_papers_schedules_are_those_of_the_recipes():
    for name, constant in (("cyclegan", 0.5), ("cut", 0.5), ("fastcut", 0.75)):
        recipe, _ = equipoise.load(name)
        for player in ("G", "D"):
            rate = recipe.players[player].learning_rate
            assert (rate.at(constant), rate.at(1.0)) == (2e-4, 0.0)
            assert rate.at((1 + constant) / 2) == pytest.approx(1e-4)


def test_the_recipe_of_the_docs_is_one(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "translation.md").read_text("utf-8").partition("## Unpaired")[2]
    (tmp_path / "horses.toml").write_text(page.split("```toml\n")[1].split("```")[0], "utf-8")
    recipe, _ = equipoise.load(tmp_path / "horses.toml")
    assert recipe.data.a.test == "test/horse"
    assert recipe.game.kind == "cyclegan"
