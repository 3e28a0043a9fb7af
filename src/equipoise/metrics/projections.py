"""Sliced Wasserstein distances: how far two sets are apart along random directions, of features or of image patches."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d, pad

from equipoise.core.seeding import generator
from equipoise.metrics.checks import check_at_least, checked_images, checked_pair

TOGETHER = 32
"""How many directions are projected on at a time: memory of 32 numbers per example."""


def sliced_wasserstein(
    real: Float[Tensor, "n d"],
    fake: Float[Tensor, "m d"],
    *,
    order: int = 1,
    num_directions: int = 512,
    seed: int = 0,
) -> float:
    """The sliced Wasserstein distance between features [N, D] and [M, D], in [0, ∞), in their unit; lower is better.

    (mean over random unit vectors θ of W_p(θ·real, θ·fake)^p)^(1/p), with p = `order` 1 or 2 (Bonneel et al. 2015).
    Sets may differ in size. It has no Gaussian assumption, but sees correlations only as far as random directions do.

    >>> real = torch.linspace(0, 1, 50)[:, None]
    >>> round(sliced_wasserstein(real, real + 3.0), 6)
    3.0
    """
    real, fake = checked_pair(real, fake)
    if order not in (1, 2):
        raise ValueError(f"order={order} was passed, but 1 or 2 is expected. Leave it out.")
    check_at_least(1, num_directions=num_directions)
    directions = _directions(real.shape[1], num_directions, seed, "sliced_wasserstein").to(real.device)
    return _along(directions, real, fake, order)


def laplacian_swd(
    real: Float[Tensor, "n c h w"],
    fake: Float[Tensor, "n c h w"],
    *,
    patches_per_image: int = 128,
    num_directions: int = 512,
    seed: int = 0,
) -> dict[int, float]:
    """Sliced Wasserstein distances of patches at each level of a Laplacian pyramid, by its side; lower is better.

    Fine levels see texture, noise and sharpness, the coarsest large structures. As in Karras et al. 2018, Sec. 5:
    levels from the full side down to 16 pixels, 128 random patches of 7 × 7 per image and level, each channel of each
    set normalised to mean 0 and deviation 1, distance of order 1, times 1000. Sets need equal size; the paper takes
    16,384 images each, and the distance grows as sets shrink. Patches are kept one level at a time: 16,384 RGB images
    need 1.2 GB for each set.
    """
    real, fake = checked_images("real", real), checked_images("fake", fake)
    height, width = real.shape[2:]
    if real.shape != fake.shape or min(height, width) < 16 or height != width or height & (height - 1):
        raise ValueError(
            f"real of shape {list(real.shape)} and fake of shape {list(fake.shape)} were passed, but equal shapes with "
            "sides that are a power of 2 of at least 16 are expected. Resize images, cut the larger set."
        )
    check_at_least(1, patches_per_image=patches_per_image, num_directions=num_directions)
    distances = {}
    side = height
    while side >= 16:
        # Both sets are cut at the same places, so that equal sets are at distance 0.
        draw = (seed, "laplacian_swd", side)
        a, b = (
            _normalised(_patches(_band(images, side), patches_per_image, *draw), images.shape[1])
            for images in (real, fake)
        )
        distances[side] = 1000 * _along(_directions(a.shape[1], num_directions, *draw).to(a), a, b, 1)
        side //= 2
    return distances


def _along(directions: Tensor, x: Tensor, y: Tensor, order: int) -> float:
    """The mean over directions [D, P] of the distances in one dimension, to the power 1 / order."""
    powers = [_one_dimensional(x @ part, y @ part, order) for part in directions.split(TOGETHER, 1)]
    return torch.cat(powers).mean().item() ** (1 / order)


def _one_dimensional(x: Tensor, y: Tensor, order: int) -> Tensor:
    """W_p^p of each column of values [N, P] and [M, P]: the integral of |quantile of x - quantile of y|^p."""
    x, y = x.double().sort(0).values, y.double().sort(0).values
    n, m = len(x), len(y)
    if n == m:
        return (x - y).abs().pow(order).mean(0)
    # Both quantile functions are constant between neighbouring multiples of 1/n and 1/m, here counted in 1/nm.
    steps = torch.cat([torch.arange(0, n * m + 1, m), torch.arange(0, n * m + 1, n)]).unique().to(x.device)
    lengths = steps.diff().double() / (n * m)
    gaps = x[steps[:-1] // m] - y[steps[:-1] // n]
    return (gaps.abs().pow(order) * lengths[:, None]).sum(0)


def _directions(dim: int, count: int, *draw: int | str) -> Tensor:
    directions = torch.randn(dim, count, generator=generator(*draw, "directions"), dtype=torch.float64)
    return directions / directions.norm(dim=0)


# ---------------------------------------------------------------- the pyramid (Burt & Adelson 1983)


def _band(images: Tensor, side: int) -> Tensor:
    """The level of the pyramid that has this side: what the next coarser one lacks, or what is left at 16 pixels."""
    return torch.cat([_band_of_few(part, side) for part in images.float().split(256)])


def _band_of_few(images: Tensor, side: int) -> Tensor:
    while images.shape[2] > side:
        images = _blur(images)[:, :, ::2, ::2]
    if side == 16:
        return images
    coarse = _blur(images)[:, :, ::2, ::2]
    spread = torch.zeros_like(images)
    spread[:, :, ::2, ::2] = coarse
    return images - 4 * _blur(spread)


def _blur(x: Tensor) -> Tensor:
    """The binomial filter 1 4 6 4 1 / 16 along both sides, with the border mirrored."""
    taps = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], device=x.device, dtype=x.dtype) / 16
    n, c, h, w = x.shape
    padded = pad(x.reshape(n * c, 1, h, w), (2, 2, 2, 2), mode="reflect")
    return conv2d(conv2d(padded, taps.view(1, 1, 5, 1)), taps.view(1, 1, 1, 5)).view(n, c, h, w)


def _patches(images: Tensor, count: int, *draw: int | str) -> Tensor:
    """`count` patches of 7 × 7 of each image at random places, [N · count, C · 49] in float32."""
    n, c, h, w = images.shape
    g = generator(*draw, "places")
    top = torch.randint(h - 6, (n, count), generator=g).to(images.device)
    left = torch.randint(w - 6, (n, count), generator=g).to(images.device)
    around = torch.arange(7, device=images.device)
    parts = []
    for i in range(n):
        rows, columns = (top[i, :, None] + around)[:, :, None], (left[i, :, None] + around)[:, None, :]
        parts.append(images[i][:, rows, columns].transpose(0, 1).reshape(count, c * 49))
    return torch.cat(parts)


def _normalised(patches: Tensor, num_channels: int) -> Tensor:
    """Patches with mean 0 and standard deviation 1 in each channel, over the set."""
    x = patches.view(len(patches), num_channels, 49)
    mean = x.double().mean((0, 2), keepdim=True)
    spread = (x.double() - mean).square().mean((0, 2), keepdim=True).sqrt()
    return ((x - mean.to(x)) / torch.where(spread > 0, spread, 1).to(x)).flatten(1)
