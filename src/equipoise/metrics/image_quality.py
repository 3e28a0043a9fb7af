"""How near images are to given references, pixel by pixel or window by window: functions on images [N, C, H, W].

Images are in [-1, 1], so that the range of values is 2, and 255 in the words of papers that count 8-bit values. Every
function answers per image, [N] in float64, and takes the values as they are: pass `eight_bit(x.clamp(-1, 1))` to judge
what a file would hold.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d

from equipoise.core.seeding import generator
from equipoise.metrics.checks import check_at_least, checked_image_pair, checked_images

RANGE = 2.0
TAPS = 11
SIGMA = 1.5
C1, C2 = (0.01 * RANGE) ** 2, (0.03 * RANGE) ** 2
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""The exponents of the five scales, the finest first (Wang et al. 2003, Sec. 3.2)."""


def psnr(
    images: Float[Tensor, "n c h w"], references: Float[Tensor, "n c h w"], *, shave: int = 0
) -> Float[Tensor, " n"]:
    """Peak signal-to-noise ratio in dB, [N]: 10 log₁₀(4 / mean squared error); higher is better, equal images give ∞.

    `shave` pixels of each border do not count. Super-resolution papers report psnr(luma(x), luma(y), shave=scale).

    >>> psnr(torch.full((1, 1, 2, 2), 0.5), torch.zeros(1, 1, 2, 2))
    tensor([12.0412], dtype=torch.float64)
    """
    images, references = _shaved(*checked_image_pair(images, references), shave)
    return 10 * (RANGE**2 / (images - references).square().mean((1, 2, 3))).log10()


def mean_absolute_error(
    images: Float[Tensor, "n c h w"], references: Float[Tensor, "n c h w"], *, shave: int = 0
) -> Float[Tensor, " n"]:
    """Mean |x - y| of the values in [-1, 1], [N] in [0, 2]; lower is better. Times 127.5 it counts 8-bit steps.

    >>> mean_absolute_error(torch.full((1, 1, 2, 2), 0.25), torch.zeros(1, 1, 2, 2))
    tensor([0.2500], dtype=torch.float64)
    """
    images, references = _shaved(*checked_image_pair(images, references), shave)
    return (images - references).abs().mean((1, 2, 3))


def ssim(
    images: Float[Tensor, "n c h w"], references: Float[Tensor, "n c h w"], *, shave: int = 0
) -> Float[Tensor, " n"]:
    """Structural similarity, [N] in [-1, 1]; higher is better, 1 means equal.

    (2 μx μy + C₁)(2 σxy + C₂) / ((μx² + μy² + C₁)(σx² + σy² + C₂)), the mean over all windows that lie inside the image
    and over channels. Windows are Gaussian, 11 × 11 with σ = 1.5; C₁ = (0.01 · range)², C₂ = (0.03 · range)²
    (Wang et al. 2004, Eq. 13). Each side must be at least 11 pixels, after `shave` pixels are cut off each border.

    >>> x = torch.linspace(-1, 1, 256).view(1, 1, 16, 16)
    >>> ssim(x, x)
    tensor([1.], dtype=torch.float64)
    """
    images, references = _shaved(*checked_image_pair(images, references), shave)
    _check_sides(images, num_scales=1)
    return torch.cat([_similarity(x, y).full for x, y in zip(images.split(CHUNK), references.split(CHUNK))])


def ms_ssim(
    images: Float[Tensor, "n c h w"],
    references: Float[Tensor, "n c h w"],
    *,
    weights: Sequence[float] = MS_SSIM_WEIGHTS,
) -> Float[Tensor, " n"]:
    """Multi-scale structural similarity, [N] in [0, 1]; higher is better, 1 means equal.

    Πⱼ csⱼ^wⱼ · ssim^w_M over scales that are halved by means of 2 × 2 pixels, with the contrast and structure term cs
    at all scales but the coarsest (Wang et al. 2003, Eq. 7). A negative term counts as 0. Terms are means over the
    channels too; other packages multiply per channel, which differs by about 1e-4. Five scales need sides of at least
    161 pixels; for smaller images pass fewer `weights`, and compare such numbers only among themselves.

    >>> x = torch.linspace(-1, 1, 32 * 32).view(1, 1, 32, 32)
    >>> ms_ssim(x, x, weights=(0.5, 0.5))
    tensor([1.], dtype=torch.float64)
    """
    images, references = checked_image_pair(images, references)
    if not weights or min(weights) < 0:
        raise ValueError(
            f"weights={tuple(weights)} was passed, but one exponent of at least 0 for each scale is expected, the "
            "finest first. Use MS_SSIM_WEIGHTS."
        )
    _check_sides(images, num_scales=len(weights))
    answers = []
    for x, y in zip(images.split(CHUNK), references.split(CHUNK)):
        product = torch.ones(len(x), dtype=x.dtype, device=x.device)
        for scale, weight in enumerate(weights):
            similarity = _similarity(x, y)
            coarsest = scale == len(weights) - 1
            product = product * (similarity.full if coarsest else similarity.contrast).clamp(min=0) ** weight
            if not coarsest:
                x, y = _halved(x), _halved(y)
        answers.append(product)
    return torch.cat(answers)


