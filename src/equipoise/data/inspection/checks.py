"""The checks of images and classes: one function for each thing that can be wrong, each yielding findings."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from equipoise.data.files import natural_order
from equipoise.data.inspection.alike import near_duplicates
from equipoise.data.inspection.contents import FOREIGN, Contents, suffix
from equipoise.data.inspection.findings import Finding, found
from equipoise.data.inspection.pictures import Facts, Pictures

FLAT_SPREAD = 3.0
"""Standard deviation below which an image hardly differs from an even colour …"""
FLAT_SHARE = 0.125
"""… if that is also less than this share of the set's median."""
SMALL_SHARE = 0.25
"""Of the median shortest side."""
LONG_ASPECT = 3.0
"""Longer side by shorter side, where that is also twice the set's median."""
COMMON = 0.8
"""Share of a set that has to agree before the rest is called different."""
FEW = 0.1
"""Of the median class."""
IMBALANCE = 10


def unreadable(every: Sequence[Facts]) -> Iterator[Finding]:
    """Files that cannot be decoded, or not be trusted: empty, truncated, corrupt, no images, bombs."""
    for facts in every:
        if facts.fault is not None:
            evidence = {"bytes": facts.num_bytes, "reason": facts.reason}
            if facts.width:
                evidence |= {"width": facts.width, "height": facts.height}
            finding = found(facts.fault, (facts.name,), _sentence(facts.reason), evidence=evidence)
            # Training reads it without a word: it does not stand in the way, but it may show anything.
            yield replace(finding, severity="warning") if facts.readable else finding


def blank(facts: Sequence[Facts]) -> Iterator[Finding]:
    """Images of one even colour, or nearly so where the set is not."""
    usual = float(np.median([one.spread for one in facts])) if facts else 0.0
    for one in facts:
        evidence = {"spread": round(one.spread, 3), "lowest": one.low, "highest": one.high, "median spread": usual}
        if one.low == one.high and one.spread == 0:
            yield found("blank", (one.name,), "Every pixel has the same value.", evidence=evidence)
        elif is_flat(one, usual):
            text = f"Its values spread by {one.spread:.1f} of 255; the median of the set is {usual:.0f}."
            yield found("nearly-blank", (one.name,), text, evidence=evidence)


def is_flat(one: Facts, usual: float) -> bool:
    """Whether an image shows next to nothing, in a set whose images usually spread so much."""
    return one.spread == 0 or (one.spread < FLAT_SPREAD and one.spread < FLAT_SHARE * usual)


def too_small(facts: Sequence[Facts]) -> Iterator[Finding]:
    """Images whose shortest side is less than a quarter of the set's median."""
    sides = [min(one.width, one.height) for one in facts]
    usual = float(np.median(sides)) if sides else 0.0
    for one, side in zip(facts, sides, strict=True):
        # Thin strips have a finding of their own.
        if side < SMALL_SHARE * usual and not _is_long(one, 1.0):
            text = f"It has {one.width} × {one.height} pixels; the shortest side is {usual:.0f} in the median."
            evidence = {"width": one.width, "height": one.height, "median side": usual}
            yield found("too-small", (one.name,), text, evidence=evidence)


def odd_shape(facts: Sequence[Facts]) -> Iterator[Finding]:
    """Images more than three times as long as wide, in a set that is not like that."""
    usual = float(np.median([_aspect(one) for one in facts])) if facts else 1.0
    for one in facts:
        if _is_long(one, usual):
            text = f"It has {one.width} × {one.height} pixels: one side is {_aspect(one):.1f} times the other."
            evidence = {"width": one.width, "height": one.height, "aspect": _aspect(one), "median aspect": usual}
            yield found("odd-shape", (one.name,), text, evidence=evidence)


