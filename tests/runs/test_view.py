import io
import os
import subprocess
import sys

import pytest
from rich.console import Console

from equipoise.runs.view import View


def line_at(step: int, **signals: float | None) -> dict[str, object]:
    values = {"loss/D/adversarial": 1.25, "loss/D/r1": 0.5, "loss/G/adversarial": None, "watch/real": 0.75}
    values |= {"watch/fake": -0.5, "watch/accuracy": 0.625, **signals}
    moments = {name: {"mean": value, "std": 0.1, "count": 4} for name, value in values.items()}
    return {"step": step, "seconds": 0.5 * step, "images_per_second": 1234.5, "signals": moments}


def test_without_a_terminal_there_is_one_plain_line_per_window():
    stream, now = io.StringIO(), [0.0]
    with View("digits", 200, Console(file=stream), clock=lambda: now[0]) as view:
        view.update(line_at(50))
        now[0] = 10.0
        view.update(line_at(100))
        view.event("saved step 100")
    first, second, event = stream.getvalue().splitlines()
    assert "\x1b" not in stream.getvalue()
    assert first.startswith("step 50/200 (25%)")
    assert "1:15 left" in first  # half a second per step so far
    for words in ("D adversarial 1.25", "D r1 0.5", "G adversarial not finite", "real 0.75", "fake -0.5", "right 62%"):
        assert words in second
    assert "1,234 images/s" in second
    assert "0:20 left" in second
    assert event == "saved step 100"


def test_on_a_terminal_the_same_facts_are_drawn_in_place():
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80, color_system="standard")
    with View("digits", 200, console) as view:
        view.update(line_at(100))
        view.event("saved step 100")
    drawn = stream.getvalue()
    assert "\x1b[" in drawn
    for words in ("digits", "step 100 / 200", "1,234 images/s", "1.25", "0.625", "saved step 100"):
        assert words.replace("0.625", "62%") in drawn
    assert "F" in drawn
    assert "R" in drawn


@pytest.mark.parametrize("width", [20, 40, 200])
def test_every_width_can_be_drawn(width: int):
    console = Console(file=io.StringIO(), force_terminal=True, width=width)
    with View("a very long name of a run " * 5, 200, console) as view:
        view.update({})
        view.update(line_at(300, **{"watch/real": 1e9, "watch/fake": -1e-9}))
        view.update({"step": 301, "signals": {}})


def test_names_cannot_send_control_codes():
    stream = io.StringIO()
    with View("\x1b[2J", 10, Console(file=stream)) as view:
        view.event("\x1b]0;title\x07 done\n\r")
        view.update({"step": 1, "signals": {"loss/\x1b[31m/x": {"mean": 1.0}}})
    assert "\x1b" not in stream.getvalue()
    assert stream.getvalue().count("\n") == 2


@pytest.mark.parametrize("terminal", [False, True])
def test_a_closed_output_does_not_disturb_training(terminal: bool):
    stream = io.StringIO()
    before = sys.stdout
    with View("digits", 10, Console(file=stream, force_terminal=terminal)) as view:
        view.update(line_at(1))
        stream.close()
        view.update(line_at(2))
        view.event("still here")
        assert sys.stdout is before
    assert sys.stdout is before


@pytest.mark.parametrize("terminal", [False, True])
def test_a_broken_pipe_does_not_disturb_training(terminal: bool, monkeypatch: pytest.MonkeyPatch):
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with View("digits", 10, Console(file=stream, force_terminal=terminal)) as view:
            view.update(line_at(1))
            os.close(reading)
            view.update(line_at(2))
            view.update(line_at(3))
        stream.write("what comes later goes nowhere")


def test_a_program_whose_reader_left_ends_well():
    program = (
        "from equipoise.runs.view import View\n"
        "with View('x', 9) as view:\n"
        "    for step in range(2000): view.update({'step': step, 'signals': {}})\n"
        "print('later')\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.readline()
    child.stdout.close()
    errors = child.stderr.read()
    assert child.wait() == 0
    assert errors == b""


def test_an_output_of_few_letters_gets_replacements():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    with View("digits", 10, Console(file=stream)) as view:
        view.event("数字")
        view.event("done")
    stream.seek(0)
    assert stream.read() == "??\ndone\n"
