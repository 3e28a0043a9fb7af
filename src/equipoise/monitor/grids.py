"""Batches as pictures: a grid for images, a scatter plot for points in the plane."""

import math

import numpy as np
import torch
from torch import Tensor

_WIDTH = 640  # pixels: what a grid aims at
_GAP, _GAP_COLOUR = 2, 96


@torch.no_grad()
def grid(images: Tensor, columns: int | None = None, zoom: int | None = None) -> np.ndarray:
    """Images [N, C, H, W] in [-1, 1], of 1 or 3 channels, side by side: uint8 [H', W', 3].

    Small images are enlarged by a whole number without smoothing, so that each of their pixels stays a square.

    >>> grid(torch.zeros(4, 1, 8, 8), columns=2, zoom=3).shape
    (54, 54, 3)
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3) or not images.numel():
        raise ValueError(f"grid: images of shape {list(images.shape)}, expected [N, C, H, W], C = 1 or 3, N > 0.")
    number, _, height, width = images.shape
    columns = columns or math.ceil(math.sqrt(number * height / width))
    columns = min(columns, number)
    rows = math.ceil(number / columns)
    zoom = zoom or max(1, round((_WIDTH / columns - _GAP) / width))
    pixels = ((images.detach().float().nan_to_num(-1.0) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    pixels = pixels.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).cpu().numpy()  # [N, H, W, 3]
    pixels = pixels.repeat(zoom, axis=1).repeat(zoom, axis=2)

    tile_height, tile_width = height * zoom + _GAP, width * zoom + _GAP
    picture = np.full((rows * tile_height + _GAP, columns * tile_width + _GAP, 3), _GAP_COLOUR, dtype=np.uint8)
    for index, tile in enumerate(pixels):
        top, left = _GAP + index // columns * tile_height, _GAP + index % columns * tile_width
        picture[top : top + height * zoom, left : left + width * zoom] = tile
    return picture


@torch.no_grad()
def scatter(points: Tensor, reference: Tensor, *, pixels: int = 640, title: str = "") -> np.ndarray:
    """Made points [N, 2] over real ones [M, 2] as a picture, uint8 [pixels, pixels, 3].

    The axes depend on the reference only, so that pictures of one run can be compared and played as a film. Points that
    fall outside are counted in the corner.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    for name, tensor in {"points": points, "reference": reference}.items():
        if tensor.ndim != 2 or tensor.shape[1] != 2:
            raise ValueError(f"scatter: {name} of shape {list(tensor.shape)}, expected [N, 2].")
    if not reference.numel():
        raise ValueError("scatter: the reference is empty, expected at least one point to fix the axes.")
    made, real = points.detach().cpu().double().numpy(), reference.detach().cpu().double().numpy()
    real = real[np.isfinite(real).all(1)]
    if not len(real):
        real = np.zeros((1, 2))  # nothing that could be drawn
    centre = (real.max(0) + real.min(0)) / 2
    reach = max(float((real.max(0) - real.min(0)).max()) / 2 * 1.2, 1e-6)
    inside = (np.abs(made - centre) <= reach).all(1)  # false for NaN too

    figure = Figure(figsize=(pixels / 100, pixels / 100), dpi=100, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0.09, 0.07, 0.88, 0.86))
    size = 100 / math.sqrt(max(len(real), len(made), 25)) + 2
    axes.scatter(*real.T, s=size * 2, c="#c3c8ce", linewidths=0, label=f"real ({len(real):,})")
    axes.scatter(*made[inside].T, s=size, c="#d9480f", alpha=0.7, linewidths=0, label=f"made ({len(made):,})")
    axes.set(xlim=(centre[0] - reach, centre[0] + reach), ylim=(centre[1] - reach, centre[1] + reach), aspect="equal")
    axes.set_title(title, fontsize=11, color="#333333", loc="left", parse_math=False)
    axes.legend(loc="upper right", bbox_to_anchor=(1, 1.075), ncols=2, frameon=False, borderaxespad=0)
    axes.tick_params(labelsize=8, colors="#777777", length=3)
    for spine in axes.spines.values():
        spine.set_color("#dddddd")
    if num_outside := int((~inside).sum()):
        axes.text(0.01, 0.01, f"{num_outside:,} outside", transform=axes.transAxes, fontsize=9, color="#d9480f")
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])
