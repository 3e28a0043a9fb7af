"""Settings of style transfer: contents and styles, the network that looks at them, and the games."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from equipoise.core.errors import CheckpointError, DataError, RecipeError
from equipoise.core.game import Game
from equipoise.core.schedule import Scheduled
from equipoise.data.pictures import Small, as_float
from equipoise.data.source import Source
from equipoise.data.styled import Place, Styled, has_part, styled
from equipoise.games.adain import AdaIN
from equipoise.games.answers import Choice
from equipoise.games.looks import See, Seen, Tastes
from equipoise.games.patchstyle import PatchStyle
from equipoise.games.restorer import Aims
from equipoise.games.style import OneStyle
from equipoise.networks.stylised import StyleDecoder, TransformerNet
from equipoise.networks.vgg import DEPTHS, SMALL_DEPTHS, VGG, SmallVGG, checked_taps, layer_names
from equipoise.objectives import gram
from equipoise.runs.feature_networks import FeatureNetwork
from equipoise.runs.parts import LOSSES, PENALTIES, DataSettings, Examples, GameSettings, LossName, Penalties
from equipoise.runs.restoring import AnyCritic, Features, Patches
from equipoise.runs.scores import Scored
from equipoise.runs.styled import scored_strokes, scored_styles
from equipoise.runs.techniques import Part

if TYPE_CHECKING:
    from equipoise.runs.run import Run

# ---------------------------------------------------------------- data


class StyledData(DataSettings):
    """Photos and the style, or styles, that they are to get; squares of both are cut."""

    kind: Literal["styled"] = "styled"
    path: Path | None = None
    """The contents: a folder or .zip; shipped recipes are given it by `--data`."""
    part: str | None = None
    """A sub-folder of it; by default "content", where there is one."""
    style: Path | None = None
    """The styles: a folder, a .zip, or one picture. By default they lie in the part "style" beside the contents."""
    style_part: str | None = None
    """A sub-folder of it, or one picture in it; by default "style", where there is one."""
    crop: int = Field(default=128, ge=16, le=1024)
    """The side of the squares."""
    size: int | None = Field(default=256, ge=16)
    """Larger contents are shrunk until their shorter side has so many pixels."""
    style_size: int | None = Field(default=256, ge=16)
    """The same of styles: the smaller, the finer are the strokes beside the picture."""
    small: Small = "refuse"
    """What becomes of contents smaller than a square; styles are always refused."""
    mirror: bool = True
    """Training also sees contents mirrored."""
    unseen: int | tuple[str, ...] = 0
    """Styles that are never trained on, and that the run is judged by: how many, or the names of their files."""
    aside: float = Field(default=0.0, ge=0, le=0.5)
    """The share at the right of each style that is never trained on."""

    @field_validator("path", "style")
    @classmethod
    def from_anywhere(cls, path: Path | None) -> Path | None:
        """A run can be resumed from any folder."""
        return None if path is None else path.expanduser().absolute()

    @model_validator(mode="after")
    def without_what_images_have(self) -> "StyledData":
        """Raise ValueError for settings of other data, and for pictures that would always be too small."""
        for name in ("augmentation", "per_class"):
            if getattr(self, name) is not None:
                raise ValueError(f"data.{name} is not for contents and styles. Leave it out.")
        if self.standardise != "none":
            raise ValueError("data.standardise is not for contents and styles. Leave it out.")
        for name in ("size", "style_size"):
            size = getattr(self, name)
            if size is not None and size < self.crop:
                raise ValueError(f"data.{name} = {size}: expected at least data.crop = {self.crop}.")
        return self

    def open(self) -> Styled:
        contents, beside = Place(self.place, self.part, self.size), self.style is None
        part = self.style_part or ("style" if beside else None)
        if part == "style" and beside and not has_part(self.place, part):
            raise DataError(
                f"{self.place} has no part 'style', and nothing else says which style is wanted. Give it by "
                "data.style = a folder, a .zip or one picture."
            )
        return styled(
            contents,
            Place(self.style or self.place, part, self.style_size),
            crop=self.crop,
            mirror=self.mirror,
            small=self.small,
            unseen=self.unseen,
            aside=self.aside,
            draw=self.draw,
        )

    @property
    def place(self) -> Path:
        """Where the contents are. Raises `DataError` if nobody has said it."""
        if self.path is None:
            raise DataError(
                "The recipe names no contents. Say where they are: --data FOLDER, or data.path in the recipe."
            )
        return self.path

    @property
    def files(self) -> tuple[Path, str | None]:
        return self.place, self.part

    def prepared(self, choice: Choice) -> Choice:
        if choice.style is None or self.style_size is None or min(choice.style.shape[1:]) <= self.style_size:
            return choice
        share = self.style_size / min(choice.style.shape[1:])
        wanted = [max(round(side * share), self.style_size) for side in choice.style.shape[1:]]
        small = interpolate(choice.style[None], size=wanted, mode="bicubic", antialias=True)[0]
        return replace(choice, style=small.clamp(-1, 1))


# ---------------------------------------------------------------- how pictures are looked at

STYLE_LAYERS: dict[str, tuple[str, ...]] = {
    "small": ("relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1"),
    "vgg16": ("relu1_2", "relu2_2", "relu3_3", "relu4_3"),
    "vgg19": ("relu1_1", "relu2_1", "relu3_1", "relu4_1"),
}
"""Whose Gram matrices are the style, by network."""
ENCODER_LAYERS: dict[str, tuple[str, ...]] = {**STYLE_LAYERS, "small": ("relu1_2", "relu2_2")}
"""Of AdaIN: one of each stage; the encoder ends in the last. The third stage of the small network blurs pictures."""
CONTENT_LAYERS = {"small": "relu2_2", "vgg16": "relu2_2", "vgg19": "relu4_1"}


def looking(network: FeatureNetwork, content: Sequence[int], *, scales: int) -> See:
    """How a network sees pictures: with its pooling softened, and for the style in several sizes, each half the last.

    `content` are the numbers of the layers that say what is where. The colours themselves, in [0, 1], are one more
    layer of the style in each size: what a network learnt by classifying tells colours badly.
    """
    net = softened(network.net)

    def see(x: Tensor) -> Seen:
        net.to(x.device, x.dtype)
        layers = net(x)
        style = [(x + 1) / 2, *layers]
        for _ in range(scales - 1):
            x = avg_pool2d(x, 2)
            style += [(x + 1) / 2, *net(x)]
        return Seen(content=[layers[number] for number in content], style=style)

    return see


def softened(net: VGG | SmallVGG) -> VGG | SmallVGG:
    """A copy that pools by the mean: the gradient reaches all pixels, not one of four (Gatys et al. 2016, Sec. 2)."""
    net = copy.deepcopy(net)
    for number, layer in enumerate(net.features):
        if isinstance(layer, nn.MaxPool2d):
            net.features[number] = nn.AvgPool2d(2)
    return net


class Transformer(Part):
    """`networks.stylised.TransformerNet`."""

    width: int = Field(default=32, ge=1)
    num_blocks: int = Field(default=5, ge=1)
    direct: bool = True
    """Whether its last layer sees the picture too, without tanh: learnt sooner; the paper's is not."""

    def build(self, channels: int) -> nn.Module:
        """The network for images of so many channels."""
        return TransformerNet(channels, width=self.width, num_blocks=self.num_blocks, direct=self.direct)


