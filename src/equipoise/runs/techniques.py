"""The toolbox as a recipe asks for it: one table per technique, `true` for the literature's defaults."""

import math
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from torch import nn

from equipoise.core.errors import RecipeError
from equipoise.core.schedule import Lazy, Schedule, Scheduled, ends, weight_and_interval
from equipoise.data.augment import ADA_LIMIT
from equipoise.data.classical import Changes, Fill
from equipoise.engine.trainer import Plan
from equipoise.games import terms
from equipoise.games.augmentation import AdaptiveAugment, Classical, DiffAugment, InstanceNoise, PseudoReal
from equipoise.games.jury import Jury, MultiAdversarial, PastCritics, RandomSubset
from equipoise.games.round import Term
from equipoise.games.throttle import Throttle
from equipoise.games.toolbox import Toolbox
from equipoise.networks.ensemble import Clusters, Critics, Specialists
from equipoise.networks.fastgan import Decoder, FastGANCritic
from equipoise.networks.information import CodeReader, Statistics
from equipoise.networks.stylegan2 import StyleGAN2Generator
from equipoise.objectives import Adversarial, with_targets


class Part(BaseModel):
    """A table of a recipe: unknown keys are errors, nothing changes after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def check_weight(weight: Scheduled | Lazy) -> Scheduled | Lazy:
    """Raise ValueError for a weight that would reward what it should punish."""
    number, _ = weight_and_interval(weight)
    if not all(0 <= value < math.inf for value in ends(number)):
        raise ValueError(f"the weight is {number}: expected a finite number of at least 0.")
    return weight


def check_share(share: Scheduled) -> Scheduled:
    """Raise ValueError for what is no share."""
    if not all(0 <= value <= 1 for value in ends(share)):
        raise ValueError(f"{share}: expected a number from 0 to 1, or a schedule of such numbers.")
    return share


def check_dose(p: Scheduled) -> Scheduled:
    """Raise ValueError for a probability of augmentation at which it leaks into the fakes."""
    if not all(0 <= value <= ADA_LIMIT for value in ends(p)):
        raise ValueError(f"{p}: expected a number from 0 to {ADA_LIMIT}, above which augmentations leak into fakes.")
    return p


def check_some(share: Scheduled) -> Scheduled:
    """Raise ValueError for a share that leaves nothing."""
    if min(ends(check_share(share))) <= 0:
        raise ValueError(f"{share}: expected a share above 0 and up to 1, or a schedule of such numbers.")
    return share


Number = Annotated[float, Field(strict=True)]
"""Not true or false."""
Weight = Annotated[Number | Schedule | Lazy, AfterValidator(check_weight)]
Size = Annotated[Number | Schedule, AfterValidator(check_weight)]
Share = Annotated[float, Field(ge=0, le=1)]


class Technique(Part):
    """`true` takes the literature's defaults, a number or a schedule sets the main strength, a table everything."""

    main: ClassVar[str | None] = "weight"

    @model_validator(mode="before")
    @classmethod
    def short_forms(cls, value: Any) -> Any:
        if value is True:
            return {}
        if cls.main is not None and isinstance(value, int | float):
            return {cls.main: value}
        if cls.main is not None and isinstance(value, dict) and {"start", "end"} <= value.keys():
            return {cls.main: value}
        if isinstance(value, str | int | float | list):
            number = "" if cls.main is None else f"a number for {cls.main}, "
            raise ValueError(
                f"{value!r} was passed; expected true, false, {number}or a table of {', '.join(cls.model_fields)}."
            )
        return value


# ---------------------------------------------------------------- losses


class Targets(Technique):
    """Other targets for the critic than one and zero; `objectives.with_targets`."""

    main = "real"
    real: Share = 0.9
    fake: Share = 0.0
    spread: Share = 0.0
    """Targets are drawn anew within so much of their value."""
    flips: Share = 0.0
    """The share of targets that are exchanged."""

    def applied(self, loss: Adversarial) -> Adversarial:
        return with_targets(loss, real=self.real, fake=self.fake, spread=self.spread, flips=self.flips)


# ---------------------------------------------------------------- terms


