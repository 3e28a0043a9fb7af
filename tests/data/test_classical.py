"""Classical augmentation: each change alone is what it says, the loader's is a function of the position."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

import equipoise
from equipoise.core.errors import RecipeError
from equipoise.core.seeding import generator
from equipoise.data.classical import Changes, changed
from equipoise.data.loader import Loader
from equipoise.data.source import tensor_source


def pictures(num: int = 64, channels: int = 1, side: int = 16) -> torch.Tensor:
    return torch.rand(num, channels, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


def dots(num: int = 200) -> torch.Tensor:
    x = torch.full((num, 1, 17, 17), -1.0)
    x[:, :, 8, 8] = 1
    return x


def centres(x: torch.Tensor) -> torch.Tensor:
    """Where the light is, relative to the middle, in pixels: [N, 2] right and down."""
    light, places = x[:, 0] + 1, torch.arange(x.shape[-1]) - (x.shape[-1] - 1) / 2
    total = light.sum((1, 2))
    return torch.stack([(light.sum(1) * places).sum(1), (light.sum(2) * places).sum(1)], 1) / total[:, None]


def test_nothing_is_changed_unless_asked_for():
    x = pictures()
    assert torch.equal(changed(x, Changes()), x)
    assert torch.equal(changed(x, Changes(rotation=90, brightness=1, share=0)), x)


@pytest.mark.parametrize(("change", "dimension"), [("mirror", 3), ("flip", 2)])
def test_about_half_of_the_images_are_mirrored_exactly(change, dimension):
    x = pictures(400)
    y = changed(x, Changes(**{change: True}))
    same = (y - x).abs().amax((1, 2, 3)) < 1e-5
    turned = (y - x.flip(dimension)).abs().amax((1, 2, 3)) < 1e-5
    assert (same | turned).all()
    assert 0.4 < turned.float().mean() < 0.6


def test_a_shift_is_uniform_up_to_a_share_of_the_side():
    moved = centres(changed(dots(1000), Changes(shift=0.25, fill="black")))
    assert moved.abs().max() < 0.25 * 17 + 0.1
    assert moved.std(0) == pytest.approx([0.25 * 17 / 3**0.5] * 2, rel=0.1)


def test_a_turn_keeps_the_distance_from_the_middle_and_a_zoom_changes_it():
    x = torch.full((500, 1, 33, 33), -1.0)
    x[:, :, 15:18, 23:26] = 1  # eight pixels right of the middle
    turned = centres(changed(x, Changes(rotation=90, fill="black")))
    assert turned.norm(dim=1) == pytest.approx([8.0] * 500, abs=0.35)
    angles = torch.atan2(turned[:, 1], turned[:, 0])
    assert angles.abs().max() < torch.pi / 2 + 0.1
    assert angles.std() == pytest.approx(torch.pi / 2 / 3**0.5, rel=0.1)
    zoomed = centres(changed(x, Changes(zoom=0.5, fill="black")))[:, 0]
    assert 8 / 1.5 - 0.5 < zoomed.min() < 6.2
    assert 10 < zoomed.max() < 8 * 1.5 + 0.5


def test_a_shear_moves_rows_against_each_other():
    x = torch.full((300, 1, 33, 33), -1.0)
    x[:, :, 24, 16] = 1  # eight pixels below the middle
    moved = centres(changed(x, Changes(shear=45, fill="black")))
    assert moved[:, 1] == pytest.approx([8.0] * 300, abs=0.1)
    assert moved[:, 0].abs().max() == pytest.approx(8, abs=0.6)


@pytest.mark.parametrize(("fill", "beyond"), [("black", -1.0), ("border", 0.5), ("reflect", 0.5)])
def test_what_comes_in_from_beyond_the_edge_has_a_name(fill, beyond):
    y = changed(torch.full((100, 1, 8, 8), 0.5), Changes(shift=0.9, fill=fill))
    assert y.min() == pytest.approx(beyond, abs=1e-5)


def test_colours_stay_in_the_range_and_grey_has_no_saturation():
    x = pictures(channels=3)
    y = changed(x, Changes(brightness=1, contrast=1, saturation=2))
    assert y.abs().max() <= 1
    assert not torch.equal(x, y)
    grey = pictures()
    assert torch.allclose(changed(grey, Changes(saturation=2)), grey)
    flat = torch.full((4, 1, 8, 8), 0.25)
    assert torch.allclose(changed(flat, Changes(contrast=1)), flat)
    assert changed(flat, Changes(brightness=0.5)).std() > 0.05


def test_a_cutout_hides_a_square_of_its_side():
    y = changed(torch.ones(500, 1, 32, 32), Changes(cutout=0.25))
    hidden = (y == 0).sum((1, 2, 3))
    assert hidden.max() == 64
    assert 64 * 0.6 < hidden.float().mean() < 64  # less at the edges


def test_gradients_flow_twice_through_what_moves_pixels():
    x = pictures(2, side=5).double().requires_grad_()

    def change(x):
        draw = torch.Generator().manual_seed(1)
        return changed(x, Changes(rotation=30, zoom=0.2, shift=0.1, contrast=0.2, cutout=0.3), draw=draw)

    assert gradcheck(change, x)
    assert gradgradcheck(change, x)


def test_the_loader_changes_images_as_a_function_of_their_position():
    source = tensor_source("pictures", (pictures(40) * 127.5 + 127.5).to(torch.uint8))
    changes = Changes(mirror=True, rotation=20, shift=0.1)
    plain, other = Loader(source, labels=False, seed=3), Loader(source, labels=False, seed=3, changes=changes)
    torch.rand(5)
    y = other(80, 8)
    assert torch.equal(y, other(80, 8))
    assert torch.equal(y, changed(plain(80, 8), changes, draw=generator(3, "augmentation", 80)))
    assert not torch.equal(other(80, 8), other(120, 8))


@pytest.mark.parametrize(
    ("settings", "words"), [({"rotation": 200}, "0 to 180"), ({"fill": "wrap"}, "reflect"), ({"zoom": -1}, "0 to 4")]
)
def test_changes_that_make_no_sense_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        Changes(**settings)
    with pytest.raises(RecipeError, match=words):
        equipoise.load("digits", settings={"data.augmentation": settings})


def test_points_cannot_be_mirrored(tmp_path):
    for settings, words in (
        ({"data.augmentation.mirror": True}, r"data\.augmentation changes images"),
        ({"game.classical": True}, r"game\.classical shifts, mirrors and colours images"),
    ):
        with pytest.raises(RecipeError, match=words):
            equipoise.train("ring", settings=settings, folder=tmp_path / "run", quiet=True)
