"""Parts that several networks share: class conditioning, the critic's head, normalisation, sizes."""

from collections.abc import Callable, Iterable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

Conditioning = Literal["none", "projection", "auxiliary", "concatenation"]
Normalisation = Literal["none", "batch", "spectral"]
GeneratorNormalisation = Literal["none", "batch", "pixel"]
Wrap = Callable[[nn.Module], nn.Module]


def wrap_for(normalisation: Normalisation) -> Wrap:
    """Spectral normalisation of a layer's weight (Miyato et al. 2018, Alg. 1), or nothing."""
    return parametrizations.spectral_norm if normalisation == "spectral" else lambda layer: layer


def start_and_doublings(size: int, smallest: int = 4) -> tuple[int, int]:
    """The resolution where an image of `size` begins, and how often it is doubled; start · 2ᵏ >= size.

    It is at least `smallest` and less than twice that.

    >>> start_and_doublings(32), start_and_doublings(28), start_and_doublings(100), start_and_doublings(16, 2)
    ((4, 3), (7, 2), (7, 4), (2, 3))
    """
    doublings = (-(-size // (2 * smallest - 1)) - 1).bit_length()
    return -(-size // 2**doublings), doublings


def check_size(size: int, network: str) -> None:
    """Raise ValueError unless 8 <= size <= 256."""
    if not 8 <= size <= 256:
        raise ValueError(
            f"The {network} networks cannot make images of {size}×{size} pixels: expected a size from 8 to 256. "
            "Choose one, for example --set data.size=64."
        )


def check_multiple(size: int, network: str) -> None:
    """Raise ValueError unless the size is 4, 5, 6 or 7 times a power of two, from 8 to 256."""
    check_size(size, network)
    spacing = 2 ** ((size // 4).bit_length() - 1)  # of the sizes that work, near this one
    if size % spacing:
        below = size - size % spacing
        above = below + spacing
        raise ValueError(
            f"The {network} networks cannot make images of {size}×{size} pixels: expected 4, 5, 6 or 7 times a power "
            f"of two. The nearest are {below} and {above}: set data.size to one of them, or use the dcgan networks."
        )


def orthogonal_(network: nn.Module) -> None:
    """Orthogonal initial weights and zero biases of every convolution and linear layer (Brock et al. 2019, App. C)."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.orthogonal_(original_weight(layer))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def original_weight(layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear) -> Tensor:
    """The parameter behind a layer's weight: with spectral normalisation, the one that is divided by its norm."""
    # Looking at layer.weight also moves the power iteration by one step, which seeded trainings have come to include.
    return dict(layer.named_parameters()).get("parametrizations.weight.original", layer.weight)


def check_dropout(dropout: float) -> None:
    """Raise ValueError unless 0 <= dropout < 1."""
    if not 0 <= dropout < 1:
        raise ValueError(
            f"dropout is {dropout}: expected the share of features that are dropped, from 0 to below 1, such as 0.25."
        )


class PixelNorm(nn.Module):
    """Pixelwise normalisation: each position's feature vector is scaled to a mean square of one.

    y = x / √(mean_c x_c² + 10⁻⁸), over the channels of [N, C, H, W] or the entries of [N, F]. It has no parameters and
    no running statistics and mixes no examples, so magnitudes in the generator cannot escalate and an averaged
    generator needs no recalibration.
    Default: off; "batch" is DCGAN's choice.
    Cost: negligible.
    Source: Karras et al. 2018, Progressive Growing of GANs, section 4.2.
    """

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(at_least_float32(x).square().mean(1, keepdim=True) + 1e-8).to(x.dtype)


class ConditionalNorm(nn.Module):
    """Batch, pixel or no normalisation, with a gain and a bias per class (de Vries et al. 2017, Eq. 5) if any."""

    def __init__(self, num_features: int, num_classes: int = 0, *, normalisation: GeneratorNormalisation = "batch"):
        super().__init__()
        match normalisation:
            case "batch":
                self.norm = nn.BatchNorm2d(num_features, affine=num_classes == 0)
            case "pixel":
                self.norm = PixelNorm()
            case "none":
                self.norm = nn.Identity()
        if num_classes:
            self.gain = nn.Embedding(num_classes, num_features)
            self.bias = nn.Embedding(num_classes, num_features)
            nn.init.ones_(self.gain.weight)
            nn.init.zeros_(self.bias.weight)
        self.num_classes = num_classes

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        x = self.norm(x)
        if not self.num_classes:
            return x
        return x * self.gain(labels)[:, :, None, None].to(x) + self.bias(labels)[:, :, None, None].to(x)


class LabelPlanes(nn.Module):
    """Concatenation: each class becomes one learned plane beside the image's channels (Mirza & Osindero 2014)."""

    def __init__(self, num_classes: int, size: int):
        super().__init__()
        self.size = size
        self.planes = nn.Embedding(num_classes, size * size)
        nn.init.normal_(self.planes.weight, std=1.0)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        plane = self.planes(labels).view(-1, 1, self.size, self.size)
        return torch.cat([x, plane.to(x)], dim=1)  # [N, C + 1, H, W]


class CriticHead(nn.Module):
    """From features [N, F] to logits [N] in float32, and to what the kind of conditioning asks for.

    "projection" adds the inner product of the features with an embedding of the class (Miyato & Koyama 2018, Eq. 3),
    or of a vector [N, E] where there is a `condition_dim`; "auxiliary" scores every class as well (Odena et al. 2017).
    """

    def __init__(self, num_features: int, num_classes: int, by: Conditioning, wrap: Wrap, *, condition_dim: int = 0):
        super().__init__()
        self.by = by
        self.logit = wrap(nn.Linear(num_features, 1))
        if by == "projection":
            vectors = condition_dim > 0
            self.embedding = (
                nn.Linear(condition_dim, num_features) if vectors else nn.Embedding(num_classes, num_features)
            )
            nn.init.normal_(self.embedding.weight, std=num_features**-0.5)  # as large as the linear layer's output
            wrap(self.embedding)
        if by == "auxiliary":
            self.classes = wrap(nn.Linear(num_features, num_classes))

    def forward(self, h: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        with torch.autocast(h.device.type, enabled=False):
            h = at_least_float32(h)
            logits = self.logit(h).squeeze(1)
            if self.by == "projection":
                logits = logits + (self.embedding(labels) * h).sum(1)
            return logits, self.classes(h) if self.by == "auxiliary" else None


def at_least_float32(x: Tensor) -> Tensor:
    """Narrow floating-point formats to float32; wider ones stay."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def crop_to(x: Tensor, size: int) -> Tensor:
    """The central size×size pixels."""
    top = (x.shape[-1] - size) // 2
    return x if x.shape[-1] == size else x[..., top : top + size, top : top + size]


@torch.no_grad()
def recalibrate(network: nn.Module, batches: Iterable[Tensor | tuple[Tensor, ...]]) -> None:
    """Re-estimate the running statistics of every batch normalisation from the network's weights as they are now.

    Averaged weights need statistics of their own: an average of the statistics of other weights can be badly off. The
    network runs on each batch of inputs (a tensor, or a tuple of arguments) with batch statistics, and each running
    mean and variance becomes the plain average over the batches: use batches of one size. Weights, modes and momenta
    stay; without batch normalisation nothing happens. Raises ValueError where there is no batch.
    Default: off; 10 to 100 batches of the training size.
    Cost: one forward pass a batch, at evaluation only.
    Source: Izmailov et al. 2018, Averaging Weights Leads to Wider Optima (the batch normalisation update of SWA).
    """
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) and m.track_running_stats]
    if not norms:
        return
    modes = {module: module.training for module in network.modules()}
    momenta = {norm: norm.momentum for norm in norms}
    network.eval()  # dropout stays off and spectral norms stay as they are
    count = 0
    try:
        for norm in norms:
            norm.train()
            norm.momentum = None  # torch's word for a cumulative average
        for batch in batches:
            if count == 0:
                for norm in norms:
                    norm.reset_running_stats()
            count += 1
            network(*(batch if isinstance(batch, tuple) else (batch,)))
    finally:
        for module, mode in modes.items():
            module.training = mode
        for norm, momentum in momenta.items():
            norm.momentum = momentum
    if count == 0:
        raise ValueError("recalibrate got no batch: expected at least one batch of inputs of the network. Pass some.")
