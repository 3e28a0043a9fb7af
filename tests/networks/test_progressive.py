"""Networks that grow: the schedule, what each level shows, and how the next one fades in."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, leaky_relu

from equipoise.networks.layers import start_and_doublings
from equipoise.networks.progressive import WHOLE, ProgressiveCritic, ProgressiveGenerator, grow, level_at, set_level
from equipoise.objectives import r1

Z = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
X = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


def generator(size: int = 16, **how: Any) -> ProgressiveGenerator:
    return ProgressiveGenerator(5, 1, size, width=4, **how)


def critic(size: int = 16, **how: Any) -> ProgressiveCritic:
    return ProgressiveCritic(1, size, width=4, **how)


def at(network: Any, level: float, *inputs: Tensor) -> Any:
    set_level(network, level)
    return network(*inputs)


# The schedule


@pytest.mark.parametrize(
    ("progress", "level"),
    [(0, 0), (0.3, 0), (1 / 3, 0), (5 / 12, 0.5), (1 / 2, 1), (2 / 3, 1), (3 / 4, 1.5), (5 / 6, 2), (1, 2)],
)
def test_each_resolution_has_an_equal_share_and_fades_in_during_its_first_half(progress: float, level: float):
    assert level_at(progress, 2) == pytest.approx(level)


@pytest.mark.parametrize(("progress", "level"), [(0, 0), (0.3, 0), (0.34, 1), (0.66, 1), (0.67, 2), (1, 2)])
def test_without_fading_a_resolution_is_there_at_once(progress: float, level: float):
    assert level_at(progress, 2, fade=0) == level


def test_the_level_never_falls_and_stays_within_its_bounds():
    levels = [level_at(k / 1000 - 0.1, 5, fade=0.7) for k in range(1200)]
    assert levels == sorted(levels)
    assert (levels[0], levels[-1]) == (0, 5)


def test_an_impossible_fade_is_refused():
    with pytest.raises(ValueError, match=r"fade is 1\.5: expected .* from 0 to 1"):
        level_at(0.5, 2, fade=1.5)


def test_both_networks_grow_alike_and_the_level_is_saved():
    for network in (generator(32), critic(32)):
        assert network.grown == network.num_levels * WHOLE == 3 * WHOLE  # complete as long as nobody grows it
        grow(network, 0.5)  # the third of four resolutions begins
        assert network.state_dict()["grown"] == WHOLE
        grow(network, 0.5, fade=0)
        assert network.grown == 2 * WHOLE


# What each level shows


@pytest.mark.parametrize("size", [8, 9, 28, 32, 100, 256])
def test_any_size_is_made_and_judged_at_every_level(size: int):
    G, D = ProgressiveGenerator(5, 1, size, width=1), ProgressiveCritic(1, size, width=1)
    num_levels = start_and_doublings(size)[1]
    with torch.no_grad():
        for level in [*range(num_levels + 1), num_levels - 0.5]:
            x = at(G, level, Z[:2])
            assert x.shape == (2, 1, size, size)
            assert x.abs().max() <= 1
            assert at(D, level, x).logits.shape == (2,)


@pytest.mark.parametrize(("level", "side"), [(0, 4), (1, 8), (2, 16)])
def test_images_have_the_resolution_of_the_level_in_pixels_repeated_to_full_size(level: int, side: int):
    x = at(generator(), level, Z)
    coarse = avg_pool2d(x, 16 // side)
    torch.testing.assert_close(x, interpolate(coarse, scale_factor=16 / side))
    if side > 4:
        assert not torch.allclose(x, interpolate(avg_pool2d(x, 32 // side), scale_factor=32 / side), atol=1e-3)


@pytest.mark.parametrize("level", [0, 1])
def test_the_critic_sees_no_more_detail_than_the_level_has(level: int):
    D = critic()
    detail = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(8, 8)  # averages to nothing at 8 pixels
    torch.testing.assert_close(at(D, level, X).logits, at(D, level, X + detail).logits)
    assert not torch.allclose(at(D, level + 1.5, X).logits if level == 0 else at(D, 2, X).logits, D(X + detail).logits)


# Fading


def test_a_fading_generator_mixes_both_resolutions_before_the_tanh():
    G = generator()
    coarse, fine = at(G, 1, Z).atanh(), at(G, 2, Z).atanh()
    torch.testing.assert_close(at(G, 1.25, Z), torch.tanh(0.75 * coarse + 0.25 * fine), atol=1e-4, rtol=1e-4)


def test_a_fading_critic_mixes_both_resolutions_and_sees_detail_fade_in():
    D: Any = critic(minibatch="none")
    coarse = avg_pool2d(X, 2)
    seen = 0.75 * coarse.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3) + 0.25 * X
    fine = D.blocks[1](leaky_relu(D.from_image[2](seen), 0.2))
    h = 0.75 * leaky_relu(D.from_image[1](coarse), 0.2) + 0.25 * fine
    h = leaky_relu(D.last(D.blocks[0](h)), 0.2).flatten(1)
    torch.testing.assert_close(at(D, 1.25, X).logits, D.head.logit(h)[:, 0])


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("make", [lambda: (generator(), Z), lambda: (critic(), X)])
def test_growth_has_no_jumps(make: Callable, level: int):
    network, inputs = make()

    def output(level: float) -> Tensor:
        found = at(network, level, inputs)
        return found if torch.is_tensor(found) else found.logits

    for near in {max(level - 1e-5, 0), min(level + 1e-5, 2)}:
        torch.testing.assert_close(output(near), output(level), atol=1e-3, rtol=1e-3)


def parts_with_gradient(network: Any) -> set[str]:
    return {
        name.removesuffix(".weight").removesuffix(".conv1")
        for name, parameter in network.named_parameters()
        if parameter.grad is not None and name.endswith("weight") and "conv2" not in name
    }


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (0, {"project", "blocks.0", "to_image.0"}),
        (1, {"project", "blocks.0", "blocks.1", "to_image.1"}),
        (1.5, {"project", "blocks.0", "blocks.1", "blocks.2", "to_image.1", "to_image.2"}),
        (2, {"project", "blocks.0", "blocks.1", "blocks.2", "to_image.2"}),
    ],
)
def test_only_blocks_that_are_there_get_a_gradient(level: float, expected: set[str]):
    G = generator()
    at(G, level, Z).square().sum().backward()
    assert parts_with_gradient(G) == expected


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (0, {"from_image.0", "last", "head.logit"}),
        (0.5, {"from_image.0", "from_image.1", "blocks.0", "last", "head.logit"}),
        (2, {"from_image.2", "blocks.0", "blocks.1", "last", "head.logit"}),
    ],
)
def test_only_parts_of_the_critic_that_are_there_get_a_gradient(level: float, expected: set[str]):
    D = critic()
    at(D, level, X).logits.sum().backward()
    assert parts_with_gradient(D) == expected


# Going with everything else


@pytest.mark.parametrize("normalisation", ["none", "pixel", "batch"])
def test_signals_keep_their_size_whatever_the_normalisation(normalisation):
    x = at(ProgressiveGenerator(16, 3, 64, width=8, normalisation=normalisation), 4, torch.randn(16, 16))
    assert 0.2 < x.std().item() < 0.95


@pytest.mark.parametrize("normalisation", ["none", "pixel", "batch"])
def test_a_conditional_generator_makes_another_image_of_another_class(normalisation):
    G: Any = generator(num_classes=3, normalisation=normalisation).eval()
    for name, parameter in G.named_parameters():
        if "gain" in name:
            torch.nn.init.normal_(parameter, 1.0, 0.5)
    x = at(G, 1.5, Z[:1].repeat(3, 1), torch.tensor([0, 1, 2]))
    assert not torch.allclose(x[0], x[1], atol=1e-3)
    assert not torch.allclose(x[1], x[2], atol=1e-3)


@pytest.mark.parametrize("level", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("minibatch", ["none", "deviation", "discrimination"])
def test_penalties_autocast_and_channels_last_work_at_every_level(minibatch, level: float):
    D: Any = critic(normalisation="spectral", minibatch=minibatch).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    set_level(D, level)
    x = X.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        logits, penalty = D(x).logits, r1(lambda x: D(x).logits, x, x)
    assert logits.dtype == torch.float32
    (logits.sum() + penalty.sum()).backward()
    assert D.head.logit.parametrizations.weight.original.grad.isfinite().all()


def test_a_critic_with_batch_normalisation_is_refused():
    with pytest.raises(ValueError, match="expected critic_normalisation 'spectral' or 'none'"):
        critic(normalisation="batch")
