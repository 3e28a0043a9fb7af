"""Reconstruction terms against values worked out by hand, closed forms and other ways to compute them."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from equipoise.objectives import (
    charbonnier,
    edges,
    focal_frequency,
    image_gradients,
    l1,
    l2,
    reconstruction,
    total_variation,
)

Pair = Callable[[Tensor, Tensor], Tensor]
PAIRS: dict[str, Pair] = {
    "l1": l1,
    "l2": l2,
    "charbonnier": charbonnier,
    "edges": edges,
    "image_gradients": image_gradients,
    "focal_frequency": focal_frequency,
}
ALL = pytest.mark.parametrize("term", PAIRS.values(), ids=PAIRS)


def doubles(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# What all have in common


@ALL
def test_every_example_has_a_value_of_its_own_and_the_sides_may_be_exchanged(term: Pair):
    x, y = doubles(3, 2, 5, 6), doubles(3, 2, 5, 6, seed=1)
    together = term(x, y)
    torch.testing.assert_close(together, torch.cat([term(x[i : i + 1], y[i : i + 1]) for i in range(3)]))
    torch.testing.assert_close(together, term(y, x))


@ALL
def test_gradients_are_those_of_finite_differences_on_both_sides(term: Pair):
    x, y = doubles(2, 2, 4, 3).requires_grad_(), doubles(2, 2, 4, 3, seed=1).requires_grad_()
    if term is focal_frequency:  # with α above 0 the weights are constants, which finite differences do not know
        term = lambda x, y: focal_frequency(x, y, alpha=0.0)  # noqa: E731
    assert torch.autograd.gradcheck(term, (x, y))


@ALL
def test_narrow_formats_are_computed_in_float32(term: Pair):
    x, y = doubles(2, 3, 8, 8).bfloat16(), doubles(2, 3, 8, 8, seed=1).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = term(x, y)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), term(x.double(), y.double()), rtol=1e-5, atol=1e-6)


@ALL
def test_equal_images_score_best_and_have_no_gradient(term: Pair):
    x = doubles(1, 2, 5, 5)
    y = x.clone().requires_grad_()
    best = term(x, y)
    best.sum().backward()
    assert best.item() == pytest.approx(1e-3 if term in (charbonnier, edges) else 0, abs=1e-12)
    assert torch.equal(y.grad, torch.zeros_like(y))
    assert (term(x, y + 0.01 * doubles(1, 2, 5, 5, seed=2)) > best).all()


def test_images_of_other_shapes_are_not_broadcast():
    with pytest.raises(ValueError, match=r"shape \[2, 1, 4, 4\] and \[2, 3, 4, 4\] were passed: expected one shape"):
        reconstruction.difference(torch.zeros(2, 1, 4, 4), torch.zeros(2, 3, 4, 4))


# Values


REAL = torch.tensor([[0.0, 1.0, 2.0, 3.0], [0.0, 0.0, 0.0, 0.0]])
FAKE = torch.tensor([[0.0, 2.0, 0.0, 0.0], [1.0, 1.0, 1.0, -1.0]])


def test_values_are_compared_by_their_distance_or_its_square():
    assert l1(REAL, FAKE).tolist() == [(0 + 1 + 2 + 3) / 4, 1]
    assert l2(REAL, FAKE).tolist() == [(0 + 1 + 4 + 9) / 4, 1]
    root = math.sqrt(1.25)
    # with ε = 1/2: √(0 + ¼), √(1 + ¼), √(4 + ¼), √(9 + ¼)
    expected = [(0.5 + root + math.sqrt(4.25) + math.sqrt(9.25)) / 4, root]
    assert charbonnier(REAL, FAKE, epsilon=0.5).tolist() == pytest.approx(expected)


def test_a_mask_makes_the_mean_one_over_what_it_covers():
    mask = torch.tensor([[0.0, 1.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    assert l1(REAL, FAKE, mask).tolist() == [2, 1]
    assert l2(REAL, FAKE, mask.bool()).tolist() == [5, 1]
    assert charbonnier(REAL, FAKE, mask, epsilon=1e-6).tolist() == pytest.approx([2, 1])
    uneven = torch.tensor([[0.0, 3.0, 1.0, 0.0]])
    assert l1(REAL[:1], FAKE[:1], uneven).item() == pytest.approx((3 * 1 + 1 * 2) / 4)


def test_a_mask_counts_for_all_channels_and_an_empty_one_gives_zero():
    x, y = doubles(2, 3, 4, 4), doubles(2, 3, 4, 4, seed=1).requires_grad_()
    mask = torch.zeros(2, 1, 4, 4)
    mask[0, :, 1:3, 1:3] = 1
    found = l1(x, y, mask)
    hole = (x - y)[0, :, 1:3, 1:3].abs().mean().item()
    assert found.tolist() == pytest.approx([hole, 0.0])
    found.sum().backward()
    assert torch.equal(y.grad != 0, mask.bool().expand(2, 3, 4, 4))


@pytest.mark.parametrize("shape", [(2, 4, 4), (2, 2, 4, 4), (2, 3, 4, 2)])
def test_a_mask_of_another_shape_is_refused(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match="expected that shape, or 1 in some axes"):
        l1(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4), torch.ones(shape))


@pytest.mark.parametrize("term", [charbonnier, edges])
def test_an_epsilon_of_zero_is_refused(term: Callable[..., Tensor]):
    with pytest.raises(ValueError, match="expected a number above 0"):
        term(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4), epsilon=0.0)


# Edges and differences of neighbours


def ramp(height: int, width: int, *, down: float = 0.0, right: float = 0.0) -> Tensor:
    return (down * torch.arange(height)[:, None] + right * torch.arange(width)).double()[None, None]


def test_edges_see_a_point_and_not_a_ramp():
    real, point = torch.zeros(1, 1, 5, 5).double(), torch.zeros(1, 1, 5, 5).double()
    point[..., 2, 2] = 1
    # of the nine inner positions the point itself has Laplacian -4, its four neighbours 1, the corners 0
    e = 0.1
    expected = (math.sqrt(16 + e * e) + 4 * math.sqrt(1 + e * e) + 4 * e) / 9
    assert edges(real, point, epsilon=e).item() == pytest.approx(expected)
    assert edges(real, 7 + ramp(5, 5, down=3, right=-2)).item() == pytest.approx(1e-3)


def test_image_gradients_see_slopes_and_not_brightness():
    x = doubles(2, 3, 6, 7)
    assert image_gradients(x, x + 0.3).tolist() == pytest.approx([0, 0], abs=1e-12)
    # every vertical difference is off by 2, every horizontal one by 3
    assert image_gradients(x, x + ramp(6, 7, down=2, right=-3)).tolist() == pytest.approx([5, 5])
    assert (image_gradients(x, -x) > 1).all()


def test_total_variation_counts_steps_between_neighbours():
    checkerboard = (-1.0) ** (torch.arange(6)[:, None] + torch.arange(4))
    step = torch.zeros(6, 4)
    step[:, 2:] = 0.5
    images = torch.stack([checkerboard, step, torch.ones(6, 4)])[:, None]
    # all steps of a checkerboard are 2; of the step image, one of three horizontal ones is 0.5
    assert total_variation(images).tolist() == pytest.approx([2 + 2, 0.5 / 3, 0])
    assert torch.autograd.gradcheck(total_variation, (doubles(2, 2, 3, 4).requires_grad_(),))


def test_images_without_neighbours_are_refused():
    with pytest.raises(ValueError, match=r"edges got images of 2 × 5 pixels: expected sides of at least 3"):
        edges(torch.zeros(1, 1, 2, 5), torch.zeros(1, 1, 2, 5))
    with pytest.raises(ValueError, match="total_variation got images of 5 × 1 pixels"):
        total_variation(torch.zeros(1, 1, 5, 1))


# Frequencies


def wave(times: int, size: int = 16) -> Tensor:
    return torch.cos(2 * math.pi * times * torch.arange(size).double() / size).expand(1, 1, size, size)


@pytest.mark.parametrize("alpha", [0.0, 1.0, 2.0])
def test_the_frequency_that_is_farthest_off_counts_in_full_and_others_in_proportion(alpha: float):
    # the mean square of a wave of amplitude a is a²/2, and its weight is (a / largest a)^α
    fake = 0.8 * wave(3) + 0.2 * wave(5)
    expected = 0.8**2 / 2 + 0.25**alpha * 0.2**2 / 2
    assert focal_frequency(torch.zeros_like(fake), fake, alpha=alpha).item() == pytest.approx(expected)


def test_without_focus_it_is_the_mean_square():
    x, y = doubles(3, 2, 5, 8), doubles(3, 2, 5, 8, seed=1)
    torch.testing.assert_close(focal_frequency(x, y, alpha=0.0), l2(x, y))  # Parseval


def test_the_gradient_of_focal_frequency_is_a_filtered_difference():
    x, y = doubles(1, 2, 6, 5), doubles(1, 2, 6, 5, seed=1).requires_grad_()
    focal_frequency(x, y).sum().backward()
    expected = []
    for difference in (y.detach() - x)[0]:
        spectrum = torch.fft.fft2(difference)
        weights = spectrum.abs() / spectrum.abs().max()
        expected.append(torch.fft.ifft2(weights * spectrum).real * 2 / 60)
    torch.testing.assert_close(y.grad[0], torch.stack(expected))


def test_channels_have_weights_of_their_own():
    small = torch.cat([wave(3), 1e-3 * wave(3)], 1)
    # each channel has one frequency, which is its farthest: mean of a²/2 over the two
    assert focal_frequency(torch.zeros_like(small), small).item() == pytest.approx((0.5 + 0.5e-6) / 2)


def test_a_negative_focus_is_refused():
    with pytest.raises(ValueError, match="expected at least 0"):
        focal_frequency(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4), alpha=-1.0)
