"""The command line: `equipoise train`, `resume`, `sample`, `apply`, `evaluate`, `compare`, `tune`, `usefulness`,
`doctor`, `runs`, `recipes`, `techniques`, `faults`, `report`, `data`."""

import os
import sys

from cyclopts import App

from equipoise.cli.apply import apply
from equipoise.cli.compare import compare
from equipoise.cli.data import data
from equipoise.cli.doctor import doctor
from equipoise.cli.evaluate import evaluate
from equipoise.cli.faults import faults
from equipoise.cli.recipes import recipes
from equipoise.cli.report import report
from equipoise.cli.resume import resume
from equipoise.cli.runs import runs
from equipoise.cli.sample import sample
from equipoise.cli.techniques import techniques
from equipoise.cli.train import train
from equipoise.cli.tune import tune
from equipoise.cli.usefulness import usefulness
from equipoise.version import __version__

app = App(
    name="equipoise",
    version=__version__,
    help="Train generative adversarial networks in balance. `equipoise train` trains on real digits in two minutes.",
)
for command in (
    train,
    resume,
    sample,
    apply,
    evaluate,
    compare,
    tune,
    usefulness,
    doctor,
    runs,
    recipes,
    techniques,
    faults,
    report,
    data,
):
    app.command(command)


def main(arguments: list[str] | None = None) -> None:
    """Run a command and leave with its exit code; an error that is meant for the user is one message, no traceback."""
    from equipoise.core.errors import EquipoiseError

    try:
        app(arguments, exit_on_error=True)
    except EquipoiseError as error:
        sys.stdout.flush()
        print(f"\nequipoise: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("\nequipoise: interrupted.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
