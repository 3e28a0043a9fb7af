"""PSNR, SSIM and MS-SSIM against scikit-image, torchmetrics and scipy; luma as MATLAB has it; what is refused."""

import numpy as np
import pytest
import torch
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.datasets import load_sample_images
from torchmetrics.functional.image import structural_similarity_index_measure

from benchmarks.evaluation import ms_ssim_by_scipy
from equipoise.metrics.image_quality import (
    eight_bit,
    luma,
    mean_absolute_error,
    ms_ssim,
    pair_similarity,
    psnr,
    random_pairs,
    ssim,
)


def photos() -> torch.Tensor:
    """Two real photographs, cut to [2, 3, 192, 176]."""
    pixels = np.stack([image[:192, :176] for image in load_sample_images().images])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).double() / 127.5 - 1


X = photos()
Y = (0.8 * X + 0.1 * torch.randn(X.shape, generator=torch.Generator().manual_seed(0))).clamp(-1, 1)


def test_psnr_is_scikit_images():
    expected = [peak_signal_noise_ratio(x.numpy(), y.numpy(), data_range=2) for x, y in zip(X, Y)]
    assert psnr(X, Y).tolist() == pytest.approx(expected, rel=1e-10)
    inside = [(a[:, 4:-4, 4:-4].numpy(), b[:, 4:-4, 4:-4].numpy()) for a, b in zip(X, Y)]
    expected = [peak_signal_noise_ratio(a, b, data_range=2) for a, b in inside]
    assert psnr(X, Y, shave=4).tolist() == pytest.approx(expected, rel=1e-10)


def test_psnr_by_hand():
    # An error of one step of 255 everywhere: 20 log₁₀ 255 = 48.13 dB.
    x = torch.zeros(1, 3, 4, 4)
    assert psnr(x + 2 / 255, x).item() == pytest.approx(48.1308, abs=1e-4)
    assert psnr(x, x).item() == float("inf")


def test_mean_absolute_error_by_hand():
    x = torch.tensor([0.0, 0.5, -1.0, 1.0]).view(1, 1, 2, 2)
    assert mean_absolute_error(x, torch.zeros_like(x)).item() == 0.625
    assert mean_absolute_error(torch.full((1, 1, 4, 4), -1.0), torch.full((1, 1, 4, 4), 1.0)).item() == 2


def test_luma_is_matlabs():
    pixels = eight_bit(X)
    expected = rgb2ycbcr(((pixels + 1) / 2).numpy(), channel_axis=1)[:, 0]
    np.testing.assert_allclose(127.5 * (luma(pixels)[:, 0].numpy() + 1), expected, rtol=1e-6)
    # Black, white and pure red, from the definition: 16, 16 + 219, 16 + 65.481.
    known = torch.tensor([[-1.0, -1, -1], [1, 1, 1], [1, -1, -1]]).view(3, 3, 1, 1)
    assert (127.5 * (luma(known).flatten() + 1)).tolist() == pytest.approx([16, 235, 81.481])
    assert torch.equal(luma(X[:, :1]), luma(X[:, :1].expand(-1, 3, -1, -1)))


def test_eight_bit_values_are_those_of_files():
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    exact = pixels.float() / 127.5 - 1
    torch.testing.assert_close(eight_bit(exact), exact, rtol=0, atol=1e-7)
    assert eight_bit(exact).dtype == torch.float32
    assert torch.equal(((eight_bit((exact + 0.003).clamp(-1, 1)) + 1) * 127.5).round().to(torch.uint8), pixels)


def test_ssim_is_scikit_images():
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 2.0}
    expected = [
        structural_similarity((x + 1).numpy(), (y + 1).numpy(), channel_axis=0, **settings) for x, y in zip(X, Y)
    ]
    assert ssim(X, Y).tolist() == pytest.approx(expected, rel=1e-9)
    grey = [
        structural_similarity((x[0, 2:-2, 2:-2] + 1).numpy(), (y[0, 2:-2, 2:-2] + 1).numpy(), **settings)
        for x, y in zip(X, Y)
    ]
    assert ssim(X[:, :1], Y[:, :1], shave=2).tolist() == pytest.approx(grey, rel=1e-9)