def other_mode(facts: Sequence[Facts]) -> Iterator[Finding]:
    """Images stored unlike at least four fifths of the others."""
    counts = Counter(one.pixels for one in facts)
    if not counts:
        return
    usual, number = counts.most_common(1)[0]
    if number < COMMON * len(facts):
        return
    for one in facts:
        if one.pixels != usual:
            text = f"It is stored as {one.pixels}; {number:,} of {len(facts):,} images as {usual}."
            evidence = {"stored as": one.pixels, "usual": usual, "share of usual": number / len(facts)}
            yield found("mode", (one.name,), text, evidence=evidence)


def animated(facts: Sequence[Facts]) -> Iterator[Finding]:
    """Images of several frames or pages."""
    for one in facts:
        if one.frames > 1:
            text = f"It holds {one.frames} frames; only the first is used."
            yield found("animated", (one.name,), text, evidence={"frames": one.frames})


def turned(facts: Sequence[Facts]) -> Iterator[Finding]:
    """Images with an EXIF orientation other than upright, or with one that does not exist."""
    ways = {
        2: "mirrored",
        3: "turned by 180°",
        4: "mirrored upside down",
        5: "turned and mirrored",
        6: "turned by 90°",
        7: "turned and mirrored",
        8: "turned by 270°",
    }
    for one in facts:
        if one.orientation not in (0, 1):
            way = ways.get(one.orientation)
            text = f"Its pixels are stored {way}." if way else f"Its tag is {one.orientation}; there are 1 to 8 only."
            yield found("orientation", (one.name,), text, evidence={"orientation": one.orientation})


def alike(pictures: Pictures, contents: Contents, picture: Callable[[str], Image.Image]) -> Iterator[Finding]:
    """The same image several times: in one class, in two classes, in training and in test; exactly or nearly."""
    usual = float(np.median([one.spread for one in pictures.facts])) if pictures.facts else 0.0
    shown = [number for number, one in enumerate(pictures.facts) if not is_flat(one, usual)]
    same: dict[str, list[int]] = defaultdict(list)
    for number in shown:
        same[pictures.facts[number].picture].append(number)
    for group in same.values():
        if len(group) > 1:
            copies = [pictures.facts[number] for number in group]
            identical = len({one.digest for one in copies}) == 1
            how = "the same bytes" if identical else "the same pixels"
            names = [one.name for one in copies]
            yield from judged(names, contents, how=how, evidence={"copies": len(group)}, exact=True)

    def preference(number: int) -> tuple:
        one = pictures.facts[number]
        return (-one.width * one.height, natural_order(one.name))

    chosen = sorted((group[0] for group in same.values()), key=preference)
    names = [pictures.facts[number].name for number in chosen]
    groups = near_duplicates(pictures.hashes[chosen], pictures.thumbs[chosen], lambda number: picture(names[number]))
    for first, twins in groups:
        evidence = {
            "bits of the hash": max(twin.distance for twin in twins),
            "difference": round(max(twin.difference for twin in twins), 4),
        }
        how = f"the same picture (it differs by {evidence['difference']:.1%} of its spread at most)"
        # With their exact copies: what is near to one of them is near to all.
        members = [
            pictures.facts[number].name
            for member in (first, *(twin.number for twin in twins))
            for number in same[pictures.facts[chosen[member]].picture]
        ]
        yield from judged(members, contents, how=how, evidence=evidence, exact=False)


def judged(
    names: Sequence[str],
    contents: Contents,
    *,
    how: str,
    evidence: Mapping[str, float | int | str],
    exact: bool,
) -> Iterator[Finding]:
    """What it means that these examples are the same; the first is the one to keep."""
    labels = sorted({contents.labels[name] for name in names if name in contents.labels}, key=natural_order)
    if len(labels) > 1:
        text = f"These {len(names)} examples hold {how} and belong to {_listed(labels)}."
        evidence = {**evidence, "classes": len(labels)}
        finding = found("contradiction", tuple(names), text, evidence=evidence)
        yield finding if exact else replace(finding, severity="warning")
        return
    ranks = {name: rank(contents.parts.get(name)) for name in names}
    last = max(ranks.values())
    stay = [name for name in names if ranks[name] == last]
    leaked = tuple(name for name in names if ranks[name] < last)
    if leaked:
        parts = sorted({contents.parts[name] for name in leaked})
        text = f"{_listed(parts)} and {contents.parts[stay[0]]} hold {how}."
        yield found("leak", leaked, text, evidence=evidence, partners=tuple(stay))
    if len(stay) > 1:
        kind = "duplicate" if exact else "near-duplicate"
        text = f"{len(stay)} examples hold {how}."
        yield found(kind, tuple(stay[1:]), text, evidence=evidence, partners=(stay[0],))


