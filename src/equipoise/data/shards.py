"""Many images in few tar files, which other programs stream and Equipoise reads by index, in any order.

A folder of shards holds `images-000000.tar`, …, or by part `train-000000.tar`, `test-000000.tar`, …, in the naming of
WebDataset: the files of one example lie together and share their name up to the first dot, `000000012.jpg` with the
encoded image and `000000012.cls` with the number of its class. `shards.json` says where each image lies.
"""

import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, final

import torch

from equipoise.core.disk import write_file
from equipoise.core.errors import DataError
from equipoise.core.seeding import shuffled
from equipoise.data.files import MAX_FILE_BYTES, Files

# The same steps as for a folder, so that examples, labels and fingerprint are the same.
from equipoise.data.folders import (
    MEMORY,
    FileSource,
    _decode_all,
    _Description,
    _fingerprint,
    _infer,
    _numbered,
    _printable,
    _refuse_many,
    _Seen,
    _size_note,
)
from equipoise.data.images import Filter, Fit, Header, check_rules, decode, measure
from equipoise.data.layout import INDEX as LABELS
from equipoise.data.layout import find_layout
from equipoise.data.outlet import new_folder
from equipoise.data.source import ArraySource, Source
from equipoise.data.threads import in_threads

INDEX = "shards.json"
FORMAT = "equipoise-shards"
VERSION = 1
MAX_INDEX_BYTES = 2**30
PER_SHARD = 1000


@final
@dataclass(frozen=True)
class Written:
    """What `write_shards` made."""

    num_images: int
    num_bytes: int
    shards: tuple[str, ...]
    skipped: tuple[str, ...]
    """Images that could not be read and were left out, each as "path: reason"."""


def write_shards(
    path: Path,
    files: Files,
    out: Path,
    *,
    parts: Sequence[str | None] = (None,),
    per_shard: int = PER_SHARD,
    progress: Callable[[str, int, int], None] | None = None,
) -> Written:
    """Write the images of a set, bytes unchanged, into shards of `per_shard` images, in an order without a pattern.

    `parts` are written side by side; (None,) is what training takes. Up to 1 % of images that cannot be read are left
    out; more of them, or labels that do not fit, are a `DataError`, as in training. `out` is a new or empty folder.
    """
    if per_shard < 1:
        raise DataError(f"per_shard={per_shard}: expected at least 1 image in a shard.")
    known: dict[str, _Seen] = {}
    skipped: dict[str, str] = {}
    labels: dict[str, str] = {}
    orders: dict[str | None, list[str]] = {}
    for part in parts:
        layout = find_layout(str(path), files, part)
        seen, damaged = _look(files, layout.names)
        _refuse_many(path, damaged, layout.names, seen)
        known |= seen
        skipped |= damaged
        labels |= {name: label for name, label in (layout.labels or {}).items() if name in seen}
        names = list(seen)
        orders[part] = [names[number] for number in shuffled(len(names), 0, "shards", part or "").tolist()]
    classes = _numbered(tuple(labels), labels)[0] if labels else ()
    numbers = {name: str(number) for number, name in enumerate(classes)}

    places: dict[str, _Place] = {}
    shards: list[dict[str, Any]] = []
    about = sum(seen.num_bytes + 2048 for seen in known.values())
    with new_folder(path, out, num_bytes=about) as folder:
        for part, order in orders.items():
            prefix = (part or "images").strip("/").replace("/", "-")
            for begin in range(0, len(order), per_shard):
                shard = f"{prefix}-{begin // per_shard:06d}.tar"
                inside = order[begin : begin + per_shard]
                # As a stream, not in memory: photographs make shards of gigabytes.
                with open(folder / shard, "xb") as stream:
                    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
                        for number, name in enumerate(inside, len(places)):
                            data = files.read(name)
                            if hashlib.sha256(data).hexdigest() != known[name].digest:
                                raise DataError(f"{_printable(name)} changed while it was converted. Start again.")
                            _add(tar, f"{number:09d}{PurePosixPath(name).suffix.lower()}", data)
                            if name in labels:
                                _add(tar, f"{number:09d}.cls", numbers[labels[name]].encode())
                    stream.flush()
                    os.fsync(stream.fileno())
                with tarfile.open(folder / shard, mode="r:") as tar:
                    members = [member for member in tar if not member.name.endswith(".cls")]
                for name, member in zip(inside, members, strict=True):
                    places[name] = _Place(len(shards), member.offset_data, member.size)
                with open(folder / shard, "rb") as stream:
                    digest = hashlib.file_digest(stream, "sha256").hexdigest()
                num_bytes = (folder / shard).stat().st_size
                shards.append({"name": shard, "images": len(inside), "bytes": num_bytes, "sha256": digest})
                if progress is not None:
                    progress("images packed", len(places), len(known))
        names = list(places)
        index = {
            "format": FORMAT,
            "version": VERSION,
            "classes": classes,
            "shards": shards,
            "names": names,
            "places": [places[name] for name in names],
            "headers": [known[name].header for name in names],
            "sha256": [known[name].digest for name in names],
            "labels": _label_files(files, set(names)),
            "left_out": {_printable(name): reason for name, reason in skipped.items()},
        }
        write_file(folder / INDEX, json.dumps(index).encode())
    return Written(
        num_images=len(places),
        num_bytes=sum(shard["bytes"] for shard in shards),
        shards=tuple(shard["name"] for shard in shards),
        skipped=tuple(_printable(f"{name}: {reason}") for name, reason in skipped.items()),
    )


