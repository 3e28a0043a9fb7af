"""When there is enough to judge by."""

from equipoise.doctor.history import History

STEPS, LOOKS = 250, 4


def warm(history: History, name: str) -> bool:
    """Whether training has gone on for a while and the signal was measured a few times."""
    return history.step >= STEPS and history.looks(name) >= LOOKS
