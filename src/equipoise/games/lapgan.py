"""LAPGAN (Denton et al. 2015): from coarse to fine, by a conditional GAN for each band of a Laplacian pyramid."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from equipoise.core.game import Clock, LatentGame, Move, Moves
from equipoise.core.schedule import Lazy, Scheduled
from equipoise.networks.pyramid import doubled, levels_of
from equipoise.objectives import Adversarial, Penalty


class LAPGAN(LatentGame):
    """`generators` and `critics` from the finest level to the coarsest, which is made from latents alone.

    At level k, I_k is an image that was halved k times and l_k = u(d(I_k)) is what is left of it without its finest
    band. G_k paints that band, h_k, from l_k and noise; D_k is shown l_k + h_k, which is I_k or made (Sec. 2.2). The
    levels are independent: each learns from real l_k, and only sampling begins at the coarsest and adds band by band.

    The latents are those of the coarsest level, and then the planes of noise of all others, the finest first.
    """

    averaged = ("G",)

    def __init__(
        self,
        generators: Sequence[nn.Module],
        critics: Sequence[nn.Module],
        *,
        z_dim: int,
        size: int,
        loss: Adversarial,
        penalties: Mapping[str, tuple[Penalty, Scheduled | Lazy]] | None = None,
    ):
        super().__init__()
        self.G, self.D = nn.ModuleList(generators), nn.ModuleList(critics)
        self.num_levels = len(generators) - 1
        self.coarse_dim, self.sizes = z_dim, [size // 2**k for k in range(self.num_levels)]
        self.z_dim = z_dim + sum(side**2 for side in self.sizes)
        self.loss = loss
        self.penalties = {name: penalty for name, (penalty, _) in (penalties or {}).items()}
        self.weights = {
            f"D/{name}_{k}": weight for name, (_, weight) in (penalties or {}).items() for k in range(len(self.D))
        }

    @property
    def players(self) -> dict[str, list[nn.Module]]:
        return {"D": [self.D], "G": [self.G]}

    def step(self, data: Iterator[Any], now: Clock) -> Moves:
        I = levels_of(next(data), self.num_levels)
        with torch.set_grad_enabled(now.reuse):
            fake = self.painted(I)
        real_logits = [D(x).logits for D, x in zip(self.D, I)]
        fake_logits = [D(x.detach()).logits for D, x in zip(self.D, fake)]
        losses = {f"level_{k}": self.loss.d(*pair) for k, pair in enumerate(zip(real_logits, fake_logits))}
        slopes = self.slopes(I, [x.detach() for x in fake], now)
        yield Move("D", {**losses, **slopes}, watch={"real": real_logits[0], "fake": fake_logits[0]})

        if not now.reuse:
            fake = self.painted(I)
        fake_logits = [D(x).logits for D, x in zip(self.D, fake)]
        real_logits = [D(x).logits for D, x in zip(self.D, I)] if self.loss.compares else fake_logits
        yield Move("G", {f"level_{k}": self.loss.g(*pair) for k, pair in enumerate(zip(real_logits, fake_logits))})

    def painted(self, levels: list[Tensor]) -> list[Tensor]:
        """Of each level what G_k makes of the real image below it; of the coarsest what it makes of latents."""
        *planes, z = self.drawn(self.noise(levels[0]))
        smooth = [doubled(x) for x in levels[1:]]  # l_k
        bands = [l + G(plane, l) for G, plane, l in zip(self.G, planes, smooth)]
        return [*bands, self.G[-1](z)]

    def slopes(self, real: list[Tensor], fake: list[Tensor], now: Clock) -> dict[str, Tensor]:
        """The penalties on the critics' slopes that are due, for each level."""
        return {
            f"{name}_{k}": penalty(lambda x, D=D: D(x).logits, real[k], fake[k])
            for name, penalty in self.penalties.items()
            for k, D in enumerate(self.D)
            if now.due(f"D/{name}_{k}")
        }

    def noise(self, x: Tensor) -> Tensor:
        """Latents, as many as there are examples."""
        return torch.randn(len(x), self.z_dim, device=x.device)

    def drawn(self, z: Tensor) -> list[Tensor]:
        """Latents as each level takes them: planes of noise [N, 1, H_k, H_k], and last those of the coarsest one."""
        coarse, *planes = z.split([self.coarse_dim, *(side**2 for side in self.sizes)], dim=1)
        return [*(plane.view(-1, 1, side, side) for plane, side in zip(planes, self.sizes)), coarse]

    # ---------------------------------------------------------------- outputs

    def generate(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        *planes, coarse = self.drawn(z)
        x = self.G[-1](coarse)
        for G, plane in zip(reversed(self.G[:-1]), reversed(planes)):
            smooth = doubled(x)
            x = smooth + G(plane, smooth)
        return x.clamp(-1, 1)

    def sample(self, batch: Any) -> dict[str, Tensor]:
        return {"fake": self.generate(self.noise(batch))}

    def judge(self, batch: Any) -> Tensor:
        """What the critic of the finest level says."""
        return self.D[0](batch).logits

    def described(self, batch: Any) -> Tensor | None:
        return self.D[0](batch).features[-1].flatten(1)