class SeeingSettings(GameSettings):
    """What games that look through a frozen network have in common."""

    network: Transformer = Transformer()
    features: Features = Features()
    """`layers` are those of the style."""
    content_layer: str | None = None
    """Says what is where; by default relu2_2 of the small network and of VGG-16, relu4_1 of VGG-19."""
    scales: int = Field(default=3, ge=1, le=5)
    """The style is looked at in so many sizes, each half of the one before."""

    @model_validator(mode="after")
    def with_layers_that_there_are(self) -> "SeeingSettings":
        """Raise ValueError for a layer that the network has not."""
        check_layers(self.features, () if self.content_layer is None else (self.content_layer,))
        return self

    def eye(self, examples: Examples) -> Callable[[], See]:
        """Opens the network when it is asked for: only training does."""

        @cache
        def see() -> See:
            layers = self.features.layers or STYLE_LAYERS[self.features.network]
            content = self.content_layer or CONTENT_LAYERS[self.features.network]
            taps = layers if content in layers else (*layers, content)
            network = self.features.model_copy(update={"layers": taps}).open(examples)
            return looking(network, [taps.index(content)], scales=self.scales)

        return see


def check_layers(features: Features, others: tuple[str, ...] = ()) -> None:
    """Raise ValueError for a layer that a network has not."""
    kind = features.network
    names = layer_names(SMALL_DEPTHS)[:-1] if kind == "small" else layer_names(DEPTHS[kind])
    for layers in (features.layers, others):
        if layers:
            checked_taps(layers, names)


def the_style(examples: Examples) -> Tensor:
    """The one style of a run's data, [1, 3, H, W], without what was set aside. Raises `DataError` if there are more."""
    source = styles_of(examples)
    if len(source.styles) != 1:
        raise DataError(
            f"This game learns one style, and {len(source.styles)} are given: {', '.join(source.style_names[:3])}, … "
            'Name one by data.style = FILE or data.style_part = "style/NAME.jpg", or use the recipe adain.'
        )
    return as_float(source.styles[0])[None]


def styles_of(examples: Examples) -> Styled:
    """The contents and styles of a run. Raises `RecipeError` for other data."""
    source = examples.learn() if examples.learn is not None else None
    if not isinstance(source, Styled):
        raise RecipeError(f'{examples.name} has no styles. Use data.kind = "styled".')
    return source


# ---------------------------------------------------------------- games


