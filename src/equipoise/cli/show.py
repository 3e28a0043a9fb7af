"""What several commands print: the end of a training, a dry run, a table of metrics."""

import json
import statistics
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from equipoise.core.disk import readable
from equipoise.core.errors import RecipeError
from equipoise.engine.trainer import Trainer
from equipoise.runs.evaluation import Evaluation, rows
from equipoise.runs.recipe import Recipe, to_toml
from equipoise.runs.restored import Restoration
from equipoise.runs.run import At, Run, describe, threads
from equipoise.runs.scores import LOWER, TITLES, Scored


def after_training(run: Run) -> None:
    """Where everything is, and what to do next."""
    folder = shortest(run.folder)
    metrics = run.folder / "metrics.json"
    judged = json.loads(metrics.read_text("utf-8")) if metrics.exists() else []
    if judged:
        print_metrics(judged[-1])
    newest = max((run.folder / "samples").glob("step-*.png"), default=None)
    print(f"\nReport       {folder / 'report.html'}")
    if newest:
        print(f"Samples      {folder / 'samples' / newest.name}")
    if (run.folder / "samples" / "formation.webp").exists():
        print(f"Animation    {folder / 'samples' / 'formation.webp'}")
    answers = (run.examples.given is not None or run.recipe.game.own_scores) and not run.recipe.game.generative
    command = f"apply {folder} INPUT OUTPUT" if answers else f"sample {folder} --num 64 --seed 1"
    print(f"Next         equipoise {command}")


def print_metrics(entry: dict) -> None:
    """The headline of an entry of metrics.json."""
    if "floor" not in entry:  # answers to pictures
        beside = entry.get("given", {})
        told = entry.get("given_is", "what was given")
        print(f"\n{entry['num_fake']} pictures, judged by {entry['features']} ({told} in brackets):")
        brackets = {name: f" ({value:.3g})" for name, value in beside.items()}
        print("  ".join(f"{name} {value:.3g}{brackets.get(name, '')}" for name, value in entry["values"].items()))
        return
    print(f"\n{entry['num_fake']} samples, in the features of {entry['features']} (real against real in brackets):")
    names = ("fid", "precision", "recall", "density", "coverage")
    print("  ".join(f"{name} {entry['values'][name]:.3g} ({entry['floor'][name]:.3g})" for name in names))


def metrics_table(result: Evaluation) -> None:
    """The metrics, with real against real beside them."""
    title = Text(f"{result.num_samples} samples, in the features of {result.feature_space}")
    table = Table(title=title, title_justify="left")
    for column in ("metric", "samples", "real against real", "better"):
        table.add_column(column, justify="left" if column == "metric" else "right")
    for row in rows(result):
        floor = "" if row.floor is None else f"{row.floor:.4g}"
        table.add_row(row.name, f"{row.value:.4g}", floor, row.better)
    Console().print(table)
    if result.fid_interval is not None:
        low, high = (f"{value:.4g}" for value in result.fid_interval[:2])
        print(f"With other samples of the same size, FID would be {low} to {high}, 95 times of 100.")
    if result.memorisation is not None:
        print(f"Copies of training examples? {result.memorisation.verdict.capitalize()}. {result.memorisation.reason}")
    for caution in result.cautions:
        print(caution)


def restoration_table(result: Restoration) -> None:
    """How alike answers and targets are, with what was given beside them."""
    custom = "of the luma, " if result.luma else ""
    border = f"{result.shave} pixels at the borders left out" if result.shave else "whole pictures"
    table = Table(title=Text(f"{result.num_pictures} pictures of {result.data}"), title_justify="left")
    for column in ("metric", "answers", "what was given", "better"):
        table.add_column(column, justify="left" if column == "metric" else "right")
    rows = {"psnr": ("PSNR, dB", "higher"), "ssim": ("SSIM", "higher"), "perceptual": ("perceptual distance", "lower")}
    rows |= {"error": ("mean absolute error", "lower"), "bias": ("mean error", "near 0")}
    for name, (title, better) in rows.items():
        answer, given = getattr(result.answer, name), getattr(result.given, name)
        table.add_row(title, f"{answer:.4g}", f"{given:.4g}", better)
    Console().print(table)
    if result.window:
        custom += f"within [{result.window[0]:g}, {result.window[1]:g}], "
    print(f"PSNR and SSIM {custom}{border}; perceptual distance in {result.features}.")


def scores_table(result: Scored) -> None:
    """What a game measured of itself, with what stands beside it."""
    table = Table(title=Text(f"{result.num} pictures of {result.data}"), title_justify="left")
    for column in ("metric", "answers", result.of, "better"):
        table.add_column(column, justify="left" if column == "metric" else "right")
    for name, value in result.values.items():
        beside = f"{result.beside[name]:.4g}" if name in result.beside else ""
        table.add_row(TITLES.get(name, name), f"{value:.4g}", beside, "lower" if name in LOWER else "higher")
    Console().print(table)
    print(f"Judged by {result.features}.")


def dry(recipe: Recipe, origin: str) -> None:
    """The resolved recipe, players, parameters, shapes, predicted memory and time; nothing is written."""
    run = Run.draft(recipe, origin=origin, folder=Path("(dry run)"))
    source = run.source()
    parts = run.parts(source)
    trainer = run.trainer(parts.train)
    print(to_toml(recipe))
    print(describe(source, parts).replace("Data: ", "Data        "))
    for note in (*parts.train.notes, *source.skipped):
        print(f"            {note}")
    for player, seat in trainer.seats.items():
        number = sum(p.numel() for p in seat.parameters.values())
        print(f"Player {player:5}{number:,} parameters in {len(seat.parameters)} tensors, {seat.settings.rule}")
    with threads(recipe.training.threads):
        seconds = seconds_per_step(trainer) * recipe.training.steps
        print(f"Precision   {trainer.precision} on {run.device.type}, threads: {torch.get_num_threads()}")
    print(f"Memory      about {readable(memory(trainer))}")
    print(
        f"Time        about {duration(seconds)} for {recipe.training.steps} steps; "
        "lazy penalties, updates and evaluation come on top"
    )
    print("Nothing was trained or written.")


def checkpoint(at: str) -> At:
    """A checkpoint as it is written on the command line. Raises `RecipeError`."""
    if at in ("newest", "best"):
        return at
    if not at.isdecimal():
        raise RecipeError(f"--at {at}: expected newest, best, or a step.")
    return int(at)


def seconds_per_step(trainer: Trainer) -> float:
    """The median of five steps that are played for nothing, after two to warm up."""
    taken = []
    for _ in range(7):
        start = time.perf_counter()
        trainer.play_for_nothing(trainer.precision)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[2:])


def memory(trainer: Trainer) -> int:
    """Bytes in use after a step was played, with two Adam moments for every parameter."""
    moments = 8 * sum(p.numel() for seat in trainer.seats.values() for p in seat.parameters.values())
    if trainer.device.type == "cuda":
        return torch.cuda.max_memory_allocated(trainer.device) + moments
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + moments


def duration(seconds: float) -> str:
    """
    >>> duration(45), duration(5000)
    ('45 seconds', '83 minutes')
    """
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def shortest(folder: Path) -> Path:
    """The folder relative to where the person is, if it lies below."""
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
