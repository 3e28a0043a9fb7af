"""A first filling of holes from what is around them: a membrane over ever coarser cells."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

from equipoise.networks.anysize import Span, join, lower_neighbour

SWEEPS = 4
"""Smoothing steps at each size."""


def filled(image: Float[Tensor, "n c h w"], known: Float[Tensor, "n 1 h w"], halvings: int) -> Float[Tensor, "n c h w"]:
    """Images whose unknown pixels are filled smoothly; `known` is 1 where a pixel is known, the image 0 elsewhere.

    The known pixels of a cell of 2 × 2 have a mean, which is known where one of them is. Those images of half the size
    are filled in the same way and enlarged; then each unknown pixel becomes the mean of its four neighbours, a few
    times over. With many such sweeps it would be the membrane of Laplace's equation; four come near to it at every
    size. After so many `halvings` what is still unknown is 0. Raises ValueError for sides that are no multiples of
    2^halvings.
    Source: Gortler et al. 1996, The Lumigraph, Sec. 3.4 (pull and push, with weights 0 and 1), with Jacobi's method.

    >>> filled(torch.tensor([[[[0.5, 0.0], [0.0, 0.0]]]]), torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]]), 1)[0, 0]
    tensor([[0.5000, 0.5000],
            [0.5000, 0.5000]])
    """
    if halvings == 0:
        return image
    if image.shape[-2] % 2**halvings or image.shape[-1] % 2**halvings:
        raise ValueError(
            f"filled(halvings={halvings}) got images of {image.shape[-2]}×{image.shape[-1]} pixels: expected multiples "
            f"of {2**halvings}. Pad them, or pass fewer halvings."
        )
    share = avg_pool2d(known, 2)
    coarse = avg_pool2d(image, 2) / torch.where(share > 0, share, 1)
    inner = filled(coarse, (share > 0).to(known), halvings - 1)
    y = image + (1 - known) * interpolate(inner, scale_factor=2, mode="bilinear", align_corners=False)
    for _ in range(SWEEPS):
        y = image + (1 - known) * mean_of_neighbours(y)
    return y


def mean_of_neighbours(y: Tensor) -> Tensor:
    """Of the pixels above, below and beside each pixel; those at the border have themselves as neighbours too."""
    around = pad(y, (1, 1, 1, 1), mode="replicate")
    upright = around[..., :-2, 1:-1] + around[..., 2:, 1:-1]
    return (upright + around[..., 1:-1, :-2] + around[..., 1:-1, 2:]) / 4


def before_filling(span: Span, halvings: int) -> Span:
    """The pixels along one axis that the filled pixels `span` depend on."""
    if halvings == 0:
        return span
    first, last = span.first - SWEEPS, span.last + SWEEPS
    cells = before_filling(Span(lower_neighbour(first, 2), lower_neighbour(last, 2) + 1), halvings - 1)
    return join(Span(first, last), Span(2 * cells.first, 2 * cells.last + 1))
