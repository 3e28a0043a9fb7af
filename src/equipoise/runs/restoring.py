"""Settings of restoration: pictures and what is made of them, networks that answer them, and the games of both."""

from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator
from torch import Tensor, nn

from equipoise.core.errors import DataError, RecipeError
from equipoise.core.game import Game
from equipoise.core.schedule import Scheduled
from equipoise.data.degradations import Degradation
from equipoise.data.files import folder_files, zip_files
from equipoise.data.labels import Labels, Shade
from equipoise.data.layout import images_of
from equipoise.data.masks import Mask
from equipoise.data.open import open_source
from equipoise.data.pairs import Direction, Pairing, Side
from equipoise.data.pictures import Pictures, Small, Task, pictures
from equipoise.data.source import Source
from equipoise.data.standardise import Standard, between
from equipoise.games.denoising import Denoising
from equipoise.games.inpainting import Inpainting
from equipoise.games.restorer import Aims, Likeness
from equipoise.games.srgan import SRGAN
from equipoise.networks.denoiser import DnCNN
from equipoise.networks.fourier import FourierInpainter
from equipoise.networks.gated import GatedInpainter
from equipoise.networks.patch import MultiScaleCritic, PatchCritic
from equipoise.networks.srresnet import RRDBNet, SRResNet
from equipoise.networks.translator import ResNetTranslator
from equipoise.networks.unet import UNet, UNetCritic
from equipoise.networks.vgg import SMALL_TAPS
from equipoise.objectives import perceptual, reconstruction
from equipoise.objectives.classification import pixel_classes
from equipoise.runs.feature_networks import FeatureNetwork, fit_small_vgg, vgg_from_file
from equipoise.runs.parts import LOSSES, PENALTIES, DataSettings, Examples, GameSettings, LossName, Penalties
from equipoise.runs.techniques import Part

# ---------------------------------------------------------------- data


def named(table: object) -> object:
    """A list of grey values or colours as a table, in which each is its own name."""
    return {str(shade): shade for shade in table} if isinstance(table, list | tuple) else table


