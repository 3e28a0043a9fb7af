"""Sources answer by index: bytes become [-1, 1], labels follow, splits are disjoint, stratified and seeded."""

import pytest
import torch

from equipoise.core.errors import DataError
from equipoise.data import digits, split, subset, tensor_source
from equipoise.data.source import ending, few, folded


def numbered(num_per_class: list[int]):
    """Examples whose value is their own number, with so many of each class."""
    labels = torch.cat([torch.full((num,), number) for number, num in enumerate(num_per_class)])
    return tensor_source("numbers", torch.arange(len(labels), dtype=torch.float32)[:, None], labels)


def test_bytes_become_floats_from_minus_one_to_one():
    source = tensor_source("x", torch.tensor([0, 127, 255], dtype=torch.uint8).reshape(3, 1, 1, 1))
    assert source.examples(torch.arange(3)).flatten().tolist() == pytest.approx([-1.0, 127 / 127.5 - 1, 1.0], abs=1e-7)


def test_floats_are_taken_as_they_are():
    values = torch.tensor([[3.5, -7.0], [0.0, 1.0]])
    assert torch.equal(tensor_source("x", values).examples(torch.tensor([1, 0])), values.flip(0))


def test_examples_do_not_change_the_stored_values():
    source = tensor_source("x", torch.full((2, 1, 1, 1), 9, dtype=torch.uint8))
    source.examples(torch.arange(2)).zero_()
    assert source.values.unique().tolist() == [9]


def test_classes_are_named_by_number_unless_named():
    assert numbered([2, 1]).classes == ("0", "1")
    named = tensor_source("x", torch.zeros(2, 1), torch.tensor([0, 1]), classes=("cat", "dog", "eel"))
    assert named.classes == ("cat", "dog", "eel")


@pytest.mark.parametrize("labels", [[0, 5], [-1, 0]])
def test_labels_outside_of_the_classes_are_refused(labels):
    with pytest.raises(DataError, match="2 classes"):
        tensor_source("x", torch.zeros(2, 1), torch.tensor(labels), classes=("a", "b"))


def test_a_wrong_number_of_labels_is_refused():
    with pytest.raises(DataError, match=r"\[3\] for 2 examples"):
        tensor_source("x", torch.zeros(2, 1), torch.zeros(3))


@pytest.mark.parametrize("values", [torch.zeros(3, 1, 2, 2, dtype=torch.int32), torch.zeros(3, 4, dtype=torch.uint8)])
def test_other_types_and_shapes_are_refused(values):
    with pytest.raises(DataError, match="Expected"):
        tensor_source("x", values)


def test_asking_for_missing_labels_says_how_to_give_them():
    with pytest.raises(DataError, match="sub-folder per class"):
        tensor_source("bare", torch.zeros(3, 2)).labels(torch.arange(3))


def test_fingerprint_sees_content_labels_shape_and_class_names():
    x, y = torch.arange(8, dtype=torch.uint8).reshape(2, 1, 2, 2), torch.tensor([0, 1])
    sources = [
        tensor_source("a", x, y),
        tensor_source("a", x.flip(0), y),
        tensor_source("a", x, y.flip(0)),
        tensor_source("a", x),
        tensor_source("a", x.reshape(2, 1, 1, 4), y),
        tensor_source("a", x, y, classes=("cat", "dog")),
    ]
    assert len({source.fingerprint for source in sources}) == len(sources)
    assert tensor_source("other name", x, y).fingerprint == sources[0].fingerprint


def test_a_source_moves_to_a_device_and_keeps_its_identity():
    moved = digits().to("meta")
    assert moved.values.device.type == "meta"
    assert moved.targets is not None
    assert moved.targets.device.type == "meta"
    assert moved.fingerprint == digits().fingerprint


def test_digits_are_the_1797_of_scikit_learn():
    source = digits()
    assert len(source) == 1797
    assert source.shape == (1, 8, 8)
    assert source.classes == tuple("0123456789")
    assert source.values.dtype == torch.uint8
    assert int(source.values.min()) == 0
    assert int(source.values.max()) == 255
    # The first digit is a 0 whose first row is 0 0 5 13 9 1 0 0 in 16ths.
    assert source.values[0, 0, 0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0]
    assert source.labels(torch.arange(12)).tolist() == [*range(10), 0, 1]


