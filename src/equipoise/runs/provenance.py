"""The one place where pictures and arrays are written: each has a label that says a model made it, and is read back."""

import hashlib
import io
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image, ImageSequence, PngImagePlugin, UnidentifiedImageError

from equipoise.core.disk import disk_errors, replace_file
from equipoise.core.errors import DataError, DiskError
from equipoise.version import __version__

FORMATS = ("PNG", "WEBP", "JPEG")
SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
DIGITAL_SOURCE_TYPE = f"{SOURCE_TYPES}trainedAlgorithmicMedia"
STATEMENT = "Made by a generative model. Not a photograph or a record of anything real."
RESTORED_SOURCE_TYPE = f"{SOURCE_TYPES}compositeWithTrainedAlgorithmicMedia"
RESTORED = "Restored by a generative model: details may be invented, and are no evidence of what was there."
ANSWERED = "Side by side: what a generative model was given, its answer, and what was asked for."
"""What is said of pictures made from nothing, of those that a model was given and changed, and of both together."""


@dataclass(frozen=True, kw_only=True)
class Label:
    """Where a picture or an array comes from: which run made it, at which step, with which tool, when."""

    run: str
    step: int
    seed: int | None = None
    tool: str = f"Equipoise {__version__}"
    time: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    statement: str = STATEMENT
    source_type: str = DIGITAL_SOURCE_TYPE
    """The term of IPTC's vocabulary "Digital Source Type"."""


Picture = np.ndarray | Image.Image
"""uint8 [H, W] or [H, W, 3], or a picture of Pillow."""


def write_png(image: Picture, path: Path | str, label: Label) -> Path:
    """Write a labelled PNG, whole or not at all."""
    return _write(png_bytes(image, label), Path(path))


def png_bytes(image: Picture, label: Label) -> bytes:
    """A labelled PNG in memory, for places that are not files: event logs and web pages."""
    picture = _as_picture(image)
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", _packet(label))
    text.add_text("Software", _encode(label.tool))
    text.add_text("Description", _encode(label.statement))
    stream = io.BytesIO()
    picture.save(stream, "PNG", pnginfo=text)
    data = stream.getvalue()
    _expect(read_label(data) == label, "the label of a PNG")
    _expect(_same(Image.open(io.BytesIO(data), formats=["PNG"]), picture), "the pixels of a PNG")
    return data


LABELLED = (".png", ".jpg", ".jpeg", ".webp")
"""Suffixes of pictures that can be written with a label."""


