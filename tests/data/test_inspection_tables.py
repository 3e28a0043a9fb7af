"""Arrays and sounds: what is wrong with rows, labels, ranges; what a WAV file says of itself."""

import struct

import numpy as np
import pytest

from benchmarks.defects import picture, tone, wav
from equipoise.data.arrays import REMEDY
from equipoise.data.inspection import inspected, sounds
from equipoise.data.inspection.findings import Inspection


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """A cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Good images, uint8 [40, 20, 20, 3]."""
    draw = np.random.default_rng(0)
    return np.stack([np.asarray(picture(draw, ("discs", "stripes")[n % 2]).resize((20, 20))) for n in range(40)])


def kinds(inspection: Inspection) -> dict[str, list[str]]:
    return {kind: sorted(p for f in found for p in f.paths) for kind, found in inspection.by_kind().items()}


def looked(tmp_path, **arrays) -> Inspection:
    np.savez(tmp_path / "set.npz", **arrays)
    return inspected(tmp_path / "set.npz")


@pytest.mark.parametrize(
    "form",
    [
        lambda x: x,
        lambda x: x.transpose(0, 3, 1, 2),
        lambda x: x[..., 0],
        lambda x: (x / 255).astype(np.float32),
        lambda x: x / 127.5 - 1,
        lambda x: (x / 127.5 - 1).reshape(40, -1),
    ],
    ids=["last", "first", "grey", "unit", "signed", "vectors"],
)
def test_good_arrays_of_all_forms_have_no_finding(tmp_path, images, form):
    np.save(tmp_path / "set.npy", form(images))
    inspection = inspected(tmp_path / "set.npy")
    assert inspection.findings == ()
    assert inspection.counts == {"rows": 40}


def test_rows_that_are_not_finite_are_named_with_their_number_of_values(tmp_path, images):
    values = images / 255
    values[3, 0, 0] = np.nan
    values[7, 1, 1, 2] = -np.inf
    inspection = looked(tmp_path, images=values)
    assert kinds(inspection) == {"not-finite": ["images[3]", "images[7]"]}
    assert [finding.evidence["not finite"] for finding in inspection.findings] == [3, 1]


def test_few_rows_out_of_range_are_at_fault_and_many_mean_the_scale(tmp_path, images):
    values = (images / 127.5 - 1).astype(np.float32)
    values[[2, 9]] *= 3
    assert kinds(looked(tmp_path, images=values)) == {"range": ["images[2]", "images[9]"]}
    (whole,) = looked(tmp_path, images=images.astype(np.float32)).findings
    assert (whole.kind, whole.paths, whole.action) == ("range", ("images",), "repair")
    (odd,) = looked(tmp_path, images=images * 10.0).findings
    assert (odd.kind, odd.action) == ("range", "keep")
    assert REMEDY in odd.explanation


def test_whole_numbers_that_are_no_bytes_are_repaired_where_they_fit(tmp_path, images):
    (fits,) = looked(tmp_path, images=images.astype(np.int64)).findings
    assert (fits.kind, fits.action) == ("refused", "repair")
    (large,) = looked(tmp_path, images=images.astype(np.int64) * 9).findings
    assert (large.kind, large.action) == ("refused", "keep")
    assert REMEDY in large.explanation


@pytest.mark.parametrize(
    ("labels", "missing"),
    [
        (np.where(np.arange(40) == 5, np.nan, np.arange(40) % 2), ["images[5]"]),
        (np.where(np.arange(40) == 5, -1, np.arange(40) % 2), ["images[5]"]),
        (np.where(np.arange(40) == 5, "", "cat"), ["images[5]"]),
        (np.arange(40) % 2, []),
        (np.arange(40) % 2 * 2 - 1, None),
    ],
    ids=["nan", "minus one", "no text", "all there", "minus one as a class"],
)
def test_labels_that_are_missing_are_told(tmp_path, images, labels, missing):
    found = kinds(looked(tmp_path, images=images, labels=labels))
    if missing is None:  # with classes -1 and 1 there is no telling: half of the labels would be missing
        assert len(found["missing-label"]) == 20
    else:
        assert found == ({"missing-label": missing} if missing else {})


def test_equal_rows_with_equal_and_with_other_labels(tmp_path, images):
    values, labels = images.copy(), np.arange(40) % 2
    values[10], values[21] = values[2], values[4]
    found = kinds(looked(tmp_path, images=values, labels=labels))
    assert found == {"duplicate": ["images[10]"], "contradiction": ["images[21]", "images[4]"]}


def test_vectors_are_compared_by_their_values(tmp_path):
    values = np.random.default_rng(0).normal(size=(30, 5))
    values[4] = values[20] = values[7]
    values[9] = 2.5
    np.save(tmp_path / "set.npy", values)
    assert kinds(inspected(tmp_path / "set.npy")) == {"duplicate": ["set[20]", "set[7]"], "blank": ["set[9]"]}