def is_sharded(path: Path) -> bool:
    """Whether a folder holds shards."""
    return (path / INDEX).is_file()


def shard_files(path: Path) -> Files:
    """The images in a folder of shards under the names they had before, and how to read one of them."""
    return _opened(path).files


def sharded(
    path: Path,
    *,
    size: int | None = None,
    channels: int | None = None,
    fit: Fit = "crop",
    filter: Filter = "auto",
    part: str | None = None,
    memory: int = MEMORY,
) -> Source:
    """The images of a folder of shards: the same examples, order, labels and fingerprint as of the folder before.

    Where all fit into `memory` bytes they are decoded at once, else nothing is read but the index until examples are
    asked for. What is read is compared with its hash in the index.
    """
    check_rules(size, channels, fit, filter)
    opened = _opened(path)
    layout = find_layout(str(path), opened.files, part)
    known = {name: opened.known[name] for name in layout.names}
    _refuse_many(path, {}, layout.names, known)
    rules = _infer(known, size, channels, fit, filter)
    classes, targets = _numbered(layout.names, layout.labels)
    described = _Description(
        name=path.name,
        shape=(rules.channels, rules.size, rules.size),
        classes=classes,
        fingerprint=_fingerprint(layout, known, rules),
        skipped=(),
        notes=(*layout.notes, *(_size_note(known, rules) if size is None else ())),
    )
    if len(known) * rules.channels * rules.size**2 > memory:
        return FileSource(
            **described._asdict(), names=layout.names, targets=targets, files=opened.files, rules=rules, device="cpu"
        )
    pixels = torch.empty(len(known), rules.channels, rules.size, rules.size, dtype=torch.uint8)
    damaged = _decode_all(opened.files, layout.names, rules, pixels)
    if damaged:
        name, reason = next(iter(damaged.items()))
        raise DataError(f"{path}: {_printable(name)} cannot be read ({reason}). Convert the data again.")
    return ArraySource(**described._asdict(), values=pixels, targets=targets)


class _Place(NamedTuple):
    shard: int
    offset: int
    num_bytes: int


class _Opened(NamedTuple):
    files: Files
    known: dict[str, _Seen]


