"""Where the images of a folder or zip lie, which part of them is meant, and which class each belongs to."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import final

from equipoise.core.errors import DataError, nearest
from equipoise.data.files import Files, natural_order
from equipoise.data.images import SUFFIXES

INDEX = "dataset.json"
MAX_INDEX_BYTES = 64 * 2**20
HELD_OUT_PARTS = ("test", "val", "valid", "validation")


@final
@dataclass(frozen=True)
class Layout:
    """The images to read, in order, with their labels."""

    base: str
    """What the names have in common, ending in "/" or empty."""
    names: tuple[str, ...]
    labels: dict[str, str] | None
    """Name -> class, or None."""
    notes: tuple[str, ...]


def find_layout(where: str, files: Files, part: str | None) -> Layout:
    """Reads the arrangement off the names.

    - Only images count, by suffix; hidden files and `__MACOSX` are passed over.
    - While everything lies in one folder, that folder is entered (so a lone class folder is a flat folder).
    - `part` names a sub-folder, such as "test" or "train/image". Without it, where the top level is exactly train
      and test (or val), train is taken.
    - A `dataset.json` beside the images, {"labels": [["00000/img0.png", 3], …]} or {"labels": null}, gives the labels.
    - Otherwise images in sub-folders belong to the class named by the sub-folder; images without are unlabelled.
    - The order is natural: "2" comes before "10".
    """
    part = part.strip("/") if part is not None else None
    names = {name for name in files.names if _is_visible(name)}
    images = sorted((name for name in names if _suffix(name) in SUFFIXES), key=natural_order)
    others = sorted(name for name in names.difference(images) if PurePosixPath(name).name != INDEX)
    if not images:
        raise DataError(_nothing_found(where, others))
    notes = [f"{len(others)} files that are not images were ignored"] if others else []

    def has_index(base: str) -> bool:
        return base + INDEX in names

    def has_part(base: str) -> bool:
        return part is not None and _any_below(images, f"{base}{part}/")

    base = root = _entered(images, "", lambda base: has_index(base) or has_part(base))
    chosen = part
    if part is None and not has_index(base):
        chosen = _training_part(images, base)
        if chosen is not None:
            parts = ", ".join(sorted(top[:-1] for top in _tops(images, base)))
            notes.append(
                f"found the parts {parts}: using {chosen!r} (another: --set data.part=…, or --part of `equipoise data`)"
            )
    elif part is not None and not has_part(base):
        folders = {str(parent) for name in images for parent in PurePosixPath(name).parents} - {"."}
        raise DataError(f"{where} has no images in a part named {part!r}. {nearest(part, folders)}")
    if chosen is not None:
        base = f"{root}{chosen}/"
        images = [name for name in images if name.startswith(base)]
    if not has_index(root):
        base = root = _entered(images, base, has_index)

    if has_index(root):
        labels = _labels_from_index(f"{where}: {root}{INDEX}", files.read(root + INDEX), root, images, names)
    else:
        labels = _labels_from_folders(where, base, images)
    return Layout(base, tuple(images), labels, tuple(notes))


def images_of(where: str, files: Files, part: str | None) -> tuple[str, ...]:
    """All images, whatever folders they lie in; those of a part, if one is named or if there are parts to choose from.

    The order is natural.
    """
    part = part.strip("/") if part is not None else None
    names = [name for name in files.names if _is_visible(name)]
    images = sorted((name for name in names if _suffix(name) in SUFFIXES), key=natural_order)
    if not images:
        raise DataError(_nothing_found(where, sorted(names)))
    base = _entered(images, "", lambda base: part is not None and _any_below(images, f"{base}{part}/"))
    chosen = _training_part(images, base) if part is None else part
    if chosen is None:
        return tuple(images)
    below = tuple(name for name in images if name.startswith(f"{base}{chosen}/"))
    if not below:
        folders = {str(parent) for name in images for parent in PurePosixPath(name).parents} - {"."}
        raise DataError(f"{where} has no images in a part named {part!r}. {nearest(str(part), folders)}")
    return below


def _is_visible(name: str) -> bool:
    return not any(step.startswith(".") or step == "__MACOSX" for step in name.split("/"))


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _any_below(images: list[str], base: str) -> bool:
    return any(name.startswith(base) for name in images)


def _tops(images: list[str], base: str) -> set[str]:
    """The names at the level of `base`; folders end in "/"."""
    tops = (name[len(base) :].partition("/") for name in images)
    return {top + slash for top, slash, _ in tops}


def _entered(images: list[str], base: str, stop: Callable[[str], bool]) -> str:
    while not stop(base):
        tops = _tops(images, base)
        top = tops.pop()
        if tops or not top.endswith("/"):
            break
        base += top
    return base


def _training_part(images: list[str], base: str) -> str | None:
    tops = {top[:-1].lower() if top.endswith("/") else "": top[:-1] for top in _tops(images, base)}
    if len(tops) >= 2 and tops.keys() <= {"train", *HELD_OUT_PARTS}:
        return tops.get("train")
    return None


def _labels_from_folders(where: str, base: str, images: list[str]) -> dict[str, str] | None:
    folders = {name: name[len(base) :].partition("/")[0] for name in images if "/" in name[len(base) :]}
    if not folders:
        return None
    if len(folders) < len(images):
        classes = sorted(set(folders.values()), key=natural_order)
        raise DataError(
            f"{where} holds {len(images) - len(folders)} images beside {len(classes)} sub-folders with images "
            f"({_some(classes)}). Expected either images only, or one sub-folder per class and nothing beside. "
            "Move the loose images, or name one sub-folder: --set data.part=…, or --part of `equipoise data`."
        )
    return folders


def _labels_from_index(where: str, data: bytes, root: str, images: list[str], names: set[str]) -> dict[str, str] | None:
    expected = 'Expected {"labels": [["name.png", 3], …]} with one whole number per image, or {"labels": null}.'
    if len(data) > MAX_INDEX_BYTES:
        raise DataError(f"{where} has {len(data):,} bytes; at most {MAX_INDEX_BYTES:,} are read. {expected}")
    try:
        index = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not valid JSON ({type(error).__name__}: {error}). {expected}") from error
    if not isinstance(index, dict) or "labels" not in index:
        raise DataError(f'{where} has no "labels". {expected}')
    rows = index["labels"]
    if rows is None:
        return None
    if not isinstance(rows, list):
        raise DataError(f'{where}: "labels" is a {type(rows).__name__}. {expected}')
    labels: dict[str, str] = {}
    for number, row in enumerate(rows):
        match row:
            case [str(name), int(label)] if not isinstance(label, bool):
                labels[root + name] = str(label)
            case _:
                raise DataError(f"{where}: entry {number} is {str(row)[:80]}. {expected}")
    missing = [name for name in images if name not in labels]
    if missing:
        count = f"{len(missing)} of {len(images)} images"
        raise DataError(f"{where} has no label for {count} ({_some(missing)}). {expected}")
    absent = [name for name in labels if name not in names]
    if absent:
        raise DataError(
            f"{where} names {len(absent)} files that are not there ({_some(absent)}). "
            "The copy may be incomplete: copy the data again, or remove these entries."
        )
    return labels


def _nothing_found(where: str, others: list[str]) -> str:
    accepted = f"Expected images ({' '.join(SUFFIXES)}), directly or in one sub-folder per class."
    if not others:
        return f"{where} is empty: no files. {accepted}"
    kinds = Counter(_suffix(name) or "no suffix" for name in others).most_common(5)
    found = ", ".join(f"{count} {kind}" for kind, count in kinds)
    return f"{where} holds {len(others)} files but no images ({found}). {accepted} Convert them first."


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
