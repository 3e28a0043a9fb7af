"""Contrastive terms against values worked out by hand and finite differences."""

import inspect
import math

import pytest
import torch

from equipoise.objectives import patch_contrastive


def doubles(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_two_patches_at_right_angles_by_hand():
    keys = torch.tensor([[[1.0, 0.0], [0.0, 5.0]]])  # lengths do not matter
    queries = torch.tensor([[[2.0, 0.0], [1.0, 0.0]]])  # the first is where it was, the second where the first was
    right, wrong = (-math.log(1 / (1 + math.exp(-sign / 0.5))) for sign in (1, -1))
    assert patch_contrastive(queries, keys, temperature=0.5).item() == pytest.approx((right + wrong) / 2)


def test_patches_that_are_all_alike_are_told_apart_by_chance():
    x = torch.ones(3, 8, 4)
    assert patch_contrastive(x, x).tolist() == pytest.approx([math.log(8)] * 3)


def test_every_image_has_a_value_of_its_own():
    q, k = doubles(3, 5, 4), doubles(3, 5, 4, seed=1)
    alone = torch.cat([patch_contrastive(q[i : i + 1], k[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(patch_contrastive(q, k), alone)


def test_gradients_are_those_of_finite_differences_and_none_reach_the_keys():
    q, k = doubles(2, 4, 3).requires_grad_(), doubles(2, 4, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda q: patch_contrastive(q, k.detach(), temperature=0.3), (q,))
    patch_contrastive(q, k).sum().backward()
    assert k.grad is None


def test_narrow_formats_are_computed_in_float32():
    q, k = doubles(2, 6, 8).bfloat16(), doubles(2, 6, 8, seed=1).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = patch_contrastive(q, k)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, patch_contrastive(q.float(), k.float()))


def test_what_does_not_belong_together_is_refused():
    with pytest.raises(ValueError, match="the same places of both images"):
        inspect.unwrap(patch_contrastive)(doubles(1, 4, 3), doubles(1, 4, 2))  # without the tests' own check of shapes
    with pytest.raises(ValueError, match="above 0"):
        patch_contrastive(doubles(1, 4, 3), doubles(1, 4, 3), temperature=0.0)
