"""The committed rows of the comparison with other implementations hold what the docs say of them."""

import json

import pytest

from benchmarks.evaluation import RESULTS, Check

ROWS = {row["check"]: row for row in json.loads(RESULTS.read_text("utf-8"))}
TRAINED = [name for name in ROWS if name.startswith(("usefulness: ", "tune: "))]


@pytest.mark.parametrize("name", [name for name in ROWS if name not in TRAINED])
def test_the_metric_agrees_with_its_reference(name):
    # An interval is drawn, and theory has its width for infinitely many draws.
    allowed = 0.1 if name == "width of the interval of a difference" else 1e-4
    assert ROWS[name]["relative_difference"] <= allowed


def test_what_was_trained_is_told_in_full():
    assert len(TRAINED) == 7
    for name in TRAINED[:6]:
        accuracies, confusion = ROWS[name]["accuracies"], ROWS[name]["confusion"]
        assert len(accuracies) == 5
        right = sum(line[k] for k, line in enumerate(confusion)) / sum(map(sum, confusion))
        assert ROWS[name]["accuracy"] == pytest.approx(sum(accuracies) / 5) == pytest.approx(right)
    found, shipped = ROWS[TRAINED[6]]["found"], ROWS[TRAINED[6]]["shipped"]
    assert sum(found) <= 1.1 * sum(shipped)  # within a tenth of the shipped recipe


def test_the_published_values_of_bicubic_enlargement_are_met():
    assert round(ROWS["PSNR-Y of bicubic ×4, set5"]["ours"], 2) == 28.43
    assert round(ROWS["PSNR-Y of bicubic ×4, set14"]["ours"], 2) == 26.09


def test_a_row_holds_means_and_the_largest_difference():
    row = Check("name", [1.0, 2.2], [1.0, 2.0], "them").row()
    assert row["ours"] == pytest.approx(1.6)
    assert row["reference"] == 1.5
    assert row["relative_difference"] == pytest.approx(0.1)
    assert Check("name", 0.05, 0.0, "them", scale=1).row()["relative_difference"] == 0.05
    assert Check("name", 0.05, 0.0, "them").row()["relative_difference"] == 0.05