def test_a_subset_answers_like_the_whole_at_its_indices():
    source = numbered([5, 5])
    part = subset(source, torch.tensor([7, 2]), name="part")
    assert len(part) == 2
    assert part.examples(torch.tensor([1, 0])).flatten().tolist() == [2.0, 7.0]
    assert part.labels(torch.tensor([0, 1])).tolist() == [1, 0]
    assert part.fingerprint != source.fingerprint
    assert part.fingerprint != subset(source, torch.tensor([2, 7]), name="part").fingerprint
    assert part.to("meta").whole.examples(torch.arange(1)).device.type == "meta"


@pytest.mark.parametrize(("held_out", "expected"), [(10, 10), (0.1, 10), (1, 1), (0.99, 99)])
def test_a_split_is_disjoint_complete_and_of_the_asked_size(held_out, expected):
    train, aside = split(numbered([100]), held_out, seed=0)
    seen = [part.examples(torch.arange(len(part))).flatten().tolist() for part in (train, aside)]
    assert len(aside) == expected
    assert sorted(seen[0] + seen[1]) == [float(number) for number in range(100)]


def test_a_split_is_stratified_by_class():
    train, aside = split(numbered([60, 30, 10]), 0.2, seed=0)
    assert aside.labels(torch.arange(20)).bincount().tolist() == [12, 6, 2]
    assert train.labels(torch.arange(80)).bincount().tolist() == [48, 24, 8]


def test_shares_that_do_not_divide_still_sum_to_the_asked_number():
    _, aside = split(numbered([7, 7, 7, 3]), 5, seed=0)
    assert len(aside) == 5
    counts = aside.labels(torch.arange(5)).bincount(minlength=4)
    assert all(abs(count - 5 * size / 24) < 1 for count, size in zip(counts.tolist(), [7, 7, 7, 3], strict=True))


def test_a_split_depends_on_its_seed_alone():
    first, again, other = (split(numbered([50, 50]), 20, seed=seed).held_out for seed in (0, 0, 1))
    assert first.fingerprint == again.fingerprint != other.fingerprint


@pytest.mark.parametrize("held_out", [0, 10, 11, -1, 0.0, 1.0, 0.01])
def test_a_split_that_leaves_one_side_empty_is_refused(held_out):
    with pytest.raises(DataError, match="from 1 to 9"):
        split(numbered([10]), held_out, seed=0)


def test_folds_are_disjoint_whole_and_even_in_every_class():
    labels = torch.arange(50) % 2
    source = tensor_source("numbers", torch.arange(50.0)[:, None], labels)
    held_out = []
    for number in range(1, 6):
        train, aside = folded(source, number, 5, seed=0)
        held_out += aside.examples(torch.arange(len(aside))).flatten().tolist()
        assert len(train) + len(aside) == 50
        assert aside.labels(torch.arange(len(aside))).bincount().tolist() == [5, 5]
    assert sorted(held_out) == list(range(50))
    assert torch.equal(folded(source, 1, 5, seed=0).held_out.indices, folded(source, 1, 5, seed=0).held_out.indices)
    for number, num_folds in ((0, 5), (6, 5), (1, 1), (1, 51)):
        with pytest.raises(DataError, match="fold"):
            folded(source, number, num_folds, seed=0)


def test_a_few_of_each_class_are_drawn_and_too_many_are_refused():
    source = tensor_source("numbers", torch.arange(50.0)[:, None], torch.arange(50) % 2)
    some = few(source, 4, seed=0)
    assert some.labels(torch.arange(8)).bincount().tolist() == [4, 4]
    assert not torch.equal(some.indices, few(source, 4, seed=1).indices)
    with pytest.raises(DataError, match="'0' has 25"):
        few(source, 26, seed=0)


def test_the_last_examples_are_held_out_and_their_neighbours_left_out():
    source = tensor_source("volume", torch.arange(20.0)[:, None])
    parts = ending(source, 5, gap=3)
    assert parts.train.examples(torch.arange(len(parts.train)))[:, 0].tolist() == list(range(12))
    assert parts.held_out.examples(torch.arange(5))[:, 0].tolist() == [15, 16, 17, 18, 19]
    for held_out, gap in ((20, 0), (5, 15), (0, 0)):
        with pytest.raises(DataError, match="cannot hold out"):
            ending(source, held_out, gap=gap)
