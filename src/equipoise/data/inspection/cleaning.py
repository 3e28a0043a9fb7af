"""A cleaned copy of a set of data: the original is only read, and every decision is written down."""

import io
import json
import os
import re
import shutil
import zipfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import final

from equipoise.core.errors import DataError, RecipeError, nearest
from equipoise.data.inspection import sounds, tables
from equipoise.data.inspection.contents import Contents, contents_of
from equipoise.data.inspection.findings import KINDS, Finding, Inspection, found
from equipoise.data.inspection.inspect import Progress, inspected, picture_of
from equipoise.data.outlet import new_folder, refuse_bad_target

LOG = "cleaning.jsonl"
_GROUPS = ("contradiction", "leak", "duplicate", "near-duplicate")


@final
@dataclass(frozen=True)
class Decision:
    """What was done with one file or row, and why."""

    path: str
    """Empty where it is about the whole set."""
    kind: str
    action: str
    """"drop", "repair" or "keep"."""
    reason: str
    written_as: str | None = None
    """Its name in the copy, where that is another one."""


@final
@dataclass(frozen=True)
class Cleaning:
    """What became of a set."""

    out: Path
    log: Path
    num_examples: int
    dropped: int
    repaired: int
    decisions: tuple[Decision, ...]
    trainable: Path | None
    """What `equipoise train --data` takes: the copy, or the array in it. None if something stands in its way."""
    unmended: tuple[Finding, ...]
    """Critical findings that are true of the copy, too."""

    @property
    def written(self) -> int:
        """Examples in the copy."""
        return self.num_examples - self.dropped


