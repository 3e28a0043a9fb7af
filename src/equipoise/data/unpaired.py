"""Two domains of pictures that do not belong together, for translation from one to the other."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, final

import torch
from torch import Tensor

from equipoise.core.errors import DataError, nearest
from equipoise.data.files import folder_files, zip_files
from equipoise.data.images import Filter, Fit
from equipoise.data.layout import images_of
from equipoise.data.open import missing, open_source
from equipoise.data.pictures import cut, pictures
from equipoise.data.source import Source, Split, subset, without_labels


class Couple(NamedTuple):
    """Pictures of both domains, [N, C, H, W] in [-1, 1], that do not belong together."""

    a: Tensor
    b: Tensor


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Unpaired(Source):
    """Two domains; as a source, its examples are those of the second. Made by `unpaired` or `coupled`.

    It is as long as the larger domain, of which an epoch visits each picture once. The partner from the smaller one is
    drawn at random while training, and otherwise fixed.
    """

    name: str
    shape: tuple[int, ...]
    fingerprint: str
    a: Source
    b: Source
    crop: int | None
    """The side of squares that are cut out of the pictures, at random places while training; None takes them whole."""
    mirror: bool
    """Whether training also sees pictures mirrored from left to right."""
    tests: tuple[Source | None, Source | None]
    """Of each domain what lies apart to be held out, if anything does."""
    classes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return max(len(self.a), len(self.b))

    @property
    def given_shape(self) -> tuple[int, ...]:
        return self.shape

    def examples(self, indices: Tensor) -> Tensor:
        return self.seen(self.b, indices % len(self.b), None)

    def first(self, indices: Tensor) -> Tensor:
        """Pictures of the first domain, as `examples` are those of the second."""
        return self.seen(self.a, indices % len(self.a), None)

    def labels(self, indices: Tensor) -> Tensor:
        raise without_labels(self.name)

    def batch(self, indices: Tensor, *, labels: bool = False, draw: torch.Generator | None = None) -> Couple:
        """Pictures of both domains; `draw` draws the partners, places the squares and mirrors."""
        visited, other = (self.a, self.b) if len(self.a) >= len(self.b) else (self.b, self.a)
        partners = indices if draw is None else torch.randint(len(other), indices.shape, generator=draw)
        x, partner = self.seen(visited, indices, draw), self.seen(other, partners % len(other), draw)
        return Couple(x, partner) if visited is self.a else Couple(partner, x)

    def seen(self, domain: Source, indices: Tensor, draw: torch.Generator | None) -> Tensor:
        """Pictures of one domain: squares of them, in as many channels as both have."""
        x = domain.batch(indices, draw=draw)
        x = x if torch.is_tensor(x) else x.target  # pictures of any size come as pairs, which nothing was done to
        if self.crop is not None and x.shape[2] > self.crop:
            x = torch.stack([square(one, self.crop, draw) for one in x])
        if draw is not None and self.mirror:
            turned = torch.rand(len(x), 1, 1, 1, generator=draw).to(x.device) < 0.5
            x = torch.where(turned, x.flip(3), x)
        return x.expand(-1, self.shape[0], -1, -1)

    def divided(self, divide: Callable[[Source], Split]) -> Split:
        """Each domain by itself, into what is trained on and what is held out: what lies apart, or what `divide` says.

        The whole cannot be divided by its indices, several of which are the same picture of the smaller domain.
        """
        a, b = (
            divide(domain) if test is None else Split(domain, test)
            for domain, test in zip((self.a, self.b), self.tests, strict=True)
        )
        return Split(self.of(a.train, b.train, self.name), self.of(a.held_out, b.held_out, f"{self.name} (held out)"))

    def of(self, a: Source, b: Source, name: str) -> "Unpaired":
        """Other pictures of the domains, seen in the same way."""
        return coupled(a, b, name=name, crop=self.crop, mirror=self.mirror, channels=self.shape[0])

    def to(self, device: torch.device | str) -> "Unpaired":
        tests = tuple(None if test is None else test.to(device) for test in self.tests)
        return replace(self, a=self.a.to(device), b=self.b.to(device), tests=tests)


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Domains(Source):
    """The pictures of two domains with the domain of each, "A" or "B": both equally often. Made by `domains_of`."""

    name: str
    shape: tuple[int, ...]
    fingerprint: str
    whole: Unpaired
    classes: tuple[str, ...] = ("A", "B")
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return 2 * len(self.whole)

    def examples(self, indices: Tensor) -> Tensor:
        pairs = indices.cpu() // 2
        a, b = self.whole.first(pairs), self.whole.examples(pairs)
        return torch.where(self.labels(indices).to(a.device)[:, None, None, None] == 1, b, a)

    def labels(self, indices: Tensor) -> Tensor:
        return indices % 2

    def to(self, device: torch.device | str) -> "Domains":
        return replace(self, whole=self.whole.to(device))


def domains_of(whole: Unpaired) -> Domains:
    """The pictures of two domains, to learn to tell them apart."""
    digest = hashlib.sha256(f"domains of {whole.fingerprint}".encode()).hexdigest()
    return Domains(name=f"domains of {whole.name}", shape=whole.shape, fingerprint=digest, whole=whole)


def coupled(
    a: Source,
    b: Source,
    *,
    name: str,
    crop: int | None = None,
    mirror: bool = True,
    channels: int | None = None,
    tests: tuple[Source | None, Source | None] = (None, None),
) -> Unpaired:
    """Two sources of images as domains. Grey and colour become colour; `DataError` unless sizes are the same.

    >>> from equipoise.data.source import tensor_source
    >>> grey, colour = (torch.zeros(num, channels, 8, 8) for num, channels in ((3, 1), (5, 3)))
    >>> source = coupled(tensor_source("grey", grey), tensor_source("colour", colour), name="both")
    >>> len(source), [tuple(x.shape) for x in source.batch(torch.arange(2))]
    (5, [(2, 3, 8, 8), (2, 3, 8, 8)])
    """
    sources = [source for source in (a, b, *tests) if source is not None]
    for source in sources:
        if len(source) == 0 or len(source.shape) != 3 or source.shape[0] not in (1, 3):
            raise DataError(
                f"{source.name} has {len(source)} examples of shape {list(source.shape)}. Expected at least one image "
                "[C, H, W] with C = 1 (grey) or 3 (colour) in each domain."
            )
    sizes = {source.shape[1:]: source.name for source in sources}
    if len(sizes) > 1:
        found = ", ".join(f"{name}: {width} × {height}" for (height, width), name in sizes.items())
        raise DataError(f"The domains have pictures of different sizes ({found}). Expected one; use data.size.")
    (height, width), channels = next(iter(sizes)), channels or max(source.shape[0] for source in sources)
    if crop is not None and min(height, width) < crop:
        raise DataError(
            f"{a.name} and {b.name} have pictures of {width} × {height} pixels, and squares of {crop} are cut. "
            "Expected a data.crop of at most that, or a larger data.size."
        )
    shape = (channels, *((height, width) if crop is None else (crop, crop)))
    described = json.dumps([shape, mirror, *(None if s is None else s.fingerprint for s in (a, b, *tests))])
    return Unpaired(
        name=name,
        shape=shape,
        fingerprint=hashlib.sha256(described.encode()).hexdigest(),
        a=a,
        b=b,
        crop=crop,
        mirror=mirror,
        tests=tests,
        skipped=tuple(line for source in sources for line in source.skipped),
        notes=tuple(dict.fromkeys(f"{source.name}: {note}" for source in sources for note in source.notes)),
    )


def square(x: Tensor, size: int, draw: torch.Generator | None) -> Tensor:
    """A square of an image [C, H, W]: at a random place, or the central one."""
    spare = [side - size for side in x.shape[1:]]
    top, left = (room // 2 if draw is None else int(torch.randint(room + 1, (), generator=draw)) for room in spare)
    return cut(x, top, left, size)


# ---------------------------------------------------------------- from files


@final
@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the pictures of one domain lie."""

    path: Path
    """A folder or .zip of pictures, or an .npy or .npz array."""
    part: str | None = None
    test: str | None = None
    """The part that is held out; by default some pictures are set aside."""
    label: str | None = None
    """Only the pictures of that class, of an array with labels or of folders of classes."""

    def __str__(self) -> str:
        part = "" if self.part is None else f" ({self.part})"
        return f"{self.path}{part}" + ("" if self.label is None else f", class {self.label}")


