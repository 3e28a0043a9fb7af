"""Families of networks for generation: what the settings of any family have, and those of the newer ones."""

from abc import abstractmethod
from typing import Literal

from pydantic import Field, model_validator
from torch import nn

from equipoise.networks.fastgan import FastGANCritic, FastGANGenerator
from equipoise.networks.initialisation import Initialisation
from equipoise.networks.layers import Conditioning, Normalisation
from equipoise.networks.minibatch import Minibatch
from equipoise.networks.r3gan import R3GANCritic, R3GANGenerator
from equipoise.networks.stylegan2 import StyleGAN2Critic, StyleGAN2Generator
from equipoise.runs.techniques import Part


class NetworkSettings(Part):
    """A generator and a critic of one family."""

    width: int = Field(default=64, ge=1)
    critic_width: int | None = Field(default=None, ge=1)
    """By default that of the generator."""
    critic_normalisation: Normalisation = "none"
    initialisation: Initialisation | None = None
    """By default each family's own."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """The share of the critic's features that training leaves out."""
    minibatch: Minibatch = "none"
    """What the critic sees of the other examples of a batch."""
    group: int = Field(default=4, ge=1)
    """Examples that minibatch deviation compares."""

    @abstractmethod
    def generator(self, z_dim: int, shape: tuple[int, ...], num_classes: int) -> nn.Module:
        """From latents (and labels) to examples."""

    @abstractmethod
    def critic(self, shape: tuple[int, ...], num_classes: int, conditioning: Conditioning) -> nn.Module:
        """From examples (and labels) to a `Verdict`."""


class OfItsOwn(NetworkSettings):
    """Settings of a family whose initial weights belong to it, and whose critic has neither dropout nor norms."""

    @model_validator(mode="after")
    def as_it_is(self) -> "OfItsOwn":
        """Raise ValueError for what these networks do not have."""
        name = type(self).__name__.lower()
        unknown = {
            "dropout": self.dropout > 0,
            "critic_normalisation": self.critic_normalisation != "none",
            "initialisation": self.initialisation is not None,
        }
        for key in (key for key, wanted in unknown.items() if wanted):
            raise ValueError(
                f"{key} = {getattr(self, key)!r}: the {name} networks have their own weights, no normalisation of the "
                "critic and no dropout. Leave it out, or use network.kind = dcgan."
            )
        return self


class Stylegan2(OfItsOwn):
    """Styles that modulate convolutions, for square images of 4 to 7 times a power of two, from 8 to 256 pixels."""

    kind: Literal["stylegan2"] = "stylegan2"
    minibatch: Minibatch = "deviation"
    max_width: int = Field(default=512, ge=1)
    """Channels double where the resolution halves, up to this number; `width` is that of the full size."""
    w_dim: int = Field(default=512, ge=1)
    """Length of a style."""
    mapping_layers: int = Field(default=8, ge=1, le=16)
    mixing: float = Field(default=0.9, ge=0, le=1)
    """The share of training images that have styles of two latents."""
    decay: float = Field(default=0.998, ge=0, lt=1)
    """Of the running mean of styles, which truncation needs."""

    def generator(self, z_dim: int, shape: tuple[int, ...], num_classes: int) -> nn.Module:
        channels, size = image_shape(shape, "stylegan2")
        return StyleGAN2Generator(
            z_dim,
            channels,
            size,
            width=self.width,
            max_width=self.max_width,
            w_dim=self.w_dim,
            mapping_layers=self.mapping_layers,
            mixing=self.mixing,
            decay=self.decay,
            num_classes=num_classes,
        )

    def critic(self, shape: tuple[int, ...], num_classes: int, conditioning: Conditioning) -> nn.Module:
        channels, size = image_shape(shape, "stylegan2")
        return StyleGAN2Critic(
            channels,
            size,
            width=self.critic_width or self.width,
            max_width=self.max_width,
            num_classes=num_classes,
            conditioning=conditioning,
            minibatch=self.minibatch,
            group=self.group,
        )


class R3gan(OfItsOwn):
    """Residual blocks without normalisation, for square images of 4 to 7 times a power of two, from 8 to 256 pixels."""

    kind: Literal["r3gan"] = "r3gan"
    max_width: int = Field(default=512, ge=1)
    """Channels double where the resolution halves, up to this number; `width` is that of the full size."""
    num_blocks: int = Field(default=2, ge=1, le=16)
    """Residual blocks at each resolution."""
    expansion: int = Field(default=2, ge=1, le=8)
    """How many times wider the middle of a block is."""
    group_width: int = Field(default=16, ge=1)
    """Channels of each group in the middle."""

    def generator(self, z_dim: int, shape: tuple[int, ...], num_classes: int) -> nn.Module:
        channels, size = image_shape(shape, "r3gan")
        return R3GANGenerator(
            z_dim,
            channels,
            size,
            width=self.width,
            max_width=self.max_width,
            num_blocks=self.num_blocks,
            expansion=self.expansion,
            group_width=self.group_width,
            num_classes=num_classes,
        )

    def critic(self, shape: tuple[int, ...], num_classes: int, conditioning: Conditioning) -> nn.Module:
        channels, size = image_shape(shape, "r3gan")
        return R3GANCritic(
            channels,
            size,
            width=self.critic_width or self.width,
            max_width=self.max_width,
            num_blocks=self.num_blocks,
            expansion=self.expansion,
            group_width=self.group_width,
            num_classes=num_classes,
            conditioning=conditioning,
            minibatch=self.minibatch,
            group=self.group,
        )


class Fastgan(NetworkSettings):
    """A light pair for few images, square ones of 4 to 7 times a power of two, from 8 to 256 pixels."""

    kind: Literal["fastgan"] = "fastgan"
    critic_normalisation: Normalisation = "spectral"
    max_width: int = Field(default=512, ge=1)
    """Channels double where the resolution halves, up to this number; `width` is that of the full size."""

    @model_validator(mode="after")
    def without_dropout(self) -> "Fastgan":
        """Raise ValueError for what these networks do not have."""
        if self.dropout > 0:
            raise ValueError(
                f"dropout = {self.dropout}: the fastgan critic has none. Leave it out, or use network.kind = dcgan."
            )
        return self

    def generator(self, z_dim: int, shape: tuple[int, ...], num_classes: int) -> nn.Module:
        channels, size = image_shape(shape, "fastgan")
        return FastGANGenerator(
            z_dim, channels, size, width=self.width, max_width=self.max_width, num_classes=num_classes
        )

    def critic(self, shape: tuple[int, ...], num_classes: int, conditioning: Conditioning) -> nn.Module:
        channels, size = image_shape(shape, "fastgan")
        return FastGANCritic(
            channels,
            size,
            width=self.critic_width or self.width,
            max_width=self.max_width,
            normalisation=self.critic_normalisation,
            num_classes=num_classes,
            conditioning=conditioning,
            minibatch=self.minibatch,
            group=self.group,
        )


def image_shape(shape: tuple[int, ...], network: str) -> tuple[int, int]:
    """Channels and size of square images. Raises ValueError for anything else."""
    if len(shape) != 3 or shape[1] != shape[2]:
        raise ValueError(
            f"The {network} networks make square images; the data has shape {shape}. Use --set game.network.kind=mlp."
        )
    return shape[0], shape[1]
