"""A schedule goes from its start to its end along its shape; a warm-up multiplies it."""

import math

import pytest

from equipoise.core.schedule import Schedule, ends, scaled, value_at


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("linear", [8.0, 8.0, 6.5, 5.0, 2.0, 2.0]),
        ("cosine", [8.0, 8.0, 8 - 6 * (1 - math.sqrt(0.5)) / 2, 5.0, 2.0, 2.0]),
        ("exponential", [8.0, 8.0, 4 * math.sqrt(2), 4.0, 2.0, 2.0]),
        ("step", [8.0, 8.0, 8.0, 8.0, 2.0, 2.0]),
    ],
)
def test_every_shape_is_its_closed_form_between_its_marks_and_constant_outside(shape, expected):
    schedule = Schedule(start=8.0, end=2.0, begin=0.2, until=0.6, shape=shape)
    assert [schedule.at(progress) for progress in (0.0, 0.2, 0.3, 0.4, 0.6, 1.0)] == pytest.approx(expected)


@pytest.mark.parametrize("shape", ["linear", "cosine", "exponential", "step"])
def test_a_warm_up_multiplies_and_then_ends(shape):
    plain = Schedule(start=8.0, end=2.0, shape=shape)
    warm = Schedule(start=8.0, end=2.0, shape=shape, warmup=0.5)
    assert warm.at(0.0) == 0.0
    assert warm.at(0.125) == pytest.approx(plain.at(0.125) / 4)
    assert [warm.at(p) for p in (0.5, 0.8, 1.0)] == [plain.at(p) for p in (0.5, 0.8, 1.0)]


def test_marks_that_coincide_are_a_jump():
    schedule = Schedule(start=1.0, end=0.0, begin=0.5, until=0.5)
    assert [schedule.at(p) for p in (0.0, 0.5, 0.51, 1.0)] == [1.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("shape", ["linear", "cosine", "exponential", "step"])
def test_scaling_multiplies_everywhere(shape):
    schedule = Schedule(start=8.0, end=2.0, begin=0.2, until=0.6, shape=shape, warmup=0.3)
    half = scaled(schedule, 0.5)
    for progress in (0.0, 0.1, 0.3, 0.45, 1.0):
        assert value_at(half, progress) == pytest.approx(schedule.at(progress) / 2)
    assert ends(half) == (4.0, 1.0)
    assert scaled(3.0, 0.5) == 1.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shape": "cosin"}, "shape is 'cosin': expected one of linear, cosine, exponential, step"),
        ({"begin": 0.8, "until": 0.2}, r"begin is 0\.8 and until is 0\.2"),
        ({"warmup": -0.1}, r"warmup is -0\.1: expected a share of training of at least 0"),
        ({"shape": "exponential"}, r"An exponential schedule from 1\.0 to 0\.0 never gets there"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Schedule(start=1.0, end=0.0, **settings)