class Consistency(Technique):
    """`games.terms.Consistency`; with fake = 0 it is CR, else bCR."""

    main = "real"
    real: Weight = 10.0
    fake: Weight = 10.0
    mirror: bool = True

    def terms(self, G: nn.Module, D: nn.Module) -> dict[str, tuple[Term, Weight]]:
        real, fake = (terms.Consistency(side, mirror=self.mirror) for side in ("real", "fake"))
        both = {"D/consistency_real": (real, self.real), "D/consistency_fake": (fake, self.fake)}
        return {name: term for name, term in both.items() if term[1] != 0}


class LatentConsistency(Technique):
    """`games.terms.LatentConsistency` (zCR)."""

    main = "critic"
    critic: Weight = 5.0
    generator: Weight = 0.5
    std: float = Field(default=0.03, gt=0)

    def terms(self, G: nn.Module, D: nn.Module) -> dict[str, tuple[Term, Weight]]:
        return {
            "D/latent_consistency": (terms.LatentConsistency(self.std, of_generator=False), self.critic),
            "G/latent_consistency": (terms.LatentConsistency(self.std, of_generator=True), self.generator),
        }


class LeCam(Technique):
    """`games.terms.LeCam`."""

    weight: Weight = 0.3
    decay: float = Field(default=0.99, ge=0, lt=1)

    def terms(self, G: nn.Module, D: nn.Module) -> dict[str, tuple[Term, Weight]]:
        return {"D/lecam": (terms.LeCam(self.decay), self.weight)}


class AdversarialExamples(Technique):
    """`games.terms.AdversarialExamples`."""

    weight: Weight = 1.0
    size: float = Field(default=0.02, gt=0)

    def terms(self, G: nn.Module, D: nn.Module) -> dict[str, tuple[Term, Weight]]:
        return {"D/adversarial_examples": (terms.AdversarialExamples(self.size), self.weight)}


class Reconstruction(Technique):
    """`games.terms.Reconstruction`."""

    weight: Weight = 1.0

    def terms(self, G: nn.Module, D: nn.Module) -> dict[str, tuple[Term, Weight]]:
        if not isinstance(D, FastGANCritic):
            raise RecipeError(
                "game.reconstruction rebuilds the image that a critic of kind fastgan sees, and this critic is another "
                "one, or several. Use network.kind = fastgan without game.critics, or leave it out."
            )
        decoder = Decoder(D.num_features, D.channels, min(D.num_halvings, 3))
        return {"D/reconstruction": (terms.Reconstruction(decoder), self.weight)}


Whose = Literal["D", "G", "both"]


