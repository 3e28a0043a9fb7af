"""Sounds and videos in the formats of the extras: read where they are installed, and said where they are not."""

import io

import numpy as np
import pytest

from benchmarks.defects import plant_videos
from equipoise.data.inspection import inspected


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.mark.parametrize(("format", "subtype"), [("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("WAV", "FLOAT")])
def test_sounds_of_other_formats_are_heard(tmp_path, format, subtype):
    soundfile = pytest.importorskip("soundfile")
    draw = np.random.default_rng(0)
    for number in range(6):
        time = np.arange(8000) / 8000
        wave = 0.5 * np.sin(2 * np.pi * draw.uniform(200, 900) * time) * draw.uniform(0.5, 1)
        soundfile.write(tmp_path / f"{number}.{format.lower()}", wave, 8000, format=format, subtype=subtype)
    name = f"silent.{format.lower()}"
    soundfile.write(tmp_path / name, np.zeros(8000), 8000, format=format, subtype=subtype)
    buffer = io.BytesIO()
    soundfile.write(buffer, 0.3 * draw.standard_normal(8000).clip(-1, 1), 8000, format=format, subtype=subtype)
    (tmp_path / f"cut.{format.lower()}").write_bytes(buffer.getvalue()[:40])
    inspection = inspected(tmp_path)
    assert inspection.unseen == ()
    assert inspection.counts == {"sounds": 8}
    assert {finding.paths: finding.kind for finding in inspection.findings} in (
        {(name,): "silent", (f"cut.{format.lower()}",): "corrupt"},
        {(name,): "silent", (f"cut.{format.lower()}",): "truncated"},
    )


def test_without_the_extra_for_videos_nobody_is_accused_and_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("equipoise.data.inspection.videos.can_read", lambda: False)
    (tmp_path / "a.mp4").write_bytes(b"not a video")
    inspection = inspected(tmp_path)
    assert inspection.findings == ()
    (line,) = inspection.unseen
    assert "1 videos could not be looked at" in line
    assert "pip install 'equipoise[video]'" in line


def test_videos_are_looked_at_where_they_can_be(tmp_path):
    pytest.importorskip("av")
    plant_videos(tmp_path / "set", 1)
    assert inspected(tmp_path / "set").unseen == ()
