"""The preview of augmentation shows what training does, and refuses where there is nothing to show."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from equipoise.core.errors import DataError, RecipeError
from equipoise.core.game import Clock
from equipoise.core.schedule import Schedule
from equipoise.core.seeding import seed_torch, stable_seed
from equipoise.data import Loader
from equipoise.recipes import load
from equipoise.runs.parts import Examples
from equipoise.runs.preview import previewed, strongest, write_preview
from equipoise.runs.provenance import read_label
from equipoise.runs.recipe import Recipe
from equipoise.runs.run import Run


def recipe_of(settings: dict[str, object], data: str | Path = "digits") -> Recipe:
    return load(data=data, settings=settings)[0]


@pytest.fixture
def alike(tmp_path: Path) -> Path:
    """Ten times the same colour image, which is symmetric in no way."""
    pixels = np.random.default_rng(0).integers(0, 256, (10, 10, 3), dtype=np.uint8)
    (tmp_path / "alike").mkdir()
    for number in range(10):
        Image.fromarray(pixels).save(tmp_path / "alike" / f"{number}.png")
    return tmp_path / "alike"


def test_rows_are_training_images_and_what_the_loader_deals_of_them(alike):
    settings = {"rotation": 30, "mirror": True, "zoom": 0.5, "brightness": 0.3, "cutout": 0.3, "fill": "black"}
    recipe = recipe_of({"data.augmentation": settings, "data.held_out": 2}, alike)
    seen = previewed(recipe, num=4, variants=3, seed=7)
    assert seen.critic is None
    assert seen.loader is not None
    assert seen.loader.shape == (4, 4, 3, 10, 10)
    run = Run.draft(recipe, origin="test", folder=Path("x"))
    train = run.parts(run.source()).train
    assert torch.equal(seen.loader[:, 0], train.examples(torch.arange(4)))
    # All images are the same, so it does not matter which of them the loader deals.
    dealt = Loader(train, labels=False, seed=7, changes=recipe.data.augmentation)
    for variant in range(3):
        assert torch.equal(seen.loader[:, 1 + variant], dealt(variant, 4))


def test_rows_begin_with_different_training_images_and_no_held_out_ones():
    recipe = recipe_of({"data.augmentation.mirror": True, "data.held_out": 500})
    seen = previewed(recipe, num=12, variants=1)
    assert seen.loader is not None
    run = Run.draft(recipe, origin="test", folder=Path("x"))
    train, held_out = (part.examples(torch.arange(len(part))) for part in run.parts(run.source()))
    for image in seen.loader[:, 0]:
        assert (train == image).flatten(1).all(1).any()
        assert not (held_out == image).flatten(1).all(1).any()
    assert len(seen.loader[:, 0].unique(dim=0)) == 12
    variant, image = seen.loader[:, 1], seen.loader[:, 0]
    mirrored = torch.isclose(variant, image.flip(3), atol=1e-5).flatten(1).all(1)
    same = torch.isclose(variant, image, atol=1e-5).flatten(1).all(1)
    assert (mirrored | same).all()
    assert mirrored.any()
    assert same.any()


def test_a_second_block_is_what_the_critic_of_the_game_sees():
    settings = {
        "data.augmentation.rotation": 20,
        "game.classical": True,
        "game.diffaugment": True,
        "game.ada": True,
        "game.instance_noise": 0.3,
    }
    recipe = recipe_of(settings)
    seen = previewed(recipe, num=5, variants=2, seed=3)
    assert seen.loader is not None
    assert seen.critic is not None
    assert torch.equal(seen.critic[:, 0], seen.loader[:, 0])
    game = recipe.game.build(Examples("digits", (1, 8, 8)))
    dict(game.named_buffers())["states.augmentation_3.dose.p"].fill_(0.8)  # at the limit
    with torch.no_grad():
        seed_torch(stable_seed(3, "preview"), torch.device("cpu"))
        for variant in (1, 2):
            assert torch.equal(seen.critic[:, variant], game.shown(seen.loader[:, variant], Clock(step=0, total=10)))
    assert len(seen.lines) == 2
    assert seen.lines[0].startswith("Rows 1 to 5: an image, then as data.augmentation (rotation = 20, fill = reflect)")
    assert seen.lines[1].startswith("Rows 6 to 10: an image, then as the critic sees it by game.instance_noise (")
    assert "game.ada (at its strongest, p = 0.8), after data.augmentation." in seen.lines[1]


def test_augmentation_of_the_game_alone_is_one_block():
    seen = previewed(recipe_of({"game.diffaugment": {"policy": ["cutout"]}}), num=2, variants=4)
    assert seen.loader is None
    assert seen.lines == ("Rows 1 to 2: an image, then as the critic sees it by game.diffaugment (policy = cutout).",)
    assert seen.critic is not None
    changed = seen.critic[:, 1:] != seen.critic[:, :1]
    assert (seen.critic[:, 1:][changed] == 0).all()  # a grey square, and nothing else


def test_what_grows_and_fades_is_shown_at_its_strongest():
    rising = {"start": 0.0, "end": 0.5, "begin": 0.2, "until": 0.6}
    assert "p = 0.5" in previewed(recipe_of({"game.ada.p": rising}), num=1, variants=1).lines[0]
    falling = previewed(recipe_of({"game.instance_noise": {"start": 0.2, "end": 0.0}}), num=200, variants=5)
    assert "std = 0.2" in falling.lines[0]
    assert falling.critic is not None
    assert (falling.critic[:, 1:] - falling.critic[:, :1]).std().item() == pytest.approx(0.2, rel=0.02)
    assert strongest(Schedule(start=1.0, end=0.0, warmup=0.25)) == 0.25
    assert strongest(0.3) == 0.0


def test_the_same_seed_gives_the_same_picture_and_another_one_another():
    recipe = recipe_of({"data.augmentation.shift": 0.3, "game.diffaugment": True})
    state = torch.get_rng_state()
    one, again, other = (previewed(recipe, num=3, variants=3, seed=seed).picture() for seed in (0, 0, 1))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    assert torch.equal(state, torch.get_rng_state())


def test_standardised_images_are_shown_in_their_own_units(alike):
    plain = {"data.augmentation.mirror": True, "data.held_out": 2}
    one = previewed(recipe_of(plain, alike), num=2, variants=2)
    two = previewed(recipe_of({**plain, "data.standardise": "range"}, alike), num=2, variants=2)
    assert one.loader is not None
    assert two.loader is not None
    assert torch.allclose(one.loader, two.loader, atol=1e-4)


def test_the_picture_has_a_row_for_each_image_which_stands_apart_from_its_variants(tmp_path):
    seen = previewed(recipe_of({"data.augmentation.rotation": 10, "game.diffaugment": True}), num=2, variants=3)
    assert seen.loader is not None
    picture = seen.picture()
    side = 20 * 8  # 640 pixels over four columns of eight pixels
    column, row = side + 2, side + 2
    assert picture.shape == (2 * (2 * row + 2) + 10, (column + 2) + 10 + (3 * column + 2), 3)
    grey = ((seen.loader[1, 0, 0] + 1) * 127.5).round().to(torch.uint8).numpy()
    shown = picture[2 + row : 2 + row + side, 2 : 2 + side]
    assert np.array_equal(shown[10::20, 10::20, 0], grey)
    assert (picture[:, column + 2 : column + 12] == 255).all()
    assert (picture[2 * row + 2 : 2 * row + 12] == 255).all()
    variant = ((seen.loader[0, 3, 0] + 1) * 127.5).round().to(torch.uint8).numpy()
    left = (column + 2) + 10 + 2 * column + 2
    assert np.array_equal(picture[2 : 2 + side, left : left + side][10::20, 10::20, 0], variant)

    path = write_preview(seen, tmp_path / "new" / "look.png")
    assert np.array_equal(np.asarray(Image.open(path)), picture)
    assert read_label(path.read_bytes()) is None  # it shows real data


@pytest.mark.parametrize(
    "settings", [{}, {"data.augmentation.share": 0.5}, {"data.augmentation": {"share": 0, "mirror": True}}]
)
def test_a_recipe_that_augments_nothing_is_refused_with_the_settings_that_would(settings):
    with pytest.raises(RecipeError, match=r"augments nothing.*data.augmentation \(mirror, flip, rotation.*game.ada"):
        previewed(recipe_of(settings))


def test_points_cannot_be_augmented():
    recipe = load("ring", settings={"data.augmentation.mirror": True})[0]
    with pytest.raises(DataError, match=r"examples of shape \(2,\): expected images"):
        previewed(recipe)


@pytest.mark.parametrize(("num", "variants"), [(0, 8), (8, 0), (500, 8)])
def test_senseless_numbers_are_refused(num, variants):
    with pytest.raises(RecipeError, match="expected at least 1 of both and 4096 in all"):
        previewed(recipe_of({"game.diffaugment": True}), num=num, variants=variants)


def test_of_few_images_all_are_shown(alike):
    recipe = recipe_of({"data.augmentation.mirror": True, "data.held_out": 3}, alike)
    seen = previewed(recipe, num=50, variants=2)
    assert seen.loader is not None
    assert seen.loader.shape[:2] == (7, 3)
