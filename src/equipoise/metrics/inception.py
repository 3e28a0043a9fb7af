"""The Inception-v3 that published FID, KID and Inception Scores are computed with, from a local file of its weights.

The file is `pt_inception-2015-12-05-6726825d.pth`: the network of the original FID code, which is not torchvision's.
Numbers compare with published ones only with these weights, the same resizer and the same numbers of images.
"""

from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d, relu

from equipoise.core.errors import nearest
from equipoise.metrics.checks import check_at_least, checked_images
from equipoise.metrics.image_quality import eight_bit
from equipoise.metrics.weights import check_keys, read_weights

SIDE = 299
FID_WEIGHTS_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
"""Of pt_inception-2015-12-05-6726825d.pth, which others call weights-inception-2015-12-05-6726825d.pth."""

Resizer = Literal["bilinear-tf1", "bicubic-antialiased"]
"""How images become 299 × 299: as TensorFlow 1 did in the original FID, or as clean-fid does (Parmar et al. 2022)."""


class InceptionAnswer(NamedTuple):
    """What the network says of images: `features` [N, 2048] of the last pooling, and class scores [N, 1008].

    FID, KID, precision and recall use `features`. `logits` end in the bias of the last layer, `unbiased_logits` do not;
    the Inception Score of the literature is that of the softmax of `unbiased_logits`.
    """

    features: Tensor
    logits: Tensor
    unbiased_logits: Tensor


class FIDInception(nn.Module):
    """Inception-v3 (Szegedy et al. 2016) as TensorFlow's 2015-12-05 graph has it, with the weight names of torchvision.

    Unlike torchvision's: 1008 classes, average pools that do not count the padding, and a max pool in the pool branch
    of the last block. Images are [N, 3, 299, 299] with values (p - 128) / 128 of the pixels p in [0, 255].
    """

    def __init__(self):
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = Convolution(32, 32, 3)
        self.Conv2d_2b_3x3 = Convolution(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = Convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = Convolution(80, 192, 3)
        self.Mixed_5b = BlockA(192, pool=32)
        self.Mixed_5c = BlockA(256, pool=64)
        self.Mixed_5d = BlockA(288, pool=64)
        self.Mixed_6a = BlockB(288)
        self.Mixed_6b = BlockC(768, inner=128)
        self.Mixed_6c = BlockC(768, inner=160)
        self.Mixed_6d = BlockC(768, inner=160)
        self.Mixed_6e = BlockC(768, inner=192)
        self.Mixed_7a = BlockD(768)
        self.Mixed_7b = BlockE(1280, pool="average")
        self.Mixed_7c = BlockE(2048, pool="max")
        self.fc = nn.Linear(2048, 1008)

    def forward(self, x: Tensor) -> InceptionAnswer:
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))  # [N, 64, 147, 147]
        x = max_pool2d(x, 3, stride=2)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))  # [N, 192, 71, 71]
        x = max_pool2d(x, 3, stride=2)
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))  # [N, 288, 35, 35]
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))  # [N, 768, 17, 17]
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))  # [N, 2048, 8, 8]
        features = x.mean((2, 3))
        unbiased = features @ self.fc.weight.T
        return InceptionAnswer(features, unbiased + self.fc.bias, unbiased)


def load_inception(path: Path | str, *, sha256: str | None = FID_WEIGHTS_SHA256) -> FIDInception:
    """The network with the weights of a local file, ready to answer. Nothing is downloaded.

    `sha256` is the expected hash of the file, or its beginning; None takes any file of the same layout, such as one
    converted to safetensors. Raises CheckpointError for a missing file, another hash, or other tensors.
    """
    weights = read_weights(Path(path), sha256=sha256)
    with torch.device("meta"):
        net = FIDInception()
    expected = {name: value for name, value in net.state_dict().items() if not name.endswith(".num_batches_tracked")}
    # Files from before torch 0.4.1 do not count batches; nothing here reads the count.
    weights = {name: value for name, value in weights.items() if not name.endswith(".num_batches_tracked")}
    check_keys("the Inception network of FID", weights, expected)
    net.load_state_dict(weights, strict=False, assign=True)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.num_batches_tracked = torch.zeros((), dtype=torch.long)
    return net.float().eval().requires_grad_(False)


