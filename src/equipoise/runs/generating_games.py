"""Settings of the games of generation that are a paper each: semi-supervised, coupled, pyramids, autoencoders."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from equipoise import objectives
from equipoise.core.errors import DataError, RecipeError
from equipoise.core.game import Game
from equipoise.core.schedule import Scheduled
from equipoise.data.source import Source
from equipoise.engine.optimizers import Optimizer
from equipoise.engine.trainer import Plan
from equipoise.games.aae import AAE
from equipoise.games.cogan import CoGAN
from equipoise.games.lapgan import LAPGAN
from equipoise.games.sgan import SGAN, Supervised
from equipoise.games.vaegan import VAEGAN
from equipoise.games.vaegan import Weights as VaeganWeights
from equipoise.networks.classifying import ConvolutionalClassifier, DenseClassifier
from equipoise.networks.coupled import CoupledCritic, CoupledGenerator
from equipoise.networks.encoder import ConvolutionalEncoder, DenseEncoder
from equipoise.networks.initialisation import initialise
from equipoise.networks.mlp import MLPCritic
from equipoise.networks.pyramid import BandGenerator, check_levels
from equipoise.runs.parts import (
    LOSSES,
    PENALTIES,
    Dcgan,
    Examples,
    GameSettings,
    LossName,
    Mlp,
    Penalties,
    Resnet,
    image_shape,
)
from equipoise.runs.scores import Scored
from equipoise.runs.techniques import Part, Weight

if TYPE_CHECKING:
    from equipoise.runs.run import Run

PlainNetwork = Annotated[Mlp | Dcgan | Resnet, Field(discriminator="kind")]
"""Networks of one size throughout training."""

# ---------------------------------------------------------------- few labels


class DenseCritic(Part):
    """`networks.classifying.DenseClassifier`, for small grey images and vectors."""

    kind: Literal["dense"] = "dense"
    widths: tuple[int, ...] = Field(default=(1000, 500, 250, 250, 250), min_length=1)
    noise: float = Field(default=0.6, ge=0)
    """Standard deviation of the noise that training adds to examples in [-1, 1]."""
    hidden_noise: float = Field(default=0.5, ge=0)
    """And to each hidden layer."""

    def build(self, shape: tuple[int, ...], num_classes: int) -> nn.Module:
        num_values = 1
        for side in shape:
            num_values *= side
        return DenseClassifier(
            num_values, num_classes, widths=self.widths, noise=self.noise, hidden_noise=self.hidden_noise
        )


class ConvolutionalCritic(Part):
    """`networks.classifying.ConvolutionalClassifier`, for images of at least 12 pixels."""

    kind: Literal["convolutional"] = "convolutional"
    width: int = Field(default=96, ge=1)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    """Of layers; two fifths of it of pixels."""

    def build(self, shape: tuple[int, ...], num_classes: int) -> nn.Module:
        if len(shape) != 3 or min(shape[1:]) < 12:
            raise ValueError(
                f"The convolutional critic takes images with sides of at least 12; the data has shape {list(shape)}. "
                'Use game.critic.kind = "dense".'
            )
        return ConvolutionalClassifier(shape[0], num_classes, width=self.width, dropout=self.dropout)


MATCHINGS = {"absolute": objectives.mean_features, "squared": objectives.feature_matching}


class SganSettings(GameSettings):
    """`games.sgan`: a classifier that learns from few labels (`data.labelled`) beside a generator."""

    kind: Literal["sgan"] = "sgan"
    network: PlainNetwork = Dcgan()
    """Of the generator; the critic is `critic`."""
    critic: Annotated[DenseCritic | ConvolutionalCritic, Field(discriminator="kind")] = ConvolutionalCritic()
    z_dim: int = Field(default=100, ge=1)
    loss: LossName = "non-saturating"
    """Of the critic, on unlabelled and generated examples; that of the paper is half of this one."""
    unlabelled: Scheduled = 1.0
    """What the unlabelled and generated examples count beside the labelled ones."""
    matching: Literal["absolute", "squared"] = "absolute"
    """How the generator's mean features differ from those of real examples."""
    conditional: bool = False
    """Whether the generator makes chosen classes."""
    baseline: bool = True
    """Whether evaluation also trains the same critic on the labelled examples alone, once, for as many steps."""

    @model_validator(mode="after")
    def critic_of_its_own(self) -> "SganSettings":
        """Raise ValueError for settings of a critic that there is not."""
        network = self.network
        if network.critic_width is not None or network.dropout or network.minibatch not in ("none", "deviation"):
            raise ValueError("network is that of the generator: the critic of sgan is set by game.critic.")
        return self

    @property
    def needs_labels(self) -> bool:
        return True

    @property
    def semi_supervised(self) -> bool:
        return True

    @property
    def generative(self) -> bool:
        return True

    @property
    def own_scores(self) -> tuple[str, ...]:
        return ("accuracy", "error", "worst_class")

    def build(self, examples: Examples) -> Game:
        num_classes = self.num_classes(examples)
        G = self.network.generator(self.z_dim, examples.shape, num_classes if self.conditional else 0)
        if self.network.initialisation:
            initialise(G, self.network.initialisation)
        return SGAN(
            G,
            self.critic.build(examples.shape, num_classes),
            z_dim=self.z_dim,
            loss=LOSSES[self.loss],
            matching=MATCHINGS[self.matching],
            num_classes=num_classes if self.conditional else 0,
            unlabelled=self.unlabelled,
        )

    def supervised(self, examples: Examples) -> Supervised:
        """What the game is measured against. Draws initial weights from torch's global randomness."""
        return Supervised(self.critic.build(examples.shape, self.num_classes(examples)))

    def num_classes(self, examples: Examples) -> int:
        """Raises `DataError` for fewer than two."""
        if len(examples.classes) < 2:
            raise DataError(
                f"A semi-supervised game learns classes, and {examples.name} has {len(examples.classes)}. Expected a "
                "folder of folders, a zip with dataset.json labels, or an .npz with labels, of all examples that are "
                "held out; data.labelled says which of the others count."
            )
        return len(examples.classes)

    def conflicts(self, training: Plan, players: Mapping[str, Optimizer]) -> list[str]:
        if LOSSES[self.loss].compares:
            return [f"game.loss = {self.loss} compares pairs, and labels are about single examples. Use another."]
        return []

    def scored(self, run: "Run", game: Game, held_out: Source, *, num: int | None = None) -> Scored:
        from equipoise.runs.classified import classified  # knows runs, which know all settings

        assert isinstance(game, SGAN)
        return classified(run, game, held_out, baseline=self.baseline, num=num)


