"""What was found in the past, by the content it was found in; kept outside of the data."""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from equipoise.core.disk import replace_file
from equipoise.core.errors import DataError
from equipoise.data.files import Files, folder_files
from equipoise.data.inspection.contents import is_visible
from equipoise.data.inspection.findings import Inspection, inspection_from
from equipoise.data.threads import in_threads

RULES = 2
"""To be raised when a check changes: what was found by other rules is not remembered."""

_SETTLED = 2.0
"""Seconds after which a file's time of change is trusted: clocks of file systems are coarse."""


class Entry(NamedTuple):
    """Where the findings of a content are kept, and under which name."""

    file: Path
    fingerprint: str


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/equipoise/inspections`, by default below `~/.cache`."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    # A relative path is to be ignored, says the specification.
    base = Path(home) if os.path.isabs(home) else Path.home() / ".cache"
    return base / "equipoise" / "inspections"


def entry_for(path: Path, what: str) -> Entry:
    """The entry of the content at `path`: SHA-256 over the names and bytes of its files, and over `what` was asked.

    Where no file changed its length or its times since the last look, the fingerprint of that look is taken and nothing
    is read.
    """
    folder = cache_folder()
    files = None if path.is_file() else folder_files(path)
    names = [] if files is None else sorted(name for name in files.names if is_visible(name))
    listing, newest = _listing(path, names)
    memo = folder / "listings" / f"{_digest([str(path.resolve()), listing, what, RULES])}.txt"
    settled = time.time() - newest > _SETTLED
    known = _read(memo) if settled else None
    fingerprint = known.decode("ascii", "replace") if known else _fingerprint(path, files, names, what)
    if settled and known is None:
        _write(path, memo, fingerprint.encode())
    return Entry(folder / f"{fingerprint}.json", fingerprint)


def remembered(path: Path, entry: Entry) -> Inspection | None:
    """What was found in this content before, now under this path; None if nothing is known."""
    content = _read(entry.file)
    if content is None:
        return None
    try:
        inspection = inspection_from(json.loads(content))
    except (ValueError, KeyError, TypeError):
        return None
    if inspection.fingerprint != entry.fingerprint:
        return None
    return replace(inspection, path=str(path), remembered=True)


def remember(path: Path, entry: Entry, inspection: Inspection) -> None:
    """Keep what was found. A cache that cannot be written is no reason to fail."""
    _write(path, entry.file, json.dumps(inspection.as_dict()).encode())


def _listing(path: Path, names: Sequence[str]) -> tuple[str, float]:
    """Length and times of every file, digested, and the newest of the times."""
    digest = hashlib.sha256()
    newest = 0.0
    for name in names or [""]:
        try:
            stat = os.stat(path / name)
        except OSError as error:
            digest.update(json.dumps([name, error.strerror]).encode())
            continue
        digest.update(json.dumps([name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]).encode())
        newest = max(newest, stat.st_mtime, stat.st_ctime)
    return digest.hexdigest(), newest


def _fingerprint(path: Path, files: Files | None, names: Sequence[str], what: str) -> str:
    digest = hashlib.sha256(json.dumps([what, RULES]).encode())
    if files is None:
        with open(path, "rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
        return digest.hexdigest()

    def one(name: str) -> str:
        try:
            return hashlib.sha256(files.read(name)).hexdigest()
        except DataError as error:
            return str(error)

    for name, result in zip(names, in_threads(one, names), strict=True):
        digest.update(json.dumps([name, result]).encode())
    return digest.hexdigest()


def _digest(parts: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _write(data: Path, path: Path, content: bytes) -> None:
    if path.resolve().is_relative_to(data.resolve()):  # never inside of the data
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)
    except OSError:
        pass
