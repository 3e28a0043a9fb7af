"""Contents and styles: photos and paintings of any size, of which squares are cut, each drawn on its own."""

import difflib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple, final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from equipoise.core.errors import DataError
from equipoise.core.seeding import shuffled
from equipoise.data.files import folder_files, zip_files
from equipoise.data.images import SUFFIXES, decode
from equipoise.data.pictures import Small, as_float, cut, mirrored, read, recoloured
from equipoise.data.source import Source, Subset, without_labels


class ContentAndStyle(NamedTuple):
    """A photo and a painting of one size, [N, 3, H, W] each, in [-1, 1]."""

    content: Tensor
    style: Tensor


class Place(NamedTuple):
    """Where pictures lie, and how they are taken."""

    path: Path
    """A folder or .zip of pictures, or one picture."""
    part: str | None = None
    """A sub-folder, or one picture in it."""
    size: int | None = None
    """Larger pictures are shrunk until their shorter side has so many pixels."""


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Styled(Source):
    """Contents, which are counted, and styles, of which one is drawn for each content while training.

    `examples` are the central squares of contents. Without randomness, content i is paired with style i mod their
    number, of those that are unseen if there are any: what is looked at is what was not learnt. Made by `styled`.
    """

    name: str
    shape: tuple[int, ...]
    """Of a square."""
    fingerprint: str
    names: tuple[str, ...]
    contents: tuple[Tensor, ...]
    """Each uint8 [3, H, W]."""
    style_names: tuple[str, ...]
    styles: tuple[Tensor, ...]
    """Those that are trained on, without what was set aside of each."""
    unseen_names: tuple[str, ...]
    unseen: tuple[Tensor, ...]
    """Styles that are never trained on."""
    aside: tuple[Tensor, ...]
    """The right part of each style of `styles`, which is never trained on; empty where nothing was set aside."""
    mirror: bool
    """Whether training also sees contents mirrored."""
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    classes: tuple[str, ...] = field(default=(), init=False)
    device: torch.device | str = "cpu"

    def __len__(self) -> int:
        return len(self.contents)

    @property
    def given_shape(self) -> tuple[int, ...]:
        return self.shape

    def examples(self, indices: Tensor) -> Tensor:
        return self.batch(indices).content

    def labels(self, indices: Tensor) -> Tensor:
        raise without_labels(self.name)

    def batch(self, indices: Tensor, *, labels: bool = False, draw: torch.Generator | None = None) -> ContentAndStyle:
        """These contents, each with a style; `draw` chooses the styles, and places and mirrors the squares."""
        contents, styles = [], []
        for index in indices.tolist():
            if draw is None:
                shown = self.unseen or self.styles
                contents.append(self.square(self.contents[index], None))
                styles.append(self.square(shown[index % len(shown)], None))
                continue
            content = self.square(self.contents[index], draw)
            turn = self.mirror and bool(torch.randint(2, (), generator=draw))
            contents.append(content.flip(2) if turn else content)
            styles.append(self.square(self.styles[int(torch.randint(len(self.styles), (), generator=draw))], draw))
        stacked = (torch.stack([as_float(x) for x in side]).to(self.device) for side in (contents, styles))
        return ContentAndStyle(*stacked)

    def square(self, x: Tensor, draw: torch.Generator | None) -> Tensor:
        """A square of a picture: central, or at a random place."""
        spare = [side - self.shape[-1] for side in x.shape[1:]]
        top, left = (room // 2 if draw is None else int(torch.randint(room + 1, (), generator=draw)) for room in spare)
        return cut(x, top, left, self.shape[-1])

    def to(self, device: torch.device | str) -> "Styled":
        return replace(self, device=device)


def styled(
    contents: Place,
    styles: Place,
    *,
    crop: int,
    mirror: bool = True,
    small: Small = "refuse",
    unseen: int | Sequence[str] = 0,
    aside: float = 0.0,
    draw: int = 0,
) -> Styled:
    """Contents and styles from files.

    Where both lie at one path, in its parts "content" and "style", these need not be named. `crop` is the side of the
    squares; contents that are smaller are refused or mirrored at their edges, as `small` says, styles are refused.
    `unseen` styles are never trained on: so many, drawn by the number `draw`, or those of these names.
    `aside` is the share at the right of each other style that is not trained on either. Raises `DataError` naming the
    file and the rule.
    """
    skipped: dict[str, str] = {}
    names, photos = opened(with_default_part(contents, "content"), skipped)
    style_names, paintings = opened(with_default_part(styles, "style"), skipped)
    if small == "mirror":
        photos = [mirrored(x, crop) for x in photos]
    for name, x in zip([*names, *style_names], [*photos, *paintings]):
        check_size(name, x, crop, "squares are cut")
    hidden = chosen_styles(styles.path, style_names, unseen, draw)
    kept = [number for number in range(len(paintings)) if number not in hidden]
    if not kept:
        raise DataError(f"{styles.path}: all {len(paintings)} styles are unseen. Leave at least one to train on.")
    parts = [divided(style_names[number], paintings[number], crop=crop, aside=aside) for number in kept]
    digest = hashlib.sha256(json.dumps([names, style_names, hidden, crop, aside, mirror]).encode())
    for x in [*photos, *paintings]:
        digest.update(hashlib.sha256(x.numpy().tobytes()).digest())
    return Styled(
        name=contents.path.name,
        shape=(3, crop, crop),
        fingerprint=digest.hexdigest(),
        names=tuple(names),
        contents=tuple(photos),
        style_names=tuple(style_names[number] for number in kept),
        styles=tuple(left for left, _ in parts),
        unseen_names=tuple(style_names[number] for number in hidden),
        unseen=tuple(paintings[number] for number in hidden),
        aside=tuple(right for _, right in parts) if aside else (),
        mirror=mirror,
        skipped=tuple(f"{name}: {reason}" for name, reason in skipped.items()),
    )


def styled_behind(source: Source) -> tuple[Styled, list[int]]:
    """The contents and styles behind a source, and which contents it is."""
    if isinstance(source, Subset):
        whole, chosen = styled_behind(source.whole)
        return whole, [chosen[int(i)] for i in source.indices]
    if not isinstance(source, Styled):
        raise DataError(f'{source.name} has no styles. Use data.kind = "styled".')
    return source, list(range(len(source)))


# ---------------------------------------------------------------- reading


def with_default_part(place: Place, part: str) -> Place:
    """The place with its part of that name, where none was named and there is such a one."""
    return place._replace(part=part) if place.part is None and has_part(place.path, part) else place


def has_part(path: Path, part: str) -> bool:
    """Whether a folder or .zip has a sub-folder of that name, at its top or in its only folder."""
    if is_picture(path) or not path.exists():
        return False
    names = (zip_files(path) if path.is_file() else folder_files(path)).names
    return any(part in PurePosixPath(name).parent.parts[:2] for name in names)


def is_picture(path: Path) -> bool:
    """Whether a path is one picture, by its suffix."""
    return path.is_file() and has_suffix(path.name)


def opened(place: Place, skipped: dict[str, str]) -> tuple[list[str], list[Tensor]]:
    """The names and pixels, uint8 [3, H, W], of the pictures at a place."""
    path, part, size = place
    if not path.exists():
        raise DataError(f"{path} does not exist. Expected a folder or .zip of pictures, or one picture.")
    if is_picture(path):
        names, found = [path.name], [pixels_of(str(path), path.read_bytes())]
    elif part is not None and has_suffix(part):
        files = zip_files(path) if path.is_file() else folder_files(path)
        if part not in files.names:
            close = difflib.get_close_matches(part, files.names, n=1, cutoff=0.0)
            raise DataError(f"{path} has no picture {part!r}. Did you mean {close[0] if close else 'another path'!r}?")
        names, found = [part], [pixels_of(f"{path}: {part}", files.read(part))]
    else:
        names, found = read(path, part, ending="", skipped=skipped)
    return names, [shrunk(torch.from_numpy(recoloured(pixels, 3)), size) for pixels in found]


def pixels_of(where: str, data: bytes) -> np.ndarray:
    """The pixels of one picture. Raises `DataError` naming it."""
    try:
        return decode(data)
    except DataError as error:
        raise DataError(f"{where} cannot be read: {error}") from error


def shrunk(x: Tensor, size: int | None) -> Tensor:
    """A picture uint8 [3, H, W] made smaller until its shorter side has so many pixels; a smaller one stays."""
    height, width = x.shape[1:]
    if size is None or min(height, width) <= size:
        return x
    share = size / min(height, width)
    wanted = (max(round(width * share), size), max(round(height * share), size))
    image = Image.fromarray(x.permute(1, 2, 0).numpy()).resize(wanted, Image.Resampling.LANCZOS)
    return torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy())


