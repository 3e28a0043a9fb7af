"""Differentiable augmentations: what they do to images, how often, and that gradients go through."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from equipoise.data.augment import (
    ADA_KINDS,
    ADA_LIMIT,
    DIFFAUGMENT_POLICY,
    ada,
    ada_step,
    diffaugment,
    instance_noise,
    jittered,
    pseudo,
)

IMAGE_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "diffaugment": diffaugment,
    "ada": lambda x: ada(x, torch.tensor(0.7)),
    "jittered": jittered,
}


def images(num: int = 6, channels: int = 3, size: int = 8) -> Tensor:
    return torch.rand(num, channels, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def seeded(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    torch.manual_seed(5)
    return function(x)


# What all of them keep


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", IMAGE_FUNCTIONS)
def test_shapes_and_number_formats_stay(name: str, dtype: torch.dtype, channels: int):
    x = images(channels=channels).to(dtype)[:, :, :7]
    y = IMAGE_FUNCTIONS[name](x)
    assert (y.shape, y.dtype) == (x.shape, dtype)
    assert torch.isfinite(y).all()
    assert not torch.equal(y, x)


@pytest.mark.parametrize("name", IMAGE_FUNCTIONS)
def test_the_memory_layout_and_autocast_change_nothing(name: str):
    function, x = IMAGE_FUNCTIONS[name], images()
    expected = seeded(function, x)
    with torch.autocast("cpu", torch.bfloat16):
        found = seeded(function, x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", IMAGE_FUNCTIONS)
def test_the_seed_decides_and_the_input_stays(name: str):
    function, x = IMAGE_FUNCTIONS[name], images()
    before = x.clone()
    first, second = seeded(function, x), seeded(function, x)
    assert torch.equal(first, second)
    assert not torch.equal(first, function(x))
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", IMAGE_FUNCTIONS)
def test_gradients_and_their_gradients_are_right(name: str):
    x = images(2, 3, 4).double().requires_grad_()
    # Squared, because the functions are linear: of those, second derivatives are zero.
    assert gradcheck(lambda x: seeded(IMAGE_FUNCTIONS[name], x), (x,))
    assert gradgradcheck(lambda x: seeded(IMAGE_FUNCTIONS[name], x).square(), (x,))


@pytest.mark.parametrize("name", IMAGE_FUNCTIONS)
@pytest.mark.parametrize("shape", [(5, 2), (5, 1, 8), (5,)])
def test_image_functions_refuse_vectors_and_say_what_suits_them(name: str, shape: tuple[int, ...]):
    with pytest.raises(ValueError, match=r"expected images \[N, C, H, W\]. For vectors use instance noise or pseudo"):
        IMAGE_FUNCTIONS[name](torch.zeros(shape))


# DiffAugment


def test_without_a_policy_diffaugment_changes_nothing():
    assert torch.equal(diffaugment(images(), ()), images())


def test_brightness_is_uniform_within_a_half():
    y = diffaugment(torch.full((4000, 3, 2, 2), 0.3), ("color",))  # grey, so saturation and contrast do nothing
    shift = y[:, 0, 0, 0] - 0.3
    torch.testing.assert_close(y, (shift + 0.3).view(-1, 1, 1, 1).expand_as(y))
    assert shift.abs().max() <= 0.5
    assert shift.mean().item() == pytest.approx(0, abs=0.02)
    assert shift.var().item() == pytest.approx(1 / 12, rel=0.05)


def test_contrast_spreads_grey_pixels_by_a_half_to_one_and_a_half():
    x = torch.tensor([-1.0, 1.0]).view(1, 1, 1, 2).expand(4000, 3, 1, 2)
    contrast = diffaugment(x, ("color",)).diff(dim=3)[:, 0].flatten() / 2
    assert 0.5 <= contrast.min() <= contrast.max() <= 1.5
    assert contrast.var().item() == pytest.approx(1 / 12, rel=0.05)


def test_saturation_spreads_the_channels_by_up_to_two():
    x = torch.tensor([-1.0, 0.0, 1.0]).view(1, 3, 1, 1).expand(8000, 3, 1, 1)
    y = diffaugment(x, ("color",))
    spread = (y[:, 2] - y[:, 0]).flatten() / 2  # saturation · contrast
    torch.testing.assert_close(y[:, 1], y.mean(1))
    assert 0 <= spread.min() <= spread.max() <= 3
    assert spread.mean().item() == pytest.approx(1, abs=0.03)
    # E (sc)² = (1 + 1/3)(1 + 1/12)
    assert spread.square().mean().item() == pytest.approx(4 / 3 * 13 / 12, rel=0.05)


def test_translation_moves_a_pixel_by_at_most_an_eighth_of_the_side_and_all_shifts_are_equally_likely():
    x = torch.zeros(9000, 1, 16, 16)
    x[:, :, 7, 9] = 0.5
    y = diffaugment(x, ("translation",))
    torch.testing.assert_close(y.sum((1, 2, 3)), torch.full((9000,), 0.5), rtol=0, atol=0)
    places = y.flatten(1).argmax(1)
    down, right = places // 16 - 7, places % 16 - 9
    for shift in (down, right):
        assert sorted(shift.unique().tolist()) == [-2, -1, 0, 1, 2]
        assert (shift == 2).float().mean().item() == pytest.approx(0.2, abs=0.02)
    assert ((down == 0) & (right == 0)).float().mean().item() == pytest.approx(0.04, abs=0.01)


def test_translation_brings_in_grey():
    y = diffaugment(torch.ones(500, 2, 8, 8), ("translation",))
    assert set(y.unique().tolist()) == {0.0, 1.0}
    assert (y[:, 0, 0, 4] == 0).float().mean().item() == pytest.approx(1 / 3, abs=0.07)  # moved down, of three shifts
    assert torch.equal(y[:, 0], y[:, 1])


def test_cutout_hides_a_rectangle_of_the_known_average_share():
    y = diffaugment(torch.ones(4000, 3, 8, 8), ("cutout",))
    hidden = y[:, 0] == 0
    assert torch.equal(y[:, 0], y[:, 2])
    rows, columns = hidden.any(2).sum(1), hidden.any(1).sum(1)
    assert torch.equal(hidden.sum((1, 2)), rows * columns)
    # Centres 0, …, 8 of windows of 4 pixels leave 2, 3, 4, 4, 4, 4, 4, 3, 2 of them inside: 30/9 on average.
    assert (rows.min(), rows.max()) == (columns.min(), columns.max()) == (2, 4)
    assert rows.float().mean().item() == pytest.approx(30 / 9, abs=0.05)
    assert hidden.float().mean().item() == pytest.approx((30 / 9 / 8) ** 2, rel=0.03)


def test_an_unknown_policy_is_refused():
    with pytest.raises(ValueError, match="'colour': expected some of color, translation, cutout"):
        diffaugment(images(), ("colour",))
    assert DIFFAUGMENT_POLICY == ("color", "translation", "cutout")


# A weak change


def moved(x: np.ndarray, down: int, right: int, mode: Any) -> np.ndarray:
    """An image [C, H, W] moved by a pixel or none; what comes in is made by `np.pad`."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)), mode=mode)
    height, width = x.shape[1:]
    return padded[:, 1 - down : 1 - down + height, 1 - right : 1 - right + width]


