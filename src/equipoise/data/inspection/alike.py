"""Which images show the same: a perceptual hash finds candidates, a comparison of the pictures confirms them."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from PIL import Image

HASHED = 32
"""Side of the grey images that are hashed."""
MAX_DISTANCE = 8
"""Bits of 64 in which the hashes of two candidates may differ. Of photographs that were encoded anew, resized to 0.6 to
1.6 times their side or made up to 15 % brighter, 99 % differ in at most 4."""
MAX_DIFFERENCE = 0.22
"""What may differ between two near duplicates beyond brightness and contrast, as a share of the picture's own spread.
Such changes came to 0.08 in the middle and to 0.19 in one case of ten; the most similar of 2,000 photographs of hands
to 0.29, of 6,000 handwritten digits to 0.22, with a worst block of 0.71."""
MAX_LOCAL_DIFFERENCE = 0.6
"""The same in the worst of 64 blocks: a small object that is elsewhere is a different picture."""
MAX_DIFFERENCE_IF_PLAIN = 0.08
"""The same for pictures that are mostly an even background, as drawn digits: by chance many of them come near."""

_GAIN = (0.7, 1.4)
_SHIFT = 40.0
_FLAT = 3.0
_COARSE = 0.95  # correlation of 8 x 8 grey squares
_FINE = 0.96  # of 16 x 16 colour squares
_FINE_IF_PLAIN = 0.99
_EVEN = 6
_ROWS = 256
_COLUMNS = 4096
_DENSE = 16_384
_COMPARED = 32
_SMALLEST = 16

_frequencies, _positions = np.arange(8)[:, None], np.arange(HASHED)[None]
_COSINES = np.cos(np.pi * (2 * _positions + 1) * _frequencies / (2 * HASHED)).astype(np.float32)  # [8, 32]


class Twin(NamedTuple):
    """An image that shows the same as another."""

    number: int
    distance: int
    """Bits in which their hashes differ."""
    difference: float
    """Root mean square of what differs beyond brightness and contrast, as a share of the picture's own spread."""


