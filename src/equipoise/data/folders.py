"""Images from a folder or a zip: in memory where they fit, else decoded from disk for each batch."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from equipoise.core.errors import DataError
from equipoise.data.files import Files, folder_files, natural_order, zip_files
from equipoise.data.images import Filter, Fit, Header, check_rules, decode, measure
from equipoise.data.layout import Layout, find_layout
from equipoise.data.source import ArraySource, Source, to_float, without_labels
from equipoise.data.threads import in_threads

MEMORY = 2 * 2**30
SKIPPED_SHARE = 0.01


def folder(
    path: str | Path,
    *,
    size: int | None = None,
    channels: int | None = None,
    fit: Fit = "crop",
    filter: Filter = "auto",
    part: str | None = None,
    memory: int = MEMORY,
) -> Source:
    """The images of a folder or of a .zip, arranged as `layout.find_layout` says, decoded as `images.decode` says.

    `size` None takes the shortest side of all images, `channels` None takes 1 if all are grey and else 3. Every file
    is decoded once when the source is opened; what cannot be read is named in `skipped`, up to 1 % of the files.
    Sets of more than `memory` bytes of decoded pixels are decoded again for each batch, with the same values.
    """
    path = Path(path)
    check_rules(size, channels, fit, filter)
    if not path.exists():
        raise DataError(f"{path} does not exist. Expected a folder of images or a .zip of one.")
    files = zip_files(path) if path.is_file() else folder_files(path)
    layout = find_layout(str(path), files, part)
    skipped: dict[str, str] = {}
    known = _look_at_all(files, layout.names, skipped)
    _refuse_many(path, skipped, layout.names, known)

    while True:
        rules = _infer(known, size, channels, fit, filter)
        names = tuple(known)
        num_bytes = len(names) * rules.channels * rules.size**2
        pixels = None
        if num_bytes <= memory:
            pixels = torch.empty(len(names), rules.channels, rules.size, rules.size, dtype=torch.uint8)
        damaged = _decode_all(files, names, rules, pixels)
        skipped |= damaged
        known = {name: seen for name, seen in known.items() if name not in damaged}
        _refuse_many(path, skipped, layout.names, known)
        if not damaged:
            break
        # A damaged file may have been the smallest, or the only one in colour: then all are decoded again.
        if _infer(known, size, channels, fit, filter) == rules:
            if pixels is not None:
                pixels = pixels[torch.tensor([name not in damaged for name in names])]
            break

    names = tuple(known)
    classes, targets = _numbered(names, layout.labels)
    notes = list(layout.notes)
    if size is None:
        notes += _size_note(known, rules)
    if skipped:
        notes.append(f"{len(skipped)} of {len(layout.names)} images could not be read and were left out")
    described = _Description(
        name=path.name,
        shape=(rules.channels, rules.size, rules.size),
        classes=classes,
        fingerprint=_fingerprint(layout, known, rules),
        skipped=tuple(_printable(f"{name}: {reason}") for name, reason in skipped.items()),
        notes=tuple(notes),
    )
    if pixels is not None:
        return ArraySource(**described._asdict(), values=pixels, targets=targets)
    return FileSource(**described._asdict(), names=names, targets=targets, files=files, rules=rules, device="cpu")


class Rules(NamedTuple):
    """How every image of a set is decoded."""

    size: int
    channels: int
    fit: Fit
    filter: Filter = "auto"


@final
@dataclass(frozen=True, eq=False)
class FileSource(Source):
    """Images that stay on disk and are decoded for each batch. Made by `folder`."""

    name: str
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    fingerprint: str
    skipped: tuple[str, ...]
    notes: tuple[str, ...]
    names: tuple[str, ...]
    targets: Tensor | None
    files: Files
    rules: Rules
    device: torch.device | str

    def __len__(self) -> int:
        return len(self.names)

    def examples(self, indices: Tensor) -> Tensor:
        pixels = torch.empty(len(indices), *self.shape, dtype=torch.uint8)
        damaged = _decode_all(self.files, [self.names[index] for index in indices.tolist()], self.rules, pixels)
        if damaged:
            name, reason = next(iter(damaged.items()))
            raise DataError(
                f"{self.name}: {_printable(name)} could be read when training started and now cannot: {reason}. "
                "Expected the files to stay as they are; put it back and resume."
            )
        return to_float(pixels.to(self.device))

    def labels(self, indices: Tensor) -> Tensor:
        if self.targets is None:
            raise without_labels(self.name)
        return self.targets[indices.to(self.targets.device)]

    def to(self, device: torch.device | str) -> "FileSource":
        targets = None if self.targets is None else self.targets.to(device)
        return replace(self, targets=targets, device=device)


class _Seen(NamedTuple):
    header: Header
    num_bytes: int
    digest: str


class _Description(NamedTuple):
    name: str
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    fingerprint: str
    skipped: tuple[str, ...]
    notes: tuple[str, ...]


def _look_at_all(files: Files, names: Sequence[str], skipped: dict[str, str]) -> dict[str, _Seen]:
    """What can be told without decoding, of every file that is not damaged on the face of it."""

    def look(name: str) -> _Seen | str:
        try:
            data = files.read(name)
            return _Seen(measure(data), len(data), hashlib.sha256(data).hexdigest())
        except DataError as error:
            return str(error)

    known: dict[str, _Seen] = {}
    for name, seen in zip(names, in_threads(look, names), strict=True):
        if isinstance(seen, str):
            skipped[name] = seen
        else:
            known[name] = seen
    return known


def _decode_all(files: Files, names: Sequence[str], rules: Rules, into: Tensor | None) -> dict[str, str]:
    """Decodes into the rows of uint8 [N, C, H, W] (None: only tries); name -> reason of the damaged."""
    rows = None if into is None else into.numpy()

    def read(row: int) -> str | None:
        try:
            data = files.read(names[row])
            pixels = decode(data, size=rules.size, channels=rules.channels, fit=rules.fit, filter=rules.filter)
        except DataError as error:
            return str(error)
        if rows is not None:
            np.copyto(rows[row], pixels)
        return None

    reasons = in_threads(read, range(len(names)))
    return {name: reason for name, reason in zip(names, reasons, strict=True) if reason is not None}


def _infer(known: Mapping[str, _Seen], size: int | None, channels: int | None, fit: Fit, filter: Filter) -> Rules:
    headers = [seen.header for seen in known.values()]
    return Rules(
        size=size or min(min(header.width, header.height) for header in headers),
        channels=channels or (1 if all(header.grey for header in headers) else 3),
        fit=fit,
        filter=filter,
    )


def _refuse_many(path: Path, skipped: Mapping[str, str], names: Sequence[str], known: Mapping[str, _Seen]) -> None:
    first = _printable("; ".join(f"{name}: {reason}" for name, reason in list(skipped.items())[:3]))
    more = "; …" if len(skipped) > 3 else ""
    if len(skipped) > SKIPPED_SHARE * len(names):
        raise DataError(
            f"{path}: {len(skipped)} of {len(names)} images cannot be read; "
            f"at most {SKIPPED_SHARE:.0%} may be left out. {first}{more}. Repair or remove them."
        )
    if len(known) < 2:
        raise DataError(f"{path} holds {len(known)} image; expected at least 2 images to learn from. Add more.")


def _numbered(names: Sequence[str], labels: Mapping[str, str] | None) -> tuple[tuple[str, ...], Tensor | None]:
    if labels is None:
        return (), None
    classes = tuple(sorted({labels[name] for name in names}, key=natural_order))
    numbers = {name: number for number, name in enumerate(classes)}
    return classes, torch.tensor([numbers[labels[name]] for name in names])


def _size_note(known: Mapping[str, _Seen], rules: Rules) -> list[str]:
    sides = {name: (seen.header.width, seen.header.height) for name, seen in known.items()}
    if set(sides.values()) == {(rules.size, rules.size)}:
        return []
    smallest = min(sides, key=lambda name: min(sides[name]))
    done = {"crop": "cropped", "pad": "padded", "stretch": "stretched"}[rules.fit]
    return [f"images are {done} to {rules.size} x {rules.size}, the shortest side found ({_printable(smallest)})"]


def _fingerprint(layout: Layout, known: Mapping[str, _Seen], rules: Rules) -> str:
    # Runs from before there was a choice of filters hold the fingerprint without it.
    digest = hashlib.sha256(json.dumps(rules if rules.filter != "auto" else rules[:3]).encode())
    for name, seen in known.items():
        label = None if layout.labels is None else layout.labels[name]
        digest.update(json.dumps([name[len(layout.base) :], seen.num_bytes, seen.digest, label]).encode())
    return digest.hexdigest()


def _printable(text: str) -> str:
    # File names may hold bytes that are no text; printing them raw would raise.
    return text.encode("utf-8", "backslashreplace").decode()
