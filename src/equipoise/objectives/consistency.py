"""Consistency: the critic judges alike what should not matter, and the generator keeps apart what should."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import relu, softplus

from equipoise.objectives.penalties import Critic, gradients


def consistency(logits: Float[Tensor, "*n"], other: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """The critic gives an example and its changed version the same logit; one value per logit.

    (D(x) - D(T(x)))². With an augmentation T: CR on real examples, bCR on real and generated ones. With D(G(z)) and
    D(G(z + δ)) for a small normal δ: the critic's half of zCR, whose other half is latent_consistency.
    Default: weight 10 for CR, 10 and 10 for bCR, 5 to 20 for zCR; δ of standard deviation 0.03 to 0.05.
    Cost: one more pass of D for each kind of changed example, and for zCR one more of G.
    Source: Zhang et al. 2020 (CR); Zhao et al. 2021 (bCR, zCR).
    """
    return (logits - other).square()


def latent_consistency(images: Float[Tensor, "n *shape"], other: Float[Tensor, "n *shape"]) -> Float[Tensor, "n"]:
    """The generator's half of zCR: neighbouring latents give different examples, against collapse.

    -‖G(z) - G(z + δ)‖² / d per example, the mean over its d values, so that the weight does not depend on their number.
    Unbounded below unless the generator's output is bounded (tanh).
    Default: weight 0.5; δ normal, of standard deviation 0.03 to 0.05.
    Cost: one more pass of G.
    Source: Zhao et al. 2021.
    """
    return -(images - other).square().flatten(1).mean(1)


def lecam(
    real: Float[Tensor, "*n"],
    fake: Float[Tensor, "*n"],
    mean_real: Float[Tensor, ""],
    mean_fake: Float[Tensor, ""],
    scale: Float[Tensor, ""],
) -> Float[Tensor, "*n"]:
    """The critic's logits stay near the running means of the other kind, so that few data are not learned by heart.

    (max(0, r - mean_fake)² + max(0, mean_real - f)²) / scale², with running means of the logits (decay 0.99); scale²,
    positive, is the running mean of all squared logits. The term is quadratic in the logits, whose size depends on loss
    and architecture: undivided, the literature's weights run from 3e-7 (StyleGAN2) to 0.3 (BigGAN, hinge loss, logits
    near ±1). Divided, logits of any size need the same weight. No gradient flows into the means or the scale.
    Default: weight 0.3.
    Cost: none beyond three running means.
    Source: Tseng et al. 2021; the division is ours.
    """
    above = relu(real - mean_fake.detach()).square()
    below = relu(mean_real.detach() - fake).square()
    return (above + below) / scale.detach().square()


def adversarial_examples(critic: Critic, fake: Float[Tensor, "n *shape"], step: float) -> Float[Tensor, "n *shape"]:
    """Generated examples, moved a little so that the critic likes them better: what it must not be fooled by.

    G(z) + step · sign ∇D(G(z)), as a constant in float32 (fast gradient sign method), not clipped to the range of the
    data. To be rejected by a term of D: see rejection.
    Default: step 0.02 for data in [-1, 1].
    Cost: one forward and one backward pass of D.
    Source: Goodfellow et al. 2015 (the step); Zhou & Krähenbühl 2019 (robust critics).
    """
    ascent = torch.stack(gradients(critic, fake)).sum(0)
    return fake.detach().float() + step * ascent.view_as(fake).sign()


def rejection(logits: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """The critic rejects further examples as generated, whatever its adversarial loss: one value per logit.

    sp(D(x')) = -log(1 - σ(D(x'))), for adversarial_examples and the like.
    Default: weight 1.
    Cost: one pass of D on the further examples.
    Source: Goodfellow et al. 2014, Eq. 1 (its second term).
    """
    return softplus(logits)
