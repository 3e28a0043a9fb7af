"""The report of a run: one HTML page that needs nothing else, made from the files in the run's folder."""

import base64
import json
import shlex
import tomllib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from equipoise.core.disk import disk_errors, replace_file
from equipoise.core.errors import DataError, DiskError
from equipoise.doctor import words as doctor_words
from equipoise.doctor.autopilot import told
from equipoise.doctor.diagnosis import diagnosed
from equipoise.runs import journal
from equipoise.runs.charts import Chart, Line, array, chart, class_chart, curve, number
from equipoise.runs.pages import rendered
from equipoise.runs.provenance import RESTORED_SOURCE_TYPE, read_label
from equipoise.runs.recipe import dotted

_PICTURE_BYTES = 1_000_000  # of all pictures together, so that the page stays below 2 MB
_MAX_TIMELINE = 6
_MAX_EVENTS = 100


def write_report(folder: Path | str) -> Path:
    """Write `report.html` into a run's folder, finished or not, and return its path. What is missing is left out."""
    run = _load(Path(folder))
    page = rendered(
        "report.html.jinja",
        title=run.folder.name,
        status=_status(run),
        tiles=_tiles(run),
        pictures=_pictures(run),
        findings=_findings(run),
        interventions=[told(row) for row in run.interventions],
        judged=any("probe/" in name for line in run.signals for name in line.get("signals") or {}),
        curves=_curves(run),
        has_marks=any(event.get("kind") in _MARKED for event in run.events),
        measurements=_measurements(run),
        events=_events(run),
        num_events=len(run.events),
        recipe=run.recipe,
        environment=run.environment,
        commands=_commands(run),
        notices=run.notices,
    )
    path = run.folder / "report.html"
    with disk_errors("writing the report", run.folder, num_bytes=len(page)):
        replace_file(path, page)
    return path


@dataclass
class _Run:
    folder: Path
    signals: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    interventions: list[dict[str, Any]] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    recipe: str = ""
    samples: list[Path] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def _load(folder: Path) -> _Run:
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder. Expected the folder of a run, as `equipoise train` makes it.")
    run = _Run(folder.resolve())
    for name in ("signals", "events"):
        try:
            setattr(run, name, journal.read(folder / f"{name}.jsonl"))
        except (DataError, DiskError) as error:
            run.notices.append(str(error))
    run.signals = journal.without_undone(run.signals)
    for name, kind in (("metrics", list), ("interventions", list), ("environment", dict)):
        path = folder / f"{name}.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else kind()
        except (OSError, ValueError) as error:
            run.notices.append(f"{path.name} cannot be read: {error}.")
        else:
            if isinstance(content, kind):
                setattr(run, name, content)
            else:
                run.notices.append(f"{path.name} is not a JSON {'list' if kind is list else 'object'}.")
    try:
        run.recipe = (folder / "recipe.toml").read_text(encoding="utf-8", errors="replace")
    except OSError:
        run.notices.append("There is no recipe.toml.")
    run.samples = sorted((folder / "samples").glob("step-*.png"))
    if not run.signals:
        run.notices.append("No signals were written yet, so there are no curves.")
    return run


# Words and numbers


@dataclass
class _Status:
    word: str
    tone: str
    sentence: str


