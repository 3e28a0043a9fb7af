"""The few file-system steps that saving is made of, each durable, each with an error a person can act on."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from equipoise.core.errors import DiskError

CHUNK = 1 << 20


def write_file(path: Path, content: bytes) -> None:
    """Write and fsync a new file; an existing one is replaced."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view[:CHUNK]) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file all at once: a reader sees the old content or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write_file(temporary, content)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """fsync a folder, so that the names in it survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_folder(folder: Path) -> None:
    """Remove a flat folder: renamed first, so that no half-deleted folder carries a valid name."""
    doomed = folder.with_name(f".removed-{folder.name}-{os.getpid()}")
    os.replace(folder, doomed)
    for path in doomed.iterdir():
        os.unlink(path)
    os.rmdir(doomed)


@contextmanager
def disk_errors(what: str, path: Path, *, num_bytes: int = 0) -> Iterator[None]:
    """Turn the file system's refusals into a `DiskError` that says what was done, what it needs and what is free."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise DiskError(
                f"The disk is full: {what} in {path} needs {readable(num_bytes)}, "
                f"{readable(free_bytes(path))} are free. "
                "Nothing that was saved before is lost. Free some space, then continue with `equipoise resume`."
            ) from error
        raise DiskError(f"{what.capitalize()} in {path} failed: {error.strerror or error}.") from error


def free_bytes(path: Path) -> int:
    """Free bytes on the file system of the nearest folder that exists."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def readable(num_bytes: float) -> str:
    """
    >>> readable(5_500_000)
    '5.5 MB'
    """
    for unit in ("bytes", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "bytes" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} TB"