@final
@dataclass(frozen=True, kw_only=True)
class Reading:
    """How the pictures of both domains are read."""

    size: int | None = None
    """Pictures become squares of so many pixels; None: of the shortest side of all, or, with a crop, stay as large as
    they are in their files."""
    crop: int | None = None
    """The side of squares that are cut out of them."""
    channels: int | None = None
    """None: 1 if all are grey, else 3."""
    fit: Fit = "crop"
    filter: Filter = "auto"
    mirror: bool = True


def unpaired(a: Place, b: Place, reading: Reading, *, name: str) -> Unpaired:
    """The domains that lie at two places. Raises `DataError` naming the place."""
    if a == b:
        raise DataError(
            f"Both domains are {a}. Expected different pictures: give data.a and data.b another path, part or label."
        )
    sources, tests = all_opened(a, b, reading)
    known = [source for source in (*sources, *tests) if source is not None]
    smallest = min(min(source.shape[1:]) for source in known)
    if any(source.shape[1:] != (smallest, smallest) for source in known):
        sources, tests = all_opened(a, b, replace(reading, size=smallest))
    return coupled(
        *sources,
        name=name,
        crop=reading.crop if reading.size is not None else None,  # else they are squares already
        mirror=reading.mirror,
        channels=reading.channels,
        tests=tests,
    )


