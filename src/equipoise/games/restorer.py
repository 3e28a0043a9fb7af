"""What games of restoration share: a generator that answers degraded images, and a critic of its answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from equipoise.core.game import Clock, Move, Verdict
from equipoise.core.schedule import Lazy, Scheduled
from equipoise.games.answers import Answerer, Choice, PictureGame, fit_of
from equipoise.objectives import Adversarial, Penalty
from equipoise.objectives.perceptual import critic_feature_matching

Likeness = Callable[[Tensor, Tensor], Tensor]
"""A term that compares targets [N, C, H, W] with answers: one value per example, [N]."""


@dataclass(frozen=True, kw_only=True)
class Aims:
    """What the players of a restorer play for."""

    loss: Adversarial
    terms: Mapping[str, tuple[Likeness, Scheduled]] = field(default_factory=dict)
    """By name, with their weights: how the answer is to be like the target, beside the critic's verdict."""
    adversarial: Scheduled = 1.0
    """Weight of the critic's verdict."""
    matching: Scheduled | None = None
    """Weight of the distance between the critic's features of target and answer."""
    penalties: Mapping[str, tuple[Penalty, Scheduled | Lazy]] = field(default_factory=dict)
    """On the critic's slope."""
    warmup: float = 0.5
    """The first share of training, in [0, 1], in which G learns without a critic."""


class Restorer(PictureGame):
    """G answers what is `given` of a `target`; the batches of data are (given, target).

    What G learns in the warm-up is the subclass's to say; after it, it minimises the terms of `aims` and the critic's
    verdict.
    """

    averaged = ("G",)

    def __init__(self, G: nn.Module, D: nn.Module, aims: Aims):
        super().__init__()
        self.G, self.D, self.loss, self.warmup = G, D, aims.loss, aims.warmup
        self.terms = {name: term for name, (term, _) in aims.terms.items()}
        self.penalties = {name: penalty for name, (penalty, _) in aims.penalties.items()}
        self.matches = aims.matching is not None
        if self.warmup < 1:  # else there is no critic's turn, and no term of it
            self.weights = {
                "G/adversarial": aims.adversarial,
                **{f"G/{name}": weight for name, (_, weight) in aims.terms.items()},
                **{f"D/{name}": weight for name, (_, weight) in aims.penalties.items()},
                **({"G/matching": aims.matching} if aims.matching is not None else {}),
            }

    def answerer(self, choice: Choice) -> Answerer:
        choice.refuse()
        return Answerer(self.restore, fit_of(self.G))

    @property
    def players(self) -> dict[str, list[nn.Module]]:
        return {"D": [self.D], "G": [self.G]}

    def restore(self, given: Tensor) -> Tensor:
        """The answer to what is given, [N, C, H, W] in [-1, 1]."""
        return self.answer(given).clamp(-1, 1)

    def answer(self, given: Tensor) -> Tensor:
        """What G makes of it; values may leave [-1, 1]."""
        return self.G(given)

    def verdict(self, given: Tensor, image: Tensor) -> Verdict:
        """What D says of a target or an answer to what is given."""
        return self.D(image)

    # ---------------------------------------------------------------- the moves

    def critic_move(self, given: Tensor, target: Tensor, answer: Tensor, now: Clock) -> Move:
        """D learns to tell targets from answers."""
        real, fake = (self.verdict(given, image).logits for image in (target, answer))
        penalties = {
            name: penalty(lambda image: self.verdict(given, image).logits, target, answer)
            for name, penalty in self.penalties.items()
            if now.due(f"D/{name}")
        }
        watch = {"real": of_examples(real), "fake": of_examples(fake)}
        return Move("D", penalties, adversarial=self.loss.d(real, fake), watch=watch)

    def generator_move(self, given: Tensor, target: Tensor, answer: Tensor) -> Move:
        """G learns to be like the target and to be taken for one."""
        terms = {name: term(target, answer) for name, term in self.terms.items()}
        forged = self.verdict(given, answer)
        real = self.verdict(given, target) if self.loss.compares or self.matches else forged
        if self.matches:
            terms |= {"matching": critic_feature_matching(real.features, forged.features)}
        return Move("G", terms, adversarial=self.loss.g(real.logits, forged.logits))

    # ---------------------------------------------------------------- looking at it

    def sample(self, batch: Any) -> dict[str, Tensor]:
        given, _ = batch
        return {"answer": self.restore(given)}

    def judge(self, batch: Any) -> Tensor:
        return of_examples(self.verdict(*batch).logits)

    def described(self, batch: Any) -> Tensor | None:
        features = self.verdict(*batch).features
        return features[-1].flatten(2).mean(2) if features and features[-1].ndim > 2 else None


def of_examples(logits: Tensor) -> Tensor:
    """One logit for each example [N]: the mean over patches."""
    return logits.flatten(1).mean(1) if logits.ndim > 1 else logits
