"""A look at a set of data: what is wrong with it, remembered by content."""

import functools
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from equipoise.core.errors import DataError
from equipoise.data.files import Files, natural_order
from equipoise.data.images import decode
from equipoise.data.inspection import checks, pictures, sounds, tables, videos
from equipoise.data.inspection.cache import entry_for, remember, remembered
from equipoise.data.inspection.contents import Contents, contents_of, empty_folders, refuse_other_forms, thinned
from equipoise.data.inspection.findings import Finding, Inspection, found, most_severe_first
from equipoise.data.inspection.outliers import outliers

Progress = Callable[[str, int, int], None]
"""Told what is looked at ("images"), how many are done, and of how many."""


def inspected(
    path: str | Path,
    *,
    part: str | None = None,
    most: int | None = None,
    fresh: bool = False,
    progress: Progress | None = None,
) -> Inspection:
    """What is wrong with the data at `path`: a folder or .zip of images, sounds or videos, shards, an .npy or .npz.

    `part` looks at "train", "test" or a sub-folder alone; without it all parts are compared with each other. Of more
    than `most` images, sounds or videos only so many are opened, as good as drawn. Nothing is written but a note in
    the user's cache (`cache.cache_folder`): the same content is looked at once, unless `fresh`. A `DataError` where
    there is nothing to look at.
    """
    path = Path(path).expanduser()
    is_table = path.is_file() and path.suffix.lower() in (".npy", ".npz")
    if not is_table:
        refuse_other_forms(path)
    # Besides the files, what a look depends on.
    asked = [part, sounds.can_read_all(), videos.can_read(), empty_folders(path) if path.is_dir() else ()]
    entry = entry_for(path, json.dumps(asked))
    known = None if fresh else remembered(path, entry)
    if known is None and most is not None:
        entry = entry_for(path, json.dumps([*asked, most]))
        known = None if fresh else remembered(path, entry)
    if known is not None:
        return known

    start = time.monotonic()
    told = progress or (lambda what, done, total: None)
    if is_table:
        findings, contents, unseen = _look_at_tables(path, part, most, told)
        counts = {"rows": len(contents.files.names)}
    else:
        contents = contents_of(path, part)
        if not contents.examples:
            raise DataError(f"{path} holds {len(contents.others)} files and no images, sounds or videos to look at.")
        findings, unseen = _look_at_files(contents, most, told)
        counts = {medium: len(getattr(contents, medium)) for medium in ("images", "sounds", "videos")}
    inspection = Inspection(
        path=str(path),
        part=part,
        fingerprint=entry.fingerprint,
        counts={medium: number for medium, number in counts.items() if number},
        parts=_counted(contents.parts.values(), checks.rank),
        classes=_counted(contents.labels.values(), natural_order),
        findings=most_severe_first(findings),
        unseen=tuple(unseen),
        seconds=round(time.monotonic() - start, 2),
    )
    remember(path, entry, inspection)
    return inspection


def picture_of(files: Files, name: str) -> Image.Image:
    """An image as training sees it, grey or RGB."""
    pixels = decode(files.read(name))
    return Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0).copy())


def _look_at_files(contents: Contents, most: int | None, progress: Progress) -> tuple[list[Finding], list[str]]:
    findings = [*checks.labels(contents), *checks.classes(contents), *checks.ignored(contents), *checks.links(contents)]
    contents, unseen = _some(contents, most)
    if contents.images:
        findings += _look_at_images(contents, progress)
    if contents.sounds:
        told = functools.partial(_tell, progress, "sounds", len(contents.sounds))
        heard, deaf = sounds.look_at(contents.files, contents.sounds, told)
        findings += sounds.check(heard, contents)
        unseen += [
            f"{number} sounds could not be looked at: {reason}: pip install 'equipoise[sound]'."
            for reason, number in Counter(one.reason for one in deaf).items()
        ]
    if contents.videos and not videos.can_read():
        unseen.append(
            f"{len(contents.videos)} videos could not be looked at without PyAV: pip install 'equipoise[video]'."
        )
    elif contents.videos:
        told = functools.partial(_tell, progress, "videos", len(contents.videos))
        seen = videos.look_at(contents, told)
        findings += videos.check(seen, contents)
    return findings, unseen


def _look_at_images(contents: Contents, progress: Progress) -> list[Finding]:
    told = functools.partial(_tell, progress, "images", len(contents.images))
    looked = pictures.look_at(contents.files, contents.images, told)
    findings = [
        *checks.unreadable(looked.every),
        *checks.blank(looked.facts),
        *checks.too_small(looked.facts),
        *checks.odd_shape(looked.facts),
        *checks.other_mode(looked.facts),
        *checks.animated(looked.facts),
        *checks.turned(looked.facts),
    ]
    accused = {name for finding in findings for name in finding.paths}
    findings += checks.alike(looked, contents, lambda name: picture_of(contents.files, name))
    findings += outliers(looked, accused)
    if len(looked.facts) < 2:
        text = f"{len(looked.facts)} images can be read. Expected at least 2 to learn from; add more."
        findings.append(found("refused", (), text, evidence={"readable": len(looked.facts)}))
    return findings


def _some(contents: Contents, most: int | None) -> tuple[Contents, list[str]]:
    """At most so many of the examples, and what is said of the others."""
    fewer = contents if most is None else thinned(contents, most)
    if len(fewer.examples) == len(contents.examples):
        return contents, []
    shares = f"{len(fewer.examples):,} of {len(contents.examples):,}"
    return fewer, [f"Only {shares} examples were opened, as good as drawn: `equipoise data check` looks at all."]


def _look_at_tables(
    path: Path, part: str | None, most: int | None, progress: Progress
) -> tuple[list[Finding], Contents, list[str]]:
    found_tables, findings = tables.load(path, part)
    for table in found_tables:
        findings += tables.check_values(table)
    found_tables = [table for table in found_tables if table.values.ndim]
    contents = tables.contents_of_tables(found_tables)
    for table in found_tables:
        findings += tables.check_labels(table)
    findings += checks.classes(contents)
    findings += tables.check_vectors(found_tables, contents)
    fewer, unseen = _some(contents, most)
    if fewer.images:
        findings += _look_at_images(fewer, progress)
    findings += tables.check_refusals(path, part, findings)
    return findings, contents, unseen


def _counted(values: Iterable[str], order: Callable[[str], Any]) -> dict[str, int]:
    counts = Counter(values)
    return {value: counts[value] for value in sorted(counts, key=order)}


def _tell(progress: Progress, what: str, total: int, done: int) -> None:
    progress(what, done, total)
