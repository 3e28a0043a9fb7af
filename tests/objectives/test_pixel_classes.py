"""The cross-entropy of planes of classes: by hand, against torch's, gradients, and where L1 has none."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from equipoise.objectives.classification import pixel_classes
from equipoise.objectives.reconstruction import l1


def planes_of(numbers, classes):
    return (numbers[:, None] == torch.arange(classes)[:, None, None]).double() * 2 - 1


def test_by_hand():
    real = torch.tensor([[[[1.0, -1.0]], [[-1.0, 1.0]]]])  # one row of the classes 0, 1
    fake = torch.tensor([[[[0.0, -0.5]], [[0.0, 0.5]]]])  # shares ½, ½ and ¼, ¾
    assert pixel_classes(real, fake).tolist() == pytest.approx([-(math.log(0.5) + math.log(0.75)) / 2], abs=1e-5)
    assert pixel_classes(real, real).tolist() == pytest.approx([0], abs=1e-5)


def test_it_is_that_of_torch_for_softmax_planes():
    draw = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 5, 4, 3, generator=draw, dtype=torch.float64)
    numbers = torch.randint(5, (2, 4, 3), generator=draw)
    found = pixel_classes(planes_of(numbers, 5), 2 * scores.softmax(1) - 1, epsilon=0.0)
    torch.testing.assert_close(found, cross_entropy(scores, numbers, reduction="none").mean((1, 2)))


def test_gradients():
    draw = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 3, 2, 2, generator=draw, dtype=torch.float64, requires_grad=True)
    real = planes_of(torch.randint(3, (2, 2, 2), generator=draw), 3)
    assert torch.autograd.gradcheck(lambda x: pixel_classes(real, 2 * x.softmax(1) - 1), scores)


def test_an_answer_that_is_sure_and_wrong_still_learns_where_l1_does_not():
    real = planes_of(torch.zeros(1, 1, 1, dtype=torch.int64), 2).float()
    slopes = []
    for compare in (pixel_classes, l1):
        scores = torch.tensor([[[[-6.0]], [[6.0]]]], requires_grad=True)
        compare(real, 2 * scores.softmax(1) - 1).sum().backward()
        slopes.append(scores.grad.abs().max().item())
    assert slopes[0] > 0.5
    assert slopes[1] < 1e-4


def test_other_shapes_are_refused():
    with pytest.raises(Exception, match=r"fake|one plane for each class"):
        pixel_classes(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3, 3))
