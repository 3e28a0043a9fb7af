"""A pool of former fakes, from which a critic is shown old ones beside new ones (Shrivastava et al. 2017)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from equipoise.core.game import Clock


class Exchanged(NamedTuple):
    """What a critic is shown, [N, C, H, W], and the pool's buffers afterwards, by their names in it."""

    shown: Tensor
    news: dict[str, Tensor]


class FakePool(nn.Module):
    """`size` former fakes. Of new ones about half are shown; in place of the others old ones are, which leave.

    Slot n belongs to the examples n, n + size, n + 2·size, … of training: a new fake meets what lies in its own slot
    and, at even odds, changes places with it. A fake so waits 100 examples on average in a pool of 50, as where slots
    are drawn at random, and micro-batches never want the same slot: each proposes buffers in which its own changes
    count as often as there are micro-batches, so that the mean, which the trainer writes, holds the changes of all.

    A critic that sees the past cannot be led in circles by the generator.
    Default: 50 in CycleGAN; 0 keeps none.
    Cost: memory for `size` images.
    Source: Shrivastava et al. 2017, Learning from Simulated and Unsupervised Images through Adversarial Training, Sec.
    2.3; Zhu et al. 2017, Sec. 4.
    """

    fakes: Tensor
    filled: Tensor

    def __init__(self, size: int, shape: tuple[int, ...]):
        super().__init__()
        if size < 0:
            raise ValueError(f"FakePool(size={size}): expected a number of fakes of at least 0; 50 are usual.")
        self.size = size
        self.register_buffer("fakes", torch.zeros(size, *shape))
        self.register_buffer("filled", torch.zeros(size))
        """1 where there is a fake in the slot."""

    def exchange(self, fake: Tensor, now: Clock) -> Exchanged:
        """What the critic is shown in place of fakes [N, C, H, W]; draws from torch's global randomness.

        Asked right after a batch was drawn, when `now.examples` stands at the end of it. Raises ValueError where a step
        has more examples than the pool has slots.
        """
        fake, num = fake.detach(), len(fake)
        if self.size == 0:
            return Exchanged(fake, {})
        if num * now.micro_batches > self.size:
            raise ValueError(
                f"A step of {num * now.micro_batches} examples and a pool of {self.size} fakes: expected at most as "
                "many examples as there are slots. Choose a smaller batch, a larger pool, or a pool of 0 for none."
            )
        slots = (now.examples + torch.arange(num, device=fake.device)) % self.size
        old, known = self.fakes[slots], self.filled[slots] > 0  # [N, C, H, W], [N]
        heads = torch.rand(num, device=fake.device) < 0.5
        shows_old = (known & heads)[:, None, None, None]
        stored = (heads | ~known)[:, None, None, None]
        fakes, filled = self.fakes.clone(), self.filled.clone()
        fakes[slots] = torch.where(stored, fake.to(old), old)
        filled[slots] = 1.0
        count = float(now.micro_batches)
        news = {"fakes": torch.lerp(self.fakes, fakes, count), "filled": torch.lerp(self.filled, filled, count)}
        return Exchanged(torch.where(shows_old, old, fake.to(old)), news)
