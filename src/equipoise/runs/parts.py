"""Where names become objects: the games, networks, losses, penalties and data sets that a recipe can ask for."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator
from torch import Tensor, nn

from equipoise import objectives
from equipoise.core.errors import DataError, RecipeError
from equipoise.core.game import Game
from equipoise.core.schedule import Scheduled, weight_and_interval
from equipoise.data.classical import Changes
from equipoise.data.digits import digits
from equipoise.data.images import Filter
from equipoise.data.named import Wanted, fetched, located
from equipoise.data.open import open_source
from equipoise.data.source import Source, TaskFacts
from equipoise.data.stacked import Stacked
from equipoise.data.standardise import How, Standard, between
from equipoise.data.toy import Mixture, grid, ring
from equipoise.engine.optimizers import Optimizer
from equipoise.engine.trainer import Plan
from equipoise.games.answers import Choice
from equipoise.games.gan import GAN
from equipoise.networks.dcgan import DCGANCritic, DCGANGenerator
from equipoise.networks.initialisation import initialise
from equipoise.networks.layers import Conditioning, GeneratorNormalisation, Normalisation
from equipoise.networks.minibatch import Minibatch
from equipoise.networks.mlp import Activation, MLPCritic, MLPGenerator
from equipoise.networks.progressive import ProgressiveCritic, ProgressiveGenerator
from equipoise.networks.resnet import ResNetCritic, ResNetGenerator
from equipoise.objectives.balance import BALANCERS, AnyBalancer
from equipoise.runs.generating import Fastgan, NetworkSettings, R3gan, Stylegan2, image_shape
from equipoise.runs.scores import Scored
from equipoise.runs.techniques import Part, Techniques, Weight

if TYPE_CHECKING:
    from equipoise.runs.run import Run


@dataclass(frozen=True)
class Examples:
    """What a game must know of its data: its name, the shape of one example, the names of the classes (if any)."""

    name: str
    shape: tuple[int, ...]
    classes: tuple[str, ...] = ()
    given: tuple[int, ...] | None = None
    """Of pairs: the shape of what the game is given; `shape` is that of the target."""
    learn: Callable[[], Source] | None = field(default=None, compare=False, repr=False)
    """Opens what networks beside the game are fitted to, where that is known."""
    tasks: Mapping[str, TaskFacts] = field(default_factory=dict)
    """Of several tasks: their names in order, and what a game must know of them."""


def by_name(balance: object) -> object:
    """A balancer by its name alone has its defaults; false and null are none."""
    if isinstance(balance, Mapping) and "kind" not in balance:
        raise ValueError(f"it names no kind. Expected kind = one of {', '.join(BALANCERS)}.")
    return {"kind": balance} if isinstance(balance, str) else balance or None


Balance = Annotated[Annotated[AnyBalancer, Field(discriminator="kind")] | None, BeforeValidator(by_name)]


class GameSettings(Part):
    """The settings of a game; subclass it beside your own game. Give it a `kind`, its name in recipe files."""

    balance: Balance = None
    """What finds further weights of the generator's terms while it trains: see `objectives.balance`."""

    def balanced(self, game: Game) -> Game:
        """The game, as these settings balance its generator G."""
        if self.balance is not None:
            game.balance = {**game.balance, "G": self.balance}
        return game

    @property
    def preparation(self) -> str:
        """What a person should know of a wait before the first step."""
        return ""

    @property
    def own_scores(self) -> tuple[str, ...]:
        """Names of what `scored` measures (`runs.scores`), for games that are judged in a way of their own."""
        return ()

    def measured(self, data: "DataSettings") -> tuple[str, ...]:
        """Those of `own_scores` that are measured on such data."""
        return self.own_scores

    def scored(self, run: "Run", game: Game, held_out: Source, *, num: int | None = None) -> Scored:
        """Measure a game, in eval mode, on held-out data, or so many examples of it; draws no global randomness."""
        raise RecipeError("This game is not judged in a way of its own.")

    @property
    def needs_labels(self) -> bool:
        """Whether batches are (examples, labels) rather than examples."""
        return False

    @property
    def semi_supervised(self) -> bool:
        """Whether it learns from examples of which only some have a label (`data.labelled`)."""
        return False

    @property
    def generative(self) -> bool:
        """Whether it makes examples from latents, although it is judged in a way of its own."""
        return False

    @abstractmethod
    def build(self, examples: Examples) -> Game:
        """The game for such examples. Draws initial weights from torch's global randomness."""

    def conflicts(self, training: Plan, players: Mapping[str, Optimizer]) -> list[str]:
        """What in the game cannot be combined with the training, and why."""
        return []

    def optimizers(self, players: Mapping[str, Optimizer]) -> Mapping[str, Optimizer]:
        """The players' optimisers, with whatever correction the game needs."""
        return players


