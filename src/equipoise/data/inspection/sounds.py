"""One look at every sound: rate, length, loudness, clipping; and what is wrong with it."""

import hashlib
import importlib.util
import io
import struct
import wave
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from equipoise.core.errors import DataError
from equipoise.data.files import Files
from equipoise.data.inspection.checks import COMMON, judged
from equipoise.data.inspection.contents import Contents, suffix
from equipoise.data.inspection.findings import Finding, found
from equipoise.data.threads import in_chunks

SILENCE = 10 ** (-60 / 20)
"""Peak below which there is nothing to hear: 60 decibels below full scale."""
CLIPPED_RUN = 3
"""So many samples in a row at the loudest value …"""
CLIPPED_SHARE = 0.002
"""… are a cut peak; a sound is called clipped from this share of samples in cut peaks on."""
SHORT_SHARE = 0.1
"""Of the set's median length."""

_FULL = 0.98  # of full scale: quieter sounds may repeat their loudest value without being cut


class Sound(NamedTuple):
    """What is known of one sound file."""

    name: str
    num_bytes: int = 0
    digest: str = ""
    fault: str | None = None
    reason: str = ""
    rate: int = 0
    channels: int = 0
    seconds: float = 0.0
    peak: float = 0.0
    clipped: float = 0.0
    """Share of samples in cut peaks."""


class NotLooked(NamedTuple):
    """A sound of a format that cannot be read here."""

    name: str
    reason: str


def can_read_all() -> bool:
    """Whether soundfile is installed; without it only WAV files with whole numbers are read."""
    return importlib.util.find_spec("soundfile") is not None


def samples(name: str, data: bytes) -> tuple[np.ndarray, int]:
    """The samples of a sound, float32 [T, C] in [-1, 1], and its rate.

    A `ValueError` for a damaged file, a `NotImplementedError` for a format that cannot be read here.
    """
    if suffix(name) in (".wav", ".wave") or data.startswith(b"RIFF"):
        try:
            return _from_wave(data)
        except NotImplementedError:
            if not can_read_all():
                raise
    elif not can_read_all():
        raise NotImplementedError(f"{suffix(name)} files are read with soundfile, which is not installed")
    import soundfile  # pyright: ignore[reportMissingImports]

    try:
        return soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except Exception as error:
        raise ValueError(str(error)) from error


def look_at(files: Files, names: Sequence[str], progress: Callable[[int], None]) -> tuple[list[Sound], list[NotLooked]]:
    """Read every sound once. `progress` is told how many are done."""

    def look(name: str) -> Sound | NotLooked:
        try:
            data = files.read(name)
        except DataError as error:
            return Sound(name, fault="unreadable", reason=str(error))
        sound = Sound(name, len(data), hashlib.sha256(data).hexdigest())
        if not data:
            return sound._replace(fault="empty-file", reason="it has 0 bytes")
        try:
            values, rate = samples(name, data)
        except NotImplementedError as error:
            return NotLooked(name, str(error))
        except ValueError as error:
            kind = "truncated" if isinstance(error, _Truncated) else "corrupt"
            return sound._replace(fault=kind, reason=str(error))
        return sound._replace(
            rate=rate,
            channels=values.shape[1],
            seconds=len(values) / rate,
            peak=float(np.abs(values).max(initial=0.0)),
            clipped=_clipped(values),
        )

    sounds: list[Sound] = []
    unseen: list[NotLooked] = []
    for results in in_chunks(look, names):
        for result in results:
            (sounds if isinstance(result, Sound) else unseen).append(result)  # pyright: ignore[reportArgumentType]
        progress(len(sounds) + len(unseen))
    return sounds, unseen


def check(sounds: Sequence[Sound], contents: Contents) -> Iterator[Finding]:
    """Damage, silence, clipping, other rates and channels, sounds too short, and the same sound several times."""
    good = [sound for sound in sounds if sound.fault is None]
    for sound in sounds:
        if sound.fault is not None:
            evidence = {"bytes": sound.num_bytes, "reason": sound.reason}
            text = sound.reason[:1].upper() + sound.reason[1:].rstrip(".") + "."
            yield found(sound.fault, (sound.name,), text, evidence=evidence)
    if not good:
        return
    usual = float(np.median([sound.seconds for sound in good]))
    rate, number = Counter(sound.rate for sound in good).most_common(1)[0]
    agreed = number >= COMMON * len(good)
    channels, alike = Counter(sound.channels for sound in good).most_common(1)[0]
    for sound in good:
        name = (sound.name,)
        if sound.seconds == 0 or sound.seconds < SHORT_SHARE * usual:
            text = f"It lasts {sound.seconds:.3f} s; the median is {usual:.2f} s."
            yield found("too-short", name, text, evidence={"seconds": sound.seconds, "median": usual})
        elif sound.peak < SILENCE:
            text = f"Its loudest sample is {sound.peak:.5f} of full scale."
            yield found("silent", name, text, evidence={"peak": sound.peak})
        if sound.clipped > CLIPPED_SHARE:
            text = f"{sound.clipped:.1%} of its samples are in peaks that are cut off."
            yield found("clipped", name, text, evidence={"clipped share": sound.clipped, "peak": sound.peak})
        if agreed and sound.rate != rate:
            text = f"Its rate is {sound.rate:,} Hz; that of {number:,} of {len(good):,} sounds is {rate:,} Hz."
            yield found("sample-rate", name, text, evidence={"rate": sound.rate, "usual": rate})
        if alike >= COMMON * len(good) and sound.channels != channels:
            text = f"It has {sound.channels} channels; {alike:,} of {len(good):,} sounds have {channels}."
            yield found("mode", name, text, evidence={"channels": sound.channels, "usual": channels})
    same: dict[str, list[str]] = defaultdict(list)
    for sound in good:
        if sound.peak >= SILENCE:
            same[sound.digest].append(sound.name)
    for names in same.values():
        if len(names) > 1:
            yield from judged(names, contents, how="the same bytes", evidence={"copies": len(names)}, exact=True)


