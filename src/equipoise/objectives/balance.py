"""Balancers: what each of several terms counts, learnt from their losses or from their gradients.

With ℓᵢ the mean of term i times its weight in the table, gᵢ its gradient and wᵢ what the balancer adds, a player
minimises Σ wᵢ·ℓᵢ. All begin at wᵢ = 1, and what a move teaches counts from the next one on.
"""

from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from equipoise.core.balance import Balancer, Measured, State

LIMIT = 1e4
"""No balancer makes a weight larger than so many times that of the table, or smaller than its inverse."""
TINY = 1e-12


@dataclass(frozen=True, kw_only=True)
class Uncertainty:
    """Terms weigh the inverse of their learnt scale: uncertain, large ones count less.

    With wᵢ = exp(-sᵢ) the loss Σ exp(-sᵢ)ℓᵢ + sᵢ is minimised over sᵢ too: sᵢ ← sᵢ - η·(1 - wᵢℓᵢ), where the bracket
    stays within [-1, 1], as steps of Adam do. It rests where wᵢ = 1/ℓᵢ. This is the likelihood of Laplacian errors of
    scale exp(sᵢ); for Gaussian ones both parts carry a factor ½, which changes nothing here. For terms above 0.
    Default: off; rate = 0.025 (η).
    Cost: nothing to speak of.
    Source: Kendall et al. 2018, Multi-Task Learning Using Uncertainty to Weigh Losses, Eq. 7.
    """

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    kind: Literal["uncertainty"] = "uncertainty"
    terms: tuple[str, ...] = ()
    rate: float = 0.025

    def __post_init__(self):
        check_rate(self.rate)

    @property
    def every(self) -> int:
        return 0

    @property
    def at(self) -> str | None:
        return None

    def begin(self, terms: tuple[str, ...]) -> State:
        return {"weights": torch.ones(len(terms))}

    def learn(self, state: State, seen: Measured) -> State:
        slope = (1 - state["weights"] * seen.losses).clamp(-1, 1)
        return {"weights": limited(state["weights"] * torch.exp(self.rate * slope))}


@dataclass(frozen=True, kw_only=True)
class GradNorm:
    """All terms train at a similar pace: those that lag behind get a larger gradient.

    With Gᵢ = wᵢ‖gᵢ‖, its mean Ḡ, and the pace rᵢ = (ℓᵢ/ℓᵢ(0)) / mean of all ℓⱼ/ℓⱼ(0), the wᵢ descend Σ |Gᵢ - Ḡ·rᵢᵅ|
    with the second part held fixed: wᵢ ← wᵢ·exp(-η·sign(Gᵢ - Ḡrᵢᵅ)·Gᵢ/Ḡ), then all are scaled to a sum of K. The step
    is taken in log wᵢ and relative to Ḡ, which frees it of the scale of the losses and keeps wᵢ positive; the paper
    leaves that to Adam. For terms above 0.
    Default: off; alpha = 1.5, rate = 0.025 (η), measured at every step on all that the player moves; the paper measures
    at the last layer that the tasks share, at = "G.out" in recipes of several tasks, which is far cheaper.
    Cost: one backward pass for each term, as far as `at`, every `every` steps.
    Source: Chen et al. 2018, GradNorm: Gradient Normalization for Adaptive Loss Balancing, Algorithm 1.
    """

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    kind: Literal["gradnorm"] = "gradnorm"
    terms: tuple[str, ...] = ()
    alpha: float = 1.5
    """How strongly a term that lags behind is pulled; at 0 all gradients get the same norm."""
    rate: float = 0.025
    at: str | None = None
    every: int = 1

    def __post_init__(self):
        check_rate(self.rate)
        check_every(self.every)
        if self.alpha < 0:
            raise ValueError(f"alpha is {self.alpha}: expected a number of at least 0, for example 1.5.")

    def begin(self, terms: tuple[str, ...]) -> State:
        return {"weights": torch.ones(len(terms)), "first": torch.zeros(len(terms))}

    def learn(self, state: State, seen: Measured) -> State:
        if seen.products is None:
            return state
        first = torch.where(state["first"] > 0, state["first"], seen.losses)  # ℓ(0)
        left = (seen.losses / first.clamp_min(TINY)).clamp_min(1e-3)
        pace = left / left.mean()
        norms = state["weights"] * norms_of(seen.products)
        mean = norms.mean()
        sign = torch.sign(norms - mean * pace**self.alpha)
        weights = limited(state["weights"] * torch.exp(-self.rate * sign * norms / mean.clamp_min(TINY)))
        return {"weights": weights * len(weights) / weights.sum(), "first": first}


