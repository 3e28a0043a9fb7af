"""Matching: the generator agrees with the data in mean features, and with itself in the length of paths."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


def feature_matching(real_features: tuple[Tensor, ...], fake_features: tuple[Tensor, ...]) -> Float[Tensor, ""]:
    """The generator matches the mean features of the data inside the critic, instead of or besides fooling it.

    ‖E h(x) - E h(G(z))‖² / size(h) for each layer h [N, ...], averaged over layers: means over the batch, then the mean
    square over the features, so that layers of any size weigh alike. A scalar: it is no sum over examples, so that
    micro-batches and ranks each match their own means. No gradient flows into the real side.
    Default: weight 1, alone in the place of the adversarial loss, on one late layer.
    Cost: one more pass of D on real examples in each of G's moves.
    Source: Salimans et al. 2016, Sec. 3.1.
    """
    check_layers("feature_matching", real_features, fake_features)
    pairs = [(full(real.detach()), full(fake)) for real, fake in zip(real_features, fake_features)]
    layers = [(real.mean(0) - fake.mean(0)).square().mean() for real, fake in pairs]
    return torch.stack(layers).mean()


def mean_features(real_features: tuple[Tensor, ...], fake_features: tuple[Tensor, ...]) -> Float[Tensor, ""]:
    """Feature matching by absolute differences: the loss of G in the authors' semi-supervised trainings.

    mean over the features of |E h(x) - E h(G(z))| for each layer h [N, ...], averaged over layers. A scalar, and no
    gradient on the real side, as `feature_matching`.
    Default: weight 1, alone, on the critic's last layer.
    Cost: one more pass of D on real examples in each of G's moves.
    Source: Salimans et al. 2016, Sec. 3.1 and 5.
    """
    check_layers("mean_features", real_features, fake_features)
    pairs = [(full(real.detach()), full(fake)) for real, fake in zip(real_features, fake_features)]
    return torch.stack([(real.mean(0) - fake.mean(0)).abs().mean() for real, fake in pairs]).mean()


def check_layers(name: str, real_features: tuple[Tensor, ...], fake_features: tuple[Tensor, ...]) -> None:
    """Raise ValueError unless there are as many layers of both."""
    if not real_features or len(real_features) != len(fake_features):
        raise ValueError(
            f"{name} got {len(real_features)} real and {len(fake_features)} generated layers: expected as "
            "many of both, at least one. Pass the features of one critic that returns some."
        )


def full(features: Tensor) -> Tensor:
    """Narrow floating-point formats as float32: a difference of means is smaller than their rounding."""
    return features.to(torch.promote_types(features.dtype, torch.float32))


class PathLength(NamedTuple):
    """What `path_length` returns, per example."""

    penalty: Tensor
    lengths: Tensor


def path_length(
    images: Float[Tensor, "n *shape"], latents: Float[Tensor, "n *latent"], mean: Float[Tensor, ""]
) -> PathLength:
    """The same step in latent space changes the image by the same amount, everywhere and in every direction.

    (‖Jᵀy‖ - a)² with the generator's Jacobian J = ∂images/∂latents, y ~ N(0, I)/√(h·w) and a the running mean of the
    lengths ‖Jᵀy‖, which are returned too. For latents [N, L, Z], one per layer, ‖·‖² is the mean over the layers. The
    game keeps a: `mean + 0.01 * (lengths.mean() - mean)`, beginning with 0. `images` must carry the graph to `latents`.
    Default: weight 2, decay 0.01, every 4 steps (lazy), on half a batch.
    Cost: one double backward pass of G.
    Source: Karras et al. 2020, Sec. 3.2, Eq. 4.
    """
    pixels = math.prod(images.shape[2:])
    with torch.autocast(images.device.type, enabled=False):
        y = torch.randn_like(images) / math.sqrt(pixels)
        (pulled,) = torch.autograd.grad((images * y).sum(), latents, create_graph=True)  # Jᵀy [N, *latent]
        num_layers = math.prod(latents.shape[1:-1])
        lengths = pulled.float().flatten(1).norm(dim=1) / math.sqrt(num_layers)
    return PathLength((lengths - mean.detach()).square(), lengths)
