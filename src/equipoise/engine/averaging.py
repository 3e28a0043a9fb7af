"""Exponential moving average of a game's networks, with ramp-up (Karras et al. 2018; Karras et al. 2020)."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Averaging:
    """Exponential moving average (EMA) of the weights of the networks that a game names, usually G: outputs use it.

    θ̄ ← β·θ̄ + (1 − β)·θ after every step, β = 0.5^(examples of the step / half-life). While fewer than `half_life` /
    `ramp` examples have been seen, the half-life is `ramp` times the examples seen, so that the start of training is
    forgotten fast. Parameters and floating-point buffers are averaged; integers stay those of the live network.

    Default: half-life 20,000 examples, ramp 0.05; ema_half_life = 0 switches it off.
    Cost: one copy of the weights; 1 % of a step.
    Source: Karras et al. 2018 (averages of G); Karras et al. 2020, StyleGAN2-ADA's code (half-life and ramp).
    """

    def __init__(self, game: nn.Module, names: Sequence[str], *, half_life: float, ramp: float):
        self.half_life, self.ramp = half_life, ramp
        modules = {name: game.get_submodule(name) for name in names} if half_life > 0 else {}
        self.sources = {
            f"{name}.{key}": tensor
            for name, module in modules.items()
            for key, tensor in [*module.named_parameters(), *module.named_buffers()]
            if tensor.is_floating_point()
        }
        self.averages = {key: tensor.detach().clone() for key, tensor in self.sources.items()}

    def load(self, averages: Mapping[str, Tensor]) -> None:
        """Take over saved averages. Raises ValueError unless they are those of the same networks."""
        if shapes(averages) != shapes(self.averages):
            names = sorted(name for name, _ in shapes(averages) ^ shapes(self.averages))
            raise ValueError(f"the averaged weights differ in {', '.join(names[:3])}")
        for name, value in averages.items():
            self.averages[name].copy_(value)

    @torch.no_grad()
    def update(self, *, num_examples: int, batch: int) -> None:
        """Move the averages towards the networks, after a step on `batch` examples, `num_examples` in all."""
        if not self.averages:
            return
        half_life = min(self.half_life, num_examples * self.ramp) if self.ramp > 0 else self.half_life
        keep = 0.5 ** (batch / max(half_life, 1e-8))
        torch._foreach_lerp_(list(self.averages.values()), [s.detach() for s in self.sources.values()], 1 - keep)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the game's networks carry the averages; afterwards, their own values again."""
        live = {key: tensor.data for key, tensor in self.sources.items()}
        for key, tensor in self.sources.items():
            tensor.data = self.averages[key]
        try:
            yield
        finally:
            for key, tensor in self.sources.items():
                tensor.data = live[key]


def shapes(tensors: Mapping[str, Tensor]) -> set[tuple[str, torch.Size]]:
    """Names and shapes."""
    return {(name, tensor.shape) for name, tensor in tensors.items()}
