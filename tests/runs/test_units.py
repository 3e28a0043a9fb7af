"""Standardised data in a run: measured once on the training part, remembered, and undone in all that comes out."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

import equipoise
from equipoise.core.errors import RecipeError
from equipoise.core.seeding import stable_seed
from equipoise.data import split, tensor_source
from equipoise.monitor.grids import grid
from equipoise.runs import comparison, features
from equipoise.runs import run as module
from equipoise.runs.recipe import parse_setting
from equipoise.runs.sampling import samples
from tests.cli.made import TINY

TINIEST = dict(map(parse_setting, TINY)) | {
    "training.steps": 3,
    "judging.num_samples": 20,
    "watching.probes_every": "off",
}
HELD_OUT = split(tensor_source("x", torch.zeros(200, 1)), 40, seed=0).held_out.indices  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def lean(monkeypatch):
    """No report, and a network that judges after hardly any training."""
    monkeypatch.setattr(module, "write_report", lambda folder: folder)
    monkeypatch.setattr(features, "fit_feature_net", partial(features.fit_feature_net, num_steps=3))


@pytest.fixture
def vectors(tmp_path):
    """Coordinates from 1000 to 3000 and from -5 to 5; but those that are held out are ten times as large."""
    values = np.random.default_rng(0).uniform([1000, -5], [3000, 5], (200, 2))
    values[HELD_OUT] *= 10
    np.save(tmp_path / "vectors.npy", values)
    return tmp_path / "vectors.npy"


@pytest.fixture
def scans(tmp_path):
    """Pictures of whole numbers from -1000 to 3000, and a single one beyond."""
    values = np.random.default_rng(0).integers(-1000, 3001, (200, 8, 8), np.int16)
    values[0, 0, 0] = 3072
    np.save(tmp_path / "scans.npy", values)
    return tmp_path / "scans.npy"


def train(recipe, data, folder, **settings):
    chosen = {key.replace("__", "."): value for key, value in settings.items()}
    return equipoise.train(recipe, data=data, settings=TINIEST | chosen, folder=folder, quiet=True)


def raw(run, num, seed=0):
    """What the generator itself makes."""
    return samples(run.latent(run.trained_game()[0]), num, seed=seed)


def card(run):
    return json.loads((run.folder / "run.json").read_text())


def standard(run):
    assert run.standard is not None
    return run.standard


def refuse(*arguments):
    raise AssertionError("measured again")


@pytest.mark.parametrize("how", ["range", "mean-std"])
def test_the_training_part_alone_is_measured_and_samples_come_in_its_units(tmp_path, vectors, how):
    run = train("ring", vectors, tmp_path / "run", data__standardise=how)
    known = np.delete(np.load(vectors), HELD_OUT, axis=0)
    shift, scale = {
        "range": ((known.max(0) + known.min(0)) / 2, (known.max(0) - known.min(0)) / 2),
        "mean-std": (known.mean(0), known.std(0)),
    }[how]
    assert card(run)["standard"]["shift"] == pytest.approx(shift, rel=1e-6)
    assert card(run)["standard"]["scale"] == pytest.approx(scale, rel=1e-6)
    expected = raw(run, 16).numpy() * scale + shift
    assert run.sample(16).numpy() == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert run.sample(16)[:, 0].mean().item() == pytest.approx(2000, abs=1000)
    assert run.interpolate(2, 3)[:, 0].mean().item() == pytest.approx(2000, abs=1000)
    x = run.parts(run.source()).train.examples(torch.arange(160)).numpy()
    assert x == pytest.approx((known - shift) / scale, abs=1e-4)


def test_what_was_measured_is_remembered_and_never_measured_again(tmp_path, vectors, monkeypatch):
    run = train("ring", vectors, tmp_path / "run", data__standardise="range")
    monkeypatch.setattr(module, "measured", refuse)
    before = card(run)
    assert torch.equal(equipoise.Run.open(run.folder).sample(4), run.sample(4))
    longer = equipoise.resume(run.folder, settings={"training.steps": 4}, quiet=True)
    assert longer.newest_step() == 4
    assert card(longer) == before
    assert longer.evaluate().num_samples == 20
    # That these numbers and no others are used shows where they are changed.
    before["standard"]["shift"][0] += 500
    (run.folder / "run.json").write_text(json.dumps(before))
    moved = equipoise.Run.open(run.folder)
    assert torch.allclose(moved.sample(4)[:, 0], longer.sample(4)[:, 0] + 500)
    held_out = (r.parts(r.source()).held_out.examples(torch.arange(4))[:, 0] for r in (moved, longer))
    assert torch.allclose(*(x * standard(moved).scale[0] + extra for x, extra in zip(held_out, (500, 0))), rtol=1e-5)
    with pytest.raises(equipoise.EquipoiseError, match="standardise: 'range' -> 'none'"):
        equipoise.resume(run.folder, settings={"data.standardise": "none"}, quiet=True)
    del before["standard"]
    (run.folder / "run.json").write_text(json.dumps(before))
    with pytest.raises(RecipeError, match=r"run\.json is damaged: what the data was standardised by is missing"):
        equipoise.Run.open(run.folder)


def test_every_fold_and_every_choice_of_few_measures_its_own_training_part(tmp_path, vectors):
    seen = set()
    for settings in ({"data.fold": "1/2"}, {"data.fold": "2/2"}, {"data.per_class": 9}):
        chosen = TINIEST | settings | {"data.standardise": "range"}
        recipe = equipoise.load("ring", data=vectors, settings=chosen)[0]
        run = equipoise.Run.draft(recipe, origin="ring", folder=tmp_path / "run")
        train = run.divided(run.source()).train
        highest = train.examples(torch.arange(len(train))).amax(0)
        assert torch.allclose(standard(run).shift + standard(run).scale, highest)
        seen.add(highest[0].item())
    assert len(seen) == 3
    assert not (tmp_path / "run").exists()


def test_a_known_range_is_clipped_counted_undone_and_shown_from_end_to_end(tmp_path, scans):
    run = train("digits", scans, tmp_path / "run", data__range=[-1000, 3000])
    events = (run.folder / "events.jsonl").read_text()
    assert "1 of 12,800 values lie outside of [-1000, 3000] and were clipped" in events
    made = raw(run, 4)
    assert torch.allclose(run.sample(4), made * 2000 + 1000)
    path = equipoise.Run.open(run.folder).write_samples(run.sample(4), tmp_path / "x.png", seed=0)
    assert np.abs(np.asarray(Image.open(path)).astype(int) - grid(made)).max() <= 1


def test_pictures_of_measured_images_keep_their_colours(tmp_path):
    highest = np.array([1000, 2000, 4000])
    np.save(tmp_path / "x.npy", np.random.default_rng(0).uniform(0, highest, (200, 8, 8, 3)))
    run = train("digits", tmp_path / "x.npy", tmp_path / "run", data__standardise="range")
    assert card(run)["standard"]["scale"] == pytest.approx(highest / 2, rel=0.01)
    low, high = card(run)["standard"]["low"], card(run)["standard"]["high"]
    x = torch.tensor([[low, low, low], [high / 4, 0.501 * high, high], [9 * high, high, low - high]])[:, :, None, None]
    path = run.write_samples(x.expand(3, 3, 8, 8), tmp_path / "x.png", seed=0, columns=3)
    shown = np.asarray(Image.open(path))
    middles = [shown[shown.shape[0] // 2, (2 * n + 1) * shown.shape[1] // 6].tolist() for n in range(3)]
    assert middles == [[0, 0, 0], [64, 128, 255], [255, 255, 0]]
    scale, shift = (torch.tensor(card(run)["standard"][name])[:, None, None] for name in ("scale", "shift"))
    watched = raw(run, 4, stable_seed(0, "fixed latents")) * scale + shift
    newest = np.asarray(Image.open(run.folder / "samples" / "step-00000003.png")).astype(int)
    assert np.abs(newest - grid((watched - low) / (high - low) * 2 - 1)).max() <= 1


def test_stacks_of_whole_numbers_are_measured_by_channel(tmp_path, scans):
    settings = TINIEST | {"data.kind": "stacked", "data.path": str(scans), "data.standardise": "range"}
    settings |= {"data.num_examples": 300, "data.size": 4, "data.filter": "box"}
    run = equipoise.Run.draft(equipoise.load("digits", settings=settings)[0], origin="", folder=tmp_path / "run")
    assert standard(run).shift.shape == (3,)
    values = np.load(scans).astype(float).reshape(200, 4, 2, 4, 2).mean((2, 4))
    assert standard(run).high <= values.max() + 0.1
    x = run.parts(run.source()).train.examples(torch.arange(200))
    assert x.amax((0, 2, 3)).tolist() == pytest.approx([1, 1, 1])


@pytest.mark.parametrize("network", ["mlp", "dcgan", "resnet"])
def test_deviations_are_refused_for_images_that_end_in_tanh(tmp_path, network):
    settings = {"data.standardise": "mean-std", "game.network.kind": network}
    with pytest.raises(RecipeError, match=f'{network} generator cannot make.*tanh.*standardise = "range"'):
        equipoise.train("digits", settings=settings, folder=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"data.range": [3, -3]}, r"range = \[3.0, -3.0\]: expected the lower end first"),
        ({"data.range": [0, 1], "data.standardise": "range"}, "Use one of the two"),
        ({"data.standardise": "rage"}, "'rage' is not valid.*Did you mean 'range'"),
        ({"data.filter": "lanczoz"}, "'lanczoz' is not valid.*Did you mean 'lanczos'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path, settings, words):
    with pytest.raises(RecipeError, match=words):
        equipoise.load("ring", data=tmp_path, settings=settings)


def test_other_data_keeps_how_it_is_read(tmp_path):
    (tmp_path / "mine.toml").write_text(
        '[data]\nkind = "files"\npath = "a"\nfilter = "box"\nstandardise = "mean-std"\n'
    )
    data = equipoise.load(tmp_path / "mine.toml", data=tmp_path / "b")[0].data
    assert (data.filter, data.standardise) == ("box", "mean-std")  # type: ignore[attr-defined]


def test_a_run_is_judged_by_another_in_the_units_of_the_data(tmp_path, vectors, monkeypatch):
    judge = train("ring", vectors, tmp_path / "judge", data__standardise="range")
    other = train("ring", vectors, tmp_path / "other")
    seen = []
    evaluate = comparison.evaluate
    monkeypatch.setattr(
        comparison, "evaluate", lambda *given, fake, **more: (seen.append(fake), evaluate(*given, fake=fake, **more))[1]
    )
    comparison.judged_anew(comparison.members_of([judge, other]), judge, None)
    seed = stable_seed(0, "evaluation")
    assert torch.allclose(seen[0], raw(judge, 20, seed), atol=1e-4)
    assert torch.allclose(seen[1], standard(judge).forward(raw(other, 20, seed)))
