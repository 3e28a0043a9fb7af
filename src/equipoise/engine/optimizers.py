"""A player's optimiser: which rule, which learning rate over time, what is done to its gradient first."""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from equipoise.core.schedule import Scheduled, ends, scaled, value_at

Rule = Literal["adam", "adamw", "rmsprop", "sgd", "optimistic-adam", "optimistic-sgd", "extra-adam", "extra-sgd"]

EPSILON = 1e-8
"""What Adam and RMSprop add to the root of the second moment."""
SMOOTHING = 0.99
"""How much of the second moment RMSprop keeps at each update."""

RULES: dict[str, str] = {
    "adam": """Steps of even size in every coordinate: the mean gradient over the root of the mean squared gradient.

With m ← β₁m + (1−β₁)g and v ← β₂v + (1−β₂)g², both divided by 1−βᵗ (m̂, v̂): θ ← θ − η·m̂/(√v̂ + ε), ε = 1e-8. Weight
decay, if any, is added to the gradient. A first moment (β₁ > 0) makes players overshoot in turn: GANs take 0 to 0.5.

Default: learning_rate = 2e-4, betas = (0, 0.99) as in StyleGAN2; DCGAN takes (0.5, 0.999), WGAN-GP (0.5, 0.9).
Cost: two numbers of memory per parameter.
Source: Kingma & Ba 2015, Algorithm 1.""",
    "adamw": """Adam whose weight decay acts on the weights directly, not through the gradient.

θ ← (1 − η·λ)·θ, then Adam's update. The decay is the same for every coordinate, however large its gradients are.

Default: weight_decay λ = 0, which is Adam; the rest as for adam.
Cost: as adam.
Source: Loshchilov & Hutter 2019, Algorithm 2.""",
    "rmsprop": """The gradient over the root of its mean square: Adam without first moment and bias correction.

v ← 0.99·v + 0.01·g²; θ ← θ − η·g/(√v + ε), ε = 1e-8; with momentum μ: b ← μ·b + g/(√v + ε), θ ← θ − η·b.

Default: off; WGAN with clipped weights trains both players with learning_rate = 5e-5.
Cost: one number of memory per parameter, two with momentum.
Source: Tieleman & Hinton 2012; for GANs Arjovsky et al. 2017, Algorithm 1.""",
    "sgd": """Plain gradient descent, with momentum if asked for.

b ← μ·b + g; θ ← θ − η·b. Two players that descend simultaneously on a bilinear game move away from its equilibrium.

Default: off; momentum = 0.
Cost: none, or one number of memory per parameter with momentum.
Source: Robbins & Monro 1951; Polyak 1964 (momentum).""",
    "optimistic-adam": """Adam that takes back half of its last step: it replies to the gradient that it expects next.

With Adam's direction d = m̂/(√v̂ + ε), and d₀ = 0: θ ← θ − 2η·dₜ + η·dₜ₋₁. The last direction stands in for the answer
of the other player, which damps the rotation of the two around an equilibrium; no second gradient is needed.

Default: off; where adam is stable, start from its learning_rate and betas.
Cost: one number of memory per parameter more than adam; no more gradients.
Source: Daskalakis et al. 2018, Training GANs with Optimism, Algorithm 1.""",
    "optimistic-sgd": """Gradient descent that takes back half of its last step (optimistic mirror descent).

θ ← θ − 2η·gₜ + η·gₜ₋₁, g₀ = 0. On a bilinear game the players converge where gradient descent moves away.

Default: off.
Cost: one number of memory per parameter.
Source: Daskalakis et al. 2018, Training GANs with Optimism; Popov 1980.""",
    "extra-adam": """Adam that looks ahead: its gradient is that of the point where an ordinary step would have led.

Every step is played twice. The first time, an Adam step from θ leads to θ'; the second time, with fresh data and noise,
the gradient is taken at θ' and Adam's step is made from θ. Both gradients enter the moments. Players with other rules
stay where they are the first time. Of several moves of one player in a step, the first one of the second time starts
from θ, and the others from where it then stands.

Default: off; learning_rate = 5e-4 for both players in the authors' experiments on CIFAR-10.
Cost: twice the forward and backward passes of a step, twice the data; one copy of the parameters.
Source: Gidel et al. 2019, A Variational Inequality Perspective on GANs, Algorithm 4.""",
    "extra-sgd": """Extragradient: gradient descent with the gradient of the point where a plain step would have led.

θ' = θ − η·g(θ), then θ ← θ − η·g(θ'), where the second gradient has fresh data and noise. On a bilinear game the
players converge where gradient descent moves away. With momentum, both gradients enter it. Steps are played twice, as
for extra-adam.

Default: off.
Cost: twice the forward and backward passes of a step, twice the data; one copy of the parameters.
Source: Korpelevich 1976; for GANs Gidel et al. 2019, A Variational Inequality Perspective on GANs.""",
}
"""What each rule does: the documentation of `Optimizer.rule`."""

