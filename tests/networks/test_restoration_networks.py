"""Networks from images to images: any size, how they begin, gradients, precision, parameters, errors."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, pad

from equipoise.networks import filling
from equipoise.networks.denoiser import DnCNN
from equipoise.networks.filling import filled
from equipoise.networks.fourier import FourierConv, FourierInpainter, FourierUnit
from equipoise.networks.gated import GatedConv, GatedInpainter
from equipoise.networks.srresnet import RRDBNet, SRResNet
from equipoise.networks.translator import ResNetTranslator
from equipoise.networks.unet import UNet, UNetCritic

NETWORKS: dict[str, Callable[..., Any]] = {
    "srresnet": lambda scale=1: SRResNet(4, scale=scale, width=4, num_blocks=2),
    "srresnet, at once": lambda scale=1: SRResNet(4, scale=scale, width=4, num_blocks=2, staged=False),
    "rrdb": lambda scale=1: RRDBNet(4, scale=scale, width=4, num_blocks=1, growth=2),
    "unet": lambda: UNet(4, 3, width=4, depth=3, normalisation="instance"),
    "unet, batch": lambda: UNet(4, 3, width=4, depth=4, dropout=0.5),
    "unet, softmax": lambda: UNet(4, 3, width=4, depth=2, normalisation="none", final="softmax"),
    "unet, residual": lambda: UNet(4, 3, width=4, depth=1, normalisation="none", residual=True, final="none"),
    "fourier": lambda: FourierInpainter(width=4, num_downs=2, num_blocks=2),
    "gated": lambda: GatedInpainter(width=4),
    "dncnn": lambda: DnCNN(4, width=4, depth=4),
    "dncnn, batch": lambda: DnCNN(4, width=4, depth=4, normalisation="batch"),
    "translator": lambda: ResNetTranslator(4, 3, width=4, num_blocks=2),
    "translator, none": lambda: ResNetTranslator(4, 3, width=4, num_blocks=2, num_downs=0, normalisation="none"),
}
IN_RANGE = ["unet", "unet, batch", "unet, softmax", "fourier", "gated", "translator", "translator, none"]
NEAR_THE_INPUT = ["srresnet", "srresnet, at once", "rrdb", "unet, residual", "dncnn", "dncnn, batch"]


def images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(2)) * 2 - 1


def num_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


# Sizes and ranges


@pytest.mark.parametrize("name", NETWORKS)
def test_any_size_from_the_smallest_on_keeps_its_shape(name: str):
    network = NETWORKS[name]().eval()
    least = network.smallest
    with torch.no_grad():
        for height, width in [(least, least), (least, 40), (least + 1, least + 2), (17, 24), (33, 19)]:
            y = network(images(2, 4, height, width))
            assert y.shape == (2, 3 if name in IN_RANGE or "unet" in name else 4, height, width)
            assert y.dtype == torch.float32
            assert y.isfinite().all()
            assert name not in IN_RANGE or y.abs().max() <= 1


@pytest.mark.parametrize("name", NETWORKS)
def test_a_smaller_image_is_refused(name: str):
    network = NETWORKS[name]()
    least = network.smallest
    for height, width in [(least - 1, 40), (40, least - 1)]:
        with pytest.raises(ValueError, match=f"images of {height}×{width} pixels.*sides of at least {least}"):
            network(torch.zeros(1, 4, height, width))


def test_the_smallest_sides_by_hand():
    assert [UNet(1, 1, width=1, depth=depth).smallest for depth in (1, 2, 4)] == [2, 3, 9]
    assert [ResNetTranslator(1, 1, width=1, num_downs=downs).smallest for downs in (0, 1, 2)] == [4, 3, 5]
    assert [FourierInpainter(width=1, num_downs=downs, num_blocks=1).smallest for downs in (1, 3)] == [3, 9]
    assert (GatedInpainter(width=1).smallest, UNetCritic(1, width=1).smallest) == (3, 5)


@pytest.mark.parametrize("name", ["srresnet", "rrdb"])
@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
def test_super_resolution_multiplies_both_sides(name: str, scale: int):
    network = NETWORKS[name](scale)
    with torch.no_grad():
        for height, width in [(1, 1), (5, 8), (7, 3)]:
            assert network(images(1, 4, height, width)).shape == (1, 4, scale * height, scale * width)


# How they begin


@pytest.mark.parametrize("name", ["srresnet", "rrdb"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_super_resolution_begins_near_the_bicubic_image(name: str, scale: int):
    x = images(2, 4, 9, 12)
    bicubic = interpolate(x, scale_factor=scale, mode="bicubic", align_corners=False)
    network = NETWORKS[name](scale)
    with torch.no_grad():
        assert 0 < (network(x) - bicubic).abs().mean() < 0.05
        network.out.weight.zero_()
        torch.testing.assert_close(network(x), bicubic)


@pytest.mark.parametrize("name", NEAR_THE_INPUT)
def test_restoration_begins_near_the_input(name: str):
    x = images(2, 4, 20, 20)
    with torch.no_grad():
        y = NETWORKS[name]()(x)
    assert 0 < (y - x[:, : y.shape[1]]).abs().mean() < 0.05


@pytest.mark.parametrize("name", IN_RANGE)
def test_networks_with_a_tanh_begin_far_from_its_ends(name: str):
    with torch.no_grad():
        y = NETWORKS[name]()(images(2, 4, 24, 24))
    assert y.std() > 0.001
    assert (y.abs() > 0.99).float().mean() < 0.05


def test_gated_convolutions_begin_by_keeping_the_size_of_signals():
    network = nn.Sequential(*[GatedConv(32, 32) for _ in range(10)])
    with torch.no_grad():
        y = network(torch.randn(2, 32, 24, 24))[..., 10:14, 10:14]
    assert 0.3 < y.square().mean().sqrt() < 3


# Gradients, precision, state


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_reach_every_parameter_and_the_image_stays(name: str):
    network, x = NETWORKS[name](), images(2, 4, 18, 21)
    before = x.clone()
    y = network(x.requires_grad_())
    (y * torch.randn_like(y)).sum().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().max() > 0, key
    assert x.grad is not None
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", NETWORKS)
def test_bfloat16_autocast_gives_finite_float32_near_that_of_float32(name: str):
    network, x = NETWORKS[name]().eval(), images(2, 4, 19, 24)
    with torch.autocast("cpu", torch.bfloat16):
        y = network(x)
    assert y.dtype == torch.float32
    y.square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())
    with torch.no_grad():
        exact = network(x)
    assert (y - exact).square().mean() < 0.01 * exact.square().mean()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_state_makes_another_network_the_same(name: str):
    torch.manual_seed(1)
    one = NETWORKS[name]()
    one(images(2, 4, 16, 16))  # moves running statistics
    torch.manual_seed(2)
    other = NETWORKS[name]()
    x = images(2, 4, 17, 16)
    with torch.no_grad():
        assert not torch.equal(one.eval()(x), other.eval()(x))
        other.load_state_dict(one.state_dict())
        assert torch.equal(one(x), other(x))


def test_dropout_acts_in_training_only():
    network, x = NETWORKS["unet, batch"](), images(2, 4, 16, 16)
    with torch.no_grad():
        assert not torch.equal(network(x), network(x))
        network.eval()
        assert torch.equal(network(x), network(x))


def test_a_softmax_gives_planes_whose_shares_add_up_to_one():
    network, x = NETWORKS["unet, softmax"](), images(2, 4, 9, 12)
    with torch.no_grad():
        shares = (network(x) + 1) / 2
    assert shares.min() >= 0
    torch.testing.assert_close(shares.sum(1), torch.ones(2, 9, 12))
    for final, words in (("softmax", "at least 2 output channels"), ("sigmoid", "'tanh', 'softmax' or 'none'")):
        with pytest.raises(ValueError, match=words):
            UNet(4, 1, final=final)


def test_instance_normalisation_keeps_images_apart_and_works_on_one_image():
    network, x = NETWORKS["unet"](), images(3, 4, 5, 7)
    with torch.no_grad():
        torch.testing.assert_close(network(x)[1:2], network(x[1:2]))


# Parameters by hand


def test_numbers_of_parameters():
    with torch.device("meta"):
        assert num_parameters(SRResNet(3)) == 1_517_571  # as published for MSRResNet of 64 channels and 16 blocks
        assert num_parameters(RRDBNet(3)) == 16_697_987  # and for RRDBNet of 64 channels and 23 blocks
        small = 3 * 4 * 9 + 4 + 3 * (4 * 4 * 9 + 4) + 4 * 48 * 9 + 48
        assert num_parameters(SRResNet(3, width=4, num_blocks=1, staged=False)) == small
    conv = 64 * 64 * 9
    assert num_parameters(DnCNN(1)) == (64 * 9 + 64) + 15 * (conv + 64) + (64 * 9 + 1)
    assert num_parameters(DnCNN(1, normalisation="batch")) == (64 * 9 + 64) + 15 * (conv + 128) + (64 * 9 + 1)
    downs = (2 * 4 * 16 + 4) + (4 * 8 * 16 + 8)
    ups = (8 * 4 * 9 + 4) + (8 * 2 * 9 + 2)
    assert num_parameters(UNet(1, 1, width=2, depth=2, normalisation="none")) == 20 + downs + ups + 37
    blocks = 18 * (256 * 256 * 9 + 512)
    halvings = (64 * 128 * 9 + 256) + (128 * 256 * 9 + 512)
    doublings = (256 * 128 * 9 + 256) + (128 * 64 * 9 + 128)
    ends = (3 * 64 * 49 + 128) + (64 * 3 * 49 + 3)
    assert num_parameters(ResNetTranslator(3, 3)) == ends + halvings + blocks + doublings
    near, spectral = 8 * 4 * 9 + 4 * 4 * 9, (4 * 2 + 4) + (4 * 4 + 8) + 2 * 4
    fourier = (4 * 4 * 49 + 8) + (4 * 8 * 9 + 16) + 2 * (near + spectral + 16) + (8 * 4 * 9 + 8) + (4 * 3 * 49 + 3)
    assert num_parameters(FourierInpainter(width=4, num_downs=1, num_blocks=1, ratio=0.5)) == fourier
    small = (4 * 4 * 25 + 4) + (2 * 8 * 9 + 8) + (4 * 8 * 9 + 8) + (4 * 16 * 9 + 16)
    large = 8 * (8 * 16 * 9 + 16)
    back = (8 * 8 * 9 + 8) + (4 * 8 * 9 + 8) + (4 * 4 * 9 + 4) + (2 * 2 * 9 + 2) + (9 * 3 + 3)
    assert num_parameters(GatedInpainter(width=2)) == small + large + back


# Parts against independent formulas


@pytest.mark.parametrize("size", [(6, 8), (5, 7), (2, 2)])
def test_a_fourier_unit_is_a_convolution_of_the_spectrum(size: tuple[int, int]):
    unit = FourierUnit(2).double().eval()
    x = images(1, 2, *size).double()
    spectrum = np.fft.fft2(x.numpy(), norm="ortho")[..., : size[1] // 2 + 1]
    parts = np.concatenate([spectrum.real, spectrum.imag], axis=1)
    mixed = np.einsum("oc,nchw->nohw", unit.conv.weight.detach().numpy()[:, :, 0, 0], parts) / np.sqrt(1 + 1e-5)
    mixed = np.maximum(mixed, 0)
    expected = np.fft.irfft2(mixed[:, :2] + 1j * mixed[:, 2:], s=size, norm="ortho")
    with torch.no_grad():
        np.testing.assert_allclose(unit(x).numpy(), expected, atol=1e-12)


def test_a_fourier_convolution_joins_four_paths():
    layer = FourierConv(4, ratio=0.5).double().eval()
    x = images(2, 4, 6, 5).double()
    near, far = x[:, :2], x[:, 2:]
    assert layer.outwards is not None
    assert layer.spectral is not None
    with torch.no_grad():
        around = [pad(part, (1, 1, 1, 1), mode="reflect") for part in (near, far)]
        local = conv2d(around[0], layer.local.weight[:, :2]) + conv2d(around[1], layer.local.weight[:, 2:])
        wide = conv2d(around[0], layer.outwards.weight) + layer.spectral(far)
        expected = torch.cat([local, wide], dim=1).relu() / (1 + 1e-5) ** 0.5
        torch.testing.assert_close(layer(x), expected)


def test_a_gate_closes_what_its_features_say():
    layer = GatedConv(1, 1, kernel=1)
    x = torch.tensor([2.0, -1.0]).view(1, 1, 1, 2)
    with torch.no_grad():
        layer.conv.weight.copy_(torch.tensor([1.0, 0.0]).view(2, 1, 1, 1))
        assert layer(x).flatten().tolist() == pytest.approx([1.0, (np.exp(-1) - 1) / 2])
        layer.conv.weight[1] = 100.0  # opens at 2, closes at -1
        assert layer(x).flatten().tolist() == pytest.approx([2.0, 0.0])


def test_the_stages_of_a_translator_are_those_that_its_output_comes_from():
    network, x = ResNetTranslator(3, 2, width=4, num_blocks=3, num_downs=1).eval(), images(1, 3, 7, 9)
    with torch.no_grad():
        stages = network.features(x, range(7))
        assert [tuple(h.shape[1:]) for h in stages] == [(3, 8, 10), (4, 8, 10), *[(8, 4, 5)] * 4, (4, 8, 10)]
        assert tuple(h.shape[1] for h in stages) == network.channels
        assert torch.equal(stages[0][..., :7, :9], x)
        torch.testing.assert_close(torch.tanh(network.out(stages[-1]))[..., :7, :9], network(x))
        late, early = network.features(x, (3, 1))
        assert torch.equal(late, stages[3])
        assert torch.equal(early, stages[1])


def test_a_residual_unet_adds_to_the_first_channels():
    network, x = NETWORKS["unet, residual"](), images(2, 4, 9, 9)
    with torch.no_grad():
        network.out.weight.zero_()
        assert torch.equal(network(x), x[:, :3])


# Errors

WORD: Any = "layer"

WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: SRResNet(3, scale=5), r"SRResNet\(scale=5\): expected 1, 2, 3, 4 or 8"),
    (lambda: RRDBNet(3, scale=6), r"RRDBNet\(scale=6\): expected 1, 2, 3, 4 or 8"),
    (lambda: SRResNet(3, num_blocks=0), r"SRResNet\(num_blocks=0\): expected at least 1"),
    (lambda: UNet(3, 3, depth=0), r"UNet\(depth=0\): expected at least 1"),
    (lambda: UNet(3, 3, dropout=1.0), r"dropout is 1.0"),
    (lambda: UNet(3, 3, final=WORD), "final='layer'.*expected 'tanh', 'softmax' or 'none'"),
    (lambda: UNet(3, 3, residual=True), "residual=True, final='tanh'.*expected final='none'"),
    (lambda: UNet(1, 3, residual=True, final="none"), r"UNet\(1, 3, residual=True.*at most as many output channels"),
    (lambda: FourierInpainter(width=4, ratio=1.0), "ratio is 1.0: expected the share"),
    (
        lambda: DnCNN(1, depth=1),
        r"DnCNN\(width=64, depth=1\): expected a width of at least 1 and a depth of at least 2",
    ),
    (lambda: DnCNN(1, normalisation=WORD), r"DnCNN\(normalisation='layer'\): expected 'none' or 'batch'"),
    (lambda: ResNetTranslator(3, 3, num_downs=-1), r"num_downs=-1\): expected 0 or more"),
    (
        lambda: NETWORKS["translator"]().features(torch.zeros(1, 4, 8, 8), (0, 99)),
        r"layers=\(0, 99\).*0 \(the image\) to 7",
    ),
    (lambda: NETWORKS["translator"]().features(torch.zeros(1, 4, 8, 8), ()), "at least one"),
]


@pytest.mark.parametrize(("call", "message"), WRONG, ids=[message for _, message in WRONG])
def test_an_impossible_network_is_refused(call: Callable[[], Any], message: str):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_filling_takes_the_means_of_coarser_cells_and_smooths_them():
    row = torch.tensor([1.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 8.0], dtype=torch.float64).expand(1, 1, 8, 8)
    known = torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0], dtype=torch.float64).expand(1, 1, 8, 8)
    expected = np.array([1.0, 3.0, 0.5, 0.0, 0.0, 2.0, 6.0, 8.0])  # enlarged from cells 2, unknown (0), unknown (0), 8
    for _ in range(4):  # rows are alike, so that two of the four neighbours are the pixel itself
        expected[2:7] = expected[2:7] / 2 + (expected[1:6] + expected[3:8]) / 4
    np.testing.assert_allclose(filled(row, known, 1)[0, 0, 3], expected)


def test_a_filling_with_many_sweeps_is_a_membrane(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(filling, "SWEEPS", 3000)
    side = torch.linspace(-1, 1, 16, dtype=torch.float64)
    plane = (0.3 * side[:, None] + 0.6 * side[None]).expand(1, 2, 16, 16)  # harmonic, so that it comes back
    known = torch.ones(1, 1, 16, 16, dtype=torch.float64)
    known[..., 3:11, 4:13] = 0
    torch.testing.assert_close(filled(plane * known, known, 4), plane, atol=1e-9, rtol=0)


def test_a_filling_refuses_sides_that_cannot_be_halved():
    with pytest.raises(ValueError, match="24×20 pixels: expected multiples of 8"):
        filled(torch.zeros(1, 3, 24, 20), torch.ones(1, 1, 24, 20), 3)
