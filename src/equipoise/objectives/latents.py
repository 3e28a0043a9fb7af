"""Latents of encoders: how far they are from the prior, in nats; one value per example."""

from jaxtyping import Float
from torch import Tensor

from equipoise.objectives.matching import full


def divergence_from_prior(mean: Float[Tensor, "n z"], log_variance: Float[Tensor, "n z"]) -> Float[Tensor, "n"]:
    """An encoder's Gaussian stays near the prior: KL(N(μ, σ²) ‖ N(0, 1)).

    ½ Σ (μ² + σ² - 1 - log σ²), summed over latents.
    Default: weight 1.
    Cost: none beyond the encoder.
    Source: Kingma & Welling 2014, App. B.
    """
    if mean.shape != log_variance.shape:
        raise ValueError(
            f"Means of shape {list(mean.shape)} and log variances of shape {list(log_variance.shape)} were passed: "
            "expected one shape [N, Z]. Pass both halves of what an encoder answers."
        )
    mean, log_variance = full(mean), full(log_variance)
    return (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2


def feature_likelihood(real: Float[Tensor, "n *f"], fake: Float[Tensor, "n *f"]) -> Float[Tensor, "n"]:
    """A reconstruction is like its original to the critic: -log N(h(x); h(x̂), 1), but for a constant.

    ½ Σ (h(x) - h(x̂))², summed over the features of one layer h. Gradients flow into both sides.
    Default: weight 1 for the encoder, a small γ for the decoder, whose adversarial loss does not grow with the layer.
    Cost: none beyond the passes of the critic.
    Source: Larsen et al. 2016, Eq. 7 and 8.
    """
    if real.shape != fake.shape:
        raise ValueError(
            f"Features of shape {list(real.shape)} and {list(fake.shape)} were passed: expected one shape. Pass one "
            "layer of the critic, of originals and of their reconstructions."
        )
    return (full(real) - full(fake)).square().flatten(1).sum(1) / 2