# ---------------------------------------------------------------- two domains


def raw(penalties: Penalties) -> dict[str, tuple[objectives.Penalty, Weight]]:
    """Penalties by name, as games take them."""
    return {name.replace("-", "_"): (PENALTIES[name], weight) for name, weight in penalties.items()}


class CoganSettings(GameSettings):
    """`games.cogan`: images of two domains that belong together, without pairs."""

    kind: Literal["cogan"] = "cogan"
    z_dim: int = Field(default=100, ge=1)
    width: int = Field(default=64, ge=1)
    critic_width: int | None = Field(default=None, ge=1)
    """By default that of the generator."""
    generator_apart: int = Field(default=1, ge=1)
    """Last layers of the generator that are each domain's own."""
    critic_apart: int = Field(default=1, ge=1)
    """First layers of the critic that are each domain's own."""
    critic_normalisation: Literal["none", "spectral"] = "none"
    loss: LossName = "non-saturating"
    penalties: Penalties = {"r1": 0.25}

    @property
    def generative(self) -> bool:
        return True

    @property
    def own_scores(self) -> tuple[str, ...]:
        return ("fid", "fid_a", "domain", "domain_a")

    def build(self, examples: Examples) -> Game:
        if examples.given is None or examples.given != examples.shape:
            raise RecipeError(
                f"The game 'cogan' couples two domains, and {examples.name} is none. Use data.kind = \"unpaired\"."
            )
        channels, size = image_shape(examples.shape, "coupled")
        G = CoupledGenerator(self.z_dim, channels, size, width=self.width, num_apart=self.generator_apart)
        D = CoupledCritic(
            channels,
            size,
            width=self.critic_width or self.width,
            num_apart=self.critic_apart,
            normalisation=self.critic_normalisation,
        )
        return CoGAN(G, D, z_dim=self.z_dim, loss=LOSSES[self.loss], penalties=raw(self.penalties))

    def scored(self, run: "Run", game: Game, held_out: Source, *, num: int | None = None) -> Scored:
        from equipoise.runs.coupled_scores import coupled_scores  # knows runs, which know all settings

        return coupled_scores(run, game, held_out, num=num)


# ---------------------------------------------------------------- pyramids


