"""Adversarial losses: what the critic and the generator minimise, as functions of logits; one value per logit.

Notation: r = D(x) and f = D(G(z)) are unbounded logits, sp(t) = log(1 + eᵗ), σ the logistic function.
"""

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import relu, softplus


class Adversarial(NamedTuple):
    """A pair of losses. Both take (real logits, fake logits) of one shape [N, ...] and return that shape.

    `compares` says that the generator's loss reads the real logits too, so that the game must compute them.
    """

    d: Callable[[Tensor, Tensor], Tensor]
    g: Callable[[Tensor, Tensor], Tensor]
    compares: bool = False


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


minimax = Adversarial(logistic_d, minimax_g)
non_saturating = Adversarial(logistic_d, non_saturating_g)
least_squares = Adversarial(least_squares_d, least_squares_g)
hinge = Adversarial(hinge_d, raise_fake)
wasserstein = Adversarial(wasserstein_d, raise_fake)
relativistic_pairing = Adversarial(relativistic_pairing_d, relativistic_pairing_g, compares=True)
