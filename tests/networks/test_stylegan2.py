"""StyleGAN2-class networks: the mathematics of modulation, styles, noise and truncation; second-order gradients."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call
from torch.nn.functional import conv2d, conv_transpose2d

from equipoise.networks.stylegan2 import (
    Blur,
    Finish,
    StyleGAN2Critic,
    StyleGAN2Generator,
    StyleMapping,
    equalised,
    modulated,
)


def generator(size: int = 8, **settings: Any) -> StyleGAN2Generator:
    torch.manual_seed(0)
    small: dict[str, Any] = {"width": 2, "max_width": 4, "w_dim": 4, "mapping_layers": 2, "mixing": 0.0}
    G = StyleGAN2Generator(3, 1, size, **{**small, **settings})
    for finish in (m for m in G.modules() if isinstance(m, Finish)):
        nn.init.constant_(finish.strength, 0.3)
    return G


def critic(size: int = 8, **settings: Any) -> StyleGAN2Critic:
    torch.manual_seed(1)
    return StyleGAN2Critic(1, size, **{"width": 2, "max_width": 4, "group": 2, **settings})


def latents(num: int = 2) -> Tensor:
    return torch.randn(num, 3, generator=torch.Generator().manual_seed(2))


def in_groups(h: Tensor, weight: Tensor, style: Tensor, *, demodulate: bool, blur: Blur | None) -> Tensor:
    """Modulation as the paper writes it: other weights for each example, as groups of one convolution."""
    N, I, H, W = h.shape
    weights = weight[None] * style[:, None, :, None, None]  # [N, O, I, k, k]
    if demodulate:
        weights = weights * torch.rsqrt(weights.square().sum((2, 3, 4), keepdim=True) + 1e-8)
    grouped = h.reshape(1, N * I, H, W)
    if blur is None:
        return conv2d(grouped, weights.flatten(0, 1), padding=weight.shape[-1] // 2, groups=N).unflatten(1, (N, -1))[0]
    turned = weights.transpose(1, 2).flatten(0, 1)  # [N·I, O, k, k]
    return blur(conv_transpose2d(grouped, turned, stride=2, groups=N).unflatten(1, (N, -1))[0])


# Modulation


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("demodulate", [False, True])
def test_scaling_inputs_and_outputs_is_scaling_the_weights_of_each_example(up: bool, demodulate: bool):
    h, weight, style = torch.randn(3, 4, 6, 6), torch.randn(5, 4, 3, 3), torch.randn(3, 4)
    blur = Blur(padding=1, gain=4.0) if up else None
    expected = in_groups(h, weight, style, demodulate=demodulate, blur=blur)
    found = modulated(h, weight, style, demodulate=demodulate, blur=blur)
    assert found.shape == (3, 5, 12, 12) if up else (3, 5, 6, 6)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_demodulated_features_of_unit_inputs_have_unit_size_whatever_the_style():
    h, weight, style = torch.randn(4, 32, 16, 16), torch.randn(16, 32, 3, 3), 50 * torch.rand(4, 32)
    assert modulated(h, weight, style)[:, :, 1:-1, 1:-1].std().item() == pytest.approx(1, abs=0.05)


def test_a_blur_keeps_what_is_flat_and_enlarging_keeps_its_level():
    flat = torch.ones(1, 2, 6, 6)
    torch.testing.assert_close(Blur(padding=2)(flat)[:, :, 2:-2, 2:-2], torch.ones(1, 2, 3, 3))
    zeros = torch.zeros(1, 1, 13, 13)
    zeros[:, :, 0::2, 0::2] = 1.0  # every other pixel
    torch.testing.assert_close(Blur(padding=1, gain=4.0)(zeros)[:, :, 2:-2, 2:-2], torch.ones(1, 1, 8, 8))


def test_equalised_layers_keep_the_size_of_signals_and_learn_at_the_rate():
    layer = equalised(nn.Linear(400, 300), rate=0.01)
    x = torch.randn(50, 400)
    assert layer(x).std().item() == pytest.approx(1, abs=0.05)
    stored = dict(layer.named_parameters())["parametrizations.weight.original"]
    assert stored.std().item() == pytest.approx(100, rel=0.05)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.ones_like(parameter))
    torch.testing.assert_close(layer(torch.ones(1, 400)), torch.full((1, 300), 0.01 * 400**0.5 + 0.01))


# Sizes


@pytest.mark.parametrize("size", [8, 16, 28, 32, 64, 128, 256])
def test_images_of_powers_of_two_and_their_multiples(size: int):
    with torch.no_grad():
        x = generator(size)(latents())
        assert x.shape == (2, 1, size, size)
        assert critic(size)(x).logits.shape == (2,)


def test_other_sizes_are_refused_with_the_nearest_that_work():
    for make in (generator, critic):
        with pytest.raises(ValueError, match=r"stylegan2 networks cannot .* 100×100 .* nearest are 96 and 112"):
            make(100)


def test_channels_double_up_to_the_bound():
    layers = [layer.conv.weight.shape[0] for layer in generator(64, width=4, max_width=16).layers[::2]]
    assert layers == [16, 16, 16, 8, 4]


# Noise


def test_noise_is_drawn_anew_in_training_and_is_part_of_the_network_in_eval_mode():
    G, z = generator(), latents()
    assert not torch.equal(G(z), G(z))
    G.eval()
    state = torch.get_rng_state()
    torch.testing.assert_close(G(z), G(z), rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), state)
    other = G(z[:1])
    torch.testing.assert_close(other, G(z)[:1])  # of the latent alone, not of its neighbours
    pictures = [name for name, _ in G.named_buffers() if name.endswith("picture")]
    assert set(pictures) <= set(G.state_dict())


def test_images_are_unbounded_in_training_and_clipped_in_eval_mode():
    G, z = generator(), latents(16)
    with torch.no_grad():
        G.to_image[-1].bias.fill_(1.5)
    assert G(z).abs().max() > 1
    x = G.eval()(z)
    assert x.abs().max() == 1
    torch.testing.assert_close(x, G.traced(z)[1].clamp(-1, 1))


# Styles


def test_mixed_images_have_styles_of_two_latents_from_a_layer_on():
    G, z = generator(16, mixing=1.0), latents(200)
    own = G.mapping(z)
    styles = G.styles(z)
    assert styles.shape == (200, G.num_styles, 4)
    is_own = (styles == own[:, None]).all(2)
    assert is_own[:, 0].all()
    assert not is_own[:, -1].any()
    assert (is_own[:, :-1].int() >= is_own[:, 1:].int()).all()  # own ones first
    assert set(is_own.sum(1).tolist()) == set(range(1, G.num_styles))
    G.mixing = 0.25
    share = (G.styles(z)[:, -1] == own).all(1).float().mean().item()
    assert share == pytest.approx(0.75, abs=0.1)
    assert (G.eval().styles(z) == own[:, None]).all()


def test_every_layer_takes_its_own_style():
    G, z = generator(16).eval(), latents(1)
    styles, x = G.traced(z)
    for layer in range(G.num_styles):
        changed = styles.clone()
        changed[:, layer] += 1
        assert not torch.allclose(G.synthesis(changed), x), layer


def test_truncation_leads_to_the_mean_style():
    G, z = generator().eval(), latents(4)
    for _ in range(3):
        ((buffer, value),) = G.news(z)
        assert buffer is G.mean
        buffer.copy_(value)
    mean = G.mapping(z).mean(0, keepdim=True).detach()
    torch.testing.assert_close(G.mean, mean * (1 - 0.998**3))
    torch.testing.assert_close(G(z, truncation=1.0), G(z))
    middle = G.synthesis(G.mean[:, None].expand(-1, G.num_styles, -1)).clamp(-1, 1)
    torch.testing.assert_close(G(z, truncation=0.0), middle.expand(4, -1, -1, -1))
    halfway = G.synthesis((G.mean + G.mapping(z))[:, None].expand(-1, G.num_styles, -1) / 2).clamp(-1, 1)
    torch.testing.assert_close(G(z, truncation=0.5), halfway)


def test_each_class_has_a_mean_of_its_own_that_only_its_examples_move():
    G, z = generator(num_classes=3, decay=0.5).eval(), latents(4)
    labels = torch.tensor([0, 2, 2, 0])
    ((buffer, value),) = G.news(z, labels)
    w = G.mapping(z, labels).detach()
    torch.testing.assert_close(value, torch.stack([w[[0, 3]].mean(0), torch.zeros(4), w[[1, 2]].mean(0)]) / 2)
    buffer.copy_(value)
    a, b = G(z[:1], labels[:1], truncation=1e-6), G(z[:1], labels[1:2], truncation=1e-6)
    assert not torch.allclose(a, b)


def test_a_condition_can_be_a_vector_such_as_an_embedded_text():
    G, z = generator(condition_dim=6).eval(), latents(1).repeat(2, 1)
    D = critic(condition_dim=6, conditioning="projection")
    condition = torch.randn(2, 6)
    x = G(z, condition)
    assert not torch.allclose(x[0], x[1])
    same = x[:1].expand(2, -1, -1, -1)
    logits = D(same, condition).logits
    assert logits[0] != logits[1]
    with pytest.raises(ValueError, match="num_classes=3 and condition_dim=6"):
        StyleMapping(3, 4, num_classes=3, condition_dim=6)


# Gradients of gradients


def in_float64(network: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().requires_grad_() for name, p in network.double().named_parameters()}


def some(parameters: dict[str, Tensor], *parts: str) -> list[str]:
    return [next(name for name in parameters if part in name) for part in parts]


def test_the_path_length_penalty_has_a_right_gradient():
    G = generator().eval()  # eval mode: noise that stays
    parameters = in_float64(G)
    names = some(
        parameters,
        "constant",
        "mapping.layers.0.parametrizations.weight",
        "layers.1.conv.weight",
        "layers.1.conv.affine",
        "layers.0.finish.bias",
        "to_image.1.conv.weight",
    )
    z = latents().double()
    y = torch.randn(2, 1, 8, 8, dtype=torch.float64)

    def penalty(*values: Tensor) -> Tensor:
        now = {**parameters, **dict(zip(names, values))}
        G_now = Traced(G)
        styles, x = functional_call(G_now, {f"G.{name}": value for name, value in now.items()}, (z,))
        (pulled,) = torch.autograd.grad((x * y).sum(), styles, create_graph=True)
        return (pulled.square().sum((1, 2)).sqrt() - 0.1).square()

    assert gradcheck(penalty, tuple(parameters[name] for name in names), eps=1e-7, atol=1e-6)


class Traced(nn.Module):
    """A generator called by its `traced`."""

    def __init__(self, G: StyleGAN2Generator):
        super().__init__()
        self.G = G

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self.G.traced(z)


def test_r1_of_the_critic_has_a_right_gradient():
    D = critic()
    parameters = in_float64(D)
    names = some(parameters, "from_image", "blocks.0.conv2", "blocks.0.skip", "last", "head")
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64, requires_grad=True)

    def penalty(*values: Tensor) -> Tensor:
        logits = functional_call(D, {**parameters, **dict(zip(names, values))}, (x,)).logits
        (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
        return slope.square().sum((1, 2, 3))

    assert gradcheck(penalty, tuple(parameters[name] for name in names), eps=1e-7, atol=1e-6)


@pytest.mark.parametrize("up", [False, True])
def test_modulation_can_be_differentiated_twice(up: bool):
    torch.manual_seed(3)
    blur = Blur(padding=1, gain=4.0).double() if up else None
    inputs = [
        torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in ((2, 2, 3, 3), (3, 2, 3, 3), (2, 2))
    ]
    function = lambda h, weight, style: modulated(h, weight, style, blur=blur)  # noqa: E731
    assert gradcheck(function, inputs)
    assert gradgradcheck(function, inputs)


# Precision and layout


def test_bfloat16_and_channels_last_change_rounding_only():
    G, D, z = generator(16, width=8, max_width=16).eval(), critic(16, width=8, max_width=16), latents(4)
    with torch.no_grad():
        x, logits = G(z), D(G(z)).logits
        G.to(memory_format=torch.channels_last)
        D.to(memory_format=torch.channels_last)
        turned = G(z)
        torch.testing.assert_close(turned, x, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(D(turned).logits, logits, rtol=1e-4, atol=1e-4)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = G(z)
            assert rounded.dtype == D(rounded).logits.dtype == torch.float32
        assert (rounded - x).abs().mean() < 0.05
