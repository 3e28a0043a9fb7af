"""CUT and FastCUT (Park et al. 2020): translation without pairs or cycles, by patches that stay where they are."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from equipoise.core.game import Clock, Move, Moves
from equipoise.core.schedule import Scheduled, scaled
from equipoise.games.answers import Answerer, Choice, PictureGame, fit_of
from equipoise.games.restorer import of_examples
from equipoise.networks.projections import Projections
from equipoise.networks.translator import ResNetTranslator
from equipoise.objectives import Adversarial, patch_contrastive


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """How patches are compared, and what it counts."""

    layers: Sequence[int]
    """Stages of G whose features are compared; 0 is the image itself."""
    contrast: Scheduled = 1.0
    """Weight for X: G(x) beside x."""
    identity: Scheduled = 1.0
    """Weight for Y: G(y) beside y, which G should not change; 0 leaves it out, as FastCUT does."""
    adversarial: Scheduled = 2.0
    """In G's loss; D's counts half as much. With least_squares, which has a half of its own, 2 is the paper's loss."""
    num_patches: int = 256
    """Places a layer and image; all of them where there are fewer."""
    temperature: float = 0.07
    flips: bool = False
    """Whether half of what G is given is mirrored, and its features mirrored back before they are compared (FastCUT):
    G treats an image and its mirror image alike."""


class CUT(PictureGame):
    """G: X -> Y against D; H makes features of G's own encoder comparable. The batches of data are (x, y), no pairs.

    A patch of G(x) is to be recognised by the patch of x at the same place, among all others of x: L_GAN(G, D, X, Y) +
    λ_X L_PatchNCE(G, H, X) + λ_Y L_PatchNCE(G, H, Y) (Park et al. 2020, Eq. 5). The heads H move with G.
    """

    averaged = ("G",)

    def __init__(self, G: ResNetTranslator, D: nn.Module, H: Projections, *, loss: Adversarial, contrast: Contrast):
        super().__init__()
        self.G, self.D, self.H, self.loss, self.settings = G, D, H, loss, contrast
        self.weights = {
            "G/adversarial": contrast.adversarial,
            "G/contrast": contrast.contrast,
            "D/adversarial": scaled(contrast.adversarial, 0.5),
            **({"G/identity": contrast.identity} if contrast.identity != 0 else {}),
        }

    @property
    def players(self) -> dict[str, list[nn.Module]]:
        return {"D": [self.D], "G": [self.G, self.H]}

    def step(self, data: Iterator[Any], now: Clock) -> Moves:
        x, y = next(data)  # [N, C, H, W] of each domain
        turned = torch.rand(len(x), 1, 1, 1, device=x.device) < (0.5 if self.settings.flips else 0.0)
        given = mirrored(x, turned)
        with torch.set_grad_enabled(now.reuse):
            y_hat = self.G(given)
        real, fake = self.D(y).logits, self.D(y_hat.detach()).logits
        watch = {"real": of_examples(real), "fake": of_examples(fake)}
        yield Move("D", adversarial=self.loss.d(real, fake), watch=watch)

        if not now.reuse:
            y_hat = self.G(given)
        fake = self.D(y_hat).logits
        real = self.D(y).logits if self.loss.compares else fake
        straight = torch.zeros_like(turned)
        identity = {} if self.settings.identity == 0 else {"identity": self.contrast(y, self.G(y), straight)}
        yield Move("G", identity, adversarial=self.loss.g(real, fake), contrast=self.contrast(x, y_hat, turned))

    def contrast(self, x: Tensor, y_hat: Tensor, turned: Tensor) -> Tensor:
        """PatchNCE between an image and its translation, which is mirrored where `turned`: the mean over layers, [N].

        The places are drawn anew for each layer and are the same for all images of a batch.
        """
        settings = self.settings
        with torch.no_grad():
            inputs = self.G.features(x, settings.layers)
        outputs = [mirrored(h, turned) for h in self.G.features(y_hat, settings.layers)]
        queries, keys = [], []
        for output, given in zip(outputs, inputs):
            places = torch.randperm(output[0, 0].numel(), device=x.device)[: settings.num_patches]
            queries.append(output.flatten(2)[:, :, places].transpose(1, 2))  # [N, S, C_l]
            keys.append(given.flatten(2)[:, :, places].transpose(1, 2))
        terms = [
            patch_contrastive(q, k, temperature=settings.temperature)
            for q, k in zip(self.H(queries), self.H(keys), strict=True)
        ]
        return torch.stack(terms).mean(0)

    # ---------------------------------------------------------------- looking at it

    def answerer(self, choice: Choice) -> Answerer:
        choice.refuse("direction")
        if choice.direction not in (None, "AtoB"):
            raise ValueError(
                f"The direction is {choice.direction!r}: CUT translates AtoB alone. Train a run with data.a and data.b "
                "exchanged, or a CycleGAN, which translates both ways."
            )
        return Answerer(self.G, fit_of(self.G))

    def sample(self, batch: Any) -> dict[str, Tensor]:
        x, _ = batch
        return {"B": self.G(x)}

    def judge(self, batch: Any) -> Tensor:
        """What D says of the second domain."""
        return of_examples(self.D(batch[1]).logits)

    def described(self, batch: Any) -> Tensor | None:
        return self.D(batch[1]).features[-1].flatten(2).mean(2)


def mirrored(x: Tensor, turned: Tensor) -> Tensor:
    """Images or features [N, C, H, W], mirrored from left to right where `turned` [N, 1, 1, 1]."""
    return torch.where(turned, x.flip(3), x)