def _opened(path: Path) -> _Opened:
    """The index of a folder of shards, after it has been found sound."""
    where = path / INDEX
    try:
        if where.stat().st_size > MAX_INDEX_BYTES:
            raise ValueError(f"more than {MAX_INDEX_BYTES:,} bytes")
        index = json.loads(where.read_bytes())
        if index["format"] != FORMAT or index["version"] != VERSION:
            raise ValueError(f"format {index['format']!r}, version {index['version']!r}")
        shards = [(str(shard["name"]), int(shard["bytes"])) for shard in index["shards"]]
        places = {str(name): _Place(*map(int, row)) for name, row in zip(index["names"], index["places"], strict=True)}
        known = {
            name: _Seen(Header(int(width), int(height), bool(grey)), places[name].num_bytes, str(digest))
            for name, (width, height, grey), digest in zip(places, index["headers"], index["sha256"], strict=True)
        }
        labels = {str(name): str(text).encode() for name, text in index["labels"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{where} is not the index of a folder of shards ({type(error).__name__}: {error}). Convert the data again."
        ) from error
    for name, length in shards:
        # Names come from a file: they may not lead out of the folder.
        if not re.fullmatch(r"[\w.-]+\.tar", name):
            raise DataError(f"{where} names the shard {name!r}, which is no file name ending in .tar. Convert again.")
        actual = os.path.getsize(path / name) if (path / name).is_file() else None
        if actual != length:
            state = "is missing" if actual is None else f"has {actual:,} bytes instead of {length:,}"
            raise DataError(f"{path / name} {state}. The copy may be incomplete: copy it again.")
    for name, place in places.items():
        inside = 0 <= place.shard < len(shards) and 0 <= place.offset <= shards[place.shard][1] - place.num_bytes
        if not inside or not 0 <= place.num_bytes <= MAX_FILE_BYTES:
            raise DataError(f"{where}: {_printable(name)} does not lie inside of its shard. Convert the data again.")

    def read(name: str) -> bytes:
        if name in labels:
            return labels[name]
        place = places[name]
        try:
            with open(path / shards[place.shard][0], "rb") as stream:
                stream.seek(place.offset)
                data = stream.read(place.num_bytes)
        except OSError as error:
            raise DataError(error.strerror or str(error)) from error
        if hashlib.sha256(data).hexdigest() != known[name].digest:
            raise DataError(f"damaged in the shard {shards[place.shard][0]} (its bytes are not those of its hash)")
        return data

    return _Opened(Files((*places, *labels), read), known)


def _look(files: Files, names: Sequence[str]) -> tuple[dict[str, _Seen], dict[str, str]]:
    """Header, length and digest of every image that can be decoded, and why the others cannot."""

    def look(name: str) -> _Seen | str:
        try:
            data = files.read(name)
            decode(data)
            return _Seen(measure(data), len(data), hashlib.sha256(data).hexdigest())
        except DataError as error:
            return str(error)

    looks = dict(zip(names, in_threads(look, names), strict=True))
    seen = {name: look for name, look in looks.items() if not isinstance(look, str)}
    return seen, {name: look for name, look in looks.items() if isinstance(look, str)}


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    # Times and owners stay at zero: the same images give the same bytes.
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _label_files(files: Files, kept: set[str]) -> Mapping[str, str]:
    """Every dataset.json, as far as it speaks of the images that were kept."""
    found = {}
    for name in files.names:
        root, _, last = name.rpartition("/")
        if last != LABELS or any(step.startswith(".") or step == "__MACOSX" for step in name.split("/")):
            continue
        try:
            rows = json.loads(files.read(name))["labels"]
            root += "/" if root else ""
            rows = None if rows is None else [row for row in rows if root + row[0] in kept]
        except (DataError, ValueError, TypeError, KeyError, IndexError):
            continue  # one that is used was read before; this is another file of that name
        found[name] = json.dumps({"labels": rows})
    return found
