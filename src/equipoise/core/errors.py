"""Errors a person can act on: what was passed, what was expected, how to fix it; each with its exit code."""

import difflib
from collections.abc import Iterable


class EquipoiseError(Exception):
    """Base of all errors meant for the user. The command line prints the message and leaves with `exit_code`."""

    exit_code = 1


class RecipeError(EquipoiseError, ValueError):
    """A recipe, key or value that makes no sense."""

    exit_code = 2


class DataError(EquipoiseError, ValueError):
    """Data that is missing, unreadable or unfit for the game."""

    exit_code = 65


class DivergedError(EquipoiseError):
    """Training kept producing non-finite values, also after rolling back."""

    exit_code = 70


class DiskError(EquipoiseError):
    """The file system refused: disk full, read-only, vanished."""

    exit_code = 74


class CheckpointError(EquipoiseError):
    """No checkpoint could be trusted, or it belongs to something else."""

    exit_code = 74


class RunBusyError(EquipoiseError):
    """Another process is training in this run folder."""

    exit_code = 75


class Interrupted(EquipoiseError):
    """A signal asked training to stop; everything was saved first. Exit code 128 + signal number."""

    def __init__(self, message: str, *, signal_number: int):
        super().__init__(message)
        self.exit_code = 128 + signal_number


def nearest(name: str, valid: Iterable[str]) -> str:
    """A hint for a misspelt name: the nearest valid one, then all of them.

    >>> nearest("digts", ["digits", "ring"])
    "Did you mean 'digits'? Valid: digits, ring."
    """
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    listing = f"Valid: {', '.join(names)}." if names else "There are none."
    return f"Did you mean '{close[0]}'? {listing}" if close else listing
