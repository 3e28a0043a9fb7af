"""Pictures of any size in bounded memory: tile by tile, without seams."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from equipoise.games.answers import Fit


@torch.no_grad()
def tiled(answer: Callable[[Tensor], Tensor], x: Tensor, *, fit: Fit, scale: int = 1, tile: int = 256) -> Tensor:
    """`answer(x)` of a picture x [1, C, h, w], computed from tiles of about `tile` × `tile` input pixels.

    Each tile is given a margin of the network's reach, and only what is inside of it is kept: the result is that of the
    whole picture. A network that sees the whole picture has no such margin; there, tiles overlap by half of their side
    and are blended linearly, which hides seams and is not the same as the whole picture.
    """
    if max(x.shape[2:]) <= tile:
        return answer(x)
    if fit.reach is None:
        return blended(answer, x, fit=fit, scale=scale, tile=tile)
    core = max(tile // fit.period, 1) * fit.period
    margin = -(-fit.reach // fit.period) * fit.period
    rows = [
        torch.cat([piece(answer, x, down, across, scale) for across in spans(x.shape[3], core, margin, fit)], dim=3)
        for down in spans(x.shape[2], core, margin, fit)
    ]
    return torch.cat(rows, dim=2)


class Span(NamedTuple):
    """Of one side: what is computed, and which part of it is kept; in input pixels."""

    begin: int
    end: int
    keep: int
    until: int


def spans(side: int, core: int, margin: int, fit: Fit) -> Iterator[Span]:
    """The tiles of one side, each with a margin as far as the picture goes, and with at least the smallest side."""
    for keep in range(0, side, core):
        until = min(keep + core, side)
        latest = max(side - fit.smallest, 0) // fit.period * fit.period
        begin = max(min(keep - margin, latest), 0)
        yield Span(begin, min(until + margin, side), keep, until)


def piece(answer: Callable[[Tensor], Tensor], x: Tensor, down: Span, across: Span, scale: int) -> Tensor:
    """What is kept of one tile."""
    y = answer(x[:, :, down.begin : down.end, across.begin : across.end])
    top, left = (scale * (span.keep - span.begin) for span in (down, across))
    height, width = (scale * (span.until - span.keep) for span in (down, across))
    return y[:, :, top : top + height, left : left + width]


def blended(answer: Callable[[Tensor], Tensor], x: Tensor, *, fit: Fit, scale: int, tile: int) -> Tensor:
    """Tiles that overlap by a half, each weighted by a pyramid."""
    total = weights = torch.zeros(0)
    for top in starts(x.shape[2], tile, fit.period):
        for left in starts(x.shape[3], tile, fit.period):
            y = answer(x[:, :, top : top + tile, left : left + tile])
            if not len(total):
                total = y.new_zeros(1, y.shape[1], scale * x.shape[2], scale * x.shape[3])
                weights = y.new_zeros(1, 1, *total.shape[2:])
            ramp = pyramid(y.shape[2], y.shape[3]).to(y)
            place = (..., slice(scale * top, scale * top + y.shape[2]), slice(scale * left, scale * left + y.shape[3]))
            total[place] += y * ramp
            weights[place] += ramp
    return total / weights


def starts(side: int, tile: int, period: int) -> list[int]:
    """Where tiles begin: half a tile apart, the last one so that it ends with the picture, or as near as it may."""
    last = max(side - tile, 0) // period * period
    step = max(tile // 2 // period, 1) * period
    found = [*range(0, last, step), last]
    if found[-1] + tile < side:  # a period before the end: one more, up to the end
        found.append((side - tile + period) // period * period)
    return found


def pyramid(height: int, width: int) -> Tensor:
    """Weights [h, w] that fall linearly from the middle towards each edge, and are nowhere 0."""
    down, across = (torch.minimum(torch.arange(n) + 1, n - torch.arange(n)).float() for n in (height, width))
    return down[:, None] * across[None]
