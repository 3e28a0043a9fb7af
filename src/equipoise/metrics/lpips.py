"""LPIPS, the learned perceptual distance between two images (Zhang et al. 2018), from local files of its weights."""

from pathlib import Path
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from equipoise.core.errors import nearest
from equipoise.metrics.checks import check_at_least, checked_images
from equipoise.metrics.image_quality import random_pairs
from equipoise.metrics.weights import check_keys, read_weights

Backbone = Literal["alex", "vgg"]
"""AlexNet, which published LPIPS values use unless they say otherwise, or VGG-16."""

SMALLEST = {"alex": 31, "vgg": 16}
# The ends of the layers that are compared: the ReLU before each pooling, and AlexNet's last three.
TAPPED = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29)}
CHANNELS = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}
# ImageNet's mean and standard deviation, (m, s) of values in [0, 1], for values in [-1, 1]: 2 m - 1 and 2 s.
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class LPIPS(nn.Module):
    """The distance network; `load_lpips` gives it its weights.

    d(x, y) = Σₗ mean over positions of wₗ · (x̂ₗ - ŷₗ)², where x̂ₗ are a layer's features, of length 1 at each position,
    and wₗ ≥ 0 learned weights of the channels    (Zhang et al. 2018, Eq. 1).
    """

    def __init__(self, backbone: Backbone):
        super().__init__()
        if backbone not in get_args(Backbone):
            raise ValueError(f"backbone={backbone!r} is unknown. {nearest(backbone, get_args(Backbone))}")
        self.backbone = backbone
        self.features = _alex() if backbone == "alex" else _vgg()
        self.heads = nn.ParameterList([torch.zeros(1, channels, 1, 1) for channels in CHANNELS[backbone]])
        self.shift: Tensor
        self.scale: Tensor
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Distances [N] ≥ 0 of images [N, 3, H, W] in [-1, 1]."""
        distance = torch.zeros(len(x), dtype=x.dtype, device=x.device)
        for head, a, b in zip(self.heads, self._directions(x), self._directions(y)):
            distance = distance + ((a - b).square() * head).sum(1).mean((1, 2))
        return distance

    def _directions(self, x: Tensor) -> list[Tensor]:
        """Of each tapped layer the features, divided by their length at each position."""
        x = (x - self.shift) / self.scale
        directions = []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in TAPPED[self.backbone]:
                directions.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return directions


def load_lpips(
    backbone: Backbone,
    *,
    backbone_file: Path,
    heads_file: Path,
    backbone_sha256: str | None = None,
    heads_sha256: str | None = None,
) -> LPIPS:
    """LPIPS with the weights of two local files, ready to answer. Nothing is downloaded.

    `backbone_file` is the state dict of torchvision's AlexNet or VGG-16 (alexnet-owt-7be5be79.pth, vgg16-397923af.pth:
    the name ends in the beginning of the SHA-256), of which the classifier is left out; `heads_file` is alex.pth or
    vgg.pth of version 0.1 of the lpips package. Where a hash, or its beginning, is given it must match. Raises
    CheckpointError for a missing file, another hash, or other tensors.
    """
    net = LPIPS(backbone)
    weights = read_weights(backbone_file, sha256=backbone_sha256)
    features = {name: value for name, value in weights.items() if not name.startswith("classifier.")}
    expected = {f"features.{name}": value for name, value in net.features.state_dict().items()}
    check_keys(f"torchvision's {backbone}", features, expected)
    heads = read_weights(heads_file, sha256=heads_sha256)
    named = {f"lin{i}.model.1.weight": head for i, head in enumerate(net.heads)}
    check_keys(f"the linear heads of LPIPS on {backbone}", heads, named)
    net.features.load_state_dict({name.removeprefix("features."): value for name, value in features.items()})
    with torch.no_grad():
        for name, head in named.items():
            head.copy_(heads[name])
    return net.eval().requires_grad_(False)


@torch.no_grad()
def perceptual_distance(
    net: LPIPS, images: Float[Tensor, "n c h w"], references: Float[Tensor, "n c h w"], *, batch: int = 16
) -> Float[Tensor, " n"]:
    """LPIPS of images and their references, grey or RGB in [-1, 1]: [N] ≥ 0 in float32 on the CPU; lower is better."""
    check_at_least(1, batch=batch)
    images, references = _as_rgb(net, "images", images), _as_rgb(net, "references", references)
    if images.shape != references.shape:
        raise ValueError(
            f"images of shape {list(images.shape)} and references of shape {list(references.shape)} were passed, but "
            "equal shapes are expected. Pass the reference of each image, in the same order and size."
        )
    pairs = zip(images.split(batch), references.split(batch))
    return torch.cat([net(x.to(net.shift), y.to(net.shift)) for x, y in pairs]).cpu()


def pair_distance(net: LPIPS, images: Float[Tensor, "n c h w"], *, num_pairs: int = 500, seed: int = 0) -> float:
    """Mean LPIPS of random pairs within one set, ≥ 0: higher means more variety.

    Fakes well below the value of the reals have collapsed; noise scores as very varied. All pairs are taken where
    there are no more than `num_pairs`.
    """
    first, second = random_pairs(len(images), num_pairs, seed=seed)
    chunks = zip(first.to(images.device).split(64), second.to(images.device).split(64))
    return torch.cat([perceptual_distance(net, images[i], images[j]) for i, j in chunks]).double().mean().item()


def _as_rgb(net: LPIPS, name: str, images: Tensor) -> Tensor:
    images = checked_images(name, images)
    if images.shape[1] not in (1, 3) or min(images.shape[2:]) < SMALLEST[net.backbone]:
        raise ValueError(
            f"{name} of shape {list(images.shape)} were passed, but 1 (grey) or 3 (RGB) channels and sides of at "
            f"least {SMALLEST[net.backbone]} pixels are expected for {net.backbone}. Enlarge smaller images, and say "
            "so where you report the number."
        )
    return images.expand(-1, 3, -1, -1)


def _alex() -> nn.Sequential:
    """The convolutions of AlexNet (Krizhevsky 2014), layer by layer as torchvision numbers them."""
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, stride=2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, stride=2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
    )


def _vgg() -> nn.Sequential:
    """The convolutions of VGG-16 (Simonyan & Zisserman 2015) up to the last ReLU, as torchvision numbers them."""
    layers: list[nn.Module] = []
    channels = 3
    for stage, (width, depth) in enumerate([(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)]):
        layers += [nn.MaxPool2d(2)] if stage else []
        for _ in range(depth):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
    return nn.Sequential(*layers)
