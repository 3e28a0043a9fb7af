"""Self-attention: what it computes, where it sits, and its second-order gradients."""

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn.functional import max_pool2d

from equipoise.networks.attention import SelfAttention
from equipoise.networks.layers import wrap_for
from equipoise.networks.resnet import ResNetCritic, ResNetGenerator
from equipoise.runs.parts import Resnet


def attention(width: int = 8) -> SelfAttention:
    torch.manual_seed(0)
    return SelfAttention(width, wrap_for("none"))


def test_it_begins_as_nothing():
    x = torch.randn(2, 8, 6, 6)
    assert torch.equal(attention()(x), x)


def test_each_place_takes_the_values_it_looks_at():
    layer, x = attention(), torch.randn(2, 8, 4, 4)
    nn.init.constant_(layer.gamma, 0.5)
    query, key, value = layer.query(x), max_pool2d(layer.key(x), 2), max_pool2d(layer.value(x), 2)
    expected = torch.zeros(2, 4, 4, 4)
    for n in range(2):
        for i in range(4):
            for j in range(4):
                scores = torch.stack([query[n, :, i, j] @ key[n, :, k // 2, k % 2] for k in range(4)])
                share = scores.exp() / scores.exp().sum()
                expected[n, :, i, j] = sum(share[k] * value[n, :, k // 2, k % 2] for k in range(4))
    torch.testing.assert_close(layer(x), x + 0.5 * layer.out(expected))


def test_it_can_be_differentiated_twice():
    layer = attention(2).double()
    nn.init.constant_(layer.gamma, 0.7)
    x = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert gradcheck(layer, x)
    assert gradgradcheck(layer, x)


@pytest.mark.parametrize("size", [16, 32])
def test_residual_networks_look_around_where_they_are_told(size: int):
    settings = Resnet(width=8, attention=size // 2)
    G, D = settings.generator(4, (1, size, size), 0), settings.critic((1, size, size), 0, "none")
    seen: list[Tensor] = []
    layers = [m for network in (G, D) for m in network.modules() if isinstance(m, SelfAttention)]
    assert len(layers) == 2
    for layer in layers:
        layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    D(G(torch.randn(2, 4)))
    assert [h.shape[2:] for h in seen] == [(size // 2, size // 2)] * 2


def test_a_size_without_a_block_is_refused_with_those_that_have_one():
    with pytest.raises(ValueError, match=r"attention = 12: .* Expected one of 8, 16, 32"):
        ResNetGenerator(4, 1, 32, width=4, attention=12)
    with pytest.raises(ValueError, match=r"attention = 32: .* Expected one of 16, 8"):
        ResNetCritic(1, 32, width=4, attention=32)
