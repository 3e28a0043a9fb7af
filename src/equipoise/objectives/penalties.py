"""Penalties on the slope of the critic, one value per example, always in float32.

Each is a function of (critic, real, fake), where `critic` maps examples [N, ...] to logits [N] or [N, ...].
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Critic = Callable[[Tensor], Tensor]
Penalty = Callable[[Critic, Tensor, Tensor], Tensor]


def slope(critic: Critic, x: Float[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
    """∇ₓ Σ D(x) with a graph for double backward, from a float32 forward pass whatever the surrounding autocast."""
    with torch.autocast(x.device.type, enabled=False):
        x = x.detach().float().requires_grad_()
        (gradient,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return gradient


def squared_norm(x: Float[Tensor, "n *shape"]) -> Float[Tensor, "n"]:
    """‖x‖² of each example."""
    return x.square().flatten(1).sum(1)


def r1(critic: Critic, real: Float[Tensor, "n *shape"], fake: Tensor) -> Float[Tensor, "n"]:
    """‖∇D(x)‖² on real data (Mescheder et al. 2018, Eq. 9). The usual weight is γ/2."""
    return squared_norm(slope(critic, real))


def r2(critic: Critic, real: Tensor, fake: Float[Tensor, "n *shape"]) -> Float[Tensor, "n"]:
    """‖∇D(x)‖² on generated data (Mescheder et al. 2018, Eq. 10). The usual weight is γ/2."""
    return squared_norm(slope(critic, fake))


def gradient_penalty(
    critic: Critic, real: Float[Tensor, "n *shape"], fake: Float[Tensor, "n *shape"]
) -> Float[Tensor, "n"]:
    """(‖∇D(x̂)‖ - 1)², x̂ uniform on the segment between a real and a fake (Gulrajani et al. 2017, Eq. 3). Weight 10."""
    mix = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device)
    between = torch.lerp(real.float(), fake.float(), mix)
    return (slope(critic, between).flatten(1).norm(dim=1) - 1).square()