class LapganSettings(GameSettings):
    """`games.lapgan`: a conditional GAN for each band of a Laplacian pyramid, for square images."""

    kind: Literal["lapgan"] = "lapgan"
    network: PlainNetwork = Dcgan()
    """Of the coarsest level, and of the critics of all."""
    num_levels: int = Field(default=1, ge=1)
    """Bands; the coarsest level is so many halvings smaller, of at least 8 pixels, or 4 with "mlp"."""
    band_width: int = Field(default=64, ge=1)
    """Of the networks that paint bands."""
    z_dim: int = Field(default=100, ge=1)
    """Latents of the coarsest level; the others take planes of noise."""
    loss: LossName = "non-saturating"
    penalties: Penalties = {"r1": 0.25}

    def build(self, examples: Examples) -> Game:
        channels, size = image_shape(examples.shape, "lapgan")
        check_levels(size, self.num_levels, smallest=4 if isinstance(self.network, Mlp) else 8)
        shapes = [(channels, size // 2**k, size // 2**k) for k in range(self.num_levels + 1)]
        bands = [BandGenerator(channels, width=self.band_width) for _ in range(self.num_levels)]
        return LAPGAN(
            [*bands, self.network.generator(self.z_dim, shapes[-1], 0)],
            [self.network.critic(shape, 0, "none") for shape in shapes],
            z_dim=self.z_dim,
            size=size,
            loss=LOSSES[self.loss],
            penalties=raw(self.penalties),
        )


# ---------------------------------------------------------------- autoencoders


class AutoencoderSettings(GameSettings):
    """What the games with an encoder have in common."""

    network: PlainNetwork = Dcgan()
    """Of the decoder and, unless it sees latents, of the critic; the encoder is as wide."""
    z_dim: int = Field(default=64, ge=1)
    loss: LossName = "non-saturating"

    def encoder(self, examples: Examples, num_outputs: int) -> nn.Module:
        """A network of the kind of the decoder: dense layers for "mlp", else convolutions."""
        network = self.network
        if isinstance(network, Mlp):
            return DenseEncoder(examples.shape, num_outputs, width=network.width, num_layers=network.num_layers)
        channels, size = image_shape(examples.shape, network.kind)
        return ConvolutionalEncoder(channels, size, num_outputs, width=network.width)

    def decoder(self, examples: Examples) -> nn.Module:
        """From latents to examples."""
        return self.network.generator(self.z_dim, examples.shape, 0)


class VaeganSettings(AutoencoderSettings):
    """`games.vaegan`: an autoencoder whose likeness is that of a critic's features."""

    kind: Literal["vaegan"] = "vaegan"
    prior: Scheduled = 1.0
    """Weight of the encoder's distance from the prior."""
    likeness: Scheduled = 1e-3
    """Weight γ of the likeness in the decoder's loss."""
    layer: int = -1
    """Of the critic's features that are compared; -1 is the last one."""
    penalties: Penalties = {"r1": 0.25}

    def build(self, examples: Examples) -> Game:
        D = self.network.critic(examples.shape, 0, "none")
        networks = self.encoder(examples, 2 * self.z_dim), self.decoder(examples), D
        with torch.no_grad():
            num_layers = len(D.eval()(torch.zeros(1, *examples.shape)).features)
        D.train()
        if not -num_layers <= self.layer < num_layers:
            raise RecipeError(
                f"game.layer = {self.layer}: the critic has {num_layers} layers of features. Expected 0 to "
                f"{num_layers - 1}, or -1 for the last one."
            )
        return VAEGAN(
            networks,
            z_dim=self.z_dim,
            loss=LOSSES[self.loss],
            weights=VaeganWeights(prior=self.prior, likeness=self.likeness),
            layer=self.layer,
            penalties=raw(self.penalties),
        )


class AaeSettings(AutoencoderSettings):
    """`games.aae`: an autoencoder whose latents a critic holds to the prior."""

    kind: Literal["aae"] = "aae"
    z_dim: int = Field(default=16, ge=1)
    critic_width: int = Field(default=256, ge=1)
    """Of the critic of latents."""
    critic_layers: int = Field(default=2, ge=1)
    adversarial: Scheduled = 0.1
    """What being taken for the prior counts for the encoder, beside reconstruction."""

    def build(self, examples: Examples) -> Game:
        D = MLPCritic((self.z_dim,), width=self.critic_width, num_layers=self.critic_layers)
        networks = self.encoder(examples, self.z_dim), self.decoder(examples), D
        return AAE(networks, z_dim=self.z_dim, loss=LOSSES[self.loss], adversarial=self.adversarial)
