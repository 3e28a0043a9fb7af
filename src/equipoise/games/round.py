"""A round: what one player sees when it is about to move. Every technique that adds a loss term reads from it."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from equipoise.core.game import Verdict
from equipoise.objectives import slope


@dataclass
class Round:
    """One batch between a generator and a critic, from the side of the player who moves.

    In D's round `fake` carries no graph; in G's round it does, and `real` is there only if somebody asked for it.
    With packing, examples are packs [N/m, m·C, …] throughout.
    """

    x: Tensor
    """Real examples."""
    fake: Tensor
    """Generated examples, as many."""
    z: Tensor
    """The latents they came from, [N, Z]."""
    real: Verdict | None
    forged: Verdict
    critic: Callable[[Tensor], Verdict]
    """From examples to a verdict; whatever augmentation there is happens inside, with new randomness at each call."""
    generator: Callable[[Tensor], Tensor]
    """From latents to examples."""
    progress: float
    notes: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def logits(self, x: Tensor) -> Tensor:
        """The critic's logits of examples."""
        return self.critic(x).logits

    def slope(self, critic: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """As `objectives.slope`; of this round's own examples from the verdict that is there already, if it can be."""
        for examples, verdict in ((self.x, self.real), (self.fake, self.forged)):
            if x is examples and x.requires_grad and verdict is not None:
                (gradient,) = torch.autograd.grad(verdict.logits.sum(), x, create_graph=True)
                return gradient
        return slope(critic, x)

    @property
    def real_logits(self) -> Tensor:
        return self.real_verdict.logits

    @property
    def real_verdict(self) -> Verdict:
        assert self.real is not None, "This round does not look at real examples: its term must declare `reads_real`."
        return self.real

    def remember(self, buffer: Tensor, value: Tensor) -> None:
        """Note a new value of a buffer; it is written once, together with the player's update."""
        self.notes.append((buffer, value))


Term = Callable[[Round], Tensor]
"""One more thing that a player minimises: one value per example, or a scalar where it is about parameters."""