class PicturesData(DataSettings):
    """Pictures of any size, of which squares are cut, and what a restorer is given of them."""

    kind: Literal["pictures"] = "pictures"
    path: Path | None = None
    """A folder or .zip of pictures, or an .npy or .npz array of slices; shipped recipes are given it by `--data`."""
    given: Path | None = None
    """The partners of the pictures, by the same names; by default they are made."""
    endings: tuple[str, str] | None = None
    """Where both lie together: how the names of targets and of givens end, such as ["_HR", "_LR"]."""
    part: str | None = None
    """The sub-folder to use, such as "train"; of pairs, that of B."""
    given_part: str | None = None
    """Of pairs: the sub-folder of A, in the same place or in that of `given`."""
    aligned: bool = False
    """Each picture holds a pair side by side, A on the left and B on the right, unless partners lie elsewhere."""
    direction: Direction = "AtoB"
    """Of pairs, which side is given and which is the target: A lies in `given`, B in `path`."""
    labels: dict[Side, Annotated[dict[str, Shade], BeforeValidator(named)]] = {}
    """Sides of pairs that are label maps: their classes by name, with grey values, or colours as "#rrggbb"."""
    channels: Literal[1, 3] | None = None
    """Of targets; by default grey where all are."""
    crop: int = Field(default=96, ge=8, le=1024)
    """The side of target squares."""
    small: Small = "refuse"
    """What becomes of pictures smaller than a square."""
    turns: bool = True
    """Training also sees squares mirrored and turned by quarters."""
    range: tuple[float, float] | None = None
    """Of an array: the values that become -1 and 1, such as [-1000, 3000] of Hounsfield units; others are clipped."""
    window: tuple[float, float] | None = None
    """Of an array: the values between which PSNR and SSIM are measured and pictures are shown, such as [-160, 240]."""
    degrade: tuple[Annotated[Degradation, Field(discriminator="kind")], ...] = ()
    """How what is given is made, step by step."""
    masks: tuple[Annotated[Mask, Field(discriminator="kind")], ...] = ()
    """Holes, of which one kind is drawn for each square: for inpainting."""

    @field_validator("path", "given")
    @classmethod
    def from_anywhere(cls, path: Path | None) -> Path | None:
        """A run can be resumed from any folder."""
        return None if path is None else path.expanduser().absolute()

    @model_validator(mode="after")
    def without_what_images_have(self) -> "PicturesData":
        """Raise ValueError for settings of other data, and for two ways to what is given."""
        for name in ("augmentation", "per_class"):
            if getattr(self, name) is not None:
                raise ValueError(f"data.{name} is not for pictures: data.turns mirrors and turns them. Leave it out.")
        if self.standardise != "none":
            raise ValueError("data.standardise is not for pictures. Use data.range = [low, high] for an array.")
        if self.window is not None and (self.range is None or not self.window[0] < self.window[1]):
            raise ValueError(
                f"data.window = {list(self.window)}: expected two values of an array with data.range, the lower first."
            )
        read, made = self.apart or self.aligned, bool(self.degrade or self.masks)
        if not read and not made:
            raise ValueError(
                "nothing says what is given of the pictures. Use data.degrade or data.masks to make it, or data.given, "
                "data.given_part, data.endings or data.aligned for files."
            )
        if read and made:
            raise ValueError(
                "data.given, data.given_part, data.endings and data.aligned say what is given, data.degrade and "
                "data.masks make it. Use one."
            )
        if made and (self.labels or self.direction != "AtoB"):
            raise ValueError("data.labels and data.direction are for pairs from files. Leave them out.")
        self.pairing  # noqa: B018, raises ValueError for tables that make no sense
        return self

    @property
    def apart(self) -> bool:
        """Whether the two of a pair are two files."""
        return self.given is not None or self.endings is not None or self.given_part is not None

    @property
    def pairing(self) -> Pairing:
        """What is said of the two sides of pairs."""
        labels: dict[Side, Labels] = {side: Labels.of(table) for side, table in self.labels.items()}
        aligned = self.aligned and not self.apart
        return Pairing(part=self.given_part, aligned=aligned, direction=self.direction, labels=labels)

    def open(self) -> Pictures:
        return pictures(
            self.place,
            crop=self.crop,
            task=self.task,
            given=self.given,
            endings=self.endings,
            pairing=self.pairing,
            part=self.part,
            channels=self.channels,
            small=self.small,
            turns=self.turns,
            value_range=self.range,
        )

    @property
    def place(self) -> Path:
        """Where the pictures are. Raises `DataError` if nobody has said it."""
        if self.path is None:
            raise DataError(
                "The recipe names no pictures. Say where they are: --data FOLDER, or data.path in the recipe."
            )
        return self.path

    @property
    def task(self) -> Task:
        """What is made of targets."""
        return Task(degradations=self.degrade, masks=self.masks)

    @property
    def files(self) -> tuple[Path, str | None]:
        return self.place, self.part

    def at(self, path: Path) -> dict[str, Path]:
        if self.given is None:
            return {"path": path}
        return {"path": path / self.place.name, "given": path / self.given.name}  # two folders of the same names

    def to_learn_from(self) -> Source:
        of_targets = self.pairing == Pairing()  # else there may be other pictures at the same place
        return (labelled(self.place) if of_targets else None) or self.open()

    def shown(self, x: Tensor, *, given: bool = False) -> Tensor:
        labels = self.pairing.given_labels if given else self.pairing.target_labels
        return x if labels is None else labels.shown(x)

    @property
    def fixed_standard(self) -> Standard | None:
        return between(*self.range) if self.range else None

    @property
    def looked_through(self) -> tuple[float, float] | None:
        return self.window


ENDINGS = (("_HR", "_LR"), ("_gt", "_lq"), ("_clean", "_noisy"))
"""By which test sets are known to name a target and its partner."""