@torch.no_grad()
def inception_answers(
    net: FIDInception, images: Float[Tensor, "n c h w"], *, resizer: Resizer = "bilinear-tf1", batch: int = 32
) -> InceptionAnswer:
    """Features and class scores of images [N, C, H, W] in [-1, 1], grey or RGB, in float32 on the CPU.

    Values are rounded to 8 bits first, as in files. Name the resizer where you report a number: it moves FID by whole
    points (Parmar et al. 2022).
    """
    check_at_least(1, batch=batch)
    images = checked_images("images", images)
    device = net.fc.weight.device
    answers = [
        net((resized(part.to(device, torch.float32), resizer=resizer) - 128) / 128) for part in images.split(batch)
    ]
    return InceptionAnswer(*(torch.cat(parts).cpu() for parts in zip(*answers)))


def resized(images: Float[Tensor, "n c h w"], *, resizer: Resizer) -> Float[Tensor, "n 3 299 299"]:
    """Pixels in [0, 255] of images in [-1, 1], rounded to 8 bits and brought to 3 × 299 × 299.

    "bilinear-tf1" takes output pixel i from input position i · size / 299, between its two neighbours, as TensorFlow 1
    did with align_corners=False: no half-pixel shift, no antialias. "bicubic-antialiased" is Pillow's bicubic filter
    (a = -0.5, antialiased where an axis shrinks) on floats, clipped to [0, 255].
    """
    images = checked_images("images", images)
    if resizer not in get_args(Resizer):
        raise ValueError(f"resizer={resizer!r} is unknown. {nearest(resizer, get_args(Resizer))}")
    if images.shape[1] not in (1, 3):
        raise ValueError(f"images of {images.shape[1]} channels were passed, but 1 (grey) or 3 (RGB) is expected.")
    pixels = ((eight_bit(images).float() + 1) * 127.5).round().expand(-1, 3, -1, -1)
    if resizer == "bicubic-antialiased":
        return interpolate(pixels, (SIDE, SIDE), mode="bicubic", antialias=True, align_corners=False).clamp(0, 255)
    return _between_neighbours(_between_neighbours(pixels, 2), 3)


def _between_neighbours(x: Tensor, dim: int) -> Tensor:
    position = torch.arange(SIDE, dtype=torch.float64, device=x.device) * x.shape[dim] / SIDE
    below = position.long()
    above = (below + 1).clamp(max=x.shape[dim] - 1)
    share = (position - below).to(x.dtype).view([-1 if d == dim else 1 for d in range(4)])
    lower = x.index_select(dim, below)
    return lower + (x.index_select(dim, above) - lower) * share


# ---------------------------------------------------------------- the blocks (Szegedy et al. 2016, Figures 5 to 7)

Size = int | tuple[int, int]


class Convolution(nn.Module):
    """Convolution without bias, batch normalisation with ε = 0.001, ReLU."""

    def __init__(self, num_in: int, num_out: int, kernel: Size, *, stride: int = 1, padding: Size = 0):
        super().__init__()
        self.conv = nn.Conv2d(num_in, num_out, kernel, stride=stride, padding=padding, bias=False)
        self.bn = nn.BatchNorm2d(num_out, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return relu(self.bn(self.conv(x)))


class BlockA(nn.Module):
    """35 × 35: one 1 × 1, a 5 × 5, two 3 × 3 in a row, and a pooled branch."""

    def __init__(self, num_in: int, *, pool: int):
        super().__init__()
        self.branch1x1 = Convolution(num_in, 64, 1)
        self.branch5x5_1 = Convolution(num_in, 48, 1)
        self.branch5x5_2 = Convolution(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = Convolution(num_in, 64, 1)
        self.branch3x3dbl_2 = Convolution(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Convolution(96, 96, 3, padding=1)
        self.branch_pool = Convolution(num_in, pool, 1)

    def forward(self, x: Tensor) -> Tensor:
        five = self.branch5x5_2(self.branch5x5_1(x))
        threes = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), five, threes, self.branch_pool(_average(x))], 1)


