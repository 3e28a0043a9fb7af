"""Runs of the games of generation: trained, judged, resumed exactly, sampled, and what does not fit."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import equipoise
from equipoise.core.errors import DataError, RecipeError
from equipoise.core.seeding import generator
from equipoise.engine.checkpoint import Checkpoints
from equipoise.metrics.codes import counted, matched
from equipoise.runs import run as module
from equipoise.runs import translated
from equipoise.runs.classified import confusion, shares, supervised_baseline
from equipoise.runs.codes import by_code, reader
from equipoise.runs.recipe import Recipe, from_dict, parse_setting, parse_toml, to_toml, with_settings
from equipoise.runs.report import write_report
from tests.cli.made import TINY

QUIET = dict(map(parse_setting, TINY)) | {"training.steps": 4, "training.save_every": 2, "data.check": False}
DENSE = {"kind": "dense", "widths": [8, 6]}
NETWORK = {"kind": "mlp", "width": 4, "num_layers": 1}
SGAN = QUIET | {"game.kind": "sgan", "game.network": NETWORK, "game.critic": DENSE, "data.labelled": 3}


@pytest.fixture(autouse=True)
def lean(monkeypatch):
    """No report."""
    monkeypatch.setattr(module, "write_report", lambda folder: folder)


def recipe_of(settings, **more):
    settings = {**settings, **more}
    first = {key: value for key, value in settings.items() if key == "game.kind"}
    rest = {k: v for k, v in settings.items() if k not in first and not k.startswith("game.network.")}
    return with_settings(with_settings(Recipe(), first), rest)


def trained(settings, folder, **more):
    return equipoise.Run.create(recipe_of(settings, **more), origin="python", folder=folder).train(quiet=True)


def weights(run):
    return {name: tensor.tolist() for name, tensor in run.trained_game()[0].state_dict().items()}


def resumed_half_way(settings, folder, **more):
    """A run that stopped after half of its steps and went on."""
    run = trained(settings, folder, **more)
    Checkpoints(run.folder / "checkpoints").forget_from(3)
    return equipoise.Run.open(run.folder).train(resume=True, quiet=True)


# ---------------------------------------------------------------- few labels


def test_a_semi_supervised_run_trains_judges_and_resumes_exactly(tmp_path):
    recipe = recipe_of(SGAN)
    assert from_dict(parse_toml(to_toml(recipe), where="here")) == recipe
    run = trained(SGAN, tmp_path / "run", **{"judging.at_end": True, "watching.probes_every": 2})
    entry = json.loads((run.folder / "metrics.json").read_text())[-1]
    assert set(entry["values"]) == set(entry["given"]) == {"accuracy", "error", "worst_class"}
    assert entry["given_is"] == "supervised only"
    assert entry["num_fake"] == 40
    table = torch.tensor(entry["found"]["confusion"]["rows_are_true"])
    assert table.sum() == 40
    assert entry["values"]["accuracy"] == pytest.approx((table.diagonal().sum() / 40).item())
    signals = json.loads((run.folder / "signals.jsonl").read_text().splitlines()[-1])["signals"]
    assert {"probe/logits/fake", "probe/auc/held_out", "watch/real"} <= set(signals)
    assert weights(resumed_half_way(SGAN, tmp_path / "torn")) == weights(run)
    assert run.sample(3).shape == (3, 1, 8, 8)
    page = write_report(run.folder).read_text("utf-8")
    assert "<h3>Confusions</h3>" in page
    assert "supervised only" in page
    assert "equipoise sample" in page
    assert "equipoise apply" not in page


def test_the_confusion_matrix_counts_what_the_averaged_critic_says(tmp_path):
    run = trained(SGAN, tmp_path / "run")
    game, held_out = run.trained_game()[0], run.parts(run.source()).held_out
    every = torch.arange(len(held_out))
    told, true = game.classified(held_out.examples(every)).argmax(1), held_out.labels(every)
    table = confusion(run, game, held_out, 40)
    for i in range(10):
        for j in range(10):
            assert table[i, j] == ((true == i) & (told == j)).sum()
    scored = run.evaluate_own()
    assert scored.values["error"] == pytest.approx((told != true).double().mean().item())
    assert shares(torch.tensor([[3, 1], [0, 2]]))["worst_class"] == 0.75
    assert run.evaluate_own(num=10).num == 10


def test_the_baseline_is_the_same_critic_and_is_trained_once(tmp_path):
    run = trained(SGAN, tmp_path / "run")
    state = torch.get_rng_state()
    first = supervised_baseline(run)
    assert torch.equal(state, torch.get_rng_state())
    card = run.folder / "features" / "supervised" / "weights.safetensors"
    written = card.stat().st_mtime_ns
    again = supervised_baseline(run)
    assert card.stat().st_mtime_ns == written
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values()))
    shapes = [{n: p.shape for n, p in game.D.named_parameters()} for game in (first, run.trained_game()[0])]
    assert shapes[0] == shapes[1]
    assert set(run.evaluate_own().beside) == {"accuracy", "error", "worst_class"}
    alone = trained(SGAN, tmp_path / "alone", **{"game.baseline": False})
    assert alone.evaluate_own().beside == {}


def test_judging_while_training_changes_nothing(tmp_path):
    judged = trained(SGAN, tmp_path / "judged", **{"judging.every": 2, "judging.metric": "accuracy"})
    assert len(json.loads((judged.folder / "metrics.json").read_text())) == 2
    assert weights(judged) == weights(trained(SGAN, tmp_path / "alone"))


def test_held_out_data_stays_labelled_and_the_rest_keeps_its_examples(tmp_path):
    run = equipoise.Run.create(recipe_of(SGAN), origin="python", folder=tmp_path / "run")
    parts = run.parts(run.source())
    plain = run.divided(run.source())
    assert (parts.held_out.labels(torch.arange(40)) >= 0).all()
    every = torch.arange(len(parts.train))
    assert torch.equal(parts.train.examples(every), plain.train.examples(every))
    assert (parts.train.labels(every) >= 0).sum() == 30


def test_labelled_examples_can_be_listed(tmp_path):
    path = tmp_path / "labelled.txt"
    path.write_text("\n".join(map(str, range(100))))
    run = equipoise.Run.create(recipe_of(SGAN, **{"data.labelled": str(path)}), origin="python", folder=tmp_path / "r")
    train = run.parts(run.source()).train
    assert torch.equal(train.known.examples(torch.arange(100)), run.source().examples(torch.arange(100)))
    with pytest.raises(RecipeError, match="Use one of the two"):
        trained(SGAN, tmp_path / "other", **{"data.labelled": str(path), "data.per_class": 20})


def test_a_run_of_chosen_classes_is_sampled_by_class(tmp_path):
    run = trained(SGAN, tmp_path / "run", **{"game.conditional": True})
    assert run.sample(3, label="7").shape == (3, 1, 8, 8)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"data.labelled": 0}, RecipeError, "expected at least 1, or a text file"),
        ({"data.labelled": 1000}, DataError, "1000 examples were asked for"),
        ({"game.critic": {"kind": "convolutional"}}, RecipeError, "sides of at least 12"),
        ({"game.network": {"kind": "mlp", "dropout": 0.2}}, RecipeError, "the critic of sgan is set by game.critic"),
        ({"game.loss": "relativistic-pairing"}, RecipeError, "labels are about single examples"),
    ],
)
def test_what_does_not_fit_a_semi_supervised_game_is_refused(changes, error, message, tmp_path):
    with pytest.raises(error, match=message):
        equipoise.Run.create(recipe_of(SGAN, **changes), origin="python", folder=tmp_path / "run")


def test_a_semi_supervised_game_needs_classes(tmp_path):
    np.save(tmp_path / "bare.npy", np.zeros((60, 8, 8), np.uint8))
    bare = {"data.kind": "files", "data.path": str(tmp_path / "bare.npy"), "data.held_out": 10}
    with pytest.raises(DataError, match="has no labels"):
        equipoise.Run.create(recipe_of(SGAN, **bare), origin="python", folder=tmp_path / "run")


def test_few_labels_are_refused_by_games_that_need_all(tmp_path):
    recipe = with_settings(Recipe(), {"data.labelled": 3})
    with pytest.raises(RecipeError, match="for games that learn from few labels"):
        equipoise.Run.create(recipe, origin="python", folder=tmp_path / "run")


# ---------------------------------------------------------------- codes

INFOGAN = QUIET | {
    "game.kind": "gan",
    "game.network": NETWORK,
    "game.z_dim": 8,
    "game.mutual_information": {"num_categories": 4, "num_continuous": 1, "width": 4},
}


def test_codes_are_shown_in_rows_and_compared_with_classes(tmp_path):
    run = trained(INFOGAN, tmp_path / "run", **{"training.threads": 1})
    game = run.trained_game()[0]
    x = by_code(game, 3, seed=0)
    assert x.shape == (12, 1, 8, 8)
    z = torch.randn(3, 8, generator=generator(0, "latents"))
    z[:, :4] = torch.tensor([0.0, 0.0, 1.0, 0.0])
    assert torch.equal(x[6:9], game.G(z))  # the third code
    result = run.evaluate(num=20)
    rows = {row.name: row.value for row in result.further}
    held_out = run.parts(run.source()).held_out
    every = torch.arange(40)
    told = reader(game)(held_out.examples(every)).argmax(1)
    table = counted(told, held_out.labels(every), num_codes=4, num_classes=10)
    assert rows["codes of held-out examples that fit"] == pytest.approx(matched(table).share)
    assert 0 <= rows["codes of samples that fit a class"] <= 1
    picture = Image.open(run.folder / "samples" / "codes-step-00000004.png")
    assert picture.width > 2 * picture.height  # twelve columns, four rows


def test_a_game_without_codes_shows_none(tmp_path):
    run = trained({**QUIET, "game.network": NETWORK}, tmp_path / "run")
    assert not any("codes" in row.name for row in run.evaluate(num=20).further)
    assert not list((run.folder / "samples").glob("codes-*"))


# ---------------------------------------------------------------- two domains, pyramids, autoencoders

OTHERS = {k: v for k, v in QUIET.items() if not k.startswith("game.")}
COGAN = OTHERS | {
    "game.kind": "cogan",
    "game.width": 4,
    "game.z_dim": 4,
    "data.kind": "unpaired",
    "data.size": 16,
    "data.held_out": 20,
}
LAPGAN = QUIET | {"game.kind": "lapgan", "game.network": NETWORK, "game.band_width": 4}
VAEGAN = QUIET | {"game.kind": "vaegan", "game.network": NETWORK}
AAE = QUIET | {"game.kind": "aae", "game.network": NETWORK, "game.critic_width": 4}


@pytest.fixture(scope="module")
def domains(tmp_path_factory):
    """Dark and bright noise."""
    path = tmp_path_factory.mktemp("domains") / "both.npz"
    draw = np.random.default_rng(0)
    np.savez(
        path,
        a_images=draw.integers(0, 120, (80, 16, 16), np.uint8),
        b_images=draw.integers(130, 256, (70, 16, 16), np.uint8),
    )
    return {"data.path": str(path), "data.a": "a", "data.b": "b"}


@pytest.mark.parametrize("settings", [LAPGAN, VAEGAN, AAE], ids=["lapgan", "vaegan", "aae"])
def test_a_run_trains_is_probed_judged_and_resumed_exactly(settings, tmp_path):
    recipe = recipe_of(settings)
    assert from_dict(parse_toml(to_toml(recipe), where="here")) == recipe
    more = {"watching.probes_every": 2}
    run = trained(settings, tmp_path / "run", **more)
    signals = json.loads((run.folder / "signals.jsonl").read_text().splitlines()[-1])["signals"]
    assert {"probe/logits/fake", "probe/auc/held_out", "watch/real"} <= set(signals)
    assert weights(resumed_half_way(settings, tmp_path / "torn")) == weights(run)
    assert run.sample(3).shape == (3, 1, 8, 8)


@pytest.mark.parametrize("settings", [VAEGAN, AAE], ids=["vaegan", "aae"])
def test_an_autoencoder_is_judged_by_what_comes_back_too(settings, tmp_path):
    run = trained(settings, tmp_path / "run")
    held_out = run.parts(run.source()).held_out
    x = held_out.examples(torch.arange(40))
    row = next(row for row in run.evaluate(num=20).further if row.name.startswith("reconstruction error"))
    assert row.value == pytest.approx((run.reconstruct(x) - x).square().mean().sqrt().item(), rel=1e-5)
    assert row.floor == pytest.approx((x - x.mean(0)).square().mean().sqrt().item(), rel=1e-5)
    picture = Image.open(run.folder / "samples" / "reconstructed-step-00000004.png")
    assert picture.width > 4 * picture.height  # twelve columns, two rows
    with pytest.raises(RecipeError, match=r"expected \[1, 8, 8\]"):
        run.reconstruct(torch.zeros(2, 1, 9, 9))


def test_other_games_reconstruct_nothing(tmp_path):
    run = trained({**QUIET, "game.network": NETWORK}, tmp_path / "run")
    with pytest.raises(RecipeError, match="use vaegan or aae"):
        run.reconstruct(torch.zeros(2, 1, 8, 8))


def test_a_run_of_two_domains_trains_is_probed_judged_and_resumed_exactly(domains, tmp_path, monkeypatch):
    monkeypatch.setattr(translated, "JUDGE_STEPS", 8)
    recipe = recipe_of(COGAN, **domains)
    assert from_dict(parse_toml(to_toml(recipe), where="here")) == recipe
    run = trained(COGAN, tmp_path / "run", **domains, **{"watching.probes_every": 2, "judging.at_end": True})
    entry = json.loads((run.folder / "metrics.json").read_text())[-1]
    assert set(entry["values"]) == set(entry["given"]) == {"fid", "fid_a", "domain", "domain_a"}
    assert (entry["given_is"], entry["num_fake"]) == ("real against real", 20)
    signals = json.loads((run.folder / "signals.jsonl").read_text().splitlines()[-1])["signals"]
    assert {"probe/logits/fake", "probe/auc/held_out", "watch/real"} <= set(signals)
    assert weights(resumed_half_way(COGAN, tmp_path / "torn", **domains)) == weights(run)
    a, b = run.couples(3, seed=1)
    assert a.shape == b.shape == (3, 1, 16, 16)
    assert torch.equal(run.sample(3, seed=1), b)


@pytest.mark.parametrize(
    ("settings", "changes", "message"),
    [
        (OTHERS | {"game.kind": "cogan"}, {}, 'Use data.kind = "unpaired"'),
        (LAPGAN, {"game.num_levels": 2}, "2 bands of images of 8 pixels"),
        (LAPGAN, {"game.network": {"kind": "progressive"}}, "'progressive' is not valid"),
        (VAEGAN, {"game.layer": 4}, "the critic has 1 layers of features"),
    ],
)
def test_what_does_not_fit_these_games_is_refused(settings, changes, message, tmp_path):
    with pytest.raises(RecipeError, match=message):
        equipoise.Run.create(recipe_of(settings, **changes), origin="python", folder=tmp_path / "run")
