"""Statistics of the batch inside a critic, and packs of examples."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck

from equipoise.networks.dcgan import DCGANCritic
from equipoise.networks.layers import wrap_for
from equipoise.networks.minibatch import MinibatchDeviation, MinibatchDiscrimination, minibatch_layer, pack, unpack
from equipoise.networks.mlp import MLPCritic
from equipoise.networks.progressive import ProgressiveCritic
from equipoise.networks.resnet import ResNetCritic
from equipoise.objectives import r1

CRITICS: dict[str, Callable[..., nn.Module]] = {
    "mlp": lambda **how: MLPCritic((3, 8, 8), width=16, **how),
    "dcgan": lambda **how: DCGANCritic(3, 8, width=4, **how),
    "resnet": lambda **how: ResNetCritic(3, 8, width=8, **how),
    "progressive": lambda **how: ProgressiveCritic(3, 8, width=4, **how),
}
KINDS = ["deviation", "discrimination"]


def statistic(h: Tensor, group: int) -> list[float]:
    return MinibatchDeviation(group)(h)[:, -1].flatten().tolist()


# Standard deviation

# Standard deviations of {0, 2} and {0, 4} are 1 and 2, of {2, 1} and {4, 1} 0.5 and 1.5.
VECTORS = torch.tensor([[0.0, 0.0], [2.0, 4.0], [1.0, 1.0], [1.0, 1.0]])


def test_the_deviation_is_the_mean_standard_deviation_of_consecutive_groups():
    assert statistic(VECTORS, 2) == pytest.approx([1.5, 1.5, 1e-4, 1e-4])


def test_examples_left_over_get_the_deviation_of_the_last_group():
    assert statistic(VECTORS[:3], 2) == pytest.approx([1.5, 1.5, 1.0])


@pytest.mark.parametrize("group", [2, 3, 100])
def test_a_batch_smaller_than_the_group_is_one_group(group: int):
    assert statistic(VECTORS[:2], group) == pytest.approx([1.5, 1.5])


@pytest.mark.parametrize("group", [1, 4])
def test_the_deviation_of_an_example_alone_is_exactly_zero(group: int):
    assert statistic(VECTORS[:1], group) == [0.0]
    assert statistic(VECTORS, 1) == [0.0] * 4


def test_on_feature_maps_the_deviation_is_one_constant_channel_beside_the_features():
    h = VECTORS.view(4, 1, 1, 2).expand(4, 3, 5, 2)
    found = MinibatchDeviation(2)(h)
    assert found.shape == (4, 4, 5, 2)
    assert torch.equal(found[:, :3], h)
    torch.testing.assert_close(found[:2, 3], torch.full((2, 5, 2), 1.5))


def test_the_deviation_does_not_see_which_group_member_is_which_nor_the_mean():
    h = torch.randn(4, 6)
    assert statistic(h, 4) == pytest.approx(statistic(h.flip(0) + 100, 4), abs=1e-4)


@pytest.mark.parametrize("num", [1, 4, 7])
def test_the_deviation_has_two_derivatives(num: int):
    layer, h = MinibatchDeviation(3), torch.randn(num, 2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(layer, (h,))
    assert gradgradcheck(layer, (h,))


def test_the_gradient_of_the_deviation_of_duplicates_is_finite():
    h = torch.ones(4, 3, requires_grad=True)
    MinibatchDeviation(4)(h).sum().backward()
    assert h.grad is not None
    assert torch.equal(h.grad, torch.ones(4, 3))  # of the features themselves; the deviation is at its minimum


def test_a_group_of_no_example_is_refused():
    with pytest.raises(ValueError, match=r"group is 0: expected .* at least 1"):
        MinibatchDeviation(0)


# Discrimination


def test_discrimination_adds_up_the_closeness_to_all_others():
    layer: Any = MinibatchDiscrimination(2, kernels=1, dims=2)
    nn.init.eye_(layer.project.weight)
    h = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 2.0]])  # L1 distances 1, 3 and 2
    close = [math.exp(-1) + math.exp(-3), math.exp(-1) + math.exp(-2), math.exp(-3) + math.exp(-2)]
    found = layer(h)
    assert torch.equal(found[:, :2], h)
    assert found[:, 2].tolist() == pytest.approx(close)


def test_the_kernels_of_discrimination_use_their_own_dimensions():
    layer: Any = MinibatchDiscrimination(2, kernels=2, dims=1)
    nn.init.eye_(layer.project.weight)
    found = layer(torch.tensor([[0.0, 0.0], [1.0, 3.0]]))
    assert found[0, 2:].tolist() == pytest.approx([math.exp(-1), math.exp(-3)])


def test_duplicates_are_as_close_as_can_be():
    found = MinibatchDiscrimination(3)(torch.ones(7, 3))
    assert found.shape == (7, 53)
    torch.testing.assert_close(found[:, 3:], torch.full((7, 50), 6.0))


def test_discrimination_flattens_feature_maps():
    assert MinibatchDiscrimination(12, kernels=4)(torch.randn(5, 3, 2, 2)).shape == (5, 16)


def test_discrimination_has_two_derivatives():
    layer = MinibatchDiscrimination(3, kernels=2, dims=2).double()
    h = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(layer, (h,))
    assert gradgradcheck(layer, (h,))


def test_a_discrimination_without_kernels_is_refused():
    with pytest.raises(ValueError, match=r"kernels=0.*at least 1 of each"):
        MinibatchDiscrimination(3, kernels=0)


def test_in_a_spectral_critic_the_projection_is_normalised_too():
    layer: Any
    layer, num_features = minibatch_layer("discrimination", (6, 2, 2), group=4, wrap=wrap_for("spectral"))
    assert num_features == 24 + 50
    for _ in range(100):
        layer(torch.randn(2, 24))
    assert torch.linalg.matrix_norm(layer.project.weight.detach(), ord=2).item() == pytest.approx(1, abs=0.01)


# Inside critics


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", CRITICS)
def test_a_critic_with_minibatch_statistics_sees_that_its_batch_holds_duplicates(family: str, kind):
    critic = CRITICS[family](minibatch=kind)
    x = torch.rand(4, 3, 8, 8) * 2 - 1
    duplicates = x[:1].expand(4, -1, -1, -1)
    with torch.no_grad():
        critic(x)  # finds the spectral norms
        critic.eval()
        assert abs(critic(x).logits[0] - critic(duplicates).logits[0]) > 1e-4


@pytest.mark.parametrize("family", CRITICS)
def test_a_critic_without_them_judges_every_example_by_itself(family: str):
    critic = CRITICS[family](minibatch="none").eval()
    x = torch.rand(4, 3, 8, 8) * 2 - 1
    torch.testing.assert_close(critic(x).logits[:1], critic(x[:1]).logits)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", CRITICS)
def test_minibatch_critics_work_with_any_batch_autocast_channels_last_and_penalties(family: str, kind):
    critic = CRITICS[family](minibatch=kind, group=4, normalisation="spectral")
    critic.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for num in (1, 3, 4, 6):
        x = torch.rand(num, 3, 8, 8).to(memory_format=torch.channels_last) * 2 - 1
        with torch.autocast("cpu", torch.bfloat16):
            logits = critic(x).logits
            penalty = r1(lambda x: critic(x).logits, x, x)
        (logits.sum() + penalty.sum()).backward()
        assert logits.dtype == torch.float32
        assert logits.shape == penalty.shape == (num,)
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in critic.parameters())


@pytest.mark.parametrize("conditioning", ["projection", "auxiliary", "concatenation"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", CRITICS)
def test_minibatch_statistics_and_conditioning_go_together(family: str, kind, conditioning):
    critic = CRITICS[family](minibatch=kind, num_classes=3, conditioning=conditioning)
    verdict = critic(torch.rand(3, 3, 8, 8), torch.tensor([0, 1, 2]))
    assert verdict.logits.shape == (3,)
    assert (verdict.classes is not None) == (conditioning == "auxiliary")


# Packs


def test_a_pack_holds_consecutive_examples_channel_by_channel():
    x = torch.arange(24.0).view(4, 2, 3, 1)
    packed = pack(x, 2)
    assert packed.shape == (2, 4, 3, 1)
    assert torch.equal(packed[1], torch.cat([x[2], x[3]]))
    assert pack(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), 2).tolist() == [[1.0, 2.0, 3.0, 4.0]]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_unpacking_gives_the_examples_back(size: int):
    images, vectors = torch.randn(6, 3, 4, 4).to(memory_format=torch.channels_last), torch.randn(6, 2)
    assert torch.equal(unpack(pack(images, size), size), images)
    assert torch.equal(unpack(pack(vectors, size), size), vectors)


def test_examples_that_fill_no_pack_are_refused_rather_than_dropped():
    with pytest.raises(ValueError, match=r"5 examples .* packs of 2.*training\.batch as a multiple of 2"):
        pack(torch.zeros(5, 2), 2)
    with pytest.raises(ValueError, match="3 channels are no packs of 2"):
        unpack(torch.zeros(4, 3), 2)
    for function in (pack, unpack):
        with pytest.raises(ValueError, match="pack of 0 examples: expected at least 1"):
            function(torch.zeros(4, 2), 0)
