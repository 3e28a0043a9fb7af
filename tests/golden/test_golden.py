"""The first losses of the shipped recipes are what they were; `python -m tests.golden.make` writes them anew."""

import pytest
from make import RECIPES, STEPS, play, read, written


@pytest.mark.parametrize("name", RECIPES)
def test_the_first_losses_are_the_golden_ones(name: str):
    expected, found = read(name), play(name)
    assert len(found) == len(expected) == STEPS
    for step, (now, then) in enumerate(zip(found, expected)):
        assert now == pytest.approx(then, rel=1e-5, abs=1e-9), (
            f"{name}, step {step}: the losses have changed. If the mathematics or the recipe was meant to change, "
            f"write them anew: python -m tests.golden.make {name}"
        )


def test_golden_files_hold_six_digits():
    assert written([{"loss/D/adversarial": 1.38629436, "loss/G/adversarial": 1e-9}]) == (
        "loss/D/adversarial=1.38629 loss/G/adversarial=1e-09\n"
    )
