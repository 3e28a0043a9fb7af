"""Two domains without pairs: how partners are drawn, what is cut, mirrored and held out, and what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image

from equipoise.core.errors import DataError
from equipoise.core.seeding import generator
from equipoise.data.loader import Loader
from equipoise.data.pictures import is_pair
from equipoise.data.source import split, tensor_source
from equipoise.data.unpaired import Place, Reading, coupled, domains_of, standard_places, unpaired


def numbered(num, *, channels=1, side=8, sign=1):
    """Images of one value each, by which they are known again: 0.01, 0.02, … times the sign."""
    values = sign * torch.arange(1, num + 1) / 100
    return tensor_source(f"numbers {sign}", values.view(-1, 1, 1, 1).repeat(1, channels, side, side))


def of(x):
    return (x[:, 0, 0, 0] * 100).round().int().tolist()


def both(num_a=5, num_b=30, **how):
    return coupled(numbered(num_a), numbered(num_b, sign=-1), name="both", **how)


def draw(position=0):
    return generator(0, "batch", position)


def folder(path, *, num=4, size=(20, 16), mode="RGB", seed=0):
    path.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (num, size[1], size[0], 3)).astype(np.uint8)
    for number, pixels in enumerate(noise):
        Image.fromarray(pixels).convert(mode).save(path / f"{number}.png")
    return path


# ---------------------------------------------------------------- what is drawn


@pytest.mark.parametrize(("num_a", "num_b"), [(5, 30), (30, 5), (12, 12)])
def test_an_epoch_visits_the_larger_domain_and_draws_from_the_other(num_a, num_b):
    source = both(num_a, num_b)
    loader = Loader(source, labels=False, seed=0)
    batches = [loader(position, 6) for position in range(0, len(source), 6)]
    assert len(source) == max(num_a, num_b)
    assert all(is_pair(batch) for batch in batches)
    a, b = ([n for part in side for n in of(part)] for side in zip(*batches))
    visited, drawn = (a, b) if num_a >= num_b else (b, a)
    assert sorted(map(abs, visited)) == list(range(1, len(source) + 1))
    assert len(set(drawn)) < len(drawn)
    assert all(n > 0 for n in a)
    assert all(n < 0 for n in b)


def test_partners_are_independent_and_a_function_of_the_position():
    loader = Loader(both(200, 200), labels=False, seed=0)
    a, b = loader(0, 200)
    again, more = Loader(both(200, 200), labels=False, seed=0)(0, 200), loader(200, 200)
    assert torch.equal(again[0], a)
    assert torch.equal(again[1], b)
    assert of(more[1]) != of(b)
    correlation = torch.corrcoef(torch.stack([a[:, 0, 0, 0], b[:, 0, 0, 0]]))[0, 1]
    assert abs(correlation) < 0.2


def test_what_is_looked_at_is_always_the_same_and_its_examples_are_those_of_the_second_domain():
    source = both()
    indices = torch.tensor([0, 7, 29])
    a, b = source.batch(indices)
    assert of(a) == [1, 3, 5]  # 7 and 29 of five
    assert torch.equal(b, source.examples(indices))
    assert torch.equal(a, source.first(indices))
    assert source.given_shape == source.shape == (1, 8, 8)


def test_training_mirrors_half_of_the_pictures_of_each_domain_on_its_own():
    ramp = torch.linspace(-1, 1, 8).expand(64, 1, 8, 8).clone()
    source = coupled(tensor_source("a", ramp), tensor_source("b", ramp), name="ramps")
    a, b = source.batch(torch.arange(64), draw=draw())
    turned = [(x[:, 0, 0, 0] > 0).float() for x in (a, b)]
    assert all(0.3 < t.mean() < 0.7 for t in turned)
    assert not torch.equal(*turned)
    straight = coupled(tensor_source("a", ramp), tensor_source("b", ramp), name="ramps", mirror=False)
    assert torch.equal(straight.batch(torch.arange(64), draw=draw()).a, ramp)
    assert torch.equal(source.batch(torch.arange(64)).a, ramp)


def test_squares_are_cut_at_random_places_while_training_and_in_the_middle_otherwise():
    places = torch.arange(64.0).view(1, 1, 8, 8).repeat(32, 1, 1, 1) / 100
    source = coupled(tensor_source("a", places), tensor_source("b", places), name="places", crop=4, mirror=False)
    assert source.shape == (1, 4, 4)
    assert (source.examples(torch.arange(3))[:, 0, 0, 0] * 100).round().tolist() == [18] * 3
    corners = of(source.batch(torch.arange(32), draw=draw()).a)
    assert len(set(corners)) > 8
    assert all(corner % 8 <= 4 and corner // 8 <= 4 for corner in corners)


def test_grey_and_colour_become_colour():
    source = coupled(numbered(3), numbered(4, channels=3), name="mixed")
    a, b = source.batch(torch.arange(4), draw=draw())
    assert a.shape == b.shape == (4, 3, 8, 8)
    assert torch.equal(a[:, 0], a[:, 2])


# ---------------------------------------------------------------- what is held out


def test_each_domain_is_divided_by_itself():
    source = both(20, 90)
    parts = source.divided(lambda domain: split(domain, len(domain) // 10, seed=0))
    train, held_out = parts.train, parts.held_out
    assert (len(train.a), len(train.b), len(held_out.a), len(held_out.b)) == (18, 81, 2, 9)
    for name in ("a", "b"):
        known, unseen = (of(getattr(part, name).examples(torch.arange(len(getattr(part, name))))) for part in parts)
        assert not set(known) & set(unseen)


def test_what_lies_apart_is_held_out():
    tests = (numbered(4), None)
    parts = both(20, 30, tests=tests).divided(lambda domain: split(domain, 3, seed=0))
    assert parts.held_out.a is tests[0]
    assert (len(parts.train.a), len(parts.train.b), len(parts.held_out.b)) == (20, 27, 3)


def test_domains_are_learnt_apart_in_equal_numbers():
    source = domains_of(both(5, 30))
    every = torch.arange(len(source))
    labels, numbers = source.labels(every).tolist(), of(source.examples(every))
    assert source.classes == ("A", "B")
    assert labels.count(0) == labels.count(1) == 30
    assert [n < 0 for n in numbers] == [bool(label) for label in labels]
    assert set(map(abs, numbers[1::2])) == set(range(1, 31))
    assert domains_of(both(5, 30)).fingerprint == source.fingerprint != domains_of(both(6, 30)).fingerprint


# ---------------------------------------------------------------- files


def test_the_layout_of_the_papers_is_read_with_its_tests(tmp_path):
    for number, name in enumerate(("trainA", "trainB", "testA")):
        folder(tmp_path / "set" / name, seed=number)
    a, b = standard_places(tmp_path)
    assert (a.part, a.test, b.part, b.test) == ("trainA", "testA", "trainB", None)
    source = unpaired(a, b, Reading(), name="set")
    assert source.shape == (3, 16, 16)  # the shortest side of all
    assert source.tests[0] is not None
    assert source.tests[1] is None


def test_the_shortest_side_of_both_domains_is_that_of_both(tmp_path):
    a = Place(path=folder(tmp_path / "a", size=(40, 30)))
    b = Place(path=folder(tmp_path / "b", size=(24, 28), mode="L"))
    assert unpaired(a, b, Reading(), name="both").shape == (3, 24, 24)
    assert unpaired(a, b, Reading(size=20, channels=1), name="both").shape == (1, 20, 20)
    assert unpaired(a, b, Reading(size=20, crop=16), name="both").shape == (3, 16, 16)


def test_squares_of_pictures_that_keep_their_sizes(tmp_path):
    folder(tmp_path / "a", size=(40, 30))
    Image.fromarray(np.full((50, 20, 3), 255, np.uint8)).save(tmp_path / "a" / "tall.png")
    places = Place(path=tmp_path / "a"), Place(path=folder(tmp_path / "b", mode="L"))
    source = unpaired(*places, Reading(crop=12), name="both")
    a, b = source.batch(torch.arange(4), draw=draw())
    assert a.shape == b.shape == (4, 3, 12, 12)
    parts = source.divided(lambda domain: split(domain, 1, seed=0))
    assert parts.train.batch(torch.arange(2), draw=draw()).b.shape == (2, 3, 12, 12)
    with pytest.raises(DataError, match=r"b: 0 has 20 × 16 pixels, and squares of 18 are cut"):
        unpaired(*places, Reading(crop=18), name="both")
    with pytest.raises(DataError, match=r"class cannot be chosen of pictures that keep their sizes"):
        unpaired(Place(path=tmp_path / "a", label="x"), places[1], Reading(crop=12), name="both")


def test_classes_of_an_array_or_of_folders_are_domains(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (12, 16, 16)).astype(np.uint8)
    numbers = np.arange(12) % 3
    parts = {"train_images": images, "train_labels": numbers, "test_images": images[:6], "test_labels": numbers[:6]}
    np.savez(tmp_path / "digits.npz", **parts)
    a, b = (Place(path=tmp_path / "digits.npz", part="train", test="test", label=label) for label in ("0", "2"))
    source = unpaired(a, b, Reading(), name="digits")
    assert torch.equal(source.first(torch.arange(4)), torch.from_numpy(images[::3, None]) / 127.5 - 1)
    assert [None if test is None else len(test) for test in source.tests] == [2, 2]
    for kind in ("horse", "deer"):
        folder(tmp_path / "animals" / kind)
    path = tmp_path / "animals"
    assert len(unpaired(Place(path=path, label="horse"), Place(path=path, label="deer"), Reading(), name="x")) == 4
    with pytest.raises(DataError, match=r"has no class 'hores' to be a domain. Did you mean 'horse'"):
        unpaired(Place(path=path, label="hores"), b, Reading(), name="x")


# ---------------------------------------------------------------- what is refused


def test_a_domain_that_is_missing_or_empty_is_named_with_the_rule(tmp_path):
    with pytest.raises(DataError, match=r"nowhere does not exist"):
        standard_places(tmp_path / "nowhere")
    folder(tmp_path / "trainA")
    with pytest.raises(DataError, match=r"has no pictures in trainB. Expected trainA and trainB below it"):
        standard_places(tmp_path)
    (tmp_path / "trainB").mkdir()
    with pytest.raises(DataError, match=r"has no pictures in trainB"):
        standard_places(tmp_path)
    with pytest.raises(DataError, match=r"trainB is empty"):
        unpaired(Place(path=tmp_path / "trainA"), Place(path=tmp_path / "trainB"), Reading(), name="x")
    np.save(tmp_path / "one.npy", np.zeros((4, 16, 16), np.uint8))
    with pytest.raises(DataError, match=r"one.npy is one file. Expected a folder or .zip with trainA and trainB"):
        standard_places(tmp_path / "one.npy")


def test_vectors_two_channels_and_the_same_pictures_twice_are_refused(tmp_path):
    place = Place(path=folder(tmp_path / "a"))
    with pytest.raises(DataError, match=r"Both domains are .*a\. Expected different pictures"):
        unpaired(place, place, Reading(), name="x")
    np.save(tmp_path / "vectors.npy", np.zeros((4, 16), np.float32))
    with pytest.raises(DataError, match=r"vectors.npy holds vectors of shape \[16\]"):
        unpaired(place, Place(path=tmp_path / "vectors.npy"), Reading(), name="x")
    np.save(tmp_path / "two.npy", np.zeros((4, 2, 16, 16), np.uint8))
    with pytest.raises(DataError, match=r"two.npy has shape \[4, 2, 16, 16\]: no axis of 1 or 3 channels"):
        unpaired(place, Place(path=tmp_path / "two.npy"), Reading(), name="x")
    with pytest.raises(DataError, match=r"numbers -1 has 4 examples of shape \[2, 8, 8\]"):
        coupled(numbered(3), numbered(4, channels=2, sign=-1), name="x")
    with pytest.raises(DataError, match=r"numbers 1: 8 × 8, numbers -1: 16 × 16"):
        coupled(numbered(3), numbered(4, side=16, sign=-1), name="x")
    with pytest.raises(DataError, match="8 × 8 pixels, and squares of 12 are cut"):
        both(crop=12)
    with pytest.raises(DataError, match="no labels"):
        both().labels(torch.arange(2))
