"""What was found in a set of data as one HTML page that needs nothing else, with small pictures of the findings."""

import base64
import io
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from PIL import Image

from equipoise.core.disk import disk_errors, replace_file
from equipoise.core.errors import DataError
from equipoise.data.files import natural_order
from equipoise.data.inspection import tables
from equipoise.data.inspection.contents import contents_of
from equipoise.data.inspection.findings import KINDS, Finding, Inspection
from equipoise.data.inspection.inspect import picture_of
from equipoise.version import __version__

_PAGE_BYTES = 2_000_000  # of all pictures together
_MAX_TILES = 12  # of a kind
_MAX_GROUPS = 9
_MAX_MEMBERS = 4
_MAX_LINES = 20
_MAX_CLASSES = 100
_SIDE = 176
_SMALL = 64
_TONES = {"critical": "bad", "warning": "warn", "note": "calm"}
_GROUPED = ("contradiction", "leak", "duplicate", "near-duplicate")


def write_page(inspection: Inspection, out: Path) -> Path:
    """Write the page of an inspection to a file of its own and return its path. The data has to be where it was."""
    template = resources.files("equipoise.data.inspection").joinpath("page.html.jinja").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    path = Path(inspection.path)
    command = f"equipoise data check {shlex.quote(inspection.path)}" + _part(inspection)
    views = _Views(_reader(path, inspection.part))
    page = environment.from_string(template).render(
        title=path.name or str(path.resolve()),
        version=__version__,
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        status=_status(inspection),
        cards=_cards(inspection),
        kinds=[_kind(name, findings, views) for name, findings in inspection.by_kind().items()],
        unseen=inspection.unseen,
        classes=_classes(inspection),
        more_classes=max(0, len(inspection.classes) - _MAX_CLASSES),
        all_command=f"{command} --json",
        commands=_commands(inspection, command),
    )
    content = page.encode("utf-8", "replace")
    with disk_errors("writing the page", out.absolute().parent, num_bytes=len(content)):
        out.parent.mkdir(parents=True, exist_ok=True)
        replace_file(out, content)
    return out


@dataclass(frozen=True)
class _Tile:
    name: str
    text: str
    source: str
    small: bool
    kept: str = ""


class _Views:
    """Small pictures for a page, until the page is large enough."""

    def __init__(self, picture: Callable[[str], Image.Image]):
        self.picture = picture
        self.num_bytes = 0

    def tile(self, name: str, text: str, kept: str = "") -> _Tile:
        try:
            image = self.picture(name) if self.num_bytes < _PAGE_BYTES else None
        except (DataError, KeyError):
            image = None
        if image is None:
            return _Tile(name, text, "", False, kept)
        small = max(image.size) <= _SMALL
        image.thumbnail((_SIDE, _SIDE))
        buffer = io.BytesIO()
        form = "PNG" if small else "JPEG"
        image.save(buffer, form, **({"optimize": True} if small else {"quality": 80}))
        data = buffer.getvalue()
        self.num_bytes += len(data) * 4 // 3
        return _Tile(name, text, f"data:image/{form.lower()};base64,{base64.b64encode(data).decode()}", small, kept)


def _reader(path: Path, part: str | None) -> Callable[[str], Image.Image]:
    if path.is_file() and path.suffix.lower() in (".npy", ".npz"):
        files = tables.contents_of_tables([table for table in tables.load(path, part)[0] if table.values.ndim]).files
    else:
        files = contents_of(path, part).files
    return lambda name: picture_of(files, name)


