import json
import math
import os
from pathlib import Path

import pytest

from equipoise.core.errors import DataError, DiskError
from equipoise.runs.journal import Journal, read


def test_what_was_appended_is_read(tmp_path: Path):
    journal = Journal(tmp_path / "a.jsonl")
    entries = [{"step": 1, "signals": {"loss/D": {"mean": 0.5}}}, {"step": 2, "message": "数字 \u2028 \ud800 \n"}]
    for entry in entries:
        journal.append(entry)
    assert read(journal.path) == entries
    assert journal.path.read_bytes().count(b"\n") == 2


def test_lines_are_strict_json_without_nan(tmp_path: Path):
    journal = Journal(tmp_path / "a.jsonl")
    journal.append({"step": 1, "a": math.nan, "b": [math.inf, {"c": -math.inf}], "d": 1.5})
    text = journal.path.read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert json.loads(text) == {"step": 1, "a": None, "b": [None, {"c": None}], "d": 1.5}


def test_each_line_is_there_at_once(tmp_path: Path):
    journal = Journal(tmp_path / "a.jsonl")
    for step in range(5):
        journal.append({"step": step})
        assert len(read(journal.path)) == step + 1


@pytest.mark.parametrize("cut", range(1, 15))
def test_a_half_written_last_line_is_ignored_and_then_cut_off(tmp_path: Path, cut: int):
    journal = Journal(tmp_path / "a.jsonl")
    journal.append({"step": 1})
    journal.append({"step": 2222})
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole[:-cut])
    assert read(journal.path) == [{"step": 1}]
    journal.append({"step": 3})
    assert read(journal.path) == [{"step": 1}, {"step": 3}]


def test_a_file_of_one_half_line_starts_anew(tmp_path: Path):
    journal = Journal(tmp_path / "a.jsonl")
    journal.path.write_bytes(b'{"step"')
    assert read(journal.path) == []
    journal.append({"step": 1})
    assert read(journal.path) == [{"step": 1}]


def test_a_resume_leaves_no_step_twice(tmp_path: Path):
    journal = Journal(tmp_path / "a.jsonl")
    for step in (10, 20, 30):
        journal.append({"step": step})
    journal.append({"message": "without a step"})
    journal.truncate_after(20)
    journal.append({"step": 30})
    assert read(journal.path) == [{"step": 10}, {"step": 20}, {"message": "without a step"}, {"step": 30}]
    assert os.listdir(tmp_path) == ["a.jsonl"]


def test_no_file_is_an_empty_journal(tmp_path: Path):
    journal = Journal(tmp_path / "a.jsonl")
    journal.truncate_after(5)
    assert read(journal.path) == []


@pytest.mark.parametrize("line", ["rubbish", "[1]", "1"])
def test_a_damaged_line_inside_is_an_error_that_shows_it(tmp_path: Path, line: str):
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"step": 1}}\n{line}\n{{"step": 2}}\n')
    with pytest.raises(DataError, match=r"a\.jsonl"):
        read(path)


def test_a_folder_that_vanished_is_a_disk_error(tmp_path: Path):
    with pytest.raises(DiskError, match=r"a\.jsonl"):
        Journal(tmp_path / "gone" / "a.jsonl").append({"step": 1})
