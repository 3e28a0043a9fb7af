"""Every rule by which one image is decoded."""

import io
import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from equipoise.core.errors import DataError
from equipoise.data import ImageError, decode
from equipoise.data.images import measure


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_keep_every_byte(kind):
    image = picture(5, 7)
    pixels = decode(encoded(image, kind))
    assert pixels.dtype == np.uint8
    assert pixels.flags["C_CONTIGUOUS"]
    assert np.array_equal(pixels, np.asarray(image).transpose(2, 0, 1))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF"])
def test_lossy_formats_come_close(kind):
    flat = Image.new("RGB", (16, 16), (200, 100, 50))
    assert np.abs(decode(encoded(flat, kind)).astype(int) - [[[200]], [[100]], [[50]]]).max() <= 4


@pytest.mark.parametrize("mode", ["1", "L"])
def test_grey_has_one_channel_and_colour_three(mode):
    assert decode(encoded(picture(4, 4).convert(mode))).shape == (1, 4, 4)
    assert decode(encoded(picture(4, 4))).shape == (3, 4, 4)


def test_bilevel_becomes_black_and_white():
    image = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    assert decode(encoded(image)).flatten().tolist() == [0, 255]


def test_asked_channels_are_given():
    grey, colour = encoded(picture(4, 4).convert("L")), encoded(Image.new("RGB", (2, 2), (255, 0, 0)))
    assert np.ptp(decode(grey, channels=3), axis=0).max() == 0
    assert decode(grey, channels=3).shape == (3, 4, 4)
    assert decode(colour, channels=1).flatten().tolist() == [76] * 4  # 0.299 * 255


def test_transparency_is_laid_over_white():
    pixels = np.array([[[10, 20, 30, 0], [10, 20, 30, 255], [0, 0, 0, 128]]], np.uint8)
    opaque = decode(encoded(Image.fromarray(pixels, "RGBA")))
    assert opaque[:, 0, 0].tolist() == [255, 255, 255]
    assert opaque[:, 0, 1].tolist() == [10, 20, 30]
    assert opaque[:, 0, 2].tolist() == pytest.approx([127, 127, 127], abs=1)


def test_grey_with_transparency_stays_grey():
    image = Image.fromarray(np.array([[[40, 0], [40, 255]]], np.uint8), "LA")
    assert decode(encoded(image)).tolist() == [[[255, 40]]]


def palette_image(colours: list[int], **options) -> bytes:
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    image.putpalette(colours)
    return encoded(image, **options)


def test_a_palette_becomes_colour():
    assert decode(palette_image([9, 8, 7, 1, 2, 3])).transpose(1, 2, 0).tolist() == [[[9, 8, 7], [1, 2, 3]]]


def test_a_palette_of_greys_becomes_grey():
    assert decode(palette_image([9, 9, 9, 200, 200, 200])).tolist() == [[[9, 200]]]


@pytest.mark.parametrize("clear", [1, b"\xff\x00"])
def test_a_transparent_palette_entry_becomes_white(clear):
    pixels = decode(palette_image([9, 8, 7, 1, 2, 3], transparency=clear))
    assert pixels.transpose(1, 2, 0).tolist() == [[[9, 8, 7], [255, 255, 255]]]


def test_a_transparent_colour_or_grey_level_becomes_white():
    colour = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8))
    assert decode(encoded(colour, transparency=(1, 2, 3)))[:, 0].T.tolist() == [[255, 255, 255], [4, 5, 6]]
    grey = Image.fromarray(np.array([[7, 9]], np.uint8))
    assert decode(encoded(grey, transparency=7)).tolist() == [[[255, 9]]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_divided_by_257(kind):
    deep = np.array([[0, 257, 1000, 32768, 65535]], np.uint16)
    assert decode(encoded(Image.fromarray(deep), kind)).flatten().tolist() == [0, 1, 4, 128, 255]


def test_big_endian_sixteen_bits_are_read_too():
    deep = np.array([[0, 257, 65535]], ">u2")
    header = b"MM\0*\0\0\0\x08"
    entries = [(256, 3, 1, 3), (257, 3, 1, 1), (258, 3, 1, 16), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 0)]
    entries += [(277, 3, 1, 1), (278, 3, 1, 1), (279, 4, 1, 6)]
    offset = len(header) + 2 + 12 * len(entries) + 4
    table = b""
    for tag, kind, count, value in entries:
        body = struct.pack(">HH", value, 0) if kind == 3 else struct.pack(">I", offset if tag == 273 else value)
        table += struct.pack(">HHI", tag, kind, count) + body
    data = header + struct.pack(">H", len(entries)) + table + b"\0\0\0\0" + deep.tobytes()
    assert decode(data).flatten().tolist() == [0, 1, 255]


