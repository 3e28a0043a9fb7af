"""One look at every image: everything the checks want to know, from decoding each file once."""

import hashlib
import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
from PIL import Image

from equipoise.core.errors import DataError
from equipoise.data.files import Files
from equipoise.data.images import FORMATS, MAX_PIXELS, decode
from equipoise.data.inspection.alike import HASHED, hashes
from equipoise.data.inspection.streams import begins_like_an_image, damage
from equipoise.data.threads import in_chunks

THUMB = 16
"""Side of the thumbnails that are compared and judged."""

_MIDDLE = 256
_LEVELS = np.arange(256.0)
_ORIENTATION = 0x0112
_PIXELS = {
    "1": "grey",
    "L": "grey",
    "I;16": "16-bit grey",
    "I;16B": "16-bit grey",
    "I;16L": "16-bit grey",
    "I;16N": "16-bit grey",
    "LA": "grey with transparency",
    "P": "palette",
    "PA": "palette with transparency",
    "RGB": "colour",
    "RGBX": "colour",
    "RGBA": "colour with transparency",
    "RGBa": "colour with transparency",
    "CMYK": "CMYK",
    "YCbCr": "YCbCr",
    "LAB": "LAB",
    "HSV": "HSV",
}
_FRAMED = ("GIF", "PNG", "WEBP", "TIFF")
"""Formats of animations and stacks. Phones put previews behind their JPEGs, which are none."""


class Facts(NamedTuple):
    """What is known of one image file."""

    name: str
    num_bytes: int = 0
    digest: str = ""
    """SHA-256 of the file."""
    fault: str | None = None
    """A kind of finding that says why there are no pixels, or why not to trust them."""
    reason: str = ""
    readable: bool = False
    """Whether training could decode it; the facts below are known then only."""
    width: int = 0
    height: int = 0
    pixels: str = ""
    """How pixels are stored, in words: "grey", "colour", "CMYK", …"""
    frames: int = 1
    orientation: int = 1
    picture: str = ""
    """Digest of the decoded pixels: equal for the same picture in another lossless file."""
    low: int = 0
    high: int = 0
    spread: float = 0.0
    """Standard deviation of the values of the liveliest channel, 0..127.5."""
    contrast: float = 0.0
    """Standard deviation of the luma."""
    fineness: float = 0.0
    """How much neighbouring pixels differ: 0 for smooth pictures, 1 for white noise."""


@final
@dataclass(frozen=True)
class Pictures:
    """The images that can be decoded, with what they are compared by; and what is known of all."""

    every: tuple[Facts, ...]
    facts: tuple[Facts, ...]
    """Of the readable ones, in the order of the arrays."""
    thumbs: np.ndarray
    """uint8 [N, 16, 16, 3]."""
    hashes: np.ndarray
    """Perceptual hashes, uint64 [N]."""


def look_at(files: Files, names: Sequence[str], progress: Callable[[int], None]) -> Pictures:
    """Decode every image once. `progress` is told how many are done."""
    every: list[Facts] = []
    kept: list[Facts] = []
    thumbs: list[np.ndarray] = []
    codes: list[np.ndarray] = []
    with warnings.catch_warnings():
        # Pillow's warning of large images: they become findings.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        for results in in_chunks(lambda name: _look(name, files), names):
            good = [result for result in results if isinstance(result, _Look)]
            every += [result.facts if isinstance(result, _Look) else result for result in results]
            kept += [result.facts for result in good]
            if good:
                thumbs.append(np.stack([result.thumb for result in good]))
                codes.append(hashes(np.stack([result.grey for result in good])))
            progress(len(every))
    return Pictures(
        tuple(every),
        tuple(kept),
        np.concatenate(thumbs) if thumbs else np.zeros((0, THUMB, THUMB, 3), np.uint8),
        np.concatenate(codes) if codes else np.zeros(0, np.uint64),
    )


class _Look(NamedTuple):
    facts: Facts
    thumb: np.ndarray
    grey: np.ndarray


