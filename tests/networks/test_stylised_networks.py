"""Networks of style transfer: sizes, borders, and what AdaIN does by hand."""

import pytest
import torch

from equipoise.networks.stylised import Canvas, StyleDecoder, TransformerNet, adain


@pytest.mark.parametrize("size", [(5, 5), (16, 16), (17, 22), (40, 7)])
def test_the_transformer_answers_the_size_it_is_given(size):
    net = TransformerNet(width=4, num_blocks=1)
    y = net(torch.randn(2, 3, *size))
    assert y.shape == (2, 3, *size)
    assert y.abs().max() <= 1


def test_a_direct_one_sees_single_pixels_in_its_last_layer_whatever_the_contrast():
    net = TransformerNet(width=4, num_blocks=1, direct=True)
    for layer in net.layers.modules():
        if isinstance(layer, torch.nn.InstanceNorm2d):
            torch.nn.init.zeros_(layer.weight)  # nothing comes through the middle
    x = torch.randn(2, 3, 17, 22)
    y = net(x)
    assert y.shape == x.shape
    assert torch.allclose(net(3 * x + 1), y, atol=1e-4)
    assert not torch.allclose(net(x.flip(3)), y.flip(3), atol=1e-2)
    with torch.no_grad():
        net.out.weight.mul_(1000)
    assert net(x).abs().max() > 1


def test_pictures_that_are_too_small_are_refused():
    with pytest.raises(ValueError, match="sides of at least 5"):
        TransformerNet(width=4, num_blocks=1)(torch.zeros(1, 3, 4, 9))
    with pytest.raises(ValueError, match="num_blocks=0"):
        TransformerNet(width=4, num_blocks=0)


def test_examples_of_a_batch_do_not_mix():
    net = TransformerNet(width=4, num_blocks=1)
    x = torch.randn(3, 3, 12, 12)
    assert torch.allclose(net(x)[1:2], net(x[1:2]), atol=1e-5)


def test_the_contrast_of_a_picture_hardly_matters_by_instance_normalisation():
    net = TransformerNet(width=4, num_blocks=1)
    x = torch.randn(1, 3, 12, 12)
    assert torch.allclose(net(x), net(3 * x), atol=0.02)


def test_the_decoder_doubles_as_often_as_the_encoder_halves():
    decoder = StyleDecoder((4, 8, 16, 32))
    assert decoder(torch.randn(2, 32, 3, 5)).shape == (2, 3, 24, 40)
    assert StyleDecoder((4,), 1)(torch.randn(2, 4, 6, 5)).shape == (2, 1, 6, 5)
    with pytest.raises(ValueError, match="stages=0"):
        StyleDecoder(())


def test_adain_by_hand():
    content = torch.tensor([[0.0, 2.0], [5.0, 7.0]]).view(1, 2, 1, 2)  # means 1, 6, deviations 1, 1
    style = torch.tensor([[10.0, 16.0, 10.0, 16.0], [3.0, 3.0, 3.0, 3.0]]).view(1, 2, 2, 2)  # 13, 3 and 3, 0
    found = adain(content, style)
    assert found.flatten().tolist() == pytest.approx([10, 16, 3, 3], abs=0.01)
    assert adain(content, content).flatten().tolist() == pytest.approx([0, 2, 5, 7])
    assert torch.equal(adain(content.expand(3, -1, -1, -1), style)[2:], found)  # one style for all
    assert adain(content.bfloat16(), style.bfloat16()).dtype == torch.float32


def test_gradients_of_adain_are_those_of_finite_differences():
    content, style = (torch.randn(2, 3, 2, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(adain, (content, style))


def test_a_canvas_is_a_copy_that_learns():
    pixels = torch.zeros(1, 3, 2, 2)
    canvas = Canvas(pixels)
    canvas().sum().backward()
    assert canvas.pixels.grad is not None
    assert canvas.pixels.data_ptr() != pixels.data_ptr()
