"""Critics of patches, of pixels and of several scales answer Verdicts."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from equipoise.core.game import Verdict
from equipoise.networks.patch import MultiScaleCritic, PatchCritic
from equipoise.networks.unet import UNetCritic


def several(num_scales: int = 2, **how: Any) -> MultiScaleCritic:
    return MultiScaleCritic([PatchCritic(3, width=4, num_layers=1, **how) for _ in range(num_scales)])


CRITICS: dict[str, Callable[[], Any]] = {
    "patch": lambda: PatchCritic(3, width=4, num_layers=2),
    "patch, none": lambda: PatchCritic(3, width=4, num_layers=2, normalisation="none"),
    "patch, batch": lambda: PatchCritic(3, width=4, num_layers=2, normalisation="batch"),
    "patch, spectral": lambda: PatchCritic(3, width=4, num_layers=2, normalisation="spectral"),
    "scales": several,
    "unet": lambda: UNetCritic(3, width=4),
    "unet, none": lambda: UNetCritic(3, width=4, normalisation="none"),
}


def images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(2)) * 2 - 1


@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_a_patch_critic_gives_one_logit_a_patch_and_the_activations_of_each_layer(num_layers: int):
    critic = PatchCritic(3, width=4, num_layers=num_layers)
    least = 3 * 2**num_layers
    assert (critic.smallest, critic.patch) == (least, {1: 16, 2: 34, 3: 70}[num_layers])
    for height, width in [(least, least), (least + 1, 2 * least + 1), (40, 33)]:
        verdict = critic(images(2, 3, height, width))
        assert verdict.logits.shape == (2, 1, height // 2**num_layers - 2, width // 2**num_layers - 2)
        assert [h.shape[1] for h in verdict.features] == [4, 8, 16, 32][: num_layers + 1]
        assert verdict.features[0].shape[2:] == (height // 2, width // 2)


def test_a_unet_critic_gives_one_logit_a_pixel():
    critic = UNetCritic(3, width=4)
    for height, width in [(5, 5), (8, 16), (17, 23)]:
        verdict = critic(images(2, 3, height, width))
        assert verdict.logits.shape == (2, 1, height, width)
        assert [h.shape[1] for h in verdict.features] == [4, 8, 16, 32, 16, 8, 4, 4, 4]


@pytest.mark.parametrize("name", CRITICS)
def test_critics_answer_verdicts_with_gradients_for_all_parameters(name: str):
    critic, x = CRITICS[name](), images(2, 3, 24, 27)
    before = x.clone()
    verdict = critic(x)
    assert isinstance(verdict, Verdict)
    assert verdict.classes is None
    (verdict.logits * torch.randn_like(verdict.logits)).sum().backward()
    for key, parameter in critic.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().max() > 0, key
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", CRITICS)
def test_bfloat16_autocast_gives_finite_float32_logits(name: str):
    critic = CRITICS[name]()
    with torch.autocast("cpu", torch.bfloat16):
        verdict = critic(images(2, 3, 24, 24))
    assert verdict.logits.dtype == torch.float32
    softplus(verdict.logits).mean().backward()
    assert verdict.logits.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in critic.parameters())


@pytest.mark.parametrize("name", CRITICS)
def test_a_state_makes_another_critic_the_same(name: str):
    torch.manual_seed(1)
    one = CRITICS[name]()
    one(images(2, 3, 24, 24))  # moves running statistics and power iterations
    torch.manual_seed(2)
    other, x = CRITICS[name](), images(2, 3, 24, 25)
    with torch.no_grad():
        assert not torch.equal(one.eval()(x).logits, other.eval()(x).logits)
        other.load_state_dict(one.state_dict())
        assert torch.equal(one(x).logits, other(x).logits)


@pytest.mark.parametrize("name", ["patch", "patch, spectral", "unet"])
def test_critics_have_second_derivatives_for_penalties(name: str):
    critic, x = CRITICS[name](), images(2, 3, 13, 14).requires_grad_()
    (slope,) = torch.autograd.grad(critic(x).logits.sum(), x, create_graph=True)
    slope.square().sum().backward()
    first = next(parameter for key, parameter in critic.named_parameters() if "weight" in key)
    assert first.grad is not None
    assert first.grad.abs().max() > 0


def test_spectral_normalisation_bounds_every_convolution_of_the_patch_critic():
    critic = PatchCritic(3, width=4, num_layers=2, normalisation="spectral").eval()
    convolutions = [layer for layer in critic.modules() if isinstance(layer, nn.Conv2d)]
    assert len(convolutions) == 4
    for layer in convolutions:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.1)


def test_numbers_of_parameters():
    def count(network: nn.Module) -> int:
        return sum(parameter.numel() for parameter in network.parameters())

    middle = (64 * 128 * 16 + 256) + (128 * 256 * 16 + 512) + (256 * 512 * 16 + 1024)
    assert count(PatchCritic(6, normalisation="batch")) == (6 * 64 * 16 + 64) + middle + (512 * 16 + 1)
    downs = 16 * (64 * 128 + 128 * 256 + 256 * 512)
    ups = 9 * (512 * 256 + 256 * 128 + 128 * 64)
    assert count(UNetCritic(3)) == (3 * 64 * 9 + 64) + downs + ups + 2 * 64 * 64 * 9 + (64 * 9 + 1)
    assert count(several(3)) == 3 * count(PatchCritic(3, width=4, num_layers=1))


# Several scales


def halved(x: Tensor) -> Tensor:
    """Every second pixel of the means over those of the 3×3 neighbours that there are."""
    height, width = x.shape[2:]
    rows = [x[:, :, max(i - 1, 0) : i + 2] for i in range(0, height, 2)]
    means = [[row[..., max(j - 1, 0) : j + 2].mean((2, 3)) for j in range(0, width, 2)] for row in rows]
    return torch.stack([torch.stack(row, dim=-1) for row in means], dim=2)


def test_the_members_see_the_image_halved_again_and_again():
    critic, x = several(3), images(2, 3, 25, 22)
    verdicts = critic.each(x)
    for member, verdict in zip(critic.members, verdicts):
        torch.testing.assert_close(verdict.logits, member(x).logits)
        x = halved(x)


def test_the_mean_of_a_loss_over_all_logits_is_the_mean_over_the_scales():
    critic, x = several(2), images(2, 3, 16, 16)
    verdict, each = critic(x), critic.each(x)
    assert verdict.logits.shape == (2, 2, 6, 6)
    assert [one.logits.shape[2:] for one in each] == [(6, 6), (2, 2)]
    of_scales = torch.stack([softplus(5 * one.logits).mean() for one in each])
    torch.testing.assert_close(softplus(5 * verdict.logits).mean(), of_scales.mean())
    torch.testing.assert_close(softplus(5 * verdict.logits).mean((0, 2, 3)), of_scales)
    assert len(verdict.features) == sum(len(one.features) for one in each) == 4


def test_coarse_logits_are_repeated_and_none_is_lost():
    critic, x = several(3), images(1, 3, 38, 30)
    joint, each = critic(x).logits, critic.each(x)
    assert torch.equal(joint[:, :1], each[0].logits)
    for scale, one in enumerate(each):
        assert set(joint[:, scale].flatten().tolist()) == set(one.logits.flatten().tolist())


# Errors


@pytest.mark.parametrize("num_scales", [1, 2, 3])
def test_the_smallest_image_of_several_scales_fits_and_a_smaller_one_is_refused(num_scales: int):
    critic = several(num_scales)
    assert critic.smallest == {1: 6, 2: 11, 3: 21}[num_scales]
    assert critic(images(1, 3, critic.smallest, critic.smallest)).logits.shape[1] == num_scales
    with pytest.raises(
        ValueError, match=rf"MultiScaleCritic of {num_scales} .* at least {critic.smallest}. Choose fewer"
    ):
        critic(images(1, 3, 40, critic.smallest - 1))


def test_images_that_are_too_small_are_refused():
    with pytest.raises(
        ValueError, match=r"PatchCritic\(num_layers=3\): images of 24×23 .* at least 24. Choose fewer layers"
    ):
        PatchCritic(3, width=2)(images(1, 3, 24, 23))
    with pytest.raises(ValueError, match=r"UNetCritic: images of 4×9 pixels were passed: expected sides of at least 5"):
        UNetCritic(3, width=2)(images(1, 3, 4, 9))


def test_impossible_critics_are_refused():
    wrong: Any = "layer"
    with pytest.raises(ValueError, match=r"PatchCritic\(normalisation='layer'\): expected 'none', 'batch', 'instance'"):
        PatchCritic(3, normalisation=wrong)
    with pytest.raises(ValueError, match=r"PatchCritic\(num_layers=0\): expected at least 1"):
        PatchCritic(3, num_layers=0)
    with pytest.raises(ValueError, match=r"UNetCritic\(normalisation='layer'\): expected 'none' or 'spectral'"):
        UNetCritic(3, normalisation=wrong)
    with pytest.raises(ValueError, match=r"MultiScaleCritic\(\[\]\): expected at least one critic"):
        MultiScaleCritic([])
