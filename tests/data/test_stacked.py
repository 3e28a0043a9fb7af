import pytest
import torch

from equipoise.core.errors import DataError
from equipoise.data.digits import digits
from equipoise.data.source import tensor_source
from equipoise.data.stacked import Stacked, stack_number


def test_a_stack_shows_three_digits_and_its_class_is_theirs():
    base = digits()
    stacks = Stacked(base, 50, seed=3)
    indices = torch.tensor([7, 0, 49])
    x, y = stacks.examples(indices), stacks.labels(indices)
    for image, label, picks in zip(x, y, stacks.picks[indices]):
        assert torch.equal(image, base.examples(picks)[:, 0])
        red, green, blue = base.labels(picks).tolist()
        assert int(label) == 100 * red + 10 * green + blue
        assert stacks.classes[int(label)] == f"{red}{green}{blue}"


def test_stacks_are_a_function_of_seed_and_base():
    first, second, other = (Stacked(digits(), 50, seed=seed) for seed in (0, 0, 1))
    some = torch.arange(50)
    assert torch.equal(first.examples(some), second.examples(some))
    assert first.fingerprint == second.fingerprint != other.fingerprint
    assert not torch.equal(first.examples(some), other.examples(some))


def test_a_thousand_classes_of_ten_digits():
    stacks = Stacked(digits(), 2000)
    assert len(stacks) == 2000
    assert len(stacks.classes) == 1000
    assert stacks.shape == (3, 8, 8)
    assert len(stacks.labels(torch.arange(2000)).unique()) > 800


def test_stack_numbers_count_to_the_base_of_the_classes():
    assert stack_number(torch.tensor([[0, 0, 1], [2, 1, 0]]), 3).tolist() == [1, 21]


def test_colour_images_and_missing_labels_are_refused():
    colour = tensor_source("colour", torch.zeros(4, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(DataError, match="expected grey images"):
        Stacked(colour, 10)
    unlabelled = tensor_source("grey", torch.zeros(4, 1, 8, 8, dtype=torch.uint8))
    with pytest.raises(DataError):
        Stacked(unlabelled, 10).labels(torch.arange(2))
