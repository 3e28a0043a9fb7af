"""Parts: stable when data grows, stratified, disjoint and complete."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equipoise.core.errors import DataError
from equipoise.data.splits import PARTS, by_hash, content_key, fold_of, k_fold, part_of, stratified

NAMES = [f"image-{number}.png" for number in range(2000)]
LABELS = [("cat", "dog", "dog", "owl")[number % 4] for number in range(2000)]


def placed(keys, parts):
    return {keys[number]: part for part, numbers in parts.items() for number in numbers}


def test_existing_members_never_change_their_part_when_files_are_added():
    before = placed(NAMES[:500], by_hash(NAMES[:500]))
    grown = sorted(NAMES[:500] + [f"aaa-{number}.png" for number in range(300)], reverse=True)
    after = placed(grown, by_hash(grown))
    assert {name: after[name] for name in before} == before


def test_the_parts_by_hash_are_the_same_on_every_machine():
    # Written down once: a change would move the examples of everybody's data.
    assert [part_of(name) for name in NAMES[40:50]] == [*["train"] * 6, "test", "train", "train", "held_out"]


def test_equal_content_never_comes_apart():
    files = {"train/a.png": b"same", "b.png": b"same", "c.png": b"other"}
    keys = [content_key(data) for data in files.values()]
    for salt in map(str, range(50)):
        parts = [part_of(key, {"train": 0.5, "test": 0.5}, salt=salt) for key in keys]
        assert parts[0] == parts[1]


def test_copies_stay_together_where_classes_are_counted_out_too():
    keys, labels = ["a", "b", "a", "c", "d", "a", "b", "e"], [0, 0, 0, 1, 1, 1, 0, 1]
    for fold in k_fold(keys, 2, labels=labels):
        assert not {keys[n] for n in fold.train} & {keys[n] for n in fold.held_out}
        assert sorted(fold.train + fold.held_out) == list(range(8))
    parts = stratified(keys, labels, {"train": 0.5, "test": 0.5})
    assert not {keys[n] for n in parts["train"]} & {keys[n] for n in parts["test"]}
    assert sorted(parts["train"] + parts["test"]) == list(range(8))


def test_the_key_of_a_content_is_its_sha256():
    assert content_key(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_shares_by_hash_are_met_within_four_standard_deviations():
    parts = by_hash(NAMES)
    for part, share in PARTS.items():
        assert abs(len(parts[part]) - share * 2000) < 4 * (share * (1 - share) * 2000) ** 0.5


def test_a_salt_gives_another_division():
    assert placed(NAMES, by_hash(NAMES)) != placed(NAMES, by_hash(NAMES, salt="second"))


def test_a_part_with_share_0_gets_nothing_and_one_with_share_1_everything():
    assert by_hash(NAMES, {"train": 1.0, "test": 0.0}) == {"train": list(range(2000)), "test": []}
    assert by_hash(NAMES, {"train": 0.0, "test": 1.0}) == {"train": [], "test": list(range(2000))}


@settings(max_examples=40, deadline=None)
@given(
    labels=st.lists(st.integers(0, 4), max_size=120),
    weights=st.lists(st.integers(0, 9), min_size=2, max_size=4).filter(any),
)
def test_every_class_gives_every_part_its_share_to_within_one_example(labels, weights):
    shares = {str(number): weight / sum(weights) for number, weight in enumerate(weights)}
    parts = stratified(NAMES[: len(labels)], labels, shares)
    assert sorted(number for numbers in parts.values() for number in numbers) == list(range(len(labels)))
    for label, count in Counter(labels).items():
        for part, numbers in parts.items():
            got = sum(labels[number] == label for number in numbers)
            assert abs(got - shares[part] * count) <= 1 + 1e-9


def test_stratified_parts_do_not_depend_on_the_order_of_the_files():
    forward = placed(NAMES, stratified(NAMES, LABELS))
    backward = placed(NAMES[::-1], stratified(NAMES[::-1], LABELS[::-1]))
    assert forward == backward


def test_kept_members_stay_and_new_ones_fill_up_the_shares():
    kept = placed(NAMES[:400], stratified(NAMES[:400], LABELS[:400]))
    parts = stratified(NAMES[:1000], LABELS[:1000], kept=kept)
    after = placed(NAMES[:1000], parts)
    assert {name: after[name] for name in kept} == kept
    assert {part: len(numbers) for part, numbers in parts.items()} == {"train": 800, "held_out": 100, "test": 100}


def test_what_was_kept_out_of_balance_is_balanced_by_new_examples():
    kept = {name: "train" for name in NAMES[:100]}
    parts = stratified(NAMES[:200], ["one"] * 200, {"train": 0.5, "test": 0.5}, kept=kept)
    assert parts == {"train": list(range(100)), "test": list(range(100, 200))}


def test_folds_hold_out_every_example_once_and_are_alike_in_size_and_classes():
    folds = k_fold(NAMES[:503], 5, labels=LABELS[:503])
    assert sorted(number for fold in folds for number in fold.held_out) == list(range(503))
    for fold in folds:
        assert sorted(fold.train + fold.held_out) == list(range(503))
    assert {len(fold.held_out) for fold in folds} == {100, 101}
    for label in ("cat", "dog", "owl"):
        counts = [sum(LABELS[number] == label for number in fold.held_out) for fold in folds]
        assert max(counts) - min(counts) <= 1


def test_folds_without_labels_differ_by_at_most_one():
    assert sorted(len(fold.held_out) for fold in k_fold(NAMES[:11], 4)) == [2, 3, 3, 3]


def test_the_fold_of_a_key_is_fixed_and_all_folds_are_about_equally_frequent():
    counts = Counter(fold_of(name, 4) for name in NAMES)
    assert set(counts) == {0, 1, 2, 3}
    assert all(abs(count - 500) < 4 * (0.25 * 0.75 * 2000) ** 0.5 for count in counts.values())


def test_names_that_are_no_text_have_a_part_too():
    assert part_of("\udcff.png") in PARTS


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: part_of("a", {"train": 0.5}), "add up to 1"),
        (lambda: part_of("a", {"train": 1.5, "test": -0.5}), "at least 0"),
        (lambda: by_hash([], {}), "add up to 1"),
        (lambda: stratified(["a"], []), "0 labels for 1 keys"),
        (lambda: stratified(["a"], [0], kept={"a": "tset"}), "names the parts tset"),
        (lambda: k_fold(["a", "b"], 1), "at least 2 folds"),
        (lambda: k_fold(["a"], 2), "1 examples cannot be divided into 2"),
        (lambda: k_fold(["a", "b"], 2, labels=[0]), "1 labels for 2 keys"),
        (lambda: fold_of("a", 0), "at least 2 folds"),
    ],
)
def test_what_makes_no_sense_is_refused(call, words):
    with pytest.raises(DataError, match=words):
        call()
