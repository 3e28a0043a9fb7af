"""The files of a folder or a zip, read by name into memory; an archive is never extracted."""

import os
import re
import stat
import threading
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import final

from equipoise.core.errors import DataError

MAX_FILES = 5_000_000
MAX_FILE_BYTES = 256 * 2**20
MAX_RATIO = 200
RATIO_MATTERS_FROM = 64 * 2**20
"""Small archives may be as compressible as they like."""


@final
@dataclass(frozen=True)
class Files:
    """Names relative to the folder or archive, with forward slashes, and how to read one of them."""

    names: tuple[str, ...]
    read: Callable[[str], bytes]
    """Raises `DataError` with the reason."""


def folder_files(path: Path) -> Files:
    """All regular files below a folder. Links are followed, loops are not."""

    def refuse(error: OSError) -> None:
        # The walk would pass over what it may not list, and a class would be missing without a word.
        raise DataError(f"{error.filename} cannot be listed ({error.strerror}). Make the folder readable.") from error

    names: list[str] = []
    entered: set[str] = set()
    for root, folders, files in os.walk(path, followlinks=True, onerror=refuse):
        real = os.path.realpath(root)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        below = os.path.relpath(root, path).replace(os.sep, "/")
        regular = [name for name in files if os.path.isfile(os.path.join(root, name))]
        names += [name if below == "." else f"{below}/{name}" for name in regular]

    def read(name: str) -> bytes:
        try:
            size = os.path.getsize(path / name)
            if size > MAX_FILE_BYTES:
                raise DataError(_too_large(size))
            return (path / name).read_bytes()
        except OSError as error:
            raise DataError(error.strerror or str(error)) from error

    return Files(tuple(names), read)


def zip_files(path: Path) -> Files:
    """All files in a zip, after its table of contents has been found safe."""
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"{path} is not a readable zip archive ({reason}). Pack it again.") from error
    members = check_members(path, archive)
    lock = threading.Lock()

    def read(name: str) -> bytes:
        # One handle is shared: its bookkeeping is not made for several threads. Decoding happens outside.
        try:
            with lock:
                return archive.read(members[name])
        except Exception as error:
            raise DataError(f"damaged in the archive ({type(error).__name__}: {error})") from error

    return Files(tuple(members), read)


def check_members(
    path: Path, archive: zipfile.ZipFile, *, max_bytes: int = MAX_FILE_BYTES
) -> dict[str, zipfile.ZipInfo]:
    """The files of an archive by name. Refuses unsafe names, links, encryption, repeated names and zip bombs."""
    members: dict[str, zipfile.ZipInfo] = {}
    if len(archive.infolist()) > MAX_FILES:
        raise DataError(f"{path} lists {len(archive.infolist()):,} files; at most {MAX_FILES:,} are read.")
    for info in archive.infolist():
        name = info.orig_filename  # as stored: `filename` is already cut at a NUL
        fault = _fault(info, max_bytes)
        if fault is None and name in members:
            fault = "is there twice"
        if fault is not None:
            raise DataError(f"{path}: the file {_shown(name)} {fault}. The archive is refused; pack it again without.")
        if not info.is_dir():
            members[name] = info
    total, packed = sum(info.file_size for info in members.values()), os.path.getsize(path)
    if total > RATIO_MATTERS_FROM and total > MAX_RATIO * packed:
        raise DataError(
            f"{path} is a zip bomb: {packed:,} bytes would unpack to {total:,}, {total / packed:.0f} times as many "
            f"(at most {MAX_RATIO}). If the data is meant to be so, unpack it yourself and give the folder."
        )
    return members


def natural_order(name: str) -> tuple:
    """A sorting key under which "2" comes before "10", folder by folder.

    >>> sorted(["10.png", "2.png", "a/1.png"], key=natural_order)
    ['2.png', '10.png', 'a/1.png']
    """
    parts = [re.split(r"([0-9]+)", part) for part in name.split("/")]
    # Odd pieces are digits: without leading zeros, a longer number is a larger one.
    keys = [
        tuple((len(piece.lstrip("0")), piece.lstrip("0")) if odd % 2 else piece for odd, piece in enumerate(part))
        for part in parts
    ]
    return (tuple(keys), name)


def _fault(info: zipfile.ZipInfo, max_bytes: int) -> str | None:
    name = info.orig_filename
    if "\0" in name:
        return "has a NUL in its name"
    if "\\" in name:
        return "has a backslash in its name"
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return "has an absolute path"
    if ".." in name.split("/"):
        return "points outside of the archive"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "is a symbolic link"
    if info.flag_bits & 1:
        return "is encrypted"
    if info.file_size > max_bytes:
        return f"is {_too_large(info.file_size, max_bytes)}"
    return None


def _too_large(size: int, limit: int = MAX_FILE_BYTES) -> str:
    return f"too large ({size:,} bytes, at most {limit:,} are read)"


def _shown(name: str) -> str:
    return repr(name if len(name) <= 120 else name[:120] + "…")