def _look(name: str, files: Files) -> _Look | Facts:
    try:
        data = files.read(name)
    except DataError as error:
        return Facts(name, fault="unreadable", reason=str(error))
    facts = Facts(name, len(data), hashlib.sha256(data).hexdigest())
    if not data:
        return facts._replace(fault="empty-file", reason="it has 0 bytes")
    try:
        header = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        number = re.search(r"[0-9]{8,}", str(error))  # Pillow says how many, and refuses to say more
        declared = f"{int(number[0]):,} pixels in {len(data):,} bytes" if number else str(error)
        return facts._replace(fault="bomb", reason=f"it declares {declared}; at most {MAX_PIXELS:,} are decoded")
    except Exception as error:
        if not begins_like_an_image(data):
            return facts._replace(fault="not-an-image", reason=f"its {len(data):,} bytes are {_kind_of_text(data)}")
        harm = damage(data)
        kind = "truncated" if harm is not None and harm.truncated else "corrupt"
        return facts._replace(fault=kind, reason=harm.reason if harm else f"{type(error).__name__}: {error}")
    facts = facts._replace(width=header.width, height=header.height)
    if header.width * header.height > MAX_PIXELS:
        size = f"{header.width:,} x {header.height:,} pixels in {len(data):,} bytes"
        return facts._replace(fault="bomb", reason=f"it declares {size}; at most {MAX_PIXELS:,} are decoded")
    if header.mode not in _PIXELS:
        return facts._replace(fault="no-range", reason=f"its pixels are of the mode {header.mode}")

    harm = damage(data)
    try:
        pixels = decode(data)  # what training sees: [C, H, W]
    except DataError as error:
        reason = str(error).removeprefix("damaged image (").removesuffix(")")
        # A decoder that runs out of data calls a file truncated, also where its end is there.
        ends = data.startswith((b"\xff\xd8", b"\x89PNG"))
        truncated = harm.truncated if harm is not None else not ends and "truncated" in reason
        kind = "truncated" if truncated else "corrupt"
        return facts._replace(fault=kind, reason=harm.reason if harm is not None else reason)
    if harm is not None:
        facts = facts._replace(fault="truncated" if harm.truncated else "corrupt", reason=harm.reason)
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    luma = image if len(pixels) == 1 else image.convert("L")
    channels = np.asarray(image.histogram()).reshape(len(pixels), 256)
    spreads = [_deviation(counts) for counts in channels]
    widest = int(np.argmax(spreads))
    present = np.flatnonzero(channels[widest])
    stored = _PIXELS[header.mode]
    if "transparency" in header.info and "transparency" not in stored:
        stored += " with transparency"
    facts = facts._replace(
        readable=True,
        pixels=stored,
        frames=getattr(header, "n_frames", 1) if header.format in _FRAMED and _several(header) else 1,
        orientation=_orientation(header),
        picture=hashlib.blake2b(np.array(pixels.shape).tobytes() + pixels.tobytes(), digest_size=16).hexdigest(),
        low=int(present[0]),
        high=int(present[-1]),
        spread=spreads[widest],
        contrast=_deviation(luma.histogram()),
        fineness=_fineness(pixels),
    )
    thumb = np.asarray(image.convert("RGB").resize((THUMB, THUMB), Image.Resampling.BOX, reducing_gap=3.0))
    grey = np.asarray(luma.resize((HASHED, HASHED), Image.Resampling.BILINEAR, reducing_gap=3.0))
    return _Look(facts, thumb, grey)


def _deviation(counts: Sequence[int] | np.ndarray) -> float:
    """The standard deviation of values that are given by how often each of 0..255 occurs."""
    share = np.asarray(counts, np.float64)
    share = share / share.sum()
    mean = share @ _LEVELS
    return float(np.sqrt(share @ (_LEVELS - mean) ** 2))


def _fineness(pixels: np.ndarray) -> float:
    """Mean square of the differences of neighbours by twice the variance, in the middle of the picture."""
    _, height, width = pixels.shape
    top, left = max(0, height - _MIDDLE) // 2, max(0, width - _MIDDLE) // 2
    middle = pixels[:, top : top + _MIDDLE, left : left + _MIDDLE].astype(np.float32)
    variance = float(middle.var(axis=(1, 2)).mean())
    steps = [np.diff(middle, axis=axis) for axis in (1, 2) if middle.shape[axis] > 1]
    if variance == 0 or not steps:
        return 0.0
    return float(np.mean([(step**2).mean() for step in steps])) / (2 * variance)


def _several(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:
        return False


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:
        return 1


def _kind_of_text(data: bytes) -> str:
    """What a file is that is no image, as far as its beginning tells."""
    begin = data[:512].lstrip()
    if begin[:1] == b"<" and b"html" in begin.lower():
        return "a web page"
    if begin.isascii() and all(byte >= 32 or byte in b"\t\r\n" for byte in begin):
        return "text"
    return "of no image format that is read" if any(data) else "all zero"
