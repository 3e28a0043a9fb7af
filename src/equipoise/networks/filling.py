"""A first filling of holes from what is around them: means of ever coarser cells (pull-push)."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from equipoise.networks.anysize import Span, join, lower_neighbour


def pull_push(
    image: Float[Tensor, "n c h w"], known: Float[Tensor, "n 1 h w"], halvings: int
) -> Float[Tensor, "n c h w"]:
    """Images whose unknown pixels are filled smoothly; `known` is 1 where a pixel is known, the image 0 elsewhere.

    The known pixels of a cell of 2 × 2 have a mean, which is known where one of them is; those images of half the size
    are filled in the same way, enlarged, and put where pixels are unknown. After so many `halvings` what is still
    unknown is 0. Sides must be multiples of 2^halvings.
    Source: Gortler et al. 1996, The Lumigraph, Sec. 3.4 (pull and push, with weights 0 and 1).

    >>> pull_push(torch.tensor([[[[0.5, 0.0], [0.0, 0.0]]]]), torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]]), 1)[0, 0]
    tensor([[0.5000, 0.5000],
            [0.5000, 0.5000]])
    """
    if halvings == 0:
        return image
    share = avg_pool2d(known, 2)
    coarse = avg_pool2d(image, 2) / torch.where(share > 0, share, 1)
    filled = pull_push(coarse, (share > 0).to(known), halvings - 1)
    return image + (1 - known) * interpolate(filled, scale_factor=2, mode="bilinear", align_corners=False)


def before_filling(span: Span, halvings: int) -> Span:
    """The pixels along one axis that the filled pixels `span` depend on."""
    if halvings == 0:
        return span
    cells = before_filling(Span(lower_neighbour(span.first, 2), lower_neighbour(span.last, 2) + 1), halvings - 1)
    return join(span, Span(2 * cells.first, 2 * cells.last + 1))
