"""A game that answers pictures, applied to files: one or a folder of them, of any size, depth and channels."""

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from equipoise.core.disk import disk_errors
from equipoise.core.errors import DataError, RecipeError
from equipoise.data.files import folder_files, natural_order
from equipoise.data.images import SUFFIXES, decode, measure
from equipoise.data.masks import mask_from_file
from equipoise.data.pairs import Pairing
from equipoise.data.source import to_float
from equipoise.games.answers import Answerer, Choice, PictureGame
from equipoise.runs.provenance import (
    LABELLED,
    RESTORED,
    RESTORED_SOURCE_TYPE,
    Label,
    read_label,
    write_array,
    write_picture,
)
from equipoise.runs.restored import restored
from equipoise.runs.restoring import PicturesData
from equipoise.runs.run import NO_CHOICE, At, Run, threads

Progress = Callable[[int, int], None]
"""Told how many files are done, and of how many."""


@dataclass
class Applied:
    """What became of each file."""

    written: list[Path] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    """Name -> reason."""


def apply_to_files(
    run: Run,
    source: Path,
    out: Path,
    *,
    choice: Choice = NO_CHOICE,
    masks: Path | None = None,
    at: At = "newest",
    tile: int = 256,
    progress: Progress | None = None,
) -> Applied:
    """Answer the picture or array at `source` into `out`, or all those of a folder into the folder `out`.

    Names stay. PNG, JPEG and WebP stay what they are, other pictures become PNG, and all carry the label of the run.
    16-bit grey stays so; transparency is enlarged and put back. A network of colours sees grey pictures thrice, one of
    grey sees each colour on its own. A translation has the channels that it is made in; of label maps the values of
    their classes are written, as PNG or WebP. An .npy array [h, w] or [N, h, w] and its answer are in the units of the
    data. For inpainting `masks` is a file, white in the holes, or a folder of such by the same names; without it the
    transparent pixels are the holes. What cannot be read, is too small for the network or would be written over another
    file is named in `skipped`; nothing at `source` is changed.
    """
    names = originals(source)
    if source.is_dir() and out.resolve() == source.resolve():
        raise DataError(f"{out} is the folder of the originals: answers would lie among them: choose another place")
    place = Place(source, out, {named(source, name).resolve() for name in names})
    game, step = run.trained_game(at)
    label = Label(run=run.id, step=step, statement=RESTORED, source_type=RESTORED_SOURCE_TYPE)
    chosen = run.picture_game(game)
    if masks is not None and not masks.exists():
        raise DataError(f"{masks} does not exist. Expected a mask, white in the holes, or a folder of masks.")
    hand, done = Hand(run, chosen, run.answerer(chosen, choice), tile), Applied()
    if masks is not None and not hand.inpaints:
        raise RecipeError("A mask is for inpainting, and this run fills no holes. Leave it out.")
    for number, name in enumerate(names, 1):
        try:
            done.written.append(apply_to_file(hand, name, place, masks, label))
        except DataError as error:
            if source.is_file():
                raise DataError(f"{source}: {error}") from error
            done.skipped[name] = str(error)
        if progress is not None:
            progress(number, len(names))
    if not done.written:
        raise DataError(f"{source} holds nothing that can be restored: {dict(list(done.skipped.items())[:3])}.")
    return done


