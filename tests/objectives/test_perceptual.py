"""Perceptual terms against values worked out by hand, and what each of them cannot see."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from equipoise.objectives import (
    content,
    critic_feature_matching,
    gram,
    perceptual,
    relative_content,
    relative_style,
    statistics,
    style,
    texture,
)

Features = tuple[Tensor, ...]


def in_patches(real: Features, fake: Features) -> Tensor:
    return texture(real, fake, 2)


def in_shares(real: Features, fake: Features) -> Tensor:
    return relative_style([gram(layer) for layer in real], fake)


TERMS: dict[str, Callable[[Features, Features], Tensor]] = {
    "content": content,
    "relative_content": relative_content,
    "relative_style": in_shares,
    "style": style,
    "statistics": statistics,
    "texture": in_patches,
    "critic_feature_matching": critic_feature_matching,
}
ALL = pytest.mark.parametrize("term", TERMS.values(), ids=TERMS)


def layers(num: int = 2, *, seed: int = 0) -> Features:
    draw = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(num, c, s, s, generator=draw, dtype=torch.float64) for c, s in [(2, 5), (3, 4)])


def shuffled(layer: Tensor, seed: int = 0) -> Tensor:
    """The same features at other positions."""
    order = torch.randperm(layer[0, 0].numel(), generator=torch.Generator().manual_seed(seed))
    return layer.flatten(2)[..., order].view_as(layer)


# What all have in common


@ALL
def test_every_example_has_a_value_of_its_own(term):
    real, fake = layers(3), layers(3, seed=1)
    single = [term(tuple(x[i : i + 1] for x in real), tuple(x[i : i + 1] for x in fake)) for i in range(3)]
    torch.testing.assert_close(term(real, fake), torch.cat(single))
    assert term(real, real).tolist() == [0, 0, 0]


@ALL
def test_gradients_are_those_of_finite_differences(term):
    real, fake = layers(), layers(seed=1)
    assert torch.autograd.gradcheck(lambda *fake: term(real, fake), tuple(x.requires_grad_() for x in fake))


@ALL
def test_narrow_formats_are_computed_in_float32(term):
    real, fake = (tuple(x.bfloat16() for x in side) for side in (layers(), layers(seed=1)))
    with torch.autocast("cpu", torch.bfloat16):
        found = term(real, fake)
    assert found.dtype == torch.float32
    wide = term(tuple(x.double() for x in real), tuple(x.double() for x in fake))
    torch.testing.assert_close(found.double(), wide, rtol=1e-5, atol=1e-7)


@ALL
def test_one_real_example_serves_for_all_generated_ones(term):
    real, fake = layers(1), layers(3, seed=1)
    torch.testing.assert_close(term(real, fake), term(tuple(x.expand(3, -1, -1, -1) for x in real), fake))


@ALL
def test_layers_that_do_not_fit_are_refused(term):
    with pytest.raises(ValueError, match="0 real and 0 generated layers"):
        term((), ())
    with pytest.raises(ValueError, match="2 real and 1 generated layers"):
        term(layers(), layers()[:1])
    with pytest.raises(ValueError, match="Pass the same layers, in the same order"):
        term(layers(), layers()[::-1])
    with pytest.raises(ValueError, match="as many real examples as generated ones, or one"):
        term(layers(2), layers(3))


@pytest.mark.parametrize(
    "term", [content, style, statistics, lambda *sides, weights: texture(*sides, 2, weights=weights)]
)
def test_layers_are_added_with_their_weights(term):
    real, fake = layers(), layers(seed=1)
    first, second = (term(real[i : i + 1], fake[i : i + 1], weights=None) for i in range(2))
    torch.testing.assert_close(term(real, fake, weights=None), first + second)
    torch.testing.assert_close(term(real, fake, weights=[0.5, 3.0]), first / 2 + 3 * second)
    with pytest.raises(ValueError, match="1 weights for 2 layers"):
        term(real, fake, weights=[1.0])


def test_an_unknown_norm_is_refused():
    with pytest.raises(ValueError, match="norm='l3' is unknown"):
        perceptual.compared(torch.zeros(1, 2), torch.zeros(1, 2), "l3")


# Content


def test_content_is_a_mean_over_each_layer():
    real = (torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.zeros(2, 1, 2, 2))
    fake = (torch.tensor([[1.0, 5.0], [2.0, 4.0]]), torch.full((2, 1, 2, 2), 2.0))
    assert content(real, fake).tolist() == [1.5 + 2, 3 + 2]
    assert content(real, fake, norm="l2").tolist() == [4.5 + 4, 10 + 4]


# Gram matrices and style


def test_the_gram_matrix_is_divided_by_all_values_of_the_layer():
    features = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(1, 2, 1, 2)
    # inner products of (1, 2) and (3, 4), over C·H·W = 4
    assert gram(features).tolist() == [[[5 / 4, 11 / 4], [11 / 4, 25 / 4]]]
    assert torch.autograd.gradcheck(gram, (layers()[0].requires_grad_(),))


def test_style_is_the_mean_square_between_gram_matrices():
    real = (torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(1, 2, 1, 2),)
    fake = (torch.tensor([[1.0, 1.0], [1.0, -1.0]]).view(1, 2, 1, 2),)
    # [[5, 11], [11, 25]]/4 against [[2, 0], [0, 2]]/4
    assert style(real, fake).item() == pytest.approx((3**2 + 11**2 + 11**2 + 23**2) / 16 / 4)
    assert style(real, fake, norm="l1").item() == pytest.approx((3 + 11 + 11 + 23) / 4 / 4)


def test_style_and_statistics_do_not_see_where_something_is_but_content_does():
    real, moved = layers(), tuple(shuffled(x) for x in layers())
    for term in (style, statistics):
        assert term(real, moved).tolist() == pytest.approx([0, 0], abs=1e-24)
    assert (content(real, moved) > 0.1).all()


def test_style_and_statistics_compare_images_of_any_size():
    real = layers()
    doubled = tuple(x.repeat(1, 1, 2, 3) for x in real)
    for term in (style, statistics):
        assert term(real, doubled).tolist() == pytest.approx([0, 0], abs=1e-24)


def test_statistics_are_means_and_deviations_of_channels():
    real = (torch.tensor([[0.0, 2.0], [5.0, 5.0]], dtype=torch.float64).view(1, 2, 1, 2),)
    fake = (torch.tensor([[1.0, 7.0], [6.0, 6.0]], dtype=torch.float64).view(1, 2, 1, 2),)
    # means (1, 5) and (4, 6), deviations (1, 0) and (3, 0), which become √(1 + 1e-5) and √(9 + 1e-5)
    spread = (math.sqrt(9 + 1e-5) - math.sqrt(1 + 1e-5)) ** 2
    assert statistics(real, fake).item() == pytest.approx((9 + 1) / 2 + spread / 2)


def test_statistics_do_not_see_which_channels_are_active_together_but_style_does():
    real = torch.randn(1, 2, 1, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    fake = torch.cat([real[:, :1], real[:, 1:].flip(-1)], 1)
    assert statistics((real,), (fake,)).item() == pytest.approx(0, abs=1e-24)
    assert style((real,), (fake,)).item() > 1e-4


# Shares


def test_a_share_is_0_for_the_same_and_1_for_nothing_and_knows_no_units():
    real, fake = layers(), layers(seed=1)
    for term in (relative_content, in_shares):
        nothing = tuple(torch.zeros_like(x) for x in fake)
        assert term(real, nothing).tolist() == pytest.approx([1, 1])
        scaled = [tuple(scale * x for scale, x in zip((7, 0.1), side)) for side in (real, fake)]
        torch.testing.assert_close(term(*scaled), term(real, fake))


def test_shares_by_hand():
    real, fake = (torch.tensor([[3.0, 4.0]]),), (torch.tensor([[3.0, 1.0]]),)
    assert relative_content(real, fake).item() == pytest.approx(9 / 25)
    real, fake = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    # [[5, 11], [11, 25]]/4 against [[2, 0], [0, 2]]/4
    share = (3**2 + 11**2 + 11**2 + 23**2) / (5**2 + 11**2 + 11**2 + 25**2)
    assert in_shares((real.view(1, 2, 1, 2),), (fake.view(1, 2, 1, 2),)).item() == pytest.approx(share)


def test_no_gradient_flows_into_what_is_wanted():
    for term in (relative_content, in_shares):
        real, fake = (tuple(x.requires_grad_() for x in layers(seed=seed)) for seed in (0, 1))
        term(real, fake).sum().backward()
        assert all(x.grad is None for x in real)
        assert all(x.grad is not None for x in fake)


# Texture


def test_texture_sees_what_moves_to_another_patch_only():
    real = torch.randn(1, 3, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    within, across = real.clone(), real.clone()
    for top in (0, 2):
        for left in (0, 2, 4):
            patch = (..., slice(top, top + 2), slice(left, left + 2))
            within[patch] = shuffled(real[patch], seed=top + left)
    across[..., :2], across[..., 2:4] = real[..., 2:4], real[..., :2]
    for moved, seen in [(within, False), (across, True)]:
        assert style((real,), (moved,)).item() == pytest.approx(0, abs=1e-24)
        assert content((real,), (moved,)).item() > 0.1
        assert (texture((real,), (moved,), 2).item() > 1e-4) == seen


def test_texture_is_the_mean_of_style_over_patches():
    real, fake = layers(), layers(seed=1)
    # of 5 × 5 positions 2 × 2 patches fit, of 4 × 4 as well
    corners = [(..., slice(i, i + 2), slice(j, j + 2)) for i in (0, 2) for j in (0, 2)]
    expected = torch.stack([style(tuple(x[at] for x in real), tuple(x[at] for x in fake)) for at in corners]).mean(0)
    torch.testing.assert_close(texture(real, fake, 2), expected)
    torch.testing.assert_close(texture(real, fake, [5, 4]), style(real, fake))
    torch.testing.assert_close(texture(real, fake, [5, 4], norm="l1"), style(real, fake, norm="l1"))


def test_patches_of_single_positions_compare_products_of_channels_there():
    real, fake = torch.tensor([[2.0, 3.0]]).view(1, 2, 1, 1), torch.tensor([[1.0, 0.0]]).view(1, 2, 1, 1)
    # [[4, 6], [6, 9]]/2 against [[1, 0], [0, 0]]/2
    assert texture((real,), (fake,), 1).item() == pytest.approx((9 + 36 + 36 + 81) / 4 / 4)


@pytest.mark.parametrize("sizes", [0, [2], [2, 0], [2, 2, 2]])
def test_impossible_patches_are_refused(sizes):
    with pytest.raises(ValueError, match="expected a number of positions above 0, one for all layers or one for each"):
        texture(layers(), layers(), sizes)


def test_layers_smaller_than_a_patch_are_refused():
    with pytest.raises(ValueError, match="at least one patch of 5 × 5 positions"):
        texture(layers(), layers(), 5)


# The critic's layers


def test_matching_the_critic_layer_by_layer_moves_the_generated_side_only():
    real, fake = layers(), layers(seed=1)
    expected = content(real, fake)
    for layer in (*real, *fake):
        layer.requires_grad_()
    found = critic_feature_matching(real, fake)
    torch.testing.assert_close(found, expected)
    found.sum().backward()
    assert [layer.grad is None for layer in (*real, *fake)] == [True, True, False, False]