def _kind(name: str, findings: Sequence[Finding], views: _Views) -> dict[str, object]:
    kind = KINDS[name]
    groups, tiles, lines = [], [], []
    for finding in findings:
        if name in _GROUPED:
            if len(groups) < _MAX_GROUPS:
                groups.append(_group(finding, views))
        elif len(finding.paths) == 1 and name not in ("absent-file", "ignored-file", "refused", "range"):
            if len(tiles) < _MAX_TILES:
                tiles.append(views.tile(finding.paths[0], finding.explanation))
        elif len(lines) < _MAX_LINES:
            some = ", ".join(finding.paths[:3]) + (f" and {len(finding.paths) - 3} more" * (len(finding.paths) > 3))
            lines.append((some, finding.explanation))
    if tiles and not any(tile.source for tile in tiles):  # sounds, or files that show nothing
        lines += [(tile.name, tile.text) for tile in tiles]
        tiles = []
    severity = findings[0].severity
    return {
        "name": name,
        "title": kind.title,
        "why": kind.why,
        "rule": kind.rule,
        "severity": severity,
        "tone": _TONES[severity],
        "count": f"{len(findings):,}",
        "badge": f"{len(findings):,} {severity}{'s' * (len(findings) > 1 and severity != 'critical')}",
        "groups": groups,
        "tiles": tiles,
        "lines": lines,
        "more": f"{len(findings) - len(groups) - len(tiles) - len(lines):,}"
        if len(findings) > len(groups) + len(tiles) + len(lines)
        else "",
    }


def _group(finding: Finding, views: _Views) -> dict[str, object]:
    names = [*finding.partners, *finding.paths]
    tiles = [views.tile(name, "", "kept" if name in finding.partners else "") for name in names[:_MAX_MEMBERS]]
    more = f" {len(names) - _MAX_MEMBERS:,} of them are not shown." if len(names) > _MAX_MEMBERS else ""
    return {"text": finding.explanation + more, "tiles": tiles}


def _status(inspection: Inspection) -> dict[str, str]:
    number = {s: sum(f.severity == s for f in inspection.findings) for s in _TONES}
    worst = next((severity for severity, count in number.items() if count), None)
    words = {"critical": "critical findings", "warning": "warnings", "note": "notes only", None: "clean"}
    looked = " · ".join(f"{count:,} {medium}" for medium, count in inspection.counts.items())
    sentence = f"{looked} were looked at, each of them decoded once." if looked else "nothing could be read."
    source = f"{inspection.path}{f', part {inspection.part}' if inspection.part else ''}"
    return {
        "word": words[worst],
        "tone": _TONES.get(worst or "", "good"),
        "sentence": f"{source}: {sentence}",
    }


def _cards(inspection: Inspection) -> list[tuple[str, str, str]]:
    cards = [(medium.capitalize(), f"{count:,}", "") for medium, count in inspection.counts.items()]
    if inspection.parts:
        cards[0] = (cards[0][0], cards[0][1], ", ".join(f"{part} {n:,}" for part, n in inspection.parts.items()))
    if inspection.classes:
        sizes = sorted(inspection.classes.values())
        cards.append(("Classes", f"{len(sizes):,}", f"{sizes[0]:,} to {sizes[-1]:,} examples"))
    for severity, what in (("critical", "stands in the way"), ("warning", "does harm"), ("note", "good to know")):
        cards.append((severity.capitalize(), f"{sum(f.severity == severity for f in inspection.findings):,}", what))
    return cards


def _classes(inspection: Inspection) -> list[tuple[str, str, float]]:
    largest = max(inspection.classes.values(), default=1)
    names = sorted(inspection.classes, key=natural_order)[:_MAX_CLASSES]
    return [(n, f"{inspection.classes[n]:,}", round(100 * inspection.classes[n] / largest, 1)) for n in names]


def _commands(inspection: Inspection, command: str) -> list[tuple[str, str]]:
    source = shlex.quote(inspection.path)
    commands = []
    if any(finding.action != "keep" for finding in inspection.findings):
        out = shlex.quote(f"{Path(inspection.path).with_suffix('').name}-clean")
        purpose = "Writes a cleaned copy; every decision is in its cleaning.jsonl. The original stays as it is."
        commands.append((f"equipoise data clean {source} {out}{_part(inspection)}", purpose))
    commands.append((f"{command} --json", "All findings with their evidence, for programs."))
    trainable = inspection.counts.keys() & {"images", "rows"}
    if trainable and not any(finding.severity == "critical" for finding in inspection.findings):
        commands.append((f"equipoise train --data {source}", "Trains on this data."))
    return commands


def _part(inspection: Inspection) -> str:
    return f" --part {shlex.quote(inspection.part)}" if inspection.part else ""
