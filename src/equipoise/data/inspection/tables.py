"""Arrays of examples: values that are not finite or out of range, labels that do not fit, constant and equal rows."""

import functools
import hashlib
import io
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
from PIL import Image

from equipoise.core.errors import DataError
from equipoise.data.arrays import REMEDY, _archive, _keys, array  # the same choice of arrays as in training
from equipoise.data.files import Files
from equipoise.data.inspection.checks import judged
from equipoise.data.inspection.contents import Contents
from equipoise.data.inspection.findings import Finding, found
from equipoise.data.layout import HELD_OUT_PARTS

STRAY = 0.05
"""Where at most this share of the rows is out of range, these rows are at fault, and not the scale of the array."""

_ROWS = 4096


@final
@dataclass(frozen=True, eq=False)
class Table:
    """An array of examples with its labels."""

    key: str
    part: str
    values: np.ndarray
    label_key: str | None
    labels: np.ndarray | None

    def name(self, row: int | np.integer) -> str:
        """How a row is called in findings: "images[17]"."""
        return f"{self.key}[{row}]"

    @functools.cached_property
    def finite(self) -> np.ndarray:
        """Which rows hold finite numbers only, bool [N]."""
        if self.values.dtype.kind != "f":
            return np.ones(len(self.values), bool)
        return self._by_rows(lambda rows: np.isfinite(rows).all(axis=1))

    @functools.cached_property
    def lowest(self) -> np.ndarray:
        """The smallest finite value of each row, [N]; infinity where there is none."""
        return self._by_rows(lambda rows: np.where(np.isfinite(rows), rows, np.inf).min(axis=1, initial=np.inf))

    @functools.cached_property
    def highest(self) -> np.ndarray:
        """The largest finite value of each row, [N]; minus infinity where there is none."""
        return self._by_rows(lambda rows: np.where(np.isfinite(rows), rows, -np.inf).max(axis=1, initial=-np.inf))

    @functools.cached_property
    def outside(self) -> np.ndarray:
        """Which rows of images hold finite values outside of [-1, 1], bool [N]."""
        if self.values.dtype.kind != "f" or self.values.ndim < 3:
            return np.zeros(len(self.values), bool)
        return self.finite & ((self.lowest < -1) | (self.highest > 1))

    @functools.cached_property
    def shown(self) -> np.ndarray:
        """Which rows can be looked at as images, bool [N]: those without a fault of their values."""
        return self.finite & ~self.outside if self.outside.mean() <= STRAY else self.finite

    def _by_rows(self, function: Callable[[np.ndarray], Any]) -> np.ndarray:
        # Piece by piece: the array may be mapped, and larger than memory.
        starts = range(0, len(self.values), _ROWS)
        pieces = [self.values[start : start + _ROWS] for start in starts]
        return np.concatenate([function(piece.reshape(len(piece), -1)) for piece in pieces])


def load(path: Path, part: str | None) -> tuple[list[Table], list[Finding]]:
    """The arrays of a file that training would take, and those of its other parts; or why there are none."""
    try:
        if path.suffix.lower() == ".npy":
            values = np.load(path, allow_pickle=False, mmap_mode="r")
            return [Table(path.stem, "", values, None, None)], []
        archive = _archive(path)
        wanted = [part] if part is not None else [None, *(p for p in HELD_OUT_PARTS if _has_part(path, archive, p))]
        tables = []
        for one in wanted:
            key, label_key = _keys(path, archive, one, None, None)
            name = one or ("train" if len(wanted) > 1 else "")
            labels = archive[label_key] if label_key else None
            tables.append(Table(key, name, archive[key], label_key, labels))
        return tables, []
    except DataError as error:
        return [], [found("refused", (), str(error), evidence={})]
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        text = f"It is not a readable array ({reason})."
        # There is nothing that could be left of a single file.
        return [], [replace(found("corrupt", (path.name,), text, evidence={"reason": reason}), action="keep")]