def clean(
    path: str | Path,
    out: str | Path,
    *,
    part: str | None = None,
    keep: Collection[str] = (),
    progress: Progress | None = None,
) -> Cleaning:
    """Write a cleaned copy of the data at `path` into the new folder `out`, by the rule of each kind of finding.

    `keep` names kinds that are to be left as they are. What has no finding is copied byte for byte.
    `out`/cleaning.jsonl holds a line for each decision. The copy is complete or not there at all, and the original is
    only read. A `DataError` if `out` touches the data or is not empty, or if no example would be left; a `DiskError` if
    the disk is full.
    """
    path, out = Path(path).expanduser(), Path(out).expanduser()
    for kind in keep:
        if kind not in KINDS:
            raise RecipeError(f"keep: there is no kind of finding called {kind!r}. {nearest(kind, KINDS)}")
    if path.exists():
        refuse_bad_target(path, out)
    inspection = inspected(path, part=part, progress=progress)
    if path.is_file() and path.suffix.lower() in (".npy", ".npz"):
        return _clean_table(path, out, inspection, set(keep))
    contents = contents_of(path, part)
    decisions = decided(inspection.findings, set(keep))
    dropped = {decision.path for decision in decisions if decision.action == "drop"}
    num_dropped = len(dropped.intersection(contents.examples))  # links that lead nowhere are no examples
    _refuse_nothing_left(path, len(contents.examples) - num_dropped, inspection, decisions)
    mends: dict[str, set[str]] = {}
    for decision in decisions:
        if decision.action == "repair" and decision.path not in dropped and decision.kind != "absent-file":
            mends.setdefault(decision.path, set()).add(decision.kind)
    names = _new_names(contents, dropped, mends)
    usual = _usual(inspection)

    with new_folder(path, out, num_bytes=_size(path, contents)) as folder:
        copied = [*contents.examples, *(contents.others if part is None else ())]
        for number, name in enumerate(copied, 1):
            if name in dropped:
                continue
            target = folder / names.get(name, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            if name in mends:
                target.write_bytes(_mended(contents, name, mends[name], usual))
            elif contents.root is not None:
                shutil.copyfile(contents.root / name, target)
            else:
                target.write_bytes(contents.files.read(name))
            if progress is not None:
                progress("files copied", number, len(copied))
        for index in contents.indices:
            _write_index(folder / index, contents, index, names, set(copied) - dropped)
        decisions = tuple(
            Decision(d.path, d.kind, d.action, d.reason, names.get(d.path)) if d.action == "repair" else d
            for d in decisions
        )
        log = _write_log(folder, decisions)
    unmended = _unmended(inspection, keep)
    if not unmended and len(contents.examples) - num_dropped == 1:
        unmended = (found("refused", (), "1 example is left. Expected at least 2 to learn from.", evidence={}),)
    return Cleaning(
        out=out,
        log=out / log,
        num_examples=len(contents.examples),
        dropped=num_dropped,
        repaired=len(mends),
        decisions=decisions,
        trainable=out if contents.images and not unmended else None,
        unmended=unmended,
    )


def decided(findings: Collection[Finding], keep: Collection[str] = ()) -> tuple[Decision, ...]:
    """What to do with every file that has a finding. Single files first, then what is at fault only together.

    Of examples that are the same in several files one is kept, unless their labels contradict each other: whoever was
    dropped for another reason does not count any more.
    """
    decisions: list[Decision] = []
    gone: set[str] = set()

    def decide(finding: Finding, name: str, action: str) -> None:
        if finding.kind in keep:
            action = "keep"
        reason = finding.explanation if action == finding.action else f"{finding.explanation} Kept, as asked for."
        if action == "drop":
            gone.add(name)
        decisions.append(Decision(name, finding.kind, action, reason))

    for finding in findings:
        if finding.kind not in _GROUPS:
            for name in finding.paths or ("",):  # what is said of the whole set is no file's fault
                decide(finding, name, finding.action)
    for kind in _GROUPS:
        for finding in findings:
            if finding.kind != kind:
                continue
            rivals = [name for name in (*finding.partners, *finding.paths) if name not in gone]
            for name in finding.paths:
                if name in gone:
                    continue
                # The first of those that are left stays; of a contradiction none does.
                if len(rivals) > 1 and (kind == "contradiction" or name != rivals[0]):
                    decide(finding, name, "drop")
    return tuple(decisions)


@dataclass(frozen=True)
class _Usual:
    channels: int
    rate: int
    sound_channels: int


def _usual(inspection: Inspection) -> _Usual:
    """What the others are, as the findings say."""
    grey, rate, sound_channels = False, 0, 0
    for finding in inspection.findings:
        usual = finding.evidence.get("usual", 0)
        if finding.kind == "mode" and isinstance(usual, str):
            grey = "grey" in usual
        elif finding.kind == "mode":
            sound_channels = int(usual)
        elif finding.kind == "sample-rate":
            rate = int(usual)
    return _Usual(1 if grey else 3, rate, sound_channels)


def _mended(contents: Contents, name: str, kinds: Collection[str], usual: _Usual) -> bytes:
    if name in contents.sounds:
        values, rate = sounds.samples(name, contents.files.read(name))
        channels = usual.sound_channels if "mode" in kinds else values.shape[1]
        return sounds.as_wave(values, rate, usual.rate if "sample-rate" in kinds else rate, channels)
    image = picture_of(contents.files, name)
    if "mode" in kinds:
        image = image.convert("L" if usual.channels == 1 else "RGB")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _new_names(contents: Contents, dropped: set[str], mends: Mapping[str, object]) -> dict[str, str]:
    """Repaired files become .png or .wav; no name is used twice."""
    taken = {name.lower() for name in (*contents.examples, *contents.others) if name not in mends}
    names = {}
    for name in mends:
        path = PurePosixPath(name)
        suffix = ".wav" if name in contents.sounds else ".png"
        new, number = str(path.with_suffix(suffix)), 2
        while new.lower() in taken:
            new, number = str(path.with_name(f"{path.stem}-{number}{suffix}")), number + 1
        taken.add(new.lower())
        if new != name:
            names[name] = new
    return names


def _write_index(path: Path, contents: Contents, index: str, names: Mapping[str, str], left: set[str]) -> None:
    """The dataset.json of the copy: without what was dropped, with the new names."""
    root = index.removesuffix("dataset.json")
    try:
        content = json.loads(contents.files.read(index))
        rows = content["labels"]
        if rows is not None:
            kept = [(root + str(name), label) for name, label in rows if root + str(name) in left]
            content["labels"] = [[names.get(name, name).removeprefix(root), label] for name, label in kept]
    except (DataError, ValueError, TypeError, KeyError):
        return  # a finding says so; what it should be cannot be told
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def _write_log(folder: Path, decisions: Collection[Decision]) -> str:
    log, number = LOG, 2
    while (folder / log).exists():  # of a copy that is cleaned again
        log, number = f"cleaning-{number}.jsonl", number + 1
    lines = "".join(json.dumps(asdict(decision)) + "\n" for decision in decisions)
    (folder / log).write_text(lines, encoding="utf-8")
    return log


def _size(path: Path, contents: Contents) -> int:
    if path.is_file():
        with zipfile.ZipFile(path) as archive:
            return sum(info.file_size for info in archive.infolist())
    names: Iterator[str] = iter(contents.files.names if contents.root is not None else os.listdir(path))
    return sum(os.path.getsize(path / name) for name in names)


def _clean_table(path: Path, out: Path, inspection: Inspection, keep: set[str]) -> Cleaning:
    if any(finding.kind == "corrupt" for finding in inspection.findings):
        raise DataError(f"{path} cannot be read, so nothing can be saved from it. Save it again.")
    decisions = decided(inspection.findings, keep)
    num_examples = inspection.counts.get("rows", 0)
    rows: dict[str, list[int]] = {}
    dropped = {decision.path for decision in decisions if decision.action == "drop"}
    for name in dropped:
        match = re.fullmatch(r"(.*)\[(\d+)\]", name, re.DOTALL)
        if match is not None:
            rows.setdefault(match[1], []).append(int(match[2]))
    _refuse_nothing_left(path, num_examples - len(dropped), inspection, decisions)
    repairs = [decision.path for decision in decisions if decision.action == "repair"]
    with new_folder(path, out, num_bytes=path.stat().st_size) as folder:
        num_repaired = tables.cleaned(path, rows, repairs, folder / path.name)
        log = _write_log(folder, decisions)
    copy = out / path.name
    unmended = _unmended(inspection, keep) or tuple(tables.check_refusals(copy, inspection.part, ()))
    return Cleaning(
        out=out,
        log=out / log,
        num_examples=num_examples,
        dropped=len(dropped),
        repaired=num_repaired,
        decisions=decisions,
        trainable=None if unmended else copy,
        unmended=unmended,
    )


def _unmended(inspection: Inspection, keep: Collection[str]) -> tuple[Finding, ...]:
    return tuple(f for f in inspection.findings if f.severity == "critical" and (f.action == "keep" or f.kind in keep))


def _refuse_nothing_left(path: Path, left: int, inspection: Inspection, decisions: Collection[Decision]) -> None:
    if left:
        return
    dropped = Counter(decision.kind for decision in decisions if decision.action == "drop")
    if not dropped:
        raise DataError(" ".join(f.explanation for f in inspection.findings) or f"{path} holds no examples.")
    reasons = ", ".join(f"{KINDS[kind].title} {number:,}" for kind, number in dropped.items())
    raise DataError(
        f"No example of {path} would be left ({reasons}), so nothing was written. Expected at least 1. See them with "
        f"`equipoise data check`; --keep {' '.join(dropped)} leaves them as they are."
    )
