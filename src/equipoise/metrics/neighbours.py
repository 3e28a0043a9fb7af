"""The nearest neighbours of examples in a set, exactly and in little memory: what the memorisation metrics rest on."""

from typing import NamedTuple

import torch
from torch import Tensor


class Nearest(NamedTuple):
    """Euclidean `distances` [N, k] in rising order, and the `indices` [N, k] of the neighbours."""

    distances: Tensor
    indices: Tensor


def nearest_neighbours(
    queries: Tensor,
    points: Tensor,
    *,
    k: int = 1,
    mirrored: Tensor | None = None,
    same: bool = False,
    chunk: int = 1024,
) -> Nearest:
    """The k nearest of points [M, D] to each query [N, D], float64.

    `mirrored` [M, D] holds the features of the mirrored points in the same order: a point then is as near as the nearer
    of its two versions. `same` says that queries are the points themselves, none of which is its own neighbour.
    `chunk` queries are compared with all points at a time (1024 with 10,000: 80 MB); the answer does not depend on it.

    >>> points = torch.tensor([[0.0], [1.0], [3.0]]).double()
    >>> nearest_neighbours(points, points, same=True).distances.flatten().tolist()
    [1.0, 1.0, 2.0]
    """
    versions = [points] if mirrored is None else [points, mirrored]
    if not 1 <= k <= len(points) - same:
        raise ValueError(
            f"k={k} neighbours were asked for, but 1 to {len(points) - same} is expected of {len(points)} points. "
            "Pass more points."
        )
    # Products of matrices are fast but round; so they only choose candidates, from coordinates without a large mean.
    centre = points.mean(0)
    centred = [version - centre for version in versions]
    num_candidates = min(k + 8, len(points) - same)
    answers = []
    for start in range(0, len(queries), chunk):
        part = queries[start : start + chunk]
        rough = torch.stack([_rough_squares(part - centre, version) for version in centred]).amin(0)
        if same:
            own = torch.arange(len(part), device=part.device)
            rough[own, start + own] = torch.inf
        candidates = rough.topk(num_candidates, largest=False).indices  # [n, candidates]
        exact = torch.stack([_exact_distances(part, version, candidates) for version in versions]).amin(0)
        # Equal distances are ordered by index, so that the answer depends on nothing else.
        candidates, by_index = candidates.sort(1)
        exact, by_distance = exact.gather(1, by_index).sort(dim=1, stable=True)
        answers.append((exact[:, :k], candidates.gather(1, by_distance)[:, :k]))
    return Nearest(*(torch.cat(parts) for parts in zip(*answers)))


def _rough_squares(x: Tensor, y: Tensor) -> Tensor:
    return x.square().sum(1, keepdim=True) - 2 * x @ y.T + y.square().sum(1)


def _exact_distances(x: Tensor, points: Tensor, candidates: Tensor) -> Tensor:
    columns = [(x - points[candidates[:, j]]).square().sum(1).sqrt() for j in range(candidates.shape[1])]
    return torch.stack(columns, 1)