def endings_of(path: Path) -> dict[str, Any]:
    """The endings by which targets and givens lie together at a path, as settings, where there are such."""
    if path.suffix.lower() in (".npy", ".npz") or not path.exists():
        return {}
    files = zip_files(path) if path.is_file() else folder_files(path)
    stems = [PurePosixPath(name).stem for name in images_of(str(path), files, None)]
    for target, given in ENDINGS:
        if any(stem.endswith(target) for stem in stems) and any(stem.endswith(given) for stem in stems):
            return {"endings": (target, given), "degrade": (), "masks": ()}
    return {}


# ---------------------------------------------------------------- networks


class RestorerNetwork(Part):
    """A network from what is given to an answer."""

    @abstractmethod
    def build(self, given: int, channels: int, scale: int) -> nn.Module:
        """From `given` to `channels` channels, `scale` times larger. Raises ValueError where it cannot."""


class Srresnet(RestorerNetwork):
    """`networks.srresnet.SRResNet`: residual blocks without normalisation."""

    kind: Literal["srresnet"] = "srresnet"
    width: int = Field(default=64, ge=1)
    num_blocks: int = Field(default=16, ge=1)
    staged: bool = True
    """Enlarge step by step, and compute at the large size too; otherwise all pixels come at once, four times faster."""

    def build(self, given: int, channels: int, scale: int) -> nn.Module:
        same_channels(self.kind, given, channels)
        return SRResNet(channels, scale=scale, width=self.width, num_blocks=self.num_blocks, staged=self.staged)


class Rrdb(RestorerNetwork):
    """`networks.srresnet.RRDBNet`: residual-in-residual dense blocks (ESRGAN)."""

    kind: Literal["rrdb"] = "rrdb"
    width: int = Field(default=64, ge=1)
    num_blocks: int = Field(default=23, ge=1)
    growth: int = Field(default=32, ge=1)

    def build(self, given: int, channels: int, scale: int) -> nn.Module:
        same_channels(self.kind, given, channels)
        return RRDBNet(channels, scale=scale, width=self.width, num_blocks=self.num_blocks, growth=self.growth)