def test_ssim_is_torchmetrics_inside_the_border():
    # torchmetrics also counts windows over a mirrored border; its map without them is ours.
    _, full = structural_similarity_index_measure(
        X + 1, Y + 1, data_range=2.0, reduction="none", return_full_image=True
    )
    expected = full[:, :, 5:-5, 5:-5].mean((1, 2, 3))
    assert ssim(X, Y).tolist() == pytest.approx(expected.tolist(), rel=1e-9)


@pytest.mark.parametrize("sides", [(176, 192), (161, 163)], ids=["even", "odd"])
def test_ms_ssim_is_another_computation(sides):
    x, y = X[:, :, : sides[0], : sides[1]], Y[:, :, : sides[0], : sides[1]]
    expected = [ms_ssim_by_scipy((a + 1).numpy(), (b + 1).numpy()) for a, b in zip(x, y)]
    assert ms_ssim(x, y).tolist() == pytest.approx(expected, rel=1e-9)


def test_ms_ssim_of_one_scale_is_ssim():
    assert ms_ssim(X, Y, weights=(1.0,)).tolist() == pytest.approx(ssim(X, Y).tolist())


def test_similarity_is_symmetric_and_falls_with_noise():
    for metric in (ssim, ms_ssim):
        assert metric(X, Y).tolist() == pytest.approx(metric(Y, X).tolist())
        assert (metric(X, X) == 1).all()
        noise = torch.randn(X.shape, generator=torch.Generator().manual_seed(1))
        little, much = metric(X, (X + 0.05 * noise).clamp(-1, 1)), metric(X, (X + 0.5 * noise).clamp(-1, 1))
        assert (little > much).all()


def test_the_negative_of_an_image_has_no_multi_scale_similarity():
    assert (ms_ssim(X, -X) == 0).all()


def test_pair_similarity_is_the_mean_over_all_pairs():
    x = torch.cat([X, Y])
    pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    expected = np.mean([ms_ssim(x[i : i + 1], x[j : j + 1]).item() for i, j in pairs])
    assert pair_similarity(x) == pytest.approx(expected, rel=1e-10)


def test_pairs_are_distinct_seeded_and_cover_everything():
    first, second = random_pairs(50, 1000, seed=0)
    assert len(first) == 1000
    assert (first != second).all()
    assert first.bincount(minlength=50).min() > 5
    assert second.bincount(minlength=50).min() > 5
    assert all(torch.equal(a, b) for a, b in zip(random_pairs(50, 1000, seed=0), (first, second)))
    assert not torch.equal(random_pairs(50, 1000, seed=1)[0], first)


def test_bad_images_are_refused():
    with pytest.raises(ValueError, match=r"values from 0 to 255 were passed, but \[-1, 1\] is expected"):
        psnr((X + 1) * 127.5, X)
    with pytest.raises(ValueError, match=r"torch.float64 of shape \[3, 192, 176\] was passed"):
        psnr(X[0], Y[0])
    with pytest.raises(ValueError, match=r"torch.int64 of shape .* was passed, but at least one image as floats"):
        psnr(torch.zeros(1, 1, 2, 2, dtype=torch.long), torch.zeros(1, 1, 2, 2))
    with pytest.raises(ValueError, match=r"at least one image"):
        psnr(X[:0], Y[:0])
    with pytest.raises(ValueError, match="equal shapes are expected"):
        ssim(X, Y[:1])
    broken = Y.clone()
    broken[1, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="references: 1 of 2 images hold NaN or infinity"):
        mean_absolute_error(X, broken)


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="shave=88 was passed for images of 192 × 176 pixels, but 0 to 87"):
        psnr(X, Y, shave=88)
    with pytest.raises(ValueError, match="shave=-1"):
        psnr(X, Y, shave=-1)
    with pytest.raises(ValueError, match="sides of at least 161 are expected for 5 scales"):
        ms_ssim(X[:, :, :160], Y[:, :, :160])
    with pytest.raises(ValueError, match="sides of at least 11 are expected for 1 scale with"):
        ssim(X[:, :, :10], Y[:, :, :10])
    with pytest.raises(ValueError, match=r"weights=\(\) was passed"):
        ms_ssim(X, Y, weights=())
    with pytest.raises(ValueError, match="images of 2 channels"):
        luma(X[:, :2])
    with pytest.raises(ValueError, match="pairs need at least 2"):
        pair_similarity(X[:1])
    with pytest.raises(ValueError, match="num_pairs=0"):
        pair_similarity(X, num_pairs=0)
