"""Every family of networks: sizes, shapes, ranges, conditioning, precision and determinism."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from equipoise.networks.dcgan import DCGANCritic, DCGANGenerator
from equipoise.networks.fastgan import FastGANCritic, FastGANGenerator
from equipoise.networks.mlp import MLPCritic, MLPGenerator
from equipoise.networks.progressive import ProgressiveCritic, ProgressiveGenerator
from equipoise.networks.r3gan import R3GANCritic, R3GANGenerator
from equipoise.networks.resnet import ResNetCritic, ResNetGenerator
from equipoise.networks.stylegan2 import StyleGAN2Critic, StyleGAN2Generator

LABELS = torch.tensor([0, 1, 2])
RESNET_SIZES = [start * 2**k for k in range(1, 7) for start in (4, 5, 6, 7) if start * 2**k <= 256]

GENERATORS: dict[str, Callable[..., nn.Module]] = {
    "mlp": lambda size=8, **how: MLPGenerator(5, (1, size, size), width=8, **how),
    "dcgan": lambda size=8, **how: DCGANGenerator(5, 1, size, width=4, **how),
    "resnet": lambda size=8, **how: ResNetGenerator(5, 1, size, width=4, **how),
    "progressive": lambda size=8, **how: ProgressiveGenerator(5, 1, size, width=4, **how),
    "stylegan2": lambda size=8, **how: StyleGAN2Generator(
        5, 1, size, width=4, max_width=8, w_dim=6, mapping_layers=2, mixing=0.0, **how
    ),
    "r3gan": lambda size=8, **how: R3GANGenerator(5, 1, size, width=4, max_width=8, num_blocks=1, **how),
    "fastgan": lambda size=8, **how: FastGANGenerator(5, 1, size, width=4, max_width=8, **how),
}
CRITICS: dict[str, Callable[..., nn.Module]] = {
    "mlp": lambda size=8, **how: MLPCritic((1, size, size), width=8, **how),
    "dcgan": lambda size=8, **how: DCGANCritic(1, size, width=4, **how),
    "resnet": lambda size=8, **how: ResNetCritic(1, size, width=4, **how),
    "progressive": lambda size=8, **how: ProgressiveCritic(1, size, width=4, **how),
    "stylegan2": lambda size=8, **how: StyleGAN2Critic(1, size, width=4, max_width=8, **how),
    "r3gan": lambda size=8, **how: R3GANCritic(1, size, width=4, max_width=8, num_blocks=1, **how),
    "fastgan": lambda size=8, **how: FastGANCritic(1, size, width=4, max_width=8, **how),
}
FAMILIES = list(GENERATORS)
WITH_NORMS = ["mlp", "dcgan", "resnet", "progressive"]
OF_FIXED_SIZE = ["mlp", "dcgan", "resnet"]


def built(make: Callable[..., nn.Module], seed: int = 0, **how: Any) -> Any:
    torch.manual_seed(seed)
    return make(**how)


def noise(num: int = 3) -> Tensor:
    return torch.randn(num, 5, generator=torch.Generator().manual_seed(1))


def images(size: int = 8, num: int = 3) -> Tensor:
    return torch.rand(num, 1, size, size, generator=torch.Generator().manual_seed(2)) * 2 - 1


# Sizes


@pytest.mark.parametrize("size", [*range(8, 41), 48, 63, 64, 65, 100, 127, 128, 129, 250, 255, 256])
def test_dcgan_makes_and_judges_images_of_any_size(size: int):
    generator, critic = built(GENERATORS["dcgan"], size=size), built(CRITICS["dcgan"], size=size)
    with torch.no_grad():
        x = generator(noise(2))
        assert x.shape == (2, 1, size, size)
        assert x.abs().max() <= 1
        verdict = critic(x)
    assert verdict.logits.shape == (2,)
    assert len(verdict.features) == len(critic.downs)


@pytest.mark.parametrize("size", RESNET_SIZES)
def test_resnet_makes_and_judges_images_of_4_to_7_times_a_power_of_two(size: int):
    generator, critic = built(GENERATORS["resnet"], size=size), built(CRITICS["resnet"], size=size)
    with torch.no_grad():
        x = generator(noise(2))
        assert x.shape == (2, 1, size, size)
        assert x.abs().max() <= 1
        assert critic(x).logits.shape == (2,)


@pytest.mark.parametrize("size", [size for size in range(8, 257) if size not in RESNET_SIZES])
def test_resnet_refuses_other_sizes_and_names_the_nearest_ones_that_work(size: int):
    for make in (ResNetGenerator, ResNetCritic):
        arguments = (5, 1, size) if make is ResNetGenerator else (1, size)
        with pytest.raises(ValueError, match=rf"{size}×{size}.*data\.size") as refusal:
            make(*arguments, width=1)
        named = re.search(r"nearest are (\d+) and (\d+)", str(refusal.value))
        assert named is not None
        below, above = int(named[1]), int(named[2])
        assert below == max(s for s in RESNET_SIZES if s < size)
        assert above == min(s for s in RESNET_SIZES if s > size)


@pytest.mark.parametrize("size", [1, 4, 7, 257, 512])
@pytest.mark.parametrize("make", [made[name] for made in (GENERATORS, CRITICS) for name in FAMILIES if name != "mlp"])
def test_sizes_below_8_and_above_256_are_refused(make: Callable[..., nn.Module], size: int):
    with pytest.raises(ValueError, match=f"{size}×{size} pixels: expected a size from 8 to 256"):
        make(size=size)


@pytest.mark.parametrize("shape", [(2,), (7,), (1, 5, 5), (3, 4, 4)])
def test_mlps_take_vectors_and_images(shape: tuple[int, ...]):
    generator, critic = MLPGenerator(5, shape, width=8), MLPCritic(shape, width=8)
    with torch.no_grad():
        generator.out.weight.mul_(1000)
        x = generator(noise())
    assert x.shape == (3, *shape)
    assert (x.abs().max() <= 1) == (len(shape) == 3)  # images end in tanh, vectors are unbounded
    assert critic(x).logits.shape == (3,)


def test_mlps_of_one_layer_work():
    generator, critic = MLPGenerator(5, (2,), width=8, num_layers=1), MLPCritic((2,), width=8, num_layers=1)
    assert critic(generator(noise())).logits.shape == (3,)


# Conditioning


@pytest.mark.parametrize("family", FAMILIES)
def test_a_conditional_generator_makes_another_example_of_another_class(family: str):
    generator = built(GENERATORS[family], num_classes=3).eval()
    for name, parameter in generator.named_parameters():
        if "gain" in name or "bias" in name or "embedding" in name:
            nn.init.normal_(parameter)
    z = noise(1).repeat(3, 1)
    with torch.no_grad():
        x = generator(z, LABELS)
        assert torch.equal(x, generator(z, LABELS))
    assert not torch.allclose(x[0], x[1])
    assert not torch.allclose(x[1], x[2])


@pytest.mark.parametrize("conditioning", ["projection", "concatenation"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_verdict_of_a_conditional_critic_depends_on_the_class(family: str, conditioning):
    critic = built(CRITICS[family], num_classes=3, conditioning=conditioning).eval()
    x = images(num=1).repeat(3, 1, 1, 1)
    logits = critic(x, LABELS).logits
    assert logits.shape == (3,)
    assert len(logits.unique()) == 3
    assert critic(x, LABELS).classes is None


@pytest.mark.parametrize("family", FAMILIES)
def test_an_auxiliary_critic_scores_classes_and_its_logits_ignore_the_label(family: str):
    critic = built(CRITICS[family], num_classes=3, conditioning="auxiliary").eval()
    verdict = critic(images(), LABELS)
    assert verdict.classes.shape == (3, 3)
    assert torch.equal(verdict.logits, critic(images(), LABELS.flip(0)).logits)


# Normalisation


@pytest.mark.parametrize("family", OF_FIXED_SIZE)
def test_every_weight_of_a_spectral_critic_tends_to_norm_one(family: str):
    critic = built(CRITICS[family], normalisation="spectral", num_classes=3, conditioning="projection")
    with torch.no_grad():
        for _ in range(200):
            critic(images(), LABELS)
        critic.eval()
        weights = [m.weight.flatten(1) for m in critic.modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.Embedding)]
    assert len(weights) >= 3
    for weight in weights:
        assert torch.linalg.matrix_norm(weight, ord=2).item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("normalisation", ["none", "batch", "spectral"])
@pytest.mark.parametrize("family", WITH_NORMS)
def test_eval_mode_changes_no_buffer(family: str, normalisation):
    if family in ("resnet", "progressive") and normalisation == "batch":
        with pytest.raises(ValueError, match="expected critic_normalisation 'spectral' or 'none'"):
            CRITICS[family](normalisation=normalisation)
        return
    networks = nn.ModuleList([GENERATORS[family](), CRITICS[family](normalisation=normalisation)]).eval()
    before = {name: buffer.clone() for name, buffer in networks.named_buffers()}
    networks[1](networks[0](noise()))
    assert all(torch.equal(buffer, before[name]) for name, buffer in networks.named_buffers())


@pytest.mark.parametrize("normalisation", ["none", "pixel"])
def test_a_dcgan_without_batch_normalisation_keeps_signals_alive_and_examples_apart(normalisation):
    generator: Any = built(lambda: DCGANGenerator(16, 3, 64, width=8, normalisation=normalisation))
    z = torch.randn(16, 16)
    x = generator(z)
    assert not list(generator.buffers())
    assert 0.2 < x.std().item() < 0.95
    torch.testing.assert_close(generator(z[:1]), x[:1])


@pytest.mark.parametrize("normalisation", ["none", "pixel"])
def test_a_dcgan_without_batch_normalisation_makes_another_image_of_another_class(normalisation):
    generator: Any = built(GENERATORS["dcgan"], num_classes=3, normalisation=normalisation)
    for norm in generator.norms:
        nn.init.normal_(norm.gain.weight, 1.0, 0.5)
    x = generator(noise(1).repeat(3, 1), LABELS)
    assert not torch.allclose(x[0], x[1], atol=1e-3)
    assert not torch.allclose(x[1], x[2], atol=1e-3)


def test_an_mlp_generator_can_have_batch_normalisation():
    generator: Any = built(GENERATORS["mlp"], normalisation="batch")
    z = noise(64)
    assert not torch.allclose(generator(z)[:32], generator(z[:32]))
    assert [type(norm) for norm in generator.norms] == [nn.BatchNorm1d] * 3
    hidden = generator.norms[0](generator.layers[0](z))
    torch.testing.assert_close(hidden.mean(0), torch.zeros(8), atol=1e-5, rtol=0)


# Dropout


@pytest.mark.parametrize("family", OF_FIXED_SIZE)
def test_dropout_acts_in_training_only_and_draws_nothing_otherwise(family: str):
    plain, critic = (built(CRITICS[family], normalisation="none", dropout=dropout) for dropout in (0.0, 0.5))
    assert not torch.equal(critic(images()).logits, critic(images()).logits)
    critic.eval()
    torch.manual_seed(0)
    state = torch.get_rng_state()
    assert torch.equal(critic(images()).logits, plain(images()).logits)
    assert torch.equal(torch.get_rng_state(), state)


def test_dropout_leaves_out_its_share_of_features_and_scales_the_others_up():
    plain, critic = (MLPCritic((7,), width=4000, num_layers=1, dropout=dropout) for dropout in (0.0, 0.25))
    critic.load_state_dict(plain.state_dict())
    x = torch.randn(3, 7)
    dropped, kept = critic(x).features[0], plain(x).features[0]
    assert (dropped == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)
    torch.testing.assert_close(dropped, torch.where(dropped == 0, 0.0, kept / 0.75))


@pytest.mark.parametrize("family", OF_FIXED_SIZE)
def test_critics_refuse_to_drop_everything(family: str):
    with pytest.raises(ValueError, match=r"dropout is 1\.0"):
        CRITICS[family](dropout=1.0)


# Precision and determinism


def test_default_networks_are_what_they_were():
    # Golden losses of recipes cover the other families. The power iterations made in the constructor count, too.
    generator, critic = built(GENERATORS["resnet"]), built(CRITICS["resnet"])
    direction = critic.blocks[0].conv2.parametrizations.weight[0]._u
    assert direction.tolist() == pytest.approx([0.698427, -0.0824972, 0.653681, 0.279456], rel=1e-4)
    logits = critic(generator(noise())).logits
    assert logits.tolist() == pytest.approx([-0.281106, -0.237780, -0.238896], rel=1e-4)


@pytest.mark.parametrize("conditioning", ["none", "projection", "auxiliary", "concatenation"])
@pytest.mark.parametrize("family", FAMILIES)
def test_outputs_are_float32_under_autocast(family: str, conditioning):
    num_classes = 0 if conditioning == "none" else 3
    generator = built(GENERATORS[family], num_classes=num_classes)
    critic = built(CRITICS[family], num_classes=num_classes, conditioning=conditioning)
    labels = LABELS if num_classes else None
    with torch.autocast("cpu", torch.bfloat16):
        x = generator(noise(), labels)
        verdict = critic(x, labels)
    assert x.dtype == verdict.logits.dtype == torch.float32
    assert verdict.classes is None or verdict.classes.dtype == torch.float32
    first = 1 if family == "fastgan" else 0  # the first of its features is the image itself
    assert verdict.features[first].dtype == torch.bfloat16  # the inside did run in bfloat16


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_seed_builds_the_same_networks_and_the_same_input_gives_the_same_output(family: str):
    first = built(GENERATORS[family]).eval(), built(CRITICS[family]).eval()
    second = built(GENERATORS[family]).eval(), built(CRITICS[family]).eval()
    other = built(GENERATORS[family], seed=1).eval()
    x = first[0](noise())
    assert torch.equal(x, second[0](noise()))
    assert torch.equal(first[1](x).logits, second[1](x).logits)
    assert not torch.equal(x, other(noise()))


@pytest.mark.parametrize("family", OF_FIXED_SIZE)
def test_every_parameter_takes_part(family: str):
    generator = built(GENERATORS[family], num_classes=3)
    critic = built(CRITICS[family], num_classes=3, conditioning="projection")
    critic(generator(noise(), LABELS), LABELS).logits.square().sum().backward()
    parameters = [*generator.named_parameters(), *critic.named_parameters()]
    idle = [name for name, parameter in parameters if parameter.grad is None or not parameter.grad.any()]
    # Batch normalisation takes away what is the same for all positions and examples, so such gradients may be zero.
    assert all(name.endswith("bias") for name in idle), idle


def test_the_activation_of_a_perceptron_s_generator_is_chosen():
    leaky, dead = built(MLPGenerator, z_dim=2, shape=(2,)), built(MLPGenerator, z_dim=2, shape=(2,), activation="relu")
    for G in (leaky, dead):
        nn.init.zeros_(G.layers[-1].weight)
        nn.init.constant_(G.layers[-1].bias, -1.0)
        nn.init.ones_(G.out.weight)
        nn.init.zeros_(G.out.bias)
    assert leaky(torch.randn(3, 2)).unique().tolist() == pytest.approx([-0.2 * 256])
    assert dead(torch.randn(3, 2)).unique().tolist() == [0.0]


@pytest.mark.parametrize("family", FAMILIES)
def test_whatever_is_averaged_is_part_of_a_checkpoint(family: str):
    for network in (built(GENERATORS[family]), built(CRITICS[family])):
        assert {name for name, _ in network.named_buffers()} <= set(network.state_dict())
