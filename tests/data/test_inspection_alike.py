"""Perceptual hashes, near duplicates, outliers, and damage that decoders pass over."""

import io

import numpy as np
import pytest
import scipy.fft
from PIL import Image, ImageDraw, ImageEnhance
from sklearn.datasets import load_digits

from benchmarks.defects import CLASSES, corrupted, encoded, picture
from equipoise.data.files import Files
from equipoise.data.inspection import alike, pictures
from equipoise.data.inspection.alike import compared, hashes, near_duplicates
from equipoise.data.inspection.outliers import outliers
from equipoise.data.inspection.streams import damage


def looked_at(images: list[Image.Image]) -> pictures.Pictures:
    """The images as they are looked at, in this order."""
    files = {f"{number:04d}.png": encoded(image, "PNG") for number, image in enumerate(images)}
    return pictures.look_at(Files(tuple(files), files.__getitem__), tuple(files), lambda done: None)


def groups(images: list[Image.Image]) -> list[tuple[int, list[int]]]:
    """Near duplicates by number, the first of each group apart."""
    seen = looked_at(images)
    found = near_duplicates(seen.hashes, seen.thumbs, images.__getitem__)
    return [(first, [twin.number for twin in twins]) for first, twins in found]


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    draw = np.random.default_rng(11)
    return [picture(draw, CLASSES[number % 5]) for number in range(60)]


def distance(first: Image.Image, second: Image.Image) -> int:
    codes = looked_at([first, second]).hashes
    return int(np.bitwise_count(codes[0] ^ codes[1]))


def again(image: Image.Image, quality: int) -> Image.Image:
    return Image.open(io.BytesIO(encoded(image, quality=quality)))


# Hashes


def test_the_hash_is_that_of_an_independent_cosine_transform():
    grey = np.random.default_rng(0).integers(0, 256, (20, 32, 32), np.uint8)
    spectra = np.asarray(scipy.fft.dctn(grey.astype(float), axes=(1, 2)))[:, :8, :8].reshape(20, 64)
    bits = spectra > np.median(spectra[:, 1:], axis=1, keepdims=True)
    expected = [int.from_bytes(np.packbits(row).tobytes(), "little") for row in bits]
    # Scaling rows and columns of the transform alike does not change what is above the median.
    assert [int(code) for code in hashes(grey)] == expected


def test_the_hash_does_not_see_brightness_and_contrast():
    grey = np.random.default_rng(1).integers(60, 190, (50, 32, 32)).astype(np.uint8)
    assert (hashes(grey) == hashes(grey + 40)).all()
    assert (hashes(grey // 2 * 2) == hashes(grey // 2)).all()


def test_the_hash_hardly_sees_encoding_and_size(photos):
    apart = [distance(image, again(image, 80)) for image in photos]
    apart += [distance(image, image.resize((image.width * 2, image.height * 2))) for image in photos]
    assert np.quantile(apart, 0.95) <= 4
    assert max(apart) <= alike.MAX_DISTANCE


def test_hashes_of_different_images_are_far_apart(photos):
    codes = looked_at(photos).hashes
    apart = np.bitwise_count(codes[:, None] ^ codes[None])[np.triu_indices(60, 1)]
    assert apart.min() > alike.MAX_DISTANCE
    assert 28 < apart.mean() < 34


# Near duplicates


@pytest.mark.parametrize(
    "change",
    [
        lambda image: again(image, 85),
        lambda image: image.resize((image.width * 5 // 4, image.height * 5 // 4), Image.Resampling.BICUBIC),
        lambda image: ImageEnhance.Brightness(image).enhance(1.08),
        lambda image: ImageEnhance.Contrast(image).enhance(0.85),
    ],
    ids=["encoded", "larger", "brighter", "paler"],
)
def test_a_changed_copy_is_found(photos, change):
    found = groups([*photos, *(change(image) for image in photos[::4])])
    right = [(4 * number, [60 + number]) for number in range(15)]
    assert len(set(map(str, found)) & set(map(str, right))) >= 14
    assert [group for group in found if group not in right] == []


def test_different_images_are_no_near_duplicates(photos):
    assert groups(photos) == []


def test_the_same_shapes_in_other_colours_are_another_picture(photos):
    red, green, blue = photos[6].split()
    assert compared(photos[6], Image.merge("RGB", (blue, red, green))) is None


def test_a_small_object_elsewhere_is_another_picture(photos):
    first, second = photos[0].copy(), photos[0].copy()
    first.paste((255, 0, 0), (5, 5, 17, 17))
    second.paste((255, 0, 0), (30, 30, 42, 42))
    assert compared(first, first.copy()) == 0
    assert compared(first, second) is None


def test_flat_pictures_are_compared_with_nobody():
    draw = np.random.default_rng(0)
    flat = [Image.fromarray((120 + draw.normal(0, 1, (40, 40, 3))).astype(np.uint8)) for _ in range(20)]
    assert groups(flat) == []


def test_simple_strokes_are_not_taken_for_each_other():
    draw = np.random.default_rng(0)
    strokes = []
    for _ in range(300):
        image = Image.new("L", (112, 112))
        lean, length, width = draw.uniform(-25, 25), draw.uniform(28, 40), int(draw.integers(8, 15))
        middle = 56 + draw.uniform(-3, 3, 2)
        ends = (middle[0] - lean, middle[1] - length, middle[0] + lean, middle[1] + length)
        ImageDraw.Draw(image).line(ends, fill=255, width=width)
        strokes.append(image.resize((28, 28), Image.Resampling.BOX))
    assert groups(strokes) == []


def test_tiny_pictures_are_compared_with_nobody():
    digits, _ = load_digits(return_X_y=True)
    assert groups([Image.fromarray((digit * 15).reshape(8, 8).astype(np.uint8)) for digit in digits[:500]]) == []


def test_every_image_is_in_one_group_and_the_first_is_the_one_preferred(photos):
    copies = [again(photos[3], quality) for quality in (95, 90, 85)]
    assert groups([*copies, *photos]) == [(0, [1, 2, 6])]


def test_the_search_by_blocks_finds_what_a_search_by_pairs_finds(monkeypatch, photos):
    images = [*photos[:20], *(again(image, 90) for image in photos[:20])]
    whole = groups(images)
    monkeypatch.setattr(alike, "_ROWS", 3)
    monkeypatch.setattr(alike, "_COLUMNS", 7)
    monkeypatch.setattr(alike, "_DENSE", 0)
    assert groups(images) == whole
    assert len(whole) >= 19


# Outliers


def test_noise_among_pictures_is_an_outlier_and_nothing_else(photos):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8))
    (finding,) = outliers(looked_at([*photos, noise]))
    assert finding.paths == ("0060.png",)
    assert finding.severity == "note"
    assert "share of coarse structure (log)" in finding.evidence


def test_pictures_among_noise_are_no_outliers_where_they_are_many(photos):
    draw = np.random.default_rng(0)
    noise = [Image.fromarray(draw.integers(0, 256, (60, 60, 3), np.uint8)) for _ in range(60)]
    assert list(outliers(looked_at([*noise, *photos[:20]]))) == []


def test_of_few_images_nobody_stands_out(photos):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8))
    assert list(outliers(looked_at([*photos[:48], noise]))) == []