@dataclass(frozen=True, kw_only=True)
class DynamicAverage:
    """Dynamic weight averaging: terms whose loss falls slower than that of the others count more.

    With the mean loss of a window of steps over that of the window before, rᵢ: wᵢ = K·exp(rᵢ/T) / Σ exp(rⱼ/T); all are
    1 for the first two windows. The paper's windows are epochs. Only losses are looked at.
    Default: off; window = 100 steps, temperature = 2 (T); the larger it is, the more equal the weights.
    Cost: nothing to speak of.
    Source: Liu et al. 2019, End-to-End Multi-Task Learning with Attention, Eq. 7.
    """

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    kind: Literal["dynamic-average"] = "dynamic-average"
    terms: tuple[str, ...] = ()
    window: int = 100
    temperature: float = 2.0

    def __post_init__(self):
        if self.window < 1:
            raise ValueError(f"window is {self.window}: expected a number of steps of at least 1, for example 100.")
        if self.temperature <= 0:
            raise ValueError(f"temperature is {self.temperature}: expected a number above 0, for example 2.")

    @property
    def every(self) -> int:
        return 0

    @property
    def at(self) -> str | None:
        return None

    def begin(self, terms: tuple[str, ...]) -> State:
        none = torch.zeros(len(terms))
        return {"weights": torch.ones(len(terms)), "sum": none, "past": none.clone(), "count": torch.zeros(1)}

    def learn(self, state: State, seen: Measured) -> State:
        total, count = state["sum"] + seen.losses, state["count"] + 1
        full = count >= self.window
        mean, past = total / count, state["past"]
        ratio = torch.where(past.abs() > TINY, mean / past, 1.0)
        weights = len(ratio) * torch.softmax(ratio / self.temperature, dim=0)
        return {
            "weights": torch.where(full, weights, state["weights"]),
            "sum": torch.where(full, 0.0, total),
            "past": torch.where(full, mean, past),
            "count": torch.where(full, 0.0, count),
        }


@dataclass(frozen=True, kw_only=True)
class GradientShares:
    """Each term gets a stated share of the gradient, whatever the scale of its loss.

    With running means nᵢ of ‖gᵢ‖ and shares pᵢ of sum 1, wᵢ = pᵢ·Σnⱼ / nᵢ: then wᵢnᵢ is in proportion to pᵢ, and the
    sum of the norms is what the table makes it. The table's weights cancel, so that a share is a share; without
    `shares` all are equal.
    Default: off; equal shares, decay = 0.99, measured at every step on all that the player moves.
    Cost: one backward pass for each term, as far as `at`, every `every` steps.
    Source: Défossez et al. 2022, High Fidelity Neural Audio Compression, Sec. 3.4 (there at the generator's output,
    with decay 0.999).
    """

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    kind: Literal["gradient-shares"] = "gradient-shares"
    terms: tuple[str, ...] = ()
    shares: dict[str, float] = field(default_factory=dict)
    """By term; relative to their sum."""
    decay: float = 0.99
    """How much of the running means stays, in [0, 1)."""
    at: str | None = None
    every: int = 1

    def __post_init__(self):
        check_decay(self.decay)
        check_every(self.every)
        if self.shares and not (min(self.shares.values()) >= 0 < sum(self.shares.values())):
            raise ValueError(f"shares are {self.shares}: expected numbers of at least 0, at least one of them above.")

    def begin(self, terms: tuple[str, ...]) -> State:
        if self.shares and set(self.shares) != set(terms):
            raise ValueError(
                f"shares are given of {', '.join(self.shares)}, and the balanced terms are {', '.join(terms)}: "
                "expected one for each. Give all, or none for equal shares."
            )
        return {"weights": torch.ones(len(terms)), "norms": torch.zeros(len(terms))}

    def learn(self, state: State, seen: Measured) -> State:
        if seen.products is None:
            return state
        norms = running(state["norms"], norms_of(seen.products), self.decay)
        shares = norms.new_tensor([self.shares.get(term, 1.0) for term in seen.terms])
        weights = shares / shares.sum() * norms.sum() / norms.clamp_min(TINY)
        return {"weights": weights.clamp(max=LIMIT), "norms": norms}


