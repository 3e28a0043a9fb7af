"""VGG has the layers and names of the published networks; the small one answers alike in any mode once it is folded."""

import pytest
import torch
from torch.nn import functional

from equipoise.networks import vgg
from equipoise.networks.vgg import VGG, SmallVGG

# Where torchvision's convolutions are, and what the published networks have to learn.
NUMBERS = {
    "vgg16": [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28],
    "vgg19": [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34],
}
SIZES = {"vgg16": 14_714_688, "vgg19": 20_024_384}
KINDS = pytest.mark.parametrize("kind", ["vgg16", "vgg19"])


@pytest.fixture
def narrow(monkeypatch):
    monkeypatch.setattr(vgg, "WIDTHS", (4, 5, 6, 7, 8))


def images(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@KINDS
def test_the_whole_network_has_the_published_names_and_sizes(kind):
    with torch.device("meta"):
        state = VGG(kind, ["pool5"]).state_dict()
    assert list(state) == [f"features.{number}.{what}" for number in NUMBERS[kind] for what in ("weight", "bias")]
    assert sum(tensor.numel() for tensor in state.values()) == SIZES[kind]


@KINDS
@pytest.mark.parametrize("pooling", ["max", "average"])
def test_every_layer_is_what_its_name_says(narrow, kind, pooling):
    x = images(2, 3, 33, 40)
    names = vgg.layer_names(vgg.DEPTHS[kind])
    net = VGG(kind, names, pooling=pooling)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    found = dict(zip(names, net(x)))

    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    h = (((x + 1) / 2).permute(0, 2, 3, 1) - mean).div(deviation).permute(0, 3, 1, 2)
    state = iter(net.state_dict().values())
    for stage in range(1, 6):
        depth = 2 if stage < 3 else {"vgg16": 3, "vgg19": 4}[kind]
        for number in range(1, depth + 1):
            h = functional.conv2d(h, next(state), next(state), padding=1)
            torch.testing.assert_close(found[f"conv{stage}_{number}"], h, rtol=1e-4, atol=1e-5)
            h = h.clamp(min=0)
            torch.testing.assert_close(found[f"relu{stage}_{number}"], h, rtol=1e-4, atol=1e-5)
        h = (functional.max_pool2d if pooling == "max" else functional.avg_pool2d)(h, 2)
        torch.testing.assert_close(found[f"pool{stage}"], h, rtol=1e-4, atol=1e-5)


def test_features_come_in_the_order_of_the_taps_and_nothing_after_the_last_is_there(narrow):
    net = VGG("vgg19", ["relu3_1", "conv1_2"])
    assert [tuple(layer.shape) for layer in net(images(1, 3, 16, 12))] == [(1, 6, 4, 3), (1, 4, 16, 12)]
    assert net.names[-1] == "relu3_1"
    assert len(net.features) == 12  # relu3_1 is torchvision's layer 11


def test_grey_images_are_rgb_images_of_three_equal_channels(narrow):
    net, x = VGG("vgg16", ["conv5_3"]), images(2, 1, 16, 16)
    torch.testing.assert_close(net(x), net(x.expand(-1, 3, -1, -1)))


def test_random_weights_neither_kill_nor_blow_up_the_features(monkeypatch):
    monkeypatch.setattr(vgg, "WIDTHS", (16, 32, 64, 64, 64))
    (deep,) = VGG("vgg19", ["conv5_4"])(images(2, 3, 32, 32))
    assert 0.1 < deep.std() < 10


def test_gradients_reach_the_image(narrow):
    x = images(2, 3, 16, 16).requires_grad_()
    net = VGG("vgg16", ["relu4_1"]).requires_grad_(False)
    net(x)[0].sum().backward()
    assert (x.grad != 0).flatten(1).any(1).all()


@pytest.mark.parametrize("shape", [(1, 3, 7, 20), (1, 2, 32, 32), (3, 32, 32)])
def test_images_that_do_not_fit_are_refused(narrow, shape):
    net = VGG("vgg16", ["conv4_1"])
    with pytest.raises(ValueError, match=r"passed to vgg16: expected .* C = 1 or 3 and sides of at least 8 pixels"):
        net(torch.zeros(shape))
    assert net(torch.zeros(1, 3, 8, 8))[0].shape == (1, 7, 1, 1)


@pytest.mark.parametrize(
    ("taps", "message"),
    [
        (["conv5_4"], "there is no layer 'conv5_4'. Did you mean 'conv5_3'"),
        (["relu1_1", "relu1_1"], "at least one layer, and each once"),
        ([], "at least one layer, and each once"),
    ],
)
def test_layers_that_there_are_not_are_refused(taps, message):
    with pytest.raises(ValueError, match=message):
        VGG("vgg16", taps)


def test_unknown_kinds_are_refused():
    with pytest.raises(ValueError, match="kind='vgg11' is unknown"):
        VGG("vgg11", ["relu1_1"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="pooling='mean' is unknown"):
        VGG("vgg16", ["relu1_1"], pooling="mean")  # type: ignore[arg-type]


# The small one


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_small_one_takes_images_of_any_size_and_has_three_stages(channels):
    net = SmallVGG(7, channels, width=4, batch_norm=True)
    x = images(2, channels, 9, 30)
    assert [tuple(layer.shape[1:]) for layer in net(x)] == [(4, 9, 30), (8, 4, 15), (16, 2, 7)]
    assert net.classes(x).shape == (2, 7)
    with pytest.raises(ValueError, match=r"passed to SmallVGG: expected .* sides of at least 4 pixels"):
        net.classes(x[..., :3])
    with pytest.raises(ValueError, match=r"passed to SmallVGG: expected .* C = "):
        net(images(2, 2, 8, 8))


def test_the_small_one_computes_no_further_than_the_last_tap():
    def never(*_):
        raise AssertionError("computed")

    net = SmallVGG(2, width=4, taps=["conv2_1", "relu1_1"])
    net.features[net.names.index("relu2_1")].register_forward_hook(never)
    assert [layer.shape[1] for layer in net(images(1, 3, 8, 8))] == [8, 4]
    assert net(images(1, 3, 2, 2))[0].shape == (1, 8, 1, 1)
    with pytest.raises(AssertionError, match="computed"):
        net.classes(images(1, 3, 8, 8))


def test_folding_changes_no_answer_and_leaves_one_that_does_not_depend_on_the_mode():
    net, x = SmallVGG(5, width=4, batch_norm=True), images(6, 3, 8, 8)
    for _ in range(3):
        net.classes(x)  # in training mode: the statistics are no longer 0 and 1
    assert not torch.allclose(net(x)[2], net.eval()(x)[2])
    before = [*net(x), net.classes(x)]
    net.fold()
    for mode in (False, True):
        torch.testing.assert_close([*net.train(mode)(x), net.classes(x)], before)
    torch.testing.assert_close(net(x[:1])[2], before[2][:1])
    assert net.state_dict().keys() == SmallVGG(5, width=4).state_dict().keys()


@pytest.mark.parametrize("wrong", [{"num_classes": 0}, {"num_channels": 0}, {"width": 0}])
def test_impossible_sizes_are_refused(wrong):
    with pytest.raises(ValueError, match="at least 1 is expected of each"):
        SmallVGG(**{"num_classes": 3} | wrong)
    with pytest.raises(ValueError, match="there is no layer 'relu3_2'"):
        SmallVGG(3, taps=["relu3_2"])
