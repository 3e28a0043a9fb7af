"""LPIPS with made weights against another way of computing it, and what its files must hold."""

import hashlib

import pytest
import torch
from torch.nn import functional

from equipoise.core.errors import CheckpointError
from equipoise.metrics.lpips import LPIPS, SMALLEST, load_lpips, pair_distance, perceptual_distance

# (kernel, stride, padding) of each convolution, its number in torchvision's network, and whether pooling precedes it.
ALEX = [(11, 4, 2, 0, False), (5, 1, 2, 3, True), (3, 1, 1, 6, True), (3, 1, 1, 8, False), (3, 1, 1, 10, False)]
VGG = [(3, 1, 1, i, i in (5, 10, 17, 24)) for i in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)]
LAST = {"alex": (0, 3, 6, 8, 10), "vgg": (2, 7, 14, 21, 28)}
BOTH = pytest.mark.parametrize("backbone", ["alex", "vgg"])


def made_files(folder, backbone):
    """Files in the two public layouts, with random weights."""
    net = LPIPS(backbone)
    draw = torch.Generator().manual_seed(0)
    features = {
        f"features.{name}": torch.randn(x.shape, generator=draw) * (2 / max(x[0].numel(), 50)) ** 0.5
        for name, x in net.features.state_dict().items()
    }
    heads = {f"lin{i}.model.1.weight": torch.rand(x.shape, generator=draw) for i, x in enumerate(net.heads)}
    torch.save({**features, "classifier.6.bias": torch.zeros(10)}, folder / "backbone.pth")
    torch.save(heads, folder / "heads.pth", _use_new_zipfile_serialization=False)
    return features, heads


@pytest.fixture(scope="module", params=["alex", "vgg"])
def case(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    features, heads = made_files(folder, request.param)
    net = load_lpips(request.param, backbone_file=folder / "backbone.pth", heads_file=folder / "heads.pth")
    return request.param, features, heads, net


def by_hand(backbone, features, heads, x, y) -> float:
    """One pair of images in float64, layer by layer."""

    def directions(image: torch.Tensor) -> list[torch.Tensor]:
        # ImageNet's mean and deviation, as the paper's code rounds them.
        mean, deviation = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
        h = ((image.double() - mean.double().view(3, 1, 1)) / deviation.double().view(3, 1, 1))[None]
        out = []
        for _, stride, padding, number, pooled in ALEX if backbone == "alex" else VGG:
            if pooled:
                h = functional.max_pool2d(h, 3 if backbone == "alex" else 2, 2)
            weight, bias = features[f"features.{number}.weight"], features[f"features.{number}.bias"]
            h = functional.conv2d(h, weight.double(), bias.double(), stride, padding).clamp(min=0)
            if number in LAST[backbone]:
                out.append(functional.normalize(h[0], dim=0))
        return out

    total = 0.0
    for i, (a, b) in enumerate(zip(directions(x), directions(y))):
        weight = heads[f"lin{i}.model.1.weight"].double().flatten()
        total += sum(
            float(weight @ (a[:, row, column] - b[:, row, column]) ** 2)
            for row in range(a.shape[1])
            for column in range(a.shape[2])
        ) / (a.shape[1] * a.shape[2])
    return total


def test_the_distance_is_that_of_another_computation(case):
    backbone, features, heads, net = case
    side = 40 if backbone == "alex" else 16
    x, y = torch.rand(2, 2, 3, side, side + 3, generator=torch.Generator().manual_seed(1)) * 2 - 1
    expected = [by_hand(backbone, features, heads, x[i], y[i]) for i in range(2)]
    assert perceptual_distance(net, x, y, batch=1).tolist() == pytest.approx(expected, rel=1e-4)


def test_equal_images_are_at_distance_zero_and_grey_is_rgb(case):
    backbone, _, _, net = case
    x, y = torch.rand(2, 1, 1, SMALLEST[backbone], SMALLEST[backbone]) * 2 - 1
    assert perceptual_distance(net, x, x).tolist() == [0.0]
    distance = perceptual_distance(net, x, y)
    assert distance > 0
    assert torch.equal(distance, perceptual_distance(net, x.expand(-1, 3, -1, -1), y.expand(-1, 3, -1, -1)))
    with pytest.raises(ValueError, match=f"sides of at least {SMALLEST[backbone]} pixels"):
        perceptual_distance(net, x[..., 1:], y[..., 1:])


def test_pair_distance_is_the_mean_over_all_pairs_and_sees_collapse(case):
    net = case[3]
    x = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    pairs = perceptual_distance(net, x[[0, 0, 1]], x[[1, 2, 2]])
    assert pair_distance(net, x) == pytest.approx(pairs.mean().item(), rel=1e-6)
    assert pair_distance(net, x[:1].repeat(4, 1, 1, 1)) == 0
    with pytest.raises(ValueError, match="pairs need at least 2"):
        pair_distance(net, x[:1])


def test_different_shapes_are_refused(case):
    net = case[3]
    with pytest.raises(ValueError, match="equal shapes are expected"):
        perceptual_distance(net, torch.zeros(2, 3, 32, 32), torch.zeros(1, 3, 32, 32))
    with pytest.raises(ValueError, match="0 to 255"):
        perceptual_distance(net, torch.arange(256.0).expand(1, 3, 256, 256), torch.zeros(1, 3, 256, 256))


def test_the_files_must_be_those_that_were_meant(tmp_path):
    made_files(tmp_path, "alex")
    backbone, heads = tmp_path / "backbone.pth", tmp_path / "heads.pth"
    right = {name: hashlib.sha256(path.read_bytes()).hexdigest()[:8] for name, path in [("b", backbone), ("h", heads)]}
    load_lpips("alex", backbone_file=backbone, heads_file=heads, backbone_sha256=right["b"], heads_sha256=right["h"])
    for hashes in ({"backbone_sha256": "7be5be79"}, {"heads_sha256": "df73285e"}):
        with pytest.raises(CheckpointError, match=f"expected SHA-256 {next(iter(hashes.values()))}, found"):
            load_lpips("alex", backbone_file=backbone, heads_file=heads, **hashes)
    with pytest.raises(CheckpointError, match="not the weights of torchvision's vgg"):
        load_lpips("vgg", backbone_file=backbone, heads_file=heads)
    torch.save({"lin0.model.1.weight": torch.ones(1, 64, 1, 1)}, heads)
    with pytest.raises(CheckpointError, match="not the weights of the linear heads of LPIPS on alex"):
        load_lpips("alex", backbone_file=backbone, heads_file=heads)
    with pytest.raises(ValueError, match="Did you mean 'alex'"):
        LPIPS("alexnet")  # type: ignore[arg-type]
