"""Charts for pages: curves as small drawings whose colours follow the page's, light and dark."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

MAX_POINTS = 300
"""Of each curve."""


@dataclass
class Line:
    label: str
    steps: np.ndarray
    values: np.ndarray
    colour: int
    spread: np.ndarray | None = None
    dashed: bool = False


@dataclass
class Chart:
    title: str
    caption: str
    legend: list[tuple[str, str]]
    """(label, style): in HTML rather than in the drawing, so that it wraps."""
    svg: Markup


def curve(name: str, points: Sequence[tuple[int, float]]) -> Line:
    steps, values = np.array(points, dtype=float).T
    return Line(name, steps, values, 0)


# Colours are placeholders that become variables of the style sheet, so that the curves follow light and dark.
_SERIES = [f"#0000f{number}" for number in range(1, 7)]
_LETTERS = 9.5
_INK, _RULE, _ALARM = "#0000e1", "#0000e2", "#0000e3"
_VARIABLES = {
    **{colour: f"var(--series-{number})" for number, colour in enumerate(_SERIES, 1)},
    _INK: "var(--soft)",
    _RULE: "var(--rule)",
    _ALARM: "var(--bad)",
}


def chart(
    title: str,
    caption: str,
    lines: Sequence[Line],
    *,
    marks: Sequence[float] = (),
    zero: bool = False,
    from_zero: bool = False,
    exact: bool = False,
    x: str = "step",
) -> Chart:
    """Raw values faint, their running mean on top; a logarithmic axis where values span more than it can show."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    figure, axes = _axes()
    everything = np.concatenate([line.values for line in lines])
    everything = everything[np.isfinite(everything)]
    signed = zero or from_zero or not everything.size or everything.min() <= 0
    for line in lines:
        steps, values, spread = _thinned(line)
        colour = _SERIES[line.colour % len(_SERIES)]
        if exact or len(values) < 8:
            axes.plot(steps, values, color=colour, ls="--" if line.dashed else "-")
            if len(values) < 8 and not line.dashed:
                axes.plot(steps, values, "o", color=colour, ms=3)
            continue
        smooth = _smooth(values)
        if spread is not None:
            axes.fill_between(steps, smooth - _smooth(spread), smooth + _smooth(spread), color=colour, alpha=0.16, lw=0)
        axes.plot(steps, values, color=colour, alpha=0.3, lw=0.7)
        axes.plot(steps, smooth, color=colour)
    for mark in list(dict.fromkeys(marks))[:50]:
        axes.axvline(mark, color=_ALARM, lw=0.7, alpha=0.7)
    if zero:
        axes.axhline(0, color=_INK, lw=0.7, ls=":")
    if from_zero:
        axes.set_ylim(bottom=0)
    first, last = (min(line.steps[0] for line in lines), max(line.steps[-1] for line in lines))
    if first > 0 and last / first > 500:
        axes.set_xscale("log")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], integer=True))
    low, high = np.quantile(everything, (0.02, 0.98)) if everything.size else (0.0, 0.0)
    if not signed and high / low > 30:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1,) if high / low > 1000 else (1, 3)))
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.set_xlabel(x)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.02)
    legend = [(line.label, _key(line.colour, dashed=line.dashed)) for line in lines]
    if len(lines) == 1 and lines[0].label.lower() in title.lower():
        legend = []
    summary = "; ".join(f"{line.label} ends at {number(_last(line.values))}" for line in lines)
    return Chart(title, caption, legend, _svg(figure, f"{title} over {x}s: {summary}."))