class DataSettings(Part):
    """Where examples come from; subclass it for a source of your own. Give it a `kind`, its name in recipe files."""

    held_out: int = Field(default=500, ge=1)
    """Examples that are never trained on; at most three tenths of all."""
    held_out_at: Literal["anywhere", "end"] = "anywhere"
    """Which are held out: drawn anywhere, or the last ones in their order, as slices of a volume should be."""
    gap: int = Field(default=0, ge=0)
    """With "end": so many before them are left out, because neighbours are alike."""
    fold: str | None = Field(default=None, pattern=r"^[1-9]\d*/[1-9]\d*$")
    """Hold out one of several equal parts instead, such as "1/5": runs with 1/5 to 5/5 are a cross-validation."""
    per_class: int | None = Field(default=None, ge=1)
    """Train on so many examples of each class only."""
    labelled: int | Path | None = None
    """For semi-supervised games: so many examples of each class have a label, drawn by `draw`, or those whose numbers
    are in a text file, which are then never held out. The others are trained on without theirs."""
    augmentation: Changes | None = None
    """Training images are changed at random, anew each time: a generator learns to make such images too."""
    draw: int = 0
    """Another number holds out, and leaves, other examples."""
    standardise: How = "none"
    """Each coordinate, or channel of images, by the training examples: from [min, max] to [-1, 1] ("range"), or to
    mean 0 and deviation 1 ("mean-std"). What is generated comes in the units of the data all the same."""
    check: bool = True
    """Whether files are looked at before training, as `equipoise data check` does; what was found is told."""

    @field_validator("labelled")
    @classmethod
    def some_labels(cls, labelled: int | Path | None) -> int | Path | None:
        """A run can be resumed from any folder."""
        if isinstance(labelled, int) and labelled < 1:
            raise ValueError(f"{labelled} labelled examples of each class: expected at least 1, or a text file.")
        return labelled.expanduser().absolute() if isinstance(labelled, Path) else labelled

    @abstractmethod
    def open(self) -> Source:
        """All examples. Raises `DataError`."""

    def prepared(self, choice: Choice) -> Choice:
        """What a person chose, in the form in which the data of training is."""
        return choice

    @property
    def files(self) -> tuple[Path, str | None] | None:
        """Where examples lie, and the part of it that is used; None of those that are made."""
        return None

    def at(self, path: Path) -> dict[str, Path]:
        """The settings by which other data, at a path, is read in the same way."""
        return {"path": path}

    def to_learn_from(self) -> Source:
        """What networks beside the game, such as one that compares pictures, are fitted to. Raises `DataError`."""
        return self.open()

    def shown(self, x: Tensor, *, given: bool = False) -> Tensor:
        """Examples [N, C, H, W], or what is given of pairs, as people see them, where networks see something else."""
        return x

    @property
    def standardises(self) -> bool:
        """Whether values of any range become such as networks learn from."""
        return self.standardise != "none" or self.fixed_standard is not None

    @property
    def fixed_standard(self) -> Standard | None:
        """The standard of examples that `open` standardises itself, by numbers that are known beforehand."""
        return None

    @property
    def looked_through(self) -> tuple[float, float] | None:
        """The values, in the units of the data, that pictures show as black and white; None for all there are."""
        return None


# ---------------------------------------------------------------- objectives