def test_cmyk_becomes_colour():
    red = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    for kind in ("JPEG", "TIFF"):
        pixels = decode(encoded(red, kind))
        assert pixels.shape == (3, 8, 8)
        assert pixels[0].min() > 240
        assert pixels[1:].max() < 15


def test_lab_becomes_rgb():
    assert decode(encoded(Image.new("LAB", (4, 4), (255, 128, 128)), "TIFF")).min() >= 250


@pytest.mark.parametrize(("mode", "words"), [("F", "32-bit floats"), ("I", "32-bit integers")])
def test_pixels_without_a_range_are_refused_by_name_with_the_fix(mode, words):
    with pytest.raises(ImageError, match=rf"pixel mode {mode} \({words}\).*\.npy array of floats"):
        decode(encoded(Image.new(mode, (4, 4)), "TIFF"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(kind, orientation):
    # A bright corner tells all eight apart together with the shape.
    upright = np.zeros((16, 32), np.uint8)
    upright[:8, :8] = 255
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: upright.T[::-1],
        7: upright.T[::-1, ::-1],
        8: upright.T[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(stored)).convert("RGB")
    pixels = decode(encoded(image, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {})))
    assert pixels.shape == (3, 16, 32)
    assert np.abs(pixels[0].astype(int) - upright).max() < 20


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_does_not_lose_the_image():
    data = encoded(picture(8, 8), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\xff\xff\xff")
    assert decode(data).shape == (3, 8, 8)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG"])
def test_of_an_animation_the_first_frame_is_taken(kind):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime")]
    pixels = decode(encoded(frames[0], kind, save_all=True, append_images=frames[1:]))
    assert pixels[0].min() > 240
    assert pixels[1].max() < 15


def three_bands() -> bytes:
    """Red, green and blue thirds, 30 high and 90 wide."""
    pixels = np.zeros((30, 90, 3), np.uint8)
    for band in range(3):
        pixels[:, 30 * band : 30 * (band + 1), band] = 255
    return encoded(Image.fromarray(pixels))


def test_crop_keeps_the_central_square():
    pixels = decode(three_bands(), size=30, fit="crop")
    assert pixels.shape == (3, 30, 30)
    assert pixels[1].min() == 255
    assert pixels[[0, 2]].max() == 0


def test_crop_does_not_let_the_outside_bleed_in():
    pixels = decode(three_bands(), size=10)
    assert pixels[1].min() == 255
    assert pixels[[0, 2]].max() == 0


def test_pad_keeps_all_on_black():
    pixels = decode(three_bands(), size=90, fit="pad")
    assert pixels.shape == (3, 90, 90)
    assert pixels[:, :30].max() == pixels[:, 60:].max() == 0
    assert pixels[0, 30:60, :30].min() == 255
    assert pixels[2, 30:60, 60:].min() == 255
    assert decode(three_bands(), size=30, fit="pad")[:, 10:20].sum(axis=0).min() > 200


def test_stretch_ignores_the_aspect_ratio():
    pixels = decode(three_bands(), size=30, fit="stretch")
    assert pixels.shape == (3, 30, 30)
    assert [pixels[band, :, 10 * band + 5].min() for band in range(3)] == [255, 255, 255]


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize(("height", "width"), [(1, 50), (50, 1), (7, 7), (1, 1)])
def test_any_shape_becomes_a_square(fit, height, width):
    assert decode(encoded(picture(height, width)), size=6, fit=fit).shape == (3, 6, 6)


def test_shrinking_is_antialiased():
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(decode(encoded(Image.fromarray(stripes)), size=16).astype(int) - 127).max() <= 15


def test_shrinking_is_lanczos_and_growing_is_bicubic():
    image = picture(12, 12)
    for size, filter in ((8, Image.Resampling.LANCZOS), (20, Image.Resampling.BICUBIC)):
        expected = np.asarray(image.resize((size, size), filter)).transpose(2, 0, 1)
        assert np.array_equal(decode(encoded(image), size=size), expected)


@pytest.mark.parametrize("name", ["lanczos", "bicubic", "bilinear", "hamming", "box", "nearest"])
def test_a_filter_may_be_named(name):
    image = picture(12, 12)
    for size in (8, 20):
        expected = np.asarray(image.resize((size, size), Image.Resampling[name.upper()])).transpose(2, 0, 1)
        assert np.array_equal(decode(encoded(image), size=size, filter=name), expected)


def test_box_is_the_mean_of_what_falls_into_a_pixel():
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    means = grey.reshape(4, 2, 4, 2).mean((1, 3))
    assert np.array_equal(decode(encoded(Image.fromarray(grey)), size=4, filter="box")[0], means)


def test_an_unknown_filter_is_answered_with_the_nearest():
    with pytest.raises(DataError, match=r"filter='lanczoz' is unknown\. Did you mean 'lanczos'"):
        decode(encoded(picture(4, 4)), size=8, filter="lanczoz")  # type: ignore[arg-type]


def test_a_square_of_the_right_size_is_not_touched():
    image = picture(9, 9)
    assert np.array_equal(decode(encoded(image), size=9), np.asarray(image).transpose(2, 0, 1))


def test_measure_knows_size_and_greyness():
    assert measure(encoded(picture(5, 7))) == (7, 5, False)
    assert measure(encoded(picture(5, 7).convert("L"))) == (7, 5, True)
    assert measure(palette_image([9, 9, 9, 1, 1, 1])).grey


def huge_png(side: int) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [8_001, 12_000, 40_000])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_decompression_bomb_is_refused_before_decoding(side):
    for refuse in (decode, measure):
        with pytest.raises(ImageError, match="decompression bomb"):
            refuse(huge_png(side))


def test_the_pixel_limit_can_be_set():
    with pytest.raises(ImageError, match=r"10 x 10 = 100 pixels, at most 99"):
        decode(encoded(picture(10, 10)), max_pixels=99)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "0 bytes"),
        (b"hello", "not a readable PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a readable PNG"),
        (encoded(picture(32, 32))[:-200], "truncated"),
        (encoded(picture(64, 64), "JPEG")[:700], "truncated"),
    ],
)
def test_what_cannot_be_read_says_why(data, words):
    with pytest.raises(ImageError, match=words):
        decode(data)