def players(whose: Whose, G: nn.Module, D: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The players that a technique is meant for, with their networks."""
    yield from ((player, network) for player, network in (("D", D), ("G", G)) if whose in (player, "both"))


class Orthogonality(Technique):
    """`games.terms.Orthogonality`."""

    weight: Weight = 1e-4
    whose: Whose = "G"

    def terms(self, G: nn.Module, D: nn.Module) -> dict[str, tuple[Term, Weight]]:
        return {f"{p}/orthogonality": (terms.Orthogonality(net), self.weight) for p, net in players(self.whose, G, D)}


class Absolute(Technique):
    """`games.terms.Absolute`: L1 decay."""

    weight: Weight = 1e-5
    whose: Whose = "D"

    def terms(self, G: nn.Module, D: nn.Module) -> dict[str, tuple[Term, Weight]]:
        return {f"{p}/l1": (terms.Absolute(net), self.weight) for p, net in players(self.whose, G, D)}


class HistoricalAveraging(Technique):
    """`games.terms.HistoricalAveraging`."""

    weight: Weight = 1.0
    decay: float = Field(default=0.999, ge=0, lt=1)
    whose: Whose = "both"

    def terms(self, G: nn.Module, D: nn.Module) -> dict[str, tuple[Term, Weight]]:
        return {
            f"{p}/historical": (terms.HistoricalAveraging(net, decay=self.decay), self.weight)
            for p, net in players(self.whose, G, D)
        }


class FeatureMatching(Technique):
    """`games.terms.matched_features`."""

    weight: Weight = 1.0
    alone: bool = False
    """In place of the adversarial loss, as in the paper."""

    def terms(self, G: nn.Module, D: nn.Module) -> dict[str, tuple[Term, Weight]]:
        return {"G/features": (terms.matched_features, self.weight)}


class ModeSeeking(Technique):
    """`games.terms.sought_modes` (MSGAN)."""

    weight: Weight = 1.0

    def terms(self, G: nn.Module, D: nn.Module) -> dict[str, tuple[Term, Weight]]:
        return {"G/mode_seeking": (terms.sought_modes, self.weight)}


class DiversitySensitive(Technique):
    """`games.terms.DiversitySensitive` (DSGAN)."""

    weight: Weight = 8.0
    limit: float = Field(default=10.0, gt=0)

    def terms(self, G: nn.Module, D: nn.Module) -> dict[str, tuple[Term, Weight]]:
        return {"G/diversity": (terms.DiversitySensitive(self.limit), self.weight)}


class PathLength(Technique):
    """`games.terms.PathLength`."""

    weight: Weight = Lazy(2.0, every=4)
    decay: float = Field(default=0.99, ge=0, lt=1)

    def terms(self, G: nn.Module, D: nn.Module) -> dict[str, tuple[Term, Weight]]:
        return {"G/path_length": (terms.PathLength(self.decay), self.weight)}


class Entropy(Technique):
    """`games.terms.Entropy`."""

    weight: Weight = 1.0
    width: int = Field(default=32, ge=1)

    def terms(self, shape: tuple[int, ...], z_dim: int) -> dict[str, tuple[Term, Weight]]:
        return {"G/entropy": (terms.Entropy(Statistics(shape, z_dim, width=self.width)), self.weight)}


class MutualInformation(Technique):
    """`games.terms.MutualInformation` (InfoGAN)."""

    weight: Weight = 1.0
    num_categories: int = Field(default=10, ge=0)
    num_continuous: int = Field(default=2, ge=0)
    width: int = Field(default=32, ge=1)

    def terms(self, shape: tuple[int, ...], z_dim: int) -> dict[str, tuple[Term, Weight]]:
        K, C = self.num_categories, self.num_continuous
        if not 0 < K + C <= z_dim or K == 1:
            raise RecipeError(
                f"game.mutual_information: {K} categories and {C} continuous codes do not fit into z_dim = {z_dim}: "
                "expected at least one code, never just one category, and no more codes than latents."
            )
        reader = CodeReader(shape, num_categories=K, num_continuous=C, width=self.width)
        term = terms.MutualInformation(reader, num_categories=K, num_continuous=C)
        return {"G/mutual_information": (term, self.weight)}


# ---------------------------------------------------------------- what the critic sees


class DiffAugmentSettings(Technique):
    """`games.augmentation.DiffAugment`."""

    main = None
    policy: tuple[Literal["color", "translation", "cutout"], ...] = ("color", "translation", "cutout")

    def build(self) -> DiffAugment:
        return DiffAugment(self.policy)


class ClassicalSettings(Technique):
    """`games.augmentation.Classical`."""

    main = None
    mirror: bool = True
    flip: bool = False
    rotation: float = Field(default=0.0, ge=0, le=180)
    shift: Share = 0.125
    shear: float = Field(default=0.0, ge=0, le=60)
    zoom: float = Field(default=0.0, ge=0, le=4)
    brightness: float = Field(default=0.0, ge=0, le=2)
    contrast: float = Field(default=0.0, ge=0, le=4)
    saturation: float = Field(default=0.0, ge=0, le=4)
    cutout: Share = 0.0
    share: Share = 0.5
    fill: Fill = "reflect"

    def build(self) -> Classical:
        return Classical(Changes(**self.model_dump()))


class Ada(Technique):
    """`games.augmentation.AdaptiveAugment`."""

    main = "target"
    target: float = Field(default=0.6, gt=0, lt=1)
    span: int = Field(default=500_000, ge=1)
    limit: float = Field(default=ADA_LIMIT, ge=0, le=ADA_LIMIT)
    p: Annotated[Scheduled, AfterValidator(check_dose)] | None = None
    """A probability that follows this schedule in place of the critic's overfitting."""

    def build(self) -> AdaptiveAugment:
        return AdaptiveAugment(target=self.target, span=self.span, limit=self.limit, fixed=self.p)


class Noise(Technique):
    """`games.augmentation.InstanceNoise`; a number is noise that stays."""

    main = "std"
    std: Size = Schedule(start=0.1, end=0.0)

    def build(self) -> InstanceNoise:
        return InstanceNoise(self.std)


class Apa(Technique):
    """`games.augmentation.PseudoReal`."""

    main = "target"
    target: float = Field(default=0.6, gt=0, lt=1)
    span: int = Field(default=500_000, ge=1)
    limit: float = Field(default=ADA_LIMIT, ge=0, le=ADA_LIMIT)

    def build(self) -> PseudoReal:
        return PseudoReal(target=self.target, span=self.span, limit=self.limit)


# ---------------------------------------------------------------- several critics, and how they move


class SeveralCritics(Technique):
    """`games.jury`: several critics and how they decide."""

    main = "num"
    num: int = Field(default=3, ge=2, le=64)
    how: Literal["multi-adversarial", "random-subset", "specialists"] = "multi-adversarial"
    sharpness: float = Field(default=1.0, ge=0)
    """Of "multi-adversarial": 0 is the average of the critics, large is the harshest."""
    keep: float = Field(default=0.5, gt=0, le=1)
    """Of "random-subset": the probability that a critic takes part."""

    def jury(self) -> Jury | None:
        """How they decide; specialists answer as one critic."""
        match self.how:
            case "multi-adversarial":
                return MultiAdversarial(self.sharpness)
            case "random-subset":
                return RandomSubset(self.keep)
            case "specialists":
                return None

    def together(self, members: list[nn.Module], shape: tuple[int, ...]) -> nn.Module:
        """One critic of several."""
        if self.how == "specialists":
            return Specialists(members, Clusters(self.num, shape))
        return Critics(members)


class Past(Technique):
    """`games.jury.PastCritics`."""

    main = "size"
    size: int = Field(default=3, ge=1)
    every: int = Field(default=200, ge=1)
    weight: Size = 1.0

    def build(self, critic: nn.Module) -> PastCritics:
        return PastCritics(critic, self.size, every=self.every, weight=self.weight)


class ThrottleSettings(Technique):
    """`games.throttle.Throttle`."""

    main = "above"
    above: float = Field(default=0.8, gt=0.5, lt=1)
    decay: float = Field(default=0.9, ge=0, lt=1)

    def build(self) -> Throttle:
        return Throttle(self.above, decay=self.decay)


class TopK(Technique):
    """`objectives.top_k`."""

    main = "share"
    share: Annotated[Scheduled, AfterValidator(check_some)] = Schedule(start=1.0, end=0.5, until=0.5)


# ---------------------------------------------------------------- all together


class Techniques(Part):
    """What can be added to the game of one generator against its critics; nothing by default."""

    targets: Targets | None = None
    consistency: Consistency | None = None
    latent_consistency: LatentConsistency | None = None
    lecam: LeCam | None = None
    adversarial_examples: AdversarialExamples | None = None
    reconstruction: Reconstruction | None = None
    orthogonality: Orthogonality | None = None
    l1: Absolute | None = None
    historical_averaging: HistoricalAveraging | None = None
    feature_matching: FeatureMatching | None = None
    mode_seeking: ModeSeeking | None = None
    diversity_sensitive: DiversitySensitive | None = None
    entropy: Entropy | None = None
    mutual_information: MutualInformation | None = None
    path_length: PathLength | None = None
    diffaugment: DiffAugmentSettings | None = None
    classical: ClassicalSettings | None = None
    ada: Ada | None = None
    apa: Apa | None = None
    instance_noise: Noise | None = None
    packing: int = Field(default=1, ge=1, le=16, strict=True)
    """How many examples the critic judges together (PacGAN)."""
    critics: SeveralCritics | None = None
    past_critics: Past | None = None
    unrolled: int = Field(default=0, ge=0, le=50, strict=True)
    """How many of the critic's moves the generator looks ahead."""
    throttle: ThrottleSettings | None = None
    top_k: TopK | None = None
    order: Literal["alternating", "simultaneous"] = "alternating"
    """Simultaneous: both gradients are taken before either player moves."""
    penalty_form: Literal["double-backward", "finite-difference"] = "double-backward"
    """How gradient penalties are computed."""
    separate_penalties: bool = False
    """Lazy penalties as moves of their own, with the optimiser's constants corrected (Karras et al. 2020, App. B)."""

    @model_validator(mode="before")
    @classmethod
    def switched_off(cls, value: Any) -> Any:
        """`false` leaves a technique out, `true` of a number takes the literature's."""
        if not isinstance(value, dict):
            return value
        off = {name: None for name, field in cls.model_fields.items() if field.default is None}
        off |= {"packing": 1, "unrolled": 0}
        on = {"packing": 2, "unrolled": 5}
        value = {key: off[key] if inner is False and key in off else inner for key, inner in value.items()}
        return {key: on[key] if inner is True and key in on else inner for key, inner in value.items()}

    def toolbox(
        self, G: nn.Module, D: nn.Module, shape: tuple[int, ...], z_dim: int, *, growing: float | None
    ) -> Toolbox:
        """The tools of a game between G and D on examples of that shape. Draws weights from the global randomness."""
        of_networks = (
            self.consistency,
            self.latent_consistency,
            self.lecam,
            self.adversarial_examples,
            self.reconstruction,
            self.orthogonality,
            self.l1,
            self.historical_averaging,
            self.feature_matching,
            self.mode_seeking,
            self.diversity_sensitive,
            self.path_length,
        )
        of_latents = (self.entropy, self.mutual_information)
        added = [part.terms(G, D) for part in of_networks if part is not None]
        added += [part.terms(shape, z_dim) for part in of_latents if part is not None]
        return Toolbox(
            terms={name: term for group in added for name, term in group.items()},
            augmentations=[
                part.build()
                for part in (self.instance_noise, self.classical, self.diffaugment, self.ada)
                if part is not None
            ],
            pseudo=self.apa.build() if self.apa else None,
            packing=self.packing,
            jury=self.critics.jury() if self.critics else None,
            clusters=D.clusters if isinstance(D, Specialists) else None,
            styled=G if isinstance(G, StyleGAN2Generator) else None,
            past=self.past_critics.build(D) if self.past_critics else None,
            unrolled=self.unrolled,
            throttle=self.throttle.build() if self.throttle else None,
            top_k=self.top_k.share if self.top_k else 1.0,
            simultaneous=self.order == "simultaneous",
            separate_penalties=self.separate_penalties,
            growing=growing,
            categories=self.mutual_information.num_categories if self.mutual_information else 0,
            matching_alone=self.feature_matching is not None and self.feature_matching.alone,
        )

    def clashes(
        self,
        *,
        loss: Adversarial,
        relative: bool,
        signed: bool,
        labelled: bool,
        shape: tuple[int, ...],
        critic_steps: int,
        intervals: set[int],
        growing: bool,
        clipped: bool,
    ) -> Iterator[str]:
        """What cannot be combined, and why.

        `relative` says that the loss leaves the level of the logits free, `signed` that an undecided critic answers 0.
        """
        if self.packing > 1 and labelled:
            yield (
                f"game.packing = {self.packing} needs a critic that judges several examples at once, but a conditional "
                "critic judges one example by its own class. Use game.kind = gan, or network.minibatch = deviation."
            )
        if self.packing > 1 and self.path_length:
            yield (
                f"game.packing = {self.packing} hands packs of examples on, but path_length follows the latent of one "
                "example. Leave one of them out."
            )
        if len(shape) != 3:
            images = {"diffaugment": self.diffaugment, "classical": self.classical, "ada": self.ada}
            images |= {"consistency": self.consistency}
            for name, part in images.items():
                if part is not None:
                    yield (
                        f"game.{name} shifts, mirrors and colours images, but the examples have shape {shape}. "
                        "Use game.instance_noise."
                    )
        if relative and self.lecam:
            yield (
                "game.lecam ties the logits to their running means, but this loss only compares logits and leaves "
                "their level free. Use another loss, such as hinge, or penalties r1 and r2."
            )
        if not signed and ((self.ada and self.ada.p is None) or self.apa):
            yield (
                f"game.{'apa' if self.apa else 'ada'} adapts to the sign of the critic's logits, but with this loss an "
                "undecided critic need not answer 0. Use another loss"
                + ("." if self.apa else ", or give a schedule by game.ada.p.")
            )
        if self.top_k and self.feature_matching and self.feature_matching.alone:
            yield (
                "game.top_k chooses examples of the adversarial loss, which feature_matching.alone takes away. "
                "Leave one of them out."
            )
        if relative and self.adversarial_examples:
            yield (
                "game.adversarial_examples rejects attacked fakes by the level of their logits, but this loss only "
                "compares logits and leaves their level free. Use another loss."
            )
        if self.apa and self.separate_penalties:
            yield (
                "game.apa mixes fakes into the real examples of a move, and game.separate_penalties takes the "
                "penalties into another move with real examples of its own. Leave one of them out."
            )
        if self.unrolled and clipped:
            yield (
                "game.unrolled looks ahead along the optimiser's steps, and game.clip cuts the critic's weights after "
                "each of them, which cannot be differentiated. Use a gradient penalty in place of clipping."
            )
        if self.top_k and self.critics and self.critics.how != "specialists":
            yield (
                "game.top_k chooses the examples that the critic scores highest, but game.critics makes several "
                "critics who need not agree. Leave one of them out."
            )
        if self.critics and self.past_critics:
            yield (
                "game.past_critics keeps copies of one critic, but game.critics asks for several at once. "
                "Leave one of them out."
            )
        if self.order == "simultaneous":
            apart = {"critic_steps": critic_steps > 1, "throttle": self.throttle, "unrolled": self.unrolled}
            apart |= {"separate_penalties": self.separate_penalties}
            for name, on in apart.items():
                if on:
                    yield (
                        f"game.{name} lets the players move at different times, but game.order is simultaneous. "
                        "Use order = alternating."
                    )
        if self.separate_penalties and (len(intervals) != 1 or 1 in intervals):
            yield (
                f"game.separate_penalties makes a move of its own of penalties that are due every k steps, but the "
                f"intervals are {sorted(intervals) or 'none'}: expected one interval above 1, such as "
                "game.penalties.r1 = {weight = 0.8, every = 16}."
            )
        if growing and self.critics:
            yield "game.critics makes several critics, but a progressive network grows as one. Leave one of them out."
        if self.targets:
            try:
                self.targets.applied(loss)
            except ValueError as error:
                yield f"game.targets: {error}"

    def clashes_with_training(self, training: Plan, *, minibatch: str, batch_norm: bool) -> Iterator[str]:
        """What cannot be combined with the batch. `batch_norm` is that of the critic."""
        if self.critics and self.critics.how == "specialists" and training.accumulate > 1:
            yield (
                "game.critics.how = specialists finds clusters in whole batches, but training.accumulate = "
                f"{training.accumulate} splits them. Use accumulate = 1."
            )
        sizes = sorted({training.batch_at(mark / 1000) // training.accumulate for mark in range(1001)})
        uneven = [size for size in sizes if size % self.packing]
        if uneven:
            yield (
                f"game.packing = {self.packing} needs batches that are a multiple of it, but a micro-batch has "
                f"{uneven[0]} examples. Set training.batch to a multiple of {self.packing} times accumulate"
                + (', with shape = "step" in its schedule.' if isinstance(training.batch, Schedule) else ".")
            )
        if (minibatch != "none" or batch_norm) and sizes[0] // self.packing < 2:
            what = f"minibatch = {minibatch}" if minibatch != "none" else "critic_normalisation = batch"
            yield (
                f"game.network.{what} compares the examples of a batch, but a micro-batch leaves the critic "
                f"{sizes[0] // self.packing} of them to see. Raise training.batch or lower training.accumulate."
            )
