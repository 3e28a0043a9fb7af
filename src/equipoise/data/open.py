"""One door for data on disk: a path becomes a source, by what is there."""

from difflib import get_close_matches
from pathlib import Path

from equipoise.core.errors import DataError, nearest
from equipoise.data.arrays import ValueRange, array
from equipoise.data.folders import MEMORY, folder
from equipoise.data.images import Filter, Fit
from equipoise.data.named import KNOWN
from equipoise.data.shards import is_sharded, sharded
from equipoise.data.source import Source

ACCEPTED = "Expected a folder of images, a .zip of such a folder, a folder of shards, or an .npy or .npz array"


def open_source(
    path: str | Path,
    *,
    size: int | None = None,
    channels: int | None = None,
    part: str | None = None,
    fit: Fit = "crop",
    filter: Filter = "auto",
    value_range: ValueRange | None = None,
    memory: int = MEMORY,
) -> Source:
    """The examples at `path`: a folder or .zip of images (`folders.folder`), shards of them (`shards.sharded`), or an
    .npy or .npz file (`arrays.array`, which alone takes a `value_range` with ends).

    `part` chooses "train", "test" or a sub-folder. Sets of images of more than `memory` decoded bytes stay on disk.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise missing(path)
    suffix = path.suffix.lower()
    if path.is_file() and suffix in (".npy", ".npz"):
        return array(path, size=size, channels=channels, fit=fit, filter=filter, value_range=value_range, part=part)
    if isinstance(value_range, tuple):
        raise DataError(
            f"data.range = {list(value_range)} was given for {path}, but only the values of an .npy or .npz file can "
            "have a range of their own: those of image files become [-1, 1] anyway. Leave it out."
        )
    if path.is_dir() and is_sharded(path):
        return sharded(path, size=size, channels=channels, fit=fit, filter=filter, part=part, memory=memory)
    if path.is_dir() or (path.is_file() and suffix == ".zip"):
        return folder(path, size=size, channels=channels, fit=fit, filter=filter, part=part, memory=memory)
    what = f"a file ending in {path.suffix!r}" if path.is_file() and path.suffix else "neither of these"
    raise DataError(f"{path} is {what}. {ACCEPTED}; convert it first.")


def missing(path: Path) -> DataError:
    """The error for a path that does not exist: what may have been meant instead."""
    names = get_close_matches(path.name, KNOWN, n=1, cutoff=0.75)
    by_name = f"The set {names[0]!r} is fetched by its name: --data {names[0]}, or data.kind = hub. " if names else ""
    return DataError(f"{path} does not exist. {_neighbours(path)}{by_name}{ACCEPTED}.")


def _neighbours(path: Path) -> str:
    parent = path.parent
    if not parent.is_dir():
        return f"Its folder {parent} does not exist either. "
    names = sorted(entry.name for entry in parent.iterdir() if not entry.name.startswith("."))
    hint = nearest(path.name, names)
    # The full list of a crowded folder helps nobody.
    return f"{hint.split(' Valid:')[0]} " if hint.startswith("Did you mean") else ""