def test_jittering_mirrors_and_moves():
    x = images(1)[0]
    candidates = [
        moved(flipped, down, right, "constant")
        for flipped in (x.numpy(), x.numpy()[:, :, ::-1])
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
    ]
    y = jittered(x.expand(600, 3, 8, 8)).numpy()
    counts = [int((y == candidate).all((1, 2, 3)).sum()) for candidate in candidates]
    assert sum(counts) == 600
    assert min(counts) > 600 / 18 / 3


# ADA


@pytest.mark.parametrize("p", [0.0, torch.tensor(0.0)])
@pytest.mark.parametrize(("channels", "size"), [(1, 8), (2, 28), (3, 33)])
def test_with_probability_zero_ada_is_the_identity_bit_for_bit(p, channels: int, size: int):
    x = images(64, channels, size)
    assert torch.equal(ada(x, p), x)


def test_with_probability_one_ada_changes_every_image():
    x = images(200)
    assert (ada(x, torch.tensor(1.0)) - x).abs().amax((1, 2, 3)).min() > 1e-3


def test_blitting_gives_exactly_the_mirrored_turned_and_moved_images():
    x = images(1)[0].numpy()
    candidates = [
        moved(np.rot90(flipped, turns, axes=(1, 2)), down, right, "symmetric")
        for flipped in (x, x[:, :, ::-1])
        for turns in range(4)
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
    ]
    y = ada(torch.from_numpy(x).expand(2000, 3, 8, 8), 1.0, kinds=("blit",)).numpy()
    counts = np.array([(np.abs(y - candidate).max((1, 2, 3)) < 1e-5).sum() for candidate in candidates])
    assert counts.sum() == 2000
    # U(-1, 1) pixels round to 0 half of the time and to 1 and -1 a quarter each; each turn and mirror 1 in 8.
    assert counts.reshape(8, 9)[:, 4].sum() / 2000 == pytest.approx(1 / 4, abs=0.03)
    assert counts.reshape(8, 9).sum(1) / 2000 == pytest.approx(np.full(8, 1 / 8), abs=0.03)


