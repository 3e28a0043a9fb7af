"""Checks that settings of degradations and masks share: each raises a ValueError that says what was expected."""

import math
from collections.abc import Sequence

from equipoise.core.errors import nearest

Range = tuple[float, float]
"""The least and the greatest value of a number that is drawn uniformly for each image."""


def check_number(name: str, value: float, low: float, high: float) -> None:
    """Raise ValueError for a number outside its limits."""
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}: expected a number from {low} to {high:g}.")


def check_range(name: str, values: tuple[float, float], low: float, high: float) -> None:
    """Raise ValueError unless `values` are two numbers in order within the limits."""
    if len(values) != 2 or not low <= values[0] <= values[1] <= high:
        raise ValueError(
            f"{name} is {values}: expected the least and the greatest value, in this order, from {low} to {high:g}."
        )


def check_shares(shares: dict[str, float]) -> None:
    """Raise ValueError for a negative share, or where nothing has any."""
    if not all(0 <= share < math.inf for share in shares.values()) or sum(shares.values()) == 0:
        listing = ", ".join(f"{name} = {share}" for name, share in shares.items())
        raise ValueError(f"the shares are {listing}: expected numbers of at least 0, at least one above 0.")


def check_choice(name: str, value: str, valid: Sequence[str]) -> None:
    """Raise ValueError for a name that is not one of the valid ones."""
    if value not in valid:
        raise ValueError(f"{name} has {value!r}. {nearest(value, valid)}")


def check_bits(bits: int) -> None:
    """Raise ValueError for a number of bits no file has."""
    if not 0 <= bits <= 16:
        raise ValueError(f"round_to is {bits}: expected 1 to 16 bits, 8 as most files have, or 0 for none.")
