"""FastGAN-class networks: excitation over resolutions, and features that an image can be rebuilt from."""

from typing import Any

import pytest
import torch
from torch import nn

from equipoise.networks.fastgan import Decoder, FastGANCritic, FastGANGenerator, SkipExcitation


@pytest.mark.parametrize("size", [8, 16, 28, 32, 64, 128, 256])
def test_images_of_powers_of_two_and_their_multiples(size: int):
    G, D = FastGANGenerator(3, 2, size, width=2, max_width=4), FastGANCritic(2, size, width=2, max_width=4)
    with torch.no_grad():
        x = G(torch.randn(2, 3))
        assert x.shape == (2, 2, size, size)
        assert x.abs().max() <= 1
        verdict = D(x)
    assert verdict.logits.shape == (2,)
    assert verdict.features[0] is x
    assert verdict.features[-1].shape == (2, D.num_features, D.end, D.end)


def test_what_does_not_exist_is_refused():
    for make in (lambda: FastGANGenerator(3, 1, 100), lambda: FastGANCritic(1, 100)):
        with pytest.raises(ValueError, match=r"fastgan networks cannot .* 100×100 .* nearest are 96 and 112"):
            make()
    with pytest.raises(ValueError, match="fastgan critic has no batch normalisation"):
        FastGANCritic(1, 8, normalisation="batch")


def test_small_features_scale_the_channels_of_large_ones_by_numbers_in_0_and_1():
    layer = SkipExcitation(3, 5)
    nn.init.normal_(layer.gate.weight, std=3.0)
    large = torch.randn(2, 5, 32, 32)
    shares = layer(torch.randn(2, 3, 8, 8), large) / large
    assert ((shares > 0) & (shares < 1)).all()
    torch.testing.assert_close(shares, shares[:, :, :1, :1].expand_as(shares), rtol=1e-3, atol=1e-4)
    assert shares[0, 0, 0, 0] != shares[1, 0, 0, 0]


def test_features_excite_those_eight_times_larger():
    assert [len(FastGANGenerator(3, 1, size, width=2).excitations) for size in (16, 32, 64, 256)] == [0, 1, 2, 4]
    G: Any = FastGANGenerator(3, 1, 32, width=2).eval()
    seen: list[tuple[int, int]] = []
    G.excitations[0].register_forward_hook(
        lambda module, inputs, output: seen.append((inputs[0].shape[-1], inputs[1].shape[-1]))
    )
    G(torch.randn(1, 3))
    assert seen == [(4, 32)]


def test_a_decoder_learns_to_rebuild_what_its_features_hold():
    torch.manual_seed(0)
    decoder = Decoder(8, 1, 1)
    x = torch.rand(4, 1, 8, 8) - 0.5
    h = nn.functional.pixel_unshuffle(x, 2).repeat(1, 2, 1, 1)  # [4, 8, 4, 4]
    optimizer = torch.optim.Adam(decoder.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        loss = (decoder(h) - x).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert decoder(h).shape == x.shape
    assert losses[-1] < 0.5 * losses[0]