def check_values(table: Table) -> Iterator[Finding]:
    """Rows with NaN or infinity, values out of range, and whole numbers that are no bytes."""
    values = table.values
    if values.ndim == 0:
        yield found("refused", (), f"{table.key} is a single number. Expected an array of examples.", evidence={})
        return
    for row in np.flatnonzero(~table.finite):
        number = int((~np.isfinite(values[row])).sum())
        text = f"{number:,} of its {values[row].size:,} values are NaN or infinite."
        yield found("not-finite", (table.name(row),), text, evidence={"not finite": number})
    if values.ndim < 3 or not len(values):
        return
    low, high = float(table.lowest.min()), float(table.highest.max())
    evidence = {"lowest": low, "highest": high, "type": str(values.dtype)}
    if values.dtype.kind in "iu" and values.dtype != np.uint8:
        finding = found("refused", (table.key,), "", evidence=evidence)
        text = f"{table.key} holds whole numbers of type {values.dtype} from {low:g} to {high:g}; expected uint8."
        fits = low >= 0 and high <= 255
        text += " `clean` saves them as uint8." if fits else f" Bring them to 0..255, or {REMEDY}."
        yield replace(finding, explanation=text, action="repair" if fits else "keep")
    if values.dtype.kind != "f":
        return
    stray = np.flatnonzero(table.outside)
    if len(stray) == 0:
        return
    if len(stray) <= STRAY * len(values):
        for row in stray:
            text = f"Its values go from {table.lowest[row]:g} to {table.highest[row]:g}; the others lie in [-1, 1]."
            ends = {"lowest": float(table.lowest[row]), "highest": float(table.highest[row])}
            yield found("range", (table.name(row),), text, evidence=ends)
        return
    bytes_as_floats = low >= 0 and high <= 255
    text = f"{table.key} holds floats from {low:g} to {high:g}. "
    text += "`clean` divides them by 255." if bytes_as_floats else f"Divide by the largest possible value, or {REMEDY}."
    finding = found("range", (table.key,), text, evidence=evidence)
    yield replace(finding, action="repair" if bytes_as_floats else "keep")


def check_labels(table: Table) -> Iterator[Finding]:
    """Rows without a label: NaN, an empty text, or -1 where all others count from 0; more or fewer labels than rows."""
    if table.labels is not None and table.labels.ndim and len(table.labels) != len(table.values):
        # Even beside other findings: without its bad rows the array could have as many rows as labels by chance.
        text = f"{table.key}: {len(table.labels):,} labels for {len(table.values):,} examples. Expected one each; "
        text += "save those that belong together as images and labels."
        yield found("refused", (), text, evidence={"labels": len(table.labels), "examples": len(table.values)})
    for row in sorted(_without_label(table)):
        assert table.labels is not None
        label = str(table.labels[row])
        text = f"Its label is {label or 'an empty text'}."
        yield found("missing-label", (table.name(row),), text, evidence={"label": label})


def check_vectors(tables: Sequence[Table], contents: Contents) -> Iterator[Finding]:
    """Rows of vectors that are constant or equal; images are compared as images."""
    same: dict[bytes, list[str]] = defaultdict(list)
    for table in tables:
        if table.values.ndim != 2:
            continue
        for row in np.flatnonzero(table.finite):
            if table.values.shape[1] > 1 and table.lowest[row] == table.highest[row]:
                text = f"All of its values are {table.lowest[row]:g}."
                yield found("blank", (table.name(row),), text, evidence={"value": float(table.lowest[row])})
            else:
                digest = hashlib.blake2b(np.ascontiguousarray(table.values[row]).tobytes(), digest_size=16).digest()
                same[digest].append(table.name(row))
    for names in same.values():
        if len(names) > 1:
            yield from judged(names, contents, how="the same values", evidence={"copies": len(names)}, exact=True)


def check_refusals(path: Path, part: str | None, findings: Sequence[Finding]) -> Iterator[Finding]:
    """What else training would refuse, in its own words."""
    if any(finding.severity == "critical" for finding in findings):
        return
    try:
        array(path, part=part)
    except DataError as error:
        yield found("refused", (), str(error), evidence={})