class StyleSettings(SeeingSettings):
    """`games.style`: a network that learns one style."""

    kind: Literal["style"] = "style"
    content: Scheduled = 1.0
    """Weight of the distance to what is in the picture."""
    style: Scheduled = 10.0
    """Weight of the distance to the texture of the style."""
    smoothness: Scheduled = 1.0
    """Weight of the total variation."""

    @property
    def own_scores(self) -> tuple[str, ...]:
        return ("content", "style")

    def scored(self, run: "Run", game: Game, held_out: Source, *, num: int | None = None) -> Scored:
        return scored_styles(run, game, held_out, self.features, num=num)

    def build(self, examples: Examples) -> Game:
        channels, eye = channels_of(examples), self.eye(examples)

        @cache
        def matrices() -> list[Tensor]:  # only training asks for them
            style = the_style(examples)
            with torch.no_grad(), torch.autocast(style.device.type, enabled=False):
                return [gram(layer) for layer in eye()(style).style]

        tastes = Tastes(content=self.content, style=self.style, smoothness=self.smoothness)
        return OneStyle(self.network.build(channels), lambda x: eye()(x), matrices, tastes)


class AdainSettings(GameSettings):
    """`games.adain`: any style, of a picture that is given."""

    kind: Literal["adain"] = "adain"
    features: Features = Features()
    """The encoder: one layer of each stage, of which it ends in the last."""
    content: Scheduled = 1.0
    """Weight of the distance to the features that were decoded."""
    style: Scheduled = 10.0
    """Weight of the distance to the statistics of the style."""

    @model_validator(mode="after")
    def with_layers_that_there_are(self) -> "AdainSettings":
        """Raise ValueError for a layer that the network has not."""
        check_layers(self.features)
        return self

    @property
    def own_scores(self) -> tuple[str, ...]:
        return ("content", "style")

    def scored(self, run: "Run", game: Game, held_out: Source, *, num: int | None = None) -> Scored:
        return scored_styles(run, game, held_out, self.features, num=num)

    def build(self, examples: Examples) -> Game:
        channels_of(examples)
        taps = self.features.layers or ENCODER_LAYERS[self.features.network]
        stages = [int(tap[4]) for tap in taps]
        if stages != list(range(1, len(taps) + 1)):
            raise RecipeError(
                f"game.features.layers = {list(taps)}: the encoder needs one layer of each stage, from the first on, "
                f"such as {list(ENCODER_LAYERS[self.features.network])}."
            )
        missing = None
        try:
            E = softened(self.features.model_copy(update={"layers": taps}).open(examples).net)
        except (DataError, CheckpointError) as error:  # of a trained run the checkpoint has it
            missing = error
            kind = self.features.network
            E = softened(SmallVGG(1, taps=taps) if kind == "small" else VGG(kind, taps))
        if isinstance(E, SmallVGG):
            E.head = nn.Linear(E.head.in_features, 1)  # of the classifier; not used
        side = 2 ** len(taps)
        with torch.no_grad():
            widths = [layer.shape[1] for layer in E(torch.zeros(1, 3, side, side))]
        G = StyleDecoder(widths)
        return AdaIN(E, G, content=self.content, style=self.style, period=2 ** (len(taps) - 1), missing=missing)


class PatchStyleSettings(SeeingSettings):
    """`games.patchstyle`: one style, whose patches a critic knows."""

    kind: Literal["patch-style"] = "patch-style"
    critic: AnyCritic = Patches(width=32, num_layers=2)
    loss: LossName = "hinge"
    adversarial: Scheduled = 1.0
    """Weight of the critic's verdict."""
    content: Scheduled = 1.0
    """Weight of the distance to what is in the picture."""
    smoothness: Scheduled = 0.1
    """Weight of the total variation."""
    warmup: float = Field(default=0.1, ge=0, le=1)
    """The share of training in which the generator learns to answer the picture, and the critic to know photos."""
    penalties: Penalties = {}

    @property
    def own_scores(self) -> tuple[str, ...]:
        return ("content", "style", "strokes")

    def scored(self, run: "Run", game: Game, held_out: Source, *, num: int | None = None) -> Scored:
        return scored_strokes(run, game, held_out, self.features, num=num)

    def build(self, examples: Examples) -> Game:
        channels, eye = channels_of(examples), self.eye(examples)
        aims = Aims(
            loss=LOSSES[self.loss],
            adversarial=self.adversarial,
            penalties={name.replace("-", "_"): (PENALTIES[name], w) for name, w in self.penalties.items()},
            warmup=self.warmup,
        )
        G, D = self.network.build(channels), self.critic.build(channels)

        @cache
        def see() -> See:
            the_style(examples)  # or the error that says that there are several
            return eye()

        return PatchStyle(G, D, lambda x: see()(x), aims, content=self.content, smoothness=self.smoothness)


def channels_of(examples: Examples) -> int:
    """The channels of contents. Raises `RecipeError` for other data than contents and styles."""
    if examples.given != examples.shape or len(examples.shape) != 3:
        raise RecipeError(f'{examples.name} has no styles. Use data.kind = "styled".')
    return examples.shape[0]
