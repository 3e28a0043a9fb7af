"""Losses on class scores, one value per example."""

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy


def classification(scores: Float[Tensor, "n k"], labels: Int[Tensor, "n"]) -> Float[Tensor, "n"]:
    """-log softmax(scores)[label]: the auxiliary classifier's loss L_C (Odena et al. 2017, Eq. 3)."""
    return cross_entropy(scores.float(), labels, reduction="none")
