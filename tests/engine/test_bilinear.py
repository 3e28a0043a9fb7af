"""On min over x, max over y of x·y, played by the trainer, gradient descent leaves; the rules for games arrive."""

from dataclasses import replace

import pytest
import torch

from benchmarks.bilinear import Bilinear, Way, play, ways
from equipoise import check_game
from equipoise.engine.lookahead import Lookahead
from equipoise.engine.optimizers import Optimizer

WAYS = ways((0.0, 0.999))


def radii(way: Way, steps: int) -> torch.Tensor:
    """The distance to the equilibrium after 0, 1, …, `steps` steps."""
    return play(way, steps=steps).double().norm(dim=1)


def sgd(rule: str = "sgd", **settings) -> Way:
    return Way(player=Optimizer(rule=rule, learning_rate=0.1), colour="", **settings)


def test_the_bilinear_game_passes_the_suite():
    for simultaneous in (True, False):
        check_game(lambda s=simultaneous: Bilinear(simultaneous=s), lambda position, size: torch.zeros(size))


def test_simultaneous_descent_leaves_at_its_known_pace():
    # (x − ηy, y + ηx) is √(1 + η²) times further away.
    r = radii(sgd(), 100)
    assert (r[1:] > r[:-1]).all()
    torch.testing.assert_close(r, 1.01 ** (0.5 * torch.arange(101.0).double()), rtol=1e-4, atol=0)


def test_alternating_descent_circles():
    # (x', y') = (x − ηy, y + ηx') keeps x² + y² − ηxy.
    points = play(sgd(simultaneous=False), steps=200).double()
    x, y = points.T
    kept = x.square() + y.square() - 0.1 * x * y
    torch.testing.assert_close(kept, torch.full_like(kept, 1 - 0.1 * 0.48), rtol=1e-4, atol=0)


def test_extragradient_arrives_at_its_known_pace():
    # x − η(y + ηx), y + η(x − ηy): the squared distance is multiplied by (1 − η²)² + η².
    r = radii(sgd("extra-sgd"), 100)
    assert (r[1:] < r[:-1]).all()
    torch.testing.assert_close(r, (0.99**2 + 0.01) ** (0.5 * torch.arange(101.0).double()), rtol=1e-4, atol=0)


def test_optimistic_descent_arrives_at_its_known_pace():
    # With z = x + iy: z ← z + 2iη·z − iη·z₋₁, so z ~ λᵗ with λ² − (1 + 2iη)λ + iη = 0; the larger root decides.
    roots = torch.linalg.eigvals(torch.tensor([[1 + 0.2j, -0.1j], [1, 0]], dtype=torch.complex128))
    slowest = roots.abs().max().item()
    assert slowest < 1
    r = radii(sgd("optimistic-sgd"), 300)
    assert (r[300] / r[100]).item() == pytest.approx(slowest**200, rel=1e-3)


def test_lookahead_makes_descent_arrive_at_its_known_pace():
    # Five steps multiply z = x + iy by (1 + iη)⁵; then half of the way is kept.
    factor = abs(0.5 + 0.5 * (1 + 0.1j) ** 5)
    r = radii(sgd(lookahead=Lookahead(every=5, share=0.5)), 100)
    assert r[4] > r[0]
    assert factor < 1
    torch.testing.assert_close(r[::5], factor ** torch.arange(21.0).double(), rtol=1e-4, atol=0)


def test_adam_leaves_and_its_optimistic_and_extrapolating_forms_arrive():
    adam, optimistic, extra = (radii(WAYS[name], 500) for name in ("Adam", "optimistic Adam", "extra-Adam"))
    assert adam[500] > adam[300] > adam[100] > 0.5
    assert optimistic[500] < 0.01 * optimistic[0]
    assert extra[500] < 0.01 * extra[0]


def test_a_first_moment_undoes_what_extrapolation_gains():
    way = WAYS["extra-Adam"]
    r = radii(replace(way, player=replace(way.player, betas=(0.9, 0.999))), 300)
    assert r[300] > r[100] > 1
