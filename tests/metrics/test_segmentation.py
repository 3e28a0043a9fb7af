"""Dice and IoU of label maps: by hand, against scikit-learn and torchmetrics, and what is refused."""

import math

import pytest
import torch
from sklearn.metrics import f1_score, jaccard_score
from torchmetrics.functional.classification import multiclass_jaccard_index
from torchmetrics.functional.segmentation import dice_score

from equipoise.metrics.segmentation import dice, iou, overlap


def maps(*shape: int, classes: int, seed: int) -> torch.Tensor:
    return torch.randint(classes, shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("classes", [2, 5])
def test_they_are_those_of_scikit_learn_and_torchmetrics(classes):
    truth = maps(3, 20, 30, classes=classes, seed=0)
    answer = torch.where(maps(3, 20, 30, classes=3, seed=1) > 0, truth, maps(3, 20, 30, classes=classes, seed=2))
    flat = truth.flatten().numpy(), answer.flatten().numpy()
    ours = dice(answer, truth, classes), iou(answer, truth, classes)
    torch.testing.assert_close(ours[0], torch.from_numpy(f1_score(*flat, average=None)))
    torch.testing.assert_close(ours[1], torch.from_numpy(jaccard_score(*flat, average=None)))
    theirs = multiclass_jaccard_index(answer, truth, classes, average=None)
    torch.testing.assert_close(ours[1].float(), theirs)
    whole = dice_score(answer.view(1, 60, 30), truth.view(1, 60, 30), classes, average="none", input_format="index")
    torch.testing.assert_close(ours[0].float(), whole.flatten())


def test_by_hand():
    truth = torch.tensor([[0, 0, 1], [1, 1, 1]])
    answer = torch.tensor([[0, 1, 1], [1, 1, 0]])
    assert dice(answer, truth, 2).tolist() == pytest.approx([2 * 1 / 4, 2 * 3 / 8])
    assert iou(answer, truth, 2).tolist() == pytest.approx([1 / 3, 3 / 5])
    assert dice(truth, truth, 2).tolist() == [1, 1]
    assert dice(1 - truth, truth, 2).tolist() == [0, 0]


def test_a_class_that_is_nowhere_has_no_score():
    x = torch.tensor([0, 2])
    assert [math.isnan(value) for value in dice(x, x, 4).tolist()] == [False, True, False, True]
    assert iou(x, torch.tensor([0, 1]), 4).tolist()[:3] == [1, 0, 0]


@pytest.mark.parametrize(
    ("answer", "truth", "words"),
    [
        ([0, 1], [0], "one shape"),
        ([], [], "at least one"),
        ([0, 3], [0, 1], "answer: classes from 0 to 3 were passed for num_classes=3"),
        ([0, 1], [0, -1], "truth: classes from -1 to 0"),
    ],
)
def test_what_does_not_fit_is_refused(answer, truth, words):
    with pytest.raises(ValueError, match=words):
        overlap(torch.tensor(answer, dtype=torch.int64), torch.tensor(truth, dtype=torch.int64), 3)
