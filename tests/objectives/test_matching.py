"""Feature matching and path lengths against values worked out by hand."""

import math

import pytest
import torch
from torch import Tensor

from equipoise.objectives import feature_matching, mean_features, path_length


def doubles(*shape: int, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=draw, dtype=torch.float64).requires_grad_()


# Feature matching


def test_feature_matching_compares_the_means_of_each_layer():
    real = (torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.ones(2, 1, 2, 2))
    fake = (torch.tensor([[0.0, 1.0], [2.0, 1.0]]), torch.zeros(2, 1, 2, 2))
    # means (2, 3) and (1, 1): (1² + 2²)/2 = 2.5; second layer 1; their mean
    assert feature_matching(real, fake).item() == pytest.approx(1.75)
    assert feature_matching(real[:1], fake[:1]).item() == pytest.approx(2.5)


def test_feature_matching_does_not_care_which_example_has_which_features():
    layer = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    assert feature_matching((layer,), (layer.flip(0),)).item() == pytest.approx(0, abs=1e-12)


def test_feature_matching_moves_the_generated_side_only():
    real, fake = doubles(3, 4), doubles(3, 4, seed=1)
    assert torch.autograd.gradcheck(lambda f: feature_matching((real.detach(),), (f,)), (fake,))
    feature_matching((real,), (fake,)).backward()
    assert real.grad is None
    assert fake.grad is not None


@pytest.mark.parametrize(("num_real", "num_fake"), [(0, 0), (2, 1)])
def test_feature_matching_needs_layers_in_pairs(num_real: int, num_fake: int):
    with pytest.raises(ValueError, match=f"{num_real} real and {num_fake} generated"):
        feature_matching((torch.zeros(2, 3),) * num_real, (torch.zeros(2, 3),) * num_fake)


def test_mean_features_differ_by_the_mean_absolute_difference_of_each_layer():
    real = (torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.ones(2, 1, 2, 2))
    fake = (torch.tensor([[0.0, 1.0], [2.0, 1.0]]), torch.zeros(2, 1, 2, 2))
    # means (2, 3) and (1, 1): (1 + 2)/2 = 1.5; second layer 1; their mean
    assert mean_features(real, fake).item() == pytest.approx(1.25)
    one, other = doubles(3, 4), doubles(3, 4, seed=1)
    assert torch.autograd.gradcheck(lambda f: mean_features((one.detach(),), (f,)), (other,))
    mean_features((one,), (other,)).backward()
    assert one.grad is None
    with pytest.raises(ValueError, match="mean_features got 0 real"):
        mean_features((), ())


# Path length


def matrix() -> Tensor:
    return torch.randn(24, 3, generator=torch.Generator().manual_seed(1))


def images_of(z: Tensor, weight: Tensor) -> Tensor:
    return (z @ weight.T).view(-1, 2, 3, 4)


def test_the_path_length_of_a_linear_generator_is_the_length_of_its_transpose_times_noise():
    z = torch.randn(5, 3, generator=torch.Generator().manual_seed(2)).requires_grad_()
    torch.manual_seed(0)
    found = path_length(images_of(z, matrix()), z, torch.tensor(0.7))
    torch.manual_seed(0)
    y = torch.randn(5, 24) / math.sqrt(12)
    lengths = (y @ matrix()).square().sum(1).sqrt()
    torch.testing.assert_close(found.lengths, lengths)
    torch.testing.assert_close(found.penalty, (lengths - 0.7).square())


def test_the_mean_squared_path_length_is_the_squared_norm_of_the_jacobian_per_pixel():
    z = torch.zeros(4000, 3, requires_grad=True)
    torch.manual_seed(0)
    lengths = path_length(images_of(z, matrix()), z, torch.tensor(0.0)).lengths
    assert lengths.square().mean().item() == pytest.approx(matrix().square().sum().item() / 12, rel=0.05)


def test_a_latent_for_each_layer_counts_by_its_mean():
    w = torch.zeros(5, 4, 3, requires_grad=True)
    torch.manual_seed(0)
    lengths = path_length(images_of(w.sum(1), matrix()), w, torch.tensor(0.0)).lengths
    z = torch.zeros(5, 3, requires_grad=True)
    torch.manual_seed(0)
    single = path_length(images_of(z, matrix()), z, torch.tensor(0.0)).lengths
    torch.testing.assert_close(lengths, single)  # each of the four layers has the gradient of the one


def test_vectors_count_as_one_pixel():
    z = torch.zeros(4000, 3, requires_grad=True)
    torch.manual_seed(0)
    lengths = path_length(z @ matrix().T, z, torch.tensor(0.0)).lengths
    assert lengths.square().mean().item() == pytest.approx(matrix().square().sum().item(), rel=0.05)


def test_the_gradient_of_the_path_length_for_the_scale_of_a_generator_is_known():
    scale, mean = torch.tensor(1.5, requires_grad=True), torch.tensor(2.0, requires_grad=True)
    z = torch.zeros(6, 3, requires_grad=True)
    torch.manual_seed(0)
    found = path_length(scale * images_of(z, matrix()), z, mean)
    found.penalty.sum().backward()
    lengths = found.lengths.detach()
    torch.testing.assert_close(scale.grad, (2 * (lengths - 2) * lengths / 1.5).sum())
    assert mean.grad is None


def test_a_generator_that_ignores_its_latents_gives_no_nan():
    z, scale = torch.ones(3, 3, requires_grad=True), torch.tensor(0.0, requires_grad=True)
    penalty, lengths = path_length(scale * images_of(z, matrix()), z, torch.tensor(1.0))
    penalty.sum().backward()
    assert lengths.tolist() == [0.0] * 3
    assert scale.grad is not None
    assert scale.grad.item() == 0.0
