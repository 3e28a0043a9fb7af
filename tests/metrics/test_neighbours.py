"""The nearest neighbours are those of scikit-learn and of a search pair by pair."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from equipoise.metrics.neighbours import nearest_neighbours


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("k", [1, 2, 7, 90])
def test_they_are_scikit_learns(k):
    queries, points = normal(0, 70, 6), normal(1, 90, 6)
    distances, indices = NearestNeighbors(n_neighbors=k).fit(points.numpy()).kneighbors(queries.numpy())
    found = nearest_neighbours(queries, points, k=k)
    np.testing.assert_allclose(found.distances.numpy(), distances, rtol=1e-12)
    assert (found.indices.numpy() == indices).all()


def test_copies_are_at_distance_zero_also_far_from_the_origin():
    points = normal(0, 500, 40) + 1e6
    found = nearest_neighbours(points[100:200], points)
    assert (found.distances == 0).all()
    assert found.indices.flatten().tolist() == list(range(100, 200))


def test_no_point_is_its_own_neighbour_but_its_twin_is():
    points = torch.tensor([[0.0], [5.0], [5.0], [6.0]]).double()
    found = nearest_neighbours(points, points, same=True)
    assert found.distances.flatten().tolist() == [5, 0, 0, 1]
    assert found.indices.flatten().tolist() == [1, 2, 1, 1]


def test_a_point_is_as_near_as_the_nearer_of_its_versions():
    points, mirrored = torch.tensor([[1.0, 0], [5.0, 0]]).double(), torch.tensor([[0, 1.0], [0, 5.0]]).double()
    queries = torch.tensor([[0, 4.0], [2.0, 0]]).double()
    found = nearest_neighbours(queries, points, k=2, mirrored=mirrored)
    assert found.distances.tolist() == [[1, 3], [1, 3]]
    assert found.indices.tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("chunk", [1, 7, 10_000])
def test_the_chunk_size_changes_nothing_also_among_equal_distances(chunk):
    points = (2 * normal(0, 60, 2)).round()
    ours, reference = (nearest_neighbours(points, points, k=3, same=True, chunk=c) for c in (chunk, 1024))
    assert torch.equal(ours.distances, reference.distances)


def test_more_neighbours_than_points_are_refused():
    points = normal(0, 3, 2)
    with pytest.raises(ValueError, match="k=3 neighbours were asked for, but 1 to 2 is expected of 3 points"):
        nearest_neighbours(points, points, k=3, same=True)
