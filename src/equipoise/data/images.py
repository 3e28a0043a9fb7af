"""Decoding one image by stated rules: bytes in, uint8 [C, H, W] out, or an error that names the reason."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple, get_args

import numpy as np
from PIL import Image

from equipoise.core.errors import DataError, nearest

Fit = Literal["crop", "pad", "stretch"]
"""How an image that is not square becomes square: centre crop, black edges, or distortion."""

Filter = Literal["auto", "lanczos", "bicubic", "bilinear", "hamming", "box", "nearest"]
"""By what images are resized, antialiased but for "nearest"; "auto" is Lanczos where an axis shrinks, else bicubic."""

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff")
MAX_PIXELS = 64_000_000


class ImageError(DataError):
    """One image that cannot be decoded; the message is the reason."""


class Header(NamedTuple):
    """What is known of an image before its pixels are decoded."""

    width: int
    height: int
    grey: bool


def decode(
    data: bytes,
    *,
    size: int | None = None,
    channels: int | None = None,
    fit: Fit = "crop",
    filter: Filter = "auto",
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """The pixels of an encoded image, uint8 [C, H, W].

    - Format: PNG, JPEG, WebP, BMP, GIF or TIFF, told by content. Of several frames the first is taken.
    - Limit: more than `max_pixels` in the header is refused before anything is decoded.
    - Orientation: the EXIF tag is applied.
    - Colour: 1-bit, grey and 16-bit grey (v / 257) are grey; a palette is grey if all its entries are; RGB, CMYK,
      YCbCr, LAB and HSV become RGB. Transparency is laid over white. 32-bit integers and floats are refused.
    - `channels`: None keeps grey as 1 and colour as 3; 1 takes the luma of ITU-R 601; 3 repeats grey.
    - `size`: None keeps height and width. Otherwise the result is `size` x `size`: "crop" takes the central square,
      "pad" keeps all and centres it on black, "stretch" ignores the aspect ratio.
    - `filter`: "auto" is Lanczos with antialias where an axis shrinks, else bicubic; or one of them by name.

    Anything else is an `ImageError`.
    """
    check_rules(size, channels, fit, filter)
    with _reasons():
        image = _open(data, max_pixels)
        image.load()
        turn = _TURNS.get(_orientation(image))
        image = _plain(image)
        if turn is not None:
            image = image.transpose(turn)
        if channels is not None:
            image = image.convert("L" if channels == 1 else "RGB")
        if size is not None:
            image = fitted(image, size, fit, filter=filter)
        pixels = np.asarray(image)  # [H, W] or [H, W, 3]
        return np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))


def deep_or_indexed(data: bytes, *, max_pixels: int = MAX_PIXELS) -> np.ndarray | None:
    """The stored values [H, W] of 16-bit grey, and the indices of a palette of colours; None of anything else."""
    with _reasons():
        image = _open(data, max_pixels)
        if image.mode not in _DEEP_GREY and (image.mode != "P" or _is_grey(image)):
            return None
        image.load()
        return np.array(image)


def measure(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Header:
    """Size and greyness of an encoded image; refuses what `decode` refuses for its header, decodes only palettes."""
    with _reasons():
        image = _open(data, max_pixels)
        return Header(image.width, image.height, _is_grey(image))


def fitted(image: Image.Image, size: int, fit: Fit, *, black: float = 0, filter: Filter = "auto") -> Image.Image:
    """The image as a square of `size` pixels, by the rules of `decode`."""
    width, height = image.size
    target = (size, size)
    if fit == "crop":
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        if width != height:
            image = image.crop((left, top, left + side, top + side))
    elif fit == "pad":
        scale = size / max(width, height)
        target = (max(1, round(width * scale)), max(1, round(height * scale)))
    if image.size != target:
        shrinks = target[0] < image.width or target[1] < image.height
        chosen = ("lanczos" if shrinks else "bicubic") if filter == "auto" else filter
        image = image.resize(target, Image.Resampling[chosen.upper()])
    if target == (size, size):
        return image
    canvas = Image.new(image.mode, (size, size), black)
    canvas.paste(image, ((size - target[0]) // 2, (size - target[1]) // 2))
    return canvas


def check_rules(size: int | None, channels: int | None, fit: str, filter: str = "auto") -> None:
    """Refuses rules that make no sense, whatever the image."""
    if size is not None and size < 1:
        raise DataError(f"size={size}: expected a number of pixels of at least 1.")
    if channels not in (None, 1, 3):
        raise DataError(f"channels={channels}: expected 1 (grey) or 3 (colour).")
    if fit not in get_args(Fit):
        raise DataError(f"fit={fit!r} is unknown. {nearest(fit, get_args(Fit))}")
    if filter not in get_args(Filter):
        raise DataError(f"filter={filter!r} is unknown. {nearest(filter, get_args(Filter))}")


_DEEP_GREY = ("I;16", "I;16L", "I;16B", "I;16N")
_WITH_ALPHA = ("LA", "PA", "RGBA", "RGBa")
_MODES = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", *_WITH_ALPHA, *_DEEP_GREY)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EXIF_ORIENTATION = 0x0112


@contextmanager
def _reasons() -> Iterator[None]:
    # Damaged files make the decoder raise almost any exception, so all of them are translated here.
    try:
        yield
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"decompression bomb: {error}") from error
    except Exception as error:
        raise ImageError(f"damaged image ({type(error).__name__}: {error})") from error


def _open(data: bytes, max_pixels: int) -> Image.Image:
    if not data:
        raise ImageError("the file is empty (0 bytes)")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.UnidentifiedImageError as error:
        raise ImageError(f"not a readable {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image") from error
    pixels = image.width * image.height
    if pixels > max_pixels:
        raise ImageError(
            f"decompression bomb: {image.width} x {image.height} = {pixels:,} pixels, "
            f"at most {max_pixels:,} are decoded; make the image smaller"
        )
    if image.mode not in _MODES:
        kind = {"I": "32-bit integers", "F": "32-bit floats"}.get(image.mode, "unknown")
        raise ImageError(
            f"pixel mode {image.mode} ({kind}) has no fixed range; "
            "save it with 8 or 16 bits, or give the values as a .npy array of floats in [-1, 1]"
        )
    return image


def _orientation(image: Image.Image) -> int:
    # Cameras and editors write broken EXIF beside sound pixels: that is no reason to lose the image.
    try:
        return image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:
        return 1


def _is_grey(image: Image.Image) -> bool:
    if image.mode in ("P", "PA"):
        palette = np.asarray(image.getpalette("RGB")).reshape(-1, 3)
        return bool((palette == palette[:, :1]).all())
    return image.mode in ("1", "L", "LA", *_DEEP_GREY)


def _plain(image: Image.Image) -> Image.Image:
    """The same picture as opaque 8-bit grey (L) or colour (RGB)."""
    mode = "L" if _is_grey(image) else "RGB"
    clear = image.info.get("transparency")
    if image.mode in _DEEP_GREY:
        deep = np.array(image).astype(np.uint32)
        if isinstance(clear, int):
            deep[deep == clear] = 65535
        return Image.fromarray(((deep + 128) // 257).astype(np.uint8))
    if clear is not None or image.mode in _WITH_ALPHA:
        above = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", above.size, "white"), above)
    return image.convert(mode)
