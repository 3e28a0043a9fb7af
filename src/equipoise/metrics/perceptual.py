"""How far apart two images look to any feature network, without learned weights."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from equipoise.metrics.checks import check_at_least, checked_images


@torch.no_grad()
def feature_distance(
    network: Callable[[Tensor], Sequence[Tensor]],
    images: Float[Tensor, "n c h w"],
    references: Float[Tensor, "n c h w"],
    *,
    batch: int = 16,
) -> Float[Tensor, " n"]:
    """The perceptual distance of images in [-1, 1] and their references: [N] in [0, 4], on the CPU; lower is better.

    Mean over layers l and positions p of |x̂ - ŷ|², where x̂ = φₗ(x)ₚ / |φₗ(x)ₚ| are the channels of a layer at a
    position, of length 1 as in LPIPS (Zhang et al. 2018), but all channels and layers count alike: 2 - 2 cos of the
    angle, which is at most 2 for layers after a ReLU. Layers are [N, C, ...], such as those of `networks.vgg`. Values
    are comparable within one named network only, never with those of another network or of LPIPS. Images are passed to
    the network as they are: on its device, in a size and with channels that it takes.
    """
    check_at_least(1, batch=batch)
    images, references = checked_images("images", images), checked_images("references", references)
    if images.shape != references.shape:
        raise ValueError(
            f"images of shape {list(images.shape)} and references of shape {list(references.shape)} were passed, but "
            "equal shapes are expected. Pass the reference of each image, in the same order and size."
        )
    distances = []
    for x, y in zip(images.split(batch), references.split(batch)):
        layers = [_directions(a) - _directions(b) for a, b in zip(network(x), network(y), strict=True)]
        distances.append(torch.stack([layer.square().sum(1).flatten(1).mean(1) for layer in layers]).mean(0).cpu())
    return torch.cat(distances)


def _directions(layer: Tensor) -> Tensor:
    """The channels at each position, divided by their length; zeros stay."""
    return normalize(layer.float(), dim=1, eps=1e-10)
