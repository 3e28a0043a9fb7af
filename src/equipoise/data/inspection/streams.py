"""Damage that decoders pass over: missing ends, wrong checksums, and JPEG streams that lost the thread."""

import io
import re
import zlib
from typing import NamedTuple

import simplejpeg
from PIL import Image

_SIGNATURES = {
    "JPEG": b"\xff\xd8\xff",
    "PNG": b"\x89PNG\r\n\x1a\n",
    "GIF": b"GIF8",
    "WEBP": b"RIFF",
    "BMP": b"BM",
    "TIFF": (b"II*\0", b"MM\0*"),
}
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_CHECKED = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")


class Damage(NamedTuple):
    """What is wrong with a file, and whether its end is missing."""

    truncated: bool
    reason: str


def begins_like_an_image(data: bytes) -> bool:
    """Whether the first bytes are those of a format that is read."""
    return any(data.startswith(signature) for signature in _SIGNATURES.values())


def damage(data: bytes) -> Damage | None:
    """What can be told from the bytes of a JPEG or PNG file without looking at its picture; None if they are sound."""
    if data.startswith(b"\xff\xd8"):
        return _jpeg_damage(data)
    return _png_damage(data) if data.startswith(b"\x89PNG\r\n\x1a\n") else None


def _png_damage(data: bytes) -> Damage | None:
    position = 8
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        name = data[position + 4 : position + 8]
        end = position + 12 + length
        if end > len(data):
            break
        checksum = zlib.crc32(data[position + 4 : end - 4])
        if name in _CHECKED and checksum != int.from_bytes(data[end - 4 : end], "big"):
            return Damage(False, f"the checksum of its part {name.decode()} at byte {position} is wrong")
        if name == b"IEND":
            return None
        position = end
    return Damage(True, f"it ends after {len(data):,} bytes, in the middle of its data")


def _jpeg_damage(data: bytes) -> Damage | None:
    """Walks from marker to marker; then decodes once strictly, and once without the last byte of the stream.

    A decoder needs the stream of a sound file to its last byte. Where it is content with less, bytes were left over:
    it had lost the thread on the way. Damage whose bytes happen to be a whole picture again is not seen.
    """
    position, end = 2, None
    while data[position : position + 2] != b"\xff\xd9":
        if position + 4 > len(data):
            if end is not None and data.rfind(b"\xff\xd9") >= end:
                return Damage(False, f"a marker at byte {end} leads out of the file")
            return Damage(True, f"it ends after {len(data):,} bytes, without the mark of its end")
        code = data[position + 1]
        if data[position] != 0xFF or code < 0xC0:
            return Damage(False, f"no marker where one has to be, at byte {position}")
        if code == 0xFF:  # a filling byte
            position += 1
            continue
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if code == 0xDA:
            marker = _MARKER.search(data, position)
            if marker is None:
                return Damage(True, f"it ends after {len(data):,} bytes, without the mark of its end")
            position = end = marker.start()
    if end is None:
        return Damage(False, "it holds no picture")
    try:
        simplejpeg.decode_jpeg(data, colorspace="gray", fastdct=True, min_height=1, min_width=1, min_factor=8)
    except ValueError as error:  # also for what other decoders can read, such as CMYK
        if "orrupt" in str(error) and "extraneous" not in str(error):  # which the last look tells from padding
            return Damage(False, str(error))
    rest = data[:end].rstrip(b"\xff\x00")  # some cameras fill up with these
    try:
        image = Image.open(io.BytesIO(rest[:-1]), formats=("JPEG",))
        image.draft("L", (1, 1))
        image.load()
    except Exception:
        return None
    return Damage(False, "its data goes on after the picture is complete: the decoder lost the thread on the way")
