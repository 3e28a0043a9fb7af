"""What the critic itself says: does it know its training examples, and how far is the game from its equilibrium?"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from equipoise.core.game import Verdict
from equipoise.core.seeding import stable_seed
from equipoise.metrics.checks import checked_vector
from equipoise.objectives.adversarial import Adversarial

Batches = Sequence[tuple[Tensor, Tensor]]
"""Pairs of held-out reals and latents, equally many."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """How the worst-case opponents are sought: this many steps of Adam with this learning rate."""

    num_steps: int = 300
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.5, 0.99)
    seed: int = 0
    """Of what networks draw themselves, such as dropout."""


@dataclass(frozen=True, kw_only=True)
class DualityGap:
    """`gap` = `worst_critic` - `worst_generator`, in the unit of the loss; about 0 in equilibrium."""

    gap: float
    worst_critic: float
    """The value of the game for the critic, M(G, D*), once a critic has been trained against this generator."""
    worst_generator: float
    """The value of the game for the critic, M(G*, D), once a generator has been trained against this critic."""
    value: float
    """The value of the game as it stands, M(G, D)."""


def auc(train_logits: Float[Tensor, " n"], held_out_logits: Float[Tensor, " m"]) -> float:
    """The probability that the critic gives a training example more than a held-out one, ties half; in [0, 1].

    About 0.5 in health; 1 says that the critic has learnt the training examples by heart, after which it can only push
    the generator towards them. Exact: all pairs are compared.

    >>> auc(torch.tensor([2.0, 1.0]), torch.tensor([1.0, 0.0]))
    0.875
    """
    train = checked_vector("train_logits", train_logits)
    held_out = checked_vector("held_out_logits", held_out_logits)
    ordered = held_out.sort().values
    below, up_to = torch.searchsorted(ordered, train), torch.searchsorted(ordered, train, right=True)
    return (below + up_to).sum().item() / (2 * len(train) * len(held_out))


def duality_gap(
    generator: nn.Module,
    critic: nn.Module,
    *,
    loss: Adversarial,
    searching: Batches,
    judging: Batches,
    search: Search | None = None,
) -> DualityGap:
    """How far the game is from equilibrium: what a best critic would win and a best generator would save.

    gap = max over D' of M(G, D') - min over G' of M(G', D), with M = -mean loss.d    (Grnarova et al. 2019)

    It is not below 0, up to the noise of the batches, and 0 only in equilibrium; that needs no reference data set nor
    feature network. D' and G' start as copies and learn on the batches `searching`, in turn as often as needed, D' by
    loss.d and G' by loss.g; M is the mean over the batches `judging`, which should be others. Where the loss is not
    zero-sum (non_saturating), G' is the generator's own answer and the gap a guide. A search too short makes the gap
    too small; an unbounded loss without a penalty in the critic makes it grow with the search.

    `generator` maps latents to examples, `critic` examples to logits or to a `Verdict`. Neither they nor any global
    random state are touched.
    """
    search = search or Search()
    if search.num_steps < 1 or not search.learning_rate > 0:
        raise ValueError(f"{search} was passed, but at least 1 step of a rate above 0 is expected. Use Search().")
    for name, batches in (("searching", searching), ("judging", judging)):
        if not batches or any(len(real) != len(latents) or len(real) == 0 for real, latents in batches):
            sizes = [(len(real), len(latents)) for real, latents in batches]
            raise ValueError(
                f"{name}: batches of (reals, latents) with sizes {sizes} were passed, but at least one is expected, "
                "each with as many reals as latents. Cut the longer one."
            )
    devices = sorted({p.device.index for net in (generator, critic) for p in net.parameters() if p.is_cuda})
    with torch.random.fork_rng(devices), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(stable_seed(search.seed, "duality_gap"))
        value = _value(copy.deepcopy(generator), copy.deepcopy(critic), loss, judging)
        g, d = copy.deepcopy(generator), copy.deepcopy(critic)
        _learn(d, g, d, loss.d, searching, search)
        worst_critic = _value(g, d, loss, judging)
        g, d = copy.deepcopy(generator), copy.deepcopy(critic)
        _learn(g, g, d, loss.g, searching, search)
        worst_generator = _value(g, d, loss, judging)
    return DualityGap(
        gap=worst_critic - worst_generator, worst_critic=worst_critic, worst_generator=worst_generator, value=value
    )


def _learn(
    mover: nn.Module,
    g: nn.Module,
    d: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    batches: Batches,
    search: Search,
) -> None:
    for network in (g, d):
        network.requires_grad_(network is mover)
    optimizer = torch.optim.Adam(mover.parameters(), lr=search.learning_rate, betas=search.betas)
    for step in range(search.num_steps):
        real, latents = batches[step % len(batches)]
        optimizer.zero_grad()
        loss(_logits(d, real), _logits(d, g(latents))).mean().backward()
        optimizer.step()


@torch.no_grad()
def _value(g: nn.Module, d: nn.Module, loss: Adversarial, batches: Batches) -> float:
    """M(G, D), the mean over all examples of the batches."""
    sums, count = 0.0, 0
    for real, latents in batches:
        losses = loss.d(_logits(d, real), _logits(d, g(latents)))
        sums, count = sums - losses.double().sum().item(), count + losses.numel()
    return sums / count


def _logits(critic: nn.Module, x: Tensor) -> Tensor:
    answer = critic(x)
    return answer.logits if isinstance(answer, Verdict) else answer