def hashes(grey: np.ndarray) -> np.ndarray:
    """Perceptual hashes of grey images, uint8 [N, 32, 32] -> uint64 [N].

    A bit for each of the 8 x 8 lowest frequencies of the discrete cosine transform: whether it is above their median.
    Changes of brightness and contrast leave it as it is; resizing and encoding anew change a few bits.
    """
    spectrum = (_COSINES @ grey.astype(np.float32) @ _COSINES.T).reshape(len(grey), 64)
    bits = spectrum > np.median(spectrum[:, 1:], axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(np.uint64)[:, 0]


def near_duplicates(
    codes: np.ndarray, thumbs: np.ndarray, picture: Callable[[int], Image.Image]
) -> Iterator[tuple[int, list[Twin]]]:
    """Groups of images that show the same: the first of each, and its twins, none of which is in another group.

    `codes` uint64 [N] and `thumbs` uint8 [N, 16, 16, 3] are in order of preference: the first of a group is the one to
    keep. `picture` decodes an image; it is asked for few. All hashes are compared with all, in blocks of numpy that
    stay in the processor's cache: some seconds for 60,000 images.
    """
    if len(codes) < 2:
        return
    coarse = _unit(thumbs.reshape(len(thumbs), 8, 2, 8, 2, 3).mean(axis=(2, 4, 5), dtype=np.float32))  # [N, 64]
    lively = thumbs.reshape(len(thumbs), -1).std(axis=1, dtype=np.float32) > _FLAT
    alive = lively.copy()
    plain = _plain(thumbs)
    for begin in range(0, len(codes), _ROWS):
        rows = np.flatnonzero(alive[begin : begin + _ROWS]) + begin
        columns = np.flatnonzero(alive[begin:]) + begin
        pairs = [
            _candidates(codes, coarse, rows, columns[start : start + _COLUMNS])
            for start in range(0, len(columns), _COLUMNS)
        ]
        if not pairs:
            continue
        firsts, seconds, distances = (np.concatenate(column) for column in zip(*pairs, strict=True))
        order = np.lexsort((seconds, firsts))
        edges = np.flatnonzero(np.diff(firsts[order], prepend=-1, append=-1))
        for start, stop in pairwise(edges.tolist()):
            first = int(firsts[order[start]])
            if not alive[first]:
                continue
            chosen = order[start:stop][alive[seconds[order[start:stop]]]]
            limit = MAX_DIFFERENCE_IF_PLAIN if plain[first] else MAX_DIFFERENCE
            correlation = _unit(thumbs[seconds[chosen]]) @ _unit(thumbs[first : first + 1])[0]
            near = correlation >= (_FINE_IF_PLAIN if plain[first] else _FINE)
            twins = []
            shown = picture(first) if near.any() else None
            for place in chosen[near]:
                second = int(seconds[place])
                difference = compared(shown, picture(second)) if shown is not None else None
                if difference is not None and difference <= limit:
                    twins.append(Twin(second, int(distances[place]), difference))
                    alive[second] = False
            if twins:
                alive[first] = False
                yield first, twins


def compared(first: Image.Image, second: Image.Image) -> float | None:
    """How much two pictures differ beyond brightness and contrast; None if they do not show the same.

    Both are brought to the side of the smaller one, at most 32 pixels; below 16 nothing is said. The second is fitted
    as g · first + o; what remains is measured against the second's own spread, over all and in the worst of 64 blocks.
    """
    side = min(_COMPARED, *first.size, *second.size)
    if side < _SMALLEST:  # too little to tell simple pictures apart
        return None
    x, y = (
        np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.HAMMING, reducing_gap=3.0), np.float32)
        for image in (first, second)  # fine patterns of other scales would alias in a box
    )
    shift = abs(float(y.mean() - x.mean()))
    x, y = x - x.mean(), y - y.mean()
    spread = float(np.sqrt((y * y).mean()))
    if spread <= _FLAT or not x.any():
        return None
    gain = float((x * y).sum() / (x * x).sum())
    rest = y - gain * x
    length = max(1, side // 8)
    fit = side // length * length
    squares = (rest[:fit, :fit] ** 2).reshape(fit // length, length, fit // length, length, 3)
    worst = float(np.sqrt(squares.mean(axis=(1, 3, 4)).max())) / spread
    difference = float(np.sqrt((rest * rest).mean())) / spread
    alike = difference <= MAX_DIFFERENCE and worst <= MAX_LOCAL_DIFFERENCE
    return difference if alike and _GAIN[0] <= gain <= _GAIN[1] and shift <= _SHIFT else None


def _candidates(
    codes: np.ndarray, coarse: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of a row and a later column whose hashes are near, and whose small grey pictures correlate."""
    apart = np.bitwise_count(codes[rows, None] ^ codes[None, columns])
    i, j = np.nonzero(apart <= MAX_DISTANCE)
    later = columns[j] > rows[i]
    i, j = i[later], j[later]
    if len(i) > _DENSE:  # simple pictures, such as digits, have similar hashes
        near = (coarse[rows] @ coarse[columns].T)[i, j] >= _COARSE
    else:
        near = np.einsum("pd,pd->p", coarse[rows[i]], coarse[columns[j]]) >= _COARSE
    i, j = i[near], j[near]
    return rows[i], columns[j], apart[i, j]


def _plain(thumbs: np.ndarray) -> np.ndarray:
    """Which pictures are for more than half of one even colour, bool [N]."""
    middle = np.median(thumbs, axis=(1, 2), keepdims=True)
    return (np.abs(thumbs - middle) <= _EVEN).all(axis=3).mean(axis=(1, 2)) > 0.5


def _unit(values: np.ndarray) -> np.ndarray:
    """Each example as a vector of length one around its mean, float32 [N, D]."""
    flat = values.reshape(len(values), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
