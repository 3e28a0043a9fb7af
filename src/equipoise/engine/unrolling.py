"""A player's parameters after some optimiser steps, as a differentiable function (Metz et al. 2017)."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from equipoise.core.errors import RecipeError
from equipoise.engine.optimizers import EPSILON, SMOOTHING, Optimizer

Moments = Mapping[str, Tensor]
"""What torch's optimiser keeps of a parameter, by torch's names; empty before its first update."""


def unrolled(
    loss: Callable[[Mapping[str, Tensor]], Tensor],
    parameters: Mapping[str, Tensor],
    moments: Sequence[Moments],
    *,
    settings: Optimizer,
    rate: float,
    steps: int,
) -> dict[str, Tensor]:
    """The parameters after `steps` updates on `loss`, with the graph that leads there; nothing is changed.

    `moments` belong to the parameters one by one. A parameter that the loss does not reach stays.
    """
    if settings.rule not in UPDATES:
        raise RecipeError(
            f"The rule {settings.rule!r} cannot be unrolled: expected one of {', '.join(sorted(UPDATES))} for the "
            "player of whom a preview is asked."
        )
    if steps < 1:
        raise ValueError(f"preview(steps={steps}): expected a whole number of at least 1, for example 5.")
    update = UPDATES[settings.rule]
    # Copies, so that a later update in place does not break the graph.
    now = {name: p.detach().clone().requires_grad_() for name, p in parameters.items()}
    kept = [{key: value for key, value in past.items() if torch.is_tensor(value)} for past in moments]
    counted = [past["step"] for past in kept if "step" in past]
    # One read from the device for all; after a restart, not all of them need be in the same place.
    counts = iter(torch.stack([time.to(counted[0].device) for time in counted]).tolist() if counted else ())
    times = [int(next(counts)) if "step" in past else 0 for past in kept]
    with torch.enable_grad():
        for _ in range(steps):
            value = loss(now)
            value = value.to(torch.promote_types(value.dtype, torch.float32)).mean()
            gradients = torch.autograd.grad(value, list(now.values()), create_graph=True, allow_unused=True)
            if all(gradient is None for gradient in gradients):
                raise ValueError(
                    "The loss of a preview reads none of the parameters that it is given: evaluate the player with "
                    "them, by torch.func.functional_call."
                )
            for index, (name, gradient) in enumerate(zip(list(now), gradients)):
                if gradient is not None:
                    times[index] += 1
                    now[name], kept[index] = update(now[name], gradient, kept[index], times[index], settings, rate)
    return now


def adam(
    p: Tensor, g: Tensor, past: Moments, time: int, settings: Optimizer, rate: float
) -> tuple[Tensor, dict[str, Tensor]]:
    beta1, beta2 = settings.betas
    g = decayed(p, g, settings)
    m = (1 - beta1) * g + (beta1 * past["exp_avg"] if past else 0)
    v = (1 - beta2) * g.square() + (beta2 * past["exp_avg_sq"] if past else 0)
    p = p - rate / (1 - beta1**time) * m / (root(v) / math.sqrt(1 - beta2**time) + EPSILON)
    return p, {"exp_avg": m, "exp_avg_sq": v}


def adamw(
    p: Tensor, g: Tensor, past: Moments, time: int, settings: Optimizer, rate: float
) -> tuple[Tensor, dict[str, Tensor]]:
    p = (1 - rate * settings.weight_decay) * p
    return adam(p, g, past, time, replace(settings, weight_decay=0.0), rate)


def rmsprop(
    p: Tensor, g: Tensor, past: Moments, time: int, settings: Optimizer, rate: float
) -> tuple[Tensor, dict[str, Tensor]]:
    g = decayed(p, g, settings)
    v = (1 - SMOOTHING) * g.square() + (SMOOTHING * past["square_avg"] if past else 0)
    b = g / (root(v) + EPSILON)
    if settings.momentum > 0 and past:
        b = settings.momentum * past["momentum_buffer"] + b
    return p - rate * b, {"square_avg": v, "momentum_buffer": b}


def sgd(
    p: Tensor, g: Tensor, past: Moments, time: int, settings: Optimizer, rate: float
) -> tuple[Tensor, dict[str, Tensor]]:
    b = decayed(p, g, settings)
    if settings.momentum > 0 and past:
        b = settings.momentum * past["momentum_buffer"] + b
    return p - rate * b, {"momentum_buffer": b}


def decayed(p: Tensor, g: Tensor, settings: Optimizer) -> Tensor:
    return g + settings.weight_decay * p if settings.weight_decay > 0 else g


def root(v: Tensor) -> Tensor:
    """√v whose gradient at 0 is 0 instead of infinite: there the gradient was 0, and ∞ · 0 is no number."""
    positive = v > 0
    return torch.where(positive, torch.where(positive, v, 1.0).sqrt(), 0.0)


Update = Callable[[Tensor, Tensor, Moments, int, Optimizer, float], tuple[Tensor, dict[str, Tensor]]]

UPDATES: dict[str, Update] = {"adam": adam, "adamw": adamw, "rmsprop": rmsprop, "sgd": sgd}
"""torch's updates of one parameter: the new one and its moments, from the gradient, the moments and the time t ≥ 1."""
