"""Matching codes and classes: against all matchings, and tables that are none."""

from itertools import permutations

import pytest
import torch

from equipoise.metrics.codes import counted, matched


def test_the_matching_is_the_best_of_all():
    draw = torch.Generator().manual_seed(0)
    for _ in range(5):
        table = torch.randint(20, (4, 4), generator=draw)
        best = max(sum(int(table[k, m]) for k, m in enumerate(order)) for order in permutations(range(4)))
        found = matched(table)
        assert found.share == pytest.approx(best / table.sum().item())
        assert sum(int(table[k, m]) for k, m in enumerate(found.classes)) == best


def test_codes_beyond_the_classes_stand_for_none():
    found = matched(torch.tensor([[5, 0], [0, 3], [1, 1]]))
    assert found == (pytest.approx(0.8), (0, 1, None))
    assert matched(torch.tensor([[1, 6, 1]])).classes == (1,)


def test_counts_are_of_pairs():
    table = counted(torch.tensor([0, 0, 2]), torch.tensor([1, 1, 0]), num_codes=3, num_classes=2)
    assert table.tolist() == [[0, 2], [0, 0], [1, 0]]


@pytest.mark.parametrize("table", [torch.zeros(2, 2, dtype=torch.int64), torch.ones(3), torch.tensor([[-1, 2]])])
def test_a_table_that_is_none_is_refused(table):
    with pytest.raises(ValueError, match=r"expected \[codes, classes\]"):
        matched(table)
