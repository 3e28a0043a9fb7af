"""Which labels are told, and that nothing else of the data changes."""

import pytest
import torch

from equipoise.core.errors import DataError
from equipoise.data.classical import Changes
from equipoise.data.digits import digits
from equipoise.data.labelled import Semi, keeping, listed, partly_labelled, told_of
from equipoise.data.loader import Loader
from equipoise.data.source import split, tensor_source

SOURCE = digits()
EVERY = torch.arange(len(SOURCE))


def partly(per_class=3, *, seed=0):
    return partly_labelled(SOURCE, told_of(SOURCE, per_class, seed=seed))


def test_only_the_told_labels_are_told_and_examples_keep_their_places():
    source = partly()
    y = source.labels(EVERY)
    assert (y >= 0).sum() == len(source.known) == 30
    assert y[y >= 0].bincount().tolist() == [3] * 10
    assert torch.equal(y[y >= 0], SOURCE.labels(EVERY)[y >= 0])
    assert torch.equal(source.examples(EVERY), SOURCE.examples(EVERY))
    x, told = source.batch(EVERY[:50], labels=True)  # as it is looked at
    assert torch.equal(x, SOURCE.examples(EVERY[:50]))
    assert torch.equal(told, y[:50])
    assert source.notes[-1] == "Labels are told of 30 of 1797 examples to train on."


def test_the_seed_decides_which_labels_are_told():
    assert torch.equal(partly().told, partly().told)
    assert not torch.equal(partly().told, partly(seed=1).told)
    assert partly().fingerprint != partly(seed=1).fingerprint
    assert partly().fingerprint != SOURCE.fingerprint


def test_a_batch_of_training_holds_examples_in_their_turn_and_labelled_ones_equally_often():
    source, whole = partly(), Loader(SOURCE, labels=False, seed=5)
    loader = Loader(source, labels=True, seed=5)
    batch = loader(60, 60)
    assert isinstance(batch, Semi)
    assert torch.equal(batch.x, whole(60, 60))
    assert batch.y.bincount().tolist() == [6] * 10
    known, labels = source.known.examples(torch.arange(30)), source.known.labels(torch.arange(30))
    for x, y in zip(batch.known, batch.y):
        place = (known == x).flatten(1).all(1)
        assert y in labels[place]
    assert all(torch.equal(a, b) for a, b in zip(batch, loader(60, 60)))
    assert not torch.equal(batch.y, loader(120, 60).y)


def test_augmentation_changes_both_kinds_of_examples():
    changes = Changes(shift=0.2)
    plain, changed = (Loader(partly(), labels=True, seed=0, changes=c)(0, 40) for c in (None, changes))
    assert not torch.equal(plain[0], changed[0])
    assert not torch.equal(plain[1], changed[1])
    assert torch.equal(plain[2], changed[2])


def test_listed_examples_are_never_held_out(tmp_path):
    path = tmp_path / "labelled.txt"
    path.write_text("\n".join(map(str, range(0, 600, 6))) + "\n")
    numbers = listed(path, len(SOURCE))
    parts, told = keeping(SOURCE, numbers, lambda source: split(source, 500, seed=0))
    assert (len(parts.train), len(parts.held_out)) == (1297, 500)
    source = partly_labelled(parts.train, told)
    assert torch.equal(source.known.examples(torch.arange(100)), SOURCE.examples(numbers))
    together = torch.cat([part.examples(torch.arange(len(part))).flatten(1) for part in parts]).double()
    assert torch.allclose(together.sum(0), SOURCE.examples(EVERY).flatten(1).double().sum(0))


@pytest.mark.parametrize(("text", "message"), [("3 x", "'x'"), ("1797", "'1797'"), ("", "nothing"), ("-1", "'-1'")])
def test_a_list_of_anything_else_is_refused(text, message, tmp_path):
    path = tmp_path / "labelled.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=f"{message}. Expected numbers of labelled examples from 0 to 1796"):
        listed(path, len(SOURCE))
    with pytest.raises(DataError, match="cannot be read"):
        listed(tmp_path / "absent.txt", 3)


def test_every_class_needs_a_label():
    with pytest.raises(DataError, match="no labelled example of class '1'"):
        partly_labelled(SOURCE, EVERY[SOURCE.labels(EVERY) != 1])
    with pytest.raises(DataError, match="has no labels"):
        partly_labelled(tensor_source("bare", torch.zeros(3, 2)), torch.arange(3))
