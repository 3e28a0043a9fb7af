"""Where names become objects: the games, networks, losses, penalties and data sets that a recipe can ask for."""

import math
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator
from torch import nn

from equipoise import objectives
from equipoise.core.errors import DataError
from equipoise.core.game import Game
from equipoise.core.schedule import Lazy, Schedule, Scheduled, weight_and_interval
from equipoise.data.digits import digits
from equipoise.data.open import open_source
from equipoise.data.source import Source
from equipoise.data.toy import Mixture, grid, ring
from equipoise.games.conditional import ConditionalGAN
from equipoise.games.gan import GAN
from equipoise.networks.dcgan import DCGANCritic, DCGANGenerator
from equipoise.networks.layers import Conditioning, Normalisation
from equipoise.networks.mlp import MLPCritic, MLPGenerator
from equipoise.networks.resnet import ResNetCritic, ResNetGenerator


class Part(BaseModel):
    """A table of a recipe: unknown keys are errors, nothing changes after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Examples:
    """What a game must know of its data: its name, the shape of one example, the names of the classes (if any)."""

    name: str
    shape: tuple[int, ...]
    classes: tuple[str, ...] = ()


class GameSettings(Part):
    """The settings of a game; subclass it beside your own game. Give it a `kind`, its name in recipe files."""

    @property
    def needs_labels(self) -> bool:
        """Whether batches are (examples, labels) rather than examples."""
        return False

    @abstractmethod
    def build(self, examples: Examples) -> Game:
        """The game for such examples. Draws initial weights from torch's global randomness."""


class DataSettings(Part):
    """Where examples come from; subclass it for a source of your own. Give it a `kind`, its name in recipe files."""

    held_out: int = Field(default=500, ge=1)
    """Examples that are never trained on; at most three tenths of all."""

    @abstractmethod
    def open(self) -> Source:
        """All examples. Raises `DataError`."""


# ---------------------------------------------------------------- objectives

LOSSES = {
    "minimax": objectives.minimax,
    "non-saturating": objectives.non_saturating,
    "least-squares": objectives.least_squares,
    "hinge": objectives.hinge,
    "wasserstein": objectives.wasserstein,
    "relativistic-pairing": objectives.relativistic_pairing,
}
LossName = Literal["minimax", "non-saturating", "least-squares", "hinge", "wasserstein", "relativistic-pairing"]

PENALTIES = {"r1": objectives.r1, "r2": objectives.r2, "gradient-penalty": objectives.gradient_penalty}
PenaltyName = Literal["r1", "r2", "gradient-penalty"]


def check_weight(weight: Scheduled | Lazy) -> Scheduled | Lazy:
    """Raise ValueError for a weight that would reward what it should punish."""
    number, _ = weight_and_interval(weight)
    values = [number.start, number.end] if isinstance(number, Schedule) else [number]
    if not all(0 <= value < math.inf for value in values):
        raise ValueError(f"the weight is {number}: expected a finite number of at least 0.")
    return weight


Penalties = dict[PenaltyName, Annotated[float | Schedule | Lazy, AfterValidator(check_weight)]]
"""Penalties with their weights; the weight multiplies the mean squared norm (γ/2 in the papers' notation)."""


def penalties_with_weights(penalties: Penalties) -> dict:
    """From names in a recipe to the functions and weights that a game takes."""
    return {name.replace("-", "_"): (PENALTIES[name], weight) for name, weight in penalties.items()}


# ---------------------------------------------------------------- networks


class NetworkSettings(Part):
    """A generator and a critic of one family."""

    width: int = Field(default=64, ge=1)
    critic_width: int | None = Field(default=None, ge=1)
    """By default that of the generator."""
    critic_normalisation: Normalisation = "none"

    @abstractmethod
    def generator(self, z_dim: int, shape: tuple[int, ...], num_classes: int) -> nn.Module:
        """From latents (and labels) to examples."""

    @abstractmethod
    def critic(self, shape: tuple[int, ...], num_classes: int, conditioning: Conditioning) -> nn.Module:
        """From examples (and labels) to a `Verdict`."""


class Mlp(NetworkSettings):
    """Multi-layer perceptrons, for points, vectors and very small images."""

    kind: Literal["mlp"] = "mlp"
    width: int = Field(default=256, ge=1)
    num_layers: int = Field(default=3, ge=1, le=16)

    def generator(self, z_dim: int, shape: tuple[int, ...], num_classes: int) -> nn.Module:
        return MLPGenerator(z_dim, shape, width=self.width, num_layers=self.num_layers, num_classes=num_classes)

    def critic(self, shape: tuple[int, ...], num_classes: int, conditioning: Conditioning) -> nn.Module:
        return MLPCritic(
            shape,
            width=self.critic_width or self.width,
            num_layers=self.num_layers,
            normalisation=self.critic_normalisation,
            num_classes=num_classes,
            conditioning=conditioning,
        )