def test_what_has_a_finding_already_is_left_out(photos):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8))
    assert list(outliers(looked_at([*photos, noise]), ignore=["0060.png"])) == []


def test_handwritten_digits_have_no_outliers():
    digits, _ = load_digits(return_X_y=True)
    images = [Image.fromarray((digit * 15).reshape(8, 8).astype(np.uint8)) for digit in digits[:600]]
    assert list(outliers(looked_at(images))) == []


# Damage


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("JPEG", {"optimize": True, "quality": 30}),
        ("JPEG", {"subsampling": 0}),
        ("JPEG", {"restart_marker_blocks": 3}),
        ("BMP", {}),
    ],
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_sound_files_of_all_kinds_have_no_damage(photos, form, options, mode):
    for image in photos[:10]:
        assert damage(encoded(image.convert(mode), form, **options)) is None


def test_bytes_behind_the_end_of_a_jpeg_are_no_damage(photos):
    assert damage(encoded(photos[0]) + b"a preview, or a film") is None


def test_padding_before_the_end_of_a_jpeg_is_no_damage(photos):
    data = encoded(photos[0])
    assert damage(data[:-2] + bytes(40) + data[-2:]) is None


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_a_file_cut_anywhere_is_called_truncated(photos, form):
    data = encoded(photos[0], form)
    for end in range(30, len(data) - 1, 97):
        harm = damage(data[:end])
        assert harm is not None
        assert harm.truncated


def test_one_flipped_bit_in_a_png_is_corruption(photos):
    data = bytearray(encoded(photos[0], "PNG"))
    data[len(data) // 2] ^= 4
    harm = damage(bytes(data))
    assert harm is not None
    assert not harm.truncated
    assert "checksum" in harm.reason


def test_most_overwritten_jpegs_are_found(photos):
    draw = np.random.default_rng(0)

    def is_found(data: bytes) -> bool:
        files = Files(("a.jpg",), lambda name: data)
        return pictures.look_at(files, ("a.jpg",), lambda done: None).every[0].fault == "corrupt"

    assert sum(is_found(corrupted(draw, encoded(image))) for image in photos) >= 48


def test_a_jpeg_that_was_overwritten_without_a_trace_of_markers_is_found(photos):
    missed = 0
    for number, image in enumerate(photos):
        draw = np.random.default_rng(number)
        data = bytearray(encoded(image))
        at = len(data) // 2
        data[at : at + 120] = bytes(draw.integers(0, 255, 120, dtype=np.uint8))  # never 0xFF
        missed += damage(bytes(data)) is None
    assert missed <= 12  # of 60; by chance such bytes make a whole picture again


def test_jpegs_of_four_colours_have_no_damage(photos):
    assert damage(encoded(photos[0].convert("CMYK"))) is None


def test_fine_patterns_of_slightly_other_sizes_are_near_duplicates():
    for seed, factor in ((1, 1.015), (6, 1.015), (8, 1.4)):
        draw = np.random.default_rng(seed)
        for image in [picture(draw, "tiles") for _ in range(8)]:
            larger = image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC)
            assert groups([image, larger]) == [(0, [1])]
