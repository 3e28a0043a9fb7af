"""The feature network takes every size of image and every vector, and answers alike in any company."""

import pytest
import torch

from equipoise.networks.features import FeatureNet


@pytest.fixture(autouse=True)
def one_thread_one_seed():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


SHAPES = [
    (1, 4, 4),
    (1, 8, 8),
    (4, 9, 9),
    (3, 28, 28),
    (3, 32, 32),
    (2, 33, 33),
    (1, 8, 32),
    (3, 100, 60),
    (3, 256, 256),
    (1,),
    (2,),
    (300,),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_any_shape_gives_features_classes_and_gradients(shape: tuple[int, ...]):
    net = FeatureNet(shape, 7, width=4, num_features=20)
    x = torch.rand(3, *shape).mul(2).sub(1).requires_grad_()
    answer = net(x)
    assert answer.features.shape == (3, 20)
    assert answer.classes.shape == (3, 7)
    assert torch.allclose(answer.classes, net.head(answer.features))
    # In eval mode no example leans on the others, so each value must matter by itself.
    net.eval()(x).features.sum().backward()
    assert x.grad is not None
    assert (x.grad.abs().sum(0) > 0).all()


@pytest.mark.parametrize("side", [8, 16, 32, 64, 256])
def test_a_grid_of_four_by_four_or_more_is_left(side: int):
    net = FeatureNet((1, side, side), 2, width=4)
    sides = []
    for layer in net.body:
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(lambda _module, _inputs, output: sides.append(output.shape[-1]))
    net(torch.zeros(2, 1, side, side))
    assert sides[0] == min(side, 32)
    assert sides[-1] == 4


def test_in_eval_mode_an_example_is_judged_alone():
    net = FeatureNet((1, 8, 8), 3, width=4)
    x = torch.randn(5, 1, 8, 8)
    net(x)
    net.eval()
    assert torch.allclose(net(x).features[2], net(x[2:3]).features[0], atol=1e-6)


def test_vectors_of_any_scale_are_brought_to_one():
    x = torch.randn(64, 6)
    net = FeatureNet((6,), 2, width=4)
    with torch.no_grad():
        small, large = net(x).features, net(1000 * x + 5000).features
    assert torch.allclose(small, large, atol=1e-2)


@pytest.mark.parametrize("shape", [(8, 8), (1, 3, 8), (0,), (1, 1, 8, 8)])
def test_an_impossible_shape_is_refused(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match="sides of at least 4"):
        FeatureNet(shape, 2)


def test_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="num_classes=0"):
        FeatureNet((2,), 0)
