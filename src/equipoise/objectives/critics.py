"""Several critics of one generator: how their losses become one."""

from jaxtyping import Float
from torch import Tensor


def soft_maximum(losses: Float[Tensor, "n k"], sharpness: float) -> Float[Tensor, ""]:
    """The generator listens most to the critic that is hardest on it (GMAN).

    Σ_k w_k L_k with the batch means L_k of the losses [N, K] under K critics, and w = softmax(sharpness · L): 0 is the
    plain mean, large values tend to the maximum. The weights are constants for the gradient, which is thus a weighted
    mean of the critics' gradients; differentiated, they would count critics with L_k < Σ w L - 1/sharpness negatively.
    Default: sharpness 1.
    Cost: a pass of every critic.
    Source: Durugkar et al. 2017.
    """
    means = losses.mean(0)
    return ((sharpness * means.detach()).softmax(0) * means).sum()