def points_chart(title: str, caption: str, x: np.ndarray, y: np.ndarray) -> Chart:
    """Points without an order, on a logarithmic axis where they span more than it can show."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

    figure, axes = _axes()
    axes.plot(x, y, "o", color=_SERIES[0], ms=4)
    for values, scale in ((x, axes.set_xscale), (y, axes.set_yscale)):
        if values.min() > 0 and values.max() / values.min() > 30:
            scale("log")
    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "linear":
            axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        axis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
        axis.set_minor_formatter(NullFormatter())
    return Chart(title, caption, [], _svg(figure, f"{title}: {len(x)} points."))


def class_chart(shares: dict[str, float]) -> Chart:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    figure, axes = _axes()
    names = list(shares)
    axes.bar(range(len(names)), [100 * shares[name] for name in names], color=_SERIES[0], width=0.7)
    axes.axhline(100 / len(names), color=_SERIES[1], lw=1.2, ls="--")
    axes.set_xticks(range(len(names)), names if len(names) <= 20 else ["" for _ in names])
    axes.set_ylabel("%")
    axes.set_xlabel("class")
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    low, high = min(names, key=shares.__getitem__), max(names, key=shares.__getitem__)
    summary = f"Between {100 * shares[low]:.1f} % (class {low}) and {100 * shares[high]:.1f} % (class {high})."
    caption = f"{summary} A class near 0 % was forgotten: mode collapse."
    legend = [("even share", _key(1, dashed=True))]
    drawing = _svg(figure, f"Shares of {len(names)} classes. {summary}")
    return Chart("Classes of the made pictures", caption, legend, drawing)


def number(value: Any) -> str:
    if not isinstance(value, int | float) or not math.isfinite(value):
        return "–"
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _key(colour: int, *, dashed: bool) -> str:
    return f"border-top: 2px {'dashed' if dashed else 'solid'} var(--series-{colour % len(_SERIES) + 1})"


def _axes() -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.9, 2.45), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_RULE)
    axes.tick_params(colors=_INK, length=0, which="both")
    axes.grid(axis="y", color=_RULE, lw=0.6)
    axes.set_axisbelow(True)
    axes.xaxis.label.set_color(_INK)
    axes.yaxis.label.set_color(_INK)
    return figure, axes


def _svg(figure: Any, description: str) -> Markup:
    """The figure as an <svg> element that stands in a page: no header, no identity of its own, colours as variables."""
    import matplotlib
    from matplotlib.text import Text

    style: dict[Any, Any] = {
        "svg.fonttype": "none",  # letters stay letters: smaller, selectable, in the font of the page
        "svg.hashsalt": description,
        "text.parse_math": False,
        "font.size": _LETTERS,
        "lines.linewidth": 1.5,
        "path.simplify_threshold": 0.3,
    }
    stream = io.StringIO()
    with matplotlib.rc_context(style):
        for text in figure.findobj(Text):
            text.set_parse_math(False)
            text.set_fontsize(_LETTERS)
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawing = stream.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    start, end = drawing.find("<metadata>"), drawing.find("</metadata>")
    drawing = drawing[:start] + drawing[end + len("</metadata>") :] if 0 <= start < end else drawing
    for colour, variable in _VARIABLES.items():
        drawing = drawing.replace(colour, variable)
    head, body = drawing.split(">", 1)
    return Markup(head) + Markup(' role="img" aria-label="{}">').format(description) + Markup(body)


def _thinned(line: Line) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """At most so many points: the means of stretches. Windows in which nothing was measured are no points."""
    measured = np.isfinite(line.values)
    number = max(min(MAX_POINTS, int(measured.sum())), 1)

    def means(values: np.ndarray) -> np.ndarray:
        return np.array([part.mean() for part in np.array_split(values[measured], number) if part.size])

    return means(line.steps), means(line.values), None if line.spread is None else means(np.nan_to_num(line.spread))


def _smooth(values: np.ndarray) -> np.ndarray:
    """A running mean that reaches back over about a thirtieth of the curve."""
    keep = math.exp(-30 / max(len(values), 1))
    smooth, total, weight = np.empty(len(values)), 0.0, 0.0
    for index, value in enumerate(values):
        total, weight = keep * total + value, keep * weight + 1
        smooth[index] = total / weight
    return smooth


def array(values: Sequence[float | None]) -> np.ndarray:
    return np.array([math.nan if value is None else float(value) for value in values])


def _last(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite[-1]) if finite.size else math.nan


def _short(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    if 0 < abs(value) < 1e-3:
        digits, exponent = f"{value:.3e}".split("e")
        return f"{float(digits):g}e{int(exponent)}"
    return f"{value:g}"