@dataclass(frozen=True, kw_only=True)
class AdaptiveAdversarial:
    """The adversarial term gets a gradient as large as that of all the others together.

    w = ratio·‖Σ gⱼ‖ / (‖g‖ + δ) for the adversarial term of gradient g, j over the other terms, whose weights stay; at
    most 10⁴, δ = 10⁻⁶. The table's weight of the adversarial term cancels; what it is to count is `ratio`. The paper
    measures at the generator's last layer in the very batch that is weighted; here the weight is that of the move
    before, or of a running mean, so that micro-batches agree.
    Default: off; term = "adversarial", ratio = 1 (0.8 in the authors' code), decay = 0 (no running mean).
    Cost: one backward pass for each term, as far as `at` (the last layer, in the paper), every `every` steps.
    Source: Esser et al. 2021, Taming Transformers for High-Resolution Image Synthesis (VQGAN), Eq. 7.
    """

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    kind: Literal["adaptive-adversarial"] = "adaptive-adversarial"
    terms: tuple[str, ...] = ()
    term: str = "adversarial"
    """Whose weight is found."""
    ratio: float = 1.0
    decay: float = 0.0
    at: str | None = None
    every: int = 1

    def __post_init__(self):
        check_decay(self.decay)
        check_every(self.every)
        if self.ratio < 0:
            raise ValueError(f"ratio is {self.ratio}: expected a number of at least 0, for example 1.")

    def begin(self, terms: tuple[str, ...]) -> State:
        if self.term not in terms:
            raise ValueError(
                f"term is {self.term!r}, which is none of the balanced terms {', '.join(terms)}. Name one of them."
            )
        return {"weights": torch.ones(len(terms)), "norms": torch.zeros(2)}

    def learn(self, state: State, seen: Measured) -> State:
        if seen.products is None:
            return state
        chosen = torch.tensor([term == self.term for term in seen.terms], device=seen.products.device)
        own, rest = (side.to(seen.products.dtype) for side in (chosen, ~chosen))
        squares = torch.stack([side @ seen.products @ side for side in (own, rest)])
        norms = running(state["norms"], squares.clamp_min(0).sqrt(), self.decay)
        weight = (self.ratio * norms[1] / (norms[0] + 1e-6)).clamp(max=LIMIT)
        return {"weights": torch.where(chosen, weight, 1.0), "norms": norms}


AnyBalancer = Uncertainty | GradNorm | DynamicAverage | GradientShares | AdaptiveAdversarial
BALANCERS: dict[str, type[Balancer]] = {
    "uncertainty": Uncertainty,
    "gradnorm": GradNorm,
    "dynamic-average": DynamicAverage,
    "gradient-shares": GradientShares,
    "adaptive-adversarial": AdaptiveAdversarial,
}


def norms_of(products: Float[Tensor, "k k"]) -> Float[Tensor, " k"]:
    """The norms of gradients whose inner products are given."""
    return products.diagonal().clamp_min(0).sqrt()


def running(mean: Tensor, value: Tensor, decay: float) -> Tensor:
    """The running mean after a value; the first value is taken whole."""
    return torch.where(mean > 0, torch.lerp(value, mean, decay), value)


def limited(weights: Tensor) -> Tensor:
    return weights.clamp(1 / LIMIT, LIMIT)


def check_rate(rate: float) -> None:
    """Raise ValueError for a rate at which weights do not move, or jump."""
    if not 0 < rate <= 1:
        raise ValueError(f"rate is {rate}: expected a number above 0 and up to 1, for example 0.025.")


def check_every(every: int) -> None:
    """Raise ValueError for what is no number of steps."""
    if every < 1:
        raise ValueError(f"every is {every}: expected a whole number of steps of at least 1.")


def check_decay(decay: float) -> None:
    """Raise ValueError for a mean that would keep everything, or less than nothing."""
    if not 0 <= decay < 1:
        raise ValueError(f"decay is {decay}: expected a number from 0 up to, but not, 1, for example 0.99.")
