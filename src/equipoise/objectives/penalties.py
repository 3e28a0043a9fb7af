"""Penalties on the slope of the critic, one value per example, always in float32.

Each is a function of (critic, real, fake), where `critic` maps examples [N, ...] to logits [N], [N, K] (of K critics)
or [N, 1, h, w] (of patches). Of patches the penalty is on the slope of their sum; of K critics it is on the slope of
each, and there is one value per example and critic, [N·K]. How the slope is found can be chosen: `slope`
goes backward through the backward pass, `slope_by_difference` does without. They call the critic on N examples once and
three times; a critic with BatchNorm in train mode updates its statistics at every call.

Where a critic's logits depend on the other examples of the batch (BatchNorm in train mode, minibatch statistics), the
slope of the sum contains what an example does to the logits of the others: the value is no longer that of one example.
Such critics are better left without a gradient penalty.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils import parametrize

Critic = Callable[[Tensor], Tensor]
Slope = Callable[[Critic, Tensor], Tensor]
"""From a critic and examples [N, ...] to a tensor [N, ...] whose norm per example is that of the critic's gradient."""
Penalty = Callable[[Critic, Tensor, Tensor], Tensor]


@runtime_checkable
class GradientPenalty(Protocol):
    """A penalty that asks the function `slope` for the critic's gradient, and takes nothing but norms of it."""

    def __call__(self, critic: Critic, real: Tensor, fake: Tensor, *, slope: Slope = ...) -> Tensor: ...


def slope(critic: Critic, x: Float[Tensor, "n *shape"]) -> Float[Tensor, "m *shape"]:
    """∇ₓ Σ D(x) with a graph for double backward, from a float32 forward pass whatever the surrounding autocast.

    Of K critics: the slopes of the first one at all examples, then those of the second, …, [K·N, …].
    """
    with torch.autocast(x.device.type, enabled=False):
        x = x.detach().float().requires_grad_()
        return slope_of(critic(x), x)


def slope_of(logits: Tensor, x: Float[Tensor, "n *shape"]) -> Float[Tensor, "m *shape"]:
    """As `slope`, from logits that were computed of x."""
    columns = logits.unbind(1) if logits.ndim == 2 else (logits,)
    return torch.cat([torch.autograd.grad(column.sum(), x, create_graph=True)[0] for column in columns])


def slope_by_difference(critic: Critic, x: Float[Tensor, "n *shape"], *, step: float = 0.01) -> Float[Tensor, "m 1"]:
    """The norm of the critic's gradient as a difference of logits along it, without differentiating twice.

    (D(x + εu) - D(x - εu)) / 2ε with the constant u = ∇D/‖∇D‖ (some unit vector where ∇D = 0) and ε = `step` times the
    root mean square of ‖x‖ over the batch. Both the value and its gradient in D's weights are those of ‖∇D‖ up to O(ε²)
    for a smooth critic: u is where u·∇D is largest among unit vectors, so that a change of u does not matter to first
    order (envelope theorem). For MLPs with tanh and the default step, they agree to about 0.1 %.

    With (leaky) ReLUs the critic has kinks. The value then errs by O(ε) on average. The gradient also feels how a
    change of weights moves kinks past the examples: a real part of the gradient of the expected penalty, which double
    backward does not see, with a noise that grows as 1/√ε. Hence a step far above what round-off asks for.

    The three calls of the critic see the same random numbers (dropout, augmentation) of the CPU and of x's device, and
    the last two the same parametrised weights (spectral normalisation).

    Default: step 0.01.
    Cost: 3 forward and 3 ordinary backward passes of D, a little more than `slope`; the activations of two passes.
    Source: central differences; the envelope theorem, Milgrom & Segal 2002.
    """
    x = x.detach().float()
    devices = [x.device] if x.is_cuda else []
    with torch.random.fork_rng(devices):
        ascents = gradients(critic, x)
    scale = squared_norm(x).mean().sqrt()
    distance = step * torch.where(scale > 0, scale, 1)
    slopes = []
    for number, ascent in enumerate(ascents):
        norm = ascent.norm(dim=1, keepdim=True)
        anywhere = torch.full_like(ascent, ascent.shape[1] ** -0.5)
        direction = torch.where(norm > 0, ascent / norm, anywhere).view_as(x)
        with torch.autocast(x.device.type, enabled=False), parametrize.cached():
            with torch.random.fork_rng(devices):
                above = critic(x + distance * direction)
            with torch.random.fork_rng(devices) if number + 1 < len(ascents) else nullcontext():
                below = critic(x - distance * direction)
        difference = above - below
        if difference.ndim == 2:
            difference = difference[:, number]
        slopes.append(difference.reshape(len(x), -1).sum(1, keepdim=True) / (2 * distance))
    return torch.cat(slopes)


