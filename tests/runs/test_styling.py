"""Runs of style transfer: trained, judged, resumed, applied to files, and what is refused."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import equipoise
from equipoise.core.errors import DataError, RecipeError
from equipoise.data.styled import Place
from equipoise.data.styled import styled as source_of
from equipoise.engine.checkpoint import Checkpoints
from equipoise.games.answers import Choice
from equipoise.games.looks import Tastes
from equipoise.networks.vgg import VGG, SmallVGG
from equipoise.objectives import gram, relative_style
from equipoise.runs import lookout, restoring, styled
from equipoise.runs import run as module
from equipoise.runs.applying import apply_to_files, coloured_picture
from equipoise.runs.feature_networks import FeatureNetwork
from equipoise.runs.provenance import read_label
from equipoise.runs.recipe import Recipe, from_dict, parse_setting, parse_toml, to_toml, with_settings
from equipoise.runs.styled import colour_matched, colours, distances, stroke_critics, taken_for_style
from equipoise.runs.styling import looking, softened
from equipoise.runs.stylise import Painting, stylise
from tests.cli.made import TINY

QUIET = dict(map(parse_setting, (s for s in TINY if not s.startswith("game.")))) | {
    "data.check": False,
    "data.kind": "styled",
    "data.crop": 32,
    "data.held_out": 2,
    "training.batch": 2,
    "training.steps": 4,
}
SMALL = {"game.network": {"width": 4, "num_blocks": 1}}
ONE = {"game.kind": "style", **SMALL, "data.style_part": "style/s0.png"}
ANY = {"game.kind": "adain", "data.unseen": 1}
PATCHES = {
    "game.kind": "patch-style",
    **SMALL,
    "game.critic": {"kind": "patch", "width": 4, "num_layers": 1},
    "game.warmup": 0.5,
    "data.style_part": "style/s0.png",
    "data.aside": 0.4,
}
KINDS = pytest.mark.parametrize("settings", [ONE, ANY, PATCHES], ids=["style", "adain", "patch-style"])


@pytest.fixture(autouse=True)
def lean(monkeypatch):
    """No report, and networks after hardly any training."""
    monkeypatch.setattr(module, "write_report", lambda folder: folder)
    monkeypatch.setattr(styled, "JUDGE_STEPS", 2)
    monkeypatch.setattr(styled, "STROKE_STEPS", 2)
    fit = restoring.fit_small_vgg
    monkeypatch.setattr(restoring, "fit_small_vgg", lambda source, **how: fit(source, num_steps=2, **how))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    draw = np.random.default_rng(0)
    for part, num, size in (("content", 8, (48, 40)), ("style", 3, (96, 88))):
        (folder / part).mkdir()
        for number in range(num):
            pixels = draw.uniform(0, 255, (6, 7, 3)).astype(np.uint8)
            image = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
            image.save(folder / part / f"{part[0]}{number}.png")
    return folder


def trained(settings, folder, **more):
    recipe = with_settings(Recipe(), {**QUIET, **settings, **more})
    return equipoise.Run.create(recipe, origin="python", folder=folder).train(quiet=True)


def weights(run):
    return {name: tensor.tolist() for name, tensor in run.trained_game()[0].state_dict().items()}


@KINDS
def test_a_recipe_is_a_file_and_a_run_trains_judges_and_resumes_exactly(settings, pictures, tmp_path):
    settings = settings | {"data.path": str(pictures), "judging.at_end": True}
    recipe = with_settings(Recipe(), {**QUIET, **settings})
    assert from_dict(parse_toml(to_toml(recipe), where="here")) == recipe
    whole = trained(settings, tmp_path / "whole")
    entry = json.loads((whole.folder / "metrics.json").read_text())[-1]
    names = {"content", "style", *(["strokes"] if "data.aside" in settings else [])}
    assert set(entry["values"]) == names == set(entry["given"])
    assert entry["given"]["content"] == 0
    assert entry["given_is"] == "the untouched picture"
    assert entry["features"].startswith("small-vgg[")
    torn = trained(settings, tmp_path / "torn", **{"training.save_every": 1})
    Checkpoints(torn.folder / "checkpoints").forget_from(3)
    again = equipoise.Run.open(torn.folder).train(resume=True, quiet=True)
    assert weights(again) == weights(whole)
    assert len(list((whole.folder / "samples").glob("step-*.png"))) >= 2


@KINDS
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_doctors_probes_look_at_a_game_of_style(settings, precision, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(lookout, "FEWEST", 1)
    more = {"data.path": str(pictures), "training.precision": precision, "watching.probes_every": 1}
    run = trained(settings, tmp_path / "run", **more)
    lines = [json.loads(line) for line in (run.folder / "signals.jsonl").read_text().splitlines()]
    signals = lines[-1]["signals"]
    assert "probe/logits/fake" in signals
    assert all(np.isfinite(value["mean"]) for name, value in signals.items() if name.startswith("loss/"))


@KINDS
def test_judging_while_training_changes_nothing(settings, pictures, tmp_path):
    settings = settings | {"data.path": str(pictures), "training.steps": 2}
    judged = trained(settings, tmp_path / "judged", **{"judging.every": 1, "judging.metric": "style"})
    assert len(json.loads((judged.folder / "metrics.json").read_text())) == 2
    assert weights(judged) == weights(trained(settings, tmp_path / "alone"))


def test_a_picture_takes_the_style_and_the_strength_that_are_chosen(pictures, tmp_path):
    run = trained(ANY | {"data.path": str(pictures)}, tmp_path / "run")
    style = coloured_picture(pictures / "style" / "s1.png")
    photo = pictures / "content" / "c0.png"
    files = {}
    for name, choice in {"none": Choice(style=style, strength=0.0), "full": Choice(style=style)}.items():
        (files[name],) = apply_to_files(run, photo, tmp_path / f"{name}.png", choice=choice).written
    none, full = (np.asarray(Image.open(path)) for path in files.values())
    assert none.shape == full.shape == np.asarray(Image.open(photo)).shape
    assert not np.array_equal(none, full)
    label = read_label(files["full"])
    assert label is not None
    assert label.run == run.id
    with pytest.raises(RecipeError, match="--style FILE"):
        apply_to_files(run, photo, tmp_path / "x.png")


def test_a_chosen_style_is_shrunk_as_those_of_training_were(pictures, tmp_path):
    run = trained(ANY | {"data.path": str(pictures)}, tmp_path / "run", **{"data.style_size": 40})
    large = coloured_picture(pictures / "style" / "s1.png")
    prepared = run.recipe.data.prepared(Choice(style=large)).style
    assert prepared is not None
    assert prepared.shape == (3, 40, 44)
    again = run.recipe.data.prepared(Choice(style=prepared)).style
    assert again is prepared


def test_a_game_of_one_style_takes_no_other(pictures, tmp_path):
    run = trained(ONE | {"data.path": str(pictures)}, tmp_path / "run")
    style = coloured_picture(pictures / "style" / "s1.png")
    with pytest.raises(RecipeError, match="lets nobody choose a style"):
        apply_to_files(run, pictures / "content", tmp_path / "out", choice=Choice(style=style))
    assert len(apply_to_files(run, pictures / "content", tmp_path / "out").written) == 8


@pytest.mark.parametrize("settings", [ONE, ANY], ids=["style", "adain"])
def test_a_trained_run_needs_its_pictures_no_more(settings, pictures, tmp_path):
    moved = tmp_path / "here"
    moved.mkdir()
    for part in ("content", "style"):
        (moved / part).mkdir()
        for path in (pictures / part).iterdir():
            (moved / part / path.name).write_bytes(path.read_bytes())
    run = trained(settings | {"data.path": str(moved)}, tmp_path / "run")
    x, style = torch.rand(3, 20, 24) * 2 - 1, coloured_picture(pictures / "style" / "s1.png")
    choice = Choice(style=style) if settings is ANY else Choice()
    before = run.apply(x, choice=choice)
    moved.rename(tmp_path / "elsewhere")
    assert torch.equal(equipoise.Run.open(run.folder).apply(x, choice=choice), before)


@pytest.mark.parametrize(
    ("settings", "change", "error", "words"),
    [
        (ONE, {"data.style_part": "style"}, DataError, r"learns one style, and 3 are given.*data\.style = FILE"),
        (ONE, {"data.part": "content", "data.style": "nowhere.png"}, DataError, "nowhere.png does not exist"),
        (ONE, {"data.size": 20}, RecipeError, r"data\.size = 20: expected at least data\.crop = 32"),
        (ONE, {"data.augmentation": {"mirror": True}}, RecipeError, "not for contents and styles"),
        (ONE, {"data.standardise": "range"}, RecipeError, "not for contents and styles"),
        (ONE, {"game.features": {"network": "vgg19"}}, RecipeError, r"features\.weights"),
        (ONE, {"game.content_layer": "relu9_9"}, RecipeError, "relu9_9"),
        (PATCHES, {"data.style_part": "style", "data.aside": 0.1}, DataError, "learns one style, and 3 are given"),
        (ANY, {"game.features": {"layers": ["relu9_9"]}}, RecipeError, "relu9_9"),
        (ANY, {"game.features": {"layers": ["relu1_1", "relu1_2"]}}, RecipeError, "one layer of each stage"),
        (PATCHES, {"data.crop": 80, "data.small": "mirror"}, DataError, r"s0\.png has 58 × 88 pixels"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(settings, change, error, words, pictures, tmp_path):
    with pytest.raises(error, match=words):
        trained(settings, tmp_path / "run", **{"data.path": str(pictures), **change})
    assert not (tmp_path / "run").exists()


def test_contents_alone_and_other_data_are_refused(pictures, tmp_path):
    with pytest.raises(DataError, match=r"has no part 'style', and nothing else says.*data\.style"):
        trained(ANY, tmp_path / "run", **{"data.path": str(pictures / "content")})
    with pytest.raises(RecipeError, match=r'has no styles\. Use data\.kind = "styled"'):
        equipoise.Run.create(with_settings(Recipe(), {"game.kind": "adain"}), origin="python", folder=tmp_path / "run")


def test_other_contents_are_judged_in_the_same_style(pictures, tmp_path):
    recipe, _ = equipoise.load("style", data=pictures, settings={"data.style_part": "style/s0.png"})
    assert recipe.data.style == pictures  # said, so that other contents need none beside them
    small = {**{k: v for k, v in QUIET.items() if k != "data.kind"}, **SMALL}
    run = equipoise.Run.create(with_settings(recipe, small), origin="style", folder=tmp_path / "run").train(quiet=True)
    result = run.evaluate_own(data=pictures / "content", num=3)
    assert (result.num, result.data) == (3, "content")


# ---------------------------------------------------------------- measures


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_distances_are_0_for_what_is_the_same():
    judge = FeatureNetwork(name="random", weights="", net=SmallVGG(2, width=4).requires_grad_(False))
    x, s = noise(1, 3, 24, 20), noise(1, 3, 32, 32, seed=1)
    assert distances(judge, x, x, s).content == 0
    assert distances(judge, s, x.new_zeros(1, 3, 32, 32), s).style == pytest.approx(0, abs=1e-10)
    expected = relative_style([gram(layer) for layer in judge(s)], judge(x)).item()
    assert distances(judge, x, x, s).style == pytest.approx(expected)


def test_colours_match_in_mean_and_covariance_and_nothing_else_moves():
    x, s = 0.3 * noise(1, 3, 24, 20), 0.2 * noise(1, 3, 16, 16, seed=1).pow(3) + 0.1
    s[:, 1] += 0.5 * s[:, 0]
    y = colour_matched(x, s)
    for found, wanted in zip(colours(y), colours(s)):
        assert torch.allclose(found, wanted, atol=1e-4)
    assert torch.allclose(colour_matched(x, x), x, atol=1e-5)


def test_the_classifiers_of_patches_tell_stripes_from_blots_of_the_same_colours(monkeypatch, tmp_path):
    monkeypatch.setattr(styled, "STROKE_STEPS", 40)
    stripes = (np.sin(np.arange(160) * 1.5) * 100 + 128).astype(np.uint8)
    painting = np.repeat(np.repeat(stripes[None, :, None], 96, 0), 3, 2)
    Image.fromarray(painting).save(tmp_path / "stripes.png")
    (tmp_path / "content").mkdir()
    for number in range(4):
        blots = np.random.default_rng(number).uniform(0, 255, (5, 5, 3)).astype(np.uint8)
        image = Image.fromarray(blots).resize((64, 64), Image.Resampling.BICUBIC)
        image.save(tmp_path / "content" / f"{number}.png")
    source = source_of(Place(tmp_path / "content"), Place(tmp_path / "stripes.png"), crop=32, aside=0.4)
    critics = stroke_critics(source)
    style = source.styles[0][None] / 127.5 - 1
    content = source.contents[0][None] / 127.5 - 1
    assert taken_for_style(critics, style) > 0.8  # of which it saw only what was set aside
    assert taken_for_style(critics, content) < 0.3
    assert taken_for_style(critics, colour_matched(content, style)) < 0.4


# ---------------------------------------------------------------- looking and stylising


def test_the_style_is_seen_in_several_sizes_with_its_colours():
    net = SmallVGG(2, width=4, taps=("relu1_1", "relu2_2"))
    see = looking(FeatureNetwork(name="random", weights="", net=net), [1], scales=2)
    seen = see(noise(1, 3, 16, 24))
    assert [tuple(layer.shape[1:]) for layer in seen.content] == [(8, 8, 12)]
    sizes = [(3, 16, 24), (4, 16, 24), (8, 8, 12), (3, 8, 12), (4, 8, 12), (8, 4, 6)]
    assert [tuple(layer.shape[1:]) for layer in seen.style] == sizes


def test_softened_networks_are_copies_that_pool_by_the_mean():
    for net in (SmallVGG(2, width=4), VGG("vgg16", ("relu2_2",))):
        soft = softened(net)
        kinds = [type(layer).__name__ for layer in soft.modules()]
        assert "MaxPool2d" not in kinds
        assert "AvgPool2d" in kinds
        assert any(isinstance(layer, torch.nn.MaxPool2d) for layer in net.modules())


def test_stylising_brings_the_style_near_and_starts_from_the_content_or_from_noise():
    torch.manual_seed(0)
    network = FeatureNetwork(name="random", weights="", net=SmallVGG(2, width=8).requires_grad_(False))
    see = looking(network, [1], scales=2)
    x = torch.nn.functional.interpolate(noise(1, 3, 4, 4), size=(32, 32), mode="bicubic").clamp(-1, 1)
    s = noise(1, 3, 40, 36, seed=1)
    how = Painting(steps=60, learning_rate=0.05)
    y = stylise(x, s, see, Tastes(content=0.1, smoothness=0.0), how=how)
    matrices = [gram(layer) for layer in see(s).style]
    before, after = (relative_style(matrices, see(one).style).item() for one in (x, y))
    assert after < 0.2 * before
    assert y.abs().max() <= 1
    assert torch.equal(y, stylise(x, s, see, Tastes(content=0.1, smoothness=0.0), how=how))
    still = stylise(x, s, see, Tastes(style=0.0, smoothness=0.0), how=Painting(steps=1, learning_rate=1e-6))
    assert torch.allclose(still, x, atol=1e-4)
    other = stylise(x, s, see, how=Painting(steps=1, learning_rate=1e-6, from_noise=True))
    assert (other - x).abs().mean() > 0.2
