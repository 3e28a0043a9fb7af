import base64
import json
import os
import re
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from equipoise.core.errors import DataError
from equipoise.runs.journal import Journal, without_undone
from equipoise.runs.provenance import Label, read_label, write_animation, write_png
from equipoise.runs.report import write_report


class Page(HTMLParser):
    """Collects tags, addresses that a browser would load, and the text."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.alternatives: list[str | None] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]):
        self.tags.append(tag)
        given = dict(attrs)
        self.sources += [given[name] or "" for name in ("src", "href", "xlink:href", "data", "action") if name in given]
        if tag == "img":
            self.alternatives.append(given.get("alt"))
        if tag == "svg":
            self.alternatives.append(given.get("aria-label"))

    def handle_data(self, data: str):
        self.text += data


def made_up_run(folder: Path, *, num_windows: int = 60) -> Path:
    folder.mkdir()
    signals, events = Journal(folder / "signals.jsonl"), Journal(folder / "events.jsonl")
    events.append({"step": 0, "time": "2026-01-02T03:04:05+00:00", "kind": "started", "message": "Training starts."})
    for step in range(10, 10 * num_windows + 1, 10):
        names = ("loss/D/adversarial", "loss/D/r1", "loss/G/adversarial", "watch/real", "watch/fake", "gradient/D")
        names += ("gradient/G", "update/D", "update/G", "learning_rate/D", "learning_rate/G")
        moments = {"mean": 1.0 + 1 / step, "std": 0.1, "count": 10}
        signals.append(
            {
                "step": step,
                "examples": step * 64,
                "seconds": step * 0.03,
                "images_per_second": 2000.0,
                "signals": dict.fromkeys(names, moments),
            }
        )
    values = {"fid": 4.56, "kid": 0.003, "kid_std": 0.0002, "precision": 0.9, "recall": 0.8, "coverage": 0.86}
    evaluation = {"features": "digits classifier", "num_fake": 1797, "num_real": 1796, "values": values}
    evaluation |= {"floor": {**values, "fid": 1.23}, "class_shares": {"0": 0.4, "1": 0.6}, "agreement": 0.77}
    (folder / "metrics.json").write_text(json.dumps([{"step": step, **evaluation} for step in (300, 600)]))
    (folder / "environment.json").write_text(json.dumps({"torch": "2.13.0", "device": "cpu"}))
    (folder / "recipe.toml").write_text('[game]\nloss = "nonsaturating"\n')
    frames = [np.full((20, 20, 3), 10 * index, dtype=np.uint8) for index in range(10)]
    for index, frame in enumerate(frames):
        label = Label(run=folder.name, step=index * 60)
        write_png(frame, folder / "samples" / f"step-{index * 60:08}.png", label)
    write_animation(frames, folder / "samples" / "formation.webp", Label(run=folder.name, step=540))
    return folder


def page_of(folder: Path) -> tuple[Page, str]:
    text = write_report(folder).read_text()
    return Page(text), text


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Page, str]:
    return page_of(made_up_run(tmp_path_factory.mktemp("runs") / "digits-1"))


def test_the_page_loads_nothing_from_outside(whole: tuple[Page, str]):
    page, text = whole
    assert page.sources
    assert all(source.startswith(("data:image/", "#")) for source in page.sources)
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert len(text) < 2_000_000


def test_the_page_shows_numbers_curves_and_facts(whole: tuple[Page, str]):
    page, _ = whole
    for words in (
        "0.003 ± 0.0002",
        "digits-1",
        "4.56",
        "1.23",
        "digits classifier",
        "1,797",
        "77.0 %",
        "Critic's logits",
        "Gradient norms",
        "Update sizes",
        "Speed",
        "adversarial",
        "r1",
        'loss = "nonsaturating"',
        "2.13.0",
        "Training starts.",
        "step 60",
        "equipoise sample",
        "trainedAlgorithmicMedia",
    ):
        assert words in page.text, words
    assert page.tags.count("svg") >= 9
    assert page.tags.count("img") == 8  # the newest, the film, six earlier ones


def test_an_evaluation_of_an_older_step_does_not_replace_the_newest(tmp_path: Path):
    folder = made_up_run(tmp_path / "run", num_windows=3)
    entries = json.loads((folder / "metrics.json").read_text())
    old = {**entries[0], "step": 0, "values": {**entries[0]["values"], "fid": 198.0}}
    newer = {**entries[1], "values": {**entries[1]["values"], "fid": 3.21}}
    (folder / "metrics.json").write_text(json.dumps([*entries, newer, old]))
    page, _ = page_of(folder)
    assert "Step 600:" in page.text
    assert "3.21" in page.text
    assert "198" not in page.text


def test_every_picture_has_words_and_keeps_its_label(whole: tuple[Page, str]):
    page, _ = whole
    assert all(page.alternatives)
    for source in page.sources:
        if source.startswith("data:"):
            label = read_label(base64.b64decode(source.split(",", 1)[1]))
            assert label is not None
            assert label.run == "digits-1"


def test_colours_follow_light_and_dark(whole: tuple[Page, str]):
    _, text = whole
    assert "prefers-color-scheme: dark" in text
    assert "stroke: var(--series-1)" in text
    assert "#0000f" not in text
    assert "#0000e" not in text


def test_hostile_names_stay_text(tmp_path: Path):
    evil = "<script>alert(1)</script>"
    folder = made_up_run(tmp_path / "x<img src=y onerror=z>", num_windows=3)
    Journal(folder / "events.jsonl").append({"step": 1, "time": evil, "kind": evil, "message": evil})
    moments = {"mean": 1.0, "std": 0.1, "count": 1}
    signals = {f"loss/{evil}/{evil}": moments, f"watch/{evil}": moments, "gradient/$x^": moments, evil: moments}
    Journal(folder / "signals.jsonl").append({"step": 40, "signals": signals})
    (folder / "recipe.toml").write_text(f"name = '{evil}'")
    (folder / "environment.json").write_text(json.dumps({evil: evil}))
    (folder / "metrics.json").write_text(
        json.dumps([{"step": 1, "features": evil, "values": {evil: 1.0}, "class_shares": {evil: 1.0}}])
    )
    write_png(np.zeros((4, 4), dtype=np.uint8), folder / "samples" / f"step-9{evil[:8]}.png", Label(run=evil, step=1))
    page, _ = page_of(folder)
    assert "script" not in page.tags
    assert evil in page.text
    assert all(source.startswith(("data:image/", "#")) for source in page.sources)


def test_missing_pieces_are_left_out(tmp_path: Path):
    folder = made_up_run(tmp_path / "run", num_windows=3)
    for missing in ("signals.jsonl", "metrics.json", "events.jsonl", "environment.json", "samples/formation.webp"):
        (folder / missing).unlink()
        assert "What it makes" in page_of(folder)[0].text
    (folder / "recipe.toml").unlink()
    assert "There is no recipe.toml." in page_of(folder)[0].text


def test_an_empty_folder_makes_a_page(tmp_path: Path):
    page, _ = page_of(tmp_path)
    assert "not started" in page.text
    assert "No signals" in page.text


def test_damaged_files_are_named_on_the_page(tmp_path: Path):
    folder = made_up_run(tmp_path / "run", num_windows=3)
    (folder / "signals.jsonl").write_text('rubbish\n{"step": 1}\n')
    (folder / "metrics.json").write_text("{")
    (folder / "environment.json").write_text("[]")
    (folder / "samples" / "step-00000540.png").write_bytes(b"no picture")
    page, _ = page_of(folder)
    for name in ("signals.jsonl", "metrics.json", "environment.json", "step-00000540.png"):
        assert name in page.text


def test_windows_without_a_single_finite_value_make_no_trouble(tmp_path: Path):
    moments = {"mean": None, "std": None, "count": 10}
    for step in range(1, 20):
        Journal(tmp_path / "signals.jsonl").append(
            {"step": step, "signals": {"loss/G/adversarial": moments, "watch/real": moments}}
        )
    assert "diverged" in page_of(tmp_path)[0].text


def test_what_was_measured_now_and_then_is_a_curve_too(tmp_path: Path):
    moments = {"mean": 1.5, "std": 0.1, "count": 10}
    for step in range(1, 200):
        signals = {"probe/logits/held_out": moments if step % 20 == 0 else None, "watch/real": moments}
        Journal(tmp_path / "signals.jsonl").append({"step": step, "signals": signals})
    curves = page_of(tmp_path)[1].count("stroke: var(--series-2); stroke-width: 1.5")
    assert curves >= 1


def test_curves_leave_out_what_a_rollback_took_back(tmp_path: Path):
    lines = [{"step": step, "signals": {}} for step in (10, 20, 30, 20, 30, 40)]
    kept = without_undone(lines)
    assert [line["step"] for line in kept] == [10, 20, 30, 40]
    assert kept[1] is lines[3]
    assert kept[2] is lines[4]


@pytest.mark.parametrize(
    ("kinds", "word"),
    [
        (["started"], "running"),
        (["started", "saved", "finished"], "finished"),
        (["started", "interrupted"], "interrupted"),
        (["started", "interrupted", "resumed"], "running"),
        (["started", "rollback", "diverged"], "diverged"),
        (["started", "failed"], "failed"),
    ],
)
def test_the_status_is_told_by_the_last_beginning_or_end(tmp_path: Path, kinds: list[str], word: str):
    for kind in kinds:
        Journal(tmp_path / "events.jsonl").append({"step": 1, "time": "", "kind": kind, "message": ""})
    assert f">{word}</span>" in page_of(tmp_path)[1]


def test_a_run_that_is_silent_for_long_has_stopped(tmp_path: Path):
    Journal(tmp_path / "events.jsonl").append({"step": 1, "time": "", "kind": "started", "message": ""})
    long_ago = time.time() - 3600
    os.utime(tmp_path / "events.jsonl", (long_ago, long_ago))
    assert ">stopped</span>" in page_of(tmp_path)[1]


def test_pictures_that_are_too_large_are_left_out_but_not_the_newest(tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)  # about 270 kB each
    for step in range(9):
        write_png(noise, tmp_path / "samples" / f"step-{step:08}.png", Label(run="x", step=step))
    write_animation([noise, noise[::-1]] * 2, tmp_path / "samples" / "formation.webp", Label(run="x", step=8))
    page, text = page_of(tmp_path)
    assert len(text) < 2_000_000
    assert "The newest pictures, step 8" in page.text
    assert "too large for this page" in page.text


def test_what_is_no_folder_is_an_error(tmp_path: Path):
    with pytest.raises(DataError, match="not a folder"):
        write_report(tmp_path / "nowhere")