def apply_to_file(hand: "Hand", name: str, place: "Place", masks: Path | None, label: Label) -> Path:
    """Restore one file; where the answer lies. Raises `DataError` if it cannot be."""
    path = named(place.source, name)
    suffix = path.suffix.lower()
    if suffix != ".npy" and hand.run.standard is not None:
        raise DataError("this run answers values in the units of an array: save the slices as .npy")
    if suffix == ".npy":
        target = place.of(name, suffix)
        write_array(array_answer(hand, path), target, label)
        return target
    if suffix not in SUFFIXES:
        raise DataError("not a picture")
    hole = None if masks is None else mask_beside(masks, name)
    labels = hand.pairing.target_labels
    image = picture_answer(hand, path.read_bytes(), hole=hole)
    lossy = labels is None and image.mode in ("L", "RGB")
    target = place.of(name, suffix if suffix in LABELLED else ".png", jpeg=lossy)
    with disk_errors("writing a picture", target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        write_picture(image, target, label)
    return target


def originals(source: Path) -> list[str]:
    """The names of the files at a path, in their natural order."""
    if not source.exists():
        raise DataError(f"{source} does not exist. Expected a picture, an .npy array, or a folder of them.")
    return [source.name] if source.is_file() else sorted(folder_files(source).names, key=natural_order)


def named(source: Path, name: str) -> Path:
    """The file of that name at a path."""
    return source if source.is_file() else source / name


@dataclass
class Place:
    """Where answers are written: nothing is written over, neither an original nor another answer."""

    source: Path
    out: Path
    originals: set[Path]
    written: dict[Path, str] = field(default_factory=dict)
    """Answers, with the names of their originals."""

    def of(self, name: str, suffix: str, *, jpeg: bool = True) -> Path:
        """Where the answer to a file goes; PNG instead of JPEG where that cannot hold it."""
        as_file = self.source.is_file() and bool(self.out.suffix) and not self.out.is_dir()
        target = self.out if as_file else (self.out / name).with_suffix(suffix)
        allowed = (".npy",) if suffix == ".npy" else LABELLED
        if target.suffix.lower() not in allowed:
            raise DataError(f"it cannot be written as {target.name}. Use one of: {', '.join(allowed)}")
        if target.suffix.lower() in (".jpg", ".jpeg") and not jpeg:
            target = target.with_suffix(".png")  # JPEG has neither transparency nor depth
        if target.resolve() in self.originals:
            raise DataError(f"its answer would be written over {target}: choose another place")
        if target.exists() and not made_here(target):
            raise DataError(f"there is a file {target} that was not made by this tool: choose another place")
        if target in self.written:
            raise DataError(f"its answer would be written over that of {self.written[target]}: rename one of them")
        self.written[target] = name
        return target


def made_here(path: Path) -> bool:
    """Whether a file carries the label of an answer."""
    if path.suffix.lower() == ".npy":
        return path.with_name(f"{path.name}.json").exists()
    try:
        return read_label(path) is not None
    except DataError:
        return False


class Hand(NamedTuple):
    """What answers: a trained game of a run, so many pixels at a time."""

    run: Run
    game: PictureGame
    answerer: Answerer
    tile: int

    @property
    def pairing(self) -> Pairing:
        """Which sides are label maps."""
        data = self.run.recipe.data
        return data.pairing if isinstance(data, PicturesData) else Pairing()

    @property
    def num_given(self) -> int | None:
        """The channels of what is given, where they are known to be others than those of an answer."""
        given = self.run.examples.given
        return self.answerer.given or (given[0] if given else None)

    @property
    def inpaints(self) -> bool:
        """Whether the last channel of what is given is a mask."""
        data = self.run.recipe.data
        if self.answerer.given is None and isinstance(data, PicturesData):
            return bool(data.masks)
        return self.num_given == self.run.examples.shape[0] + 1

    @property
    def sees(self) -> int | None:
        """The channels that are given, where those of an answer are others or mean something else."""
        given = self.num_given
        if given is None or self.inpaints or (given == self.run.examples.shape[0] and not self.pairing.labels):
            return None
        return given

    def __call__(self, given: Tensor) -> Tensor:
        """The answer to [C, h, w]."""
        smallest = self.answerer.fit.smallest
        if min(given.shape[1:]) < smallest:
            height, width = given.shape[1:]
            raise DataError(f"{width} × {height} pixels: this network needs at least {smallest} on each side")
        with threads(self.run.recipe.training.threads):
            scale = self.run.scale
            return restored(self.game, given[None], scale=scale, tile=self.tile, answerer=self.answerer)[0]


def picture_answer(hand: Hand, data: bytes, *, hole: bytes | None) -> Image.Image:
    """The answer to an encoded picture, in its mode and depth."""
    measure(data)  # refuses what is none
    image, labels = opened(data), hand.pairing
    deep = image.mode.startswith("I;16")
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    if labels.given_labels is not None:
        numbers = labels.given_labels.numbers(labels.given_labels.pixels(data), "this label map")
        x = labels.given_labels.planes(torch.from_numpy(numbers))
    elif deep:
        x = torch.from_numpy(np.asarray(image).astype(np.float32))[None] / 32767.5 - 1
    else:
        flat = image.convert("L" if image.mode in ("L", "LA", "1") else "RGB")
        pixels = np.asarray(flat)
        x = to_float(torch.from_numpy((pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)).copy()))
    y = answer(hand, x, hole_of(hole, alpha, x) if hand.inpaints else None)
    if labels.target_labels is not None:
        return as_image(labels.target_labels.picture(y[None])[0])
    if deep and len(y) == 1 and labels.given_labels is None:
        return as_image(((y.clamp(-1, 1) + 1) * 32767.5).round(), deep=True)
    answered = as_image(((y.clamp(-1, 1) + 1) * 127.5).round())
    if alpha is not None and not hand.inpaints:
        answered.putalpha(alpha.resize(answered.size, Image.Resampling.BICUBIC))
    return answered


