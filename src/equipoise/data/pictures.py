"""Pictures of any size, and what a restorer is given of them: from files in pairs, or degraded on the fly."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from equipoise.core.errors import DataError
from equipoise.core.seeding import generator
from equipoise.data.arrays import array
from equipoise.data.degradations import Degradation, LowDose, degraded, shrinkage
from equipoise.data.files import folder_files, natural_order, zip_files
from equipoise.data.folders import MEMORY, SKIPPED_SHARE
from equipoise.data.images import decode
from equipoise.data.labels import Labels
from equipoise.data.layout import images_of
from equipoise.data.masks import Mask, drawn_masks
from equipoise.data.pairs import Pairing, halves, partners_of
from equipoise.data.source import Source, to_float, without_labels
from equipoise.data.threads import in_threads

Small = Literal["refuse", "mirror"]
"""What becomes of pictures that are smaller than a crop: an error that names them, or mirrored edges."""


class Pair(NamedTuple):
    """What a restorer is given, [N, C', h, w], and what it should make of it, [N, C, H, W]; both in [-1, 1].

    For inpainting, the last channel of `given` is the mask, 1 where something is missing, and the others are 0 there.
    Label maps have one plane for each class, 1 where it is and -1 elsewhere.
    """

    given: Tensor
    target: Tensor


@final
@dataclass(frozen=True, kw_only=True)
class Task:
    """What is made of targets: degraded step by step, with a part masked out, or nothing at all."""

    degradations: tuple[Degradation, ...] = ()
    masks: tuple[Mask, ...] = ()
    """Of which one is drawn for each image."""

    @property
    def factor(self) -> int:
        """How many times smaller what is given is."""
        return shrinkage(self.degradations)

    def given(self, target: Tensor, draw: torch.Generator) -> Tensor:
        """What a restorer is given of targets [N, C, H, W], whose sides are multiples of the factor."""
        x = degraded(target, self.degradations, draw)
        if not self.masks:
            return x
        hidden = drawn_masks(self.masks, len(x), size=(x.shape[2], x.shape[3]), draw=draw).to(x)
        return torch.cat([x * (1 - hidden), hidden], dim=1)


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Pictures(Source):
    """Pictures of any size in memory. Examples are squares cut out of them, at random places while training.

    `examples` are the central squares. Made by `pictures`.
    """

    name: str
    shape: tuple[int, ...]
    """Of a target square."""
    fingerprint: str
    names: tuple[str, ...]
    targets: tuple[Tensor, ...]
    """Each uint8 or float32 [C, H, W]; of label maps the class numbers, uint8 [1, H, W]."""
    givens: tuple[Tensor, ...] | None
    """Each `factor` times smaller than its target; None where they are made on the fly."""
    task: Task
    factor: int
    """How many times larger a target is than what is given."""
    turns: bool
    """Whether training also sees them mirrored and turned by quarters."""
    target_labels: Labels | None = None
    given_labels: Labels | None = None
    """Of label maps: their classes."""
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    classes: tuple[str, ...] = field(default=(), init=False)
    device: torch.device | str = "cpu"

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def given_shape(self) -> tuple[int, ...]:
        if self.givens is None:
            channels = self.shape[0] + bool(self.task.masks)
        else:
            channels = self.givens[0].shape[0] if self.given_labels is None else len(self.given_labels)
        return (channels, *(side // self.factor for side in self.shape[1:]))

    def examples(self, indices: Tensor) -> Tensor:
        return torch.stack([self.target_of(self.square(int(i), None).target) for i in indices]).to(self.device)

    def labels(self, indices: Tensor) -> Tensor:
        raise without_labels(self.name)

    def batch(self, indices: Tensor, *, labels: bool = False, draw: torch.Generator | None = None) -> Pair:
        """(given, target) of these pictures; `draw` places and turns the squares and degrades them."""
        squares = [self.square(int(i), draw) for i in indices]
        target = torch.stack([self.target_of(square.target) for square in squares])
        if self.givens is not None:
            given = torch.stack([self.given_of(square.given) for square in squares])
        elif draw is not None:
            given = self.task.given(target, draw)
        else:  # each on its own, so that it does not matter in whose company it is asked for
            parts = zip(target.split(1), indices.tolist())
            given = torch.cat([self.task.given(x, generator(0, "degradation", i)) for x, i in parts])
        return Pair(given.to(self.device), target.to(self.device))

    def square(self, index: int, draw: torch.Generator | None) -> Pair:
        """A square of a picture and the same of what is given, as they are stored: central, or at a random place."""
        target, size = self.targets[index], self.shape[-1]
        given = target if self.givens is None else self.givens[index]
        places = [target.shape[1] // self.factor, target.shape[2] // self.factor]
        spare = [side - size // self.factor for side in places]
        if draw is None:
            top, left = (room // 2 for room in spare)
        else:
            top, left = (int(torch.randint(room + 1, (), generator=draw)) for room in spare)
        x = cut(target, top * self.factor, left * self.factor, size)
        y = x if self.givens is None else cut(given, top, left, size // self.factor)
        if draw is not None and self.turns:
            turn = int(torch.randint(8, (), generator=draw))
            x, y = turned(x, turn), turned(y, turn)
        return Pair(y, x)

    def whole(self, index: int) -> Pair:
        """A whole picture and what is given of it, [1, …], always the same; the target is cut to whole given pixels."""
        target = self.target_of(self.targets[index])[None]
        height, width = (side // self.factor * self.factor for side in target.shape[2:])
        target = target[:, :, :height, :width]
        if self.givens is not None:
            return Pair(self.given_of(self.givens[index])[None].to(self.device), target.to(self.device))
        given = self.task.given(target, generator(0, "degradation", index))
        return Pair(given.to(self.device), target.to(self.device))

    def target_of(self, stored: Tensor) -> Tensor:
        """A stored target as networks see it: in [-1, 1], label maps as planes."""
        return as_float(stored) if self.target_labels is None else self.target_labels.planes(stored)

    def given_of(self, stored: Tensor) -> Tensor:
        """What is stored of what is given, as networks see it."""
        return as_float(stored) if self.given_labels is None else self.given_labels.planes(stored)

    def to(self, device: torch.device | str) -> "Pictures":
        return replace(self, device=device)


def pictures(
    path: str | Path,
    *,
    crop: int,
    task: Task | None = None,
    given: str | Path | None = None,
    endings: tuple[str, str] | None = None,
    pairing: Pairing | None = None,
    part: str | None = None,
    channels: int | None = None,
    small: Small = "refuse",
    turns: bool = True,
    value_range: tuple[float, float] | None = None,
) -> Pictures:
    """The pictures of a folder, a .zip, or the slices of an .npy or .npz array, in their own sizes.

    What a restorer is given of them is made by `task`, or lies in files of the same names: in the folder or .zip
    `given`, or beside them with other `endings` of their names, such as ("_HR", "_LR") for targets and givens; or where
    `pairing` says, which also says what is a label map. The size of a target is a whole multiple of that of its
    partner, the same for all. `crop` is the side of the target squares.
    `channels` None takes 1 if all targets are grey, else 3. Raises `DataError` naming the file.
    """
    path, task, pairing = Path(path).expanduser(), task or Task(), pairing or Pairing()
    if not path.exists():
        raise DataError(f"{path} does not exist. Expected a folder or .zip of pictures, or an .npy or .npz array.")
    partners: list[np.ndarray] | None = None
    skipped: dict[str, str] = {}
    in_pairs = given is not None or endings is not None or pairing.part is not None or pairing.aligned
    if path.is_file() and path.suffix.lower() in (".npy", ".npz"):
        if in_pairs:
            raise DataError(
                f"{path} is an array: what is given of it is made, not read. Leave out given, given_part, endings and "
                "aligned."
            )
        source = array(path, channels=channels, part=part, value_range=value_range)
        if len(source.shape) != 3:
            raise DataError(f"{path} holds vectors of shape {list(source.shape)}. Expected images.")
        names, targets = [f"{path.name}[{i}]" for i in range(len(source))], list(source.values)
        digest = source.fingerprint
    else:
        a_labels, b_labels = pairing.labels.get("A"), pairing.labels.get("B")
        decoding = decode if b_labels is None or pairing.aligned else b_labels.pixels
        names, found = read(path, part, ending=endings[0] if endings else "", skipped=skipped, decoding=decoding)
        if pairing.aligned:
            partners, found = halves(names, found)
            partners = numbered([f"the left half of {name}" for name in names], partners, a_labels)
        found = numbered(names, found, b_labels)
        if in_pairs and not pairing.aligned:
            ending, others_part = endings[1] if endings else "", pairing.part or (part if given is None else None)
            names, found, partners = paired(
                path, names, found, given=given, ending=ending, part=others_part, labels=a_labels, skipped=skipped
            )
        digest = hashlib.sha256(json.dumps(names).encode())
        for pixels in [*found, *(partners or [])]:
            digest.update(hashlib.sha256(pixels.tobytes()).digest())
        digest = digest.hexdigest()
        if pairing.direction == "BtoA" and partners is not None:
            found, partners = partners, found
        targets = tensors(found, channels, pairing.target_labels)
    givens = None if partners is None else tensors(partners, None, pairing.given_labels)
    factor = task.factor if givens is None else factor_between(names, targets, givens)
    if crop % factor:
        raise DataError(f"crop = {crop}: expected a multiple of {factor}, as targets are so many times larger.")
    targets, givens = large_enough(names, targets, givens, crop=crop, factor=factor, small=small)
    rules = json.dumps([crop, factor, small, repr(task) if givens is None else None])
    rules += repr(pairing) if pairing != Pairing() else ""
    target_labels, given_labels = pairing.target_labels, pairing.given_labels
    return Pictures(
        name=path.name,
        shape=(targets[0].shape[0] if target_labels is None else len(target_labels), crop, crop),
        fingerprint=hashlib.sha256(f"{digest} {rules}".encode()).hexdigest(),
        names=tuple(names),
        targets=tuple(targets),
        givens=None if givens is None else tuple(givens),
        task=task,
        factor=factor,
        turns=turns,
        target_labels=target_labels,
        given_labels=given_labels,
        skipped=tuple(f"{name}: {reason}" for name, reason in skipped.items()),
        notes=tuple(noticed(task, targets, crop)) if givens is None else (),
    )


def noticed(task: Task, targets: Sequence[Tensor], crop: int) -> Iterator[str]:
    """What a person should know of squares of such pictures."""
    side = max(max(x.shape[1:]) for x in targets)
    if side > crop and any(isinstance(one, LowDose) for one in task.degradations):
        yield (
            f"The noise of low-dose CT comes from rays through all of a slice; here squares of {crop} pixels are taken "
            f"for whole slices, which have {side}. Use data.crop = {side} to train on the noise that is there."
        )


# ---------------------------------------------------------------- reading


def read(
    path: Path,
    part: str | None,
    *,
    ending: str,
    skipped: dict[str, str],
    decoding: Callable[[bytes], np.ndarray] = decode,
) -> tuple[list[str], list[np.ndarray]]:
    """The names, without their endings, and the pixels uint8 [C, H, W] of all pictures that can be read."""
    files = zip_files(path) if path.is_file() else folder_files(path)
    names = [name for name in images_of(str(path), files, part) if PurePosixPath(name).stem.endswith(ending)]
    if not names:
        raise DataError(f"{path} holds no pictures whose names end in {ending!r}. Look at data.endings.")

    def one(name: str) -> np.ndarray | str:
        try:
            return decoding(files.read(name))
        except DataError as error:
            return str(error)

    kept, found, num_bytes = [], [], 0
    for name, pixels in zip(names, in_threads(one, names), strict=True):
        if isinstance(pixels, str):
            skipped[name] = pixels
            continue
        num_bytes += pixels.nbytes
        if num_bytes > MEMORY:
            raise DataError(f"{path} holds more than {MEMORY / 2**30:.0f} GiB of decoded pictures. Use a part of them.")
        kept.append(key_of(name, ending))
        found.append(pixels)
    if len(skipped) > SKIPPED_SHARE * len(names):
        first = "; ".join(f"{name}: {reason}" for name, reason in list(skipped.items())[:3])
        raise DataError(
            f"{path}: {len(skipped)} of {len(names)} pictures cannot be read; at most {SKIPPED_SHARE:.0%} may be left "
            f"out. {first}. Repair or remove them."
        )
    order = sorted(range(len(kept)), key=lambda i: natural_order(kept[i]))
    return [kept[i] for i in order], [found[i] for i in order]


def key_of(name: str, ending: str) -> str:
    """The name of a picture without its suffix and ending: what the two of a pair have in common."""
    stem = str(PurePosixPath(name).with_suffix(""))
    return stem[: len(stem) - len(ending)]


def paired(
    path: Path,
    names: list[str],
    targets: list[np.ndarray],
    *,
    given: str | Path | None,
    ending: str,
    part: str | None,
    labels: Labels | None,
    skipped: dict[str, str],
) -> tuple[list[str], list[np.ndarray], list[np.ndarray]]:
    """Each target with its partner of the same name; what was left out on one side is left out on the other."""
    where = path if given is None else Path(given).expanduser()
    if not where.exists():
        raise DataError(f"{where} does not exist. Expected what is given of the pictures in {path}, by the same names.")
    lost: dict[str, str] = {}
    decoding = decode if labels is None else labels.pixels
    other_names, others = read(where, part, ending=ending, skipped=lost, decoding=decoding)
    partner = dict(zip(other_names, numbered(other_names, others, labels)))
    in_one_place = bool(ending) and given is None
    found = {n: n for n in names if n in partner} if in_one_place else partners_of(names, other_names)
    gone = {PurePosixPath(key_of(name, ending)).name for name in lost}
    alone = [name for name in names if name not in found and PurePosixPath(name).name not in gone]
    if alone:
        raise DataError(
            f"{len(alone)} of {len(names)} pictures in {path} have no partner of the same name in {where}: "
            f"{', '.join(alone[:3])}{', …' if len(alone) > 3 else ''}. Add the partners, or remove these."
        )
    skipped |= lost
    if spare := sorted({*other_names} - {*found.values()}, key=natural_order):
        some = f"{', '.join(spare[:3])}{', …' if len(spare) > 3 else ''}"
        skipped[f"{len(spare)} pictures in {where}"] = f"no picture of the same name in {path} ({some})"
    kept = [(name, target, partner[found[name]]) for name, target in zip(names, targets) if name in found]
    return [one[0] for one in kept], [one[1] for one in kept], [one[2] for one in kept]


def factor_between(names: Sequence[str], targets: Sequence[Tensor], givens: Sequence[Tensor]) -> int:
    """How many times larger the targets are than their partners: the same whole number for all."""
    factor = max(1, round(targets[0].shape[1] / givens[0].shape[1]))
    for name, target, given in zip(names, targets, givens):
        if any(side // factor != other for side, other in zip(target.shape[1:], given.shape[1:])):
            sizes = " and ".join(f"{x.shape[2]} × {x.shape[1]}" for x in (target, given))
            raise DataError(
                f"{name}: target and partner have {sizes} pixels, where the first pair has a factor of {factor}. "
                "Expected one whole factor for all pairs. Cut or resize this pair."
            )
    return factor


def numbered(names: Sequence[str], found: Sequence[np.ndarray], labels: Labels | None) -> list[np.ndarray]:
    """The class numbers of label maps; pictures as they are. Raises `DataError` naming what has no class."""
    return [*found] if labels is None else [labels.numbers(pixels, name) for name, pixels in zip(names, found)]


def tensors(found: Sequence[np.ndarray], channels: int | None, labels: Labels | None) -> list[Tensor]:
    """All as grey or all as RGB; the class numbers of label maps as they are."""
    return [torch.tensor(x) for x in (found if labels is not None else same_channels(found, channels))]


def same_channels(found: Sequence[np.ndarray], channels: int | None) -> list[np.ndarray]:
    """All as grey or all as RGB; None: grey if all are."""
    channels = channels or (1 if all(len(pixels) == 1 for pixels in found) else 3)
    if channels not in (1, 3):
        raise DataError(f"channels = {channels}: expected 1 (grey) or 3 (colour).")
    return [recoloured(pixels, channels) for pixels in found]


def recoloured(pixels: np.ndarray, channels: int) -> np.ndarray:
    """uint8 [C, H, W] as grey by ITU-R 601, or as RGB by repetition."""
    if len(pixels) == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=0)
    red, green, blue = pixels.astype(np.uint32)
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).astype(np.uint8)[None]


def large_enough(
    names: Sequence[str],
    targets: Sequence[Tensor],
    givens: Sequence[Tensor] | None,
    *,
    crop: int,
    factor: int,
    small: Small,
) -> tuple[list[Tensor], list[Tensor] | None]:
    """Pictures of which a square can be cut: those that are too small are refused by name, or mirrored at the edges."""
    tiny = [name for name, x in zip(names, targets) if min(side // factor for side in x.shape[1:]) < crop // factor]
    if tiny and small == "refuse":
        x = targets[names.index(tiny[0])]
        raise DataError(
            f"{tiny[0]} has {x.shape[2]} × {x.shape[1]} pixels, and squares of {crop} are cut"
            f"{f' ({len(tiny)} pictures are too small)' if len(tiny) > 1 else ''}. Use a smaller data.crop, remove "
            'them, or data.small = "mirror" to mirror their edges.'
        )
    new = [mirrored(x, crop) for x in targets]
    return new, None if givens is None else [mirrored(x, crop // factor) for x in givens]


def mirrored(x: Tensor, size: int) -> Tensor:
    """Mirrored at the lower and right edges until each side has at least `size` pixels."""
    missing = [max(size - side, 0) for side in x.shape[1:]]
    if not any(missing):
        return x
    return torch.from_numpy(np.pad(x.numpy(), ((0, 0), (0, missing[0]), (0, missing[1])), mode="symmetric"))


# ---------------------------------------------------------------- pixels


def as_float(x: Tensor) -> Tensor:
    """Bytes as float32 in [-1, 1]; floats as they are."""
    return to_float(x) if x.dtype == torch.uint8 else x


def cut(x: Tensor, top: int, left: int, size: int) -> Tensor:
    """A square of [C, H, W]."""
    return x[:, top : top + size, left : left + size]


def turned(x: Tensor, turn: int) -> Tensor:
    """One of the eight ways to lay a square [C, S, S]: turned by quarters, and mirrored from 4 on."""
    x = torch.rot90(x, turn % 4, (1, 2))
    return x.flip(2) if turn >= 4 else x


def is_pair(batch: Any) -> bool:
    """Whether a batch, such as a game gets it, is (given, target)."""
    return isinstance(batch, tuple) and len(batch) == 2 and batch[1].is_floating_point()
