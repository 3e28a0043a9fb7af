"""SIGTERM and SIGINT become a wish that the trainer grants between two steps; a second signal leaves at once."""

import os
import signal
import threading
from types import FrameType


class Interruption:
    """A context in which the first signal is only noted, in `signal_number`; the former handlers come back after it."""

    watched = (signal.SIGTERM, signal.SIGINT)

    def __init__(self):
        self.signal_number = 0
        self.former: dict[int, object] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
            self.former = {number: signal.signal(number, self.note) for number in self.watched}
        return self

    def note(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number:
            os._exit(128 + number)
        self.signal_number = number

    def __exit__(self, *exception: object) -> None:
        for number, handler in self.former.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