LOSSES = {
    "minimax": objectives.minimax,
    "non-saturating": objectives.non_saturating,
    "least-squares": objectives.least_squares,
    "hinge": objectives.hinge,
    "wasserstein": objectives.wasserstein,
    "relativistic-average": objectives.relativistic_average,
    "relativistic-pairing": objectives.relativistic_pairing,
    "f-kl": objectives.f_kl,
    "f-reverse-kl": objectives.f_reverse_kl,
    "f-pearson": objectives.f_pearson,
    "f-jensen-shannon": objectives.f_jensen_shannon,
    "f-squared-hellinger": objectives.f_squared_hellinger,
    "f-total-variation": objectives.f_total_variation,
}
LossName = Literal[
    "minimax",
    "non-saturating",
    "least-squares",
    "hinge",
    "wasserstein",
    "relativistic-average",
    "relativistic-pairing",
    "f-kl",
    "f-reverse-kl",
    "f-pearson",
    "f-jensen-shannon",
    "f-squared-hellinger",
    "f-total-variation",
]

PENALTIES = {
    "r1": objectives.r1,
    "r2": objectives.r2,
    "gradient-penalty": objectives.gradient_penalty,
    "zero-centred-gradient-penalty": objectives.zero_centred_gradient_penalty,
    "dragan": objectives.dragan,
}
PenaltyName = Literal["r1", "r2", "gradient-penalty", "zero-centred-gradient-penalty", "dragan"]


def without_absent(penalties: object) -> object:
    """Without the penalties that are switched off by null or false."""
    if not isinstance(penalties, Mapping):
        return penalties
    return {name: weight for name, weight in penalties.items() if weight is not None and weight is not False}


Penalties = Annotated[dict[PenaltyName, Weight], BeforeValidator(without_absent)]
"""Penalties with their weights; the weight multiplies the mean squared norm (γ/2 in the papers' notation)."""

# ---------------------------------------------------------------- networks


class Mlp(NetworkSettings):
    """Multi-layer perceptrons, for points, vectors and very small images."""

    kind: Literal["mlp"] = "mlp"
    width: int = Field(default=256, ge=1)
    num_layers: int = Field(default=3, ge=1, le=16)
    generator_normalisation: Literal["none", "batch"] = "none"
    generator_activation: Activation = "leaky-relu"
    """Between the generator's layers; "relu" separates narrow modes sooner."""

    def generator(self, z_dim: int, shape: tuple[int, ...], num_classes: int) -> nn.Module:
        return MLPGenerator(
            z_dim,
            shape,
            width=self.width,
            num_layers=self.num_layers,
            num_classes=num_classes,
            normalisation=self.generator_normalisation,
            activation=self.generator_activation,
        )

    def critic(self, shape: tuple[int, ...], num_classes: int, conditioning: Conditioning) -> nn.Module:
        return MLPCritic(
            shape,
            width=self.critic_width or self.width,
            num_layers=self.num_layers,
            normalisation=self.critic_normalisation,
            num_classes=num_classes,
            conditioning=conditioning,
            dropout=self.dropout,
            minibatch=self.minibatch,
            group=self.group,
        )


class Dcgan(NetworkSettings):
    """Strided convolutions, for square images of 8 to 256 pixels."""

    kind: Literal["dcgan"] = "dcgan"
    generator_normalisation: GeneratorNormalisation = "batch"
    smallest: int = Field(default=4, ge=1, le=16)
    """Pixels where the generator begins, up to one less than twice as many."""
    critic_smallest: int | None = Field(default=None, ge=1, le=16)
    """Pixels where the critic ends; by default those of the generator."""

    def generator(self, z_dim: int, shape: tuple[int, ...], num_classes: int) -> nn.Module:
        channels, size = image_shape(shape, "dcgan")
        return DCGANGenerator(
            z_dim,
            channels,
            size,
            width=self.width,
            num_classes=num_classes,
            normalisation=self.generator_normalisation,
            smallest=self.smallest,
        )

    def critic(self, shape: tuple[int, ...], num_classes: int, conditioning: Conditioning) -> nn.Module:
        channels, size = image_shape(shape, "dcgan")
        return DCGANCritic(
            channels,
            size,
            width=self.critic_width or self.width,
            normalisation=self.critic_normalisation,
            num_classes=num_classes,
            conditioning=conditioning,
            dropout=self.dropout,
            minibatch=self.minibatch,
            group=self.group,
            smallest=self.critic_smallest or self.smallest,
        )