def contents_of_tables(tables: Sequence[Table]) -> Contents:
    """The rows as examples with parts and labels; those that can be shown as images, as files of images."""
    rows = {table.name(row): (table, row) for table in tables for row in range(len(table.values))}
    shown = [table for table in tables if _as_images(table) is not None]
    scales = {table.key: _scale(table) for table in shown}

    def read(name: str) -> bytes:
        table, row = rows[name]
        values = _as_images(table)
        assert values is not None
        low, high = scales[table.key]
        image = np.nan_to_num(values[row].astype(np.float32), nan=low, posinf=high, neginf=low)
        pixels = np.clip((image - low) * (255 / max(high - low, 1e-12)) + 0.5, 0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "BMP")
        return buffer.getvalue()

    labels: dict[str, str] = {}
    unlabelled: list[str] = []
    for table in tables:
        if table.labels is None or table.labels.ndim != 1 or len(table.labels) != len(table.values):
            continue
        missing = _without_label(table)
        unlabelled += [table.name(row) for row in sorted(missing)]
        is_float = table.labels.dtype.kind == "f"
        texts = [f"{label:g}" if is_float else str(label) for label in table.labels.tolist()]
        labels |= {table.name(row): text for row, text in enumerate(texts) if row not in missing}
    return Contents(
        files=Files(tuple(rows), read),
        root=None,
        images=tuple(table.name(row) for table in shown for row in np.flatnonzero(table.shown)),
        sounds=(),
        videos=(),
        others=(),
        parts={name: table.part for name, (table, _) in rows.items() if table.part},
        labels=labels,
        unlabelled=tuple(unlabelled),
        absent={},
    )


def cleaned(path: Path, drops: Mapping[str, Sequence[int]], repairs: Sequence[str], into: Path) -> int:
    """Write the arrays of a file without some rows, those named in `repairs` as training wants them; how many rows
    these have."""

    def mended(key: str, values: np.ndarray) -> np.ndarray:
        values = np.delete(values, list(drops.get(key, ())), axis=0) if drops.get(key) else np.asarray(values)
        if key not in repairs:
            return values
        return values.astype(np.uint8) if values.dtype.kind in "iu" else (values / 255).astype(np.float32)

    tables, _ = load(path, None)
    if path.suffix.lower() == ".npy":
        values = mended(tables[0].key, tables[0].values)
        np.save(into, values)
        return len(values) if repairs else 0
    archive = _archive(path)
    beside = {table.label_key: table.key for table in tables if table.label_key is not None}
    arrays = {key: mended(key, archive[key]) for key in archive.files if key not in beside}
    for label_key, key in beside.items():
        labels = archive[label_key]
        fits = len(labels) == len(archive[key])
        arrays[label_key] = np.delete(labels, list(drops.get(key, ())), axis=0) if fits else labels
        if fits and labels.dtype.kind == "f" and np.isfinite(arrays[label_key]).all():
            whole = arrays[label_key].astype(np.int64)
            arrays[label_key] = whole if (whole == arrays[label_key]).all() else arrays[label_key]
    with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED) as packed:  # np.savez cannot take an array called "file"
        for key, values in arrays.items():
            with packed.open(f"{key}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, values, allow_pickle=False)
    return sum(len(arrays[key]) for key in repairs)


def _has_part(path: Path, archive: np.lib.npyio.NpzFile, part: str) -> bool:
    with suppress(DataError):
        _keys(path, archive, part, None, None)
        return True
    return False


def _without_label(table: Table) -> set[int]:
    labels = table.labels
    if labels is None or labels.ndim != 1 or len(labels) != len(table.values):
        return set()
    if labels.dtype.kind == "f":
        missing = ~np.isfinite(labels)
    elif labels.dtype.kind == "U":
        missing = labels == ""
    elif labels.dtype.kind == "i":
        missing = (labels == -1) if (labels >= -1).all() and (labels >= 0).any() else np.zeros(len(labels), bool)
    else:
        return set()
    return set() if missing.all() else set(np.flatnonzero(missing).tolist())


def _as_images(table: Table) -> np.ndarray | None:
    """The rows as images [N, H, W, C] with 1 or 3 channels, if they are that."""
    values = table.values
    if values.ndim not in (3, 4) or values.dtype.kind not in "uif" or 0 in values.shape:
        return None
    if values.ndim == 3:
        return values[..., None]
    if values.shape[3] in (1, 3):
        return values
    return values.transpose(0, 2, 3, 1) if values.shape[1] in (1, 3) else None


def _scale(table: Table) -> tuple[float, float]:
    """The values that are shown as black and as white."""
    if table.values.dtype == np.uint8:
        return 0.0, 255.0
    usable = table.finite & ~table.outside
    if table.values.dtype.kind == "f" and usable.mean() > 0.5:
        return (0.0, 1.0) if table.lowest[usable].min() >= 0 else (-1.0, 1.0)
    if not table.finite.any():
        return 0.0, 1.0
    low, high = float(table.lowest[table.finite].min()), float(table.highest[table.finite].max())
    return (0.0, 255.0) if low >= 0 and high <= 255 else (low, high)
