"""How far networks see, in exact pixels: by the support of gradients, and by tiles that equal the whole."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from equipoise.networks.anysize import (
    Span,
    before,
    check_counts,
    check_sides,
    join,
    norm_for,
    padded,
    reach_of,
    smallest_side,
)
from equipoise.networks.denoiser import DnCNN
from equipoise.networks.filling import before_filling, filled
from equipoise.networks.fourier import FourierInpainter
from equipoise.networks.gated import GatedInpainter
from equipoise.networks.patch import MultiScaleCritic, PatchCritic
from equipoise.networks.srresnet import RRDBNet, SRResNet
from equipoise.networks.translator import ResNetTranslator
from equipoise.networks.unet import UNet, UNetCritic

LOCAL: dict[str, Callable[[], Any]] = {
    "srresnet, 1": lambda: SRResNet(1, scale=1, width=2, num_blocks=1),
    "srresnet, 2": lambda: SRResNet(1, scale=2, width=2, num_blocks=2),
    "srresnet, 3": lambda: SRResNet(1, scale=3, width=2, num_blocks=1),
    "srresnet, 8": lambda: SRResNet(1, scale=8, width=2, num_blocks=1),
    "srresnet, 4 at once": lambda: SRResNet(1, scale=4, width=2, num_blocks=1, staged=False),
    "rrdb, 1": lambda: RRDBNet(1, scale=1, width=2, num_blocks=1, growth=1),
    "rrdb, 4": lambda: RRDBNet(1, scale=4, width=2, num_blocks=1, growth=1),
    "unet, depth 1": lambda: UNet(1, 1, width=2, depth=1, normalisation="none"),
    "unet, depth 3": lambda: UNet(1, 1, width=2, depth=3, normalisation="batch"),
    "unet, residual": lambda: UNet(1, 1, width=2, depth=2, normalisation="none", residual=True, final="none"),
    "unet critic": lambda: UNetCritic(1, width=2),
    "gated": lambda: GatedInpainter(1, 1, width=2),
    "fourier, ratio 0": lambda: FourierInpainter(1, 1, width=2, num_downs=2, num_blocks=1, ratio=0),
    "dncnn": lambda: DnCNN(1, width=2, depth=4),
    "dncnn, batch": lambda: DnCNN(1, width=2, depth=3, normalisation="batch"),
    "translator": lambda: ResNetTranslator(1, 1, width=2, num_blocks=2, num_downs=2, normalisation="none"),
    "translator, batch": lambda: ResNetTranslator(1, 1, width=2, num_blocks=1, num_downs=1, normalisation="batch"),
    "translator, flat": lambda: ResNetTranslator(1, 1, width=2, num_blocks=1, num_downs=0, normalisation="none"),
}


def averaging(network: nn.Module) -> nn.Module:
    """The network with positive weights and no biases: no activation is switched off, so no dependence is hidden."""
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d):
                weight = dict(layer.named_parameters()).get("parametrizations.weight.original", layer.weight)
                weight.abs_().clamp_min_(0.01).div_(weight.sum((1, 2, 3), keepdim=True))
                if layer.bias is not None:
                    layer.bias.zero_()
    return network.double().eval()


def image(width: int, height: int) -> Tensor:
    return torch.rand(1, 1, height, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def answer(network: nn.Module, x: Tensor) -> Tensor:
    y = network(x)
    return y if isinstance(y, Tensor) else y.logits


def columns(output: Tensor, x: Tensor) -> tuple[int, int]:
    """The first and the last column of the image that an output depends on."""
    (gradient,) = torch.autograd.grad(output, x, retain_graph=True)
    (seen,) = gradient.abs().sum((0, 1, 2)).nonzero(as_tuple=True)
    return int(seen[0]), int(seen[-1])


@pytest.mark.parametrize("name", LOCAL)
def test_reach_is_the_farthest_pixel_with_a_gradient(name: str):
    network: Any = averaging(LOCAL[name]())
    reach, period, scale = network.reach, network.period, getattr(network, "scale", 1)
    middle = -(-(reach + 1) // period) * period
    x = image(middle + period + reach + 2, height=max(network.smallest, 4)).requires_grad_()
    y = answer(network, x)
    row, farthest = y.shape[2] // 2, 0
    for o in range(middle * scale, (middle + period) * scale):
        first, last = columns(y[0, 0, row, o], x)
        farthest = max(farthest, o // scale - first, last - o // scale)
    assert farthest == reach


@pytest.mark.parametrize("name", LOCAL)
def test_a_tile_that_begins_at_a_multiple_of_the_period_equals_the_whole_beyond_the_reach(name: str):
    network: Any = LOCAL[name]().double().eval()
    reach, period, scale = network.reach, network.period, getattr(network, "scale", 1)
    first, last = 3 * period, 3 * period + 2 * reach + 5
    x = image(last + period + 3, height=network.smallest + 2)
    with torch.no_grad():
        whole, tile = answer(network, x), answer(network, x[..., first:last])
    inner = slice(reach * scale, (last - first - reach) * scale)
    expected = whole[..., first * scale : last * scale][..., inner]
    assert expected.shape[-1] == 5 * scale
    torch.testing.assert_close(tile[..., inner], expected, atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("halvings", [1, 3, 4])
def test_a_filled_tile_equals_the_whole_beyond_the_reach_of_the_filling(halvings: int):
    period = 2**halvings
    reach = reach_of(lambda span: before_filling(span, halvings), period=period)
    first, last = 3 * period, 3 * period + 2 * reach + 5
    x = image(-(-(last + reach) // period) * period, height=2 * period)
    known = (image(x.shape[3], x.shape[2]).flip(3) > 0.9).to(x)
    known[..., last - reach - 9 : last - reach + 9] = 0  # a hole that the last correct column lies in
    whole = filled(x * known, known, halvings)
    cells = (last - first) // period * period
    tile = filled((x * known)[..., first : first + cells], known[..., first : first + cells], halvings)
    inner = slice(reach, cells - reach)
    torch.testing.assert_close(tile[..., inner], whole[..., first : first + cells][..., inner], atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("normalisation", ["none", "batch", "spectral"])
def test_the_reach_of_a_patch_critic_is_half_a_patch(num_layers: int, normalisation):
    critic: Any = averaging(PatchCritic(1, width=2, num_layers=num_layers, normalisation=normalisation))
    patch = {1: 16, 2: 34, 3: 70}[num_layers]
    assert critic.reach == patch // 2
    x = image(3 * patch, height=critic.smallest).requires_grad_()
    logits = critic(x).logits
    first, last = columns(logits[0, 0, 0, logits.shape[3] // 2], x)
    assert last - first + 1 == patch


def test_the_reach_of_a_critic_of_several_scales_is_that_of_the_coarsest():
    critic: Any = MultiScaleCritic([PatchCritic(1, width=2, num_layers=1, normalisation="none") for _ in range(3)])
    critic = averaging(critic)
    x = image(192, height=critic.smallest).requires_grad_()
    logits = critic(x).logits
    widths = []
    for scale in range(3):
        first, last = columns(logits[0, scale, 0, logits.shape[3] // 2], x)
        widths.append(last - first + 1)
    assert widths == [16, 33, 67]  # 2·(16 - 1) + 3 and 2·(33 - 1) + 3
    assert critic.reach == 34


GLOBAL: dict[str, Callable[[], Any]] = {
    "unet": lambda: UNet(1, 1, width=4, depth=2, normalisation="instance"),
    "unet, depth 1": lambda: UNet(1, 1, width=4, depth=1, normalisation="instance"),
    "translator": lambda: ResNetTranslator(1, 1, width=4, num_blocks=1),
    "patch": lambda: PatchCritic(1, width=4, num_layers=1),
    "scales": lambda: MultiScaleCritic([PatchCritic(1, width=4, num_layers=1) for _ in range(2)]),
    "fourier": lambda: FourierInpainter(1, 1, width=4, num_downs=1, num_blocks=1, ratio=0.5),
}


@pytest.mark.parametrize("name", GLOBAL)
def test_reach_is_none_where_every_pixel_sees_the_whole_image(name: str):
    network: Any = GLOBAL[name]().double().eval()
    assert network.reach is None
    x = image(100, height=12).requires_grad_()
    y = answer(network, x)
    assert columns(y[0, -1, :, 0].sum(), x) == (0, 99)


def test_reach_of_layers_by_hand():
    assert before(Span(4, 4), nn.Conv2d(1, 1, 3, padding=2, dilation=2)) == (2, 6)
    assert before(Span(0, 1), nn.Conv2d(1, 1, 4, 2, 1)) == (-1, 4)
    assert before(Span(5, 5), nn.Upsample(scale_factor=2)) == (2, 2)
    assert before(Span(5, 5), nn.PixelShuffle(3)) == (1, 1)
    assert before(Span(4, 5), nn.Upsample(scale_factor=2, mode="bilinear")) == (1, 3)
    assert before(Span(4, 4), nn.Upsample(scale_factor=2, mode="bicubic")) == (0, 3)
    assert before(Span(4, 4), nn.Upsample(scale_factor=3, mode="bicubic")) == (0, 3)
    assert join(Span(1, 2), Span(0, 1), Span(5, 6)) == (0, 6)
    assert reach_of(lambda span: Span(span.first // 2 - 1, span.last // 2), scale=2) == 1


def test_images_are_reflected_to_multiples_where_they_are_at_least_the_smallest_side():
    x = torch.arange(5.0).view(1, 1, 1, 5)
    assert padded(x, 1) is x
    assert padded(x.expand(1, 1, 8, 5), 8)[0, 0, 0].tolist() == [0, 1, 2, 3, 4, 3, 2, 1]
    for multiple in (1, 2, 4, 8, 16, 32):
        works = [side for side in range(1, 70) if -side % multiple < side]
        assert works == list(range(smallest_side(multiple), 70))
        assert padded(torch.zeros(1, 1, works[0], works[-1]), multiple).shape[2] == multiple


def test_errors_say_what_was_expected():
    with pytest.raises(ValueError, match=r"Net: images of 7×4 pixels were passed: expected sides of at least 5. Grow"):
        check_sides(torch.zeros(1, 1, 7, 4), 5, "Net", "Grow them.")
    with pytest.raises(ValueError, match=r"Net\(depth=0\): expected at least 1"):
        check_counts("Net", width=1, depth=0)
    wrong: Any = "layer"
    with pytest.raises(ValueError, match="normalisation='layer': expected 'none', 'batch' or 'instance'"):
        norm_for(wrong, 3)
