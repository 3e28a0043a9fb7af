"""Adversarial losses: what the critic and the generator minimise, as functions of logits; one value per logit.

Notation: r = D(x) and f = D(G(z)) are unbounded logits, sp(t) = log(1 + eᵗ), σ the logistic function.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import relu, softplus

LOG_2 = math.log(2)


class Adversarial(NamedTuple):
    """A pair of losses. Both take (real logits, fake logits) of one shape [N, ...] and return that shape.

    `compares` says that the generator's loss reads the real logits too, so that the game must compute them. `about` is
    the pair's documentation: what it is, formula, default, cost and source.
    """

    d: Callable[[Tensor, Tensor], Tensor]
    g: Callable[[Tensor, Tensor], Tensor]
    compares: bool = False
    about: str = ""


def logistic_d(real: Float[Tensor, "*n"], fake: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """sp(-r) + sp(f): the critic maximises log σ(D(x)) + log(1 - σ(D(G(z)))) (Goodfellow et al. 2014, Eq. 1)."""
    return softplus(-real) + softplus(fake)


def minimax_g(real: Float[Tensor, "*n"], fake: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """-sp(f) = log(1 - σ(D(G(z)))) (Goodfellow et al. 2014, Eq. 1). Its gradient vanishes where the critic wins."""
    return -softplus(fake)


def non_saturating_g(real: Float[Tensor, "*n"], fake: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """sp(-f) = -log σ(D(G(z))) (Goodfellow et al. 2014, Sec. 3)."""
    return softplus(-fake)


def least_squares_d(real: Float[Tensor, "*n"], fake: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """((r - 1)² + f²) / 2 (Mao et al. 2017, Eq. 9: a = 0, b = c = 1)."""
    return ((real - 1).square() + fake.square()) / 2


def least_squares_g(real: Float[Tensor, "*n"], fake: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """(f - 1)² / 2 (Mao et al. 2017, Eq. 9)."""
    return (fake - 1).square() / 2


def hinge_d(real: Float[Tensor, "*n"], fake: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """max(0, 1 - r) + max(0, 1 + f) (Lim & Ye 2017; Miyato et al. 2018, Eq. 16)."""
    return relu(1 - real) + relu(1 + fake)


def wasserstein_d(real: Float[Tensor, "*n"], fake: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """f - r (Arjovsky et al. 2017, Alg. 1). Needs a critic of bounded slope: clipping, a gradient penalty, …"""
    return fake - real


def raise_fake(real: Float[Tensor, "*n"], fake: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """-f: the generator's side of the hinge and Wasserstein losses (Miyato et al. 2018, Eq. 17)."""
    return -fake


