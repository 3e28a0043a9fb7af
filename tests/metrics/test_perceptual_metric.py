"""The distance in any feature network, by hand and by its invariances."""

import pytest
import torch

from equipoise.metrics.perceptual import feature_distance
from equipoise.networks import vgg
from equipoise.networks.vgg import VGG, SmallVGG


def pixels(x):
    """A network whose one layer is the image."""
    return (x,)


def images(seed, *shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_it_is_the_mean_square_between_directions():
    x = torch.tensor([[0.3, 0.0], [0.4, 1.0]]).view(1, 2, 1, 2)
    y = torch.tensor([[0.8, 0.0], [0.6, -0.5]]).view(1, 2, 1, 2)
    # (0.6, 0.8) against (0.8, 0.6) is 0.08, (0, 1) against (0, -1) is 4
    assert feature_distance(pixels, x, y).tolist() == pytest.approx([(0.08 + 4) / 2])
    # a second layer, the mean over positions: (0.15, 0.7) against (0.4, 0.05)
    cosine = (0.15 * 0.4 + 0.7 * 0.05) / ((0.15**2 + 0.7**2) * (0.4**2 + 0.05**2)) ** 0.5
    both = feature_distance(lambda x: (x, x.mean((2, 3), keepdim=True)), x, y)
    assert both.tolist() == pytest.approx([(2.04 + 2 - 2 * cosine) / 2])


def test_layers_count_alike_whatever_their_scale_and_zeros_are_no_trouble():
    x, y = images(0, 3, 4, 5, 5), images(1, 3, 4, 5, 5)
    scaled = feature_distance(lambda x: (1e-3 * x, 1e3 * x), x, y)
    torch.testing.assert_close(scaled, feature_distance(pixels, x, y))
    assert feature_distance(pixels, torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)).tolist() == [0]
    assert feature_distance(pixels, torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)).tolist() == pytest.approx([1])


@pytest.mark.parametrize("network", ["vgg", "small"])
def test_it_works_with_both_networks_and_grows_with_noise(monkeypatch, network):
    monkeypatch.setattr(vgg, "WIDTHS", (4, 8, 8, 8, 8))
    net = VGG("vgg16", ["relu1_2", "relu3_3"]) if network == "vgg" else SmallVGG(3, width=4)
    x, noise = 0.5 * images(0, 5, 3, 16, 16), images(1, 5, 3, 16, 16)
    distances = [feature_distance(net, x, x + size * noise, batch=2) for size in (0, 0.05, 0.5)]
    assert distances[0].tolist() == [0] * 5
    assert (distances[0] < distances[1]).all()
    assert (distances[1] < distances[2]).all()
    assert (distances[2] <= 2).all()  # after a ReLU no angle is obtuse
    assert not distances[2].requires_grad
    torch.testing.assert_close(distances[2][1:2], feature_distance(net, x[1:2], (x + 0.5 * noise)[1:2]))


def test_images_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match="equal shapes are expected"):
        feature_distance(pixels, torch.zeros(2, 3, 8, 8), torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match=r"\[-1, 1\] is expected"):
        feature_distance(pixels, torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 255.0))
    with pytest.raises(ValueError, match="batch=0"):
        feature_distance(pixels, torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8), batch=0)