class Dcgan(NetworkSettings):
    """Strided convolutions, for square images of 8 to 256 pixels."""

    kind: Literal["dcgan"] = "dcgan"

    def generator(self, z_dim: int, shape: tuple[int, ...], num_classes: int) -> nn.Module:
        channels, size = image_shape(shape, "dcgan")
        return DCGANGenerator(z_dim, channels, size, width=self.width, num_classes=num_classes)

    def critic(self, shape: tuple[int, ...], num_classes: int, conditioning: Conditioning) -> nn.Module:
        channels, size = image_shape(shape, "dcgan")
        return DCGANCritic(
            channels,
            size,
            width=self.critic_width or self.width,
            normalisation=self.critic_normalisation,
            num_classes=num_classes,
            conditioning=conditioning,
        )


class Resnet(NetworkSettings):
    """Residual blocks, for square images of 4, 5, 6 or 7 times a power of two, from 8 to 256 pixels."""

    kind: Literal["resnet"] = "resnet"
    critic_normalisation: Normalisation = "spectral"

    def generator(self, z_dim: int, shape: tuple[int, ...], num_classes: int) -> nn.Module:
        channels, size = image_shape(shape, "resnet")
        return ResNetGenerator(z_dim, channels, size, width=self.width, num_classes=num_classes)

    def critic(self, shape: tuple[int, ...], num_classes: int, conditioning: Conditioning) -> nn.Module:
        channels, size = image_shape(shape, "resnet")
        return ResNetCritic(
            channels,
            size,
            width=self.critic_width or self.width,
            normalisation=self.critic_normalisation,
            num_classes=num_classes,
            conditioning=conditioning,
        )


def image_shape(shape: tuple[int, ...], network: str) -> tuple[int, int]:
    """Channels and size of square images. Raises ValueError for anything else."""
    if len(shape) != 3 or shape[1] != shape[2]:
        raise ValueError(
            f"The {network} networks make square images; the data has shape {shape}. Use --set game.network.kind=mlp."
        )
    return shape[0], shape[1]


Network = Annotated[Mlp | Dcgan | Resnet, Field(discriminator="kind")]

# ---------------------------------------------------------------- games


class Gan(GameSettings):
    """`games.gan`: a generator against a critic, without labels."""

    kind: Literal["gan"] = "gan"
    network: Network = Dcgan()
    z_dim: int = Field(default=64, ge=1)
    loss: LossName = "non-saturating"
    penalties: Penalties = {}
    critic_steps: int = Field(default=1, ge=1)
    clip: float | None = Field(default=None, gt=0)

    def build(self, examples: Examples) -> Game:
        return GAN(
            self.network.generator(self.z_dim, examples.shape, 0),
            self.network.critic(examples.shape, 0, "none"),
            z_dim=self.z_dim,
            loss=LOSSES[self.loss],
            penalties=penalties_with_weights(self.penalties),
            critic_steps=self.critic_steps,
            clip=self.clip,
        )


class Conditional(GameSettings):
    """`games.conditional`: a generator of chosen classes."""

    kind: Literal["conditional"] = "conditional"
    network: Network = Dcgan()
    z_dim: int = Field(default=64, ge=1)
    loss: LossName = "non-saturating"
    penalties: Penalties = {}
    critic_steps: int = Field(default=1, ge=1)
    conditioning: Literal["projection", "auxiliary", "concatenation"] = "projection"
    auxiliary: Scheduled = 1.0
    """Weight of the generator's classification loss, with the auxiliary classifier."""

    @property
    def needs_labels(self) -> bool:
        return True

    def build(self, examples: Examples) -> Game:
        num_classes = len(examples.classes)
        if num_classes == 0:
            raise DataError(
                f"A conditional game needs labels, and {examples.name} has none. Expected a folder of folders, "
                "a zip with dataset.json labels, or an .npz with labels. Without labels use --set game.kind=gan."
            )
        return ConditionalGAN(
            self.network.generator(self.z_dim, examples.shape, num_classes),
            self.network.critic(examples.shape, num_classes, self.conditioning),
            z_dim=self.z_dim,
            num_classes=num_classes,
            loss=LOSSES[self.loss],
            penalties=penalties_with_weights(self.penalties),
            critic_steps=self.critic_steps,
            auxiliary=self.auxiliary if self.conditioning == "auxiliary" else None,
        )


GAME_KINDS: dict[str, type[Part]] = {"gan": Gan, "conditional": Conditional}

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

    @field_validator("path")
    @classmethod
    def from_anywhere(cls, path: Path) -> Path:
        """A run can be resumed from any folder."""
        return path.expanduser().absolute()

    def open(self) -> Source:
        return open_source(self.path, size=self.size, channels=self.channels, part=self.part, fit=self.fit)


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


DATA_KINDS: dict[str, type[Part]] = {"digits": Digits, "files": Files, "mixture": Toy}
