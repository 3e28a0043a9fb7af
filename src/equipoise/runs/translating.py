"""Settings of translation between two domains: their pictures, the networks, and the games without pairs."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator
from torch import nn

from equipoise.core.errors import DataError, RecipeError
from equipoise.core.game import Game
from equipoise.core.schedule import Scheduled, ends
from equipoise.data.images import Filter
from equipoise.data.source import Source
from equipoise.data.unpaired import Place, Reading, Unpaired, standard_places, unpaired
from equipoise.engine.optimizers import Optimizer
from equipoise.engine.trainer import Plan
from equipoise.games.answers import fit_of
from equipoise.games.cut import CUT, Contrast
from equipoise.games.cyclegan import CycleGAN, Weights
from equipoise.games.pool import FakePool
from equipoise.networks.projections import Projections
from equipoise.runs.parts import LOSSES, DataSettings, Examples, GameSettings, LossName
from equipoise.runs.restoring import AnyCritic, Patches, Translator
from equipoise.runs.scores import Scored
from equipoise.runs.techniques import Part

if TYPE_CHECKING:
    from equipoise.runs.run import Run

# ---------------------------------------------------------------- data


class Domain(Part):
    """The pictures of one domain."""

    path: Path | None = None
    """A folder, a .zip, or an .npy or .npz array; by default that of both domains, data.path."""
    part: str | None = None
    """A sub-folder such as "train/horse", or of an array "train"."""
    label: str | None = None
    """Only the pictures of that class, such as "3" of an array of digits."""
    test: str | None = None
    """The part that is held out; by default some pictures are set aside."""

    @field_validator("path")
    @classmethod
    def from_anywhere(cls, path: Path | None) -> Path | None:
        """A run can be resumed from any folder."""
        return None if path is None else path.expanduser().absolute()


class UnpairedData(DataSettings):
    """Two domains of pictures that do not belong together."""

    kind: Literal["unpaired"] = "unpaired"
    path: Path | None = None
    """A folder or .zip with trainA and trainB, and testA and testB to be held out; shipped recipes are given it by
    `--data`. With `a` and `b`, what they are parts of."""
    a: Domain = Domain()
    """The first domain, where it is not trainA; a mere name is a part of `path`, or without `path` a path."""
    b: Domain = Domain()
    """The second domain."""
    size: int | None = Field(default=None, ge=12, le=4096)
    """Pixels per side that pictures are brought to; by default the shortest side of all, or with a crop their own."""
    crop: int | None = Field(default=None, ge=12, le=1024)
    """The side of squares that are cut out of them, at random places while training."""
    channels: Literal[1, 3] | None = None
    """By default 1 if all are grey, else 3."""
    fit: Literal["crop", "pad", "stretch"] = "crop"
    filter: Filter = "auto"
    """By what pictures are resized."""
    mirror: bool = True
    """Training also sees pictures mirrored from left to right."""

    @field_validator("path")
    @classmethod
    def from_anywhere(cls, path: Path | None) -> Path | None:
        """A run can be resumed from any folder."""
        return None if path is None else path.expanduser().absolute()

    @model_validator(mode="before")
    @classmethod
    def named(cls, content: Any) -> Any:
        """A domain that is given by a mere name is a part of `path`, or a path of its own."""
        if not isinstance(content, Mapping):
            return content
        what = "path" if content.get("path") is None else "part"
        return {k: {what: v} if k in ("a", "b") and isinstance(v, str | Path) else v for k, v in content.items()}

    @model_validator(mode="after")
    def without_what_images_have(self) -> "UnpairedData":
        """Raise ValueError for settings of other data."""
        for name in ("augmentation", "per_class"):
            if getattr(self, name) is not None:
                raise ValueError(f"data.{name} is not for unpaired domains: data.mirror mirrors them. Leave it out.")
        if self.standardise != "none":
            raise ValueError(
                "data.standardise is not for unpaired domains, whose pictures are in [-1, 1]. Leave it out."
            )
        return self

    def open(self) -> Unpaired:
        if self.size is not None and self.crop is not None and self.crop > self.size:
            raise DataError(
                f"data.crop = {self.crop} and data.size = {self.size}: expected squares that fit into the pictures. "
                "Use a smaller data.crop, or a larger data.size."
            )
        a, b = self.places()
        reading = Reading(
            size=self.size,
            crop=self.crop,
            channels=self.channels,
            fit=self.fit,
            filter=self.filter,
            mirror=self.mirror,
        )
        return unpaired(a, b, reading, name=self.name_of(a, b))

    def places(self) -> tuple[Place, Place]:
        """Where the domains are. Raises `DataError` if nobody has said it, or in two ways."""
        if (self.a == Domain()) != (self.b == Domain()):
            raise DataError("Only one of data.a and data.b is given. Say both, or neither for trainA and trainB.")
        if self.path is not None and self.a.path is not None and self.b.path is not None:
            raise DataError("data.path is used by no domain, as data.a and data.b have paths. Leave one of them out.")
        if self.a == Domain() and self.b == Domain():
            if self.path is None:
                raise DataError(
                    "The recipe names no pictures. Say where trainA and trainB are: --data FOLDER; or name both "
                    "domains by data.a and data.b."
                )
            return standard_places(self.path)
        a, b = (self.place(domain, name) for domain, name in ((self.a, "a"), (self.b, "b")))
        return a, b

    def place(self, domain: Domain, name: str) -> Place:
        """Where one domain is."""
        path = domain.path or self.path
        if path is None:
            raise DataError(f"data.{name} has no path, and there is no data.path that it could be a part of. Give one.")
        return Place(path=path, part=domain.part, label=domain.label, test=domain.test)

    def name_of(self, a: Place, b: Place) -> str:
        """What the data is called."""
        if a.path == b.path:
            names = [x.label or x.part for x in (a, b)]
            return a.path.name if names == ["trainA", "trainB"] else f"{a.path.name}: {names[0]} and {names[1]}"
        return f"{a.path.name} and {b.path.name}"

    @property
    def files(self) -> tuple[Path, str | None] | None:
        return None if self.path is None or self.a != Domain() else (self.path, None)


# ---------------------------------------------------------------- games


class TranslatorSettings(GameSettings):
    """What the games of two domains without pairs have in common."""

    network: Translator = Translator()
    critic: AnyCritic = Patches(normalisation="instance")
    loss: LossName = "least-squares"
    adversarial: Scheduled = 2.0
    """Weight of the adversarial loss in the generator's; in the critic's it is half of that. With least-squares, which
    has a half of its own, 2 is the papers' loss."""

    @property
    def own_scores(self) -> tuple[str, ...]:
        return ("fid", "kid", "domain", "kept")

    def channels(self, examples: Examples) -> int:
        """Of the pictures. Raises `RecipeError` for data that is not two domains."""
        if examples.given is None or examples.given != examples.shape:
            raise RecipeError(
                f"The game {self.kind!r} translates between two domains, and {examples.name} is none. Use "  # type: ignore[attr-defined]
                'data.kind = "unpaired".'
            )
        return examples.shape[0]