def test_rows_in_training_and_in_test_are_a_leak(tmp_path, images):
    y = np.arange(40) % 2
    (finding,) = looked(tmp_path, x_train=images[:30], y_train=y[:30], x_test=images[29:], y_test=y[29:]).findings
    assert (finding.kind, finding.paths, finding.partners) == ("leak", ("x_train[29]",), ("x_test[0]",))
    assert inspected(tmp_path / "set.npz", part="test").counts == {"rows": 11}


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": np.zeros((4, 5, 5, 7), np.uint8)}, "no axis of 1 or 3 channels"),
        ({"images": np.zeros((9, 5, 5), np.uint8), "labels": np.zeros(3, int)}, "3 labels for 9 examples"),
        ({"a": np.zeros(3), "b": np.zeros(3)}, "Rename the array"),
        ({"images": np.float32(3)}, "is a single number"),
    ],
)
def test_what_training_would_refuse_is_told_in_its_words(tmp_path, arrays, words):
    findings = looked(tmp_path, **arrays).by_kind()["refused"]
    assert words in findings[0].explanation


@pytest.mark.parametrize("name", ["set.npy", "set.npz"])
def test_a_file_that_is_no_array_is_corrupt(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x93NUMPY nothing")
    inspection = inspected(tmp_path / name)
    assert inspection.exit_code == 20
    assert {finding.kind for finding in inspection.findings} <= {"corrupt", "refused"}
    assert {finding.action for finding in inspection.findings} == {"keep"}  # clean has nothing to leave out


# Sounds


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_waves_of_all_widths_are_read_alike(bits):
    ramp = np.linspace(-1, 0.99, 200)
    whole = np.round(ramp * 2 ** (bits - 1)).astype(np.int64)
    if bits == 8:
        body = (whole + 128).astype(np.uint8).tobytes()
    elif bits == 24:
        body = b"".join(int(value).to_bytes(3, "little", signed=True) for value in whole)
    else:
        body = whole.astype(f"<i{bits // 8}").tobytes()
    values, rate = sounds.samples("a.wav", riff(1, 1, 8000, bits, body))
    assert rate == 8000
    assert values.shape == (200, 1)
    assert np.abs(values[:, 0] - ramp).max() <= max(2.0 ** (1 - bits), 1e-7)  # float32 holds no more


@pytest.mark.parametrize(("kind", "bits"), [("<f4", 32), ("<f8", 64)])
def test_waves_of_floats_are_read(kind, bits):
    ramp = np.linspace(-1, 1, 50)
    values, _ = sounds.samples("a.wav", riff(3, 2, 8000, bits, np.repeat(ramp, 2).astype(kind).tobytes()))
    assert values.shape == (50, 2)
    assert np.allclose(values[:, 1], ramp, atol=1e-6)


def riff(code: int, channels: int, rate: int, bits: int, body: bytes) -> bytes:
    """A WAV file, written by hand."""
    align = channels * bits // 8
    form = struct.pack("<HHIIHH", code, channels, rate, rate * align, align, bits)
    parts = b"fmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", 4 + len(parts)) + b"WAVE" + parts


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"RIFF", "does not begin like a WAV"),
        (riff(1, 0, 8000, 16, b""), "0 channels"),
        (riff(1, 1, 5, 16, b"ab"), "at 5 Hz"),
        (riff(1, 1, 8000, 16, bytes(100))[:90], "promises 100 bytes of sound"),
        (riff(1, 1, 8000, 16, bytes(10))[:36], "no samples"),
        (riff(3, 1, 8000, 32, struct.pack("<f", float("nan"))), "not finite"),
    ],
)
def test_a_wave_that_contradicts_itself_is_damaged(data, words):
    with pytest.raises(ValueError, match=words):
        sounds.samples("a.wav", data)


def test_a_format_that_cannot_be_read_here_is_no_damage(tmp_path, monkeypatch):
    monkeypatch.setattr("equipoise.data.inspection.sounds.can_read_all", lambda: False)
    draw = np.random.default_rng(0)
    for number in range(4):
        (tmp_path / f"{number}.wav").write_bytes(wav(tone(draw, 8000), 8000))
    (tmp_path / "x.flac").write_bytes(b"fLaC")
    (tmp_path / "y.wav").write_bytes(riff(7, 1, 8000, 8, bytes(800)))
    inspection = inspected(tmp_path)
    assert inspection.findings == ()
    assert len(inspection.unseen) == 2
    assert all("pip install 'equipoise[sound]'" in line for line in inspection.unseen)


def test_a_loud_round_tone_is_not_clipped_and_a_cut_one_is(tmp_path):
    time = np.arange(8000) / 8000
    for number, hertz in enumerate((50, 110, 440, 1500)):
        (tmp_path / f"{number}.wav").write_bytes(wav(np.sin(2 * np.pi * hertz * time), 8000))
    assert inspected(tmp_path).findings == ()
    (tmp_path / "cut.wav").write_bytes(wav(1.2 * np.sin(2 * np.pi * 200 * time), 8000))
    assert kinds(inspected(tmp_path)) == {"clipped": ["cut.wav"]}


def test_resampling_keeps_the_pitch_and_mixing_the_mean():
    time = np.arange(16000) / 16000
    left = 0.5 * np.sin(2 * np.pi * 440 * time)
    data = sounds.as_wave(np.stack([left, np.zeros_like(left)], axis=1).astype(np.float32), 16000, 8000, 1)
    values, rate = sounds.samples("a.wav", data)
    assert (rate, values.shape) == (8000, (8000, 1))
    expected = 0.25 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)
    assert np.abs(values[100:-100, 0] - expected[100:-100]).max() < 0.005
