"""A player's optimiser: which rule, which learning rate over time, how its gradient is clipped."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from equipoise.core.schedule import Scheduled


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """The settings of one player. Adam's betas default to (0, 0.99), as in StyleGAN2 and R3GAN."""

    __pydantic_config__ = {"extra": "forbid"}

    rule: Literal["adam", "adamw", "rmsprop", "sgd"] = "adam"
    learning_rate: Scheduled = 2e-4
    betas: tuple[float, float] = (0.0, 0.99)
    momentum: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float | None = None
    """Largest norm of the whole gradient; None measures it and leaves it alone."""

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The torch optimiser; the trainer sets its learning rate before every update."""
        shared = {"lr": 0.0, "weight_decay": self.weight_decay}
        match self.rule:
            case "adam":
                return torch.optim.Adam(parameters, betas=self.betas, eps=1e-8, fused=True, **shared)
            case "adamw":
                return torch.optim.AdamW(parameters, betas=self.betas, eps=1e-8, fused=True, **shared)
            case "rmsprop":
                return torch.optim.RMSprop(parameters, momentum=self.momentum, **shared)
            case "sgd":
                return torch.optim.SGD(parameters, momentum=self.momentum, **shared)


def state_tensors(optimizer: torch.optim.Optimizer, names: Iterable[str]) -> dict[str, Tensor]:
    """The optimiser's moments as flat tensors, "parameter/moment"."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return {
        f"{name}/{key}": value
        for name, parameter in zip(names, parameters, strict=True)
        for key, value in optimizer.state[parameter].items()
        if torch.is_tensor(value)
    }


def load_state_tensors(optimizer: torch.optim.Optimizer, names: Iterable[str], tensors: dict[str, Tensor]) -> None:
    """The inverse of `state_tensors`. Moments take the memory layout of their parameter, as fused kernels require."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    optimizer.state.clear()
    for name, parameter in zip(names, parameters, strict=True):
        for key in [key for key in tensors if key.rpartition("/")[0] == name]:
            value = tensors[key]
            like = torch.empty_like(parameter) if value.shape == parameter.shape else torch.empty_like(value)
            optimizer.state[parameter][key.rpartition("/")[2]] = like.copy_(value)
