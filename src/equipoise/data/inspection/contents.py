"""What lies in a folder, a zip or shards: which files are examples, of which part, of which class."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import final

from equipoise.core.errors import DataError, nearest
from equipoise.data.files import Files, folder_files, natural_order, zip_files
from equipoise.data.images import SUFFIXES
from equipoise.data.layout import HELD_OUT_PARTS, INDEX, MAX_INDEX_BYTES
from equipoise.data.shards import is_sharded, shard_files

SOUNDS = (".wav", ".wave", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff")
VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg")
FOREIGN = (".heic", ".heif", ".avif", ".jp2", ".jxl", ".svg", ".psd", ".tga", ".dng", ".cr2", ".nef", ".arw", ".exr")
"""Suffixes of pictures that Equipoise does not read: a person may think that they are used."""


@final
@dataclass(frozen=True)
class Contents:
    """The examples of a set by medium, in natural order, each with its part and class where it has one."""

    files: Files
    root: Path | None
    """The folder they lie in, where they are plain files."""
    images: tuple[str, ...]
    sounds: tuple[str, ...]
    videos: tuple[str, ...]
    others: tuple[str, ...]
    """Visible files that are neither examples nor a dataset.json."""
    parts: Mapping[str, str]
    """Name -> part, such as "train"; empty where the set has one part only."""
    labels: Mapping[str, str]
    """Name -> class, of those that have one."""
    unlabelled: tuple[str, ...]
    """Examples without a class, in a set that has classes."""
    absent: Mapping[str, tuple[str, ...]]
    """dataset.json -> the files it names that are not there."""
    faults: tuple[str, ...] = ()
    """What is wrong with a dataset.json as a whole."""
    indices: tuple[str, ...] = ()
    """Every dataset.json."""
    broken: tuple[str, ...] = ()
    """Links by the name of an example that lead nowhere."""
    empty: tuple[str, ...] = ()
    """Folders beside those of the classes in which there is nothing."""

    @property
    def examples(self) -> tuple[str, ...]:
        """All of them."""
        return self.images + self.sounds + self.videos


def files_of(path: Path) -> Files:
    """The files of a folder, a .zip or a folder of shards, by name."""
    refuse_other_forms(path)
    if path.is_file():
        return zip_files(path)
    return shard_files(path) if is_sharded(path) else folder_files(path)


def refuse_other_forms(path: Path) -> None:
    """A `DataError` for a path that is neither a folder nor a .zip."""
    if path.is_dir() or (path.is_file() and path.suffix.lower() == ".zip"):
        return
    what = "does not exist" if not path.exists() else f"is a file ending in {path.suffix!r}"
    raise DataError(f"{path} {what}. Expected a folder, a .zip of one, shards, or an .npy or .npz array.")


def contents_of(path: Path, part: str | None = None) -> Contents:
    """What lies at `path`, by the rules of `layout.find_layout`, but for all parts at once and without refusing.

    Where training would refuse (loose images beside classes, a dataset.json that does not fit), the trouble is told.
    """
    files = files_of(path)
    visible = [name for name in files.names if is_visible(name)]
    images = _of_kind(visible, SUFFIXES)
    sounds, videos = _of_kind(visible, SOUNDS), _of_kind(visible, VIDEOS)
    taken = {*images, *sounds, *videos}
    others = sorted((n for n in visible if n not in taken and PurePosixPath(n).name != INDEX), key=natural_order)

    arranged = [_arranged(str(path), files, names, part) for names in (images, sounds, videos) if names]
    if part is not None and arranged and not any(one.names for one in arranged):
        folders = {str(parent) for name in taken for parent in PurePosixPath(name).parents} - {"."}
        raise DataError(f"{path} has nothing in a part named {part!r}. {nearest(part, folders)}")
    chosen = {name for one in arranged for name in one.names}
    root = path if path.is_dir() and not is_sharded(path) else None
    return Contents(
        files=files,
        root=root,
        images=tuple(name for name in images if name in chosen),
        sounds=tuple(name for name in sounds if name in chosen),
        videos=tuple(name for name in videos if name in chosen),
        others=tuple(others),
        parts={name: value for one in arranged for name, value in one.parts.items()},
        labels={name: value for one in arranged for name, value in one.labels.items()},
        unlabelled=tuple(name for one in arranged for name in one.unlabelled),
        absent={index: absent for one in arranged for index, absent in one.absent.items()},
        faults=tuple(fault for one in arranged for fault in one.faults),
        broken=() if root is None or part is not None else _broken_links(root),
        empty=() if root is None else _empty_classes(root, {base for one in arranged for base in one.bases}),
        indices=tuple(name for name in visible if PurePosixPath(name).name == INDEX),
    )


def thinned(contents: Contents, most: int) -> Contents:
    """At most so many examples of each medium, those whose names have the smallest hashes: as good as drawn."""

    def some(names: tuple[str, ...]) -> tuple[str, ...]:
        if len(names) <= most:
            return names
        chosen = sorted(names, key=lambda name: hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest())
        return tuple(sorted(chosen[:most], key=natural_order))

    return replace(contents, images=some(contents.images), sounds=some(contents.sounds), videos=some(contents.videos))


def is_visible(name: str) -> bool:
    """Whether a file counts: hidden ones and the leftovers of macOS archives do not."""
    return not any(step.startswith(".") or step == "__MACOSX" for step in name.split("/"))


def suffix(name: str) -> str:
    """The suffix of a name in small letters."""
    return PurePosixPath(name).suffix.lower()


def empty_folders(root: Path) -> tuple[str, ...]:
    """Visible folders without a visible file in them or below."""
    empty: set[str] = set()
    for folder, inner, names in os.walk(root, topdown=False):
        below = [os.path.join(folder, name) for name in inner if is_visible(name)]
        if not any(map(is_visible, names)) and empty.issuperset(below):
            empty.add(folder)
    found = (os.path.relpath(folder, root).replace(os.sep, "/") for folder in empty)
    return tuple(sorted(filter(is_visible, found), key=natural_order))


def _empty_classes(root: Path, bases: set[str]) -> tuple[str, ...]:
    return tuple(name for name in empty_folders(root) if name[: name.rfind("/") + 1] in bases)


def _broken_links(root: Path) -> tuple[str, ...]:
    """Links that look like examples and lead nowhere: the walk over the files does not see them."""
    found = []
    for folder, _, names in os.walk(root):
        below = os.path.relpath(folder, root).replace(os.sep, "/")
        for name in names:
            if suffix(name) in (*SUFFIXES, *SOUNDS, *VIDEOS) and not os.path.exists(os.path.join(folder, name)):
                found.append(name if below == "." else f"{below}/{name}")
    return tuple(sorted((name for name in found if is_visible(name)), key=natural_order))


@dataclass
class _Arranged:
    names: list[str]
    parts: dict[str, str]
    labels: dict[str, str]
    unlabelled: list[str]
    absent: dict[str, tuple[str, ...]]
    faults: list[str]
    bases: list[str]
    """Where the folders of the classes lie, ending in "/" or empty."""


def _of_kind(names: Sequence[str], suffixes: tuple[str, ...]) -> list[str]:
    return sorted((name for name in names if suffix(name) in suffixes), key=natural_order)


def _arranged(where: str, files: Files, names: list[str], part: str | None) -> _Arranged:
    """The parts and labels of the examples of one medium."""
    present = set(files.names)
    arranged = _Arranged([], {}, {}, [], {}, [], [])
    part = part.strip("/") if part is not None else None
    base = ""
    while base + INDEX not in present and not (part and any(name.startswith(f"{base}{part}/") for name in names)):
        folders, loose = _tops(names, base)
        if loose or len(folders) != 1:
            break
        base += f"{folders.pop()}/"

    if part is not None:
        below = {f"{base}{part}/": [name for name in names if name.startswith(f"{base}{part}/")]}
    else:
        folders, _ = _tops(names, base)
        known = {folder for folder in folders if folder.lower() in ("train", *HELD_OUT_PARTS)}
        if len(known) >= 2 and known == folders and any(folder.lower() == "train" for folder in known):
            below = {f"{base}{folder}/": [n for n in names if n.startswith(f"{base}{folder}/")] for folder in folders}
            arranged.parts = {name: root[len(base) : -1] for root, inside in below.items() for name in inside}
            arranged.unlabelled = [name for name in names if name not in arranged.parts]
        else:
            below = {base: names}
    arranged.names = sorted(
        [*(n for inside in below.values() for n in inside), *arranged.unlabelled], key=natural_order
    )

    if base + INDEX in present:
        _label_by_index(where, files, base, arranged)
        return arranged
    for root, inside in sorted(below.items()):
        while root + INDEX not in present:
            folders, loose = _tops(inside, root)
            if loose or len(folders) != 1:
                break
            root += f"{folders.pop()}/"
        if root + INDEX in present:
            whole, arranged.names = arranged.names, inside
            _label_by_index(where, files, root, arranged)
            arranged.names = whole
            continue
        folders, loose = _tops(inside, root)
        if folders:
            arranged.bases.append(root)
            arranged.labels |= {n: n[len(root) :].partition("/")[0] for n in inside if "/" in n[len(root) :]}
            arranged.unlabelled += loose
    if not arranged.labels and arranged.parts:  # loose beside the parts, where nothing has a class
        arranged.unlabelled = [name for name in arranged.unlabelled if name not in arranged.parts]
    return arranged


def _tops(names: Sequence[str], base: str) -> tuple[set[str], list[str]]:
    """The folders at the level of `base`, and the files beside them."""
    rest = [(name, name[len(base) :]) for name in names if name.startswith(base)]
    return {r.partition("/")[0] for _, r in rest if "/" in r}, [name for name, r in rest if "/" not in r]


def _label_by_index(where: str, files: Files, root: str, arranged: _Arranged) -> None:
    """Labels from a dataset.json, {"labels": [["name.png", 3], …]}; what does not fit is told."""
    index = root + INDEX
    try:
        data = files.read(index)
        if len(data) > MAX_INDEX_BYTES:
            raise DataError(f"it has {len(data):,} bytes; at most {MAX_INDEX_BYTES:,} are read")
        rows = json.loads(data)["labels"]
        labels = {root + str(name): str(int(label)) for name, label in rows or ()}
    except (DataError, ValueError, TypeError, KeyError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        arranged.faults.append(
            f'{where}: {index} is not {{"labels": [["name.png", 3], …]}} with one whole number per image ({reason}).'
        )
        return
    if rows is None:
        return
    present = set(files.names)
    absent = tuple(sorted((name for name in labels if name not in present), key=natural_order))
    if absent:
        arranged.absent[index] = absent
    arranged.labels |= {name: labels[name] for name in arranged.names if name in labels}
    arranged.unlabelled += [name for name in arranged.names if name not in labels]