class Unet(RestorerNetwork):
    """`networks.unet.UNet`, for answers of the size that is given."""

    kind: Literal["unet"] = "unet"
    width: int = Field(default=64, ge=1)
    depth: int = Field(default=4, ge=1, le=8)
    normalisation: Literal["none", "batch", "instance"] = "none"
    residual: bool = True
    """Whether it answers what is to be added; only where as many channels are given."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """The share of features that training leaves out in the innermost decoder steps."""
    noise: bool = False
    """Whether dropout stays on in use, as noise (pix2pix)."""
    final: Literal["none", "tanh", "softmax"] = "none"
    """"tanh" keeps answers in [-1, 1], "softmax" is for label maps; both go without residual."""

    def build(self, given: int, channels: int, scale: int) -> nn.Module:
        same_size(self.kind, scale)
        return UNet(
            given,
            channels,
            width=self.width,
            depth=self.depth,
            normalisation=self.normalisation,
            dropout=self.dropout,
            noise=self.noise,
            residual=self.residual and given == channels,
            final=self.final,
        )


class Dncnn(RestorerNetwork):
    """`networks.denoiser.DnCNN`: the noise is answered, and taken away."""

    kind: Literal["dncnn"] = "dncnn"
    width: int = Field(default=64, ge=1)
    depth: int = Field(default=17, ge=2)
    normalisation: Literal["none", "batch"] = "none"

    def build(self, given: int, channels: int, scale: int) -> nn.Module:
        same_size(self.kind, scale)
        same_channels(self.kind, given, channels)
        return DnCNN(channels, width=self.width, depth=self.depth, normalisation=self.normalisation)


class Fourier(RestorerNetwork):
    """`networks.fourier.FourierInpainter`: every layer sees the whole image (LaMa)."""

    kind: Literal["fourier"] = "fourier"
    width: int = Field(default=64, ge=1)
    num_downs: int = Field(default=3, ge=0, le=5)
    num_blocks: int = Field(default=9, ge=1)
    ratio: float = Field(default=0.75, ge=0, le=1)
    """The share of features that are global."""

    def build(self, given: int, channels: int, scale: int) -> nn.Module:
        same_size(self.kind, scale)
        return FourierInpainter(
            given, channels, width=self.width, num_downs=self.num_downs, num_blocks=self.num_blocks, ratio=self.ratio
        )


class Gated(RestorerNetwork):
    """`networks.gated.GatedInpainter`: convolutions that learn where the image is valid (DeepFillv2)."""

    kind: Literal["gated"] = "gated"
    width: int = Field(default=32, ge=1)

    def build(self, given: int, channels: int, scale: int) -> nn.Module:
        same_size(self.kind, scale)
        return GatedInpainter(given, channels, width=self.width)


class Translator(RestorerNetwork):
    """`networks.translator.ResNetTranslator`: residual blocks at a smaller size (CycleGAN, pix2pixHD's global one)."""

    kind: Literal["translator"] = "translator"
    width: int = Field(default=64, ge=1)
    num_blocks: int = Field(default=9, ge=1)
    num_downs: int = Field(default=2, ge=0, le=5)
    """Halvings; pix2pixHD has 4."""
    normalisation: Literal["none", "batch", "instance"] = "instance"

    def build(self, given: int, channels: int, scale: int) -> ResNetTranslator:
        same_size(self.kind, scale)
        return ResNetTranslator(
            given,
            channels,
            width=self.width,
            num_blocks=self.num_blocks,
            num_downs=self.num_downs,
            normalisation=self.normalisation,
        )

    @property
    def compared(self) -> tuple[int, ...]:
        """The stages that CUT compares: the image, the halvings, the first block and the middle one."""
        first = self.num_downs + 2
        halvings = range(2, first)
        return tuple(dict.fromkeys((0, *halvings, first, first - 1 + -(-self.num_blocks // 2))))


AnyRestorer = Annotated[Srresnet | Rrdb | Unet | Dncnn | Fourier | Gated | Translator, Field(discriminator="kind")]


def same_channels(network: str, given: int, channels: int) -> None:
    """Raise ValueError unless as many channels are given as are answered."""
    if given != channels:
        raise ValueError(
            f"The {network} network answers as many channels as it is given; here {given} are given and {channels} are "
            "asked for. For inpainting use game.network.kind = fourier, gated or unet."
        )


def same_size(network: str, scale: int) -> None:
    """Raise ValueError unless the answer has the size that is given."""
    if scale != 1:
        raise ValueError(
            f"The {network} network answers images of the size that is given; targets are {scale} times larger. Use "
            "game.network.kind = srresnet or rrdb."
        )


class Patches(Part):
    """`networks.patch.PatchCritic`: a verdict on every patch, at one scale or several."""

    kind: Literal["patch"] = "patch"
    width: int = Field(default=64, ge=1)
    num_layers: int = Field(default=3, ge=0)
    normalisation: Literal["none", "batch", "instance", "spectral"] = "spectral"
    num_scales: int = Field(default=1, ge=1, le=5)

    def build(self, channels: int) -> nn.Module:
        """A critic of images."""
        members = [
            PatchCritic(channels, width=self.width, num_layers=self.num_layers, normalisation=self.normalisation)
            for _ in range(self.num_scales)
        ]
        return members[0] if self.num_scales == 1 else MultiScaleCritic(members)


class Pixels(Part):
    """`networks.unet.UNetCritic`: a verdict on every pixel (Real-ESRGAN)."""

    kind: Literal["unet"] = "unet"
    width: int = Field(default=64, ge=1)
    normalisation: Literal["none", "spectral"] = "spectral"

    def build(self, channels: int) -> nn.Module:
        """A critic of images."""
        return UNetCritic(channels, width=self.width, normalisation=self.normalisation)


AnyCritic = Annotated[Patches | Pixels, Field(discriminator="kind")]

# ---------------------------------------------------------------- feature networks


class Features(Part):
    """The network through whose layers images are compared: a small one fitted to pictures, or VGG from a file."""

    network: Literal["small", "vgg16", "vgg19"] = "small"
    weights: Path | None = None
    """Of VGG: the file of torchvision's weights, which is never downloaded."""
    images: Path | None = None
    """Of the small network: what it is fitted to, best one folder per class; by default the pictures of the run."""
    layers: tuple[str, ...] = ()
    """By default conv5_4 of VGG-19, conv5_3 of VGG-16, and one of each stage of the small network."""

    @field_validator("weights", "images")
    @classmethod
    def from_anywhere(cls, path: Path | None) -> Path | None:
        """A run can be resumed from any folder."""
        return None if path is None else path.expanduser().absolute()

    @model_validator(mode="after")
    def with_a_file(self) -> "Features":
        """Raise ValueError for VGG without weights."""
        if self.network != "small" and self.weights is None:
            raise ValueError(f"features.network = {self.network} needs features.weights, the file of its weights.")
        return self

    def open(self, examples: Examples) -> FeatureNetwork:
        """The network, fitted to the data of the run unless the settings name other. `DataError`, `CheckpointError`."""
        if self.network != "small":
            assert self.weights is not None
            layers = self.layers or (("conv5_4",) if self.network == "vgg19" else ("conv5_3",))
            return vgg_from_file(self.weights, self.network, layers)
        return fit_small_vgg(self.to_learn_from(examples), taps=self.layers or SMALL_TAPS)

    def to_learn_from(self, examples: Examples) -> Source:
        """What a small network is fitted to: the images of the settings, or the data of the run."""
        if self.images is not None:
            return labelled(self.images) or largest_squares(self.images)
        if examples.learn is None:
            raise RecipeError("game.features.images is needed: the pictures that a small network is fitted to.")
        return examples.learn()


FITTING = "The first time, a small network that compares pictures is fitted to them; this may take minutes …"


def labelled(path: Path) -> Source | None:
    """The images at a path with their classes, where there are any."""
    try:
        source = open_source(path)
    except DataError:
        return None
    return source if source.classes else None


def largest_squares(path: Path) -> Source:
    """Squares of the pictures at a path, of 64 pixels or of what all of them have."""
    for crop in (64, 32):
        with suppress(DataError):
            return pictures(path, crop=crop)
    return pictures(path, crop=16)


# ---------------------------------------------------------------- games

LIKENESSES: dict[str, Likeness] = {
    "l1": reconstruction.l1,
    "l2": reconstruction.l2,
    "charbonnier": reconstruction.charbonnier,
    "edges": reconstruction.edges,
    "gradients": reconstruction.image_gradients,
    "frequency": reconstruction.focal_frequency,
    "classes": pixel_classes,
}
TEXTURE = 4
"""Positions along the side of a patch whose texture is compared."""
LikenessName = Literal["l1", "l2", "charbonnier", "edges", "gradients", "frequency", "classes"]


class RestorerSettings(GameSettings):
    """What the games of restoration have in common."""

    network: AnyRestorer
    critic: AnyCritic = Patches()
    loss: LossName = "non-saturating"
    warmup: float = Field(default=0.5, ge=0, le=1)
    """The share of training in which the generator learns without the critic."""
    terms: dict[LikenessName, Scheduled] = {}
    """What compares pixels after the warm-up, with its weights."""
    perceptual: Scheduled | None = None
    """Weight of the distance between layers of a feature network."""
    style: Scheduled | None = None
    """Weight of the distance between the Gram matrices of its layers."""
    texture: Scheduled | None = None
    """Weight of the distance between the Gram matrices of patches of 4 × 4 positions of its layers."""
    features: Features = Features()
    adversarial: Scheduled = 1.0
    matching: Scheduled | None = None
    """Weight of the distance between layers of the critic."""
    penalties: Penalties = {}

    @property
    def preparation(self) -> str:
        compares = any((self.perceptual, self.style, self.texture))
        return FITTING if compares and self.features.network == "small" else ""

    def likenesses(self, examples: Examples) -> dict[str, tuple[Likeness, Scheduled]]:
        """All terms that compare an answer with its target."""
        found: dict[str, tuple[Likeness, Scheduled]] = {n: (LIKENESSES[n], w) for n, w in self.terms.items()}

        @cache
        def network() -> FeatureNetwork:  # only training asks for it
            return self.features.open(examples)

        def through(compare: Callable[..., Tensor]) -> Likeness:
            def term(target: Tensor, answer: Tensor) -> Tensor:
                seen = network()
                seen.net.to(answer.device)
                return compare(seen(coloured(target)), seen(coloured(answer)))

            def coloured(x: Tensor) -> Tensor:
                wanted = 3 if self.features.network != "small" else x.shape[1]
                return x.expand(-1, wanted, -1, -1) if x.shape[1] == 1 else x

            return term

        texture = partial(perceptual.texture, patch_size=TEXTURE)
        wanted = {"perceptual": perceptual.content, "style": perceptual.style, "texture": texture}
        for name, compare in wanted.items():
            weight = getattr(self, name)
            if weight:
                found[name] = (through(compare), weight)
        return found

    def networks(self, examples: Examples, *, critic_sees: int = 0) -> tuple[nn.Module, nn.Module]:
        """G and D; D is shown as many further channels. Raises `RecipeError` for data without what is given."""
        if examples.given is None:
            raise RecipeError(
                f"The game {self.kind!r} restores pictures, and {examples.name} has nothing to restore them from. Use "  # type: ignore[attr-defined]
                'data.kind = "pictures" with data.degrade, data.masks or data.given.'
            )
        channels, scale = examples.shape[0], examples.shape[1] // examples.given[1]
        G = self.network.build(examples.given[0], channels, scale)
        return G, self.critic.build(channels + critic_sees)

    def aims(self, examples: Examples) -> Aims:
        """What the players play for."""
        return Aims(
            loss=LOSSES[self.loss],
            terms=self.likenesses(examples),
            adversarial=self.adversarial,
            matching=self.matching,
            penalties={name.replace("-", "_"): (PENALTIES[name], w) for name, w in self.penalties.items()},
            warmup=self.warmup,
        )


class Srgan(RestorerSettings):
    """`games.srgan`: super-resolution."""

    kind: Literal["srgan"] = "srgan"
    network: AnyRestorer = Srresnet()
    first: LikenessName = "l1"
    """What the warm-up minimises."""
    terms: dict[LikenessName, Scheduled] = {"l1": 0.01}

    def build(self, examples: Examples) -> Game:
        return SRGAN(*self.networks(examples), self.aims(examples), first=LIKENESSES[self.first])


class InpaintingSettings(RestorerSettings):
    """`games.inpainting`: holes are filled."""

    kind: Literal["inpainting"] = "inpainting"
    network: AnyRestorer = Fourier()
    loss: LossName = "hinge"
    hole: Scheduled = 1.0
    """Weight of the error in the holes."""
    known: Scheduled = 1.0
    """Weight of the error around them."""
    prefill: int = Field(default=0, ge=0, le=8)
    """Holes are filled smoothly before, from cells of up to 2^prefill pixels; 0 is without, as in the papers."""

    def build(self, examples: Examples) -> Game:
        networks = self.networks(examples, critic_sees=1)
        weights = {"hole": self.hole, "known": self.known}
        return Inpainting(*networks, self.aims(examples), prefill=self.prefill, **weights)


class DenoisingSettings(RestorerSettings):
    """`games.denoising`: noise, compression and blur are taken away."""

    kind: Literal["denoising"] = "denoising"
    network: AnyRestorer = Dncnn()
    first: LikenessName = "charbonnier"
    """What the warm-up minimises."""
    terms: dict[LikenessName, Scheduled] = {"l1": 1.0}
    critic_steps: int = Field(default=1, ge=1, strict=True)

    def build(self, examples: Examples) -> Game:
        first = LIKENESSES[self.first]
        return Denoising(*self.networks(examples), self.aims(examples), first=first, critic_steps=self.critic_steps)
