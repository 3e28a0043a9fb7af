"""A new folder of data: never where the source would be touched, and complete or not there at all."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from equipoise.core.disk import free_bytes, readable
from equipoise.core.errors import DataError, DiskError

_UNFINISHED = ".unfinished"


@contextmanager
def new_folder(source: Path, out: Path, *, num_bytes: int) -> Iterator[Path]:
    """A folder to write into, which becomes `out` when all went well and is removed when not.

    `out` may not exist yet, or be an empty folder; it may not lie in `source`, nor `source` in it: else a `DataError`.
    Too little space for `num_bytes`, or a disk that fills up on the way, is a `DiskError`.
    """
    refuse_bad_target(source, out)
    free = free_bytes(out.absolute())
    if num_bytes > free:
        raise DiskError(_full(out, num_bytes, free))
    # An empty folder may be a mount point or where the person stands: it is filled, not replaced.
    inside = out.exists()
    work = out / _UNFINISHED if inside else out.with_name(f".{out.name}{_UNFINISHED}-{os.getpid()}")
    try:
        work.mkdir(parents=True)
        yield work
        if inside:
            for path in list(work.iterdir()):
                os.replace(path, out / path.name)
            work.rmdir()
        else:
            os.replace(work, out)
    except OSError as error:
        shutil.rmtree(work, ignore_errors=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise DiskError(_full(out, num_bytes, free_bytes(out.absolute()))) from error
        raise DiskError(f"Writing {out} failed: {error.strerror or error}. Nothing was left behind.") from error
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def refuse_bad_target(source: Path, out: Path) -> None:
    """Refuses a target that would mix with the source or with something that is there already."""
    here, there = source.resolve(), out.resolve()
    if there == here or there.is_relative_to(here):
        raise DataError(
            f"{out} lies in {source}, which is never written to. Expected a new folder outside of the data."
        )
    if here.is_relative_to(there) and here.is_dir():
        raise DataError(f"{source} lies in {out}. Expected a new folder outside of the data.")
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise DataError(f"{out} is there already and is not a folder. Expected a new folder; choose another name.")
    if out.is_dir():
        names = sorted(path.name for path in out.iterdir())
        if names == [_UNFINISHED]:
            raise DataError(f"{out} holds what a run that was cut off left ({_UNFINISHED}). Delete it and try again.")
        if names:
            some = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
            raise DataError(
                f"{out} is not empty ({some}). Expected a new or an empty folder: nothing that is there is overwritten."
            )


def _full(out: Path, num_bytes: int, free: int) -> str:
    return (
        f"The disk is full: writing {out} needs about {readable(num_bytes)}, {readable(free)} are free. "
        "The source is untouched and nothing was left behind. Free some space, or choose a folder on another disk."
    )