def by_difference(penalty: GradientPenalty) -> Penalty:
    """The same penalty with `slope_by_difference`: no double backward, so that compiled critics can be used.

    >>> penalties = {"r1": (by_difference(r1), 0.5)}
    """

    def differenced(critic: Critic, real: Tensor, fake: Tensor) -> Tensor:
        return penalty(critic, real, fake, slope=slope_by_difference)

    differenced.__name__ = getattr(penalty, "__name__", "differenced")
    differenced.__doc__ = penalty.__doc__
    return differenced


def gradients(critic: Critic, x: Float[Tensor, "n *shape"]) -> list[Tensor]:
    """∇ₓ Σ D(x) of each critic as constants [N, F], in float32: ordinary backward passes, to the examples only."""
    with torch.autocast(x.device.type, enabled=False), torch.enable_grad():
        x = x.detach().float().requires_grad_()
        logits = critic(x)
        columns = logits.unbind(1) if logits.ndim == 2 else (logits,)
        return [torch.autograd.grad(column.sum(), x, retain_graph=True)[0].flatten(1) for column in columns]


def squared_norm(x: Float[Tensor, "n *shape"]) -> Float[Tensor, "n"]:
    """‖x‖² of each example."""
    return x.square().flatten(1).sum(1)


def r1(critic: Critic, real: Float[Tensor, "n *shape"], fake: Tensor, *, slope: Slope = slope) -> Float[Tensor, "m"]:
    """A flat critic on real data: locally, this makes the game converge.

    ‖∇D(x)‖² on real examples.
    Default: weight γ/2; γ = 0.0002 · pixels / batch size as a start (StyleGAN2-ADA), then from γ/10 to 10γ.
    Cost: one double backward pass of D; a sixteenth of it if lazy (every 16 steps).
    Source: Mescheder et al. 2018, Eq. 9.
    """
    return squared_norm(slope(critic, real))


def r2(critic: Critic, real: Tensor, fake: Float[Tensor, "n *shape"], *, slope: Slope = slope) -> Float[Tensor, "m"]:
    """A flat critic on generated data, where r1 alone leaves it free to grow steep.

    ‖∇D(G(z))‖² on generated examples.
    Default: the weight of r1.
    Cost: one double backward pass of D.
    Source: Mescheder et al. 2018, Eq. 10.
    """
    return squared_norm(slope(critic, fake))


def gradient_penalty(
    critic: Critic, real: Float[Tensor, "n *shape"], fake: Float[Tensor, "n *shape"], *, slope: Slope = slope
) -> Float[Tensor, "m"]:
    """A slope near 1 between real and generated data, for the Wasserstein loss (WGAN-GP).

    (‖∇D(x̂)‖ - 1)², x̂ uniform on the segment between a real and a generated example.
    Default: weight 10; 0.1 for points in the plane.
    Cost: one double backward pass of D.
    Source: Gulrajani et al. 2017, Eq. 3.
    """
    return (slope(critic, between(real, fake)).flatten(1).norm(dim=1) - 1).square()


def zero_centred_gradient_penalty(
    critic: Critic, real: Float[Tensor, "n *shape"], fake: Float[Tensor, "n *shape"], *, slope: Slope = slope
) -> Float[Tensor, "m"]:
    """A flat critic between real and generated data (0-GP), so that it generalises instead of isolating examples.

    ‖∇D(x̂)‖², x̂ uniform on the segment between a real and a generated example.
    Default: weight 10.
    Cost: one double backward pass of D.
    Source: Thanh-Tung et al. 2019.
    """
    return squared_norm(slope(critic, between(real, fake)))


def dragan(
    critic: Critic, real: Float[Tensor, "n *shape"], fake: Tensor, *, slope: Slope = slope
) -> Float[Tensor, "m"]:
    """A slope near 1 around the data, against sharp critics at real examples (DRAGAN).

    (‖∇D(x̃)‖ - 1)², x̃ = x + 0.5 · std · U, with the standard deviation of all values of the batch and U uniform in
    [-1, 1] for each value. x̃ is not clipped to the range of the data.
    Default: weight 10.
    Cost: one double backward pass of D.
    Source: Kodali et al. 2017.
    """
    real = real.float()
    noise = 2 * torch.rand_like(real) - 1
    return (slope(critic, real + 0.5 * real.std(correction=0) * noise).flatten(1).norm(dim=1) - 1).square()


def between(real: Float[Tensor, "n *shape"], fake: Float[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
    """x̂ = x + u (G(z) - x) with u uniform in [0, 1] for each example, in float32."""
    mix = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device)
    return torch.lerp(real.float(), fake.float(), mix)
