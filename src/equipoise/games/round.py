"""A round: what one player sees when it is about to move. Every technique that adds a loss term reads from it."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from equipoise.core.game import Verdict
from equipoise.networks.minibatch import pack, unpack
from equipoise.objectives import slope, slope_of


@dataclass
class Round:
    """One batch between a generator and a critic, from the side of the player who moves.

    In D's round `fake` carries no graph; in G's round it does. With packing, examples are packs [N/m, m·C, …].
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
    packing: int = 1
    traced: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None
    """From latents to styles and the examples made of them, where the generator has styles."""
    notes: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def logits(self, x: Tensor) -> Tensor:
        """The critic's logits of examples."""
        return self.critic(x).logits

    def slope(self, critic: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """As `objectives.slope`; of this round's own examples from the verdict that is there already, if it can be."""
        for examples, verdict in ((self.x, self.real), (self.fake, self.forged)):
            if x is not examples or not x.requires_grad or verdict is None:
                continue
            if not torch.is_autocast_enabled(x.device.type):
                return slope_of(verdict.logits, x)
            with torch.autocast(x.device.type, enabled=False):
                x = x.float().view_as(x)
                return slope_of(critic(x), x)
        return slope(critic, x)

    @property
    def real_logits(self) -> Tensor:
        return self.real_verdict.logits

    @property
    def real_verdict(self) -> Verdict:
        """The verdict on the real examples; in G's round it is asked for only where somebody reads it."""
        if self.real is None:
            self.real = self.critic(self.x)
        return self.real

    def single(self, x: Tensor) -> Tensor:
        """Examples one by one, also those that are in packs."""
        return unpack(x, self.packing)

    def each(self, change: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Examples, each changed on its own, also those that are in packs."""
        return pack(change(self.single(x)), self.packing)

    def remember(self, buffer: Tensor, value: Tensor) -> None:
        """Note a new value of a buffer; it is written once, together with the player's update."""
        self.notes.append((buffer, value))


Term = Callable[[Round], Tensor]
"""One more thing that a player minimises: one value per example, or a scalar where it is about parameters."""
