"""A player's optimiser: which rule, which learning rate over time, how its gradient is clipped."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from equipoise.core.schedule import Scheduled, ends


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """The settings of one player. Adam's betas default to (0, 0.99), as in StyleGAN2 and R3GAN."""

    __pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}

    rule: Literal["adam", "adamw", "rmsprop", "sgd"] = "adam"
    learning_rate: Scheduled = 2e-4
    betas: tuple[float, float] = (0.0, 0.99)
    momentum: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float | None = None
    """Largest norm of the whole gradient; None measures it and leaves it alone."""

    def __post_init__(self):
        for value in ends(self.learning_rate):
            if not 0 <= value < math.inf:
                raise ValueError(f"learning_rate is {value}: expected a finite number of at least 0, for example 2e-4.")
        for name in ("momentum", "weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}: expected a finite number of at least 0.")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas are {self.betas}: expected two numbers from 0 to below 1, such as [0.5, 0.999].")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"clip_norm is {self.clip_norm}: expected a number above 0; leave it out to clip nothing.")

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The torch optimiser; the trainer sets its learning rate before every update."""
        decay = self.weight_decay
        match self.rule:
            case "adam":
                return torch.optim.Adam(parameters, lr=0.0, betas=self.betas, weight_decay=decay, fused=True)
            case "adamw":
                return torch.optim.AdamW(parameters, lr=0.0, betas=self.betas, weight_decay=decay, fused=True)
            case "rmsprop":
                return torch.optim.RMSprop(parameters, lr=0.0, momentum=self.momentum, weight_decay=decay)
            case "sgd":
                return torch.optim.SGD(parameters, lr=0.0, momentum=self.momentum, weight_decay=decay)

    def moments(self) -> set[str]:
        """What the rule keeps of every parameter, found by one update of a made one."""
        parameter = nn.Parameter(torch.zeros(1))
        parameter.grad = torch.zeros(1)
        optimizer = self.build([parameter])
        optimizer.step()
        return {key.removeprefix("/") for key in state_tensors(optimizer, [""])}


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
