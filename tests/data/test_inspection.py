"""What each check goes by, parts and copies, forms of data, the answer, and that the same content is looked at once."""

import functools
import json
import os
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.defects import CLASSES, encoded, picture, plant_images
from equipoise.core.errors import DataError
from equipoise.data.inspection import KINDS, inspected
from equipoise.data.inspection import inspect as looking
from equipoise.data.inspection.cache import cache_folder
from equipoise.data.inspection.findings import Inspection, inspection_from


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch) -> Path:
    """A cache of its own, and files that count as settled at once."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setattr("equipoise.data.inspection.cache._SETTLED", -1.0)
    return folder


@functools.cache
def stock() -> list[bytes]:
    """Good images of two classes in turn."""
    draw = np.random.default_rng(0)
    return [encoded(picture(draw, CLASSES[number % 2])) for number in range(70)]


def good(folder: Path, num: int) -> Path:
    """A folder of good images in two classes."""
    for number in range(num):
        (folder / CLASSES[number % 2]).mkdir(parents=True, exist_ok=True)
        (folder / CLASSES[number % 2] / f"{number}.jpg").write_bytes(stock()[number])
    return folder


def kinds(inspection: Inspection) -> dict[str, list[str]]:
    """Kind -> the paths that are accused of it."""
    return {kind: sorted(p for f in found for p in f.paths) for kind, found in inspection.by_kind().items()}


def one_more(folder: Path, name: str, image: Image.Image, form: str = "PNG", **options) -> Inspection:
    """What is found when this image lies among thirty good ones."""
    good(folder, 30)
    (folder / "discs" / name).write_bytes(encoded(image, form, **options))
    return inspected(folder)


@pytest.fixture
def sample() -> Image.Image:
    return picture(np.random.default_rng(99), "tiles")


# What each check goes by


def test_where_videos_cannot_be_read_it_says_so_and_accuses_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr("equipoise.data.inspection.videos.can_read", lambda: False)
    good(tmp_path / "set", 4)
    (tmp_path / "set" / "discs" / "film.mp4").write_bytes(b"anything")
    inspection = inspected(tmp_path / "set")
    assert inspection.findings == ()
    assert inspection.unseen == ("1 videos could not be looked at without PyAV: pip install 'equipoise[video]'.",)


def test_an_image_is_called_blank_only_if_all_pixels_are_equal(tmp_path):
    even = Image.new("RGB", (60, 60), (10, 200, 30))
    dotted = even.copy()
    dotted.putpixel((3, 3), (0, 0, 0))
    assert kinds(one_more(tmp_path / "a", "even.png", even)) == {"blank": ["discs/even.png"]}
    assert kinds(one_more(tmp_path / "b", "dotted.png", dotted)) == {}


def test_faint_images_among_faint_images_are_not_nearly_blank(tmp_path):
    draw = np.random.default_rng(0)
    for number in range(20):
        pixels = 100 + np.asarray(picture(draw, "clouds").convert("L").resize((40, 40)), np.float32) / 40
        (tmp_path / f"{number}.png").write_bytes(encoded(Image.fromarray(pixels.astype(np.uint8)), "PNG"))
    assert inspected(tmp_path).findings == ()


def test_small_means_below_a_quarter_of_the_median_side(tmp_path, sample):
    # The sides of the good images are 48 to 72.
    assert kinds(one_more(tmp_path / "a", "s.png", sample.resize((20, 20)))) == {}
    assert kinds(one_more(tmp_path / "b", "s.png", sample.resize((11, 12)))) == {"too-small": ["discs/s.png"]}


def test_three_times_as_long_as_wide_is_extreme_among_squares_and_usual_among_strips(tmp_path, sample):
    assert kinds(one_more(tmp_path / "a", "s.png", sample.resize((150, 50)))) == {}
    assert kinds(one_more(tmp_path / "b", "s.png", sample.resize((160, 50)))) == {"odd-shape": ["discs/s.png"]}
    draw = np.random.default_rng(0)
    for number in range(10):
        (tmp_path / f"{number}.png").write_bytes(encoded(picture(draw, "discs").resize((160, 50)), "PNG"))
    shutil.rmtree(tmp_path / "a")
    shutil.rmtree(tmp_path / "b")
    assert inspected(tmp_path).findings == ()


@pytest.mark.parametrize(
    ("mode", "form", "words"),
    [
        ("L", "PNG", "grey"),
        ("CMYK", "JPEG", "CMYK"),
        ("RGBA", "PNG", "colour with transparency"),
        ("P", "PNG", "palette"),
        ("I;16", "PNG", "16-bit grey"),
    ],
)
def test_other_kinds_of_pixels_are_named(tmp_path, sample, mode, form, words):
    image = (
        Image.fromarray(np.asarray(sample.convert("L"), np.uint16) * 257) if mode == "I;16" else sample.convert(mode)
    )
    (finding,) = one_more(tmp_path, "other.png", image, form).findings
    assert finding.kind == "mode"
    assert finding.evidence["stored as"] == words


def test_a_mixture_of_modes_accuses_nobody(tmp_path):
    draw = np.random.default_rng(0)
    for number in range(20):
        image = picture(draw, "clouds").convert("L" if number % 2 else "RGB")
        (tmp_path / f"{number}.png").write_bytes(encoded(image, "PNG"))
    assert inspected(tmp_path).findings == ()


def test_previews_behind_a_jpeg_are_no_frames(tmp_path, sample):
    preview = sample.resize((20, 20))
    assert kinds(one_more(tmp_path, "phone.jpg", sample, "MPO", save_all=True, append_images=[preview])) == {}


@pytest.mark.parametrize(("tag", "accused"), [(1, False), (0, False), (3, True), (8, True), (9, True)])
def test_a_picture_is_called_turned_by_its_tag(tmp_path, sample, tag, accused):
    exif = Image.Exif()
    exif[0x0112] = tag
    found = kinds(one_more(tmp_path, "turned.jpg", sample, "JPEG", exif=exif))
    assert found == ({"orientation": ["discs/turned.jpg"]} if accused else {})


def test_a_class_with_less_than_a_tenth_of_the_median_has_too_few(tmp_path):
    good(tmp_path, 60)
    draw = np.random.default_rng(5)
    (tmp_path / "rare").mkdir()
    for number in range(3):
        (tmp_path / "rare" / f"{number}.png").write_bytes(encoded(picture(draw, "stripes"), "PNG"))
    assert kinds(inspected(tmp_path)) == {}  # 3, where the median class has 30
    (tmp_path / "rare" / "0.png").unlink()
    (finding,) = inspected(tmp_path).findings
    assert (finding.kind, finding.evidence["examples"], len(finding.paths)) == ("few-examples", 2, 2)


def test_classes_of_very_different_size_are_noted(tmp_path):
    draw = np.random.default_rng(5)
    for number in range(66):
        kind = "ab"[number < 6] if number < 35 else "c"
        (tmp_path / kind).mkdir(exist_ok=True)
        (tmp_path / kind / f"{number}.png").write_bytes(encoded(picture(draw, CLASSES[number % 5]), "PNG"))
    assert inspected(tmp_path).findings == ()  # 6, 29 and 31
    (tmp_path / "b" / "0.png").unlink()
    (tmp_path / "b" / "1.png").unlink()
    (tmp_path / "b" / "2.png").unlink()
    (finding,) = inspected(tmp_path).findings  # 3, 29 and 31: more than ten times, and a tenth of the median
    assert (finding.kind, finding.severity) == ("imbalance", "note")
    assert finding.evidence == {"largest": 31, "smallest": 3}


def test_an_empty_folder_beside_the_classes_is_noted_until_it_is_gone(tmp_path):
    good(tmp_path, 12)
    for name in ("empty/deep", "discs/inside", ".hidden"):
        (tmp_path / name).mkdir(parents=True)
    (finding,) = inspected(tmp_path).findings
    assert (finding.kind, finding.severity, finding.paths) == ("few-examples", "note", ())
    assert finding.explanation == "The folder empty lies beside those of the classes and is empty."
    (tmp_path / "empty" / "deep").rmdir()
    (tmp_path / "empty").rmdir()
    assert inspected(tmp_path).findings == ()


def test_an_empty_folder_among_the_classes_of_a_part_is_noted(tmp_path):
    good(tmp_path / "train", 12)
    (tmp_path / "test" / "spirals").mkdir(parents=True)
    assert inspected(tmp_path).findings == ()  # it is no class of train
    good(tmp_path / "test", 12)
    (finding,) = inspected(tmp_path, part="test").findings
    assert finding.explanation.startswith("The folder test/spirals")


def test_a_class_with_one_example_is_told_in_the_singular(tmp_path):
    good(tmp_path, 12)
    (tmp_path / "lonely").mkdir()
    next((tmp_path / "discs").iterdir()).rename(tmp_path / "lonely" / "a.jpg")
    (finding,) = inspected(tmp_path).findings
    assert finding.explanation.startswith("The class lonely has 1 example; the median class has")


def test_fewer_than_two_readable_images_are_refused_as_in_training(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(picture(np.random.default_rng(0), "discs"), "PNG"))
    (tmp_path / "b.png").write_bytes(b"")
    assert kinds(inspected(tmp_path)) == {"empty-file": ["b.png"], "refused": []}


# Parts, labels, copies


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def many() -> list[bytes]:
    draw = np.random.default_rng(7)
    return [encoded(picture(draw, CLASSES[number % 5]), "PNG") for number in range(16)]


def test_of_a_leak_the_training_file_is_accused_and_the_test_file_its_partner(tmp_path, many):
    files = {f"train/{number}.png": many[number] for number in range(8)}
    files |= {f"test/{number}.png": many[number] for number in range(7, 12)}
    (finding,) = inspected(write(tmp_path, files)).findings
    assert (finding.kind, finding.paths, finding.partners) == ("leak", ("train/7.png",), ("test/7.png",))
    assert inspected(tmp_path, part="train").findings == ()


def test_of_validation_and_test_the_validation_file_is_accused(tmp_path, many):
    files = {
        f"{part}/{part}{number}.png": many[4 * index + number]
        for index, part in enumerate(("train", "val", "test"))
        for number in range(4)
    }
    files["val/again.png"] = files["test/test0.png"]
    (finding,) = inspected(write(tmp_path, files)).findings
    assert (finding.kind, finding.paths, finding.partners) == ("leak", ("val/again.png",), ("test/test0.png",))


def test_copies_in_two_classes_contradict_each_other_and_are_no_duplicates(tmp_path, many):
    files = {f"{'ab'[number % 2]}/{number}.png": many[number] for number in range(10)}
    files |= {"a/9.png": many[9], "a/9-again.png": many[9]}
    (finding,) = inspected(write(tmp_path, files)).findings
    assert finding.kind == "contradiction"
    assert finding.severity == "critical"
    assert set(finding.paths) == {"a/9.png", "a/9-again.png", "b/9.png"}


def test_the_same_pixels_in_another_file_are_an_exact_duplicate(tmp_path, many):
    files = {f"{number}.png": many[number] for number in range(8)}
    with Image.open(write(tmp_path, files) / "3.png") as image:
        image.save(tmp_path / "x.bmp")
    (finding,) = inspected(tmp_path).findings
    assert (finding.kind, finding.partners, finding.paths) == ("duplicate", ("3.png",), ("x.bmp",))


def test_near_and_exact_copies_of_one_image_come_out_as_one_group(tmp_path, many):
    files = {f"{number}.png": many[number] for number in range(8)} | {"3-again.png": many[3]}
    with Image.open(write(tmp_path, files) / "3.png") as image:
        larger = image.resize((image.width + 12, image.height + 12), Image.Resampling.BICUBIC)
        larger.save(tmp_path / "3-large.jpg", quality=92)
    by_kind = inspected(tmp_path).by_kind()
    (near,) = by_kind["near-duplicate"]
    assert near.partners == ("3-large.jpg",)
    assert set(near.paths) == {"3.png", "3-again.png"}


def test_labels_and_files_that_do_not_belong_together_are_told(tmp_path, many):
    files = {f"{number}.png": many[number] for number in range(8)}
    labels = [[f"{number}.png", number % 2] for number in range(7)] + [["gone.png", 1]]
    files["dataset.json"] = json.dumps({"labels": labels}).encode()
    found = kinds(inspected(write(tmp_path, files)))
    assert found == {"missing-label": ["7.png"], "absent-file": ["dataset.json"]}


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"labels": [["0.png", "cat"]]}', b'{"labels": 3}'])
def test_a_dataset_json_that_makes_no_sense_is_told(tmp_path, many, content):
    files = {f"{number}.png": many[number] for number in range(4)} | {"dataset.json": content}
    (finding,) = inspected(write(tmp_path, files)).findings
    assert finding.kind == "refused"
    assert "dataset.json is not" in finding.explanation


# Forms


def test_a_zip_is_read_in_place_with_the_same_findings_as_the_folder(tmp_path):
    plant_images(tmp_path / "set", 5, num_good=60)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in sorted((tmp_path / "set").rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(tmp_path / "set"))
    before = sorted(os.listdir(tmp_path))
    assert inspected(tmp_path / "set.zip").findings == inspected(tmp_path / "set").findings
    assert sorted(os.listdir(tmp_path)) == before


def test_looking_changes_nothing_in_the_data(tmp_path):
    plant_images(tmp_path, 6, num_good=20)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.rglob("*") if path.is_file()}
    inspected(tmp_path)
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in tmp_path.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    ("name", "words"),
    [("gone", "does not exist"), ("notes.txt", "a file ending in '.txt'"), ("empty", "no images, sounds or videos")],
)
def test_where_there_is_nothing_to_look_at_it_says_what_is_expected(tmp_path, name, words):
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=words):
        inspected(tmp_path / name)


def test_a_missing_part_is_answered_with_the_nearest(tmp_path):
    good(tmp_path, 4)
    with pytest.raises(DataError, match=r"nothing in a part named 'disk'. Did you mean 'discs'"):
        inspected(tmp_path, part="disk")


def test_a_file_that_may_not_be_read_is_a_finding(tmp_path, monkeypatch):
    good(tmp_path, 4)
    genuine = looking.contents_of

    def guarded(path, part=None):
        contents = genuine(path, part)

        def read(name):
            if name.endswith("/2.jpg"):
                raise DataError("Permission denied")
            return contents.files.read(name)

        return replace(contents, files=replace(contents.files, read=read))

    monkeypatch.setattr(looking, "contents_of", guarded)
    (finding,) = inspected(tmp_path).findings
    assert (finding.kind, finding.explanation) == ("unreadable", "Permission denied.")


def test_a_link_that_leads_nowhere_is_a_finding(tmp_path):
    good(tmp_path, 4)
    (tmp_path / "discs" / "x.jpg").symlink_to(tmp_path / "gone.jpg")
    (tmp_path / "discs" / "y.jpg").symlink_to(tmp_path / "clouds" / "0.jpg")  # a copy, in another class
    assert kinds(inspected(tmp_path)) == {
        "unreadable": ["discs/x.jpg"],
        "contradiction": ["clouds/0.jpg", "discs/y.jpg"],
    }


# The answer


def test_findings_come_most_severe_first_and_survive_json(tmp_path):
    plant_images(tmp_path, 7, num_good=40)
    inspection = inspected(tmp_path)
    severities = [finding.severity for finding in inspection.findings]
    assert severities == sorted(severities, key=["critical", "warning", "note"].index)
    assert inspection_from(json.loads(json.dumps(inspection.as_dict()))) == inspection


@pytest.mark.parametrize(
    ("severities", "code"), [([], 0), (["note"], 0), (["note", "warning"], 10), (["critical", "warning"], 20)]
)
def test_the_exit_code_is_that_of_the_doctor(tmp_path, severities, code):
    base = inspected(good(tmp_path, 4))
    (finding,) = (f for f in inspected(write(tmp_path, {"discs/x.png": b""})).findings)
    findings = tuple(replace(finding, severity=severity) for severity in severities)
    assert replace(base, findings=findings).exit_code == code


def test_every_kind_is_documented():
    page = (Path(__file__).parents[2] / "docs" / "data-check.md").read_text("utf-8")
    for name, kind in KINDS.items():
        assert f"| `{name}` | {kind.title} | {kind.severity} | {kind.rule} |" in page


# The cache


def counted(monkeypatch) -> list[int]:
    """Counts how often images are really looked at."""
    looks: list[int] = []
    genuine = looking.pictures.look_at
    monkeypatch.setattr(
        looking.pictures, "look_at", lambda files, names, told: looks.append(len(names)) or genuine(files, names, told)
    )
    return looks


def test_the_same_data_is_looked_at_once_and_it_says_so(tmp_path, monkeypatch):
    looks = counted(monkeypatch)
    plant_images(tmp_path, 8, num_good=20)
    first, second = inspected(tmp_path), inspected(tmp_path)
    assert len(looks) == 1
    assert (first.remembered, second.remembered) == (False, True)
    assert replace(second, remembered=False) == first
    assert inspected(tmp_path, fresh=True).findings == first.findings
    assert len(looks) == 2


def test_nothing_is_read_for_what_is_remembered(tmp_path, monkeypatch):
    good(tmp_path / "set", 6)
    inspected(tmp_path / "set")

    def refuse(*arguments):
        raise AssertionError("read again")

    monkeypatch.setattr("equipoise.data.inspection.cache._fingerprint", refuse)
    assert inspected(tmp_path / "set").remembered


def test_the_cache_goes_by_content_and_not_by_place(tmp_path, monkeypatch):
    looks = counted(monkeypatch)
    good(tmp_path / "here", 6)
    inspected(tmp_path / "here")
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    moved = inspected(tmp_path / "there")
    assert (len(looks), moved.remembered, moved.path) == (1, True, str(tmp_path / "there"))


@pytest.mark.parametrize("settled", [-1.0, 1e9])
def test_a_change_of_any_file_is_seen(tmp_path, monkeypatch, settled):
    monkeypatch.setattr("equipoise.data.inspection.cache._SETTLED", settled)
    good(tmp_path, 6)
    path = tmp_path / "clouds" / "0.jpg"
    assert inspected(tmp_path).findings == ()
    stamp = path.stat()
    path.write_bytes(bytes(len(path.read_bytes())))
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # as a tool that keeps times would
    assert kinds(inspected(tmp_path)) == {"not-an-image": ["clouds/0.jpg"]}
    path.rename(tmp_path / "clouds" / "1.jpg")
    assert kinds(inspected(tmp_path)) == {"not-an-image": ["clouds/1.jpg"]}


def test_parts_are_remembered_separately(tmp_path):
    good(tmp_path, 8)
    assert inspected(tmp_path).counts == {"images": 8}
    assert inspected(tmp_path, part="discs").counts == {"images": 4}


def test_the_cache_honours_xdg_and_ignores_a_relative_path(tmp_path, monkeypatch, cache):
    assert cache_folder() == cache / "equipoise" / "inspections"
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("relative/cache", ""):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert cache_folder() == tmp_path / ".cache" / "equipoise" / "inspections"


def test_the_cache_is_never_written_into_the_data(tmp_path, monkeypatch):
    good(tmp_path, 4)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "clouds"))
    before = sorted(tmp_path.rglob("*"))
    inspected(tmp_path)
    assert not inspected(tmp_path).remembered
    assert sorted(tmp_path.rglob("*")) == before


def test_a_cache_that_cannot_be_written_or_read_is_no_reason_to_fail(tmp_path, monkeypatch, cache):
    good(tmp_path / "set", 4)
    (cache / "equipoise").write_text("a file where a folder should be")
    assert inspected(tmp_path / "set").findings == ()
    (cache / "equipoise").unlink()
    inspected(tmp_path / "set")
    for entry in cache_folder().glob("*.json"):
        entry.write_text('{"half": ')
    assert not inspected(tmp_path / "set").remembered


def test_progress_is_told(tmp_path):
    told = []
    inspected(good(tmp_path, 70), progress=lambda *news: told.append(news))
    assert told == [("images", 64, 70), ("images", 70, 70)]
