"""Degradations: each does what its formula says, within the range, as a function of the generator's state."""

import io
import math
from typing import Annotated

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import BaseModel, Field, ValidationError
from scipy.special import j1
from skimage.data import astronaut
from torch.nn.functional import conv2d, interpolate, pad

from equipoise.data.degradations import (
    WATER,
    Blur,
    Degradation,
    Downscale,
    Grey,
    Jpeg,
    Kernels,
    LowDose,
    Noise,
    RealWorld,
    Resize,
    Rician,
    Undersampled,
    bell_kernel,
    degraded,
    kept_columns,
    random_kernel,
    resized,
    scaled,
    shrinkage,
    sinc_kernel,
)
from equipoise.data.tomography import filtered_back_projection, projections


def at(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(num: int = 3, channels: int = 3, side: int = 32) -> torch.Tensor:
    """Smooth random images, [N, C, H, W] in [-0.9, 0.9]."""
    rough = torch.rand(num, channels, 6, 6, generator=at()) * 1.8 - 0.9
    return interpolate(rough, (side, side), mode="bilinear")


def photo(side: int = 256) -> np.ndarray:
    return np.ascontiguousarray(astronaut()[:side, 100 : 100 + side])


def as_images(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].to(torch.float32) / 127.5 - 1


ALL = [
    (Downscale(), 3),
    (Blur(), 3),
    (Noise(), 3),
    (Noise(poisson_share=1.0, grey=0.5), 3),
    (Jpeg(), 3),
    (Resize(), 3),
    (RealWorld(), 3),
    (RealWorld(factor=2), 1),
    (LowDose(), 1),
    (Rician(), 1),
    (Undersampled(), 1),
    (Grey(), 3),
]


@pytest.mark.parametrize(("degradation", "channels"), ALL, ids=lambda value: getattr(value, "kind", None))
def test_a_degradation_is_a_function_of_images_and_generator_and_stays_in_the_range(degradation, channels):
    x = (pictures(channels=channels) * 1.5).clamp(-1, 1)
    before = x.clone()
    y = degraded(x, degradation, at(1))
    assert y.shape == (3, channels, 32 // shrinkage(degradation), 32 // shrinkage(degradation))
    assert y.dtype == torch.float32
    assert y.min() >= -1
    assert y.max() <= 1
    assert torch.equal(y, degraded(x, degradation, at(1)))
    assert torch.equal(x, before)
    if not isinstance(degradation, Downscale | Grey):
        assert not torch.equal(y, degraded(x, degradation, at(2)))


def test_several_degradations_are_applied_in_order():
    x, steps = pictures(), [Noise(), Downscale(factor=2), Jpeg()]
    draw = at(3)
    expected = degraded(degraded(degraded(x, steps[0], draw), steps[1], draw), steps[2], draw)
    assert torch.equal(degraded(x, steps, at(3)), expected)
    assert not torch.equal(degraded(x, steps[::-1], at(3)), expected)
    assert torch.equal(degraded(x, [], at()), x)
    assert shrinkage(steps) == 2
    assert shrinkage([RealWorld(), Downscale(factor=2)]) == 8


@pytest.mark.parametrize("filter", ["box", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize(("height", "width"), [(13, 9), (26, 40)])
def test_resizing_is_pillows_up_to_rounding(filter, height, width):
    x = torch.rand(1, 1, 26, 27, generator=at())
    in_floats = Image.fromarray(x[0, 0].numpy()).resize((width, height), Image.Resampling[filter.upper()])
    ours = resized(x, (height, width), filter)[0, 0].numpy()
    assert ours == pytest.approx(np.asarray(in_floats), abs=1e-5)


@pytest.mark.parametrize("filter", ["box", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("factor", [2, 4])
def test_a_downscaled_photo_is_pillows_but_for_one_byte_in_rare_ties(filter, factor):
    pixels = photo()
    small = Image.fromarray(pixels).resize((256 // factor,) * 2, Image.Resampling[filter.upper()])
    ours = degraded(as_images(pixels), Downscale(factor=factor, filter=filter), at())
    bytes_of = (ours + 1) * 127.5
    assert bytes_of == pytest.approx(bytes_of.round(), abs=1e-3)
    error = (bytes_of - (as_images(np.array(small)) + 1) * 127.5).abs()
    assert error.max() < 1.01
    assert (error > 0.5).float().mean() < 1e-3


def test_rounding_is_to_so_many_bits_or_none():
    x = pictures()
    assert len(degraded(x, Downscale(factor=2, round_to=1), at()).unique()) == 2
    exact = degraded(x, Downscale(factor=2, round_to=0), at())
    assert exact == pytest.approx(resized(x, (16, 16)), abs=1e-6)
    assert len(exact.unique()) > 256


def test_a_gaussian_kernel_has_its_widths_along_its_axes():
    kernel = bell_kernel(41, sigma=(2.0, 4.0), angle=math.radians(90))
    place = torch.arange(41) - 20.0
    across, down = kernel.sum(0) @ place**2, kernel.sum(1) @ place**2
    assert (across.item(), down.item()) == pytest.approx((16, 4), rel=1e-3)
    tilted = bell_kernel(41, sigma=(2.0, 4.0), angle=math.radians(45))
    assert (place @ tilted @ place).item() == pytest.approx((4 - 16) / 2, rel=1e-3)  # Σ = R diag(σ²) Rᵀ


@pytest.mark.parametrize("beta", [0.5, 1.0, 4.0])
def test_kernels_have_their_value_one_sigma_from_the_middle(beta):
    general, plateau = (bell_kernel(21, sigma=(3, 3), beta=beta, plateau=flat) for flat in (False, True))
    assert (general[10, 13] / general[10, 10]).item() == pytest.approx(math.exp(-0.5))
    assert (plateau[10, 13] / plateau[10, 10]).item() == pytest.approx(0.5)
    assert general.sum().item() == pytest.approx(1)
    assert plateau.sum().item() == pytest.approx(1)


def test_a_sinc_kernel_sums_to_one_and_lets_low_frequencies_pass():
    for size in (7, 13, 21):
        assert sinc_kernel(size, 0.4).sum().item() == pytest.approx(1, abs=1e-6)
    kernel = sinc_kernel(101, 0.4)
    assert (kernel[50, 57] / kernel[50, 50]).item() == pytest.approx(
        2 * j1(0.4 * math.pi * 7) / (0.4 * math.pi * 7), rel=1e-3
    )
    response = torch.fft.fft2(kernel).abs()[0]  # along one axis; π is at 50.5
    assert response[:17] == pytest.approx(torch.ones(17), abs=0.1)
    assert response[24:51].max() < 0.1


def test_blur_is_a_convolution_with_mirrored_borders():
    x = pictures()
    one_kind = Blur(kernels=Kernels(isotropic=1.0), sigma=(1.5, 1.5), size=(9, 9))
    kernel = bell_kernel(9, sigma=(1.5, 1.5))
    expected = conv2d(pad(x, (4, 4, 4, 4), mode="reflect"), kernel.expand(3, 1, 9, 9), groups=3)
    assert degraded(x, one_kind, at()) == pytest.approx(expected, abs=1e-5)


def test_blur_works_where_the_kernel_is_larger_than_the_image():
    x = torch.full((1, 1, 3, 1), 0.3)
    assert degraded(x, Blur(size=(21, 21)), at()) == pytest.approx(x, abs=1e-5)


def test_kernels_are_drawn_by_their_shares_and_sizes():
    draw = at()
    drawn = [random_kernel(Blur(), draw) for _ in range(1000)]
    assert {len(kernel) for kernel in drawn} == set(range(7, 22, 2))
    assert 0.07 < sum(bool((kernel < 0).any()) for kernel in drawn) / 1000 < 0.13  # only a sinc is negative anywhere
    round_ones = sum(torch.allclose(kernel, kernel.T, atol=1e-6) for kernel in drawn) / 1000
    assert 0.67 < round_ones < 0.77  # isotropic .405 + .108 + .108 + sinc .1


def test_rotation_and_both_widths_are_those_of_the_settings():
    kernels = Kernels(anisotropic=1.0)
    turned = random_kernel(Blur(kernels=kernels, sigma=(2.0, 2.0), rotation=(30.0, 30.0), size=(15, 15)), at())
    assert turned == pytest.approx(bell_kernel(15, sigma=(2.0, 2.0)), abs=1e-6)
    flat = random_kernel(Blur(kernels=Kernels(plateau_isotropic=1.0), plateau=(3.0, 3.0), sigma=(2, 2)), at())
    middle = len(flat) // 2
    assert (flat[middle, middle + 1] / flat[middle, middle]).item() == pytest.approx(1 / (1 + 0.25**3))


def test_gaussian_noise_has_its_standard_deviation_in_bytes():
    x = torch.zeros(4, 3, 100, 100)
    y = degraded(x, Noise(sigma=(25.0, 25.0)), at())
    assert (y.std() * 127.5).item() == pytest.approx(25, rel=0.02)
    assert y.mean().item() == pytest.approx(0, abs=0.003)
    assert torch.corrcoef(y.transpose(0, 1).flatten(1)).fill_diagonal_(0).abs().max() < 0.02


def test_each_image_has_a_noise_level_of_its_own_and_some_are_grey():
    y = degraded(torch.zeros(400, 3, 16, 16), Noise(sigma=(5.0, 20.0), grey=0.4), at())
    levels = y.std((1, 2, 3)) * 127.5
    assert 4 < levels.min() < 7
    assert 18 < levels.max() < 22
    assert levels.mean().item() == pytest.approx(12.5, rel=0.06)
    grey = (y == y[:, :1]).all(1).all(-1).all(-1)
    assert 0.33 < grey.float().mean() < 0.47


@pytest.mark.parametrize("grey", [0.0, 1.0])
def test_the_variance_of_poisson_noise_is_proportional_to_the_light(grey):
    light = torch.arange(256) / 255  # all bytes occur, so white is 256 photons
    x = (light * 2 - 1).expand(1, 3, 2000, 256).contiguous()
    noise = (degraded(x, Noise(poisson=(0.5, 0.5), poisson_share=1.0, grey=grey), at()) - x) / 2
    for level in (60, 128, 200):
        expected = 0.25 * light[level] / 256
        assert noise[..., level].var().item() == pytest.approx(expected.item(), rel=0.12)
    assert noise[..., 128].mean().item() == pytest.approx(0, abs=2e-3)
    assert bool((noise[:, 0] - noise[:, 1]).abs().max() < 1e-5) == bool(grey)


def test_jpeg_is_pillows_file_of_that_quality():
    pixels = photo(64)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=40)
    ours = degraded(as_images(pixels), Jpeg(quality=(40, 40)), at())
    assert ours == pytest.approx(as_images(np.array(Image.open(file))), abs=1e-6)
    errors = [
        (degraded(as_images(pixels), Jpeg(quality=(q, q)), at()) - as_images(pixels)).square().mean() for q in (95, 30)
    ]
    assert errors[0] < errors[1] / 3


def test_jpeg_knows_grey_images_and_draws_a_quality_for_each():
    x = as_images(photo(64))[:, :1].repeat(6, 1, 1, 1)
    y = degraded(x, Jpeg(quality=(10, 90)), at())
    assert y.shape == x.shape
    assert len({image.sum().item() for image in y}) > 1


def test_a_resize_to_the_same_size_changes_nothing_and_others_lose_detail():
    x = pictures()
    assert degraded(x, Resize(up=0, down=0, keep=1), at()) == pytest.approx(x, abs=1e-5)
    dots = torch.where((torch.arange(32) % 2 == 0), 1.0, -1.0).expand(1, 1, 32, 32)
    assert degraded(dots, Resize(up=0, down=1, keep=0, scale=(0.2, 1), filters=("area",)), at()).std() < 0.9


def test_resizing_goes_up_down_or_nowhere_by_its_shares():
    draw, x = at(), torch.zeros(1, 100, 50)
    heights = torch.tensor([scaled(x, (100, 50), Resize(), draw).shape[1] for _ in range(1000)])
    assert heights.min() >= 15
    assert heights.max() <= 150
    assert 0.16 < (heights > 100).float().mean() < 0.24
    assert 0.06 < (heights == 100).float().mean() < 0.14  # the tiny factors above 1 that round down too
    assert heights[heights < 100].float().mean().item() == pytest.approx(57, abs=2.5)


def test_the_second_order_chain_has_the_published_numbers():
    chain = RealWorld()
    assert (chain.resize.up, chain.resize.down, chain.resize.keep, chain.resize.scale) == (0.2, 0.7, 0.1, (0.15, 1.5))
    second = chain.second_resize
    assert (second.up, second.down, second.keep, second.scale) == (0.3, 0.4, 0.3, (0.3, 1.2))
    assert (chain.noise.sigma, chain.noise.poisson) == ((1, 30), (0.05, 3))
    assert (chain.second_noise.sigma, chain.second_noise.poisson) == ((1, 25), (0.05, 2.5))
    assert {noise.poisson_share for noise in (chain.noise, chain.second_noise)} == {0.5}
    assert {noise.grey for noise in (chain.noise, chain.second_noise)} == {0.4}
    assert chain.jpeg.quality == chain.second_jpeg.quality == (30, 95)
    assert (chain.blur.sigma, chain.second_blur.sigma) == ((0.2, 3), (0.2, 1.5))
    assert (chain.second_blur_share, chain.sinc_share) == (0.8, 0.8)
    kernels = chain.blur.kernels
    gaussians = (kernels.isotropic, kernels.anisotropic, kernels.plateau_isotropic, kernels.plateau_anisotropic)
    assert gaussians == pytest.approx([0.9 * share for share in (0.45, 0.25, 0.12, 0.03)])


@pytest.mark.parametrize(("factor", "height", "width"), [(4, 64, 48), (4, 8, 12), (3, 27, 30), (1, 20, 24)])
def test_the_chain_gives_exactly_the_size_divided_in_bytes(factor, height, width):
    x = interpolate(pictures(6), (height, width))
    y = degraded(x, RealWorld(factor=factor), at(5))
    assert y.shape == (6, 3, height // factor, width // factor)
    assert (y + 1) * 127.5 == pytest.approx(((y + 1) * 127.5).round(), abs=1e-3)


def test_a_mild_chain_is_near_the_plain_downscale():
    x = as_images(photo(128))
    still = Resize(up=0, down=0, keep=1, filters=("area",))
    identity = Blur(sigma=(0.2, 0.2), kernels=Kernels(isotropic=1.0))
    quiet, fine = Noise(sigma=(0.0, 0.0)), Jpeg(quality=(100, 100))
    mild = RealWorld(
        blur=identity,
        resize=still,
        noise=quiet,
        jpeg=fine,
        second_blur=identity,
        second_resize=still,
        second_noise=quiet,
        second_jpeg=fine,
        sinc_share=0.0,
    )
    error = degraded(x, mild, at()) - degraded(x, Downscale(filter="box"), at())
    assert error.abs().mean() < 0.02  # colour at half resolution, twice


def smooth_slice(side: int = 96) -> torch.Tensor:
    """Attenuation [1, H, W] in 1/mm: two soft blobs of water and more, in air."""
    place = torch.linspace(-1, 1, side)
    blob = torch.exp(-((place[None] + 0.1) ** 2 + (place[:, None] * 1.3) ** 2) / 0.12)
    nodule = torch.exp(-((place[None] - 0.3) ** 2 + (place[:, None] - 0.2) ** 2) / 0.02)
    return WATER * (blob + 0.4 * nodule)[None]


def test_projections_of_a_disc_are_its_chords():
    side, radius, pixel = 64, 20.0, 2.5
    fine = torch.arange(side * 8) / 8 + 1 / 16 - side / 2
    disc = interpolate(
        ((fine[None] ** 2 + fine[:, None] ** 2) < radius**2).float()[None, None], (side, side), mode="area"
    )
    sinogram = projections(0.02 * disc[0], 12, pixel=pixel)[0]
    s = torch.arange(sinogram.shape[1]) - (sinogram.shape[1] - 1) / 2
    chords = 0.02 * pixel * 2 * (radius**2 - s**2).clamp_min(0).sqrt()
    inside = (s.abs() < radius - 3) | (s.abs() > radius + 3)
    assert sinogram[:, inside] == pytest.approx(chords[inside].expand(12, -1), abs=0.02 * pixel)
    assert sinogram.sum(1) == pytest.approx(torch.full((12,), 0.02 * pixel * math.pi * radius**2), rel=2e-3)


def test_back_projection_undoes_projection_without_bias():
    mu, pixel = smooth_slice(), 3.0
    back = filtered_back_projection(projections(mu, 180, pixel=pixel), 96, 96, pixel=pixel)
    hounsfield_error = (back - mu) * 1000 / WATER
    assert hounsfield_error.mean().abs() < 0.5
    assert hounsfield_error.abs().max() < 15  # of about 1400


def test_back_projection_takes_slices_that_are_not_square_and_names_a_wrong_size():
    mu = smooth_slice(64)[:, 8:56]
    sinogram = projections(mu, 120)
    assert filtered_back_projection(sinogram, 48, 64) == pytest.approx(mu, abs=4e-4)
    with pytest.raises(ValueError, match="82 detector bins for slices of 64 x 64 pixels: expected 93"):
        filtered_back_projection(sinogram, 64, 64)


def slices(num: int = 1, side: int = 64) -> torch.Tensor:
    """A water cylinder in air, [N, 1, H, W] on the scale of -1024 to 3072 HU."""
    place = torch.linspace(-1, 1, side)
    hounsfield = torch.where(place[None] ** 2 + place[:, None] ** 2 < 0.6, 0.0, -1000.0)
    return ((hounsfield + 1024) / 2048 - 1).expand(num, 1, side, side)


def test_noise_in_air_has_the_variance_of_filtered_back_projection():
    settings = LowDose(low=-1100.0, high=100.0, photons=(1e5, 1e5), electronic=0.0, field_of_view=48 * 2.0, views=60)
    x = torch.full((4, 1, 48, 48), (-1000 + 1100) / 600 - 1)  # room for the noise on both sides
    hounsfield = degraded(x, settings, at()) * 600
    # Each view's variance is 1/I₀, the ramp's Σh² = 1/12 and Σhₙhₙ₊₁ = -1/(2π²), averaged over linear interpolation.
    interpolated = 2 / 3 / 12 - 1 / (6 * math.pi**2)
    std = math.sqrt(math.pi**2 / 60 * interpolated / 1e5) / 2.0 * 1000 / WATER
    assert hounsfield.std().item() == pytest.approx(std, rel=0.06)


def test_more_photons_mean_less_noise_and_no_bias():
    x, middle = slices(4), (slice(None), 0, slice(24, 40), slice(24, 40))
    errors = [
        (degraded(x, LowDose(photons=(count, count), electronic=0.0), at(1)) - x)[middle] * 2048 for count in (4e5, 4e6)
    ]
    assert (errors[0].std() / errors[1].std()).item() == pytest.approx(math.sqrt(10), rel=0.1)
    assert errors[1].mean().abs() < 0.5
    noisier = degraded(x, LowDose(photons=(4e5, 4e5), electronic=200.0), at(1)) - x
    assert noisier[middle].std() * 2048 > 1.5 * errors[0].std()


def test_the_residual_leaves_out_the_blur_of_reconstruction():
    x = slices()
    many = {"photons": (1e8, 1e8), "electronic": 0.0}
    assert degraded(x, LowDose(**many), at()) == pytest.approx(x, abs=2e-3)
    reconstructed = degraded(x, LowDose(**many, residual=False), at())
    assert (reconstructed - x).abs().max() > 0.05  # at the cylinder's edge
    assert ((reconstructed - x)[0, 0, 24:40, 24:40].mean() * 2048).abs() < 5


def test_doses_are_drawn_for_each_slice_between_their_ends():
    x = slices(12)
    error = degraded(x, LowDose(photons=(1e4, 1e7)), at()) - x
    levels = error[:, 0, 24:40, 24:40].std((1, 2))
    assert levels.max() > 4 * levels.min()


def test_rician_noise_has_its_moments():
    background = (degraded(torch.full((1, 1, 200, 200), -1.0), Rician(sigma=(0.1, 0.1)), at()) + 1) / 2
    assert background.mean().item() == pytest.approx(0.1 * math.sqrt(math.pi / 2), rel=0.01)
    signal = (degraded(torch.zeros(1, 1, 200, 200), Rician(sigma=(0.1, 0.1)), at()) + 1) / 2
    assert signal.square().mean().item() == pytest.approx(0.5**2 + 2 * 0.1**2, rel=0.01)


def test_all_of_k_space_gives_the_image_back():
    x = pictures(channels=1)
    assert degraded(x, Undersampled(acceleration=1.0, centre=0.1), at()) == pytest.approx(x, abs=1e-5)


@pytest.mark.parametrize("width", [31, 64])
def test_so_many_columns_are_kept_the_middle_always(width):
    settings, draw = Undersampled(acceleration=4.0, centre=0.1), at()
    kept = torch.stack([kept_columns(width, settings, draw) for _ in range(200)])
    assert (kept.sum(1) == round(width / 4)).all()
    num_centre = round(0.1 * width)
    always = kept.all(0).nonzero().flatten()
    frequencies = torch.fft.fftfreq(width).abs()
    assert len(always) == num_centre
    assert frequencies[always].max() <= frequencies.sort().values[num_centre - 1]
    assert kept.any(0).all()


def test_frequencies_outside_the_kept_middle_vanish():
    place = torch.arange(64) / 64 * 2 * math.pi
    low, high = 0.3 * torch.cos(2 * place), 0.3 * torch.cos(20 * place)
    only_middle = Undersampled(acceleration=8.0, centre=0.125)
    y = degraded((low + high).expand(1, 1, 64, 64), only_middle, at())
    assert y == pytest.approx(low.expand(1, 1, 64, 64), abs=1e-5)


def test_grey_is_pillows_luma_in_all_channels():
    pixels = photo(64)
    y = degraded(as_images(pixels), Grey(), at())
    assert y.shape == (1, 3, 64, 64)
    assert ((y + 1) * 127.5 - torch.from_numpy(np.array(Image.fromarray(pixels).convert("L")))).abs().max() < 0.51
    assert torch.equal(degraded(y[:, :1], Grey(), at()), y[:, :1])


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Downscale(factor=1), "factor is 1: expected a number from 2"),
        (lambda: Downscale(filter="bicubik"), "Did you mean 'bicubic'"),
        (lambda: Downscale(round_to=17), "round_to is 17: expected 1 to 16 bits"),
        (lambda: Kernels(), "at least one above 0"),
        (lambda: Kernels(sinc=-0.1, isotropic=1.0), "sinc = -0.1"),
        (lambda: Blur(size=(8, 20)), "expected odd numbers"),
        (lambda: Blur(sigma=(3.0, 0.2)), "sigma is .*in this order, from 0.01 to 50"),
        (lambda: Blur(rotation=(0.0, math.nan)), "rotation is"),
        (lambda: Blur(generalised=(0.0, 1.0)), "generalised is"),
        (lambda: Blur(plateau=(0.0, 1.0)), "plateau is"),
        (lambda: Blur(cutoff=(0.2, 1.2)), "cutoff is"),
        (lambda: Noise(sigma=(0.0, 300.0)), "sigma is"),
        (lambda: Noise(poisson=(-1.0, 3.0)), "poisson is"),
        (lambda: Noise(poisson_share=2.0), "poisson_share is 2.0"),
        (lambda: Noise(grey=-1.0), "grey is -1.0"),
        (lambda: Jpeg(quality=(0, 95)), "quality is"),
        (lambda: Resize(up=0, down=0, keep=0), "up = 0, down = 0, keep = 0"),
        (lambda: Resize(scale=(1.1, 1.5)), "expected a range around 1"),
        (lambda: Resize(filters=()), "filters is empty"),
        (lambda: Resize(filters=("lanczos",)), "filters has 'lanczos'"),
        (lambda: RealWorld(factor=0), "factor is 0"),
        (lambda: RealWorld(sinc_share=1.5), "sinc_share is 1.5"),
        (lambda: LowDose(low=-2000.0), "-1100 to 32767"),
        (lambda: LowDose(low=100.0, high=-100.0), "the lower one first"),
        (lambda: LowDose(photons=(0.0, 1e5)), "photons is"),
        (lambda: LowDose(views=1), "views is 1"),
        (lambda: LowDose(field_of_view=0.0), "field_of_view is 0.0"),
        (lambda: Rician(sigma=(0.0, 2.0)), "sigma is"),
        (lambda: Undersampled(acceleration=0.5), "acceleration is 0.5"),
        (lambda: Undersampled(acceleration=8.0, centre=0.2), "Expected a centre of at most 0.125"),
    ],
)
def test_settings_without_sense_are_refused(make, reason):
    with pytest.raises(ValueError, match=reason):
        make()


@pytest.mark.parametrize(
    ("x", "degradation", "reason"),
    [
        (torch.zeros(3, 8, 8), Grey(), r"shape \(3, 8, 8\): expected images"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), Grey(), "uint8"),
        (torch.zeros(1, 3, 30, 32), Downscale(), "such as 28 x 32"),
        (torch.zeros(1, 3, 30, 32), RealWorld(), "such as 28 x 32"),
        (torch.zeros(1, 4, 8, 8), Jpeg(), "images of 4 channels"),
        (torch.zeros(1, 4, 8, 8), Grey(), "images of 4 channels"),
        (torch.zeros(1, 3, 8, 8), LowDose(), "LowDose got images of 3 channels.*channels=1"),
        (torch.zeros(1, 3, 8, 8), Rician(), "Rician"),
        (torch.zeros(1, 3, 8, 8), Undersampled(), "Undersampled"),
    ],
)
def test_images_that_do_not_fit_are_refused(x, degradation, reason):
    with pytest.raises(ValueError, match=reason):
        degraded(x, degradation, at())


class Table(BaseModel, extra="forbid"):
    steps: list[Annotated[Degradation, Field(discriminator="kind")]]


def test_settings_are_read_as_tables_by_their_kind():
    table = Table.model_validate(
        {
            "steps": [
                {"kind": "blur", "kernels": {"isotropic": 1}, "sigma": [1, 2]},
                {"kind": "real-world", "noise": {"sigma": [0, 5]}},
            ]
        }
    )
    blur = Blur(kernels=Kernels(isotropic=1.0), sigma=(1.0, 2.0))
    assert table.steps == [blur, RealWorld(noise=Noise(sigma=(0.0, 5.0)))]
    assert Table.model_validate(table.model_dump(mode="json")) == table


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ({"kind": "blur", "sigma": [2, 1]}, "sigma is"),
        ({"kind": "blur", "kernels": {"isotropik": 1}}, "isotropik"),
        ({"kind": "jpeg", "qualty": [1, 2]}, "qualty"),
        ({"kind": "jpg"}, "jpg"),
    ],
)
def test_a_wrong_table_is_refused(step, reason):
    with pytest.raises(ValidationError, match=reason):
        Table.model_validate({"steps": [step]})
