import math

import pytest
import torch

from equipoise.monitor.record import Moments, Record


def test_moments_equal_those_of_all_values_together():
    record, parts = Record(), [torch.randn(7, 3), torch.randn(2, 1, 4, 4), torch.randn(())]
    for part in parts:
        record.add("x", part)
    everything = torch.cat([part.flatten() for part in parts]).double()
    moments = record.read()["x"]
    assert moments.count == len(everything)
    assert moments.mean == pytest.approx(everything.mean().item(), abs=1e-12)
    assert moments.std == pytest.approx(everything.std(unbiased=False).item(), abs=1e-12)


def test_names_are_kept_apart_in_the_order_they_came():
    record = Record()
    record.add("b", torch.ones(2))
    record.add("a", torch.zeros(3))
    assert list(record.read().items()) == [("b", Moments(1.0, 0.0, 2)), ("a", Moments(0.0, 0.0, 3))]


def test_reading_starts_a_new_window():
    record = Record()
    record.add("x", torch.tensor([5.0]))
    record.read()
    assert record.read() == {}
    record.add("x", torch.tensor([1.0]))
    assert record.read() == {"x": Moments(1.0, 0.0, 1)}


def test_plain_numbers_integers_and_tensors_mix():
    record = Record()
    record.add("x", 1.0)
    record.add("x", torch.tensor([3]))
    assert record.read() == {"x": Moments(2.0, 1.0, 2)}


def test_small_spread_around_a_large_mean_survives():
    record = Record()
    record.add("x", torch.tensor([1000.0, 1000.01], dtype=torch.float64))
    assert record.read()["x"].std == pytest.approx(0.005, rel=1e-4)


def test_half_precision_does_not_overflow():
    record = Record()
    record.add("x", torch.full((1000,), 60000.0, dtype=torch.float16))
    assert record.read()["x"].mean == 60000.0


def test_not_finite_values_show():
    record = Record()
    record.add("x", torch.tensor([1.0, math.nan]))
    record.add("y", torch.tensor([math.inf]))
    moments = record.read()
    assert math.isnan(moments["x"].mean)
    assert math.isnan(moments["x"].std)
    assert math.isinf(moments["y"].mean)


def test_nothing_added_is_nothing_recorded():
    record = Record()
    record.add("x", torch.empty(0))
    assert record.read() == {}


def test_no_graph_and_no_later_change_is_held():
    record, value = Record(), torch.ones(1, requires_grad=True)
    record.add("x", value * 2)
    with torch.no_grad():
        value.fill_(9.0)
    assert record.read()["x"].mean == 2.0


@pytest.mark.gpu
def test_adding_does_not_wait_for_the_device():
    if not torch.cuda.is_available():
        pytest.skip("needs CUDA")
    record, value = Record(), torch.randn(64, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        record.add("x", value)
        record.add("x", value.bfloat16())
        record.add("y", 0.5)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert record.read()["x"].count == 128
