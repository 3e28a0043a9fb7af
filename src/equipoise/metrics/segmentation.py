"""How well label maps agree with the truth, class by class: functions on class numbers, whatever their shape.

All pixels that are passed count together: pass the maps of a whole test set, as is the custom, or one map alone.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Overlap(NamedTuple):
    """Pixels of each class, int64 [K]."""

    both: Tensor
    """In the answer and in the truth."""
    answer: Tensor
    truth: Tensor


def dice(answer: Int[Tensor, "*n"], truth: Int[Tensor, "*n"], num_classes: int) -> Float[Tensor, " k"]:
    """The Dice coefficient of each class, 2 |A ∩ T| / (|A| + |T|), in [0, 1]: float64 [K]; higher is better.

    It is the F1 score of the class's pixels. NaN for a class that is neither in the answer nor in the truth.

    >>> dice(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 1]), 2)
    tensor([0.6667, 0.8000], dtype=torch.float64)
    """
    found = overlap(answer, truth, num_classes)
    return 2 * found.both.double() / (found.answer + found.truth)


def iou(answer: Int[Tensor, "*n"], truth: Int[Tensor, "*n"], num_classes: int) -> Float[Tensor, " k"]:
    """Intersection over union of each class, |A ∩ T| / |A ∪ T| (Jaccard 1912), in [0, 1]: float64 [K].

    Higher is better. It is dice / (2 - dice). NaN for a class that is neither in the answer nor in the truth.

    >>> iou(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 1]), 2)
    tensor([0.5000, 0.6667], dtype=torch.float64)
    """
    found = overlap(answer, truth, num_classes)
    return found.both.double() / (found.answer + found.truth - found.both)


def overlap(answer: Tensor, truth: Tensor, num_classes: int) -> Overlap:
    """How many pixels of each class there are. Raises ValueError for maps that do not fit, or for other classes."""
    if answer.shape != truth.shape or not answer.numel():
        raise ValueError(
            f"An answer of shape {list(answer.shape)} and a truth of {list(truth.shape)} were passed: expected class "
            "numbers of one shape, at least one. Pass the truth of each pixel."
        )
    for name, numbers in (("answer", answer), ("truth", truth)):
        low, high = int(numbers.min()), int(numbers.max())
        if low < 0 or high >= num_classes:
            raise ValueError(
                f"{name}: classes from {low} to {high} were passed for num_classes={num_classes}: expected 0 to "
                f"{num_classes - 1}. Leave pixels without a class out."
            )
    answer, truth = answer.flatten().long(), truth.flatten().long()
    both = torch.bincount(truth[answer == truth], minlength=num_classes)
    return Overlap(both, *(torch.bincount(x, minlength=num_classes) for x in (answer, truth)))