def pair_similarity(
    images: Float[Tensor, "n c h w"],
    *,
    num_pairs: int = 500,
    seed: int = 0,
    weights: Sequence[float] = MS_SSIM_WEIGHTS,
) -> float:
    """Mean MS-SSIM of random pairs within one set of one class, in [0, 1]: lower means more variety.

    Compare it with the value of the reals: fakes well above it have collapsed (Odena et al. 2017, Sec. 4.2). It sees
    nothing else; noise scores as very varied. All pairs are taken where there are no more than `num_pairs`.

    >>> pair_similarity(torch.rand(1, 3, 11, 11).repeat(4, 1, 1, 1), weights=(1.0,))
    1.0
    """
    images = checked_images("images", images)
    first, second = random_pairs(len(images), num_pairs, seed=seed)
    chunks = zip(first.to(images.device).split(CHUNK), second.to(images.device).split(CHUNK))
    return torch.cat([ms_ssim(images[i], images[j], weights=weights) for i, j in chunks]).mean().item()


def random_pairs(length: int, num_pairs: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Indices i ≠ j of pairs out of `length` examples, int64: all pairs where there are no more than `num_pairs`."""
    check_at_least(1, num_pairs=num_pairs)
    if length < 2:
        raise ValueError(f"{length} examples were passed, but pairs need at least 2. Pass more.")
    if length * (length - 1) // 2 <= num_pairs:
        first, second = torch.triu_indices(length, length, offset=1)
        return first, second
    draw = generator(seed, "pairs")
    first = torch.randint(length, (num_pairs,), generator=draw)
    return first, (first + torch.randint(1, length, (num_pairs,), generator=draw)) % length


def luma(images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 1 h w"]:
    """The luma Y of ITU-R BT.601 of RGB or grey images, [N, 1, H, W] in [-1, 1].

    With R, G, B in [0, 1], Y = 16 + 65.481 R + 128.553 G + 24.966 B in [16, 235] of 255, as MATLAB's rgb2ycbcr and the
    super-resolution papers have it. Grey is R = G = B.

    >>> 127.5 * (luma(torch.ones(1, 3, 1, 1)).flatten() + 1)
    tensor([235.], dtype=torch.float64)
    """
    images = checked_images("images", images)
    if images.shape[1] not in (1, 3):
        raise ValueError(f"images of {images.shape[1]} channels were passed, but 1 (grey) or 3 (RGB) is expected.")
    rgb = ((images.double() + 1) / 2).expand(-1, 3, -1, -1)
    shares = torch.tensor([65.481, 128.553, 24.966], dtype=rgb.dtype, device=rgb.device)
    return (16 + torch.einsum("nchw,c->nhw", rgb, shares))[:, None] / 127.5 - 1


def eight_bit(images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Images in [-1, 1] rounded to the 256 values that a file can hold, of the type they had.

    >>> 127.5 * (eight_bit(torch.full((1, 1, 1, 1), 0.003)) + 1)
    tensor([[[[128.]]]])
    """
    images = checked_images("images", images)
    return (((images.double() + 1) * 127.5).round().clamp(0, 255) / 127.5 - 1).to(images.dtype)


CHUNK = 32


class _Similarity(NamedTuple):
    """Per image: the mean of the whole index, and of its contrast and structure term alone."""

    full: Tensor
    contrast: Tensor


def _similarity(x: Tensor, y: Tensor) -> _Similarity:
    x, y = x + 1, y + 1  # the luminance term is meant for values that start at 0
    mean_x, mean_y = _blurred(x), _blurred(y)  # [n, C, H - 10, W - 10]
    variance_x = _blurred(x * x) - mean_x.square()
    variance_y = _blurred(y * y) - mean_y.square()
    covariance = _blurred(x * y) - mean_x * mean_y
    contrast = (2 * covariance + C2) / (variance_x + variance_y + C2)
    luminance = (2 * mean_x * mean_y + C1) / (mean_x.square() + mean_y.square() + C1)
    return _Similarity((luminance * contrast).mean((1, 2, 3)), contrast.mean((1, 2, 3)))


def _halved(x: Tensor) -> Tensor:
    """Means of 2 × 2 pixels; the last row or column of an odd side is a mean of itself."""
    return avg_pool2d(x, 2, ceil_mode=True)


def _blurred(x: Tensor) -> Tensor:
    """The Gaussian mean of every window that lies inside the image."""
    offsets = torch.arange(TAPS, dtype=x.dtype, device=x.device) - TAPS // 2
    taps = (-offsets.square() / (2 * SIGMA**2)).exp()
    taps = taps / taps.sum()
    n, c, h, w = x.shape
    rows = conv2d(x.reshape(n * c, 1, h, w), taps.view(1, 1, TAPS, 1))
    return conv2d(rows, taps.view(1, 1, 1, TAPS)).view(n, c, h - TAPS + 1, w - TAPS + 1)


def _shaved(images: Tensor, references: Tensor, shave: int) -> tuple[Tensor, Tensor]:
    height, width = images.shape[2:]
    if not 0 <= 2 * shave < min(height, width):
        raise ValueError(
            f"shave={shave} was passed for images of {height} × {width} pixels, but 0 to "
            f"{(min(height, width) - 1) // 2} is expected: something must be left. Use the factor of the enlargement."
        )
    inside = (..., slice(shave, height - shave), slice(shave, width - shave))
    return images[inside], references[inside]


def _check_sides(images: Tensor, *, num_scales: int) -> None:
    side, needed = min(images.shape[2:]), (TAPS - 1) * 2 ** (num_scales - 1) + 1
    if side < needed:
        raise ValueError(
            f"Images of {images.shape[2]} × {images.shape[3]} pixels were passed, but sides of at least {needed} are "
            f"expected for {num_scales} scale{'s' if num_scales > 1 else ''} with windows of {TAPS}. "
            "Pass larger images, or fewer `weights` to ms_ssim."
        )