def _status(run: _Run) -> _Status:
    ends = [event for event in run.events if event.get("kind") in ("started", "resumed", "intervention", *_ENDINGS)]
    last = ends[-1] if ends else {}
    if last.get("kind") in _ENDINGS:
        word, tone = _ENDINGS[last["kind"]]
        return _Status(word, tone, str(last.get("message", "")))
    losses = [moments for name, moments in _signals_of(run, -1).items() if name.startswith("loss/")]
    if losses and all((moments or {}).get("mean") is None for moments in losses):
        return _Status("diverged", "bad", "The last losses are not finite.")
    files = [path for path in map(run.folder.joinpath, ("signals.jsonl", "events.jsonl")) if path.exists()]
    if not files:
        return _Status("not started", "calm", "The folder holds no journal yet.")
    seen = max(path.stat().st_mtime for path in files)
    if datetime.now().timestamp() - seen < max(900, 5 * _seconds_per_window(run)):
        return _Status("running", "calm", "The state at the time below. Write the page again for a newer one.")
    when = datetime.fromtimestamp(seen, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return _Status("stopped", "warn", f"The last sign of life is of {when}, and no ending was written.")


_ENDINGS = {
    "finished": ("finished", "good"),
    "interrupted": ("interrupted", "warn"),
    "diverged": ("diverged", "bad"),
    "failed": ("failed", "bad"),
}


def _tiles(run: _Run) -> list[tuple[str, str, str]]:
    """(what, value, remark)."""
    tiles = []
    if run.signals:
        last = run.signals[-1]
        tiles.append(("Steps", number(last.get("step")), ""))
        if last.get("examples") is not None:
            tiles.append(("Real examples seen", number(last["examples"]), ""))
        if last.get("seconds") is not None:
            tiles.append(("Time", _duration(last["seconds"]), ""))
        speeds = [line["images_per_second"] for line in run.signals if line.get("images_per_second") is not None]
        if speeds:
            tiles.append(("Speed", f"{number(float(np.median(speeds)))}", "images per second (median)"))
    for features, evaluations in _by_features(run).items():
        values, floor = evaluations[-1].get("values") or {}, evaluations[-1].get("floor") or {}
        name = next((name for name in ("fid", "kid", *values) if values.get(name) is not None), None)
        if name:
            beside = f"real against real {number(floor[name])}; " if floor.get(name) is not None else ""
            tiles.append((_MEASURES.get(name, (name, ""))[0], number(values[name]), f"{beside}in {features}"))
    return tiles


_MEASURES = {
    "fid": ("Fréchet distance", "lower"),
    "kid": ("Kernel distance", "lower"),
    "precision": ("Precision", "higher"),
    "recall": ("Recall", "higher"),
    "density": ("Density", "higher"),
    "coverage": ("Coverage", "higher"),
}


def _measurements(run: _Run) -> list[dict[str, Any]]:
    """Per feature space: a table of the last evaluation with the best one and the floor; curves if there are more."""
    spaces = []
    for features, evaluations in _by_features(run).items():
        last = evaluations[-1]
        floor = last.get("floor") or last.get("given") or {}
        rows = []
        values = last.get("values") or {}
        for name in _measures(values):
            title, better = _MEASURES.get(name, (name, ""))
            history = [(e["values"][name], e.get("step")) for e in evaluations if (e.get("values") or {}).get(name)]
            best = (min if better == "lower" else max)(history) if history and better else None
            rows.append(
                {
                    "title": title,
                    "better": better,
                    "now": _with_spread(values, name),
                    "floor": _with_spread(floor, name) if floor.get(name) is not None else "",
                    "best": number(best[0]) if best else "",
                    "best_step": number(best[1]) if best else "",
                }
            )
        shares = {str(name): share or 0.0 for name, share in (last.get("class_shares") or {}).items()}
        spaces.append(
            {
                "features": features,
                "beside": "" if last.get("floor") else str(last.get("given_is", "What was given")),
                "step": number(last.get("step")),
                "num_fake": number(last.get("num_fake")),
                "num_real": number(last.get("num_real")),
                "rows": rows,
                "interval": _interval(last.get("fid_interval")),
                "cautions": last.get("cautions") or [],
                "memorisation": _memorisation(last.get("memorisation")),
                "nearest": _evaluated(run, last, "nearest"),
                "codes": _evaluated(run, last, "codes"),
                "reconstructed": _evaluated(run, last, "reconstructed"),
                "confusion": _confusion(last),
                "agreement": f"{100 * last['agreement']:.1f} %" if last.get("agreement") is not None else "",
                "curves": _metric_curves(evaluations),
                "classes": class_chart(shares) if shares else None,
            }
        )
    return spaces


def _interval(interval: dict[str, float] | None) -> str:
    """How much FID would move with other samples."""
    return f"{number(interval['low'])} to {number(interval['high'])}" if interval else ""


def _memorisation(found: dict[str, Any] | None) -> str:
    """Whether there are copies, in words."""
    return f"{str(found['verdict']).capitalize()}. {found['reason']}" if found else ""


def _evaluated(run: _Run, evaluation: dict[str, Any], name: str) -> dict[str, str] | None:
    """A picture that an evaluation made: what it is called, of its step."""
    path = run.folder / "samples" / f"{name}-step-{int(evaluation.get('step') or 0):08d}.png"
    return _picture(path) if path.exists() else None


def _confusion(evaluation: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a confusion matrix, where there is one of at most 50 classes: name, counts, shares of the class."""
    found = (evaluation.get("found") or {}).get("confusion") or {"classes": [], "rows_are_true": []}
    if len(found["classes"]) > 50:
        return []
    return [
        {"name": name, "cells": [(count, round(100 * count / max(sum(row), 1))) for count in row]}
        for name, row in zip(found["classes"], found["rows_are_true"])
    ]


def _measures(values: dict[str, Any]) -> list[str]:
    """Without the spreads: those stand beside what they are the spread of."""
    return [name for name in values if not (name.endswith("_std") and name.removesuffix("_std") in values)]


def _with_spread(values: dict[str, Any], name: str) -> str:
    spread = values.get(f"{name}_std")
    return number(values[name]) + (f" ± {spread:.1g}" if isinstance(spread, float) else "")


def _events(run: _Run) -> list[dict[str, str]]:
    """The newest events, of the saves only the last: there are many and all alike."""
    saves = [event for event in run.events if event.get("kind") == "saved"]
    events = [event for event in run.events if event.get("kind") != "saved" or event is saves[-1]]
    return [
        {
            "step": number(event.get("step")),
            "time": str(event.get("time", "")).replace("T", " ")[:19],
            "kind": str(event.get("kind", "")).replace("_", " "),
            "tone": _EVENT_TONES.get(str(event.get("kind")), "calm"),
            "message": str(event.get("message", "")),
        }
        for event in events[-_MAX_EVENTS:]
    ]


_EVENT_TONES = {
    "finished": "good",
    "interrupted": "warn",
    "skipped_data": "warn",
    "warning": "warn",
    "fallback": "warn",
    "bad_step": "bad",
    "rollback": "bad",
    "diverged": "bad",
    "failed": "bad",
}


def _commands(run: _Run) -> list[tuple[str, str]]:
    folder = shlex.quote(str(run.folder))
    resume = [] if _status(run).word == "finished" else [(f"equipoise resume {folder}", "train on from the last save")]
    next_step = (f"equipoise sample {folder}", "make new pictures with the trained generator")
    if _answers(run):
        next_step = (f"equipoise apply {folder} INPUT OUTPUT", "answer pictures of your own")
    return [
        *resume,
        next_step,
        (f"equipoise evaluate {folder}", "measure them again, with other numbers or seeds"),
        (f"equipoise report {folder}", "write this page again"),
        (f"tensorboard --logdir {folder}", "look at all signals, pictures and histograms"),
    ]


def _answers(run: _Run) -> bool:
    """Whether the game answers pictures, rather than making them from latents."""
    judged = [entry for entry in run.metrics if isinstance(entry, dict) and not entry.get("generated")]
    return any(entry.get("given") is not None for entry in judged)


def _signals_of(run: _Run, index: int) -> dict[str, Any]:
    return (run.signals[index].get("signals") or {}) if run.signals else {}


def _seconds_per_window(run: _Run) -> float:
    times = [line["seconds"] for line in run.signals if line.get("seconds") is not None]
    return (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.0


def _by_features(run: _Run) -> dict[str, list[dict[str, Any]]]:
    """The evaluations in each feature space in the order of their steps, not of when they were made."""
    spaces: dict[str, list[dict[str, Any]]] = {}
    for evaluation in run.metrics:
        if isinstance(evaluation, dict):
            spaces.setdefault(str(evaluation.get("features", "unnamed features")), []).append(evaluation)
    return {name: sorted(some, key=lambda evaluation: evaluation.get("step") or 0) for name, some in spaces.items()}


def _duration(seconds: float) -> str:
    hours, minutes, seconds = int(seconds) // 3600, int(seconds) // 60 % 60, int(seconds) % 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


# Pictures


def _pictures(run: _Run) -> dict[str, Any]:
    """The newest grid, the film, and a handful of earlier grids that are evenly spread and fit into the page."""
    if not run.samples:
        return dict.fromkeys(("latest", "film", "film_left_out", "label", "answers")) | {"timeline": []}
    latest, earlier = run.samples[-1], run.samples[:-1]
    room = _PICTURE_BYTES - latest.stat().st_size
    film = run.folder / "samples" / "formation.webp"
    has_film = film.exists()
    shown_film = has_film and film.stat().st_size <= room
    room -= film.stat().st_size if shown_film else 0
    chosen: list[Path] = []
    for num in range(min(_MAX_TIMELINE, len(earlier)), 0, -1):
        chosen = [earlier[round(index)] for index in np.linspace(0, len(earlier) - 1, num)]
        if sum(path.stat().st_size for path in chosen) <= room:
            break
        chosen = []
    try:
        label = read_label(latest)
    except DataError as error:
        run.notices.append(str(error))
        label = None
    return {
        "latest": _picture(latest),
        "film": f"data:image/webp;base64,{base64.b64encode(film.read_bytes()).decode()}" if shown_film else None,
        "film_left_out": has_film and not shown_film,
        "timeline": [_picture(path) for path in chosen],
        "label": label,
        "answers": label is not None and label.source_type == RESTORED_SOURCE_TYPE,
    }


def _picture(path: Path) -> dict[str, str]:
    step = path.stem.removeprefix("step-")
    return {
        "source": f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}",
        "step": f"{int(step):,}" if step.isdecimal() else step,
    }


# Curves


_TONES = {"note": "calm", "warning": "warn", "critical": "bad"}


def _findings(run: _Run) -> list[dict[str, Any]]:
    """What the doctor found, the first persistent cause first, with its evidence as curves."""
    try:
        settings = dotted(tomllib.loads(run.recipe))
    except tomllib.TOMLDecodeError:
        settings = {}
    return [
        {
            "title": finding.title,
            "tone": _TONES[finding.severity],
            "severity": finding.severity,
            "when": f"since step {finding.since:,}"
            if finding.active
            else f"from step {finding.since:,} to {finding.until:,}",
            "explanation": finding.explanation,
            "evidence": [(item.signal, doctor_words.number(item.value), item.healthy) for item in finding.evidence],
            "charts": [
                chart(name, "", [curve(name, points)], marks=[finding.since])
                for name, points in finding.curves.items()
                if len(points) > 1
            ],
            "remedies": [
                (
                    " ".join(f"--set {doctor_words.setting(key, value)}" for key, value in r.settings.items()),
                    r.why,
                    r.restarts,
                )
                for r in finding.remedies
            ],
        }
        for finding in diagnosed(run.signals).findings(settings)
    ]


_MARKED = ("bad_step", "rollback", "fallback", "intervention")
_OTHERS: dict[str, str] = {
    "watch": "Also watched",
    "share": "Shares of the gradient",
    "weight": "Weights of balanced terms",
    "refused": "Refused moves",
}
_PROBED = (
    (
        "Who is told from whom",
        "Pairs that the critic puts in this order. Real above made: at 1 it has won. Training above held-out examples: "
        "0.5 is healthy, above 0.62 it learns by heart.",
        {"auc/held_out": "real above made", "overfit": "train above held-out"},
    ),
    (
        "Variety",
        "Distances between made examples, relative to those between real ones: 1 is that of the data.",
        {"diversity": "any two", "nearest": "nearest neighbours", "labels/diversity": "of one class"},
    ),
    (
        "Distance to the data",
        "Energy distance to held-out examples; real training examples have the floor.",
        {"energy": "made", "energy/real": "real", "energy/shown": "made, to augmented"},
    ),
    (
        "Coverage and copies",
        "Held-out examples with a made one nearby, as many as with a real one at best; and made examples that are "
        "nearer to a training example than to a held-out one: 0.5 is healthy, near 1 they are copies.",
        {"coverage": "made", "coverage/real": "real", "copies": "nearer to training"},
    ),
    (
        "Motion",
        "How far examples of the same latents move between two looks, in distances of two reals; and whether they go "
        "on (1) or back (-1).",
        {"movement": "movement", "turning": "direction"},
    ),
)


def _curves(run: _Run) -> list[Chart]:
    if not run.signals:
        return []
    steps = np.array([float(line.get("step") or 0) for line in run.signals])
    names = list(dict.fromkeys(name for line in run.signals for name in line.get("signals") or {}))
    marks = [float(e.get("step") or 0) for e in run.events if e.get("kind") in _MARKED]

    def line(name: str, label: str, colour: int, *, spread: bool = False) -> Line:
        moments = [(entry.get("signals") or {}).get(name) or {} for entry in run.signals]
        spreads = array([moment.get("std") for moment in moments]) if spread else None
        return Line(label, steps, array([moment.get("mean") for moment in moments]), colour, spreads)

    charts = []
    moving = ("loss", "gradient", "update", "learning_rate", "share")
    players = list(dict.fromkeys(name.split("/")[1] for name in names if name.split("/")[0] in moving and "/" in name))
    for player in players:
        terms = [name for name in names if name.startswith(f"loss/{player}/") or name == f"loss/{player}"]
        if terms:
            lines = [line(name, name.split("/")[-1], index) for index, name in enumerate(terms)]
            caption = "Raw values of the loss terms, before their weights."
            charts.append(chart(f"Loss of {player}", caption, lines, marks=marks))
    words = {"watch/real": "real", "watch/fake": "made", "probe/logits/held_out": "held-out real"}
    watched = [name for name in words if name in names]
    if watched:
        lines = [line(name, words[name], index, spread=True) for index, name in enumerate(watched)]
        caption = (
            "The critic's logits, mean and standard deviation; higher means “real”. Bands that overlap: the game is "
            "open. Bands far apart: the critic has won, and the generator learns little."
        )
        charts.append(chart("Critic's logits", caption, lines, marks=marks, zero=True))
    if "watch/accuracy" in names:
        watched.append("watch/accuracy")
        caption = "How often the critic scores a real picture above a made one. 0.5 is guessing; at 1 it has won."
        charts.append(chart("Critic's accuracy", caption, [line("watch/accuracy", "accuracy", 0)], marks=marks))
    captions = {
        "gradient": ("Gradient norms", "The length of each player's gradient, before any clipping."),
        "update": ("Update sizes", "How far a player moves per update, relative to the size of its weights."),
        "learning_rate": ("Learning rates", "As applied."),
    }
    for kind, (title, caption) in captions.items():
        lines = [
            line(name, name.split("/", 1)[1], players.index(name.split("/")[1]))
            for name in names
            if name.startswith(f"{kind}/")
        ]
        if lines and (kind != "learning_rate" or any(np.nanstd(entry.values) > 0 for entry in lines)):
            charts.append(chart(title, caption, lines, marks=marks, exact=kind == "learning_rate"))
    for title, caption, probes in _PROBED:
        lines = [line(f"probe/{n}", label, i) for i, (n, label) in enumerate(probes.items()) if f"probe/{n}" in names]
        if lines:
            charts.append(chart(title, caption, lines, marks=marks))
    drawn = ("loss", "probe", *captions)
    kinds = [kind for kind in dict.fromkeys(name.split("/")[0] for name in names) if kind not in drawn]
    for kind in kinds:
        others = [name for name in names if name.split("/")[0] == kind and name not in watched]
        for start in range(0, len(others), 6):
            lines = [line(name, name.split("/", 1)[-1], i) for i, name in enumerate(others[start : start + 6])]
            title = _OTHERS[kind] if kind in _OTHERS else kind.replace("_", " ").capitalize()
            charts.append(chart(title, "", lines, marks=marks))
    speeds = array([entry.get("images_per_second") for entry in run.signals])
    if np.isfinite(speeds).any():
        speed = Line("speed", steps, speeds, 0)
        charts.append(chart("Speed", "Real images per second.", [speed], marks=marks, from_zero=True))
    return charts


def _metric_curves(evaluations: list[dict[str, Any]]) -> list[Chart]:
    if len({evaluation.get("step") for evaluation in evaluations}) < 2:
        return []
    steps = array([evaluation.get("step") for evaluation in evaluations])
    values = [evaluation.get("values") or {} for evaluation in evaluations]
    names = list(dict.fromkeys(name for entry in values for name in _measures(entry)))
    shares = [name for name in names if name in ("precision", "recall", "density", "coverage")]
    charts = []
    for group in [[name] for name in names if name not in shares] + ([shares] if shares else []):
        lines = []
        for index, name in enumerate(group):
            label = _MEASURES.get(name, (name, ""))[0]
            lines.append(Line(label, steps, array([entry.get(name) for entry in values]), index))
            if len(group) == 1:
                floor = array([(evaluation.get("floor") or {}).get(name) for evaluation in evaluations])
                lines.append(Line("real against real", steps, floor, 1, dashed=True))
        title = _MEASURES.get(group[0], (group[0], ""))[0] if len(group) == 1 else "Quality and variety"
        charts.append(chart(title, "", lines, exact=True))
    return charts
