"""Small heads that take places of feature maps into a space in which they are compared."""

from collections.abc import Sequence

from torch import Tensor, nn

from equipoise.networks.anysize import check_counts
from equipoise.networks.initialisation import initialise


class Projections(nn.Module):
    """Places of several layers, each [N, S, C_l], to vectors [N, S, width]: one perceptron of two layers for each.

    Default: width 256.
    Cost: C_l · width + width² products for each place.
    Source: Park et al. 2020, Contrastive Learning for Unpaired Image-to-Image Translation (CUT), Sec. 3; Chen et al.
    2020 (SimCLR) for heads that are thrown away afterwards.

    >>> import torch
    >>> [x.shape for x in Projections((3, 8), width=4)([torch.zeros(2, 5, 3), torch.zeros(2, 6, 8)])]
    [torch.Size([2, 5, 4]), torch.Size([2, 6, 4])]
    """

    def __init__(self, channels: Sequence[int], *, width: int = 256):
        super().__init__()
        check_counts("Projections", num_layers=len(channels), width=width)
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(c, width), nn.ReLU(), nn.Linear(width, width)) for c in channels
        )
        initialise(self, "kaiming")

    def forward(self, layers: Sequence[Tensor]) -> list[Tensor]:
        return [head(places) for head, places in zip(self.heads, layers, strict=True)]
