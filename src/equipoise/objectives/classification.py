"""Losses on class scores and on planes of classes, one value per example."""

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from equipoise.objectives.matching import full


def classification(scores: Float[Tensor, "n k"], labels: Int[Tensor, "n"]) -> Float[Tensor, "n"]:
    """Real and generated examples are recognised as members of their class by an auxiliary classifier (AC-GAN).

    -log softmax(scores)[label].
    Default: weight 1 for D and for G.
    Cost: a linear layer on the critic's features.
    Source: Odena et al. 2017, Eq. 3 (the term L_C).
    """
    return cross_entropy(scores.float(), labels, reduction="none")


def pixel_classes(
    real: Float[Tensor, "n k h w"], fake: Float[Tensor, "n k h w"], *, epsilon: float = 1e-6
) -> Float[Tensor, "n"]:
    """Each pixel of a label map has its class: the cross-entropy of planes in [-1, 1].

    mean over pixels of -Σₖ tₖ log((1 - ε) pₖ + ε) with shares of classes t = (x + 1)/2 and p = (y + 1)/2, which add up
    to 1 over the K planes, as 2 · softmax - 1 does. Of planes behind a tanh use l1; but where one class is common, L1
    may drive that to its ends everywhere, where no gradient is left.
    Default: weight 10 beside an adversarial loss, ε = 1e-6.
    Cost: none beyond the passes of G.
    Source: Long et al. 2015, Fully Convolutional Networks for Semantic Segmentation; Luc et al. 2016 beside a critic.
    """
    if real.shape != fake.shape:
        raise ValueError(
            f"Planes of shape {list(real.shape)} and {list(fake.shape)} were passed: expected one shape. Pass the "
            "target of each label map, with one plane for each class."
        )
    t, p = (full(real) + 1) / 2, (full(fake) + 1) / 2
    return -(t * ((1 - epsilon) * p + epsilon).log()).sum(1).flatten(1).mean(1)
