import hashlib
import io
import json
import os
import xml.etree.ElementTree as ElementTree
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from equipoise.core.errors import DataError, DiskError
from equipoise.runs import provenance
from equipoise.runs.provenance import (
    DIGITAL_SOURCE_TYPE,
    Label,
    png_bytes,
    read_label,
    write_animation,
    write_array,
    write_png,
)
from equipoise.version import __version__

LABEL = Label(run="digits-1", step=1200, seed=7)
GREY = (np.arange(12 * 10).reshape(12, 10) * 2).astype(np.uint8)
COLOUR = np.stack([GREY, GREY[::-1], GREY.T.reshape(12, 10)], axis=2)


def png_with(packet: str) -> bytes:
    stream, text = io.BytesIO(), PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", packet)
    Image.fromarray(GREY).save(stream, "PNG", pnginfo=text)
    return stream.getvalue()


@pytest.mark.parametrize("image", [GREY, COLOUR, Image.fromarray(COLOUR)])
def test_a_png_keeps_pixels_and_label(image: provenance.Picture, tmp_path: Path):
    path = write_png(image, tmp_path / "a.png", LABEL)
    assert read_label(path) == read_label(path.read_bytes()) == LABEL
    assert (np.asarray(Image.open(path)) == np.asarray(image)).all()


def test_other_programs_find_the_label_where_the_standards_say(tmp_path: Path):
    image = Image.open(write_png(GREY, tmp_path / "a.png", LABEL))
    assert image.info["Software"] == f"Equipoise {__version__}"
    assert "generative model" in image.info["Description"]
    packet = ElementTree.fromstring(image.info["XML:com.adobe.xmp"])
    names = {
        "source": "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType",
        "creator": "{http://ns.adobe.com/xap/1.0/}CreatorTool",
        "description": "{http://purl.org/dc/elements/1.1/}description",
    }
    texts = {name: "".join(next(packet.iter(tag)).itertext()) for name, tag in names.items()}
    assert texts["source"] == "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    assert texts["creator"] == f"Equipoise {__version__}"
    assert "generative model" in texts["description"]


def test_an_animation_keeps_frames_label_and_a_long_last_frame(tmp_path: Path):
    frames = [np.roll(COLOUR, shift, axis=0) for shift in range(4)]
    path = write_animation(frames, tmp_path / "a.webp", LABEL, seconds_per_frame=0.1, seconds_at_end=1.5)
    assert read_label(path) == LABEL
    with Image.open(path) as image:
        assert image.n_frames == 4  # pyright: ignore[reportAttributeAccessIssue]
        durations = []
        for index, frame in enumerate(frames):
            image.seek(index)
            assert (np.asarray(image.convert("RGB")) == frame).all()
            durations.append(image.info["duration"])
    assert durations == [100, 100, 100, 1500]


@settings(max_examples=150, deadline=None)
@given(
    run=st.text(st.characters(), max_size=30),
    step=st.integers(0, 10**12),
    seed=st.none() | st.integers(0, 2**63 - 1),
)
def test_any_run_name_survives(run: str, step: int, seed: int | None):
    label = Label(run=run, step=step, seed=seed)
    assert read_label(png_bytes(GREY, label)) == label


@pytest.mark.parametrize(
    "run", ["</rdf:RDF><script>", "&lt;&amp;", "]]>", "a\r\n\tb ", " ", "\x00\x0b\ufffe", "\ud800", "\\u0041", "数字"]
)
def test_a_hostile_run_name_survives(run: str, tmp_path: Path):
    label = Label(run=run, step=1)
    assert read_label(write_png(GREY, tmp_path / "a.png", label)) == label
    assert read_label(write_animation([GREY, GREY.T.reshape(12, 10)], tmp_path / "a.webp", label)) == label