class Resnet(NetworkSettings):
    """Residual blocks, for square images of 4, 5, 6 or 7 times a power of two, from 8 to 256 pixels."""

    kind: Literal["resnet"] = "resnet"
    critic_normalisation: Normalisation = "spectral"
    attention: int | None = Field(default=None, ge=4, le=128)
    """Pixels per side of the features where every place looks at all others, such as 16 of images of 32 or more."""

    def generator(self, z_dim: int, shape: tuple[int, ...], num_classes: int) -> nn.Module:
        channels, size = image_shape(shape, "resnet")
        return ResNetGenerator(
            z_dim, channels, size, width=self.width, num_classes=num_classes, attention=self.attention
        )

    def critic(self, shape: tuple[int, ...], num_classes: int, conditioning: Conditioning) -> nn.Module:
        channels, size = image_shape(shape, "resnet")
        return ResNetCritic(
            channels,
            size,
            width=self.critic_width or self.width,
            normalisation=self.critic_normalisation,
            num_classes=num_classes,
            conditioning=conditioning,
            dropout=self.dropout,
            minibatch=self.minibatch,
            group=self.group,
            attention=self.attention,
        )


class Progressive(NetworkSettings):
    """Networks that grow with training from 4 pixels to the full size, for square images of 8 to 256 pixels."""

    kind: Literal["progressive"] = "progressive"
    generator_normalisation: GeneratorNormalisation = "pixel"
    minibatch: Minibatch = "deviation"
    fade: float = Field(default=0.5, ge=0, le=1)
    """The share of each resolution's time in which it fades in; 0 is a plain schedule of resolutions."""

    @model_validator(mode="after")
    def without_dropout(self) -> "Progressive":
        """Raise ValueError for what these networks do not have."""
        if self.dropout > 0:
            raise ValueError(
                f"dropout = {self.dropout}: the progressive critic has none. Leave it out, or use network.kind = dcgan."
            )
        return self

    def generator(self, z_dim: int, shape: tuple[int, ...], num_classes: int) -> nn.Module:
        channels, size = image_shape(shape, "progressive")
        return ProgressiveGenerator(
            z_dim,
            channels,
            size,
            width=self.width,
            num_classes=num_classes,
            normalisation=self.generator_normalisation,
        )

    def critic(self, shape: tuple[int, ...], num_classes: int, conditioning: Conditioning) -> nn.Module:
        channels, size = image_shape(shape, "progressive")
        return ProgressiveCritic(
            channels,
            size,
            width=self.critic_width or self.width,
            normalisation=self.critic_normalisation,
            num_classes=num_classes,
            conditioning=conditioning,
            minibatch=self.minibatch,
            group=self.group,
        )


Network = Annotated[Mlp | Dcgan | Resnet | Progressive | Stylegan2 | R3gan | Fastgan, Field(discriminator="kind")]

# ---------------------------------------------------------------- games