def relativistic_pairing_d(real: Float[Tensor, "*n"], fake: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """sp(-(r - f)): each real is compared with one fake (Jolicoeur-Martineau 2018; Huang et al. 2024, Eq. 2)."""
    return softplus(fake - real)


def relativistic_pairing_g(real: Float[Tensor, "*n"], fake: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """sp(-(f - r)), the critic's loss with the roles exchanged (Huang et al. 2024, Eq. 2)."""
    return softplus(real - fake)


def relativistic_average_d(real: Float[Tensor, "n *rest"], fake: Float[Tensor, "n *rest"]) -> Float[Tensor, "n *rest"]:
    """sp(-(r - mean f)) + sp(f - mean r), with means over the batch (Jolicoeur-Martineau 2018)."""
    return softplus(fake.mean(0) - real) + softplus(fake - real.mean(0))


def relativistic_average_g(real: Float[Tensor, "n *rest"], fake: Float[Tensor, "n *rest"]) -> Float[Tensor, "n *rest"]:
    """sp(-(f - mean r)) + sp(r - mean f), the critic's loss with the roles exchanged (Jolicoeur-Martineau 2018)."""
    return softplus(real.mean(0) - fake) + softplus(real - fake.mean(0))


# f-GAN. With an output activation g and the conjugate f* of a divergence, D minimises -g(r) + f*(g(f)) and G -g(f). The
# two are written as simplified together, so that no logarithm of an exponential, no 0/0 and no cancellation is left.


def f_kl_d(real: Float[Tensor, "*n"], fake: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """-r + exp(f - 1): g(v) = v, f*(t) = exp(t - 1)."""
    return (fake - 1).exp() - real


def f_reverse_kl_d(real: Float[Tensor, "*n"], fake: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """exp(-r) + f - 1: g(v) = -exp(-v), f*(t) = -1 - log(-t)."""
    return (-real).exp() + fake - 1


def f_reverse_kl_g(real: Float[Tensor, "*n"], fake: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """exp(-f): g(v) = -exp(-v)."""
    return (-fake).exp()


def f_pearson_d(real: Float[Tensor, "*n"], fake: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """-r + f²/4 + f: g(v) = v, f*(t) = t²/4 + t."""
    return fake.square() / 4 + fake - real


def f_jensen_shannon_d(real: Float[Tensor, "*n"], fake: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """sp(-r) + sp(f) - 2 log 2: g(v) = log 2 - sp(-v), f*(t) = -log(2 - exp t)."""
    return logistic_d(real, fake) - 2 * LOG_2


def f_jensen_shannon_g(real: Float[Tensor, "*n"], fake: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """sp(-f) - log 2: g(v) = log 2 - sp(-v)."""
    return softplus(-fake) - LOG_2


def f_squared_hellinger_d(real: Float[Tensor, "*n"], fake: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """exp(-r) - 1 + exp(f) - 1: g(v) = 1 - exp(-v), f*(t) = t / (1 - t)."""
    return (-real).expm1() + fake.expm1()


def f_squared_hellinger_g(real: Float[Tensor, "*n"], fake: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """exp(-f) - 1: g(v) = 1 - exp(-v)."""
    return (-fake).expm1()


def f_total_variation_d(real: Float[Tensor, "*n"], fake: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """(tanh f - tanh r) / 2: g(v) = tanh(v)/2, f*(t) = t on [-1/2, 1/2]."""
    return (fake.tanh() - real.tanh()) / 2


def f_total_variation_g(real: Float[Tensor, "*n"], fake: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """-tanh(f)/2: g(v) = tanh(v)/2."""
    return -fake.tanh() / 2


minimax = Adversarial(
    logistic_d,
    minimax_g,
    about="""The original game: the critic classifies real against generated, the generator maximises the critic's loss.

D minimises sp(-r) + sp(f), G minimises -sp(f) = log(1 - σ(f)). G's gradient vanishes where the critic wins.
Default: not recommended for G; use non-saturating.
Cost: none beyond the passes of the networks.
Source: Goodfellow et al. 2014, Eq. 1.""",
)
non_saturating = Adversarial(
    logistic_d,
    non_saturating_g,
    about="""The usual logistic loss: the critic of minimax, and a generator that learns fastest where the critic wins.

D minimises sp(-r) + sp(f), G minimises sp(-f) = -log σ(f).
Default: together with r1 (and r2).
Cost: none beyond the passes of the networks.
Source: Goodfellow et al. 2014, Sec. 3.""",
)
least_squares = Adversarial(
    least_squares_d,
    least_squares_g,
    about="""Regression of the logits on 1 for real and 0 for generated examples, so that logits stay bounded.

D minimises ((r - 1)² + f²) / 2, G minimises (f - 1)² / 2.
Default: targets 0 and 1; label smoothing changes the critic's.
Cost: none beyond the passes of the networks.
Source: Mao et al. 2017, Eq. 9.""",
)
hinge = Adversarial(
    hinge_d,
    raise_fake,
    about="""Margins for the critic: examples that are told apart by more than 1 no longer count.

D minimises max(0, 1 - r) + max(0, 1 + f), G minimises -f.
Default: together with spectral normalisation of the critic.
Cost: none beyond the passes of the networks.
Source: Lim & Ye 2017; Miyato et al. 2018, Eq. 16 and 17.""",
)
wasserstein = Adversarial(
    wasserstein_d,
    raise_fake,
    about="""The earth mover's distance in its dual form; needs a critic of bounded slope.

D minimises f - r, G minimises -f; unbounded below without clipping of the weights, a gradient penalty or the like.
Default: 5 critic steps for each of G, together with gradient_penalty.
Cost: none beyond the passes of the networks, times the critic steps.
Source: Arjovsky et al. 2017, Alg. 1.""",
)
relativistic_pairing = Adversarial(
    relativistic_pairing_d,
    relativistic_pairing_g,
    compares=True,
    about="""Each generated example is compared with one real one, so that every mode of the data counts.

D minimises sp(-(r - f)), G minimises sp(-(f - r)).
Default: together with r1 and r2 of equal weight.
Cost: one more pass of D on real examples in each of G's moves.
Source: Jolicoeur-Martineau 2018; Huang et al. 2024, Eq. 2.""",
)
relativistic_average = Adversarial(
    relativistic_average_d,
    relativistic_average_g,
    compares=True,
    about="""Each example is compared with the average example of the other kind.

D minimises sp(-(r - mean f)) + sp(f - mean r), G the same with r and f exchanged. The means run over the batch alone
(each patch, each critic has its own); with gradient accumulation they are those of a micro-batch.
Default: together with spectral normalisation or a gradient penalty.
Cost: one more pass of D on real examples in each of G's moves.
Source: Jolicoeur-Martineau 2018.""",
)
f_kl = Adversarial(
    f_kl_d,
    raise_fake,
    about="""f-GAN with the Kullback-Leibler divergence KL(P‖Q) from generated Q to data P: punishes missing modes.

D minimises -r + exp(f - 1), which is -KL at its optimum r = 1 + log(p/q); G minimises -f. An undecided critic answers 1
here, not 0. Computed without clamping: float32 overflows above f = 89.
Default: none of its own; a study of divergences, without a known gain over non-saturating.
Cost: none beyond the passes of the networks.
Source: Nowozin et al. 2016, Sec. 3.2 for G's side.""",
)
f_reverse_kl = Adversarial(
    f_reverse_kl_d,
    f_reverse_kl_g,
    about="""f-GAN with the reverse Kullback-Leibler divergence KL(Q‖P): punishes samples where there are no data.

D minimises exp(-r) + f - 1, which is -KL(Q‖P) at its optimum r = log(p/q); G minimises exp(-f). Computed without
clamping: float32 overflows where r, or f in G's side, lies below -88.
Default: none of its own; a study of divergences, without a known gain over non-saturating.
Cost: none beyond the passes of the networks.
Source: Nowozin et al. 2016, Sec. 3.2 for G's side.""",
)
f_pearson = Adversarial(
    f_pearson_d,
    raise_fake,
    about="""f-GAN with the Pearson χ² divergence ∑ (p - q)²/q: a least-squares loss with a linear real side.

D minimises -r + f²/4 + f, which is -χ² at its optimum r = 2(p/q - 1); G minimises -f. Defined for all logits.
Default: none of its own; a study of divergences, without a known gain over least_squares.
Cost: none beyond the passes of the networks.
Source: Nowozin et al. 2016, Sec. 3.2 for G's side.""",
)
f_jensen_shannon = Adversarial(
    f_jensen_shannon_d,
    f_jensen_shannon_g,
    about="""f-GAN with the Jensen-Shannon divergence: non-saturating, shifted so that its value is a divergence.

D minimises sp(-r) + sp(f) - 2 log 2, which is -(KL(P‖M) + KL(Q‖M)) with M = (P + Q)/2 at its optimum r = log(p/q):
twice the usual definition. G minimises sp(-f) - log 2. The gradients are those of non-saturating; defined everywhere.
Default: none of its own.
Cost: none beyond the passes of the networks.
Source: Nowozin et al. 2016, Sec. 3.2 for G's side.""",
)
f_squared_hellinger = Adversarial(
    f_squared_hellinger_d,
    f_squared_hellinger_g,
    about="""f-GAN with the squared Hellinger distance ∑ (√p - √q)², symmetric and bounded.

D minimises exp(-r) - 1 + exp(f) - 1, which is -H² at its optimum r = log(p/q)/2; G minimises exp(-f) - 1. Computed
without clamping: float32 overflows where -r or f (or -f in G's side) lies above 88.
Default: none of its own; a study of divergences, without a known gain over non-saturating.
Cost: none beyond the passes of the networks.
Source: Nowozin et al. 2016, Sec. 3.2 for G's side.""",
)
f_total_variation = Adversarial(
    f_total_variation_d,
    f_total_variation_g,
    about="""f-GAN with the total variation distance ∑ |p - q|/2: a Wasserstein loss on squashed logits.

D minimises (tanh f - tanh r) / 2, which tends to -TV as r → ±∞ with the sign of p - q; G minimises -tanh(f)/2. Defined
for all logits, but gradients vanish on both sides where logits are large.
Default: none of its own; a study of divergences, without a known gain over non-saturating.
Cost: none beyond the passes of the networks.
Source: Nowozin et al. 2016, Sec. 3.2 for G's side.""",
)


def with_targets(
    loss: Adversarial, *, real: float = 0.9, fake: float = 0.0, spread: float = 0.0, flips: float = 0.0
) -> Adversarial:
    """Smoothed, soft or noisy labels for the critic, which then never becomes sure of itself; G's loss stays as it is.

    The critic's side becomes ℓ(r, t_r) + ℓ(f, t_f), with ℓ(v, t) = t·sp(-v) + (1 - t)·sp(v) for the logistic losses and
    (v - t)²/2 for least squares. Each example draws its own targets: t_r = `real` and t_f = `fake`, exchanged with
    probability `flips`, then moved uniformly within ±`spread`, then clipped to [0, 1]. Patches and several critics of
    an example share its targets. Raises ValueError for losses that have no targets.

    >>> with_targets(least_squares, real=0.9).d(torch.tensor([1.9]), torch.tensor([0.0]))
    tensor([0.5000])

    Default: real 0.9, fake 0 (one-sided); for soft labels spread 0.1, for noisy labels flips 0.05.
    Cost: none.
    Source: Salimans et al. 2016, Sec. 3.4 (one-sided smoothing); soft and noisy labels are common practice.
    """
    if loss.d is logistic_d:
        towards = cross_entropy_with
    elif loss.d is least_squares_d:
        towards = squared_error_from
    else:
        name = getattr(loss.d, "__name__", repr(loss.d)).removesuffix("_d").replace("_", "-")
        raise ValueError(
            f"The critic's loss {name} has no targets to change: expected minimax, non-saturating or least-squares. "
            "Choose one of these, or leave the targets out."
        )
    if not (0 <= fake < real <= 1 and 0 <= spread <= 1 and 0 <= flips < 0.5):
        raise ValueError(
            f"with_targets(real={real}, fake={fake}, spread={spread}, flips={flips}): expected 0 <= fake < real <= 1, "
            "0 <= spread <= 1 and 0 <= flips < 0.5 (at one half the labels say nothing)."
        )

    def targets(logits: Tensor, value: float, other: float) -> Tensor:
        shape = (len(logits), *[1] * (logits.ndim - 1))
        drawn = torch.full(shape, value, device=logits.device)
        if flips:
            drawn = drawn.masked_fill(torch.rand(shape, device=logits.device) < flips, other)
        if spread:
            drawn = (drawn + spread * (2 * torch.rand(shape, device=logits.device) - 1)).clamp(0, 1)
        return drawn

    def d(r: Tensor, f: Tensor) -> Tensor:
        return towards(r, targets(r, real, fake)) + towards(f, targets(f, fake, real))

    about = (
        f"{loss.about}\n\nThe critic's targets: {real} for real, {fake} for generated; ±{spread}, {flips} exchanged."
    )
    return loss._replace(d=d, about=about)


def cross_entropy_with(logits: Float[Tensor, "*n"], targets: Float[Tensor, "*#n"]) -> Float[Tensor, "*n"]:
    """t·sp(-v) + (1 - t)·sp(v), the binary cross entropy of logits v with probabilities t."""
    return targets * softplus(-logits) + (1 - targets) * softplus(logits)


def squared_error_from(logits: Float[Tensor, "*n"], targets: Float[Tensor, "*#n"]) -> Float[Tensor, "*n"]:
    """(v - t)² / 2."""
    return (logits - targets).square() / 2