def check_size(name: str, x: Tensor, crop: int, what: str) -> None:
    """Raise `DataError` for a picture out of which no square can be cut."""
    if min(x.shape[1:]) < crop:
        raise DataError(
            f"{name} has {x.shape[2]} × {x.shape[1]} pixels, and {what} of {crop} × {crop}. Use a smaller data.crop, "
            'remove it, or take a larger picture; data.small = "mirror" mirrors the edges of contents.'
        )


def divided(name: str, x: Tensor, *, crop: int, aside: float) -> tuple[Tensor, Tensor]:
    """The left part of a style, which is trained on, and the right one, which is not."""
    width = x.shape[2] - round(aside * x.shape[2])
    left, right = x[:, :, :width].contiguous(), x[:, :, width:].contiguous()
    check_size(name, left, crop, f"with data.aside = {aside} its left part is left for squares")
    return left, right


def chosen_styles(path: Path, names: Sequence[str], unseen: int | Sequence[str], draw: int) -> list[int]:
    """The numbers of the styles that are not to be trained on."""
    if isinstance(unseen, int):
        if not 0 <= unseen < len(names):
            raise DataError(f"data.unseen = {unseen} of {len(names)} styles in {path}: expected fewer than all.")
        return sorted(shuffled(len(names), draw, "unseen styles")[:unseen].tolist())
    shown = [PurePosixPath(name).name for name in names]
    hidden = []
    for wanted in unseen:
        known = {wanted, str(PurePosixPath(wanted).with_suffix(""))} if has_suffix(wanted) else {wanted}
        found = [number for number, name in enumerate(names) if {name, shown[number]} & known]
        if not found:
            close = difflib.get_close_matches(wanted, shown, n=1, cutoff=0.0)
            raise DataError(f"{path} has no style {wanted!r} (data.unseen). Did you mean {close[0]!r}?")
        hidden += found
    return sorted(set(hidden))


def has_suffix(name: str) -> bool:
    """Whether a name ends as that of a picture."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES
