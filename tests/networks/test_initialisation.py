"""Initial weights by rule."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import leaky_relu

from equipoise.networks.dcgan import DCGANCritic, DCGANGenerator
from equipoise.networks.initialisation import initialise
from equipoise.networks.layers import CriticHead, wrap_for


def layers() -> list[Any]:
    return [nn.Linear(400, 300), nn.Conv2d(8, 64, 4, 2, 1), nn.ConvTranspose2d(64, 32, 4, 2, 1)]


def deviations(parts: list[Any]) -> list[float]:
    return [layer.weight.detach().std().item() for layer in parts]


def test_normal_weights_have_the_deviation_of_dcgan():
    parts = layers()
    initialise(nn.Sequential(*parts), "normal")
    assert deviations(parts) == pytest.approx([0.02] * 3, rel=0.03)
    assert not any(layer.bias.any() for layer in parts)


def test_kaiming_weights_have_a_variance_of_two_over_fan_in():
    parts = layers()
    initialise(nn.Sequential(*parts), "kaiming")
    # √(2 / (1.04 · fan_in)); a transposed 4×4 convolution of stride 2 reaches each pixel with 4 weights per channel.
    expected = [(2 / 1.04 / fan_in) ** 0.5 for fan_in in (400, 8 * 16, 64 * 4)]
    assert deviations(parts) == pytest.approx(expected, rel=0.03)
    assert not any(layer.bias.any() for layer in parts)


@pytest.mark.parametrize("number", range(3))
def test_kaiming_weights_keep_the_size_of_a_signal(number: int):
    layer = layers()[number]
    initialise(layer, "kaiming")
    x = torch.randn(50, 400) if number == 0 else torch.randn(8, layer.in_channels, 16, 16)
    h = leaky_relu(layer(x), 0.2)
    inside = h if number == 0 else h[:, :, 2:-2, 2:-2]
    assert inside.square().mean().item() == pytest.approx(1, abs=0.1)


def test_orthogonal_weights_reach_transposed_convolutions():
    layer = nn.ConvTranspose2d(6, 5, 4)
    initialise(layer, "orthogonal")
    w = layer.weight.detach().flatten(1)
    torch.testing.assert_close(w @ w.T, torch.eye(6), atol=1e-5, rtol=0)


def test_batch_normalisation_starts_near_one_with_normal_and_at_one_otherwise():
    norm = nn.BatchNorm2d(4000)
    initialise(norm, "normal")
    assert norm.weight.mean().item() == pytest.approx(1, abs=0.002)
    assert norm.weight.std().item() == pytest.approx(0.02, rel=0.05)
    initialise(norm, "kaiming")
    assert norm.weight.eq(1).all()
    assert norm.bias.eq(0).all()


@pytest.mark.parametrize("how", ["normal", "orthogonal", "kaiming"])
def test_a_spectral_layer_gets_a_new_weight_behind_it_and_still_has_norm_one(how):
    layer: Any = wrap_for("spectral")(nn.Linear(30, 20))
    former = layer.parametrizations.weight.original.detach().clone()
    initialise(layer, how)
    original = layer.parametrizations.weight.original.detach()
    assert not torch.equal(original, former)
    assert torch.linalg.matrix_norm(layer.weight.detach(), ord=2).item() == pytest.approx(1, abs=0.02)
    ratio = (layer.weight / original).detach()
    torch.testing.assert_close(ratio, ratio[0, 0].expand(20, 30))


def test_estimating_the_norm_leaves_the_mode_alone():
    layer: Any = wrap_for("spectral")(nn.Linear(5, 5)).eval()
    initialise(layer, "normal")
    assert not any(module.training for module in layer.modules())


def test_embeddings_of_classes_stay():
    head: Any = CriticHead(5, 3, "projection", wrap_for("none"))
    generator: Any = DCGANGenerator(5, 1, 8, width=2, num_classes=3)
    former = head.embedding.weight.clone()
    for network in (head, generator):
        initialise(network, "normal")
    assert torch.equal(head.embedding.weight, former)
    assert all(norm.gain.weight.eq(1).all() for norm in generator.norms)


@pytest.mark.parametrize("how", ["normal", "orthogonal", "kaiming"])
def test_the_same_seed_gives_the_same_weights(how):
    critics = [DCGANCritic(1, 8, width=2, normalisation="spectral") for _ in range(2)]
    for critic in critics:
        torch.manual_seed(3)
        initialise(critic, how)
    first, second = (dict(critic.named_parameters()) for critic in critics)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_an_unknown_rule_is_refused():
    how: Any = "xavier"
    with pytest.raises(ValueError, match="'xavier': expected 'normal', 'orthogonal' or 'kaiming'"):
        initialise(nn.Linear(2, 2), how)
