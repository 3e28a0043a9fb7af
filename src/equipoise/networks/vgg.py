"""VGG, whose layers perceptual losses look through, and a small relative of it that is trained on the spot."""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, final, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from equipoise.core.errors import nearest

Kind = Literal["vgg16", "vgg19"]
Pooling = Literal["max", "average"]

DEPTHS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
"""Convolutions in each stage."""
WIDTHS = (64, 128, 256, 512, 512)
"""Channels in each stage."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, of values in [0, 1]."""

SMALL_DEPTHS = (2, 2, 1)
SMALL_TAPS = ("relu1_2", "relu2_2", "relu3_1")


@final
class VGG(nn.Module):
    """The convolutions of VGG-16 or VGG-19 up to the last tap, with the names that torchvision gives to their weights.

    Images [N, 1 or 3, H, W] in [-1, 1] (grey is R = G = B) to a tuple of features [N, C, H', W'], one for each tap, in
    the order of `taps`. "conv5_4" is the fourth convolution of stage 5 before its ReLU, "relu5_4" after it and "pool5"
    what follows; each pooling halves the sides. Means and deviations of ImageNet are applied inside. Pooling by
    "average" gives smoother gradients to images that are optimised (Gatys et al. 2016). Raises ValueError for images
    with sides that would vanish. The weights are random at first, and scaled so that they stay of use.

    >>> [tuple(layer.shape) for layer in VGG("vgg16", ["relu2_2", "conv1_1"])(torch.zeros(2, 3, 32, 20))]
    [(2, 128, 16, 10), (2, 64, 32, 20)]

    Source: Simonyan & Zisserman 2015, configurations D and E.
    """

    def __init__(self, kind: Kind, taps: Sequence[str], *, pooling: Pooling = "max"):
        super().__init__()
        for name, value, valid in [("kind", kind, get_args(Kind)), ("pooling", pooling, get_args(Pooling))]:
            if value not in valid:
                raise ValueError(f"{name}={value!r} is unknown. {nearest(value, valid)}")
        names = layer_names(DEPTHS[kind])
        self.kind: Kind = kind
        self.pooling: Pooling = pooling
        self.taps = checked_taps(taps, names)
        self.names = names[: 1 + max(map(names.index, self.taps))]
        pool = nn.MaxPool2d(2) if pooling == "max" else nn.AvgPool2d(2)
        self.features = _layers(self.names, 3, WIDTHS, convolution=_convolution, pool=pool)
        self.shift: Tensor
        self.scale: Tensor
        self.register_buffer("shift", 2 * torch.tensor(MEAN).view(1, 3, 1, 1) - 1, persistent=False)
        self.register_buffer("scale", 2 * torch.tensor(DEVIATION).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = _checked(self.kind, x, 3, self.names)
        return _at_taps(self.taps, zip(self.names, self.features), (x - self.shift) / self.scale)


@final
class SmallVGG(nn.Module):
    """A classifier of small images in the manner of VGG: five convolutions in three stages, then a mean over positions.

    Called with images [N, C, H, W] in [-1, 1] with sides of at least 4 it answers features at its taps, as `VGG` does,
    of `width`, 2 · `width` and 4 · `width` channels in its stages; `classes` answers class scores. With `batch_norm`
    each convolution is followed by a normalisation, which helps training; "conv…" is then what comes after it. `fold`
    makes it a part of the convolutions, so that a trained network answers alike in any mode and company.

    >>> net = SmallVGG(10, width=8)
    >>> [tuple(layer.shape) for layer in net(torch.zeros(2, 3, 32, 32))], net.classes(torch.zeros(2, 3, 32, 32)).shape
    ([(2, 8, 32, 32), (2, 16, 16, 16), (2, 32, 8, 8)], torch.Size([2, 10]))
    """

    def __init__(
        self,
        num_classes: int,
        num_channels: int = 3,
        *,
        width: int = 32,
        taps: Sequence[str] = SMALL_TAPS,
        batch_norm: bool = False,
    ):
        super().__init__()
        if min(num_classes, num_channels, width) < 1:
            raise ValueError(
                f"num_classes={num_classes}, num_channels={num_channels}, width={width} were passed, but at least 1 is "
                "expected of each. Leave width out."
            )
        self.num_channels = num_channels
        self.names = layer_names(SMALL_DEPTHS)[:-1]
        self.taps = checked_taps(taps, self.names)
        convolution = _normalised_convolution if batch_norm else _convolution
        widths = (width, 2 * width, 4 * width)
        self.features = _layers(self.names, num_channels, widths, convolution=convolution, pool=nn.MaxPool2d(2))
        self.head = nn.Linear(4 * width, num_classes)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        names = self.names[: 1 + max(map(self.names.index, self.taps))]
        return _at_taps(self.taps, zip(names, self.features), _checked("SmallVGG", x, self.num_channels, names))

    def classes(self, x: Tensor) -> Tensor:
        """Class scores [N, K]."""
        x = self.features(_checked("SmallVGG", x, self.num_channels, self.names))
        return self.head(x.mean((2, 3)))

    def fold(self) -> None:
        """Make the batch normalisations, as they are in evaluation, a part of the convolutions before them."""
        for i, layer in enumerate(self.features):
            if isinstance(layer, nn.Sequential):
                convolution, norm = layer.eval()
                assert isinstance(convolution, nn.Conv2d)
                assert isinstance(norm, nn.BatchNorm2d)
                self.features[i] = fuse_conv_bn_eval(convolution, norm)


def layer_names(depths: Sequence[int]) -> tuple[str, ...]:
    """
    >>> layer_names((1, 2))
    ('conv1_1', 'relu1_1', 'pool1', 'conv2_1', 'relu2_1', 'conv2_2', 'relu2_2', 'pool2')
    """
    names: list[str] = []
    for stage, depth in enumerate(depths, 1):
        for number in range(1, depth + 1):
            names += [f"conv{stage}_{number}", f"relu{stage}_{number}"]
        names.append(f"pool{stage}")
    return tuple(names)


def checked_taps(taps: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """The taps, or a ValueError: none, twice the same, or no layer of that name."""
    taps = (taps,) if isinstance(taps, str) else tuple(taps)
    for tap in taps:
        if tap not in names:
            raise ValueError(f"taps={list(taps)}: there is no layer {tap!r}. {nearest(tap, names)}")
    if not taps or len(set(taps)) < len(taps):
        raise ValueError(
            f"taps={list(taps)}: expected at least one layer, and each once. Pass names such as 'relu2_2'."
        )
    return taps


def _layers(
    names: Iterable[str],
    num_channels: int,
    widths: Sequence[int],
    *,
    convolution: Callable[[int, int], nn.Module],
    pool: nn.Module,
) -> nn.Sequential:
    layers: list[nn.Module] = []
    for name in names:
        if name.startswith("conv"):
            width = widths[int(name[4]) - 1]
            layers.append(convolution(num_channels, width))
            num_channels = width
        else:
            # Not in place: the features before a ReLU may be tapped.
            layers.append(nn.ReLU() if name.startswith("relu") else pool)
    return nn.Sequential(*layers)


def _convolution(num_in: int, num_out: int) -> nn.Conv2d:
    layer = nn.Conv2d(num_in, num_out, 3, padding=1)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def _normalised_convolution(num_in: int, num_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(num_in, num_out, 3, padding=1, bias=False), nn.BatchNorm2d(num_out))


def _checked(network: str, x: Tensor, num_channels: int, names: Iterable[str]) -> Tensor:
    """Images of the network's channels, or a ValueError where they are of other ones or become smaller than a pixel."""
    smallest = 2 ** sum(name.startswith("pool") for name in names)
    allowed = (1, 3) if num_channels == 3 else (num_channels,)
    if x.ndim != 4 or x.shape[1] not in allowed or min(x.shape[2:]) < smallest:
        raise ValueError(
            f"Images of shape {list(x.shape)} were passed to {network}: expected [N, C, H, W] with "
            f"C = {' or '.join(map(str, allowed))} and sides of at least {smallest} pixels. Enlarge smaller images, or "
            "tap earlier layers."
        )
    return x.expand(-1, num_channels, -1, -1)


def _at_taps(taps: Sequence[str], layers: Iterable[tuple[str, nn.Module]], x: Tensor) -> tuple[Tensor, ...]:
    found = {}
    for name, layer in layers:
        x = layer(x)
        if name in taps:
            found[name] = x
    return tuple(found[tap] for tap in taps)