def test_a_picture_without_our_label_has_none(tmp_path: Path):
    Image.fromarray(GREY).save(tmp_path / "bare.png")
    Image.fromarray(GREY).save(tmp_path / "bare.webp")
    assert read_label(tmp_path / "bare.png") is None
    assert read_label(tmp_path / "bare.webp") is None


def test_saving_anew_loses_the_label_and_this_is_noticed(tmp_path: Path):
    path = write_png(GREY, tmp_path / "a.png", LABEL)
    Image.open(path).save(tmp_path / "b.png")
    assert read_label(tmp_path / "b.png") is None


def test_entities_are_refused_before_they_are_parsed():
    good = provenance._packet(LABEL)
    assert read_label(png_with(good)) == LABEL
    bomb = '<!DOCTYPE a [<!ENTITY b "digits"><!ENTITY c "&b;&b;&b;&b;">]>' + good.replace("digits-1", "&c;")
    assert read_label(png_with(bomb)) is None
    assert read_label(png_with('<?xml version="1.0"?>' + bomb)) is None


@pytest.mark.parametrize(
    "packet",
    [
        "",
        "<x",
        "<a/>",
        provenance._packet(LABEL).replace(">1200<", ">many<"),
        provenance._packet(LABEL).replace(DIGITAL_SOURCE_TYPE, "http://example.org/digitalCapture"),
        provenance._packet(LABEL) + " " * 300_000,
    ],
)
def test_a_broken_packet_is_no_label(packet: str):
    assert read_label(png_with(packet)) is None


def test_what_is_no_picture_is_an_error_with_its_name(tmp_path: Path):
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(DataError, match=r"text\.png"):
        read_label(tmp_path / "text.png")
    with pytest.raises(DataError, match=r"missing\.png"):
        read_label(tmp_path / "missing.png")
    with pytest.raises(DataError):
        read_label(zlib.compress(b"no picture either"))


def test_a_label_that_does_not_hold_is_an_error_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(PngImagePlugin.PngInfo, "add_itxt", lambda *_: None)
    with pytest.raises(DiskError, match="read back"):
        write_png(GREY, tmp_path / "a.png", LABEL)
    assert os.listdir(tmp_path) == []


def test_an_animation_whose_label_is_dropped_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(provenance, "_packet", lambda label: "")
    with pytest.raises(DiskError, match="read back"):
        write_animation([GREY, COLOUR], tmp_path / "a.webp", LABEL)
    assert os.listdir(tmp_path) == []


def test_a_disk_that_changes_bytes_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(provenance, "replace_file", lambda path, content: path.write_bytes(content[:-1] + b"x"))
    with pytest.raises(DiskError, match=r"a\.png"):
        write_png(COLOUR, tmp_path / "a.png", LABEL)


def test_a_write_that_fails_is_a_disk_error_and_the_old_picture_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_png(GREY, tmp_path / "a.png", LABEL)
    before = path.read_bytes()
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("gone")))
    with pytest.raises(DiskError):
        write_png(COLOUR, path, LABEL)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.png"]


def test_frames_of_different_sizes_and_wrong_arrays_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="different sizes"):
        write_animation([GREY, GREY[:4]], tmp_path / "a.webp", LABEL)
    with pytest.raises(ValueError, match="no frames"):
        write_animation([], tmp_path / "a.webp", LABEL)
    with pytest.raises(ValueError, match="expected uint8"):
        write_png(GREY.astype(np.float32), tmp_path / "a.png", LABEL)


def test_an_array_has_its_label_beside_it(tmp_path: Path):
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    path = write_array(values, tmp_path / "new" / "x.npy", LABEL)
    assert np.load(path).dtype == np.float32
    assert (np.load(path) == values).all()
    label = json.loads((tmp_path / "new" / "x.npy.json").read_text())
    assert label.pop("digital_source_type") == DIGITAL_SOURCE_TYPE
    assert label.pop("sha256") == hashlib.sha256(path.read_bytes()).hexdigest()
    assert Label(**label) == LABEL
