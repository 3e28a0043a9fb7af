"""Adaptive n_critic: a critic that already wins waits for the generator."""

from typing import final

import torch
from torch import Tensor, nn


@final
class Throttle(nn.Module):
    """Adaptive n_critic: the critic skips its moves while it wins too often.

    The share of pairs with D(x) > D(G(z)) is measured before every move of the generator and averaged over about
    1 / (1 - decay) steps; above the bound D waits, and comes back once G has caught up. Chance is 0.5.
    Default: off; with it, above = 0.8 and decay = 0.9.
    Cost: one more forward pass of D on real examples a step; saves the critic's moves that are skipped.
    Source: folklore of early GAN code, which thresholds losses or accuracies; the pairwise share is ours.
    """

    accuracy: Tensor

    def __init__(self, above: float = 0.8, *, decay: float = 0.9):
        super().__init__()
        self.above, self.decay = above, decay
        self.register_buffer("accuracy", torch.tensor(0.5))

    def closed(self) -> bool:
        """Whether the critic has to wait."""
        return bool(self.accuracy > self.above)

    def measured(self, real: Tensor, fake: Tensor) -> Tensor:
        """The running share after one more look at logits."""
        return torch.lerp((real > fake).float().mean(), self.accuracy, self.decay)
