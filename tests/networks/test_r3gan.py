"""R3GAN-class networks: shapes, the initialisation that stands in for normalisation, conditions, gradients."""

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.func import functional_call

from equipoise.networks.r3gan import Bottleneck, R3GANCritic, R3GANGenerator


@pytest.mark.parametrize("size", [8, 16, 28, 32, 64, 128, 256])
def test_images_of_powers_of_two_and_their_multiples(size: int):
    G, D = R3GANGenerator(3, 2, size, width=2, max_width=4), R3GANCritic(2, size, width=2, max_width=4)
    with torch.no_grad():
        x = G(torch.randn(2, 3))
        assert x.shape == (2, 2, size, size)
        assert D(x).logits.shape == (2,)


def test_other_sizes_are_refused_with_the_nearest_that_work():
    for make in (lambda: R3GANGenerator(3, 1, 100), lambda: R3GANCritic(1, 100)):
        with pytest.raises(ValueError, match=r"r3gan networks cannot .* 100×100 .* nearest are 96 and 112"):
            make()


def test_groups_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="20 channels, widened 2 times, cannot be split into groups of 16"):
        Bottleneck(20, 2, 16)
    assert Bottleneck(16, 2, 16).mix.groups == 2
    assert Bottleneck(4, 2, 16).mix.groups == 1


def test_residual_blocks_begin_as_nothing_and_signals_keep_their_size():
    torch.manual_seed(0)
    G, D = R3GANGenerator(64, 3, 64, width=16), R3GANCritic(3, 64, width=16)
    block = G.stages[2][0]
    h = torch.randn(2, block.widen.in_channels, 8, 8)
    assert torch.equal(block(h), h)
    x = G(torch.randn(64, 64))
    assert 0.3 < x.std().item() < 3
    verdict = D(torch.randn(64, 3, 64, 64))
    assert 0.5 < verdict.features[0].std().item() < 2
    deeper = R3GANGenerator(64, 3, 64, width=16, num_blocks=8)
    ratio = deeper.stages[0][0].mix.weight.std() / block.mix.weight.std()  # eight blocks a stage, not two
    assert ratio.item() == pytest.approx(4**-0.25, rel=0.1)


def test_enlarging_and_changing_the_width_commute():
    layer, h = nn.Conv2d(4, 2, 1, bias=False), torch.randn(1, 4, 5, 5)
    larger = nn.functional.interpolate(h, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(
        layer(larger), nn.functional.interpolate(layer(h), scale_factor=2, mode="bilinear"), rtol=1e-4, atol=1e-5
    )


def test_images_are_unbounded_in_training_and_clipped_in_eval_mode():
    G, z = R3GANGenerator(3, 1, 8, width=4), torch.randn(64, 3)
    with torch.no_grad():
        G.to_image.bias.fill_(1.5)
    x = G(z)
    assert x.abs().max() > 1
    torch.testing.assert_close(G.eval()(z), x.clamp(-1, 1))


def test_a_condition_can_be_a_vector():
    G = R3GANGenerator(3, 1, 8, width=4, condition_dim=6)
    D = R3GANCritic(1, 8, width=4, condition_dim=6, conditioning="projection")
    z, condition = torch.randn(1, 3).repeat(2, 1), torch.randn(2, 6)
    x = G(z, condition)
    assert not torch.allclose(x[0], x[1])
    logits = D(x[:1].expand(2, -1, -1, -1), condition).logits
    assert logits[0] != logits[1]
    with pytest.raises(ValueError, match="num_classes=3 and condition_dim=6"):
        R3GANGenerator(3, 1, 8, num_classes=3, condition_dim=6)


def test_r1_of_the_critic_has_a_right_gradient():
    torch.manual_seed(1)
    D = R3GANCritic(1, 8, width=2, max_width=4, num_blocks=1)
    for parameter in D.parameters():
        nn.init.normal_(parameter, std=0.5)
    parameters = {name: p.detach().requires_grad_() for name, p in D.double().named_parameters()}
    names = ["from_image.weight", "stages.0.0.mix.weight", "stages.1.0.narrow.weight", "basis.weight"]
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64, requires_grad=True)

    def penalty(*values: Tensor) -> Tensor:
        logits = functional_call(D, {**parameters, **dict(zip(names, values))}, (x,)).logits
        (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
        return slope.square().sum((1, 2, 3))

    assert gradcheck(penalty, tuple(parameters[name] for name in names), eps=1e-7, atol=1e-5)
