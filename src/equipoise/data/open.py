"""One door for data on disk: a path becomes a source, by what is there."""

from pathlib import Path

from equipoise.core.errors import DataError, nearest
from equipoise.data.arrays import array
from equipoise.data.folders import MEMORY, folder
from equipoise.data.images import Fit
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
    memory: int = MEMORY,
) -> Source:
    """The examples at `path`: a folder or .zip of images (`folders.folder`), shards of them (`shards.sharded`), or an
    .npy or .npz file (`arrays.array`).

    `part` chooses "train", "test" or a sub-folder. Sets of images of more than `memory` decoded bytes stay on disk.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise DataError(f"{path} does not exist. {_neighbours(path)}{ACCEPTED}.")
    suffix = path.suffix.lower()
    if path.is_dir() and is_sharded(path):
        return sharded(path, size=size, channels=channels, fit=fit, part=part, memory=memory)
    if path.is_dir() or (path.is_file() and suffix == ".zip"):
        return folder(path, size=size, channels=channels, fit=fit, part=part, memory=memory)
    if path.is_file() and suffix in (".npy", ".npz"):
        return array(path, size=size, channels=channels, fit=fit, part=part)
    what = f"a file ending in {path.suffix!r}" if path.is_file() and path.suffix else "neither of these"
    raise DataError(f"{path} is {what}. {ACCEPTED}; convert it first.")


def _neighbours(path: Path) -> str:
    parent = path.parent
    if not parent.is_dir():
        return f"Its folder {parent} does not exist either. "
    names = sorted(entry.name for entry in parent.iterdir() if not entry.name.startswith("."))
    hint = nearest(path.name, names)
    # The full list of a crowded folder helps nobody.
    return f"{hint.split(' Valid:')[0]} " if hint.startswith("Did you mean") else ""
