"""Numbers of different provenance are not compared, and what a number rests on survives being written."""

import re
from dataclasses import fields, replace

import pytest
import torch

from equipoise.metrics.cautions import cautions
from equipoise.metrics.confidence import Interval
from equipoise.metrics.provenance import Comparison, Measured, Provenance, compared, content_hash

ON = Provenance(
    features="inception-2015-12-05",
    num_real=5000,
    num_fake=5000,
    reference="1f0e",
    seed=0,
    resizer="bilinear-tf1",
    weights="6726825d",
    settings=(("k", 5), ("allowed", 0.001)),
)
FID = Measured(name="FID", value=12.5, provenance=ON, interval=Interval(12.0, 13.0, 0.95), cautions=("Few.",))
OTHER = {
    "features": "pixels",
    "num_real": 4999,
    "num_fake": 1,
    "reference": "2f0e",
    "seed": 1,
    "resizer": "bicubic-antialiased",
    "weights": None,
    "settings": (("k", 3),),
}


def test_every_part_of_the_provenance_can_forbid_a_comparison():
    assert OTHER.keys() == {field.name for field in fields(Provenance)}


@pytest.mark.parametrize("part", OTHER)
def test_a_number_of_other_provenance_is_refused_and_the_difference_named(part):
    other = replace(FID, provenance=replace(ON, **{part: OTHER[part]}))
    with pytest.raises(ValueError, match=f"FID=12.5 and FID=12.5 cannot be compared: they differ in {part} "):
        compared(FID, other)
    assert compared(FID, other, ignoring=(part,)) == Comparison(0.0, False)


def test_all_differences_are_named_with_both_values():
    other = replace(FID, name="KID", provenance=replace(ON, seed=3, num_fake=10))
    words = "they differ in name 'FID' and 'KID'; num_fake 5000 and 10; seed 0 and 3. Measure both in the same way."
    with pytest.raises(ValueError, match=words):
        compared(FID, other)


def test_the_order_of_settings_does_not_matter():
    assert replace(ON, settings=(("allowed", 0.001), ("k", 5))) == ON


def test_a_comparison_says_whether_the_intervals_are_apart():
    below = replace(FID, value=11.0, interval=Interval(10.5, 11.5, 0.95))
    touching = replace(FID, value=12.0, interval=Interval(11.0, 12.5, 0.95))
    assert compared(FID, below) == Comparison(1.5, True)
    assert compared(below, FID) == Comparison(-1.5, True)
    assert compared(FID, touching) == Comparison(0.5, False)
    assert compared(FID, replace(FID, interval=None)).apart is None


@pytest.mark.parametrize("interval", [None, Interval(12.0, 13.0, 0.95)])
def test_a_number_survives_being_written(interval):
    measured = replace(FID, interval=interval)
    again = Measured.from_json(measured.to_json())
    assert again == measured
    assert hash(again.provenance) == hash(ON)
    assert "\n" not in measured.to_json()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "3", '{"interval": null, "provenance": {}}', FID.to_json()[:-1] + ', "x": 1}']
)
def test_what_is_no_number_is_refused(text):
    with pytest.raises(ValueError, match=r"No measured number can be read .* Measure again"):
        Measured.from_json(text)


def test_a_misspelt_part_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"ignoring='sed' is no part of the provenance\. Did you mean 'seed'"):
        compared(FID, FID, ignoring=("sed",))


def test_the_hash_of_a_set_sees_values_types_shapes_and_order_and_nothing_else():
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    others = [x.double(), x.flatten(), x.flip(0), x + 1e-6, x[:3]]
    assert len({content_hash(y) for y in [x, *others]}) == 6
    assert content_hash(x.t().contiguous().t()) == content_hash(x.clone().requires_grad_()) == content_hash(x)
    # Stable over processes and versions: files hold it.
    assert content_hash(torch.tensor([1, 2, 3])).startswith("c566a487e6d6")


# Cautions


def test_fewer_samples_than_features_are_not_silent():
    (few,) = cautions("FID", num_real=2000, num_fake=2000, num_features=2048)
    assert few.startswith("FID of 2000 examples in 2048 features: the covariance has no full rank")
    (biased,) = cautions("FID", num_real=5000, num_fake=5000, num_features=2048)
    assert "is larger than that of more" in biased
    assert cautions("FID", num_real=50_000, num_fake=50_000, num_features=2048) == ()
    (per_class,) = cautions("intra-class FID", num_real=50_000, num_fake=50_000, num_features=2048, num_classes=100)
    assert "of 500 examples per class in 2048 features" in per_class


@pytest.mark.parametrize(
    ("metric", "sizes", "words"),
    [
        ("KID", {"num_real": 50, "num_fake": 50}, "KID of 50 examples is right on average"),
        ("KID", {"num_real": 500, "num_fake": 400}, "500 reals and 400 fakes"),
        ("NDB", {"num_real": 500, "num_fake": 500}, "NDB of 500 examples: it depends on how many"),
        ("precision and recall", {"num_real": 999, "num_fake": 999}, "it depends on how many there are"),
        ("density and coverage", {"num_real": 10, "num_fake": 10}, "it depends on how many there are"),
        ("sliced Wasserstein", {"num_real": 10, "num_fake": 10}, "it depends on how many there are"),
        ("Inception Score", {"num_real": 1, "num_fake": 99, "num_classes": 10}, "99 fakes in 10 classes is smaller"),
        ("Inception Score", {"num_real": 1, "num_fake": 9000}, "in about a thousand classes"),
        ("memorisation", {"num_real": 99, "num_fake": 500}, "99 held-out examples: the threshold .* 1.0% of new"),
    ],
)
def test_each_metric_has_its_caution(metric, sizes, words):
    (sentence,) = cautions(metric, **sizes)
    assert re.search(words, sentence)


def test_large_equal_sets_raise_no_caution():
    for metric in ("FID", "KID", "precision and recall", "Inception Score", "NDB", "memorisation"):
        assert cautions(metric, num_real=50_000, num_fake=50_000, num_features=64, num_classes=10) == ()


def test_an_unknown_metric_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"metric='FIDD' is unknown\. Did you mean 'FID'"):
        cautions("FIDD", num_real=1, num_fake=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="num_fake=0"):
        cautions("FID", num_real=1, num_fake=0)
