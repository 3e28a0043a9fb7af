"""One run folder, one process: a lock that the operating system frees when its holder dies."""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from equipoise.core.disk import disk_errors
from equipoise.core.errors import RunBusyError


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder. Raises `RunBusyError` naming the holder if another process has it."""
    path = folder / ".lock"
    with disk_errors("locking the run folder", folder):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunBusyError(
                f"The run folder {folder} is in use by {holder(path)}. Wait for it, or use another folder."
            ) from error
        me = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        with disk_errors("locking the run folder", folder):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(me).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def holder(path: Path) -> str:
    """Who holds a lock, in words."""
    try:
        who = json.loads(path.read_text("utf-8"))
        return f"process {who['pid']} on {who['host']} since {who['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
