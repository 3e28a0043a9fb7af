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
    """The inverse of `state_tensors`. Moments take the memory layout of their parameter, as fused kernels require.

    Raises ValueError unless every parameter has the same moments or none, and each is a number or of its shape.
    """
    parameters = dict(zip(names, [p for group in optimizer.param_groups for p in group["params"]], strict=True))
    expected = moments(optimizer)
    found = {name: {key.rpartition("/")[2] for key in tensors if key.rpartition("/")[0] == name} for name in parameters}
    complete = all(keys in (set(), expected) for keys in found.values())
    if not complete or sum(map(len, found.values())) != len(tensors):
        raise ValueError(f"the optimiser's moments are not those of {type(optimizer).__name__} for these parameters")
    optimizer.state.clear()
    for key, value in tensors.items():
        name, _, moment = key.rpartition("/")
        parameter = parameters[name]
        if value.shape not in (parameter.shape, ()):
            raise ValueError(f"{key} has shape {tuple(value.shape)}, its parameter {tuple(parameter.shape)}")
        like = torch.empty_like(parameter) if value.shape == parameter.shape else value.new_empty((), device=parameter.device)
        optimizer.state[parameter][moment] = like.copy_(value)
