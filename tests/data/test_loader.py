"""The loader is a pure function of the position."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from equipoise.core.errors import DataError
from equipoise.data import Loader, tensor_source


def loader(length: int, *, labels: bool = False, seed: int = 0) -> Loader:
    values = torch.arange(length, dtype=torch.float32)[:, None]
    return Loader(tensor_source("numbers", values, torch.arange(length) % 3), labels=labels, seed=seed)


def drawn(load: Loader, position: int, size: int) -> list[float]:
    x = load(position, size)
    assert isinstance(x, torch.Tensor)
    return x.flatten().tolist()


@pytest.mark.parametrize("size", [1, 3, 10, 7])
def test_each_epoch_visits_each_example_once(size):
    load = loader(10)
    stream = [value for position in range(0, 70, size) for value in drawn(load, position, size)]
    for epoch in range(6):
        assert sorted(stream[10 * epoch : 10 * (epoch + 1)]) == list(range(10))


def test_epochs_have_their_own_orders():
    load = loader(50)
    assert drawn(load, 0, 50) != drawn(load, 50, 50)


def test_a_batch_straddles_epochs_without_loss():
    load = loader(10)
    assert drawn(load, 7, 6) == drawn(load, 7, 3) + drawn(load, 10, 3)


def test_a_batch_may_be_larger_than_the_source():
    load = loader(4)
    batch = drawn(load, 3, 14)
    assert len(batch) == 14
    assert batch == [value for position in range(3, 17) for value in drawn(load, position, 1)]


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 30), st.lists(st.tuples(st.integers(0, 200), st.integers(1, 70)), min_size=1, max_size=8))
def test_any_order_of_calls_gives_the_same_batches(length, calls):
    used = loader(length)
    answers = {call: drawn(used, *call) for call in calls}
    random.Random(0).shuffle(calls)
    for call in calls:
        assert drawn(used, *call) == answers[call] == drawn(loader(length), *call)


def test_batches_do_not_touch_global_randomness():
    load = loader(10)
    before = torch.get_rng_state()
    load(5, 20)
    assert torch.equal(before, torch.get_rng_state())


def test_another_seed_gives_another_order():
    assert drawn(loader(50, seed=0), 0, 50) != drawn(loader(50, seed=1), 0, 50)


def test_labels_belong_to_their_examples():
    x, y = loader(10, labels=True)(8, 5)
    assert y.dtype == torch.int64
    assert (x.flatten() % 3).tolist() == y.tolist()


def test_labels_of_a_source_without_labels_are_refused_at_once():
    with pytest.raises(DataError, match=r"bare has no labels.*sub-folder per class"):
        Loader(tensor_source("bare", torch.zeros(3, 2)), labels=True, seed=0)


@pytest.mark.parametrize(("position", "size"), [(-1, 4), (0, 0)])
def test_positions_before_the_start_and_empty_batches_are_refused(position, size):
    with pytest.raises(ValueError, match="expected a position"):
        loader(5)(position, size)