class Adversarial(GameSettings, Techniques):
    """What the games of one generator against its critics have in common."""

    network: Network = Dcgan()
    z_dim: int = Field(default=64, ge=1)
    loss: LossName = "non-saturating"
    penalties: Penalties = {}
    critic_steps: int = Field(default=1, ge=1, strict=True)
    clip: float | None = Field(default=None, gt=0, strict=True)

    def play(
        self,
        examples: Examples,
        num_classes: int = 0,
        conditioning: Conditioning = "none",
        auxiliary: Scheduled | None = None,
    ) -> GAN:
        """The game. Raises `RecipeError` where techniques cannot be combined."""
        loss = LOSSES[self.loss]
        growing = self.network.fade if isinstance(self.network, Progressive) else None
        relative = loss.compares or self.loss == "wasserstein"
        complaints = self.clashes(
            loss=loss,
            relative=relative,
            signed=not relative and self.loss not in ("f-kl", "least-squares"),
            labelled=num_classes > 0,
            shape=examples.shape,
            critic_steps=self.critic_steps,
            intervals={weight_and_interval(weight)[1] for weight in self.penalties.values()},
            growing=growing is not None,
            clipped=self.clip is not None,
        )
        if lines := list(complaints):
            raise RecipeError("\n".join(lines))
        G = self.network.generator(self.z_dim, examples.shape, num_classes)
        shape = (examples.shape[0] * self.packing, *examples.shape[1:])
        members = [
            self.network.critic(shape, num_classes, conditioning)
            for _ in range(self.critics.num if self.critics else 1)
        ]
        D = self.critics.together(members, shape) if self.critics else members[0]
        if self.network.initialisation:
            initialise(G, self.network.initialisation)
            initialise(D, self.network.initialisation)
        form = objectives.by_difference if self.penalty_form == "finite-difference" else lambda penalty: penalty
        return GAN(
            G,
            D,
            z_dim=self.z_dim,
            num_classes=num_classes,
            loss=self.targets.applied(loss) if self.targets else loss,
            penalties={name.replace("-", "_"): (form(PENALTIES[name]), w) for name, w in self.penalties.items()},
            critic_steps=self.critic_steps,
            clip=self.clip,
            auxiliary=auxiliary,
            tools=self.toolbox(G, D, examples.shape, self.z_dim, growing=growing),
        )

    def conflicts(self, training: Plan, players: Mapping[str, Optimizer]) -> list[str]:
        network = self.network
        batch_norm = network.critic_normalisation == "batch"
        return list(self.clashes_with_training(training, minibatch=network.minibatch, batch_norm=batch_norm))

    def optimizers(self, players: Mapping[str, Optimizer]) -> Mapping[str, Optimizer]:
        if not self.separate_penalties:
            return players
        interval = max(weight_and_interval(weight)[1] for weight in self.penalties.values())
        return {**players, "D": players.get("D", Optimizer()).for_separate_penalties(interval)}


class Gan(Adversarial):
    """`games.gan`: a generator against a critic, without labels."""

    kind: Literal["gan"] = "gan"

    def build(self, examples: Examples) -> Game:
        return self.play(examples)


class Conditional(Adversarial):
    """`games.gan` with labels: a generator of chosen classes."""

    kind: Literal["conditional"] = "conditional"
    conditioning: Literal["projection", "auxiliary", "concatenation"] = "projection"
    auxiliary: Scheduled = 1.0
    """Weight of the generator's classification loss, with the auxiliary classifier."""

    @property
    def needs_labels(self) -> bool:
        return True

    def build(self, examples: Examples) -> Game:
        if not examples.classes:
            raise DataError(
                f"A conditional game needs labels, and {examples.name} has none. Expected a folder of folders, "
                "a zip with dataset.json labels, or an .npz with labels. Without labels use --set game.kind=gan."
            )
        auxiliary = self.auxiliary if self.conditioning == "auxiliary" else None
        return self.play(examples, len(examples.classes), self.conditioning, auxiliary)


# ---------------------------------------------------------------- data


class Digits(DataSettings):
    """The 1,797 handwritten digits of scikit-learn, 8×8, grey, ten classes."""

    kind: Literal["digits"] = "digits"

    def open(self) -> Source:
        return digits()


