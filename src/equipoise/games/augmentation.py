"""What happens to an example before the critic sees it: the same for real and generated ones, with a gradient."""

from abc import abstractmethod
from typing import final

import torch
from torch import Tensor, nn

from equipoise.core.schedule import Scheduled, value_at
from equipoise.data.augment import ADA_LIMIT, ada, ada_step, diffaugment, instance_noise, pseudo
from equipoise.data.classical import Changes, changed


class Augmentation(nn.Module):
    """A random, differentiable change of examples [N, …] that keeps their shape."""

    @abstractmethod
    def forward(self, x: Tensor, progress: float) -> Tensor:
        """Changed examples; `progress` in [0, 1] is how far training has come."""

    @abstractmethod
    def news(self, real_logits: Tensor, num_examples: int) -> list[tuple[Tensor, Tensor]]:
        """Buffers and their new values after a move of the critic on that many real examples."""


@final
class DiffAugment(Augmentation):
    """Differentiable augmentation: the critic sees only randomly changed images, real and generated alike.

    Brightness, saturation and contrast ("color"), shifts of up to 1/8 ("translation"), a grey square of half the width
    ("cutout"). The critic cannot learn the training images by heart, and G receives gradients through the change.
    Default: all three. For 10 to 20 % of CIFAR-10 it halves FID.
    Cost: a few per cent of a step.
    Source: Zhao et al. 2020, Differentiable Augmentation for Data-Efficient GAN Training.
    """

    def __init__(self, policy: tuple[str, ...] = ("color", "translation", "cutout")):
        super().__init__()
        self.policy = policy

    def forward(self, x: Tensor, progress: float) -> Tensor:
        return diffaugment(x, self.policy)

    def news(self, real_logits: Tensor, num_examples: int) -> list[tuple[Tensor, Tensor]]:
        return []


@final
class Dose(nn.Module):
    """A probability p that follows the critic's overfitting: r_t = E sign D(x) above `target` raises it, or lowers it.

    It could go from 0 to 1 in `span` real examples and stays within [0, limit]; r_t is averaged over the last 4 steps.
    """

    p: Tensor
    sign: Tensor

    def __init__(self, *, target: float, span: int, limit: float):
        super().__init__()
        if not 0 <= limit <= ADA_LIMIT:
            raise ValueError(
                f"limit = {limit}: expected 0 to {ADA_LIMIT}; above, the generator learns to augment (Karras et al. "
                "2020, section 2.2)."
            )
        self.target, self.span, self.limit = target, span, limit
        self.register_buffer("p", torch.tensor(0.0))
        self.register_buffer("sign", torch.tensor(0.0))

    def news(self, real_logits: Tensor, num_examples: int) -> list[tuple[Tensor, Tensor]]:
        """Both buffers and their new values after a move of the critic on that many real examples."""
        sign = torch.lerp(self.sign, real_logits.detach().float().sign().mean(), 0.25)
        p = ada_step(self.p, sign, num_examples, target=self.target, span=self.span, limit=self.limit)
        return [(self.sign, sign), (self.p, p)]


@final
class AdaptiveAugment(Augmentation):
    """Adaptive discriminator augmentation (ADA): flips, shifts, turns, scalings and colours, each with probability p.

    p follows the critic's overfitting: r_t = E sign D(x) above `target` raises it, below lowers it, so that it could
    go from 0 to 1 in `span` real examples; it stays within [0, 0.8], where augmentations do not leak into the fakes.
    `p` gives it a schedule instead (R3GAN's way, for losses that only compare logits).
    Default: target = 0.6, span = 500,000 examples, r_t averaged over the last 4 steps.
    Cost: one resampling of every image that D sees.
    Source: Karras et al. 2020, Training Generative Adversarial Networks with Limited Data, section 3 and App. B.
    """

    watched = "ada_p"

    def __init__(
        self,
        *,
        target: float = 0.6,
        span: int = 500_000,
        limit: float = ADA_LIMIT,
        fixed: Scheduled | None = None,
    ):
        super().__init__()
        self.dose, self.fixed = Dose(target=target, span=span, limit=limit), fixed

    def forward(self, x: Tensor, progress: float) -> Tensor:
        p = self.dose.p
        if self.fixed is not None:
            p = torch.full_like(p, min(value_at(self.fixed, progress), self.dose.limit))
        return ada(x, p)

    def news(self, real_logits: Tensor, num_examples: int) -> list[tuple[Tensor, Tensor]]:
        return [] if self.fixed is not None else self.dose.news(real_logits, num_examples)


@final
class Classical(Augmentation):
    """Classical augmentation of everything the critic sees, with a gradient: turned, shifted, scaled, recoloured.

    Real and generated images are mirrored, turned, shifted, sheared, scaled, recoloured and cut out at random, by the
    same settings as `data.augmentation`, which changes the training images themselves instead: then the generator
    learns to make changed images too. Here it does not, as long as a share of images stays as it is.
    Default: off; mirrored, and shifted by up to an eighth.
    Cost: a few per cent of a step.
    Source: Karras et al. 2020, Training GANs with Limited Data, section 2 (what leaks and what does not).
    """

    def __init__(self, changes: Changes):
        super().__init__()
        self.changes = changes

    def forward(self, x: Tensor, progress: float) -> Tensor:
        return changed(x, self.changes)

    def news(self, real_logits: Tensor, num_examples: int) -> list[tuple[Tensor, Tensor]]:
        return []


@final
class InstanceNoise(Augmentation):
    """Gaussian noise on everything the critic sees, fading out as training goes on.

    Blurs both distributions until they overlap, so that the critic's task is never hopeless: x + s·ε, ε ~ N(0, I).
    Default: s from 0.1 (of data in [-1, 1]) linearly to 0 at the end of training.
    Cost: nothing to speak of.
    Source: Sønderby et al. 2017, Amortised MAP Inference, section 3; Arjovsky & Bottou 2017.
    """

    def __init__(self, std: Scheduled):
        super().__init__()
        self.std = std

    def forward(self, x: Tensor, progress: float) -> Tensor:
        return instance_noise(x, value_at(self.std, progress))

    def news(self, real_logits: Tensor, num_examples: int) -> list[tuple[Tensor, Tensor]]:
        return []


@final
class PseudoReal(nn.Module):
    """Adaptive pseudo augmentation (APA): some fakes are shown to the critic as real.

    Each real example is replaced with probability p by a generated one. p follows the critic's overfitting as in ADA,
    r_t = E sign D(x) against a target; no picture is ever distorted, so nothing can leak.
    Default: target = 0.6, span = 500,000 examples.
    Cost: nothing to speak of.
    Source: Jiang et al. 2021, Deceive D: Adaptive Pseudo Augmentation, section 3.
    """

    watched = "apa_p"

    def __init__(self, *, target: float = 0.6, span: int = 500_000, limit: float = ADA_LIMIT):
        super().__init__()
        self.dose = Dose(target=target, span=span, limit=limit)

    def forward(self, real: Tensor, fake: Tensor) -> Tensor:
        """Real examples, some of which are fakes."""
        return pseudo(real, fake, self.dose.p)

    def news(self, real_logits: Tensor, num_examples: int) -> list[tuple[Tensor, Tensor]]:
        """Buffers and their new values after a move of the critic on that many real examples."""
        return self.dose.news(real_logits, num_examples)
