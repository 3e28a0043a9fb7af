"""Which part an example belongs to: a function of its name or content, so that parts stay as they are when data grows.

A key names an example for good: its path, or the hash of its content, with which equal files never come apart. Where an
example belongs follows from its key alone (`part_of`, `by_hash`, `fold_of`), or is counted out within each class
(`stratified`, `k_fold`).
"""

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

from equipoise.core.errors import DataError

PARTS = {"train": 0.8, "held_out": 0.1, "test": 0.1}
"""Usual shares."""


class Fold(NamedTuple):
    """One of k divisions: numbers of the examples to train on, and of those held out."""

    train: list[int]
    held_out: list[int]


def content_key(data: bytes) -> str:
    """The key of an example by its content: SHA-256, in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def part_of(key: str, shares: Mapping[str, float] = PARTS, *, salt: str = "") -> str:
    """The part of one example, by its key alone: it never changes, whatever else is added or taken away.

    The hash of the key, as a number u in [0, 1), falls into one of the intervals that the shares cut, in their order.
    `salt` gives another division of the same keys. A `DataError` if the shares are negative or do not add up to 1.

    >>> [part_of(f"{number}.png") for number in range(9, 12)]
    ['train', 'held_out', 'test']
    """
    _check(shares)
    position = _position(key, salt)
    edge = 0.0
    for part, share in shares.items():
        edge += share
        if position < edge:
            return part
    return [part for part, share in shares.items() if share > 0][-1]  # the sum may fall short of 1 by 1e-9


def by_hash(keys: Sequence[str], shares: Mapping[str, float] = PARTS, *, salt: str = "") -> dict[str, list[int]]:
    """The numbers of the examples of each part, each by `part_of`: no example ever changes its part.

    The shares are met on average: of n examples, a part with share s gets s n ± √(s (1 - s) n).
    """
    parts: dict[str, list[int]] = {part: [] for part in shares}
    _check(shares)
    for number, key in enumerate(keys):
        parts[part_of(key, shares, salt=salt)].append(number)
    return parts


def stratified(
    keys: Sequence[str],
    labels: Sequence[Hashable],
    shares: Mapping[str, float] = PARTS,
    *,
    salt: str = "",
    kept: Mapping[str, str] | None = None,
) -> dict[str, list[int]]:
    """The numbers of the examples of each part, such that every class gives each part its share, to within one example.

    Within a class, the examples come one after another by the hash of their keys, and each goes to the part that lacks
    most; those of equal keys go together. `kept` (key -> part) is an earlier division: its members stay where they are,
    and new examples fill up what lacks. Without it, a division of more data may differ from the division of fewer.
    """
    _check(shares)
    if len(keys) != len(labels):
        raise DataError(f"{len(labels)} labels for {len(keys)} keys. Expected one label for each key.")
    settled = dict(kept or {})
    unknown = sorted({part for part in settled.values() if part not in shares})
    if unknown:
        raise DataError(f"kept names the parts {', '.join(unknown)}. Expected {', '.join(shares)}.")
    parts: dict[str, list[int]] = {part: [] for part in shares}
    for members in _classes(labels).values():
        lacking = {part: share * len(members) for part, share in shares.items()}
        copies = _copies(keys, members, salt)
        for key in sorted(copies, key=lambda key: key not in settled):  # first what stays where it is
            part = settled.setdefault(key, max(lacking, key=lacking.__getitem__))
            lacking[part] -= len(copies[key])
            parts[part] += copies[key]
    return {part: sorted(numbers) for part, numbers in parts.items()}


def fold_of(key: str, k: int, *, salt: str = "") -> int:
    """The fold of one example, 0 … k-1, by its key alone: it never changes when data is added."""
    _check_folds(k)
    return int(_position(key, salt) * k)


def k_fold(keys: Sequence[str], k: int, *, labels: Sequence[Hashable] | None = None, salt: str = "") -> list[Fold]:
    """k divisions in which every example is held out exactly once.

    Within each class (or in all, without labels) the examples are dealt out in the order of their hashes: the folds of
    a class differ by at most one example, and those of all classes together too. Examples of equal keys are dealt as
    one.
    """
    _check_folds(k)
    if len(keys) < k:
        raise DataError(f"{len(keys)} examples cannot be divided into {k} folds. Add more, or choose a smaller k.")
    if labels is not None and len(labels) != len(keys):
        raise DataError(f"{len(labels)} labels for {len(keys)} keys. Expected one label for each key.")
    groups = _classes(labels) if labels is not None else {None: list(range(len(keys)))}
    fold: dict[str, int] = {}
    for members in groups.values():
        # The next class goes on where the last one stopped, or the first folds would be larger.
        for key in _copies(keys, members, salt):
            fold.setdefault(key, len(fold) % k)
    folds = [fold[key] for key in keys]
    return [
        Fold(*([n for n, at in enumerate(folds) if (at == i) == aside] for aside in (False, True))) for i in range(k)
    ]


def _copies(keys: Sequence[str], members: Sequence[int], salt: str) -> dict[str, list[int]]:
    """The numbers of the members of each key, in the order of the keys' hashes."""
    found: dict[str, list[int]] = {}
    for number in sorted(members, key=lambda number: (_position(keys[number], salt), keys[number])):
        found.setdefault(keys[number], []).append(number)
    return found


def _position(key: str, salt: str) -> float:
    """A number in [0, 1) that belongs to a key; the same on every machine."""
    digest = hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8, key=_salted(salt)).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53  # as many bits as a float holds: never rounded up to 1


def _salted(salt: str) -> bytes:
    return hashlib.blake2b(salt.encode(), digest_size=16).digest()


def _classes(labels: Sequence[Hashable]) -> dict[Hashable, list[int]]:
    groups: dict[Hashable, list[int]] = {}
    for number, label in enumerate(labels):
        groups.setdefault(label, []).append(number)
    return groups


def _check(shares: Mapping[str, float]) -> None:
    if not shares or any(not share >= 0 for share in shares.values()) or abs(sum(shares.values()) - 1) > 1e-9:
        raise DataError(f"shares={dict(shares)}: expected shares of at least 0 that add up to 1, such as {PARTS}.")


def _check_folds(k: int) -> None:
    if k < 2:
        raise DataError(f"k={k}: expected at least 2 folds.")
