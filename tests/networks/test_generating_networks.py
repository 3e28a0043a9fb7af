"""Coupled networks, pyramids and encoders: what is shared, what adds up again, shapes and what does not fit."""

from itertools import pairwise

import pytest
import torch

from equipoise.networks.coupled import CoupledCritic, CoupledGenerator
from equipoise.networks.encoder import ConvolutionalEncoder, DenseEncoder
from equipoise.networks.pyramid import BandGenerator, check_levels, doubled, halved, levels_of


def noise(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 28), (1, 20)])
def test_coupled_networks_make_and_judge_images_of_both_domains(channels, size):
    pair = CoupledGenerator(5, channels, size, width=4)(torch.randn(3, 5))
    assert [x.shape for x in pair] == [(3, channels, size, size)] * 2
    assert all(x.abs().max() <= 1 for x in pair)
    D = CoupledCritic(channels, size, width=4, normalisation="spectral")
    assert [D(x, k).logits.shape for k, x in enumerate(pair)] == [(3,)] * 2


def test_only_the_layers_near_the_pixels_are_apart():
    G = CoupledGenerator(5, 1, 16, width=4)
    pair = G(torch.randn(3, 5))
    pair.a.sum().backward()
    moved = {name for name, p in G.named_parameters() if p.grad is not None}
    assert not any(name.startswith("domains.1") for name in moved)
    assert {"project.weight", "shared.0.up.weight", "domains.0.0.up.weight"} <= moved
    assert not torch.equal(pair.a, pair.b)
    D = CoupledCritic(1, 16, width=4)
    D(noise(2, 1, 16, 16), 1).logits.sum().backward()
    touched = {name for name, p in D.named_parameters() if p.grad is not None}
    assert {"domains.1.0.weight", "shared.0.weight", "head.logit.weight"} <= touched
    assert "domains.0.0.weight" not in touched


@pytest.mark.parametrize("network", [CoupledGenerator, CoupledCritic])
def test_as_many_layers_as_there_are_can_be_apart(network):
    first = (5, 1, 16) if network is CoupledGenerator else (1, 16)
    network(*first, width=4, num_apart=2)
    for wrong in (0, 3):
        with pytest.raises(ValueError, match="expected 1 to 2 for images of this size"):
            network(*first, width=4, num_apart=wrong)


def test_a_coupled_critic_has_no_batch_normalisation():
    with pytest.raises(ValueError, match="sees both domains"):
        CoupledCritic(1, 16, normalisation="batch")


def test_a_pyramid_adds_up_to_the_image():
    x = noise(2, 3, 32, 32)
    levels = levels_of(x, 2)
    assert [level.shape[2] for level in levels] == [32, 16, 8]
    bands = [fine - doubled(coarse) for fine, coarse in pairwise(levels)]
    rebuilt = levels[-1]
    for band in reversed(bands):
        rebuilt = doubled(rebuilt) + band
    assert torch.allclose(rebuilt, x, atol=1e-5)
    flat = torch.full((1, 1, 8, 8), 0.3)
    assert torch.allclose(halved(flat), flat[..., :4, :4])
    assert torch.allclose(doubled(flat), torch.full((1, 1, 16, 16), 0.3))


@pytest.mark.parametrize(("size", "num_levels"), [(28, 3), (16, 2), (15, 1), (32, 0)])
def test_images_must_be_large_enough_for_their_bands(size, num_levels):
    with pytest.raises(ValueError, match=f"{num_levels} bands of images of {size} pixels"):
        check_levels(size, num_levels)
    check_levels(32, 2)
    check_levels(8, 1, smallest=4)


def test_a_band_depends_on_the_smooth_image_and_on_noise():
    G, smooth, z = BandGenerator(3, width=4).eval(), noise(2, 3, 8, 8), torch.randn(2, 1, 8, 8)
    assert G(z, smooth).shape == smooth.shape
    assert not torch.equal(G(z, smooth), G(z.flip(0), smooth))
    assert not torch.equal(G(z, smooth), G(z, smooth.flip(0)))


@pytest.mark.parametrize(
    "network", [ConvolutionalEncoder(1, 20, 6, width=4), DenseEncoder((1, 20, 20), 6, width=4, num_layers=2)]
)
def test_encoders_answer_numbers_in_float32(network):
    x = noise(3, 1, 20, 20)
    assert network(x).shape == (3, 6)
    with torch.autocast("cpu", torch.bfloat16):
        assert network(x).dtype == torch.float32
    assert not any("norm" in name for name, _ in network.named_modules())