class CycleGANSettings(TranslatorSettings):
    """`games.cyclegan`: both directions, by cycles."""

    kind: Literal["cyclegan"] = "cyclegan"
    cycle: Scheduled = 10.0
    """Weight of the way there and back."""
    identity: Scheduled = 5.0
    """Weight of what is of the target domain already staying as it is; 0 where colours must change."""
    pool: int = Field(default=50, ge=0)
    """Former fakes of each domain that the critics are shown; 0 for none."""

    def build(self, examples: Examples) -> Game:
        channels = self.channels(examples)
        generators = self.network.build(channels, channels, 1), self.network.build(channels, channels, 1)
        critics = self.critic.build(channels), self.critic.build(channels)
        large_enough(examples, *generators, *critics)
        return CycleGAN(
            generators,
            critics,
            (FakePool(self.pool, examples.shape), FakePool(self.pool, examples.shape)),
            loss=LOSSES[self.loss],
            weights=Weights(adversarial=self.adversarial, cycle=self.cycle, identity=self.identity),
        )

    def conflicts(self, training: Plan, players: Mapping[str, Optimizer]) -> list[str]:
        largest = max(ends(training.batch))
        if 0 < self.pool < largest:
            return [
                f"game.pool = {self.pool} has fewer slots than training.batch = {largest:g} has examples. Use a larger "
                "pool, a smaller batch, or game.pool = 0 for none."
            ]
        return []

    def scored(self, run: "Run", game: Game, held_out: Source, *, num: int | None = None) -> Scored:
        from equipoise.runs.translated import cycle_kept, translated  # knows runs, which know all settings

        return translated(run, game, held_out, kept=cycle_kept, num=num)


class CutSettings(TranslatorSettings):
    """`games.cut`: one direction, by patches that stay where they are."""

    kind: Literal["cut"] = "cut"
    contrast: Scheduled = 1.0
    """Weight of the contrast between patches of a picture and of its translation."""
    identity: Scheduled = 1.0
    """Weight of the same for pictures of the target domain; 0 for none, as in FastCUT."""
    layers: tuple[int, ...] | None = None
    """Stages of the generator that are compared, 0 the picture; by default it, the halvings and two blocks."""
    num_patches: int = Field(default=256, ge=2)
    """Places of each layer; all where there are fewer."""
    head_width: int = Field(default=256, ge=1)
    """Of the space in which they are compared."""
    temperature: float = Field(default=0.07, gt=0)
    flips: bool = False
    """Half of the pictures are given mirrored, and compared as they were (FastCUT)."""

    def build(self, examples: Examples) -> Game:
        channels = self.channels(examples)
        if self.flips and examples.shape[2] % 2**self.network.num_downs:
            raise RecipeError(
                f"game.flips compares features of mirrored pictures, whose width of {examples.shape[2]} is no multiple "
                f"of {2**self.network.num_downs}. Use another data.crop or data.size, or flips = false."
            )
        G = self.network.build(channels, channels, 1)
        layers = self.layers or self.network.compared
        if not all(0 <= layer < len(G.channels) for layer in layers):
            raise RecipeError(f"game.layers = {list(layers)}: expected stages from 0 to {len(G.channels) - 1}.")
        H = Projections([G.channels[layer] for layer in layers], width=self.head_width)
        contrast = Contrast(
            layers=layers,
            contrast=self.contrast,
            identity=self.identity,
            adversarial=self.adversarial,
            num_patches=self.num_patches,
            temperature=self.temperature,
            flips=self.flips,
        )
        D = self.critic.build(channels)
        large_enough(examples, G, D)
        return CUT(G, D, H, loss=LOSSES[self.loss], contrast=contrast)

    def scored(self, run: "Run", game: Game, held_out: Source, *, num: int | None = None) -> Scored:
        from equipoise.runs.translated import structure_kept, translated  # knows runs, which know all settings

        return translated(run, game, held_out, kept=structure_kept, num=num)


def large_enough(examples: Examples, *networks: nn.Module) -> None:
    """Raise `RecipeError` unless the pictures are large enough for all networks."""
    smallest = max(fit_of(network).smallest for network in networks)
    if min(examples.shape[1:]) < smallest:
        raise RecipeError(
            f"Pictures of {examples.shape[2]} × {examples.shape[1]} pixels are too small for these networks: expected "
            f"sides of at least {smallest}. Use a larger data.size or data.crop, or fewer game.network.num_downs and "
            "game.critic.num_layers."
        )