def test_blitting_happens_with_the_probability_asked_for():
    x = images(1).expand(6000, 3, 8, 8)
    same = (ada(x, torch.tensor(0.4), kinds=("blit",)) - x).abs().amax((1, 2, 3)) < 1e-5
    # No mirror 1 - 0.4/2, no turn 1 - 0.4·3/4, no shift 1 - 0.4·3/4; a mirror and a turn never cancel.
    assert same.float().mean().item() == pytest.approx(0.8 * 0.7 * 0.7, abs=0.02)


def geometry(num: int, p: float) -> Tensor:
    """The matrices [N, 2, 3] of geometric changes, read from what they make of two ramps."""
    size = 33
    ramp = torch.arange(size) - 16.0
    x = torch.stack([ramp.expand(size, size), ramp[:, None].expand(size, size)]).expand(num, 2, size, size)
    y = ada(x, p, kinds=("geometry",))
    middle = y[:, :, 16, 16]
    return torch.stack([(y[:, :, 16, 17] - y[:, :, 16, 15]) / 2, (y[:, :, 17, 16] - y[:, :, 15, 16]) / 2, middle], 2)


def test_geometric_changes_have_the_distributions_of_the_paper():
    matrices = geometry(1500, 1.0)
    # What is in the middle now was within 10 of 16 pixels of it, or a reflected border may have come between.
    readable = (matrices[:, :, 2].abs() < 10).all(1)
    assert readable.float().mean() > 0.9
    linear = matrices[readable, :, :2]
    singular = torch.linalg.svdvals(linear).log()
    assert (torch.linalg.det(linear) > 0).all()
    assert (singular.sum(1) / 2).std().item() == pytest.approx(0.2 * math.log(2), rel=0.1)  # both axes alike
    stretch = singular.diff(dim=1).flatten() / 2
    assert stretch.square().mean().sqrt().item() == pytest.approx(0.2 * math.log(2), rel=0.1)
    angle = torch.atan2(linear[:, 1, 0] - linear[:, 0, 1], linear[:, 0, 0] + linear[:, 1, 1])
    assert (angle / math.pi).abs().mean().item() == pytest.approx(0.5, abs=0.04)  # uniform over the whole circle
    assert angle.cos().mean().item() == pytest.approx(0, abs=0.06)


def test_shifts_have_an_eighth_of_the_side_as_deviation():
    matrices = geometry(3000, 1.0)
    # The middle of the new image shows the place t with linear·(-shift) = t; shifts are in pixels of the new image.
    shift = torch.linalg.solve(matrices[:, :, :2], -matrices[:, :, 2])
    near = shift.abs() < 33 / 8
    assert near.float().mean().item() == pytest.approx(0.683, abs=0.03)  # within one σ


def test_turns_happen_with_the_probability_asked_for():
    linear = geometry(3000, 0.5)[:, :, :2]
    turned = (linear[:, 1, 0].abs() > 1e-3) | (linear[:, 0, 1].abs() > 1e-3)
    assert turned.float().mean().item() == pytest.approx(0.5, abs=0.03)


def colours(num: int, p: float, channels: int = 3) -> tuple[Tensor, Tensor]:
    x = torch.rand(1, channels, 2, 3) * 2 - 1
    return x.double(), ada(x.double().expand(num, channels, 2, 3), p, kinds=("color",))


@pytest.mark.parametrize("channels", [1, 3])
def test_brightness_contrast_and_luma_flip_act_on_the_mean_of_the_channels(channels: int):
    x, y = colours(4000, 1.0, channels)
    luma, after = x.mean(1).flatten(), y.mean(1).flatten(1)
    slope = (after[:, 0] - after[:, 1]) / (luma[0] - luma[1])
    offset = after[:, 0] - slope * luma[0]
    torch.testing.assert_close(after, slope[:, None] * luma + offset[:, None])  # an affine change of the luma
    assert (slope < 0).double().mean().item() == pytest.approx(0.5, abs=0.03)
    assert slope.abs().log().std().item() == pytest.approx(0.5 * math.log(2), rel=0.05)
    assert (offset / slope).std().item() == pytest.approx(0.2, rel=0.05)