@pytest.mark.parametrize("rules", [{"size": 0}, {"channels": 4}, {"fit": "corp"}])
def test_rules_that_make_no_sense_are_refused(rules):
    with pytest.raises(DataError, match=r"expected|Did you mean 'crop'"):
        decode(encoded(picture(4, 4)), **rules)


SOUND = [
    encoded(picture(12, 10)),
    palette_image([1, 2, 3, 4, 5, 6], transparency=1),
    encoded(picture(24, 24), "JPEG", exif=Image.Exif()),
    encoded(picture(12, 12), "TIFF"),
    encoded(picture(12, 12), "GIF"),
    encoded(picture(12, 12), "WEBP"),
    encoded(picture(6, 6), "BMP"),
]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(SOUND),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6),
    st.integers(0, 10**6),
    st.booleans(),
)
@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_give_pixels_or_the_typed_error(sound, changes, cut, truncate):
    data = bytearray(sound)
    for place, value in changes:
        data[place % len(data)] = value
    data = bytes(data[: cut % len(data)] if truncate else data)
    with suppress(ImageError):
        assert decode(data, size=8, channels=3, max_pixels=10**6).shape == (3, 8, 8)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"GIF89a", b"II*\0"]),
    st.binary(max_size=200),
)
@pytest.mark.filterwarnings("ignore")
def test_random_bytes_give_the_typed_error(magic, rest):
    with suppress(ImageError):
        decode(magic + rest, max_pixels=10**6)
