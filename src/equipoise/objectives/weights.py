"""Terms of the weights themselves, without any data. Scalars."""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor


def orthogonality(weight: Float[Tensor, "out *rest"]) -> Float[Tensor, ""]:
    """The filters of a layer stay orthogonal, while their lengths stay free (BigGAN's modified regulariser).

    ‖W Wᵀ ⊙ (1 - I)‖²_F with W the weight flattened to [out, in·k·k]: the squares of the inner products of different
    filters. Filters are rows here; where they are columns, as in the paper, this reads WᵀW. A weight of a transposed
    convolution has its input first: exchange its first two axes.
    Default: weight 1e-4, on the generator, without embeddings.
    Cost: a product [out, in·k·k] · [in·k·k, out] per layer and step.
    Source: Brock et al. 2019.
    """
    if weight.ndim < 2:
        raise ValueError(
            f"orthogonality got a weight of shape {list(weight.shape)}: expected [out, in, ...], a matrix or the "
            "kernel of a convolution. Leave out biases and gains."
        )
    with torch.autocast(weight.device.type, enabled=False):
        rows = weight.flatten(1)
        products = rows @ rows.T
        return (products - products.diag().diag()).square().sum()


def absolute(parameters: Iterable[Tensor]) -> Float[Tensor, ""]:
    """Small weights, many of them zero (L1).

    Σ |θ| over all elements of all parameters.
    Default: weight 1e-5, on the critic.
    Cost: none to speak of.
    Source: Tibshirani 1996.
    """
    return torch.stack([parameter.abs().sum() for parameter in parameters]).sum()


def squared(parameters: Iterable[Tensor]) -> Float[Tensor, ""]:
    """Small weights (L2): as a loss term, so that the optimiser's moments see it, unlike decoupled weight decay.

    Σ θ² over all elements of all parameters, without the factor ½.
    Default: weight 1e-5 to 1e-4, on the critic.
    Cost: none to speak of.
    Source: Krogh & Hertz 1991.
    """
    return torch.stack([parameter.square().sum() for parameter in parameters]).sum()


def historical(parameters: Iterable[Tensor], means: Iterable[Tensor]) -> Float[Tensor, ""]:
    """A player stays near the average of its own past, which damps orbits around an equilibrium.

    ‖θ - mean θ‖² over all elements, with running means that the game keeps. No gradient flows into the means.
    Default: weight 1, on both players; to be tuned.
    Cost: one more copy of the parameters.
    Source: Salimans et al. 2016, Sec. 3.3.
    """
    pairs = zip(parameters, means, strict=True)
    return torch.stack([(parameter - mean.detach()).square().sum() for parameter, mean in pairs]).sum()
