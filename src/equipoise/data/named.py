"""Data sets by name: fetched once into the user's cache, as shards that training reads like any others."""

import json
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from equipoise.core.disk import write_file
from equipoise.core.errors import DataError, DiskError, nearest
from equipoise.data.files import MAX_FILE_BYTES, Files, natural_order
from equipoise.data.hub import OWNER_AND_NAME, Column, Found, Row, Wanted, from_hub
from equipoise.data.layout import HELD_OUT_PARTS
from equipoise.data.outlet import new_folder
from equipoise.data.shards import write_shards

CARD = "card.json"
PREFIX = "hub:"

Progress = Callable[[str, int, int], None]
"""Told what is done ("images fetched"), how many are done by now, and of how many: 0 where nobody knows."""


class Known(NamedTuple):
    """Where a set that has a short name is."""

    id: str
    label: str | None = None


KNOWN: Mapping[str, Known] = {
    "mnist": Known("ylecun/mnist"),
    "fashion-mnist": Known("zalando-datasets/fashion_mnist"),
    "cifar10": Known("uoft-cs/cifar10"),
    "cifar100": Known("uoft-cs/cifar100", label="fine_label"),
}


def is_name(text: str) -> bool:
    """Whether a text is meant as the name of a set: a known one, or hub:OWNER/NAME.

    >>> is_name("mnist"), is_name("hub:someone/birds"), is_name("photos")
    (True, True, False)
    """
    return text in KNOWN or text.startswith(PREFIX)


def fetched(wanted: Wanted, *, load: Callable[[Wanted], Found] = from_hub, progress: Progress | None = None) -> Path:
    """The folder of shards of a set, fetched the first time only: afterwards nothing is asked of the network.

    `wanted.name` is one of `KNOWN`, OWNER/NAME of the Hugging Face hub, or the folder of a copy of such a repository.
    The folder lies in `sets_folder` and is complete or not there at all; delete it to fetch the set anew. Images stay
    as they are, byte for byte; up to 1 % that cannot be read are left out. Its `card.json` says where the set comes
    from: commit, license, columns, counts, date. Without `progress`, standard error is told.

    Raises `DataError` for another name, a part or column that is not there, and what `load` raises.
    """
    wanted = resolved(wanted)
    home = sets_folder()
    folder = home / fingerprint(wanted) / "-".join(map(slug, (Path(wanted.name).name, wanted.part)))
    if (folder / CARD).is_file():
        return folder
    found = load(wanted)
    if wanted.part not in found.parts:
        raise DataError(f"{wanted.name} has no part {wanted.part!r}. {nearest(wanted.part, found.parts)}")
    image = image_column(wanted, found.columns)
    label = label_column(wanted, found.columns)
    told = progress or announced(wanted, folder)
    total = min((number for number in (found.parts[wanted.part], wanted.limit) if number is not None), default=0)
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home, prefix=".fetching-") as scratch:
            file = Path(scratch) / "images"
            rows = found.rows(wanted.part, image, label)
            spans, labels = spooled(rows, file, lambda number: told("images fetched", number, total))
            classes = class_names(wanted, labels, None if label is None else found.columns[label])
            with new_folder(Path(wanted.name), folder, num_bytes=0) as out:
                written = write_shards(Path(wanted.name), spooled_files(file, spans, classes), out, progress=told)
                card = {
                    "set": wanted.name,
                    "page": None if wanted.is_copy else f"https://huggingface.co/datasets/{wanted.name}",
                    "commit": found.commit,
                    "license": found.license,
                    "asked": {key: value for key, value in asdict(wanted).items() if value is not None},
                    "parts": found.parts,
                    "columns": {name: column.type for name, column in found.columns.items()},
                    "image": image,
                    "label": label,
                    "images": written.num_images,
                    "left_out": written.skipped,
                    "classes": Counter(classes) if any(classes) else {},
                    "fetched": datetime.now(UTC).isoformat(timespec="seconds"),
                }
                write_file(out / CARD, json.dumps(card, indent=1).encode())
    except (DataError, DiskError):
        if not (folder / CARD).is_file():  # else another process fetched the same in the meantime
            raise
    except OSError as error:
        raise DiskError(
            f"{home} cannot be written to ({error.strerror or error}). Free some space, or let XDG_CACHE_HOME name a "
            "folder on another disk."
        ) from error
    finally:
        with suppress(OSError):
            folder.parent.rmdir()  # which works only where nothing was written
    return folder


