"""Findings in words for a terminal: one paragraph each, with a small plot of the evidence."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from equipoise.doctor.fault import RATE
from equipoise.doctor.finding import Finding

FEW = 8
BARS = "▁▂▃▄▅▆▇█"


def sparkline(points: Sequence[tuple[int, float]], *, width: int = 40) -> str:
    """A curve in one line of blocks, from its lowest to its highest value.

    >>> sparkline([(0, 0.0), (25, 1.0), (50, 7.0)])
    '▁▂█'
    """
    values = [value for _, value in points]
    if len(values) > width:
        edges = [round(i * len(values) / width) for i in range(width + 1)]
        values = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    if not values:
        return ""
    low, high = min(values), max(values)
    return "".join(BARS[round((value - low) / (high - low) * 7) if high > low else 0] for value in values)


def number(value: float) -> str:
    """Three digits that matter."""
    return "not finite" if not math.isfinite(value) else f"{value:.3g}"


def setting(key: str, value: object) -> str:
    """A change of a recipe as it is typed behind `--set`.

    >>> setting("players.D.learning_rate", {"start": 1e-4, "end": 0.0})
    'players.D.learning_rate="{start = 0.0001, end = 0.0}"'
    """
    if value is None:
        return f"{key}=null"
    if isinstance(value, bool):
        return f"{key}={str(value).lower()}"
    if isinstance(value, Mapping):
        plain = {"begin": 0.0, "until": 1.0, "shape": "linear", "warmup": 0.0}  # what a schedule is by default
        inside = ", ".join(f"{name} = {toml(x)}" for name, x in value.items() if plain.get(name) != x)
        return f'{key}="{{{inside}}}"'
    return f"{key}={value:.6g}" if isinstance(value, float) else f"{key}={value}"


def change(key: str, value: object) -> str:
    """A change of a recipe in words, where nobody knows what the recipe was: learning rates as multiples.

    >>> change("players.G.learning_rate", 5e-5)
    'players.G.learning_rate × 0.25'
    """
    if key.endswith(".learning_rate") and isinstance(value, float):
        return f"{key} × {value / RATE:.3g}"
    return setting(key, value)


def options(settings: Mapping[str, object]) -> str:
    """Changes of a recipe as options of `equipoise train`."""
    return " ".join(f"--set {setting(key, value)}" for key, value in settings.items())


def toml(value: object) -> str:
    """A plain value inside of a table."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}'" if isinstance(value, str) else str(value)


def paragraph(finding: Finding, *, first: bool, recipe: bool) -> Iterable[str]:
    """What was found, the evidence, and what helps."""
    when = f"since step {finding.since:,}" if finding.active else f"from step {finding.since:,} to {finding.until:,}"
    role = "the first to come" if first else "came later, perhaps as its consequence"
    yield f"{finding.title} ({finding.severity}), {when}; {role}"
    yield f"  {finding.explanation}"
    for item in finding.evidence:
        line = sparkline(finding.curves.get(item.signal, ()))
        yield f"  {item.signal} = {number(item.value)}; healthy: {item.healthy}{'   ' + line if line else ''}"
    for index, remedy in enumerate(finding.remedies):
        anew = " (in a new run)" if remedy.restarts else ""
        word = "try" if index == 0 else "or"
        if recipe:
            yield f"  {word}: {options(remedy.settings)}{anew}"
            yield f"       {remedy.why}"
        else:
            yield f"  {word}: {remedy.why}{anew}"
            yield f"       {', '.join(change(key, value) for key, value in remedy.settings.items())}"


def told(findings: Sequence[Finding], silent: Mapping[str, str], *, looks: int, recipe: bool = True) -> str:
    """All that the doctor has to say; with remedies as changes of a recipe, where there is one."""
    if looks == 0:
        return "Nothing to judge by: no signals were recorded."
    lines: list[str] = []
    for index, finding in enumerate(findings):
        lines += [*paragraph(finding, first=index == 0, recipe=recipe), ""]
    if not findings:
        few = " Most faults show after several looks only." if looks < FEW else ""
        lines += [f"No fault in {looks} look{'s' * (looks != 1)}.{few}", ""]
    if silent:
        lines.append("Could not be judged, for want of signals:")
        lines += [f"  {name} (needs {signals})" for name, signals in silent.items()]
    return "\n".join(lines).rstrip()