def as_wave(values: np.ndarray, rate: int, new_rate: int, channels: int) -> bytes:
    """Samples [T, C] brought to another rate and number of channels, as the bytes of a WAV file of 16 bits."""
    # scipy comes with scikit-learn; its import takes a while and only who repairs sounds pays.
    from scipy.signal import resample_poly

    if channels != values.shape[1]:
        values = np.repeat(values.mean(axis=1, keepdims=True), channels, axis=1)
    if new_rate != rate:
        step = int(np.gcd(rate, new_rate))
        values = resample_poly(values, new_rate // step, rate // step, axis=0)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(new_rate)
        file.writeframes(np.round(np.clip(values, -1, 1) * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


class _Truncated(ValueError):
    pass


def _from_wave(data: bytes) -> tuple[np.ndarray, int]:
    """WAV with whole numbers of 8, 16, 24 or 32 bits, or floats of 32 or 64.

    Read by hand: the standard library's reader gives a cut file back without a word.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise ValueError("it does not begin like a WAV file")
    position, form = 12, None
    while position + 8 <= len(data):
        name, length = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")
        body = data[position + 8 : position + 8 + length]
        if name == b"fmt ":
            if len(body) < 16:
                raise _Truncated("its header is cut off")
            form = struct.unpack("<HHIIHH", body[:16])
            if form[0] == 0xFFFE and len(body) >= 26:  # extensible: the format stands further behind
                form = (int.from_bytes(body[24:26], "little"), *form[1:])
        elif name == b"data":
            if form is None:
                raise ValueError("its samples come before its header")
            if length != 0xFFFFFFFF and len(body) < length:  # the largest number means a stream of unknown length
                raise _Truncated(f"its header promises {length:,} bytes of sound, {len(body):,} are there")
            return _decoded(body, form)
        position += 8 + length + length % 2
    raise _Truncated("it holds no samples") if form is not None else ValueError("it has no header")


def _decoded(body: bytes, form: tuple[int, ...]) -> tuple[np.ndarray, int]:
    code, channels, rate, _, align, bits = form
    if not 1 <= channels <= 64 or not 100 <= rate <= 10_000_000:
        raise ValueError(f"its header promises {channels} channels at {rate:,} Hz")
    if code not in (1, 3) or (code, bits) not in ((1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64)):
        raise NotImplementedError(f"WAV files of format {code} with {bits} bits are read with soundfile")
    width = bits // 8
    if align != channels * width:
        raise ValueError(f"its header contradicts itself: {channels} channels of {bits} bits in {align} bytes")
    body = body[: len(body) // align * align]
    if code == 3:
        values = np.frombuffer(body, f"<f{width}").astype(np.float32)
        if not np.isfinite(values).all():
            raise ValueError("it holds values that are not finite")
    elif bits == 8:
        values = (np.frombuffer(body, np.uint8).astype(np.float32) - 128) / 128
    elif bits == 24:
        wide = np.zeros((len(body) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(body, np.uint8).reshape(-1, 3)
        values = wide.view("<i4")[:, 0].astype(np.float32) / 2**31
    else:
        values = np.frombuffer(body, f"<i{width}").astype(np.float32) / 2 ** (bits - 1)
    return values.reshape(-1, channels), rate


def _clipped(values: np.ndarray) -> float:
    """The share of samples that lie in runs at full scale."""
    peak = float(np.abs(values).max(initial=0.0))
    if peak < _FULL:
        return 0.0
    at_end = np.abs(values) >= peak - 2**-15  # [T, C]; a round peak comes this near for a sample or two
    total = 0
    for channel in at_end.T:
        edges = np.flatnonzero(np.diff(np.concatenate([[False], channel, [False]]).astype(np.int8)))
        lengths = edges[1::2] - edges[::2]
        total += int(lengths[lengths >= CLIPPED_RUN].sum())
    return total / max(1, values.size)
