"""Runs that translate between pairs: both ways, judged, resumed, and applied to files of other channels."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import equipoise
from equipoise.core.errors import DataError, RecipeError
from equipoise.data.labels import Labels
from equipoise.engine.checkpoint import Checkpoints
from equipoise.games.answers import Choice
from equipoise.metrics.distribution import frechet_distance
from equipoise.runs import paired, restored, restoring
from equipoise.runs import run as module
from equipoise.runs.applying import apply_to_files
from equipoise.runs.comparison import compare
from equipoise.runs.parts import Digits
from equipoise.runs.recipe import Recipe, from_dict, parse_setting, parse_toml, to_toml, with_settings
from tests.cli.made import TINY

QUIET = dict(map(parse_setting, (s for s in TINY if not s.startswith("game.")))) | {"data.check": False}
PAIRS = {
    "game.kind": "pix2pix",
    "game.network": {"kind": "unet", "width": 4, "depth": 2, "residual": False, "final": "tanh"},
    "game.critic": {"kind": "patch", "width": 4, "num_layers": 1, "num_scales": 1},
    "data.kind": "pictures",
    "data.aligned": True,
    "data.crop": 16,
    "data.held_out": 3,
    "training.batch": 2,
}
TABLE = {"sky": "#0000ff", "wood": "#00ff00", "road": "#ff0000"}
FORTH, BACK = {"data.labels": {"B": TABLE}}, {"data.labels": {"B": TABLE}, "data.direction": "BtoA"}


@pytest.fixture(autouse=True)
def lean(monkeypatch):
    """No report, and feature networks after hardly any training."""
    monkeypatch.setattr(module, "write_report", lambda folder: folder)
    monkeypatch.setattr(restored, "JUDGE_STEPS", 2)
    monkeypatch.setattr(paired, "FEWEST_CROPS", 4)
    fit = restoring.fit_small_vgg
    monkeypatch.setattr(restoring, "fit_small_vgg", lambda source, **how: fit(source, num_steps=2, width=4, **how))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Grey pictures (A), each beside the colours of three classes (B) that follow from its brightness."""
    place = tmp_path_factory.mktemp("pairs")
    for number in range(12):
        coarse = np.random.default_rng(number).uniform(0, 255, (4, 5)).astype(np.uint8)
        grey = np.asarray(Image.fromarray(coarse).resize((40, 32), Image.Resampling.BICUBIC))
        label = np.eye(3, dtype=np.uint8)[(grey // 86).clip(max=2)][..., ::-1] * 255
        Image.fromarray(np.concatenate([np.repeat(grey[..., None], 3, 2), label], axis=1)).save(place / f"{number}.png")
    return place


@pytest.fixture(scope="module")
def runs(folder, tmp_path_factory):
    """One run each way: never to be changed."""
    place, made = tmp_path_factory.mktemp("runs"), {}
    for name, way in (("forth", FORTH), ("back", BACK)):
        recipe = with_settings(Recipe(), {**QUIET, **PAIRS, **way, "data.path": str(folder)})
        made[name] = equipoise.Run.create(recipe, origin="python", folder=place / name).train(quiet=True)
    return made


def trained(settings, folder, **more):
    recipe = with_settings(Recipe(), {**QUIET, **PAIRS, **settings, **more})
    return equipoise.Run.create(recipe, origin="python", folder=folder).train(quiet=True)


def weights(run):
    return {name: tensor.tolist() for name, tensor in run.trained_game()[0].state_dict().items()}


SOFT = {"game.network": PAIRS["game.network"] | {"final": "softmax"}, "game.terms": {"classes": 10.0}}


@pytest.mark.parametrize("way", [FORTH, FORTH | SOFT, BACK], ids=["forth", "softmax", "back"])
def test_a_run_trains_judges_and_resumes_exactly_either_way(way, folder, tmp_path):
    settings = way | {"data.path": str(folder), "training.steps": 4, "judging.at_end": True, "game.matching": 10.0}
    recipe = with_settings(Recipe(), {**QUIET, **PAIRS, **settings})
    assert from_dict(parse_toml(to_toml(recipe), where="here")) == recipe
    whole = trained(settings, tmp_path / "whole")
    values = json.loads((whole.folder / "metrics.json").read_text())[-1]["values"]
    assert set(recipe.game.measured(recipe.data)) <= set(values)
    torn = trained(settings, tmp_path / "torn", **{"training.save_every": 1})
    Checkpoints(torn.folder / "checkpoints").forget_from(3)
    again = equipoise.Run.open(torn.folder).train(resume=True, quiet=True)
    assert weights(again) == weights(whole)
    for picture in sorted((whole.folder / "samples").glob("step-*.png")):
        assert len(np.unique(np.asarray(Image.open(picture)).reshape(-1, 3), axis=0)) > 8  # greys and colours


def test_the_scores_of_labels_are_those_of_the_highest_planes(runs):
    run = runs["forth"]
    result = run.evaluate_own()
    game, _ = run.trained_game()
    held_out = run.parts(run.source()).held_out
    behind, chosen = restored.whole_pictures(held_out)
    both = [(game.restore(behind.whole(i).given).argmax(1), behind.whole(i).target.argmax(1)) for i in chosen]
    answer, truth = (torch.cat([side.flatten() for side in sides]) for sides in zip(*both))
    for number, name in enumerate(TABLE):
        hit = ((answer == number) & (truth == number)).sum().item()
        size = ((answer == number).sum() + (truth == number).sum()).item()
        assert result.values[f"dice of {name}"] == pytest.approx(2 * hit / size)
    assert result.values["dice"] == pytest.approx(np.mean([result.values[f"dice of {name}"] for name in TABLE]))
    share = torch.bincount(truth, minlength=3).max().item() / len(truth)
    assert result.beside["iou"] == pytest.approx(share / 3)
    assert (result.num, result.of) == (3, "the commonest class everywhere")


def test_the_scores_of_images_have_real_against_real_beside_them(runs):
    run = runs["back"]
    result = run.evaluate_own()
    assert set(result.values) == {"psnr", "ssim", "perceptual", "fid", "kid"}
    assert set(result.beside) == {"fid", "kid"}
    assert result.features.startswith("small-vgg[")
    assert result.more == {"squares": 3 * 4, "side": 16}  # of 40 × 32 pixels, whole squares
    judge = restored.judging_network(run)
    parts = run.parts(run.source())
    held_out, train = (
        [behind.whole(i).target for i in chosen] for behind, chosen in map(restored.whole_pictures, parts[::-1])
    )
    both = [paired.pooled(judge, paired.squares(side, 16)) for side in (held_out, train)]
    assert math.isfinite(frechet_distance(*both))
    assert torch.equal(paired.squares(held_out, 16)[1], held_out[0][0, :, :16, 16:32])
    assert run.evaluate_own(num=1).values["psnr"] != result.values["psnr"]


def test_few_squares_have_no_distribution(runs, monkeypatch, folder, tmp_path):
    monkeypatch.setattr(paired, "FEWEST_CROPS", 13)
    assert set(runs["back"].evaluate_own().values) == {"psnr", "ssim", "perceptual"}
    often = {"judging.every": 1, "judging.metric": "kid"}
    run = trained(BACK, tmp_path / "run", **{"data.path": str(folder)}, **often)
    events = (run.folder / "events.jsonl").read_text("utf-8")
    assert "12 squares of 16 pixels are too few for judging.metric = kid" in events


def test_a_run_is_judged_while_it_trains_by_what_is_measured_of_it(folder, tmp_path):
    often = {"data.path": str(folder), "judging.every": 1}
    with pytest.raises(RecipeError, match=r"psnr is not measured of this game. Use one of: dice, iou"):
        trained(FORTH, tmp_path / "wrong", **often, **{"judging.metric": "psnr"})
    with pytest.raises(RecipeError, match=r"dice is not measured of this game. Use one of: psnr"):
        trained(BACK, tmp_path / "wrong too", **often, **{"judging.metric": "dice"})
    run = trained(FORTH, tmp_path / "run", **often, **{"judging.metric": "dice"})
    entries = json.loads((run.folder / "metrics.json").read_text())
    best = max(entries, key=lambda entry: entry["values"]["dice"])
    assert run.step_of("best") == best["step"]
    assert weights(run) == weights(trained(FORTH, tmp_path / "alone", **{"data.path": str(folder)}))


def test_runs_are_compared_by_dice(runs, folder, tmp_path):
    other = trained(FORTH, tmp_path / "other", **{"data.path": str(folder), "training.seed": 1})
    for run in (runs["forth"], other):
        run.evaluate_own()
    assert compare([runs["forth"].folder, other.folder]).metrics == ("dice", "iou")


def test_label_maps_are_written_in_the_values_of_their_classes(runs, folder, tmp_path):
    run, place = runs["forth"], tmp_path / "in"
    place.mkdir()
    pair = Image.open(folder / "0.png")
    grey = pair.crop((0, 0, 40, 32))
    grey.save(place / "colour.jpg")
    grey.convert("L").save(place / "grey.png")
    grey.convert("L").save(place / "grey.webp", lossless=True)
    Image.fromarray(np.asarray(grey.convert("L")).astype(np.uint16) * 257).save(place / "deep.tif")
    clear = grey.convert("RGBA")
    clear.putalpha(128)
    clear.save(place / "clear.png")
    done = apply_to_files(run, place, tmp_path / "out")
    found = {path.name: Image.open(path) for path in done.written}
    assert set(found) == {"colour.png", "grey.png", "grey.webp", "deep.png", "clear.png"}
    allowed = {tuple(bytes.fromhex(colour[1:])) for colour in TABLE.values()}
    for image in found.values():
        assert (image.size, image.mode) == ((40, 32), "RGB")
        assert {tuple(colour) for colour in np.asarray(image).reshape(-1, 3).tolist()} <= allowed
    planes = run.apply(torch.from_numpy(np.array(grey)).permute(2, 0, 1) / 127.5 - 1)
    expected = Labels.of(TABLE).picture(planes[None])
    stored = np.asarray(found["grey.png"]).transpose(2, 0, 1)
    assert np.array_equal(stored, expected[0].numpy())
    assert np.array_equal(np.asarray(found["deep.png"]), np.asarray(found["grey.png"]))


def test_pictures_are_made_of_label_maps_and_others_are_refused_by_name(runs, folder, tmp_path):
    place = tmp_path / "in"
    place.mkdir()
    Image.open(folder / "0.png").crop((40, 0, 80, 32)).save(place / "label.png")
    Image.open(folder / "0.png").crop((0, 0, 40, 32)).save(place / "photo.png")
    np.save(place / "array.npy", np.zeros((16, 16), dtype=np.float32))
    done = apply_to_files(runs["back"], place, tmp_path / "out")
    assert "no class" in done.skipped["photo.png"]
    assert "for which pictures are expected" in done.skipped["array.npy"]
    (image,) = map(Image.open, done.written)
    assert (image.size, image.mode) == ((40, 32), "RGB")  # the photos of this set are saved as colours


def test_sixteen_bit_classes_are_written_with_sixteen_bits(tmp_path):
    for number in range(4):
        grey = np.random.default_rng(number).integers(0, 256, (16, 16), dtype=np.uint8)
        for side, pixels in (("A", grey), ("B", (grey > 127).astype(np.uint16) * 1000)):
            (tmp_path / side).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / side / f"{number}.png")
    place = {"data.path": str(tmp_path / "B"), "data.given": str(tmp_path / "A"), "data.labels": {"B": [0, 1000]}}
    run = trained(place, tmp_path / "run", **{"data.held_out": 1})
    assert run.evaluate_own(data=tmp_path).num == 4  # its folders A and B
    other = tmp_path / "other"
    for side in "AB":
        (other / side).mkdir(parents=True)
        pixels = np.arange(768).reshape(16, 16, 3).astype(np.uint8) if side == "A" else np.zeros((16, 16), np.uint8)
        Image.fromarray(pixels).save(other / side / "x.png")
    with pytest.raises(DataError, match=r"3 channels are given and 2 asked for.*was trained on: 1 channels"):
        run.evaluate_own(data=other)
    assert run.examples.shape == (2, 16, 16)
    done = apply_to_files(run, tmp_path / "A" / "0.png", tmp_path / "out.png")
    image = Image.open(done.written[0])
    assert image.mode == "I;16"
    assert set(np.unique(np.asarray(image))) <= {0, 1000}


def test_noise_is_the_same_at_every_application(folder, tmp_path):
    network = {"game.network": PAIRS["game.network"] | {"dropout": 0.5, "noise": True}}
    run = trained(BACK, tmp_path / "run", **{"data.path": str(folder)}, **network)
    planes = torch.zeros(3, 20, 24)
    before = torch.random.get_rng_state()
    assert torch.equal(run.apply(planes, tile=16), run.apply(planes, tile=16))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert run.evaluate_own().values == run.evaluate_own().values


def test_a_direction_is_not_to_be_chosen(runs, folder, tmp_path):
    with pytest.raises(RecipeError, match="lets nobody choose a direction"):
        apply_to_files(runs["forth"], folder, tmp_path / "out", choice=Choice(direction="BtoA"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data.labels": {"B": {"sky": 0}}}, "2 to 256"),
        ({"data.labels": {"C": [0, 1]}}, "data.labels"),
        ({"data.direction": "AtoC"}, "expected 'AtoB' or 'BtoA'"),
        ({"data.aligned": False}, "data.aligned for files"),
        ({"data.degrade": [{"kind": "noise"}]}, "Use one"),
        (
            {"data.labels": {"B": {**TABLE, "none": "#000000"}}, "game.network": {"kind": "srresnet"}},
            "here 3 are given and 4 are asked for",
        ),
        ({"game.network": {"kind": "unet", "noise": True, "residual": False}}, "dropout above 0"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(change, words, folder, tmp_path):
    with pytest.raises(RecipeError, match=words):
        trained(FORTH, tmp_path / "run", **{"data.path": str(folder)}, **change)
    assert not (tmp_path / "run").exists()


def test_smaller_givens_and_data_without_pairs_are_refused(folder, tmp_path):
    for number in range(4):
        image = Image.open(folder / f"{number}.png").crop((0, 0, 40, 32))
        image.save(tmp_path / f"{number}_HR.png")
        image.resize((20, 16)).save(tmp_path / f"{number}_LR.png")
    with pytest.raises(RecipeError, match="8 pixels are given of 16"):
        trained({"data.path": str(tmp_path), "data.endings": ["_HR", "_LR"]}, tmp_path / "run")
    with pytest.raises(RecipeError, match="has nothing to restore them from"):
        trained({"data": {"kind": "digits"}}, tmp_path / "run")
    assert paired.Pix2PixSettings().measured(Digits())[0] == "psnr"


def test_the_feature_network_of_parts_is_not_fitted_to_both_sides(tmp_path):
    for side in ("image", "label"):
        (tmp_path / "train" / side).mkdir(parents=True)
        for number in range(2):
            Image.new("L", (16, 16), 255 * (side == "label")).save(tmp_path / "train" / side / f"{number}.png")
    data = restoring.PicturesData(path=tmp_path, part="train/label", given_part="train/image", crop=16)
    assert data.to_learn_from().classes == ()


def test_data_without_a_partner_is_a_data_error(folder, tmp_path):
    with pytest.raises(DataError, match="no images in a part named 'test'"):
        trained({"data.path": str(folder), "data.given_part": "test"}, tmp_path / "run")


def test_the_recipe_of_the_docs_is_one(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "translation.md").read_text("utf-8").split("## Unpaired")[0]
    blocks = [block.split("```")[0] for block in page.split("```toml\n")[1:]]
    (tmp_path / "cells.toml").write_text('base = "pix2pix"\n' + "\n".join(blocks), "utf-8")
    recipe, _ = equipoise.load(tmp_path / "cells.toml", data=tmp_path / "others.zip")
    assert recipe.data.path == tmp_path / "others.zip"
    assert recipe.data.pairing.part == "train/image"
    assert recipe.data.pairing.target_labels == Labels.of({"membrane": 0, "cell": 255})
    assert recipe.game.terms == {"l1": 100.0}
