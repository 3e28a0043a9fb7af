"""Metrics of classes against torchmetrics, scipy's optimiser and hand values."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import nn
from torchmetrics.image.inception import InceptionScore

from equipoise.metrics.classes import (
    class_shares,
    classification_accuracy_score,
    inception_score,
    intra_class_frechet_distance,
)
from equipoise.metrics.distribution import frechet_distance


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


SCORES = 2 * normal(0, 120, 7)
LABELS = torch.arange(60) % 3


# Inception Score


@pytest.mark.filterwarnings("ignore:Metric `InceptionScore` will save all")
def test_inception_score_is_torchmetrics():
    reference = InceptionScore(feature=nn.Flatten(), splits=1)
    reference.update(SCORES[:, :, None, None])
    expected, _ = reference.compute()
    assert inception_score(SCORES.softmax(1), num_splits=1).mean == pytest.approx(expected.item(), rel=1e-6)


def test_inception_score_by_hand():
    # Two sure classes in the ratio 3 : 1: the score is the exponential of the entropy of the shares.
    p = torch.tensor([[1.0, 0, 0]] * 3 + [[0, 1.0, 0]])
    expected = np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)))
    assert inception_score(p, num_splits=1) == (pytest.approx(expected), 0.0)


def test_inception_score_is_1_for_doubt_and_for_a_single_class():
    assert inception_score(torch.full((10, 5), 0.2), num_splits=2).mean == pytest.approx(1)
    assert inception_score(torch.eye(5)[[2] * 10], num_splits=2).mean == pytest.approx(1)


def test_splits_are_drawn_at_random_from_all():
    # In the given order each half would hold one class and score 1; at random each holds both.
    p = torch.eye(2).repeat_interleave(500, 0)
    mean, std = inception_score(p, num_splits=2)
    assert mean > 1.98
    assert std < 0.02
    assert inception_score(SCORES.softmax(1), num_splits=4, seed=0) == inception_score(
        SCORES.softmax(1), num_splits=4, seed=0
    )
    assert inception_score(SCORES.softmax(1), num_splits=4).std > 0


def test_what_is_no_probability_is_refused():
    with pytest.raises(ValueError, match=r"probabilities of sum 1 are expected. Use scores.softmax\(1\)"):
        inception_score(SCORES)
    with pytest.raises(ValueError, match="num_splits=121 was passed for 120 examples"):
        inception_score(SCORES.softmax(1), num_splits=121)
    with pytest.raises(ValueError, match="not finite"):
        inception_score(torch.full((4, 2), torch.nan))


# Distance within classes


def test_intra_class_distance_is_the_mean_over_classes():
    real, fake = normal(1, 60, 4), normal(2, 60, 4) + LABELS[:, None]
    found = intra_class_frechet_distance(real, fake, real_labels=LABELS, fake_labels=LABELS)
    expected = {k: frechet_distance(real[k == LABELS], fake[k == LABELS]) for k in range(3)}
    assert found.of_class == pytest.approx(expected)
    assert found.mean == pytest.approx(np.mean(list(expected.values())))


def test_exchanged_classes_are_seen_within_classes_only():
    real = normal(1, 60, 4) + 5 * LABELS[:, None]
    wrong = (LABELS + 1) % 3
    assert frechet_distance(real, real) == pytest.approx(0, abs=1e-9)
    assert intra_class_frechet_distance(real, real, real_labels=LABELS, fake_labels=wrong).mean > 10


def test_an_empty_class_is_named():
    real, fake = normal(1, 60, 4), normal(2, 60, 4)
    with pytest.raises(ValueError, match="Class 2 has 20 real and 0 fake examples"):
        intra_class_frechet_distance(real, fake, real_labels=LABELS, fake_labels=LABELS % 2)
    with pytest.raises(ValueError, match="there are fakes of class 2, but no reals"):
        intra_class_frechet_distance(real, fake, real_labels=LABELS % 2, fake_labels=LABELS)
    with pytest.raises(ValueError, match=r"fake_labels: torch.int64 of shape \[59\] was passed"):
        intra_class_frechet_distance(real, fake, real_labels=LABELS, fake_labels=LABELS[:59])
    with pytest.raises(ValueError, match="class numbers from -1 to 1"):
        intra_class_frechet_distance(real, fake, real_labels=LABELS - 1, fake_labels=LABELS)


# Classification accuracy score


def test_classification_is_that_of_the_same_problem_solved_by_scipy():
    x, test = normal(3, 60, 2) + 0.8 * LABELS[:, None], normal(4, 60, 2) + 0.8 * LABELS[:, None]
    mean, deviation = x.mean(0).numpy(), x.std(0, correction=0).numpy()
    a, b = (x.numpy() - mean) / deviation, (test.numpy() - mean) / deviation
    y = LABELS.numpy()

    def loss(parameters: np.ndarray) -> float:
        w, bias = parameters[:6].reshape(2, 3), parameters[6:]
        scores = a @ w + bias
        picked = scores[np.arange(60), y]
        return (np.log(np.exp(scores).sum(1)) - picked).sum() + (w**2).sum() / (2 * 0.7)

    best = minimize(loss, np.zeros(9), method="BFGS", tol=1e-9).x
    said = (b @ best[:6].reshape(2, 3) + best[6:]).argmax(1)
    found = classification_accuracy_score(x, LABELS, test_features=test, test_labels=LABELS, strength=0.7)
    assert found.accuracy == pytest.approx((said == y).mean())
    assert found.of_class == pytest.approx({k: (said == y)[y == k].mean() for k in range(3)})
    assert 0.4 < found.accuracy < 0.95


def test_classification_sees_wrong_labels_and_missing_classes():
    x = normal(3, 60, 5) + 6 * LABELS[:, None]
    right = classification_accuracy_score(x, LABELS, test_features=x, test_labels=LABELS)
    wrong = classification_accuracy_score(x, (LABELS + 1) % 3, test_features=x, test_labels=LABELS)
    some = LABELS < 2
    fewer = classification_accuracy_score(x[some], LABELS[some], test_features=x, test_labels=LABELS)
    assert right == (1.0, {0: 1.0, 1: 1.0, 2: 1.0})
    assert wrong.accuracy == 0
    assert fewer == (pytest.approx(2 / 3), {0: 1.0, 1: 1.0, 2: 0.0})


def test_a_feature_that_never_varies_is_harmless():
    x = torch.cat([normal(3, 60, 2) + 6 * LABELS[:, None], torch.ones(60, 1)], 1)
    assert classification_accuracy_score(x, LABELS, test_features=x, test_labels=LABELS).accuracy == 1


def test_bad_classification_is_refused():
    x = normal(0, 60, 3)
    with pytest.raises(ValueError, match="only class 0 was passed"):
        classification_accuracy_score(x, LABELS * 0, test_features=x, test_labels=LABELS)
    with pytest.raises(ValueError, match="features has 3 features and test_features has 2"):
        classification_accuracy_score(x, LABELS, test_features=x[:, :2], test_labels=LABELS)
    with pytest.raises(ValueError, match="strength=0"):
        classification_accuracy_score(x, LABELS, test_features=x, test_labels=LABELS, strength=0)
    with pytest.raises(ValueError, match=r"of class scores take scores\.argmax"):
        classification_accuracy_score(x, x[:, 0], test_features=x, test_labels=LABELS)


# Shares


def test_shares_sum_to_one_and_refuse_unknown_classes():
    shares = class_shares(torch.tensor([3, 0, 3, 3, 0]), 5)
    assert shares.tolist() == [0.4, 0.0, 0.0, 0.6, 0.0]
    with pytest.raises(ValueError, match="class numbers from 0 to 3 were passed, but 0 to 2 is expected"):
        class_shares(torch.tensor([3, 0]), 3)
    with pytest.raises(ValueError, match="no examples were passed"):
        class_shares(torch.tensor([], dtype=torch.long), 3)