def all_opened(
    a: Place, b: Place, reading: Reading
) -> tuple[tuple[Source, Source], tuple[Source | None, Source | None]]:
    """What both domains are learnt from, and what of them is held out where that lies apart."""
    test_a, test_b = (None if place.test is None else opened(place, place.test, reading) for place in (a, b))
    return (opened(a, a.part, reading), opened(b, b.part, reading)), (test_a, test_b)


def opened(place: Place, part: str | None, reading: Reading) -> Source:
    """The pictures of a part of a place. Raises `DataError` naming it."""
    if not place.path.exists():
        raise missing(place.path)
    if reading.crop is not None and reading.size is None:
        if place.label is not None:
            raise DataError(
                f"{place}: a class cannot be chosen of pictures that keep their sizes. Give data.size too, or name the "
                "folder of the class as a part."
            )
        try:
            return pictures(place.path, crop=reading.crop, part=part, channels=reading.channels, turns=False)
        except DataError as error:
            known = str(place.path) in str(error)
            raise error if known else DataError(f"{replace(place, part=part)}: {error}") from error
    source = open_source(
        place.path,
        size=reading.size,
        channels=reading.channels,
        part=part,
        fit=reading.fit,
        filter=reading.filter,
    )
    if len(source.shape) != 3:
        raise DataError(f"{place} holds vectors of shape {list(source.shape)}. Expected images.")
    if place.label is None:
        return source
    if place.label not in source.classes:
        hint = nearest(place.label, source.classes)
        raise DataError(f"{place.path} has no class {place.label!r} to be a domain. {hint}")
    every = torch.arange(len(source))
    chosen = every[source.labels(every).cpu() == source.classes.index(place.label)]
    return replace(subset(source, chosen, name=f"{source.name}, {place.label}"), classes=())


def standard_places(path: Path) -> tuple[Place, Place]:
    """Domains in the layout of the papers: trainA and trainB below a folder or .zip, testA and testB where they are."""
    if not path.exists():
        raise missing(path)
    if path.is_file() and path.suffix.lower() != ".zip":
        raise DataError(
            f"{path} is one file. Expected a folder or .zip with trainA and trainB below it, or say which pictures are "
            'which domain, such as by data.a.label = "3" and data.b.label = "8" of an array with labels.'
        )
    files = zip_files(path) if path.is_file() else folder_files(path)

    def has(part: str) -> bool:
        try:
            return bool(images_of(str(path), files, part))
        except DataError:
            return False

    absent = [part for part in ("trainA", "trainB") if not has(part)]
    if absent:
        raise DataError(
            f"{path} has no pictures in {' and '.join(absent)}. Expected trainA and trainB below it, and testA and "
            "testB to be held out, if there are any; or name the domains by data.a and data.b."
        )
    a, b = (Place(path=path, part=f"train{x}", test=f"test{x}" if has(f"test{x}") else None) for x in "AB")
    return a, b
