"""Perceptual terms: images are compared through the layers of a network. One value per example, in float32 at least.

Each takes the layers of one network at real and at generated images, in the same order: of a frozen feature network
(`networks.vgg`), whose name belongs to the number, or of the critic. Layers are means, which are added with the given
`weights`, of 1 where there are none. The real side may hold one example for all generated ones, such as one style.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from equipoise.core.errors import nearest
from equipoise.objectives.matching import full

Norm = Literal["l1", "l2"]
"""How two layers or matrices are compared: the mean of |a - b|, or of (a - b)²."""


def content(
    real_features: Sequence[Tensor],
    fake_features: Sequence[Tensor],
    *,
    weights: Sequence[float] | None = None,
    norm: Norm = "l1",
) -> Float[Tensor, "n"]:
    """What is in the image, and where, is the same; exact pixels matter little (perceptual or content loss).

    Σₗ wₗ · mean |φₗ(x) - φₗ(y)|, or of the squares with norm "l2", over the values of each layer φₗ [N, ...].
    Real-ESRGAN takes conv1_2, conv2_2, conv3_4, conv4_4 and conv5_4 of VGG-19 with the weights 0.1, 0.1, 1, 1 and 1.
    Default: weight 1 with conv5_4 of VGG-19, before its ReLU (ESRGAN).
    Cost: a pass of the feature network on real images, a pass and its backward pass on generated ones.
    Source: Johnson et al. 2016, Sec. 3.2, by squares; Wang et al. 2018 (ESRGAN) for layers before the ReLU.
    """
    layers = paired("content", real_features, fake_features, weights, same="shape")
    return torch.stack([weight * compared(real, fake, norm) for weight, real, fake in layers]).sum(0)


def gram(features: Float[Tensor, "n c *shape"]) -> Float[Tensor, "n c c"]:
    """Which channels are active together, wherever in the image: the Gram matrix of a layer.

    G[i, j] = Σ_p φ[i, p] φ[j, p] / (C·H·W), over the H·W positions p of features [N, C, H, W].
    Default: divided by C·H·W, all values of a layer; other code divides by H·W or by nothing.
    Cost: a product [C, H·W] · [H·W, C] per image.
    Source: Gatys et al. 2016; Johnson et al. 2016, Sec. 3.2 (the division).
    """
    with torch.autocast(features.device.type, enabled=False):
        flat = full(features).flatten(2)  # [N, C, H·W]
        return flat @ flat.mT / (flat.shape[1] * flat.shape[2])


def style(
    real_features: Sequence[Tensor],
    fake_features: Sequence[Tensor],
    *,
    weights: Sequence[float] | None = None,
    norm: Norm = "l2",
) -> Float[Tensor, "n"]:
    """The texture is the same, whatever is where: invariant to any exchange of positions.

    Σₗ wₗ · mean (gram(φₗ(x)) - gram(φₗ(y)))² over the C × C entries, or of the absolute values with norm "l1". The two
    images may differ in size. Fast style transfer takes relu1_2, relu2_2, relu3_3 and relu4_3 of VGG-16, with content
    by squares at relu2_2; AOT-GAN has norm "l1".
    Default: 1e5 times the weight of content (fast style transfer); 250 for inpainting (AOT-GAN).
    Cost: that of content and of gram. The matrices of the real side can be had once: see gram.
    Source: Gatys et al. 2016; Johnson et al. 2016, Sec. 3.2.
    """
    layers = paired("style", real_features, fake_features, weights, same="channels")
    return torch.stack([weight * compared(gram(real), gram(fake), norm) for weight, real, fake in layers]).sum(0)


def relative_content(real_features: Sequence[Tensor], fake_features: Sequence[Tensor]) -> Float[Tensor, "n"]:
    """Content by squares, as a share of what there is: its weight does not depend on the network or its layers.

    The mean over layers of Σ (φₗ(x) - φₗ(y))² / Σ φₗ(x)²: 0 for the same image, 1 for one that shows nothing. No
    gradient flows into the real side.
    Default: weight 1, with one layer in the middle of the network.
    Cost: that of content.
    Source: Gatys et al. 2016, who bring all activations to a mean of 1 instead.
    """
    layers = paired("relative_content", real_features, fake_features, None, same="shape")
    shares = [as_share(compared(real.detach(), fake, "l2"), real.detach()) for _, real, fake in layers]
    return torch.stack(shares).mean(0)


def relative_style(matrices: Sequence[Tensor], fake_features: Sequence[Tensor]) -> Float[Tensor, "n"]:
    """Style as a share of what there is: each layer counts alike, and the weight does not depend on the network.

    The mean over layers of Σ (Aₗ - gram(φₗ(y)))² / Σ Aₗ², with the Gram matrices Aₗ [1 or N, C, C] of the style, had
    once by gram: 0 for the same texture. No gradient flows into the matrices.
    Default: weight 1 to 100 beside relative_content of weight 1; more for textures that are far from the image.
    Cost: that of content and of gram.
    Source: Gatys et al. 2016, Eq. 4 and 5, who divide by the size of a layer instead.
    """
    wanted = tuple(matrix.detach() for matrix in matrices)
    found = tuple(gram(layer) for layer in fake_features)
    layers = paired("relative_style", wanted, found, None, same="shape")
    return torch.stack([as_share(compared(real, fake, "l2"), real) for _, real, fake in layers]).mean(0)


def statistics(
    real_features: Sequence[Tensor], fake_features: Sequence[Tensor], *, weights: Sequence[float] | None = None
) -> Float[Tensor, "n"]:
    """Each channel has the same mean and spread over the image: a style loss without the products of channels (AdaIN).

    Σₗ wₗ · (mean (μ(φₗ(x)) - μ(φₗ(y)))² + mean (σ(φₗ(x)) - σ(φₗ(y)))²) over the channels of each layer, with the mean μ
    and the deviation σ = √(variance + 1e-5) over positions. The two images may differ in size.
    Default: with relu1_1, relu2_1, relu3_1 and relu4_1 of VGG-19, 10 times the weight of content by squares at relu4_1.
    Cost: that of content.
    Source: Huang & Belongie 2017.
    """
    total = []
    for weight, real, fake in paired("statistics", real_features, fake_features, weights, same="channels"):
        means, deviations = zip(moments(real), moments(fake))
        total.append(weight * (compared(*means, "l2") + compared(*deviations, "l2")))
    return torch.stack(total).sum(0)


def texture(
    real_features: Sequence[Tensor],
    fake_features: Sequence[Tensor],
    patch_size: int | Sequence[int],
    *,
    weights: Sequence[float] | None = None,
    norm: Norm = "l2",
) -> Float[Tensor, "n"]:
    """The texture is the same in every patch: between content, which fixes all positions, and style, which fixes none.

    As style, with a Gram matrix for each patch of patch_size × patch_size positions of a layer, divided by the number
    of values in a patch, and the mean over patches too. One size for all layers, or one for each. Patches do not
    overlap; rows and columns beyond the last whole patch do not count.
    Default: patches of 16 pixels: 16, 8 and 4 positions in the first three stages of VGG-19; weight to be tuned.
    Cost: that of content, and C × C numbers per patch.
    Source: Sajjadi et al. 2017 (EnhanceNet).
    """
    layers = paired("texture", real_features, fake_features, weights, same="shape")
    sizes = [patch_size] * len(layers) if isinstance(patch_size, int) else list(patch_size)
    if len(sizes) != len(layers) or min(sizes) < 1:
        raise ValueError(
            f"texture(patch_size={patch_size}) for {len(layers)} layers: expected a number of positions above 0, one "
            "for all layers or one for each."
        )
    total = []
    for (weight, real, fake), size in zip(layers, sizes):
        if fake.ndim != 4 or min(fake.shape[2:]) < size:
            raise ValueError(
                f"texture got a layer of shape {list(fake.shape)}: expected [N, C, H, W] with at least one patch of "
                f"{size} × {size} positions. Choose smaller patches, or larger images."
            )
        total.append(weight * compared(patch_grams(real, size), patch_grams(fake, size), norm))
    return torch.stack(total).sum(0)


def critic_feature_matching(real_features: Sequence[Tensor], fake_features: Sequence[Tensor]) -> Float[Tensor, "n"]:
    """A generated image passes through the critic as its own target does, layer by layer: for paired data.

    Σₗ mean |Dₗ(x) - Dₗ(G(·))| over the values of each layer, per example; unlike feature_matching, which compares means
    over the batch. Of several critics, pass the layers of all. No gradient flows into the real side.
    Default: weight 10, divided by the number of critics (pix2pixHD); 2 (HiFi-GAN).
    Cost: one more pass of D on real examples in each of G's moves.
    Source: Wang et al. 2018 (pix2pixHD); Larsen et al. 2016 for one layer, by squares.
    """
    layers = paired("critic_feature_matching", real_features, fake_features, None, same="shape")
    return torch.stack([compared(real.detach(), fake, "l1") for _, real, fake in layers]).sum(0)


def paired(
    name: str,
    real_features: Sequence[Tensor],
    fake_features: Sequence[Tensor],
    weights: Sequence[float] | None,
    *,
    same: Literal["shape", "channels"],
) -> list[tuple[float, Tensor, Tensor]]:
    """The weight and the two sides of every layer, in float32 at least; a ValueError where they do not fit."""
    if not fake_features or len(real_features) != len(fake_features):
        raise ValueError(
            f"{name}: {len(real_features)} real and {len(fake_features)} generated layers: expected as many of both, "
            "at least one. Pass the answers of one network, as tuples of layers."
        )
    if weights is not None and len(weights) != len(fake_features):
        raise ValueError(f"{name} got {len(weights)} weights for {len(fake_features)} layers: expected one for each.")
    for real, fake in zip(real_features, fake_features):
        if same == "shape":
            fit = fake.ndim > 1 and real.shape[1:] == fake.shape[1:]
        else:
            fit = min(real.ndim, fake.ndim) > 2 and real.shape[1] == fake.shape[1]
        if not fit or len(real) not in (1, len(fake)):
            raise ValueError(
                f"{name} got a real layer of shape {list(real.shape)} and a generated one of {list(fake.shape)}: "
                f"expected the same {same}, and as many real examples as generated ones, or one. Pass the same layers, "
                "in the same order."
            )
    return [
        (weight, full(real), full(fake))
        for weight, real, fake in zip(weights or [1.0] * len(fake_features), real_features, fake_features)
    ]


def compared(a: Tensor, b: Tensor, norm: str) -> Tensor:
    """The mean of |a - b| or (a - b)² over each example: [N]."""
    if norm not in get_args(Norm):
        raise ValueError(f"norm={norm!r} is unknown. {nearest(norm, get_args(Norm))}")
    return ((a - b).abs() if norm == "l1" else (a - b).square()).flatten(1).mean(1)


def as_share(squares: Tensor, real: Tensor) -> Tensor:
    """Mean squares [N] as a share of those of the real side."""
    return squares / real.square().flatten(1).mean(1).clamp_min(1e-12)


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel over positions, [N, C] each."""
    variance, mean = torch.var_mean(features.flatten(2), 2, correction=0)
    return mean, (variance + 1e-5).sqrt()


def patch_grams(features: Tensor, size: int) -> Tensor:
    """Gram matrices [N, P, C, C] of the P whole patches of a layer [N, C, H, W]."""
    n, c = features.shape[:2]
    patches = features.unfold(2, size, size).unfold(3, size, size)  # [N, C, H/size, W/size, size, size]
    return gram(patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, c, size, size)).view(n, -1, c, c)
