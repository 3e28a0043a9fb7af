"""Settings of the games of generation that are a paper each: semi-supervised, coupled, pyramids, autoencoders."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator
from torch import nn

from equipoise import objectives
from equipoise.core.errors import DataError
from equipoise.core.game import Game
from equipoise.core.schedule import Scheduled
from equipoise.data.source import Source
from equipoise.engine.optimizers import Optimizer
from equipoise.engine.trainer import Plan
from equipoise.games.sgan import SGAN, Supervised
from equipoise.networks.classifying import ConvolutionalClassifier, DenseClassifier
from equipoise.networks.initialisation import initialise
from equipoise.runs.parts import LOSSES, Dcgan, Examples, GameSettings, LossName, Network
from equipoise.runs.scores import Scored
from equipoise.runs.techniques import Part

if TYPE_CHECKING:
    from equipoise.runs.run import Run

# ---------------------------------------------------------------- few labels


class DenseCritic(Part):
    """`networks.classifying.DenseClassifier`, for small grey images and vectors."""

    kind: Literal["dense"] = "dense"
    widths: tuple[int, ...] = Field(default=(1000, 500, 250, 250, 250), min_length=1)
    noise: float = Field(default=0.3, ge=0)
    """Standard deviation of the noise that training adds to examples."""
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
    network: Network = Dcgan()
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
