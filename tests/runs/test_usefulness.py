"""Usefulness for a classifier: generators that are known to be perfect, wrong or useless, and a leak."""

import math

import pytest
import torch

from equipoise.core.errors import DataError
from equipoise.data.classical import changed
from equipoise.runs.usefulness import ARMS, CLASSICAL, Arm, Fold, Labelled, Outcome, usefulness, write


def blobs(num: int, seed: int) -> Labelled:
    """Three overlapping clouds in the plane."""
    draw = torch.Generator().manual_seed(seed)
    y = torch.arange(num) % 3
    centres = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    return Labelled(centres[y] + torch.randn(num, 2, generator=draw), y)


def perfect(y, seed):
    centres = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    return centres[y] + torch.randn(len(y), 2, generator=torch.Generator().manual_seed(seed % 2**32))


def wrong(y, seed):
    return perfect((y + 1) % 3, seed)


FEW, MANY = blobs(9, 0), blobs(600, 1)
REAL, MORE, ALONE = Arm("real"), Arm("more", ratio=40.0), Arm("alone", real=False, ratio=40.0)


def test_perfect_fakes_help_where_real_examples_are_few_and_wrong_ones_harm():
    good = usefulness([Fold(FEW, MANY, perfect)], 3, arms=(REAL, MORE, ALONE), seeds=2, steps=150)
    bad = usefulness([Fold(FEW, MANY, wrong)], 3, arms=(ALONE,), seeds=1, steps=150)
    assert good[1].accuracy > good[0].accuracy + 0.03
    assert good[2].accuracy > 0.7
    assert bad[0].accuracy < 0.2


def test_precision_recall_and_f1_are_those_of_the_confusion_matrix():
    outcome = Outcome(REAL, (0.7,), ((4, 1, 0), (2, 3, 0), (0, 0, 0)))
    first, second, never = outcome.by_class()
    assert first == pytest.approx({"precision": 4 / 6, "recall": 4 / 5, "f1": 8 / 11})
    assert second == pytest.approx({"precision": 3 / 4, "recall": 3 / 5, "f1": 2 / 3})
    assert never == {"precision": 0, "recall": 0, "f1": 0}


def test_of_a_single_training_no_spread_is_told(tmp_path):
    one, two = (Outcome(REAL, accuracies, ((1, 0), (0, 1))) for accuracies in ((0.7,), (0.7, 0.7)))
    assert math.isnan(one.spread)
    assert (one.to_json()["spread"], two.to_json()["spread"]) == (None, 0.0)
    page = write([one], ("a", "b"), tmp_path / "one", title="run")[1].read_text()
    assert "<td>–</td><td>1</td>" in page
    assert "<td>0.0</td><td>2</td>" in write([two], ("a", "b"), tmp_path / "two", title="run")[1].read_text()


def test_the_confusion_counts_every_test_example_of_every_fold_and_seed():
    folds = [Fold(FEW, MANY, perfect), Fold(blobs(9, 5), blobs(30, 6), perfect)]
    (outcome,) = usefulness(folds, 3, arms=(REAL,), seeds=2, steps=5)
    assert sum(map(sum, outcome.confusion)) == 2 * (600 + 30)
    assert len(outcome.accuracies) == 4
    again = usefulness(folds, 3, arms=(REAL,), seeds=2, steps=5)
    assert again == [outcome]


def test_a_test_example_among_the_training_examples_is_an_error():
    leaky = Labelled(torch.cat([FEW.x, MANY.x[:2]]), torch.cat([FEW.y, MANY.y[:2]]))
    with pytest.raises(DataError, match="2 of 600 test examples are among the training examples"):
        usefulness([Fold(leaky, MANY, perfect)], 3)


def test_a_class_without_examples_is_an_error():
    two = Labelled(FEW.x[FEW.y < 2], FEW.y[FEW.y < 2])
    with pytest.raises(DataError, match=r"no training example of the classes \[2\]"):
        usefulness([Fold(two, MANY, perfect)], 3)
    with pytest.raises(DataError, match="at least one"):
        Labelled(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))


def test_classical_augmentation_moves_images_a_little_and_keeps_flat_ones():
    draw = torch.Generator().manual_seed(0)
    flat = torch.full((4, 1, 8, 8), 0.3)
    assert torch.allclose(changed(flat, CLASSICAL, draw=draw), flat)
    x = torch.zeros(64, 1, 16, 16)
    x[:, :, 7:9, 7:9] = 1
    y = changed(x, CLASSICAL, draw=draw)
    columns = (y.sum((1, 2)) * torch.arange(16)).sum(1) / y.sum((1, 2, 3))
    assert (columns - 7.5).abs().max() < 3
    assert (columns - 7.5).abs().mean() > 0.3


def test_the_arms_cover_none_classical_generated_both_and_generated_alone():
    kinds = {(arm.real, arm.ratio > 0, arm.classical) for arm in ARMS}
    expected = {
        (True, False, False),
        (True, False, True),
        (True, True, False),
        (True, True, True),
        (False, True, False),
    }
    assert kinds == expected


def test_the_command_measures_a_conditional_run_over_folds_and_refuses_others(tmp_path, capsys, monkeypatch):
    import json

    import equipoise
    from equipoise.cli import main
    from equipoise.runs import run as module
    from equipoise.runs.recipe import parse_setting
    from tests.cli.made import TINY

    monkeypatch.setattr(module, "write_report", lambda folder: folder)
    monkeypatch.chdir(tmp_path)
    settings = dict(map(parse_setting, TINY)) | {"data.per_class": 3}
    for number in (1, 2):
        fold = settings | {"data.fold": f"{number}/60"}
        equipoise.train("conditional-digits", settings=fold, folder=tmp_path / str(number), quiet=True)
    equipoise.train("digits", settings=settings, folder=tmp_path / "plain", quiet=True)

    def call(*arguments):
        with pytest.raises(SystemExit) as end:
            main(["usefulness", *arguments])
        return end.value.code or 0, capsys.readouterr()

    code, said = call("1", "2", "--seeds", "1", "--steps", "5")
    assert code == 0
    assert "real, classical" in said.out
    written = json.loads((tmp_path / "1" / "usefulness.json").read_text())
    assert len(written["outcomes"]) == len(ARMS)
    assert sum(map(sum, written["outcomes"][0]["confusion"])) == 30 + 30
    assert "Confusions" in (tmp_path / "1" / "usefulness.html").read_text()
    assert "Train a conditional run" in call("plain")[1].err
    assert "expected at least 1 of each" in call()[1].err
