"""A cleaned copy: what is left out, repaired and kept, the log, the refusals, and the page."""

import errno
import json
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.defects import encoded, picture, plant_array, plant_images, plant_sounds, wav
from equipoise.core.errors import DataError, DiskError, RecipeError
from equipoise.data import open_source
from equipoise.data.images import decode
from equipoise.data.inspection import KINDS, Finding, clean, inspected, sounds, write_page
from equipoise.data.inspection.cleaning import decided


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """A cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """A planted set of images and its truth. Not to be changed."""
    folder = tmp_path_factory.mktemp("planted") / "set"
    return folder, plant_images(folder, 20, num_good=60)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def log(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "cleaning.jsonl").read_text().splitlines()]


def test_a_planted_set_comes_out_clean_and_the_original_is_untouched(planted, tmp_path):
    folder, truth = planted
    before = tree(folder)
    result = clean(folder, tmp_path / "out")
    assert tree(folder) == before
    left = inspected(tmp_path / "out")
    assert {finding.kind for finding in left.findings} == {"outlier", "ignored-file"}
    assert left.counts["images"] == result.written
    assert len(open_source(tmp_path / "out")) == left.parts["train"]
    # What was good is there byte for byte.
    after = tree(tmp_path / "out")
    good = before.keys() - truth.keys()
    assert {name: after[name] for name in good} == {name: before[name] for name in good}


def test_every_decision_is_logged_with_its_reason(planted, tmp_path):
    folder, truth = planted
    result = clean(folder, tmp_path / "out")
    rows = log(tmp_path / "out")
    found = {(path, f.kind) for f in inspected(folder).findings for path in (*f.paths, *f.partners)}
    assert {(row["path"], row["kind"]) for row in rows} <= found
    assert all(row["reason"].endswith(".") and row["action"] in ("drop", "repair", "keep") for row in rows)
    before, after = tree(folder).keys(), tree(tmp_path / "out").keys() - {"cleaning.jsonl"}
    renamed = {row["path"]: row["written_as"] for row in rows if row["written_as"]}
    dropped = {row["path"] for row in rows if row["action"] == "drop"}
    assert after == {renamed.get(name, name) for name in before - dropped}
    assert (result.dropped, result.repaired) == (
        len(dropped),
        len({r["path"] for r in rows if r["action"] == "repair"}),
    )
    for path, kind in truth.items():
        assert (path in dropped) <= (KINDS[kind].action == "drop")


def test_a_zip_gives_the_same_copy_as_the_folder(planted, tmp_path):
    folder, _ = planted
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder))
    clean(folder, tmp_path / "one")
    clean(tmp_path / "set.zip", tmp_path / "two")
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def few(folder: Path, num: int = 12) -> Path:
    draw = np.random.default_rng(1)
    folder.mkdir(parents=True)
    for number in range(num):
        (folder / f"{number}.png").write_bytes(encoded(picture(draw, "stripes"), "PNG"))
    return folder


def test_repairs_turn_open_and_convert_as_training_sees_it(tmp_path):
    folder = few(tmp_path / "set")
    draw = np.random.default_rng(2)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(draw, "discs").save(folder / "turned.jpg", exif=exif, quality=95)
    clear = picture(draw, "tiles")
    clear.putalpha(128)
    clear.save(folder / "clear.webp", lossless=True)
    picture(draw, "clouds").convert("L").save(folder / "0.bmp")  # there is a 0.png already
    film = picture(draw, "polygons")
    film.save(folder / "film.gif", save_all=True, append_images=[film.rotate(90)])
    clean(folder, tmp_path / "out")
    for old, new in (("turned.jpg", "turned.png"), ("clear.webp", "clear.png"), ("film.gif", "film.png")):
        with Image.open(tmp_path / "out" / new) as mended:
            assert (mended.mode, getattr(mended, "n_frames", 1), dict(mended.getexif())) == ("RGB", 1, {})
            seen = decode((folder / old).read_bytes(), channels=3)
            assert np.array_equal(np.asarray(mended).transpose(2, 0, 1), seen)
    (row,) = (row for row in log(tmp_path / "out") if row["path"] == "0.bmp")
    assert row["written_as"] == "0-2.png"
    assert (tmp_path / "out" / "0.png").read_bytes() == (folder / "0.png").read_bytes()


def test_dataset_json_follows_what_was_dropped_and_renamed(tmp_path):
    folder = few(tmp_path / "set")
    (folder / "bad.png").write_bytes(b"")
    picture(np.random.default_rng(2), "discs").convert("CMYK").save(folder / "ink.jpg", quality=95)
    names = [f"{number}.png" for number in range(12)] + ["bad.png", "ink.jpg", "gone.png"]
    rows = [[name, number % 2] for number, name in enumerate(names)]
    (folder / "dataset.json").write_text(json.dumps({"labels": rows, "licence": "CC0"}))
    clean(folder, tmp_path / "out")
    index = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert index == {"labels": [*rows[:12], ["ink.png", 1]], "licence": "CC0"}
    assert len(open_source(tmp_path / "out")) == 13


def test_kinds_that_are_asked_for_are_kept(tmp_path):
    folder = few(tmp_path / "set")
    shutil.copyfile(folder / "3.png", folder / "again.png")
    (folder / "bad.png").write_bytes(b"")
    clean(folder, tmp_path / "out", keep=["duplicate"])
    assert "again.png" in tree(tmp_path / "out")
    assert "bad.png" not in tree(tmp_path / "out")
    (row,) = (row for row in log(tmp_path / "out") if row["kind"] == "duplicate")
    assert row["action"] == "keep"
    assert row["reason"].endswith("Kept, as asked for.")
    with pytest.raises(RecipeError, match=r"no kind of finding called 'duplicates'. Did you mean 'duplicate'"):
        clean(folder, tmp_path / "other", keep=["duplicates"])


def test_a_part_is_cleaned_alone(planted, tmp_path):
    clean(planted[0], tmp_path / "out", part="test")
    assert {name.split("/")[0] for name in tree(tmp_path / "out")} == {"test", "cleaning.jsonl"}


def test_a_clean_set_can_be_cleaned_again(tmp_path):
    clean(few(tmp_path / "set"), tmp_path / "one")
    clean(tmp_path / "one", tmp_path / "two")
    assert "cleaning-2.jsonl" in tree(tmp_path / "two")


def test_an_array_loses_its_bad_rows_and_training_takes_it(tmp_path):
    truth = plant_array(tmp_path / "set.npz", 3)
    content = (tmp_path / "set.npz").read_bytes()
    result = clean(tmp_path / "set.npz", tmp_path / "out")
    assert (tmp_path / "set.npz").read_bytes() == content
    with np.load(tmp_path / "set.npz") as old, np.load(tmp_path / "out" / "set.npz") as new:
        rows = {int(d.path[7:-1]) for d in result.decisions if d.action == "drop"}
        assert rows <= {int(path[7:-1]) for path in truth}
        assert len(rows) == len(truth) - 3  # of three pairs of copies one stays
        kept = [row for row in range(300) if row not in rows]
        assert np.array_equal(new["images"], old["images"][kept])
        assert np.array_equal(new["labels"], old["labels"][kept])
    assert len(open_source(tmp_path / "out" / "set.npz")) == 300 - len(rows)


@pytest.mark.parametrize("change", [lambda x: x.astype(np.float64), lambda x: x.astype(np.int32)])
def test_an_array_of_bytes_in_another_type_is_repaired(tmp_path, change):
    draw = np.random.default_rng(0)
    images = np.stack([np.asarray(picture(draw, "discs").resize((16, 16))) for _ in range(8)])
    with zipfile.ZipFile(tmp_path / "set.npz", "w") as archive:  # np.savez takes no array called "file"
        for name, values in (("images", change(images)), ("file", np.arange(3))):
            with archive.open(f"{name}.npy", "w") as stream:
                np.save(stream, values)
    clean(tmp_path / "set.npz", tmp_path / "out")
    seen = open_source(tmp_path / "out" / "set.npz").examples(torch.arange(8)).numpy()
    assert np.allclose(seen, images.transpose(0, 3, 1, 2) / 127.5 - 1, atol=1e-6)
    with np.load(tmp_path / "out" / "set.npz") as arrays:
        assert arrays["file"].tolist() == [0, 1, 2]


def pictures(num: int = 6) -> np.ndarray:
    """Good images, uint8 [N, 16, 16, 3]."""
    draw = np.random.default_rng(0)
    return np.stack([np.asarray(picture(draw, "discs").resize((16, 16))) for _ in range(num)])


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_of_an_array_the_file_in_the_copy_is_what_can_be_trained_on(tmp_path, kind):
    np.save(tmp_path / "set.npy", pictures().astype(kind))
    result = clean(tmp_path / "set.npy", tmp_path / "out")
    assert (result.trainable, result.unmended) == (tmp_path / "out" / "set.npy", ())
    assert (result.written, result.repaired) == (6, 6)
    assert len(open_source(tmp_path / "out" / "set.npy")) == 6


def test_of_a_folder_the_copy_is_what_can_be_trained_on_unless_it_holds_sounds(tmp_path):
    assert clean(few(tmp_path / "set"), tmp_path / "out").trainable == tmp_path / "out"
    plant_sounds(tmp_path / "sounds", 2, num_good=10)
    assert clean(tmp_path / "sounds", tmp_path / "out-sounds").trainable is None


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": pictures() * 3.7}, "holds floats from"),
        ({"images": pictures().astype(np.uint16) * 200}, "whole numbers of type uint16"),
        ({"images": pictures()[None].repeat(2, axis=0)}, "Reshape the array"),
        ({"images": pictures(), "labels": np.zeros(5, int)}, "5 labels for 6 examples"),
        ({"images": pictures() > 100}, "holds bool values"),
    ],
    ids=["range", "uint16", "five axes", "labels", "bool"],
)
def test_what_cannot_be_mended_is_told_of_the_copy(tmp_path, arrays, words):
    np.savez(tmp_path / "set.npz", **arrays)
    result = clean(tmp_path / "set.npz", tmp_path / "out")
    (finding,) = result.unmended
    assert words in finding.explanation
    assert result.trainable is None
    assert (finding.kind, "keep") in {(row["kind"], row["action"]) for row in log(tmp_path / "out")}


def test_what_shows_only_once_the_rest_is_mended_is_told_too(tmp_path):
    values = pictures() / 255
    values[3, 0] = np.nan
    np.savez(tmp_path / "set.npz", images=values[..., [0, 1, 2, 2]])
    assert {finding.kind for finding in inspected(tmp_path / "set.npz").findings} == {"not-finite"}
    (finding,) = clean(tmp_path / "set.npz", tmp_path / "out").unmended
    assert f"{tmp_path / 'out' / 'set.npz'}: images has shape [5, 16, 16, 4]" in finding.explanation


def test_labels_that_fit_by_chance_once_a_row_is_gone_are_not_trained_on(tmp_path):
    values = pictures() / 255
    values[3, 0] = np.nan
    np.savez(tmp_path / "set.npz", images=values, labels=np.arange(5))
    result = clean(tmp_path / "set.npz", tmp_path / "out")
    assert ["5 labels for 6 examples" in finding.explanation for finding in result.unmended] == [True]
    assert result.trainable is None


def test_what_is_kept_although_critical_is_told(tmp_path):
    folder = few(tmp_path / "set")
    (folder / "bad.png").write_bytes(b"")
    result = clean(folder, tmp_path / "out", keep=["empty-file"])
    assert [finding.paths for finding in result.unmended] == [("bad.png",)]
    assert result.trainable is None


def test_one_example_that_is_left_is_too_little_to_train_on(tmp_path):
    folder = few(tmp_path / "set", 1)
    shutil.copyfile(folder / "0.png", folder / "1.png")
    result = clean(folder, tmp_path / "out")
    assert result.written == 1
    assert [finding.explanation for finding in result.unmended] == [
        "1 example is left. Expected at least 2 to learn from."
    ]
    assert result.trainable is None


def test_a_decision_about_the_whole_set_is_logged_without_a_path(tmp_path):
    for name, num in (("a", 23), ("b", 2), ("c", 2)):
        few(tmp_path / "set" / name, 0)
        draw = np.random.default_rng(len(name) + num + ord(name))
        for number in range(num):
            (tmp_path / "set" / name / f"{number}.png").write_bytes(encoded(picture(draw, "stripes"), "PNG"))
    clean(tmp_path / "set", tmp_path / "out", keep=["near-duplicate"])
    (row,) = (row for row in log(tmp_path / "out") if row["kind"] == "imbalance")
    assert (row["path"], row["action"]) == ("", "keep")


def test_links_that_lead_nowhere_are_no_examples(tmp_path):
    folder = few(tmp_path / "set")
    (folder / "gone.png").symlink_to("nowhere.png")
    (folder / "bad.png").write_bytes(b"")
    result = clean(folder, tmp_path / "out")
    assert (result.num_examples, result.dropped, result.written) == (13, 1, 12)
    assert inspected(tmp_path / "out").counts == {"images": 12}


def test_sounds_are_brought_to_the_rate_and_channels_of_the_others(tmp_path):
    truth = plant_sounds(tmp_path / "set", 2)
    clean(tmp_path / "set", tmp_path / "out")
    assert inspected(tmp_path / "out").findings == ()
    for name, kind in truth.items():
        if kind in ("sample-rate", "mode"):
            values, rate = sounds.samples(name, (tmp_path / "out" / name).read_bytes())
            assert (rate, values.shape[1]) == (8000, 1)


# What is decided


def finding(kind: str, *paths: str, partners: tuple[str, ...] = ()) -> Finding:
    return Finding(kind, paths, {}, "It is so.", partners, KINDS[kind].severity, KINDS[kind].action)


@pytest.mark.parametrize(
    ("findings", "dropped"),
    [
        ([finding("duplicate", "b", "c", partners=("a",))], {"b", "c"}),
        ([finding("duplicate", "b", "c", partners=("a",)), finding("corrupt", "a")], {"a", "c"}),
        (
            [finding("duplicate", "b", partners=("a",)), finding("near-duplicate", "a", "b", partners=("z",))],
            {"a", "b"},
        ),
        ([finding("leak", "train/x", partners=("test/x",))], {"train/x"}),
        ([finding("leak", "train/x", partners=("test/x",)), finding("corrupt", "test/x")], {"test/x"}),
        ([finding("contradiction", "a", "b")], {"a", "b"}),
        ([finding("contradiction", "a", "b"), finding("empty-file", "a")], {"a"}),
        ([finding("few-examples", "a", "b"), finding("outlier", "c"), finding("refused")], set()),
    ],
)
def test_one_good_copy_stays_wherever_there_was_one(findings, dropped):
    assert {decision.path for decision in decided(findings) if decision.action == "drop"} == dropped


# Refusals


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("set", "never written to"),
        ("set/clean", "never written to"),
        ("set/../set/x", "never written to"),
        (".", "lies in"),
        ("full", r"not empty \(kept.txt\)"),
        ("full/kept.txt", "is not a folder"),
        ("cut", "cut off"),
    ],
)
def test_it_never_writes_into_the_data_or_over_anything(tmp_path, out, words):
    folder = few(tmp_path / "set")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "kept.txt").write_text("mine")
    (tmp_path / "cut" / ".unfinished").mkdir(parents=True)
    before = tree(tmp_path)
    with pytest.raises(DataError, match=words):
        clean(folder, tmp_path / out)
    assert tree(tmp_path) == before


def test_an_empty_folder_may_be_filled(tmp_path):
    (tmp_path / "out").mkdir()
    clean(few(tmp_path / "set"), tmp_path / "out")
    assert len(tree(tmp_path / "out")) == 13


@pytest.mark.parametrize("exists", [False, True])
def test_a_disk_that_fills_up_leaves_nothing_behind_and_says_so(tmp_path, monkeypatch, exists):
    folder = few(tmp_path / "set")
    if exists:
        (tmp_path / "out").mkdir()
    copied = []

    def full(source, target):
        if len(copied) == 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        copied.append(shutil.copyfile.__name__)
        Path(target).write_bytes(Path(source).read_bytes())

    monkeypatch.setattr("equipoise.data.inspection.cleaning.shutil.copyfile", full)
    with pytest.raises(DiskError, match=r"The disk is full: writing .*out needs about .* The source is untouched"):
        clean(folder, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == (["out", "set"] if exists else ["set"])
    assert not exists or list((tmp_path / "out").iterdir()) == []


def test_too_little_space_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    folder = few(tmp_path / "set")
    monkeypatch.setattr("equipoise.data.outlet.free_bytes", lambda path: 1000)
    with pytest.raises(DiskError, match=r"needs about .* kB, 1\.0 kB are free"):
        clean(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_interruption_leaves_nothing_behind(tmp_path):
    folder = few(tmp_path / "set")

    def interrupt(what, done, total):
        if what == "files copied" and done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        clean(folder, tmp_path / "out", progress=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_an_array_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "set.npy").write_bytes(b"nothing")
    with pytest.raises(DataError, match="nothing can be saved"):
        clean(tmp_path / "set.npy", tmp_path / "out")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": np.zeros((3, 8, 8, 3), np.uint8)}, r"No example of .* would be left \(Blank 3\).*--keep blank"),
        ({"images": np.zeros((0, 8, 8, 3), np.uint8)}, "Expected at least 2 examples"),
        ({"a": np.zeros(3), "b": np.zeros(3)}, "Rename the array"),
    ],
    ids=["blank", "no rows", "no known name"],
)
def test_a_copy_without_examples_is_not_written(tmp_path, arrays, words):
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(DataError, match=words):
        clean(tmp_path / "set.npz", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_which_nothing_would_be_left_is_refused(tmp_path):
    (tmp_path / "set").mkdir()
    for number in range(2):
        Image.new("RGB", (8, 8), (number, 2, 3)).save(tmp_path / "set" / f"{number}.png")
    with pytest.raises(DataError, match="would be left"):
        clean(tmp_path / "set", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# The page


@pytest.mark.parametrize(("number", "words"), [(1, "1 warning<"), (2, "2 warnings<")])
def test_the_page_counts_in_the_plural(tmp_path, number, words):
    folder = few(tmp_path / "set")
    for value in range(number):
        Image.new("RGB", (64, 64), (value, 2, 3)).save(folder / f"blank-{value}.png")
    assert words in write_page(inspected(folder), tmp_path / "page.html").read_text("utf-8")


def test_the_page_of_an_array_that_cannot_be_read_says_so_and_offers_no_cleaning(tmp_path):
    np.save(tmp_path / "set.npy", np.array([{}, {}]), allow_pickle=True)
    page = write_page(inspected(tmp_path / "set.npy"), tmp_path / "page.html").read_text("utf-8")
    assert "set.npy: nothing could be read." in page
    assert "equipoise data clean" not in page


def test_the_page_shows_every_kind_and_needs_nothing_else(planted, tmp_path):
    inspection = inspected(planted[0])
    page = write_page(inspection, tmp_path / "deep" / "page.html").read_text("utf-8")
    for kind in inspection.by_kind():
        assert f'id="{kind}"' in page
        assert KINDS[kind].title in page
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    assert "default-src 'none'" in page
    assert len(page) < 2_500_000
    assert page.count("data:image/") > 20


def test_names_cannot_bring_code_into_the_page(tmp_path):
    folder = few(tmp_path / "set")
    (folder / "<img src=x onerror=alert(1)>.png").write_bytes(b"<script>")
    page = write_page(inspected(folder), tmp_path / "page.html").read_text("utf-8")
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page


def test_the_page_of_many_findings_stays_small(tmp_path):
    folder = few(tmp_path / "set", 3)
    for number in range(300):
        (folder / f"bad-{number}.png").write_bytes(b"")
    page = write_page(inspected(folder), tmp_path / "page.html").read_text("utf-8")
    assert "288 more are not shown here" in page
    assert len(page) < 100_000


def test_the_page_of_a_clean_set_says_so(tmp_path):
    page = write_page(inspected(few(tmp_path / "set")), tmp_path / "page.html").read_text("utf-8")
    assert '<span class="badge good">clean</span>' in page
    assert "equipoise train --data" in page


def test_pages_of_arrays_and_sounds_show_what_can_be_shown(tmp_path):
    plant_array(tmp_path / "set.npz", 0)
    plant_sounds(tmp_path / "sounds", 0, num_good=20)
    array = write_page(inspected(tmp_path / "set.npz"), tmp_path / "array.html").read_text("utf-8")
    assert array.count("data:image/png") >= 6
    heard = write_page(inspected(tmp_path / "sounds"), tmp_path / "sounds.html").read_text("utf-8")
    assert "data:image" not in heard
    assert "a/silent-0.wav" in heard


def test_what_could_not_be_looked_at_stands_on_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr("equipoise.data.inspection.videos.can_read", lambda: False)
    folder = few(tmp_path / "set")
    (folder / "a.mp4").write_bytes(b"x")
    (folder / "b.wav").write_bytes(wav(np.zeros(10), 8000))
    page = write_page(inspected(folder), tmp_path / "page.html").read_text("utf-8")
    assert "1 videos could not be looked at" in page
