"""Losses on class scores, one value per example."""

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy


def classification(scores: Float[Tensor, "n k"], labels: Int[Tensor, "n"]) -> Float[Tensor, "n"]:
    """Real and generated examples are recognised as members of their class by an auxiliary classifier (AC-GAN).

    -log softmax(scores)[label].
    Default: weight 1 for D and for G.
    Cost: a linear layer on the critic's features.
    Source: Odena et al. 2017, Eq. 3 (the term L_C).
    """
    return cross_entropy(scores.float(), labels, reduction="none")