class BlockB(nn.Module):
    """From 35 × 35 to 17 × 17."""

    def __init__(self, num_in: int):
        super().__init__()
        self.branch3x3 = Convolution(num_in, 384, 3, stride=2)
        self.branch3x3dbl_1 = Convolution(num_in, 64, 1)
        self.branch3x3dbl_2 = Convolution(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Convolution(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        threes = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), threes, max_pool2d(x, 3, stride=2)], 1)


class BlockC(nn.Module):
    """17 × 17: 7 × 7 convolutions as rows and columns."""

    def __init__(self, num_in: int, *, inner: int):
        super().__init__()
        self.branch1x1 = Convolution(num_in, 192, 1)
        self.branch7x7_1 = Convolution(num_in, inner, 1)
        self.branch7x7_2 = _row(inner, inner, 7)
        self.branch7x7_3 = _column(inner, 192, 7)
        self.branch7x7dbl_1 = Convolution(num_in, inner, 1)
        self.branch7x7dbl_2 = _column(inner, inner, 7)
        self.branch7x7dbl_3 = _row(inner, inner, 7)
        self.branch7x7dbl_4 = _column(inner, inner, 7)
        self.branch7x7dbl_5 = _row(inner, 192, 7)
        self.branch_pool = Convolution(num_in, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        sevens = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        sevens = self.branch7x7dbl_5(self.branch7x7dbl_4(sevens))
        return torch.cat([self.branch1x1(x), seven, sevens, self.branch_pool(_average(x))], 1)


class BlockD(nn.Module):
    """From 17 × 17 to 8 × 8."""

    def __init__(self, num_in: int):
        super().__init__()
        self.branch3x3_1 = Convolution(num_in, 192, 1)
        self.branch3x3_2 = Convolution(192, 320, 3, stride=2)
        self.branch7x7x3_1 = Convolution(num_in, 192, 1)
        self.branch7x7x3_2 = _row(192, 192, 7)
        self.branch7x7x3_3 = _column(192, 192, 7)
        self.branch7x7x3_4 = Convolution(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3_2(self.branch3x3_1(x))
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([three, seven, max_pool2d(x, 3, stride=2)], 1)


class BlockE(nn.Module):
    """8 × 8: branches that end in a row and a column side by side."""

    def __init__(self, num_in: int, *, pool: Literal["average", "max"]):
        super().__init__()
        self.pool = pool
        self.branch1x1 = Convolution(num_in, 320, 1)
        self.branch3x3_1 = Convolution(num_in, 384, 1)
        self.branch3x3_2a = _row(384, 384, 3)
        self.branch3x3_2b = _column(384, 384, 3)
        self.branch3x3dbl_1 = Convolution(num_in, 448, 1)
        self.branch3x3dbl_2 = Convolution(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = _row(384, 384, 3)
        self.branch3x3dbl_3b = _column(384, 384, 3)
        self.branch_pool = Convolution(num_in, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3_1(x)
        threes = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = max_pool2d(x, 3, stride=1, padding=1) if self.pool == "max" else _average(x)
        return torch.cat(
            [
                self.branch1x1(x),
                *(self.branch3x3_2a(three), self.branch3x3_2b(three)),
                *(self.branch3x3dbl_3a(threes), self.branch3x3dbl_3b(threes)),
                self.branch_pool(pooled),
            ],
            1,
        )


def _row(num_in: int, num_out: int, length: int) -> Convolution:
    return Convolution(num_in, num_out, (1, length), padding=(0, length // 2))


def _column(num_in: int, num_out: int, length: int) -> Convolution:
    return Convolution(num_in, num_out, (length, 1), padding=(length // 2, 0))


def _average(x: Tensor) -> Tensor:
    return avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