class Files(DataSettings):
    """A folder of images, a folder of folders, a zip of either, or an .npy or .npz file."""

    kind: Literal["files"] = "files"
    path: Path
    size: int | None = Field(default=None, ge=4, le=4096)
    """Pixels per side; by default the smallest side found."""
    channels: Literal[1, 3] | None = None
    part: str | None = None
    """The sub-folder to use, such as "train"."""
    fit: Literal["crop", "pad", "stretch"] = "crop"
    filter: Filter = "auto"
    """By what images are resized, antialiased but for "nearest"; "auto": Lanczos where they shrink, else bicubic."""
    range: tuple[float, float] | None = None
    """Of an array: the values that become -1 and 1, such as [-1000, 3000] of Hounsfield units; others are clipped."""

    @field_validator("path")
    @classmethod
    def from_anywhere(cls, path: Path) -> Path:
        """A run can be resumed from any folder."""
        return path.expanduser().absolute()

    @model_validator(mode="after")
    def one_standard(self) -> "Files":
        """Raise ValueError for a range that is none, or one beside what is measured."""
        if self.range is not None and not self.range[0] < self.range[1]:
            raise ValueError(f"range = {list(self.range)}: expected the lower end first, and a larger upper end.")
        if self.range is not None and self.standardise != "none":
            raise ValueError(
                f'range = {list(self.range)} says already what standardise = "{self.standardise}" would measure. '
                "Use one of the two."
            )
        return self

    def open(self) -> Source:
        return open_source(
            self.path,
            size=self.size,
            channels=self.channels,
            part=self.part,
            fit=self.fit,
            filter=self.filter,
            value_range=self.range or (None if self.standardise == "none" else "any"),
        )

    @property
    def files(self) -> tuple[Path, str | None]:
        return self.path, self.part

    @property
    def fixed_standard(self) -> Standard | None:
        return between(*self.range) if self.range else None


class Hub(DataSettings):
    """A set of images by its name, fetched once: mnist, fashion-mnist, cifar10, OWNER/NAME of the Hugging Face hub."""

    kind: Literal["hub"] = "hub"
    name: str
    """Or the folder of a copy of such a repository."""
    part: str = "train"
    """The split."""
    config: str | None = None
    """Which of several sets that share the name; the hub calls them subsets."""
    image: str | None = None
    """The column of images; by default the only one."""
    label: str | None = None
    """The column of classes; by default the only one, if there is any; "" for none."""
    revision: str | None = None
    """A branch, tag or commit of the set; by default what is current when it is fetched."""
    limit: int | None = Field(default=None, ge=2)
    """The first so many examples only."""
    size: int | None = Field(default=None, ge=4, le=4096)
    """Pixels per side; by default the smallest side found."""
    channels: Literal[1, 3] | None = None
    fit: Literal["crop", "pad", "stretch"] = "crop"
    filter: Filter = "auto"
    """By what images are resized, antialiased but for "nearest"; "auto": Lanczos where they shrink, else bicubic."""

    @field_validator("name")
    @classmethod
    def from_anywhere(cls, name: str) -> str:
        """A run can be resumed from any folder."""
        return located(name)

    def open(self) -> Source:
        folder, _ = self.files
        return open_source(folder, size=self.size, channels=self.channels, fit=self.fit, filter=self.filter)

    @property
    def files(self) -> tuple[Path, str | None]:
        wanted = Wanted(
            name=self.name,
            part=self.part,
            config=self.config,
            image=self.image,
            label=self.label,
            revision=self.revision,
            limit=self.limit,
        )
        return fetched(wanted), None


class Toy(DataSettings):
    """A two-dimensional Gaussian mixture with known modes: a ring of 8 or a grid of 25."""

    kind: Literal["mixture"] = "mixture"
    layout: Literal["ring", "grid"] = "ring"
    num_examples: int = Field(default=100_000, ge=100)
    seed: int = 0

    def mixture(self) -> Mixture:
        return ring() if self.layout == "ring" else grid()

    def open(self) -> Source:
        return self.mixture().source(self.num_examples, seed=self.seed)


class Stack(DataSettings):
    """Three grey images of a folder or file as the colours of one: a thousand modes of ten digits."""

    kind: Literal["stacked"] = "stacked"
    path: Path
    size: int | None = Field(default=None, ge=4, le=4096)
    filter: Filter = "auto"
    """By what images are resized."""
    num_examples: int = Field(default=100_000, ge=100)
    seed: int = 0

    @field_validator("path")
    @classmethod
    def from_anywhere(cls, path: Path) -> Path:
        """A run can be resumed from any folder."""
        return path.expanduser().absolute()

    @property
    def files(self) -> tuple[Path, str | None]:
        return self.path, None

    def open(self) -> Source:
        value_range = None if self.standardise == "none" else "any"
        grey = open_source(self.path, size=self.size, channels=1, filter=self.filter, value_range=value_range)
        return Stacked(grey, self.num_examples, seed=self.seed)
