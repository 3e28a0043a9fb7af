"""GAN: a generator against a critic (Goodfellow et al. 2014), with or without classes (Mirza & Osindero 2014)."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import one_hot

from equipoise.core.game import Clock, LatentGame, Move, Moves, Verdict
from equipoise.core.schedule import Lazy, Scheduled, value_at
from equipoise.games.augmentation import AdaptiveAugment, PseudoReal
from equipoise.games.round import Round
from equipoise.games.terms import sloped
from equipoise.games.toolbox import Toolbox
from equipoise.networks.minibatch import pack, unpack
from equipoise.networks.progressive import grow
from equipoise.objectives import Adversarial, Penalty, classification, top_k


class GAN(LatentGame):
    """`critic_steps` moves of D on fresh data, then one move of G.

    Where the clock allows reuse, the last fakes that D learned from are the ones that G is updated on, as in the
    widely used DCGAN loops; otherwise G draws new latents, as in Goodfellow et al. 2014, Alg. 1. `clip` bounds D's
    weights after each of its moves (Arjovsky et al. 2017, Alg. 1, line 7).

    With `num_classes`, both networks are given the class. How the critic uses it is its own affair (projection,
    concatenation). A critic that answers class scores is an auxiliary classifier: then both players also minimise its
    classification loss (Odena et al. 2017, Eq. 3), D on real data, G on generated data, weighted by "G/classes".
    """

    averaged = ("G",)

    def __init__(
        self,
        G: nn.Module,
        D: nn.Module,
        *,
        z_dim: int,
        loss: Adversarial,
        num_classes: int = 0,
        penalties: Mapping[str, tuple[Penalty, Scheduled | Lazy]] | None = None,
        critic_steps: int = 1,
        clip: float | None = None,
        auxiliary: Scheduled | None = None,
        tools: Toolbox | None = None,
    ):
        super().__init__()
        self.G, self.D, self.z_dim, self.num_classes, self.loss = G, D, z_dim, num_classes, loss
        self.critic_steps, self.clip = critic_steps, clip
        self.tools = tools or Toolbox()
        self.states = self.tools.modules()
        sloping = {f"D/{name}": (sloped(penalty), weight) for name, (penalty, weight) in (penalties or {}).items()}
        terms = {**sloping, **self.tools.terms}
        self.terms = {key: term for key, (term, _) in terms.items()}
        self.weights = {key: weight for key, (_, weight) in terms.items()}
        self.apart = set(sloping) if self.tools.separate_penalties else set()
        self.sloped = bool(set(sloping) - self.apart)
        """Whether D's verdicts serve its penalties too: they are functions of the examples then."""
        if self.tools.past is not None:
            self.weights |= {"G/past": self.tools.past.weight}
        if auxiliary is not None:
            self.weights |= {"G/classes": auxiliary}

    @property
    def players(self) -> dict[str, list[nn.Module]]:
        mine = {player: [m for n, m in self.states.items() if n.startswith(f"{player}_")] for player in ("D", "G")}
        return {"D": [self.D, *mine["D"]], "G": [self.G, *mine["G"]]}

    def step(self, data: Iterator[Any], now: Clock) -> Moves:
        if self.tools.growing is not None:
            grow(self.G, now.progress, fade=self.tools.growing)
            grow(self.D, now.progress, fade=self.tools.growing)

        if self.tools.simultaneous:
            x, y = self.dealt(next(data))
            z, fake = self.made(x, y)
            yield self.critic_move(x, y, z, fake.detach(), now), self.generator_move(x, y, z, fake, now)
            if self.clip is not None:
                clip_weights(self.D, self.clip)
            self.keep_critic(now)
            return

        waiting = self.tools.throttle is not None and self.tools.throttle.closed()
        for left in reversed(range(0 if waiting else self.critic_steps)):
            x, y = self.dealt(next(data))  # [N, ...]
            with torch.set_grad_enabled(now.reuse and left == 0):
                z, fake = self.made(x, y)
            yield self.critic_move(x, y, z, fake.detach(), now)
            if any(now.due(key) for key in self.apart):
                yield self.penalty_move(x, y, z, fake.detach(), now)
            if self.clip is not None:
                clip_weights(self.D, self.clip)
        self.keep_critic(now)

        if waiting:
            x, y = self.dealt(next(data))
        if waiting or not now.reuse:
            z, fake = self.made(x, y)
        yield self.generator_move(x, y, z, fake, now)

    # ---------------------------------------------------------------- the moves

    def critic_move(self, x: Tensor, y: tuple[Tensor, ...], z: Tensor, fake: Tensor, now: Clock) -> Move:
        """D learns to tell real examples x from fakes."""
        shown = x if self.tools.pseudo is None else self.tools.pseudo(x, fake)
        round = self.critic_round(self.critic(y, now), shown, y, z, fake, now)
        terms = self.critic_terms(round, y, now)
        num_examples = len(x) * self.tools.packing * now.micro_batches
        for part in (*self.tools.augmentations, *([self.tools.pseudo] if self.tools.pseudo is not None else [])):
            round.notes += part.news(round.real_logits, num_examples)
        if self.tools.clusters is not None:
            round.notes += self.tools.clusters.news(x)
        watch = {"real": round.real_logits, "fake": round.forged.logits}
        dosed = [part for part in self.states.values() if isinstance(part, AdaptiveAugment | PseudoReal)]
        watch |= {part.watched: part.dose.p for part in dosed}
        return Move("D", terms, watch=watch, remember=self.by_name(round.notes))

    def critic_round(
        self,
        critic: Callable[[Tensor], Verdict],
        x: Tensor,
        y: tuple[Tensor, ...],
        z: Tensor,
        fake: Tensor,
        now: Clock,
    ) -> Round:
        """What D sees before its move. Its verdicts serve the penalties on its slope too, at full precision."""
        # Where D looks ahead, its parameters depend on fakes: the slope is that at a copy, which they do not depend on.
        fake = fake.view_as(fake)
        if self.sloped and not torch.is_autocast_enabled(x.device.type):
            x, fake = x.detach().requires_grad_(), fake if fake.requires_grad else fake.detach().requires_grad_()
        real, forged = critic(x), critic(fake)
        return Round(x, fake, z, real, forged, critic, self.generator(y), now.progress, self.tools.packing)

    def critic_terms(self, round: Round, y: tuple[Tensor, ...], now: Clock) -> dict[str, Tensor]:
        """All that D minimises in its move."""
        terms = {"adversarial": self.critic_loss(round.real_logits, round.forged.logits)}
        if round.real_verdict.classes is not None:
            terms |= {"classes": classification(round.real_verdict.classes, *y)}
        return terms | self.more_terms("D", round, now, without=self.apart)

    def penalty_move(self, x: Tensor, y: tuple[Tensor, ...], z: Tensor, fake: Tensor, now: Clock) -> Move:
        """The penalties on D's slope, as a move of its own (Karras et al. 2020, App. B)."""
        critic = self.critic(y, now)
        nothing = Verdict(fake.new_zeros(len(fake)))
        round = Round(x, fake, z, None, nothing, critic, self.generator(y), now.progress, self.tools.packing)
        return Move("D", self.more_terms("D", round, now, without=set(self.terms) - self.apart))

    def generator_move(self, x: Tensor, y: tuple[Tensor, ...], z: Tensor, fake: Tensor, now: Clock) -> Move:
        """G learns to be taken for real."""
        styled = self.tools.styled
        traced = None if styled is None else lambda z: styled.traced(self.coded(z), *y)
        critic = self.unrolled_critic(x, y, z, fake, now) if self.tools.unrolled else self.critic(y, now)
        forged = critic(fake)
        real = critic(x) if self.loss.compares else None
        round = Round(x, fake, z, real, forged, critic, self.generator(y), now.progress, self.tools.packing, traced)
        if styled is not None:
            round.notes += styled.news(self.coded(z), *y)
        terms, watch = {}, {}
        if not self.tools.matching_alone:
            real_logits = forged.logits if real is None else real.logits
            terms |= {"adversarial": self.generator_loss(real_logits, forged.logits, now)}
        if self.tools.past is not None:
            terms |= {"past": self.tools.past(self.D, self.seen(x, now), self.seen(fake, now), y, self.loss)}
        if forged.classes is not None:
            terms |= {"classes": classification(forged.classes, *y)}
        terms |= self.more_terms("G", round, now)
        if self.tools.throttle is not None:
            with torch.no_grad():  # of D as it is, also where G looks ahead
                present = self.critic(y, now)
                accuracy = self.tools.throttle.measured(present(x).logits, present(fake).logits)
            round.remember(self.tools.throttle.accuracy, accuracy)
            watch = {"critic_accuracy": accuracy}
        return Move("G", terms, watch=watch, remember=self.by_name(round.notes))

    # ---------------------------------------------------------------- what a move is made of

    def critic(self, y: tuple[Tensor, ...], now: Clock) -> Callable[[Tensor], Verdict]:
        """From examples of classes y to D's verdict."""
        return lambda x: self.D(self.seen(x, now), *y)

    def unrolled_critic(
        self, x: Tensor, y: tuple[Tensor, ...], z: Tensor, fake: Tensor, now: Clock
    ) -> Callable[[Tensor], Verdict]:
        """D as it will be after a few moves against these fakes, as a function of G (Metz et al. 2017, Eq. 9).

        It moves along all its terms; those of the parameters alone read the present ones and have no gradient there.
        """

        def as_if(parameters: Mapping[str, Tensor]) -> Callable[[Tensor], Verdict]:
            own = {name.removeprefix("D."): p for name, p in parameters.items() if name.startswith("D.")}
            return lambda x: functional_call(self.D, own, (self.seen(x, now), *y))

        def terms(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return self.critic_terms(self.critic_round(as_if(parameters), x, y, z, fake, now), y, now)

        return as_if(now.preview("D", terms, steps=self.tools.unrolled))

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """D's adversarial loss on logits [N] or, of several critics, [N, K]."""
        losses = self.loss.d(real, fake)
        return losses if self.tools.jury is None else self.tools.jury.of_critics(losses)

    def generator_loss(self, real: Tensor, fake: Tensor, now: Clock) -> Tensor:
        """G's adversarial loss on logits [N] or, of several critics, [N, K]."""
        losses, share = self.loss.g(real, fake), value_at(self.tools.top_k, now.progress)
        if share < 1:
            losses = top_k(losses, fake, share)
        return losses if self.tools.jury is None else self.tools.jury.of_generator(losses)

    def more_terms(self, player: str, round: Round, now: Clock, *, without: Collection[str] = ()) -> dict[str, Tensor]:
        """The further terms of a player that are due."""
        return {
            key.partition("/")[2]: term(round)
            for key, term in self.terms.items()
            if key.startswith(f"{player}/") and key not in without and now.due(key)
        }

    def keep_critic(self, now: Clock) -> None:
        """Now and then, a copy of D goes into the pool of the past."""
        if self.tools.past is not None and now.step > 0 and now.every(self.tools.past.every):
            self.tools.past.pool.remember(self.D)

    def by_name(self, notes: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        """New values of buffers, under the names that they have in the game."""
        names = {id(buffer): name for name, buffer in self.named_buffers()} if notes else {}
        return {names[id(buffer)]: value for buffer, value in notes}

    def seen(self, x: Tensor, now: Clock) -> Tensor:
        """Examples, or packs of them, as the critic sees them."""
        if not self.tools.augmentations:
            return x
        x = unpack(x, self.tools.packing)
        for augmentation in self.tools.augmentations:
            x = augmentation(x, now.progress)
        return pack(x, self.tools.packing)

    def dealt(self, batch: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Real examples, or packs of them, and their classes, if any."""
        x, *y = batch if isinstance(batch, tuple | list) else (batch,)
        return pack(x, self.tools.packing), tuple(y)

    def made(self, x: Tensor, y: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Fresh latents and the examples, or packs of them, that G makes of them: as many as there are in x."""
        z = torch.randn(len(x) * self.tools.packing, self.z_dim, device=x.device)
        return z, self.generator(y)(z)

    def generator(self, y: tuple[Tensor, ...]) -> Callable[[Tensor], Tensor]:
        """From latents to examples of classes y, or packs of them."""
        return lambda z: pack(self.G(self.coded(z), *y), self.tools.packing)

    def coded(self, z: Tensor) -> Tensor:
        """Latents as G takes them: the first of them as a category, where codes are used (Chen et al. 2016)."""
        K = self.tools.categories
        return torch.cat([one_hot(z[:, :K].argmax(1), K).to(z), z[:, K:]], dim=1) if K else z

    # ---------------------------------------------------------------- outputs

    def generate(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.G(self.coded(z), *self.asked(labels))

    def truncating(self, truncation: float) -> Callable[[Tensor, Tensor | None], Tensor] | None:
        styled = self.tools.styled
        if styled is None:
            return None
        return lambda z, labels: styled(self.coded(z), *self.asked(labels), truncation=truncation)

    def asked(self, labels: Tensor | None) -> tuple[Tensor, ...]:
        """The classes that a person asked for, as G takes them."""
        if self.num_classes and labels is None:
            raise ValueError(f"A conditional generator needs labels [N] from 0 to {self.num_classes - 1}: none given.")
        return (labels,) if self.num_classes and labels is not None else ()

    def sample(self, batch: Any) -> dict[str, Tensor]:
        x, *y = batch if isinstance(batch, tuple | list) else (batch,)
        return {"fake": self.G(self.coded(torch.randn(len(x), self.z_dim, device=x.device)), *y)}

    def shown(self, batch: Any, now: Clock) -> Any:
        x, *y = batch if isinstance(batch, tuple | list) else (batch,)
        for augmentation in self.tools.augmentations:
            x = augmentation(x, now.progress)
        return (x, *y) if y else x

    def judge(self, batch: Any) -> Tensor:
        """Logits [N], the mean of several critics; with packing, of packs of each example and its successors."""
        logits = self.verdict(batch).logits
        return logits if self.tools.jury is None else logits.mean(1)

    def described(self, batch: Any) -> Tensor | None:
        features = self.verdict(batch).features
        return features[-1].flatten(1) if features else None

    def verdict(self, batch: Any) -> Verdict:
        """What D says of each example, packed with its successors if need be."""
        x, *y = batch if isinstance(batch, tuple | list) else (batch,)
        m = self.tools.packing
        packs = pack(torch.stack([x.roll(-k, dims=0) for k in range(m)], dim=1).flatten(0, 1), m)
        return self.D(packs, *y)


@torch.no_grad()
def clip_weights(module: nn.Module, bound: float) -> None:
    """Weight clipping: after each of the critic's moves, its parameters are put back into [-bound, bound].

    θ ← min(max(θ, -c), c): a crude bound on the slope that the Wasserstein loss needs.
    Default: off; c = 0.01 with rmsprop at 5e-5 and five critic steps.
    Cost: nothing to speak of; the critic loses capacity.
    Source: Arjovsky et al. 2017, Wasserstein GAN, Algorithm 1.
    """
    for weight in module.parameters():
        weight.clamp_(-bound, bound)