def labels(contents: Contents) -> Iterator[Finding]:
    """Examples without a label where others have one, labels without a file, and indices that make no sense."""
    for name in contents.unlabelled:
        text = "It lies beside the folders of the classes, or dataset.json does not name it."
        yield found("missing-label", (name,), text, evidence={"labelled": len(contents.labels)})
    for index, names in contents.absent.items():
        text = f"{index} names {len(names)} files that are not there: {_listed(names)}."
        yield found("absent-file", (index,), text, evidence={"absent": len(names), "first": names[0]})
    for fault in contents.faults:
        yield found("refused", (), fault, evidence={})


def links(contents: Contents) -> Iterator[Finding]:
    """Links to files that are not there: training does not even see them."""
    for name in contents.broken:
        yield found("unreadable", (name,), "It is a link to a file that is not there.", evidence={"reason": "link"})


def classes(contents: Contents) -> Iterator[Finding]:
    """Classes with too few examples, and classes of very different size, in each part; folders without any."""
    by_part: dict[str, Counter[str]] = defaultdict(Counter)
    members: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, label in contents.labels.items():
        part = contents.parts.get(name, "")
        by_part[part][label] += 1
        members[part, label].append(name)
    for part, counts in by_part.items():
        where = f" of {part}" if part else ""
        usual = float(np.median(list(counts.values())))
        few = {label for label, number in counts.items() if number < max(2, FEW * usual)}
        for label in sorted(few, key=natural_order):
            number = f"{counts[label]} example{'s' * (counts[label] != 1)}"
            text = f"The class {label}{where} has {number}; the median class has {usual:.0f}."
            evidence = {"examples": counts[label], "median class": usual, "class": label}
            yield found("few-examples", tuple(members[part, label]), text, evidence=evidence)
        rest = {label: number for label, number in counts.items() if label not in few}
        if rest and max(rest.values()) > IMBALANCE * min(rest.values()):
            largest, smallest = max(rest, key=rest.__getitem__), min(rest, key=rest.__getitem__)
            text = f"The class {largest}{where} has {rest[largest]:,} examples, {smallest} has {rest[smallest]:,}."
            evidence = {"largest": rest[largest], "smallest": rest[smallest]}
            yield found("imbalance", (), text, evidence=evidence)
    for name in contents.empty:
        text = f"The folder {name} lies beside those of the classes and is empty."
        yield replace(found("few-examples", (), text, evidence={"examples": 0, "class": name}), severity="note")


def ignored(contents: Contents) -> Iterator[Finding]:
    """Pictures that training does not read and passes over without a word."""
    for name in contents.others:
        if suffix(name) in FOREIGN:
            text = f"Files ending in {suffix(name)} are not read. Save it as PNG or JPEG."
            yield found("ignored-file", (name,), text, evidence={"suffix": suffix(name)})


def rank(part: str | None) -> int:
    """Training parts before validation before test: what is in a later one is taken out of the earlier."""
    return {"train": 0, "test": 2}.get((part or "train").lower(), 1)


def _aspect(one: Facts) -> float:
    return max(one.width, one.height) / max(1, min(one.width, one.height))


def _is_long(one: Facts, usual: float) -> bool:
    return _aspect(one) > max(LONG_ASPECT, 2 * usual)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


def _sentence(reason: str) -> str:
    text = reason[:1].upper() + reason[1:]
    return text if text.endswith((".", "!")) else f"{text}."