def test_hue_turns_and_saturation_scales_what_is_not_grey():
    x, y = colours(4000, 1.0)
    before, after = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
    ratio = after.norm(dim=1) / before.norm(dim=1)  # the same everywhere in an image: contrast · saturation
    torch.testing.assert_close(ratio, ratio[:, :1, :1].expand_as(ratio))
    sigma = math.log(2) * math.sqrt(1 + 0.5**2)
    assert ratio[:, 0, 0].log().std().item() == pytest.approx(sigma, rel=0.05)
    cosine = (before * after).sum(1) / (before.norm(dim=1) * after.norm(dim=1))
    torch.testing.assert_close(cosine, cosine[:, :1, :1].expand_as(cosine))
    assert cosine[:, 0, 0].mean().item() == pytest.approx(0, abs=0.05)
    assert cosine[:, 0, 0].square().mean().item() == pytest.approx(0.5, abs=0.03)
    # A turn, not a mirroring: (r, g, b) keep their order around the circle.
    turning = torch.linalg.det(torch.stack([before[:, :, 0, 0], before[:, :, 0, 1], torch.ones(1, 3)], 1).double())
    turned = torch.linalg.det(torch.stack([after[:, :, 0, 0], after[:, :, 0, 1], torch.ones(4000, 3)], 1).double())
    assert (turned.sign() == turning.sign()).all()


def test_of_one_channel_only_brightness_contrast_and_luma_can_change():
    x, y = colours(6000, 0.5, channels=1)
    same = (y == x).flatten(1).all(1)
    # Not drawn for brightness or contrast, and not flipped: half of those drawn for the flip stay.
    assert same.float().mean().item() == pytest.approx(0.5 * 0.5 * 0.75, abs=0.02)


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="'colour': expected some of blit, geometry, color"):
        ada(images(), 0.5, kinds=("colour",))
    assert ADA_KINDS == ("blit", "geometry", "color")


def test_p_rises_on_an_overfitting_critic_and_falls_again():
    p = torch.tensor(0.3)
    up = ada_step(p, torch.tensor(0.9), 64)
    down = ada_step(up, torch.tensor(0.1), 64)
    assert up.item() == pytest.approx(0.3 + 64 / 500_000)
    assert down.item() == pytest.approx(0.3)
    assert ada_step(p, torch.tensor(0.6), 64) == p
    assert ada_step(p, torch.tensor(0.0), 50, target=-0.5, span=1000).item() == pytest.approx(0.35)


def test_p_stays_within_its_limits():
    assert ada_step(torch.tensor(0.0), torch.tensor(-1.0), 1000) == 0
    assert ada_step(torch.tensor(0.799), torch.tensor(1.0), 50_000).item() == pytest.approx(ADA_LIMIT)
    assert ada_step(torch.tensor(0.1), torch.tensor(1.0), 50_000, limit=0.15).item() == pytest.approx(0.15)


# Noise and pseudo-real examples


@pytest.mark.parametrize("shape", [(500, 2), (50, 1, 4, 5)])
def test_instance_noise_has_its_deviation_and_vanishes(shape: tuple[int, ...]):
    x = torch.randn(shape)
    assert torch.equal(instance_noise(x, 0.0), x)
    noise = instance_noise(x, torch.tensor(0.3)) - x
    assert noise.std().item() == pytest.approx(0.3, rel=0.1)
    assert noise.mean().item() == pytest.approx(0, abs=0.05)
    assert instance_noise(x.bfloat16(), 0.3).dtype == torch.bfloat16


def test_the_gradient_of_instance_noise_is_one():
    x = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: seeded(lambda x: instance_noise(x, 0.5), x), (x,))


@pytest.mark.parametrize("shape", [(3000, 2), (3000, 1, 2, 2)])
def test_whole_examples_are_replaced_by_fakes_with_the_probability_asked_for(shape: tuple[int, ...]):
    real, fake = torch.ones(shape), -torch.ones(shape)
    assert torch.equal(pseudo(real, fake, torch.tensor(0.0)), real)
    assert torch.equal(pseudo(real, fake, 1.0), fake)
    mixed = pseudo(real, fake, torch.tensor(0.3)).flatten(1)
    assert torch.equal(mixed, mixed[:, :1].expand_as(mixed))
    assert (mixed[:, 0] == -1).float().mean().item() == pytest.approx(0.3, abs=0.03)


def test_pseudo_real_examples_must_have_the_shape_of_real_ones():
    with pytest.raises(ValueError, match=r"shape \(4, 2\) and generated ones of \(5, 2\): expected the same shape"):
        pseudo(torch.zeros(4, 2), torch.zeros(5, 2), 0.5)
