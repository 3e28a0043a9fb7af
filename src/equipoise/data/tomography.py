"""Computed tomography in miniature: line integrals of a slice along parallel beams, and the slice back from them."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample


def projections(
    slices: Float[Tensor, "n h w"], num_views: int, *, pixel: float = 1.0
) -> Float[Tensor, "n num_views bins"]:
    """Line integrals of slices [N, H, W] along parallel beams: the Radon transform p(θ, s), a sinogram [N, V, D].

    View k of V looks along the angle kπ/V. The slice is turned (bilinear; nothing is around it) and summed over its
    rows, times the `pixel`'s side: with attenuation per millimetre and millimetres the sums have no unit. There are as
    many detector bins, each of the width of a pixel, as the diagonal needs.
    """
    height, width = slices.shape[1:]
    num_bins = _num_bins(height, width)
    across = torch.arange(num_bins, device=slices.device, dtype=slices.dtype) - (num_bins - 1) / 2
    s, along = across[None, :], across[:, None]
    views = []
    for angle in _angles(num_views):
        columns = math.cos(angle) * s - math.sin(angle) * along
        rows = math.sin(angle) * s + math.cos(angle) * along
        grid = torch.stack([columns * (2 / width), rows * (2 / height)], dim=-1)  # [D, D, 2]
        # The slices are channels of one image, so the places to read are worked out once for all.
        turned = grid_sample(slices[None], grid[None], align_corners=False)[0]
        views.append(turned.sum(1) * pixel)
    return torch.stack(views, dim=1)


def filtered_back_projection(
    sinograms: Float[Tensor, "n num_views bins"], height: int, width: int, *, pixel: float = 1.0
) -> Float[Tensor, "n h w"]:
    """Slices [N, H, W] from the line integrals that `projections` gives; linear in them.

    f(x, y) = π/V · Σ_k q_k(x cos θ_k + y sin θ_k), where q is p convolved with the band-limited ramp filter, sampled in
    space so that the mean comes back without bias: h(0) = 1/(4τ²), h(n) = -1/(πnτ)² for odd n, 0 for other even n, with
    bins of width τ. Linear interpolation between bins. Source: Kak & Slaney 1988, Principles of Computerized
    Tomographic Imaging, chapter 3.
    """
    num_views, num_bins = sinograms.shape[1:]
    if num_bins != _num_bins(height, width):
        raise ValueError(
            f"filtered_back_projection got {num_bins} detector bins for slices of {height} x {width} pixels: expected "
            f"{_num_bins(height, width)}, as `projections` gives. Pass the slices' own height and width."
        )
    length = 2 ** math.ceil(math.log2(2 * num_bins))
    distance = torch.minimum(torch.arange(length), length - torch.arange(length)).to(sinograms)
    ramp = torch.where(distance % 2 == 1, -1 / (math.pi * distance.clamp_min(1)) ** 2, 0)
    ramp[0] = 1 / 4
    spectrum = torch.fft.rfft(sinograms, n=length) * torch.fft.rfft(ramp)
    filtered = torch.fft.irfft(spectrum, n=length)[..., :num_bins] / pixel  # [N, V, D]

    x = torch.arange(width, device=sinograms.device, dtype=sinograms.dtype) - (width - 1) / 2
    y = torch.arange(height, device=sinograms.device, dtype=sinograms.dtype)[:, None] - (height - 1) / 2
    total = torch.zeros(len(sinograms), height * width).to(sinograms)
    for number, angle in enumerate(_angles(num_views)):
        s = (x * math.cos(angle) + y * math.sin(angle)).flatten() + (num_bins - 1) / 2
        lower = s.floor()
        index = lower.to(torch.int64)
        view = filtered[:, number]
        total += torch.lerp(view[:, index], view[:, index + 1], s - lower)
    return (total * (math.pi / num_views)).view(-1, height, width)


def _angles(num_views: int) -> list[float]:
    return [number * math.pi / num_views for number in range(num_views)]


def _num_bins(height: int, width: int) -> int:
    return math.ceil(math.hypot(height, width)) + 2
