"""The live view in the terminal; plain lines where there is no terminal. It never disturbs training."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

_PLAYER_COLOURS = ("cyan", "magenta", "yellow", "green")


class View:
    """Where training stands: `with View("digits", 2000) as view: view.update(line); view.event("saved")`.

    `update` takes a line of `signals.jsonl`. If the terminal goes away (a closed pipe, a lost connection), the view
    falls silent and training goes on.
    """

    def __init__(
        self,
        title: str,
        total_steps: int,
        console: Console | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._title = _printable(title)
        self.total = total_steps
        """Steps that are planned; the autopilot may change that on the way."""
        self._console = console or Console()
        self._clock = clock
        capable = self._console.is_terminal and not self._console.is_dumb_terminal
        self._plain = not (capable and self._console.encoding.startswith("utf"))
        self._silent = False
        self._live: Live | None = None
        self._line: Mapping[str, Any] = {}
        self._event = ""
        self._marks: deque[tuple[float, int]] = deque(maxlen=20)

    def __enter__(self) -> "View":
        if not self._plain:
            # Without a thread of its own: drawn when there is news, never in the middle of a step.
            live = self._live = Live(self._draw(), console=self._console, auto_refresh=False)
            with self._harmless():
                live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        if live := self._live:
            with self._harmless():
                live.stop()

    def update(self, signals_line: Mapping[str, Any]) -> None:
        """Show a window of signals."""
        self._line = signals_line
        self._marks.append((self._clock(), int(signals_line.get("step", 0))))
        self._show(self._plain_line())

    def event(self, text: str) -> None:
        """Show that something happened."""
        self._event = _printable(text)
        self._show(self._event)

    def _show(self, plain: str) -> None:
        if live := self._live:
            picture = self._draw()
            with self._harmless():
                live.update(picture, refresh=True)
        elif self._plain and not self._silent:
            encoding = self._console.encoding
            with self._harmless():
                self._console.file.write(plain.encode(encoding, "replace").decode(encoding) + "\n")
                self._console.file.flush()

    @contextmanager
    def _harmless(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError):  # a broken pipe, a lost terminal; a closed file
            self._fall_silent()
        except SystemExit:
            # Rich answers a broken pipe so, having made itself quiet. Anybody else's exit is not ours to keep.
            if not self._console.quiet:
                raise
            self._fall_silent()

    def _fall_silent(self) -> None:
        live, self._live, self._silent = self._live, None, True
        if live:
            with suppress(OSError, ValueError, SystemExit):
                live.stop()  # gives sys.stdout and sys.stderr back
        with suppress(OSError, ValueError):
            # What is still buffered would fail again when the interpreter leaves.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._console.file.fileno())

    def _draw(self) -> Group:
        step = int(self._line.get("step", 0))
        head = Table.grid(expand=True)
        head.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        head.add_column(justify="right", no_wrap=True)
        head.add_row(Text(self._title, style="bold"), Text(f"step {step:,} / {self.total:,}"))
        foot = Table.grid(expand=True)
        foot.add_column(ratio=1)
        foot.add_column(justify="right")
        foot.add_row(Text(self._speed(), style="dim"), Text(self._left(), style="dim"))
        body = Table.grid(padding=(0, 2))
        body.add_column(style="dim", no_wrap=True, min_width=7)
        body.add_column()
        for index, (player, terms) in enumerate(_losses(self._line).items()):
            words = Text().append(f"{player}  ", style=_PLAYER_COLOURS[index % len(_PLAYER_COLOURS)])
            for term, value in terms.items():
                words.append(f"{term} ", style="dim").append(f"{_number(value)}   ", style="bold")
            body.add_row("loss" if index == 0 else "", words)
        if balance := self._balance():
            body.add_row("balance", balance)
        if (accuracy := _mean(self._line, "watch/accuracy")) is not None:
            body.add_row("critic", Text(f"right {accuracy:.0%} of the time"))
        if self._event:
            body.add_row("last", Text(self._event))
        bar = Table.grid(expand=True)
        bar.add_row(ProgressBar(total=max(self.total, 1), completed=min(step, self.total), complete_style="cyan"))
        return Group(head, bar, foot, body)

    def _balance(self) -> Text | None:
        """Real and fake logits on one axis around zero: the further apart, the stronger the critic."""
        real, fake = _mean(self._line, "watch/real"), _mean(self._line, "watch/fake")
        if real is None or fake is None:
            return None
        half = 10
        reach = max(abs(real), abs(fake), 1.0)
        axis = [("─", "dim")] * (2 * half + 1)
        axis[half] = ("┼", "dim")
        axis[half + round(fake / reach * half)] = ("F", "bold magenta")
        axis[half + round(real / reach * half)] = ("R", "bold cyan")
        return Text.assemble(("fake ", "magenta"), f"{_number(fake)} ", *axis, f" {_number(real)} ", ("real", "cyan"))

    def _plain_line(self) -> str:
        step = int(self._line.get("step", 0))
        parts = [f"step {step}/{self.total} ({step / max(self.total, 1):.0%})"]
        for player, terms in _losses(self._line).items():
            parts.append(", ".join(f"{player} {term} {_number(value)}" for term, value in terms.items()))
        real, fake, accuracy = (_mean(self._line, f"watch/{name}") for name in ("real", "fake", "accuracy"))
        if real is not None and fake is not None:
            parts.append(f"logits real {_number(real)} fake {_number(fake)}")
        if accuracy is not None:
            parts.append(f"critic right {accuracy:.0%}")
        return _printable("; ".join(part for part in (*parts, self._speed(), self._left()) if part))

    def _speed(self) -> str:
        speed = self._line.get("images_per_second")
        return f"{_number(speed)} images/s" if speed is not None else ""

    def _left(self) -> str:
        if not self._marks:
            return ""
        (begin, first), (end, step) = self._marks[0], self._marks[-1]
        if step > first:
            per_step = (end - begin) / (step - first)
        elif step and self._line.get("seconds"):
            per_step = self._line["seconds"] / step
        else:
            return ""
        seconds = round(max(self.total - step, 0) * per_step)
        hours, minutes = seconds // 3600, seconds // 60 % 60
        return f"{hours}:{minutes:02}:{seconds % 60:02} left" if hours else f"{minutes}:{seconds % 60:02} left"


def _losses(line: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """player -> term -> mean."""
    losses: dict[str, dict[str, float | None]] = {}
    for name in line.get("signals", {}):
        kind, _, rest = name.partition("/")
        if kind == "loss":
            player, _, term = rest.partition("/")
            losses.setdefault(player, {})[term or "loss"] = _mean(line, name)
    return losses


def _mean(line: Mapping[str, Any], name: str) -> float | None:
    return (line.get("signals", {}).get(name) or {}).get("mean")


def _number(value: float | None) -> str:
    if value is None:
        return "not finite"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"


def _printable(text: str) -> str:
    """One line without control codes: names come from users and files."""
    line = " ".join(text.split())
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)