SETTINGS: dict[str, str] = {
    "learning_rate": """A rate of its own for every player, constant or following a schedule (the two time-scale rule).

With a faster critic, ηD > ηG, the generator always meets a critic that is close to its best answer, without several
critic steps for each of the generator's.

Default: 2e-4 for every player; 4e-4 for the critic and 1e-4 for the generator where the two differ.
Cost: none.
Source: Heusel et al. 2017, GANs Trained by a Two Time-Scale Update Rule; rates of Zhang et al. 2019.""",
    "clip_norm": """Bounds the Euclidean norm of a player's whole gradient and keeps its direction.

g ← g · min(1, c/‖g‖). The record shows the norm before clipping as "gradient/PLAYER": a bound of a few times its usual
size changes nothing but outliers. Adam is indifferent to the scale of gradients, but not to single ones that stand out.

Default: off (None).
Cost: none; the norm is measured anyway.
Source: Pascanu et al. 2013, Algorithm 1.""",
    "clip_value": """Bounds every component of a player's gradient, before the norm is clipped.

gᵢ ← min(max(gᵢ, −c), c). This changes the direction of the gradient.

Default: off (None).
Cost: none to speak of.
Source: Mikolov 2012, Statistical Language Models Based on Neural Networks; Graves 2013.""",
    "gradient_noise": """Adds normal noise to a player's gradient, after clipping; its size may follow a schedule.

g ← g + σ·ε, ε ~ N(0, 1) for every component. It leads out of flat places early, and should fade out: a schedule to 0.

Default: off (0); the paper starts with a variance σ² between 0.01 and 1 that falls as (1 + t)^−0.55.
Cost: one random number per parameter while σ > 0.
Source: Neelakantan et al. 2015, Adding Gradient Noise Improves Learning for Very Deep Networks.""",
}
"""What may be set beside the rule and is a technique of its own."""


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """The settings of one player. Adam's betas default to (0, 0.99), as in StyleGAN2 and R3GAN."""

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    rule: Rule = "adam"
    learning_rate: Scheduled = 2e-4
    betas: tuple[float, float] = (0.0, 0.99)
    momentum: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float | None = None
    """Largest norm of the whole gradient; None measures it and leaves it alone."""
    clip_value: float | None = None
    """Largest size of each component of the gradient."""
    gradient_noise: Scheduled = 0.0
    """Standard deviation of the normal noise that is added to the gradient."""

    def __post_init__(self):
        for value in ends(self.learning_rate):
            if not 0 <= value < math.inf:
                raise ValueError(f"learning_rate is {value}: expected a finite number of at least 0, for example 2e-4.")
        for value in ends(self.gradient_noise):
            if not 0 <= value < math.inf:
                raise ValueError(f"gradient_noise is {value}: expected a finite number of at least 0; 0 adds none.")
        for name in ("momentum", "weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}: expected a finite number of at least 0.")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas are {self.betas}: expected two numbers from 0 to below 1, such as [0.5, 0.999].")
        for name in ("clip_norm", "clip_value"):
            bound = getattr(self, name)
            if bound is not None and not bound > 0:
                raise ValueError(f"{name} is {bound}: expected a number above 0; leave it out to clip nothing.")

    @property
    def extrapolates(self) -> bool:
        """Whether the rule needs the gradient of a point further on, so that steps are played twice."""
        return self.rule.startswith("extra-")

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The torch optimiser; the trainer sets its learning rate before every update."""
        decay = self.weight_decay
        match self.rule:
            case "adam" | "extra-adam":
                return torch.optim.Adam(
                    parameters, lr=0.0, betas=self.betas, eps=EPSILON, weight_decay=decay, fused=True
                )
            case "adamw":
                return torch.optim.AdamW(
                    parameters, lr=0.0, betas=self.betas, eps=EPSILON, weight_decay=decay, fused=True
                )
            case "rmsprop":
                return torch.optim.RMSprop(
                    parameters, lr=0.0, alpha=SMOOTHING, eps=EPSILON, momentum=self.momentum, weight_decay=decay
                )
            case "sgd" | "extra-sgd":
                return torch.optim.SGD(parameters, lr=0.0, momentum=self.momentum, weight_decay=decay)
            case "optimistic-adam":
                return Optimistic(parameters, betas=self.betas, weight_decay=decay)
            case "optimistic-sgd":
                return Optimistic(parameters, betas=None, weight_decay=decay)

    def treat(self, parameters: Collection[nn.Parameter], *, norm: Tensor, progress: float) -> None:
        """Clip the gradients, whose norm is given, by value and then by norm; then add noise."""
        if self.clip_value is not None:
            torch.nn.utils.clip_grad_value_(parameters, self.clip_value)
            norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if self.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.clip_norm, norm)
        deviation = value_at(self.gradient_noise, progress)
        if deviation > 0:
            for parameter in parameters:
                if parameter.grad is not None:
                    parameter.grad.add_(torch.randn_like(parameter.grad), alpha=deviation)

    def for_separate_penalties(self, every: int) -> "Optimizer":
        """Settings for a player whose lazy penalty is a move of its own: as many updates more, as much smaller.

        With k plain updates for each one of the penalty there are k + 1 where there were k. So with c = k/(k + 1):
        η ← c·η and β ← βᶜ, which leaves the time in which weights move and moments fade as it was. A lazy term inside
        a move needs no correction.

        Default: every = 16 for the critic's R1 and 8 for the generator's path length.
        Cost: none.
        Source: Karras et al. 2020, Analyzing and Improving the Image Quality of StyleGAN, Appendix B.
        """
        if every < 1:
            raise ValueError(f"every is {every}: expected how many steps there are to each penalty, at least 1.")
        share = every / (every + 1)
        betas = (self.betas[0] ** share, self.betas[1] ** share)
        return replace(self, learning_rate=scaled(self.learning_rate, share), betas=betas)

    def moments(self) -> set[str]:
        """What the rule keeps of every parameter, found by one update of a made one."""
        parameter = nn.Parameter(torch.zeros(1))
        parameter.grad = torch.zeros(1)
        optimizer = self.build([parameter])
        optimizer.step()
        return {key.removeprefix("/") for key in state_tensors(optimizer, [""])}


class Optimistic(torch.optim.Optimizer):
    """θ ← θ − 2η·dₜ + η·dₜ₋₁, with d the gradient or, with betas, Adam's direction (Daskalakis et al. 2018, Alg. 1).

    `previous` is dₜ₋₁; the first is 0.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, betas: tuple[float, float] | None, weight_decay: float):
        super().__init__(parameters, {"lr": 0.0, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One update of all parameters that have a gradient."""
        for group in self.param_groups:
            rate, decay, betas = group["lr"], group["weight_decay"], group["betas"]
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            gradients = [p.grad for p in parameters]
            if decay > 0:
                gradients = list(torch._foreach_add(gradients, parameters, alpha=decay))
            states = [self.state[p] for p in parameters]
            for parameter, state in zip(parameters, states):
                if not state:
                    state["previous"] = torch.zeros_like(parameter)
                    if betas is not None:
                        state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
                        state["step"] = torch.zeros((), device=parameter.device)
            directions = gradients if betas is None else adam_directions(gradients, states, betas)
            previous = [state["previous"] for state in states]
            torch._foreach_add_(parameters, directions, alpha=-2 * rate)
            torch._foreach_add_(parameters, previous, alpha=rate)
            torch._foreach_copy_(previous, directions)


def adam_directions(
    gradients: list[Tensor], states: list[dict[str, Tensor]], betas: tuple[float, float]
) -> list[Tensor]:
    """m̂/(√v̂ + ε) of every gradient, after the moments took it in."""
    means, squares = [s["exp_avg"] for s in states], [s["exp_avg_sq"] for s in states]
    torch._foreach_add_([s["step"] for s in states], 1)
    torch._foreach_lerp_(means, gradients, 1 - betas[0])
    torch._foreach_mul_(squares, betas[1])
    torch._foreach_addcmul_(squares, gradients, gradients, 1 - betas[1])
    times = torch.stack([s["step"] for s in states]).tolist()
    roots = torch._foreach_sqrt(squares)
    torch._foreach_div_(roots, [math.sqrt(1 - betas[1] ** time) for time in times])
    torch._foreach_add_(roots, EPSILON)
    directions = torch._foreach_div(means, [1 - betas[0] ** time for time in times])
    torch._foreach_div_(directions, roots)
    return list(directions)


def state_tensors(optimizer: torch.optim.Optimizer, names: Iterable[str]) -> dict[str, Tensor]:
    """The optimiser's moments as flat tensors, "parameter/moment"."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return {
        f"{name}/{key}": value
        for name, parameter in zip(names, parameters, strict=True)
        for key, value in optimizer.state[parameter].items()
        if torch.is_tensor(value)
    }


def load_state_tensors(
    optimizer: torch.optim.Optimizer, names: Iterable[str], tensors: Mapping[str, Tensor], *, moments: set[str]
) -> None:
    """The inverse of `state_tensors`. Moments take the memory layout of their parameter, as fused kernels require.

    Raises ValueError unless every parameter has all of its rule's `moments` or, never yet updated, none.
    """
    parameters = dict(zip(names, [p for group in optimizer.param_groups for p in group["params"]], strict=True))
    for name in {key.rpartition("/")[0] for key in tensors}:
        found = {key.rpartition("/")[2] for key in tensors if key.rpartition("/")[0] == name}
        if name not in parameters or found != moments:
            raise ValueError(f"the optimiser has {sorted(found)} of {name}, expected {sorted(moments)}")
    optimizer.state.clear()
    for key, value in tensors.items():
        name, _, moment = key.rpartition("/")
        parameter = parameters[name]
        if value.shape not in (parameter.shape, ()):
            raise ValueError(f"{key} has the shape {tuple(value.shape)}, its parameter {tuple(parameter.shape)}")
        number = value.new_empty((), device=parameter.device)
        like = torch.empty_like(parameter) if value.shape == parameter.shape else number
        optimizer.state[parameter][moment] = like.copy_(value)