def write_picture(image: Image.Image, path: Path | str, label: Label) -> Path:
    """Write a labelled picture in the format of its name, whole or not at all: PNG, JPEG (95 %), lossless WebP."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".png":
        return write_png(image, path, label)
    if suffix not in LABELLED:
        raise ValueError(f"{path}: expected a name that ends in {', '.join(LABELLED)}.")
    stream = io.BytesIO()
    if suffix == ".webp":
        image.save(stream, "WEBP", lossless=True, exact=True, xmp=_packet(label).encode())
    else:
        image.save(stream, "JPEG", quality=95, subsampling=0, xmp=_packet(label).encode())
    data = stream.getvalue()
    _expect(read_label(data) == label, "the label of a picture")
    return _write(data, path)


def write_animation(
    frames: Iterable[Picture],
    path: Path | str,
    label: Label,
    *,
    seconds_per_frame: float = 0.15,
    seconds_at_end: float = 2.0,
) -> Path:
    """Write a labelled, lossless, endlessly looping WebP, whole or not at all. The last frame is held for longer."""
    pictures = [_as_picture(frame).convert("RGB") for frame in frames]
    if not pictures:
        raise ValueError("write_animation: got no frames, expected at least one.")
    if len({picture.size for picture in pictures}) > 1:
        sizes = ", ".join(sorted({f"{width}x{height}" for width, height in (picture.size for picture in pictures)}))
        raise ValueError(f"write_animation: frames of different sizes ({sizes}). Make them all the same size.")
    durations = [round(seconds_per_frame * 1000)] * (len(pictures) - 1) + [round(seconds_at_end * 1000)]
    stream = io.BytesIO()
    pictures[0].save(
        stream,
        "WEBP",
        save_all=True,
        append_images=pictures[1:],
        duration=durations,
        loop=0,
        lossless=True,
        quality=50,  # of the search for a small file, not of the picture
        method=2,
        xmp=_packet(label).encode(),
    )
    data = stream.getvalue()
    _expect(read_label(data) == label, "the label of an animation")
    with Image.open(io.BytesIO(data), formats=["WEBP"]) as written:
        last = [frame.copy() for frame in ImageSequence.Iterator(written)][-1]
    _expect(_same(last, pictures[-1]), "the last frame of an animation")
    return _write(data, Path(path))


def write_array(values: np.ndarray, path: Path | str, label: Label) -> Path:
    """Write an .npy file and beside it, as the format has no room for it, the label: `path`.json, with a SHA-256."""
    stream = io.BytesIO()
    np.save(stream, values, allow_pickle=False)
    data, path = stream.getvalue(), Path(path)
    about = {"digital_source_type": label.source_type, **asdict(label), "sha256": hashlib.sha256(data).hexdigest()}
    del about["source_type"]
    _write(json.dumps(about, indent=1).encode(), path.with_name(f"{path.name}.json"))
    return _write(data, path)


def read_label(source: Path | str | bytes) -> Label | None:
    """The label of a PNG, WebP or JPEG file or of its bytes; None where there is none of ours, which proves nothing."""
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
            packet = image.info.get("XML:com.adobe.xmp") or image.info.get("xmp") or b""
    except (UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        name = "These bytes are" if isinstance(source, bytes) else f"{source} is"
        raise DataError(f"{name} not a PNG, WebP or JPEG picture that can be read: {error}") from error
    except OSError as error:
        raise DataError(f"The picture {source!s:.200} cannot be read: {error}") from error
    try:
        return _parse(packet.decode() if isinstance(packet, bytes) else str(packet))
    except (UnicodeDecodeError, ElementTree.ParseError, ValueError, AttributeError, TypeError):
        return None


# The packet is XMP (ISO 16684-1) with the property "Digital Source Type" of IPTC's photo metadata standard.
_NAMESPACES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "equipoise": "urn:equipoise:label:1#",
}
_MAX_PACKET = 1 << 18


def _packet(label: Label) -> str:
    names = " ".join(f'xmlns:{prefix}="{address}"' for prefix, address in _NAMESPACES.items())
    seed = "" if label.seed is None else f"<equipoise:seed>{label.seed}</equipoise:seed>"
    statement = escape(_encode(label.statement))
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {names}><rdf:Description rdf:about="">'
        f"<Iptc4xmpExt:DigitalSourceType>{label.source_type}</Iptc4xmpExt:DigitalSourceType>"
        f"<xmp:CreatorTool>{escape(_encode(label.tool))}</xmp:CreatorTool>"
        f"<xmp:CreateDate>{escape(_encode(label.time))}</xmp:CreateDate>"
        f'<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{statement}</rdf:li></rdf:Alt></dc:description>'
        f"<equipoise:run>{escape(_encode(label.run))}</equipoise:run>"
        f"<equipoise:step>{label.step}</equipoise:step>{seed}"
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    )


def _parse(packet: str) -> Label | None:
    # Declarations are refused before the parser sees them: no entities, so nothing to expand.
    if not packet or len(packet) > _MAX_PACKET or "<!" in packet:
        return None
    description = ElementTree.fromstring(packet).find(".//rdf:Description", _NAMESPACES)
    if description is None:
        return None
    source_type = description.findtext("Iptc4xmpExt:DigitalSourceType", "", _NAMESPACES)
    if source_type not in (DIGITAL_SOURCE_TYPE, RESTORED_SOURCE_TYPE):
        return None
    texts = {
        name: description.findtext(place, None, _NAMESPACES)
        for name, place in {
            "run": "equipoise:run",
            "tool": "xmp:CreatorTool",
            "time": "xmp:CreateDate",
            "statement": "dc:description/rdf:Alt/rdf:li",
        }.items()
    }
    step = description.findtext("equipoise:step", None, _NAMESPACES)
    seed = description.findtext("equipoise:seed", None, _NAMESPACES)
    if step is None or None in texts.values():
        return None
    decoded = {name: _decode(text) for name, text in texts.items() if text is not None}
    return Label(**decoded, source_type=source_type, step=int(step), seed=None if seed is None else int(seed))


def _encode(text: str) -> str:
    """Text in which all that XML cannot hold or may change (controls, line ends, half pairs) is written as \\uXXXX."""
    return re.sub(r"[\\\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", lambda match: f"\\u{ord(match[0]):04x}", text)


def _decode(text: str) -> str:
    return re.sub(r"\\u([0-9a-f]{4})", lambda match: chr(int(match[1], 16)), text)


def _as_picture(image: Picture) -> Image.Image:
    if isinstance(image, Image.Image):
        return image if image.mode in ("L", "LA", "RGB", "RGBA", "I;16") else image.convert("RGB")
    if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)) or not image.size:
        raise ValueError(
            f"A picture of shape {list(image.shape)} and type {image.dtype}: expected uint8 [H, W] or [H, W, 3]. "
            "equipoise.monitor.grids.grid makes one from a batch of images."
        )
    return Image.fromarray(np.ascontiguousarray(image))


def _same(one: Image.Image, other: Image.Image) -> bool:
    return one.size == other.size and bool(np.array_equal(np.asarray(one.convert(other.mode)), np.asarray(other)))


def _expect(held: bool, what: str) -> None:
    if not held:
        raise DiskError(f"Writing {what} failed: what was read back differs from what was meant.")


def _write(data: bytes, path: Path) -> Path:
    with disk_errors("writing a picture", path, num_bytes=len(data)):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, data)
        _expect(path.read_bytes() == data, str(path))
    return path
