"""What can be wrong with data: the kinds, a finding with its evidence, and all findings of a set."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, final

Severity = Literal["note", "warning", "critical"]
Action = Literal["drop", "repair", "keep"]

SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "note")
"""Most severe first."""


@final
@dataclass(frozen=True)
class Kind:
    """One thing that can be wrong, and what `clean` does about it."""

    title: str
    severity: Severity
    action: Action
    why: str
    """Why it matters, in a sentence."""
    rule: str
    """What `clean` does, in a sentence."""


KINDS: dict[str, Kind] = {
    "empty-file": Kind(
        "Empty file", "critical", "drop", "It has 0 bytes: a copy or a download broke off.", "Left out."
    ),
    "unreadable": Kind(
        "File that cannot be read",
        "critical",
        "drop",
        "The file system or the archive does not give it out.",
        "Left out.",
    ),
    "not-an-image": Kind(
        "Not an image",
        "critical",
        "drop",
        "It is called an image and is something else, often a page that says “not found”.",
        "Left out.",
    ),
    "truncated": Kind(
        "Truncated file", "critical", "drop", "Its end is missing: a copy or a download broke off.", "Left out."
    ),
    "corrupt": Kind(
        "Corrupt file",
        "critical",
        "drop",
        "Some of its bytes are not what was written; what it shows may be shifted or wrong.",
        "Left out.",
    ),
    "bomb": Kind(
        "Decompression bomb",
        "critical",
        "drop",
        "A small file declares a huge picture; decoding it would take the machine's memory.",
        "Left out, never decoded.",
    ),
    "no-range": Kind(
        "Pixels without a fixed range",
        "critical",
        "drop",
        "32-bit integers or floats do not say what is black and what is white, so training refuses them.",
        "Left out; save them with 8 or 16 bits.",
    ),
    "refused": Kind(
        "Refused by training",
        "critical",
        "keep",
        "`equipoise train` would not open this set as it is.",
        "Nothing; what to do stands beside it.",
    ),
    "contradiction": Kind(
        "Contradictory labels",
        "critical",
        "drop",
        "The same example belongs to two classes; which one is right cannot be told.",
        "All copies are left out.",
    ),
    "missing-label": Kind(
        "Missing label",
        "critical",
        "drop",
        "It has no class where the others have one, so training refuses the set.",
        "Left out.",
    ),
    "absent-file": Kind(
        "Label without a file",
        "critical",
        "repair",
        "dataset.json names a file that is not there: the copy may be incomplete.",
        "The entry is left out of the new dataset.json.",
    ),
    "not-finite": Kind(
        "Values that are not finite",
        "critical",
        "drop",
        "One NaN or infinity makes every loss and every weight NaN.",
        "The rows are left out.",
    ),
    "range": Kind(
        "Values out of range",
        "critical",
        "drop",
        "Floats have to lie in [0, 1] or in [-1, 1], or training refuses them.",
        "Single rows are left out; a whole array in 0..255 is divided by 255; else nothing is guessed.",
    ),
    "leak": Kind(
        "In training and in test",
        "warning",
        "drop",
        "The same example is in two parts: a score on the test part counts what was learned by heart.",
        "Left out of the training part; the test part stays as it is.",
    ),
    "duplicate": Kind(
        "Exact duplicate",
        "warning",
        "drop",
        "The same example several times is learned more often than the others, and memorised first.",
        "The first is kept, by name; the others are left out.",
    ),
    "near-duplicate": Kind(
        "Near duplicate",
        "warning",
        "drop",
        "The same picture, encoded again, resized or a little brighter, counts several times.",
        "The one with most pixels is kept (of equals the first, by name); the others are left out.",
    ),
    "blank": Kind("Blank", "warning", "drop", "All values are the same: nothing can be learned from it.", "Left out."),
    "nearly-blank": Kind(
        "Nearly blank",
        "warning",
        "drop",
        "It hardly differs from one even colour, unlike the rest of the set.",
        "Left out.",
    ),
    "too-small": Kind(
        "Much smaller than the rest",
        "warning",
        "drop",
        "By default all images are brought to the shortest side found, so one small image shrinks them all.",
        "Left out.",
    ),
    "odd-shape": Kind(
        "Extreme aspect ratio",
        "warning",
        "drop",
        "Cropped to a square, most of it is lost; stretched, it is distorted.",
        "Left out.",
    ),
    "mode": Kind(
        "Other kind of pixels",
        "warning",
        "repair",
        "It is stored unlike nearly all others (grey among colour, CMYK, palette, transparency, stereo among mono).",
        "Converted to what the others are; transparency is laid over white. The copy is a PNG or a WAV.",
    ),
    "animated": Kind(
        "Several frames",
        "warning",
        "repair",
        "An animation or a stack of pages: only its first frame is used.",
        "The first frame is kept, as a PNG.",
    ),
    "few-examples": Kind(
        "Class with too few examples",
        "warning",
        "keep",
        "What a class looks like cannot be learned from a handful of examples; they are memorised.",
        "Nothing: add examples, or take the class out.",
    ),
    "silent": Kind("Silence", "warning", "drop", "There is nothing to hear in it.", "Left out."),
    "clipped": Kind(
        "Clipped sound",
        "warning",
        "drop",
        "Its peaks are cut off at full scale; a generator learns the distortion.",
        "Left out.",
    ),
    "sample-rate": Kind(
        "Other sample rate",
        "warning",
        "repair",
        "Read at the rate of the others it is too high or too low, too fast or too slow.",
        "Resampled to the rate of the others, as a WAV of 16 bits.",
    ),
    "too-short": Kind(
        "Much shorter than the rest", "warning", "drop", "It is too short to hold what the others hold.", "Left out."
    ),
    "orientation": Kind(
        "Turned by an EXIF tag",
        "note",
        "repair",
        "Programs that do not read the tag show it turned. Equipoise does read it.",
        "The pixels are turned and the tag is left out. The copy is a PNG.",
    ),
    "outlier": Kind(
        "Unlike all others",
        "note",
        "keep",
        "Its statistics are far from those of the set: look whether it belongs.",
        "Nothing: only a person can tell.",
    ),
    "imbalance": Kind(
        "Unequal classes",
        "note",
        "keep",
        "The largest class has more than ten times as many examples as the smallest.",
        "Nothing.",
    ),
    "ignored-file": Kind(
        "Picture that is ignored",
        "note",
        "keep",
        "By its suffix it is a picture or a recording of a format that Equipoise does not read.",
        "Copied as it is; convert it to be used.",
    ),
}
"""All kinds of findings by name, the most severe first. The severity is the usual one: a finding may differ."""


@final
@dataclass(frozen=True)
class Finding:
    """An instance of a kind, with what speaks for it."""

    kind: str
    paths: tuple[str, ...]
    """The files (or rows: "images[17]") it is about, and that `clean` would act on."""
    evidence: Mapping[str, float | int | str]
    explanation: str
    """What is the matter with these files, in a sentence with the numbers."""
    partners: tuple[str, ...] = ()
    """Files they were compared with and that are not at fault: the kept one of duplicates."""
    severity: Severity = "note"
    action: Action = "keep"

    @property
    def title(self) -> str:
        """The name of the kind, for people."""
        return KINDS[self.kind].title

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "evidence": dict(self.evidence), "title": self.title, "clean": KINDS[self.kind].rule}


def found(
    kind: str,
    paths: tuple[str, ...],
    explanation: str,
    *,
    evidence: Mapping[str, float | int | str],
    partners: tuple[str, ...] = (),
) -> Finding:
    """A finding with the usual severity and action of its kind."""
    known = KINDS[kind]
    return Finding(kind, paths, evidence, explanation, partners, known.severity, known.action)


@final
@dataclass(frozen=True)
class Inspection:
    """What a look at a set of data has found."""

    path: str
    part: str | None
    fingerprint: str
    """SHA-256 of the content that was looked at."""
    counts: Mapping[str, int]
    """How many examples there are, by medium: images, sounds, videos, rows."""
    parts: Mapping[str, int]
    """Examples by part (train, test, …); empty where there is only one."""
    classes: Mapping[str, int]
    """Examples by class; empty where there are no labels."""
    findings: tuple[Finding, ...]
    """The most severe first."""
    unseen: tuple[str, ...] = ()
    """What could not be looked at, and why."""
    seconds: float = 0.0
    """How long the look took, when it was taken."""
    remembered: bool = False
    """Whether the answer comes from the cache."""

    @property
    def exit_code(self) -> int:
        """0 without findings or with notes only, 10 with warnings, 20 with a critical one."""
        severities = {finding.severity for finding in self.findings}
        return 20 if "critical" in severities else 10 if "warning" in severities else 0

    def by_kind(self) -> dict[str, list[Finding]]:
        """The findings of each kind, the most severe kinds first."""
        groups: dict[str, list[Finding]] = {}
        for finding in self.findings:
            groups.setdefault(finding.kind, []).append(finding)
        return groups

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON; `inspection_from` reads it back."""
        return {
            "path": self.path,
            "part": self.part,
            "fingerprint": self.fingerprint,
            "counts": dict(self.counts),
            "parts": dict(self.parts),
            "classes": dict(self.classes),
            "findings": [finding.as_dict() for finding in self.findings],
            "unseen": list(self.unseen),
            "seconds": self.seconds,
            "remembered": self.remembered,
            "exit_code": self.exit_code,
        }


def inspection_from(content: Mapping[str, Any]) -> Inspection:
    """An inspection from the plain data of `Inspection.as_dict`. A `KeyError` or `TypeError` where it is none."""
    return Inspection(
        path=content["path"],
        part=content["part"],
        fingerprint=content["fingerprint"],
        counts=content["counts"],
        parts=content["parts"],
        classes=content["classes"],
        findings=tuple(
            Finding(
                kind=row["kind"],
                paths=tuple(row["paths"]),
                evidence=row["evidence"],
                explanation=row["explanation"],
                partners=tuple(row["partners"]),
                severity=row["severity"],
                action=row["action"],
            )
            for row in content["findings"]
        ),
        unseen=tuple(content["unseen"]),
        seconds=content["seconds"],
    )


def most_severe_first(findings: list[Finding]) -> tuple[Finding, ...]:
    """By severity, then in the order of the kinds, then as they came."""
    order = {kind: number for number, kind in enumerate(KINDS)}
    return tuple(sorted(findings, key=lambda finding: (SEVERITIES.index(finding.severity), order[finding.kind])))


def as_warning(finding: Finding) -> Finding:
    """The same finding, less severe."""
    return replace(finding, severity="warning")