def located(name: str) -> str:
    """A name as a recipe keeps it: that of the folder of a copy is absolute, so that it is found from anywhere.

    >>> located("hub:someone/birds"), located("mnist")
    ('someone/birds', 'mnist')
    """
    name = name.removeprefix(PREFIX)
    path = Path(name).expanduser()
    is_path = name.startswith((".", "~", "/")) or (name not in KNOWN and path.is_dir())
    return str(path.absolute()) if is_path else name


def sets_folder() -> Path:
    """`$XDG_CACHE_HOME/equipoise/sets`, by default below `~/.cache`."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    # A relative path is to be ignored, says the specification.
    return (Path(home) if os.path.isabs(home) else Path.home() / ".cache") / "equipoise" / "sets"


def resolved(wanted: Wanted) -> Wanted:
    """With the name that the hub knows, or the absolute path of a copy. Raises `DataError` for what is neither."""
    name = located(wanted.name)
    if name in KNOWN:
        known = KNOWN[name]
        return replace(wanted, name=known.id, label=known.label if wanted.label is None else wanted.label)
    if Path(name).is_absolute():
        if not Path(name).is_dir():
            raise DataError(f"There is no folder {name}. Expected the folder of a copy of a set of the hub.")
        if wanted.revision is not None:
            raise DataError(f"revision {wanted.revision!r} of {name}: a copy has no revisions. Leave it out.")
        return replace(wanted, name=name)
    if not OWNER_AND_NAME.fullmatch(name):
        raise DataError(
            f"{name!r} is neither a known data set, nor OWNER/NAME of the Hugging Face hub, nor a folder. "
            f"{nearest(name, KNOWN)}"
        )
    return replace(wanted, name=name)


def fingerprint(wanted: Wanted) -> str:
    """Different for whatever may give different examples: what is asked for, and of a copy its files."""
    files = []
    if wanted.is_copy:
        for root, _, names in os.walk(wanted.name):
            stats = [(os.path.join(root, name), os.stat(os.path.join(root, name))) for name in names]
            files += [(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats]
    return sha256(json.dumps([asdict(wanted), sorted(files)]).encode()).hexdigest()[:16]


def image_column(wanted: Wanted, columns: Mapping[str, Column]) -> str:
    """The column of images that was asked for, or the only one. Raises `DataError`."""
    listing = f"Its columns: {', '.join(f'{name} ({column.type})' for name, column in columns.items())}."
    if wanted.image is not None:
        if wanted.image not in columns:
            raise DataError(f"{wanted.name} has no column {wanted.image!r}. {nearest(wanted.image, columns)}")
        if columns[wanted.image].kind not in ("image", "encoded"):
            raise DataError(f"The column {wanted.image!r} of {wanted.name} holds no images. {listing}")
        return wanted.image
    images = [name for name, column in columns.items() if column.kind == "image"]
    if not images:
        raise DataError(
            f"{wanted.name} has no column of images. {listing} "
            "If one of them holds encoded images, name it by data.image."
        )
    if len(images) > 1:
        raise DataError(f"{wanted.name} has several columns of images: {', '.join(images)}. Choose one by data.image.")
    return images[0]


def label_column(wanted: Wanted, columns: Mapping[str, Column]) -> str | None:
    """The column of classes that was asked for, or the only one, if there is any. Raises `DataError`."""
    if wanted.label == "":
        return None
    if wanted.label is not None:
        if wanted.label not in columns:
            raise DataError(f"{wanted.name} has no column {wanted.label!r}. {nearest(wanted.label, columns)}")
        if columns[wanted.label].kind not in ("classes", "number", "text"):
            type = columns[wanted.label].type
            raise DataError(
                f"The column {wanted.label!r} of {wanted.name} holds {type}: expected classes, whole numbers or texts."
            )
        return wanted.label
    labels = [name for name, column in columns.items() if column.kind == "classes"]
    if len(labels) > 1:
        raise DataError(
            f"{wanted.name} has several columns of classes: {', '.join(labels)}. Choose one by data.label, or none by "
            'data.label = "".'
        )
    plain = ["label"] if "label" in columns and columns["label"].kind == "number" else []
    return next(iter(labels or plain), None)


class Span(NamedTuple):
    """Where an image lies in the spool, or why it does not."""

    offset: int
    num_bytes: int
    suffix: str
    fault: str = ""


def spooled(rows: Iterable[Row], file: Path, told: Callable[[int], None]) -> tuple[list[Span], list[int | str | None]]:
    """Write the images of all rows into one file. Where each lies, and the class of each."""
    spans: list[Span] = []
    labels: list[int | str | None] = []
    offset = 0
    with open(file, "xb") as stream:
        for data, label in rows:
            fault = "there is no image in this row" if data is None else ""
            if data is not None and len(data) > MAX_FILE_BYTES:
                fault = f"too large ({len(data):,} bytes, at most {MAX_FILE_BYTES:,} are read)"
            if data is None or fault:
                spans.append(Span(offset, 0, ".png", fault))
            else:
                stream.write(data)
                spans.append(Span(offset, len(data), suffix(data)))
                offset += len(data)
            labels.append(label)
            told(len(labels))
    return spans, labels


def spooled_files(file: Path, spans: Sequence[Span], classes: Sequence[str]) -> Files:
    """The images of a spool as files, in a folder for each class."""
    named = {
        f"{name}/{row:09d}{span.suffix}" if name else f"{row:09d}{span.suffix}": span
        for row, (span, name) in enumerate(zip(spans, classes, strict=True))
    }

    def read(name: str) -> bytes:
        span = named[name]
        if span.fault:
            raise DataError(span.fault)
        with open(file, "rb") as stream:
            stream.seek(span.offset)
            return stream.read(span.num_bytes)

    return Files(tuple(named), read)


def class_names(wanted: Wanted, labels: Sequence[int | str | None], column: Column | None) -> list[str]:
    """The name of each example's class, or empty names where there are no classes. Raises `DataError`.

    Names are as the set gives them, where their natural order is that of its numbers; else the numbers come first.
    """
    if column is None:
        return [""] * len(labels)
    numbered = column.kind == "classes"
    absent = sum(label is None or (numbered and label == -1) for label in labels)  # -1 is how test sets hide them
    if absent == len(labels):
        return [""] * len(labels)
    if absent:
        raise DataError(
            f"{absent:,} of {len(labels):,} examples of {wanted.name} have no class. Leave all classes out by "
            'data.label = "".'
        )
    values: Sequence[int | str | None] = range(len(column.classes))
    texts: Sequence[str] = column.classes
    if not numbered:
        values = sorted(set(labels), key=lambda value: natural_order(str(value)))
        texts = [str(value) for value in values]
    if strange := set(labels) - set(values):
        raise DataError(f"{wanted.name} has examples of class {strange.pop()!r}, but {len(values)} classes from 0.")
    plain = [re.sub(r"[/\\\x00-\x1f]+", "-", text) for text in texts]
    fits = sorted(plain, key=natural_order) == plain and len(set(plain)) == len(plain) and all(plain)
    # Names under which folders mean something else.
    fits = fits and not any(
        name.startswith((".", "__")) or name.lower() in ("train", *HELD_OUT_PARTS) for name in plain
    )
    names = plain if fits else [f"{number} {name}".strip() for number, name in enumerate(plain)]
    name_of = dict(zip(values, names))
    return [name_of[label] for label in labels]


def suffix(data: bytes) -> str:
    """The suffix that belongs to the first bytes of an image.

    >>> suffix(b"GIF89a..."), suffix(b"RIFF....WEBPVP8 ")
    ('.gif', '.webp')
    """
    if data[8:12] == b"WEBP":
        return ".webp"
    starts = {b"\xff\xd8": ".jpg", b"GIF8": ".gif", b"BM": ".bmp", b"II*\0": ".tif", b"MM\0*": ".tif"}
    return next((suffix for start, suffix in starts.items() if data.startswith(start)), ".png")


def slug(text: str) -> str:
    """A text as a part of a folder's name."""
    return re.sub(r"[^\w.]+", "-", text, flags=re.ASCII).strip("-.") or "set"


def announced(wanted: Wanted, folder: Path) -> Progress:
    """Says on standard error what is fetched, and where to."""
    print(f"Fetching {wanted.name} ({wanted.part}), this once, into {folder} …", file=sys.stderr, flush=True)

    def told(what: str, done: int, total: int) -> None:
        if done % 10_000 == 0 or done == total:
            print(f"{done:,} of {total:,} {what}" if total > done else f"{done:,} {what}", file=sys.stderr, flush=True)

    return told
