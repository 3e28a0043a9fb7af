"""One run folder, one process."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from equipoise.core.errors import DiskError, RunBusyError
from equipoise.runs.lock import locked

HOLD = """
import sys
from pathlib import Path
from equipoise.runs.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(folder: Path) -> subprocess.Popen:
    """Another process that holds the folder until it is killed or its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_refused_by_the_name_of_the_first(tmp_path):
    process = holder(tmp_path)
    try:
        message = f"in use by process {process.pid} on {socket.gethostname()} since"
        with pytest.raises(RunBusyError, match=message) as caught:
            locked(tmp_path).__enter__()
        assert caught.value.exit_code == 75
        process.send_signal(signal.SIGKILL)
        process.wait()
        with locked(tmp_path):  # freed by the death of its holder
            assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
    finally:
        process.kill()
        process.communicate()


def test_a_folder_is_free_after_its_holder_leaves(tmp_path):
    process = holder(tmp_path)
    process.communicate()
    assert process.returncode == 0
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), locked(tmp_path):
            raise ZeroDivisionError


def test_a_folder_is_held_against_its_own_process_too(tmp_path):
    with locked(tmp_path), pytest.raises(RunBusyError, match=str(os.getpid())):
        locked(tmp_path).__enter__()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "\xff"])
def test_a_holder_who_left_no_name_is_another_process(text, tmp_path):
    with locked(tmp_path):
        (tmp_path / ".lock").write_bytes(text.encode("latin1"))
        with pytest.raises(RunBusyError, match="in use by another process"):
            locked(tmp_path).__enter__()


def test_a_folder_that_is_not_there_is_a_disk_error(tmp_path):
    with pytest.raises(DiskError, match="Locking the run folder"):
        locked(tmp_path / "nowhere").__enter__()