def as_image(values: Tensor, *, deep: bool = False) -> Image.Image:
    """Whole numbers [1 or 3, h, w] as a picture: of 16 bits where it is to be deep, or one of them needs that."""
    wide = deep or bool((values > 255).any())
    pixels = values.numpy().astype(np.uint16 if wide else np.uint8)
    return Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0).copy())


def coloured_picture(path: Path) -> Tensor:
    """The picture in a file, [3, h, w] in [-1, 1]. Raises `DataError` naming it."""
    if not path.is_file():
        raise DataError(f"{path} is no file. Expected a picture.")
    try:
        x = to_float(torch.from_numpy(decode(path.read_bytes())))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    return x.expand(3, -1, -1)


def opened(data: bytes) -> Image.Image:
    """A picture with its transparency or depth, turned upright; everything else as training sees it."""
    image = Image.open(io.BytesIO(data))
    try:
        image.load()
        image = ImageOps.exif_transpose(image)
    except Exception as error:
        raise DataError(f"damaged image ({type(error).__name__}: {error})") from error
    if image.mode in ("LA", "RGBA") or image.mode.startswith("I;16"):
        return image
    if image.mode == "P" and "transparency" in image.info:
        return image.convert("RGBA")
    pixels = decode(data)
    return Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0).copy())


def hole_of(hole: bytes | None, alpha: Image.Image | None, x: Tensor) -> Tensor:
    """The mask of a picture [C, h, w]: [1, h, w], 1 where something is missing."""
    if hole is not None:
        mask = mask_from_file(hole)
    elif alpha is not None:
        mask = (torch.from_numpy(np.asarray(alpha).copy()) < 128).float()[None]
    else:
        raise DataError("it has no mask: give --mask, white in the holes, or a picture that is transparent there")
    if mask.shape[1:] != x.shape[1:]:
        sizes = [f"{m.shape[2]} × {m.shape[1]}" for m in (mask, x)]
        raise DataError(f"its mask has {sizes[0]} pixels, and the picture {sizes[1]}")
    return mask


def mask_beside(masks: Path, name: str) -> bytes:
    """The mask of a picture: the one file, or that of the same name, whatever its suffix."""
    if masks.is_file():
        return masks.read_bytes()
    found = sorted((masks / name).parent.glob(f"{Path(name).stem}.*"))
    if not found:
        raise DataError(f"no mask of this name in {masks}")
    return found[0].read_bytes()


def answer(hand: Hand, x: Tensor, mask: Tensor | None) -> Tensor:
    """The answer to [C, h, w] in [-1, 1]: of a translation as it is made, else with as many channels."""
    channels = hand.run.examples.shape[0]

    def of(image: Tensor) -> Tensor:
        return hand(image if mask is None else torch.cat([image * (1 - mask), mask]))

    if hand.sees is not None:
        return of(x if len(x) == hand.sees else grey(x) if hand.sees == 1 else x.expand(hand.sees, -1, -1))
    if len(x) == channels:
        return of(x)
    if channels == 1:
        return torch.cat([of(plane[None]) for plane in x])
    return grey(of(x.expand(channels, -1, -1)))


def grey(x: Tensor) -> Tensor:
    """The luma [1, h, w] of a picture of colours."""
    return (x * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0, keepdim=True)


def array_answer(hand: Hand, path: Path) -> np.ndarray:
    """The answer to an array [h, w] or [N, h, w] in the units of the data, float32."""
    labels, channels = hand.pairing.labels, hand.run.examples.shape[0]
    if labels or (hand.sees is not None and channels != 1):
        what = "label maps" if labels else f"pictures of {channels} channels"
        raise DataError(f"an array: this run answers {what}, for which pictures are expected")
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, OSError) as error:
        raise DataError(f"not a readable array ({error})") from error
    if values.ndim not in (2, 3) or values.dtype.kind not in "fiu" or not np.isfinite(values).all():
        raise DataError(
            f"an array of {values.dtype} and shape {list(values.shape)}: expected finite numbers [h, w] or [N, h, w]"
        )
    if values.dtype == np.uint8 and values.ndim == 3 and values.shape[2] in (3, 4):
        raise DataError(f"an array of shape {list(values.shape)} looks like a picture in colours: save it as PNG")
    slices = torch.from_numpy(values.astype(np.float32).reshape(-1, *values.shape[-2:]))
    answers = []
    for x in slices:
        standard = hand.run.standard
        given = x[None] if standard is None else standard.forward(x[None, None])[0]
        answers.append(hand.run.in_units(answer(hand, given, None)[None])[0, 0])
    y = torch.stack(answers).numpy()
    return y[0] if values.ndim == 2 else y
