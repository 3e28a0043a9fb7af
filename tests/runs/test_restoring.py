"""Runs that restore pictures: trained, judged beside what was given, resumed, and applied to files of any kind."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import equipoise
from equipoise.core.errors import DataError, RecipeError
from equipoise.data.pictures import Pair
from equipoise.engine.checkpoint import Checkpoints
from equipoise.metrics.image_quality import eight_bit, luma, psnr
from equipoise.runs import restored, restoring
from equipoise.runs import run as module
from equipoise.runs.applying import apply_to_files
from equipoise.runs.comparison import compare, write_page
from equipoise.runs.provenance import read_label
from equipoise.runs.recipe import Recipe, from_dict, parse_setting, parse_toml, to_toml, with_settings
from tests.cli.made import TINY

QUIET = dict(map(parse_setting, (s for s in TINY if not s.startswith("game.")))) | {"data.check": False}
SR = {
    "game.kind": "srgan",
    "game.network": {"kind": "srresnet", "width": 4, "num_blocks": 1},
    "game.critic": {"kind": "patch", "width": 4, "num_layers": 1},
    "game.perceptual": 0.5,
    "data.kind": "pictures",
    "data.crop": 16,
    "data.degrade": [{"kind": "downscale", "factor": 2}],
}
HOLES = {
    "game.kind": "inpainting",
    "game.network": {"kind": "gated", "width": 4},
    "game.critic": {"kind": "patch", "width": 4, "num_layers": 1},
    "data.kind": "pictures",
    "data.crop": 16,
    "data.masks": [{"kind": "boxes"}],
}
NOISE = {
    "game.kind": "denoising",
    "game.network": {"kind": "dncnn", "width": 4, "depth": 3},
    "game.critic": {"kind": "unet", "width": 4},
    "data.kind": "pictures",
    "data.crop": 16,
    "data.degrade": [{"kind": "noise", "sigma": [25, 25]}],
}


@pytest.fixture(autouse=True)
def lean(monkeypatch):
    """No report, and feature networks after hardly any training."""
    monkeypatch.setattr(module, "write_report", lambda folder: folder)
    monkeypatch.setattr(restored, "JUDGE_STEPS", 2)
    fit = restoring.fit_small_vgg
    monkeypatch.setattr(restoring, "fit_small_vgg", lambda source, **how: fit(source, num_steps=2, width=4, **how))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    smooth = np.random.default_rng(0).uniform(0, 255, (8, 4, 5, 3)).astype(np.uint8)
    for number, pixels in enumerate(smooth):
        Image.fromarray(pixels).resize((40, 32), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return folder


def trained(settings, folder, **more):
    recipe = with_settings(Recipe(), {**QUIET, **settings, **more})
    return equipoise.Run.create(recipe, origin="python", folder=folder).train(quiet=True)


@pytest.mark.parametrize("settings", [SR, HOLES, NOISE], ids=["srgan", "inpainting", "denoising"])
def test_a_recipe_is_a_file_and_a_run_trains_judges_and_resumes_exactly(settings, pictures, tmp_path):
    settings = settings | {"data.path": str(pictures), "training.steps": 4, "judging.at_end": True}
    recipe = with_settings(Recipe(), {**QUIET, **settings})
    assert from_dict(parse_toml(to_toml(recipe), where="here")) == recipe
    whole = trained(settings, tmp_path / "whole")
    entry = json.loads((whole.folder / "metrics.json").read_text())[-1]
    assert set(entry["values"]) == {"psnr", "ssim", "perceptual", "error", "bias"} == set(entry["given"])
    torn = trained(settings, tmp_path / "torn", **{"training.save_every": 1})
    Checkpoints(torn.folder / "checkpoints").forget_from(3)
    again = equipoise.Run.open(torn.folder).train(resume=True, quiet=True)
    assert weights(again) == weights(whole)
    black = torch.zeros(whole.examples.given[0], 10, 12)
    assert torch.equal(equipoise.Run.open(whole.folder).apply(black), again.apply(black))
    assert len(list((whole.folder / "samples").glob("step-*.png"))) >= 2


def weights(run):
    return {name: tensor.tolist() for name, tensor in run.trained_game()[0].state_dict().items()}


def test_judging_while_training_changes_nothing(pictures, tmp_path):
    settings = SR | {"data.path": str(pictures), "training.steps": 4}
    judged = trained(settings, tmp_path / "judged", **{"judging.every": 1, "judging.metric": "psnr"})
    assert len(json.loads((judged.folder / "metrics.json").read_text())) == 4
    assert weights(judged) == weights(trained(settings, tmp_path / "alone"))


@pytest.mark.parametrize(("settings", "words"), [(SR, "4 times larger"), (HOLES, "3 channels are given")])
def test_pictures_of_which_something_else_is_given_are_not_judged(settings, words, pictures, tmp_path):
    run = trained(settings, tmp_path / "run", **{"data.path": str(pictures)})
    others = tmp_path / "others"
    others.mkdir()
    for path in sorted(pictures.iterdir()):
        image = Image.open(path)
        image.save(others / f"{path.stem}_HR.png")
        image.resize((10, 8), Image.Resampling.BICUBIC).save(others / f"{path.stem}_LR.png")
    with pytest.raises(DataError, match=words):
        run.evaluate_restoration(data=others)


def test_the_scores_of_what_was_given_are_those_of_bicubic_enlargement(pictures, tmp_path):
    run = trained(SR, tmp_path / "run", **{"data.path": str(pictures)})
    result = run.evaluate_restoration(num=2)
    assert (result.num_pictures, result.shave, result.luma) == (2, 2, True)
    assert result.features.startswith("small-vgg[")
    values = []
    held_out = run.parts(run.source()).held_out
    behind, chosen = restored.whole_pictures(held_out)
    for index in chosen[:2]:
        given, target = behind.whole(index)
        assert isinstance(behind.whole(index), Pair)
        large = torch.nn.functional.interpolate(given, size=target.shape[2:], mode="bicubic", antialias=True)
        values.append(psnr(luma(eight_bit(large.clamp(-1, 1))), luma(target), shave=2).item())
    assert result.given.psnr == pytest.approx(np.mean(values))
    other = run.evaluate_restoration(data=pictures)
    assert other.num_pictures == 8


def test_restorations_are_compared_by_their_own_scores_on_the_same_pictures(pictures, tmp_path):
    runs = [
        trained(NOISE, tmp_path / f"{seed}", **{"data.path": str(pictures), "training.seed": seed}) for seed in (0, 1)
    ]
    for run in runs:
        run.evaluate_restoration(data=pictures)
    found = compare([run.folder for run in runs])
    assert found.metrics == ("psnr", "ssim", "perceptual")
    assert len(found.groups) == 1
    assert "8 pictures of" in write_page(found, tmp_path / "page.html").read_text("utf-8")
    runs[1].evaluate_restoration(data=pictures, num=3)
    assert not compare([run.folder for run in runs]).refused  # the scores of all eight are there too
    (tmp_path / "1" / "metrics.json").write_text(
        json.dumps(json.loads((tmp_path / "1" / "metrics.json").read_text())[-1:])
    )
    assert "num_real: 8 in 0, 3 in 1" in compare([run.folder for run in runs]).refused


def test_a_test_set_with_its_own_givens_is_taken_as_it_is(pictures, tmp_path):
    run = trained(SR, tmp_path / "run", **{"data.path": str(pictures)})
    folder = tmp_path / "set"
    folder.mkdir()
    image = Image.open(pictures / "0.png")
    image.save(folder / "a_HR.png")
    image.resize((20, 16), Image.Resampling.BOX).save(folder / "a_LR.png")
    image.save(folder / "b_HR.png")
    image.resize((20, 16), Image.Resampling.BICUBIC).save(folder / "b_LR.png")
    result = run.evaluate_restoration(data=folder)
    assert result.num_pictures == 2
    assert run.evaluate_restoration(data=folder, num=1).given.psnr != result.given.psnr


def test_files_of_a_folder_keep_name_depth_and_transparency_and_carry_the_label(pictures, tmp_path):
    run = trained(SR, tmp_path / "run", **{"data.path": str(pictures)})
    folder, out = tmp_path / "in", tmp_path / "out"
    (folder / "below").mkdir(parents=True)
    colour = Image.open(pictures / "0.png")
    colour.save(folder / "colour.jpg")
    colour.save(folder / "below" / "picture.bmp")
    clear = colour.copy()
    clear.putalpha(Image.linear_gradient("L").resize(colour.size))
    clear.save(folder / "clear.png")
    Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 100).save(folder / "deep.png")
    colour.convert("L").save(folder / "grey.webp", lossless=True)
    (folder / "notes.txt").write_text("no picture")
    (folder / "broken.png").write_bytes((pictures / "1.png").read_bytes()[:60])
    done = apply_to_files(run, folder, out, tile=16)
    assert set(done.skipped) == {"notes.txt", "broken.png"}
    found = {path.relative_to(out).as_posix(): Image.open(path) for path in done.written}
    assert set(found) == {"colour.jpg", "below/picture.png", "clear.png", "deep.png", "grey.webp"}
    assert {name: image.size for name, image in found.items()} == dict.fromkeys(found, (80, 64)) | {
        "deep.png": (60, 40)
    }
    assert {name: image.mode for name, image in found.items()} == {
        "colour.jpg": "RGB",
        "below/picture.png": "RGB",
        "clear.png": "RGBA",
        "deep.png": "I;16",
        "grey.webp": "RGB",  # WebP knows no grey
    }
    alpha = np.asarray(found["clear.png"].getchannel("A")).astype(float)
    assert alpha[0].max() < 10
    assert alpha[-1].min() > 240
    deep = np.asarray(found["deep.png"])
    assert len(np.unique(deep)) > 256
    for path in done.written:
        label = read_label(path)
        assert label is not None
        assert label.run == run.id
        assert label.statement.startswith("Restored by a generative model")
        assert label.source_type.endswith("/compositeWithTrainedAlgorithmicMedia")
    assert apply_to_files(run, folder / "colour.jpg", tmp_path / "one.png").written == [tmp_path / "one.png"]


def test_nothing_is_written_over(pictures, tmp_path):
    run = trained(SR, tmp_path / "run", **{"data.path": str(pictures)})
    folder = tmp_path / "in"
    folder.mkdir()
    image = Image.open(pictures / "0.png")
    image.save(folder / "a.bmp")
    image.save(folder / "a.png")
    (folder / "v1.0").mkdir()
    image.save(folder / "v1.0" / "a.png")
    before = {path: path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}
    for out in (folder / "a.png", folder):
        with pytest.raises(DataError, match=r"would be written over .*a\.png: choose another place"):
            apply_to_files(run, folder / "a.png", out)
    with pytest.raises(DataError, match="choose another place"):
        apply_to_files(run, folder, folder)
    done = apply_to_files(run, folder, tmp_path / "out")
    assert done.skipped == {"a.png": "its answer would be written over that of a.bmp: rename one of them"}
    assert apply_to_files(run, folder / "a.bmp", folder / "v1.0" / "b.png").written == [folder / "v1.0" / "b.png"]
    assert apply_to_files(run, pictures / "1.png", folder / "v1.0").written == [folder / "v1.0" / "1.png"]
    below = apply_to_files(run, folder, folder / "v1.0")  # a.png there is an original too
    assert set(below.skipped) == {"a.bmp", "a.png"}
    assert {path: path.read_bytes() for path in before} == before
    with pytest.raises(DataError, match=r"cannot be written as x\.txt\. Use one of: \.png"):
        apply_to_files(run, folder / "a.png", tmp_path / "x.txt")


def test_a_picture_too_small_for_the_network_is_named(pictures, tmp_path):
    network = {"game.network": {"kind": "fourier", "width": 4}}
    run = trained(HOLES | network, tmp_path / "run", **{"data.path": str(pictures)})
    tiny = Image.new("RGBA", (4, 40))
    tiny.save(tmp_path / "tiny.png")
    with pytest.raises(DataError, match=r"tiny\.png: 4 × 40 pixels: this network needs at least \d+ on each side"):
        apply_to_files(run, tmp_path / "tiny.png", tmp_path / "out.png")


def test_what_is_transparent_is_a_hole_and_what_is_known_stays(pictures, tmp_path):
    run = trained(HOLES, tmp_path / "run", **{"data.path": str(pictures)})
    image = Image.open(pictures / "0.png").convert("RGB")
    hole = Image.new("L", image.size, 255)
    hole.paste(0, (8, 8, 20, 20))
    torn = image.copy()
    torn.putalpha(hole)
    torn.save(tmp_path / "torn.png")
    apply_to_files(run, tmp_path / "torn.png", tmp_path / "whole.png", tile=16)
    before, after = np.asarray(image).astype(int), np.asarray(Image.open(tmp_path / "whole.png")).astype(int)
    known = np.asarray(hole) == 255
    assert np.array_equal(before[known], after[known])
    assert not np.array_equal(before[~known], after[~known])
    image.save(tmp_path / "sound.png")
    with pytest.raises(DataError, match="--mask"):
        apply_to_files(run, tmp_path / "sound.png", tmp_path / "no.png")
    Image.fromarray((~known * 255).astype(np.uint8)).save(tmp_path / "mask.png")
    apply_to_files(run, tmp_path / "sound.png", tmp_path / "again.png", masks=tmp_path / "mask.png", tile=16)
    assert np.array_equal(
        np.asarray(Image.open(tmp_path / "again.png")), np.asarray(Image.open(tmp_path / "whole.png"))
    )


def test_scans_are_restored_in_their_own_units(tmp_path):
    draw = np.random.default_rng(0)
    volume = np.repeat(np.repeat(draw.uniform(-900, 2900, (20, 5, 6)), 4, 1), 4, 2).astype(np.float32)
    np.save(tmp_path / "scan.npy", volume)
    scans = {"data.path": str(tmp_path / "scan.npy"), "data.range": [-1000, 3000], "judging.at_end": True}
    run = trained(NOISE, tmp_path / "run", **scans)
    done = apply_to_files(run, tmp_path / "scan.npy", tmp_path / "out.npy", tile=16)
    answered = np.load(done.written[0])
    assert answered.shape == volume.shape
    assert np.abs(answered - volume).mean() < 300  # a fresh denoiser answers about what it is given
    scores = json.loads((run.folder / "metrics.json").read_text())[-1]
    assert 100 < scores["given"]["error"] < 400  # noise of 25 levels of 255, in units of 4000
    assert (tmp_path / "out.npy.json").exists()
    np.save(tmp_path / "bad.npy", np.full((8, 8), np.nan))
    with pytest.raises(DataError, match="finite"):
        apply_to_files(run, tmp_path / "bad.npy", tmp_path / "x.npy")


def test_scans_are_compared_and_shown_within_their_window(tmp_path):
    draw = np.random.default_rng(0)
    volume = np.repeat(np.repeat(draw.uniform(-400, 2400, (20, 5, 6)), 4, 1), 4, 2).astype(np.float32)
    np.save(tmp_path / "scan.npy", volume)
    scans = {"data.path": str(tmp_path / "scan.npy"), "data.range": [-1000, 3000], "judging.at_end": False}
    whole = trained(NOISE, tmp_path / "whole", **scans)
    narrow = trained(NOISE, tmp_path / "narrow", **scans, **{"data.window": [0.0, 100.0]})
    everything, inside = (run.evaluate_restoration() for run in (whole, narrow))
    assert (everything.window, inside.window) == (None, (0.0, 100.0))
    assert inside.given.error == everything.given.error  # errors are those of all values
    assert inside.given.psnr < everything.given.psnr - 5  # the same noise within a fortieth of the values
    values = narrow.for_looking(torch.tensor([[[[-50.0, 50.0, 200.0]]]]))
    assert values.flatten().tolist() == [-1, 0, 1]
    with pytest.raises(RecipeError, match="the lower first"):
        trained(NOISE, tmp_path / "bad", **scans, **{"data.window": [100.0, 0.0]})


def test_a_run_is_judged_while_it_trains_by_a_metric_of_pictures(pictures, tmp_path):
    often = {"data.path": str(pictures), "training.steps": 4, "judging.every": 2}
    with pytest.raises(RecipeError, match="psnr, ssim, perceptual"):
        trained(NOISE, tmp_path / "wrong", **often)
    run = trained(NOISE, tmp_path / "run", **often, **{"judging.metric": "psnr"})
    entries = json.loads((run.folder / "metrics.json").read_text())
    assert [entry["step"] for entry in entries] == [2, 4]
    best = max(entries, key=lambda entry: entry["values"]["psnr"])
    assert run.step_of("best") == best["step"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data.degrade": []}, "fourier"),  # nothing smaller is given: a network for that
        ({"game.network": {"kind": "dncnn"}}, "2 times larger"),
        ({"data.augmentation": {"mirror": True}}, "data.turns"),
        ({"data.standardise": "range"}, "data.range"),
        ({"data.given": "elsewhere"}, "Use one"),
        ({"data.degrade": [{"kind": "downscael"}]}, "downscale"),
        ({"game.features": {"network": "vgg19"}}, "features.weights"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(change, words, pictures, tmp_path):
    if not change.get("data.degrade", True):
        change = change | {"data.masks": [{"kind": "half"}]}
    with pytest.raises(RecipeError, match=words):
        trained(SR, tmp_path / "run", **{"data.path": str(pictures)}, **change)
    assert not (tmp_path / "run").exists()


def test_games_of_other_kinds_restore_nothing(pictures, tmp_path):
    recipe, origin = equipoise.load("ring", settings=dict(map(parse_setting, TINY)))
    run = equipoise.Run.create(recipe, origin=origin, folder=tmp_path / "ring").train(quiet=True)
    with pytest.raises(RecipeError, match="answers no pictures"):
        run.evaluate_restoration(source=run.source())
    with pytest.raises(RecipeError, match="answers no pictures"):
        apply_to_files(run, Path(pictures) / "0.png", tmp_path / "x.png")


def test_the_recipe_of_the_docs_is_one_and_other_pictures_are_made_worse_alike(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "restoration.md").read_text("utf-8")
    (tmp_path / "sr4.toml").write_text(page.split("```toml\n")[1].split("```")[0], "utf-8")
    recipe, _ = equipoise.load(tmp_path / "sr4.toml", data=tmp_path / "others")
    assert recipe.data.path == tmp_path / "others"
    assert recipe.data.degrade == equipoise.load(tmp_path / "sr4.toml")[0].data.degrade
    assert recipe.game.network == restoring.Srresnet(width=48, num_blocks=8)
