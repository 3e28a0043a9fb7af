"""Data with defects whose truth is known, and how many of them `equipoise data check` finds.

    python -m benchmarks.defects --seeds 5

Good examples are made procedurally: soft clouds, stripes, discs, tiles and polygons, with grain, as JPEG and PNG,
sorted into classes and parts. Among them are planted three instances of each kind of defect. `plant_images` and its
neighbours return the truth, {path: kind}, with the names of kinds in `equipoise.data.inspection.KINDS`; of files that
are at fault only together (duplicates, contradictions, leaks) each is in it.
"""

import argparse
import io
import struct
import tempfile
import wave
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance

from equipoise.data.inspection import Inspection, inspected
from equipoise.data.inspection.videos import can_read

Truth = dict[str, str]
TIMES = 3

# ---------------------------------------------------------------- good images


def cloud(draw: np.random.Generator, side: tuple[int, int]) -> np.ndarray:
    """Smooth noise, float [H, W] in [0, 1]."""
    coarse = draw.random((int(draw.integers(4, 7)), int(draw.integers(4, 7)))).astype(np.float32)
    image = Image.fromarray(coarse).resize(side, Image.Resampling.BICUBIC)
    return np.clip(np.asarray(image), 0, 1)


def picture(draw: np.random.Generator, kind: str) -> Image.Image:
    """A good image of a class: two colours mixed by a pattern, shaded by a cloud, with grain."""
    width, height = (int(draw.integers(48, 73)) for _ in range(2))
    y, x = np.mgrid[:height, :width].astype(np.float32) / 48
    angle, phase = draw.uniform(0, np.pi), draw.uniform(0, 2 * np.pi)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    if kind == "clouds":
        mask = cloud(draw, (width, height))
    elif kind == "stripes":
        mask = 0.5 + 0.5 * np.sin(draw.uniform(8, 25) * u + phase + 2 * cloud(draw, (width, height)))
    elif kind == "tiles":
        mask = (np.sin(draw.uniform(6, 14) * u + phase) * np.sin(draw.uniform(6, 14) * v) > 0).astype(np.float32)
    else:
        canvas = Image.new("L", (width, height))
        pen = ImageDraw.Draw(canvas)
        for _ in range(int(draw.integers(2, 6))):
            left, top = draw.uniform(-10, width - 10), draw.uniform(-10, height - 10)
            size = draw.uniform(10, 32)
            shade = int(draw.integers(90, 256))
            if kind == "discs":
                pen.ellipse((left, top, left + size, top + size), fill=shade)
            else:
                corners = draw.uniform(0, size, (4, 2)) + np.array([left, top])
                pen.polygon([tuple(corner) for corner in corners.tolist()], fill=shade)
        mask = np.asarray(canvas, np.float32) / 255
    dark, light = draw.uniform(0, 130, 3), draw.uniform(110, 255, 3)
    pixels = dark + (light - dark) * mask[..., None]
    pixels = pixels * (0.75 + 0.5 * cloud(draw, (width, height)))[..., None]
    pixels = pixels + draw.normal(0, draw.uniform(0.5, 3), pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


CLASSES = ("clouds", "discs", "polygons", "stripes", "tiles")


def encoded(image: Image.Image, form: str = "JPEG", **options: object) -> bytes:
    """The bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, form, **({"quality": 90} if form == "JPEG" else {}) | options)
    return buffer.getvalue()


# ---------------------------------------------------------------- bad images


def bomb(number: int) -> bytes:
    """A PNG of a few bytes that declares up to ten billion pixels."""

    def part(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    side = (9_000, 30_000, 100_000)[number % 3]
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(bytes(64))) + part(b"IEND", b"")


def corrupted(draw: np.random.Generator, data: bytes) -> bytes:
    """A block in the middle is overwritten, as by a bad sector."""
    length = len(data) // 8
    at = int(draw.integers(len(data) // 2, len(data) * 3 // 4))
    return data[:at] + draw.bytes(length) + data[at + length :]


def halftone(draw: np.random.Generator) -> Image.Image:
    """A scan of a printed page: an even grey made of dots of a pixel."""
    y, x = np.mgrid[:60, :60]
    dots = np.where((x + y) % 2 == 0, 235, 20) + draw.normal(0, 4, (60, 60))
    return Image.fromarray(np.repeat(np.clip(dots, 0, 255).astype(np.uint8)[..., None], 3, axis=2))


def again(draw: np.random.Generator, image: Image.Image, number: int) -> bytes:
    """The same picture: encoded anew, resized, or brightened."""
    if number % 3 == 1:
        scale = draw.uniform(0.8, 1.4)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    elif number % 3 == 2:
        image = ImageEnhance.Brightness(image).enhance(draw.uniform(1.04, 1.12))
    return encoded(image, quality=int(draw.integers(80, 93)))


def plant_images(folder: Path, seed: int, *, num_good: int = 500) -> Truth:
    """A folder of `num_good` good images in train/ and test/ by class, with defects among them."""
    draw = np.random.default_rng([seed, 1])
    truth: Truth = {}
    used: set[str] = set()

    def name(part: str | None, kind: str | None, suffix: str) -> str:
        while (stem := f"{draw.integers(16**8):08x}") in used:
            pass
        used.add(stem)
        return "/".join(step for step in (part, kind, f"{stem}{suffix}") if step)

    def put(path: str, data: bytes, defect: str | None = None) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
        if defect is not None:
            truth[path] = defect

    def fresh(number: int) -> tuple[str, Image.Image]:
        kind = CLASSES[number % len(CLASSES)]
        return kind, picture(draw, kind)

    for number in range(num_good):
        kind, image = fresh(number)
        part = "test" if number // len(CLASSES) % 5 == 4 else "train"
        form = "PNG" if number % 3 == 0 else "JPEG"
        put(name(part, kind, ".png" if form == "PNG" else ".jpg"), encoded(image, form))

    noise = [draw.integers(0, 256, (60, 60, 3), np.uint8) for _ in range(TIMES)]
    for number in range(TIMES):
        kind, image = fresh(int(draw.integers(100)))
        jpeg, png = encoded(image), encoded(image, "PNG")
        either, suffix = ((jpeg, ".jpg"), (png, ".png"))[number % 2]

        def here(suffix: str = ".png", kind: str = kind) -> str:
            return name("train", kind, suffix)

        put(here(suffix), either[: int(len(either) * draw.uniform(0.3, 0.9))], "truncated")
        image = fresh(number)[1]
        put(here(suffix), corrupted(draw, encoded(image, "JPEG" if suffix == ".jpg" else "PNG")), "corrupt")
        text = (b"<html><body>404 Not Found</body></html>", b"to be added later\n", draw.bytes(700))[number]
        put(here(".jpg"), text, "not-an-image")
        put(here(suffix), b"", "empty-file")
        put(here(), bomb(number), "bomb")
        put(here(".tif"), encoded(Image.fromarray(noise[number][..., 0].astype(np.float32)), "TIFF"), "no-range")

        image = fresh(number)[1]
        modes: tuple[Callable[[], tuple[bytes, str]], ...] = (
            lambda image=image: (encoded(image.convert("L"), "PNG"), ".png"),
            lambda image=image: (encoded(image.convert("CMYK")), ".jpg"),
            lambda image=image: (encoded(image.convert("P"), "PNG"), ".png"),
        )
        data, suffix = modes[number]()
        put(here(suffix), data, "mode")
        put(here(), encoded(fresh(number)[1].resize((12, 11)), "PNG"), "too-small")
        strip = np.concatenate([np.asarray(fresh(n)[1].resize((60, 60))) for n in range(number, number + 5)], axis=1)
        put(here(), encoded(Image.fromarray(strip), "PNG"), "odd-shape")
        grey = int(draw.integers(0, 256))
        put(here(), encoded(Image.new("RGB", (60, 60), (grey, 90, 40)), "PNG"), "blank")
        flat = np.clip(draw.normal(grey, 0.8, (60, 60, 3)), 0, 255).astype(np.uint8)
        put(here(), encoded(Image.fromarray(flat), "PNG"), "nearly-blank")

        kind, image = fresh(number + 1)
        original = encoded(image, "PNG" if number else "JPEG")
        copy = encoded(image, "BMP") if number == 2 else original  # the third: the same pixels in another file
        put(name("train", kind, ".png" if number else ".jpg"), original, "duplicate")
        put(name("train", kind, ".bmp" if number == 2 else ".png"), copy, "duplicate")
        kind, image = fresh(number + 2)
        put(name("train", kind, ".png"), encoded(image, "PNG"), "near-duplicate")
        put(name("train", kind, ".jpg"), again(draw, image, number), "near-duplicate")
        kind, image = fresh(number + 3)
        original = encoded(image)
        put(name("test", kind, ".jpg"), original, "leak")
        put(name("train", kind, ".jpg"), again(draw, image, number) if number else original, "leak")
        kind, image = fresh(number + 4)
        other = CLASSES[(number + 5) % len(CLASSES)]
        original = encoded(image)
        put(name("train", kind, ".jpg"), original, "contradiction")
        put(name("train", other, ".jpg"), again(draw, image, number) if number == 2 else original, "contradiction")

        binary = Image.fromarray((noise[number] > 127).astype(np.uint8) * 255)
        odd = (Image.fromarray(noise[number]), halftone(draw), binary)[number]
        put(here(), encoded(odd, "PNG"), "outlier")
        put(name("train", None, ".jpg"), encoded(fresh(number)[1]), "missing-label")
        put(name("train", "rare", ".jpg"), encoded(fresh(number)[1]), "few-examples")
        frames = [fresh(number)[1].resize((60, 60)) for _ in range(3)]
        form = ("GIF", "WEBP", "PNG")[number]
        data = encoded(frames[0], form, save_all=True, append_images=frames[1:])
        put(here(f".{form.lower()}"), data, "animated")
        exif = Image.Exif()
        exif[0x0112] = (6, 3, 11)[number]
        put(here(".jpg"), encoded(fresh(number)[1], exif=exif), "orientation")
        put(here(".heic"), b"\0\0\0\x18ftypheic" + draw.bytes(50), "ignored-file")
    return truth


# ---------------------------------------------------------------- arrays


def plant_array(path: Path, seed: int, *, num_good: int = 300) -> Truth:
    """An .npz of float images in [-1, 1] with labels; bad rows are named as in findings, "images[17]"."""
    draw = np.random.default_rng([seed, 2])
    kinds = [CLASSES[number % len(CLASSES)] for number in range(num_good)]
    images = np.stack([np.asarray(picture(draw, kind).resize((24, 24))) for kind in kinds])
    images = images.astype(np.float32) / 127.5 - 1
    labels = np.array([CLASSES.index(kind) for kind in kinds], np.float32)
    rows = iter(draw.permutation(num_good).tolist())
    truth: Truth = {}

    def take(kind: str) -> int:
        row = next(rows)
        truth[f"images[{row}]"] = kind
        return row

    for number in range(TIMES):
        images[take("not-finite"), number, 3:5] = (np.nan, np.inf, -np.inf)[number]
        row = take("range")
        images[row] = images[row] * 127.5 + (127.5, 0, -300)[number]
        images[take("blank")] = (0.25, -1, 1)[number]
        labels[take("missing-label")] = (np.nan, np.nan, np.inf)[number]
        original, copy = take("contradiction"), take("contradiction")
        images[copy], labels[copy] = images[original], (labels[original] + 1) % len(CLASSES)
        original, copy = take("duplicate"), take("duplicate")
        images[copy], labels[copy] = images[original], labels[original]
    np.savez(path, images=images, labels=labels)
    return truth


# ---------------------------------------------------------------- sounds and videos


def tone(draw: np.random.Generator, rate: int) -> np.ndarray:
    """A good sound of half a second to one: a chord that fades in and out, with some noise; [T] in [-1, 1]."""
    time = np.arange(int(rate * draw.uniform(0.5, 1.0))) / rate
    chord = sum(np.sin(2 * np.pi * draw.uniform(100, 900) * time + draw.uniform(0, 6)) for _ in range(3))
    chord = chord * np.sin(np.pi * time / time[-1]) + draw.normal(0, 0.02, len(time))
    return draw.uniform(0.3, 1.0) * chord / np.abs(chord).max()


def wav(samples: np.ndarray, rate: int, channels: int = 1) -> bytes:
    """The bytes of a WAV file of 16 bits."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.round(np.clip(np.repeat(samples, channels), -1, 1) * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def plant_sounds(folder: Path, seed: int, *, num_good: int = 60) -> Truth:
    """A folder of WAV files in two classes, with defects among them."""
    draw = np.random.default_rng([seed, 3])
    truth: Truth = {}
    rate = 8000

    def put(name: str, data: bytes, defect: str | None = None) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        if defect is not None:
            truth[name] = defect

    for number in range(num_good):
        put(f"{'ab'[number % 2]}/{draw.integers(16**8):08x}.wav", wav(tone(draw, rate), rate))
    for number in range(TIMES):
        good = wav(tone(draw, rate), rate)
        put(f"a/silent-{number}.wav", wav(draw.normal(0, (0, 1e-5, 1e-4)[number], 6000), rate), "silent")
        put(f"a/clipped-{number}.wav", wav(tone(draw, rate) * (3, 4, 8)[number], rate), "clipped")
        other = (16000, 44100, 11025)[number]
        put(f"b/rate-{number}.wav", wav(tone(draw, other), other), "sample-rate")
        put(f"b/stereo-{number}.wav", wav(tone(draw, rate), rate, 2), "mode")
        put(f"b/short-{number}.wav", wav(tone(draw, rate)[: (0, 40, 300)[number]], rate), "too-short")
        put(f"a/cut-{number}.wav", good[: len(good) * (2, 5, 9)[number] // 10], "truncated")
        put(f"a/header-{number}.wav", (b"RIFX" + good[4:], good[:12] + good[36:], bytes(900))[number], "corrupt")
        put(f"a/empty-{number}.wav", b"", "empty-file")
        twin = wav(tone(draw, rate), rate)
        put(f"a/twin-{number}.wav", twin, "duplicate")
        put(f"a/twin-{number}-again.wav", twin, "duplicate")
        twin = wav(tone(draw, rate), rate)
        put(f"a/both-{number}.wav", twin, "contradiction")
        put(f"b/both-{number}.wav", twin, "contradiction")
    return truth


def plant_videos(folder: Path, seed: int, *, num_good: int = 4) -> Truth:
    """A folder of short videos, with broken ones among them. Needs PyAV."""
    import av  # pyright: ignore[reportMissingImports]

    draw = np.random.default_rng([seed, 4])
    folder.mkdir(parents=True, exist_ok=True)

    def film() -> bytes:
        buffer = io.BytesIO()
        with av.open(buffer, "w", format="mp4") as container:
            stream = container.add_stream("mpeg4", rate=12)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            scene = np.asarray(picture(draw, "discs").resize((96, 48)))
            for shift in range(24):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(scene[:, shift : shift + 64]), format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return buffer.getvalue()

    truth: Truth = {}
    for number in range(num_good):
        (folder / f"{number}.mp4").write_bytes(film())
    for number in range(TIMES):
        data = film()
        broken = (data[: len(data) // 2], data[:200] + draw.bytes(len(data) - 200), b"")[number]
        name = f"broken-{number}.mp4"
        (folder / name).write_bytes(broken)
        truth[name] = "empty-file" if number == 2 else "corrupt"
    return truth


# ---------------------------------------------------------------- the score


def main() -> None:
    """Print for each kind how many were planted and found, and which good examples were accused."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--good", type=int, default=500, help="good images for each seed")
    settings = parser.parse_args()
    planted: Counter[tuple[str, str]] = Counter()
    found: Counter[tuple[str, str]] = Counter()
    accused: list[str] = []
    num_good = 0

    def judge(what: str, truth: Truth, inspection: Inspection) -> None:
        nonlocal num_good
        hits = kinds_found(inspection)
        num_good += sum(inspection.counts.values()) - sum(kind != "ignored-file" for kind in truth.values())
        for path, kind in truth.items():
            planted[what, kind] += 1
            found[what, kind] += kind in hits.get(path, ())
        accused.extend(f"{path}: {sorted(hits[path])}" for path in hits.keys() - truth.keys())

    for seed in range(settings.seeds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            truth = plant_images(folder / "images", seed, num_good=settings.good)
            judge("image", truth, inspected(folder / "images", fresh=True))
            truth = plant_array(folder / "array.npz", seed)
            judge("array", truth, inspected(folder / "array.npz", fresh=True))
            truth = plant_sounds(folder / "sounds", seed)
            judge("sound", truth, inspected(folder / "sounds", fresh=True))
            if can_read():
                truth = plant_videos(folder / "videos", seed)
                judge("video", truth, inspected(folder / "videos", fresh=True))
    for (what, kind), number in planted.items():
        print(f"{what:6} {kind:16} {found[what, kind]:4} of {number:4} found")
    print(f"{sum(found.values())} of {sum(planted.values())} found; {len(accused)} of {num_good} good ones accused")
    for line in accused:
        print(f"  {line}")


def kinds_found(inspection: Inspection) -> dict[str, set[str]]:
    """What was found to be wrong with each path, partners of duplicates included."""
    hits: dict[str, set[str]] = {}
    for finding in inspection.findings:
        for path in (*finding.paths, *finding.partners):
            hits.setdefault(path, set()).add(finding.kind)
    return hits


if __name__ == "__main__":
    main()
