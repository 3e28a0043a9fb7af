"""What class labels and class probabilities say of a set of fakes: pure functions, in float64."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from equipoise.core.seeding import shuffled
from equipoise.metrics.checks import check_same_width, checked, checked_labels, checked_pair
from equipoise.metrics.distribution import frechet_distance


class InceptionScore(NamedTuple):
    """Mean over the splits, and the standard deviation from split to split."""

    mean: float
    std: float


class ClassDistances(NamedTuple):
    """The Fréchet distance within each class, by class number, and the mean over classes."""

    mean: float
    of_class: dict[int, float]


class ClassAccuracy(NamedTuple):
    """The share of all test examples that are classified rightly, and of those of each class, by class number."""

    accuracy: float
    of_class: dict[int, float]


def inception_score(probabilities: Float[Tensor, "n k"], *, num_splits: int = 10, seed: int = 0) -> InceptionScore:
    """exp of the mean KL(p(y|x) ‖ p(y)) over the fakes: sure single classes, many in all; in [1, K], higher is better.

    `probabilities` [N, K] are a classifier's, such as softmax of the logits of Inception, whose score alone compares
    with published ones (Salimans et al. 2016, Sec. 4). The fakes are split at random into `num_splits` equal parts; a
    few at the end may be left out. No real example is looked at: copies of one image per class score best.

    >>> inception_score(torch.eye(4).repeat(5, 1), num_splits=1).mean
    4.0
    """
    p = _checked_probabilities("probabilities", probabilities)
    if not 1 <= num_splits <= len(p):
        raise ValueError(
            f"num_splits={num_splits} was passed for {len(p)} examples, but 1 to {len(p)} is expected. Use 10 for at "
            "least 5,000 examples, else 1."
        )
    # Fakes often come sorted by class; parts in that order would each know few classes.
    p = p[shuffled(len(p), seed, "inception_score").to(p.device)]
    size = len(p) // num_splits
    scores = []
    for part in p.split(size)[:num_splits]:
        marginal = part.mean(0)
        # Entropies H(y) - H(y|x), with 0 log 0 = 0.
        scores.append((torch.special.entr(marginal).sum() - torch.special.entr(part).sum(1).mean()).exp())
    of_splits = torch.stack(scores)
    return InceptionScore(of_splits.mean().item(), of_splits.std(correction=0).item())


def intra_class_frechet_distance(
    real: Float[Tensor, "n d"],
    fake: Float[Tensor, "m d"],
    *,
    real_labels: Int[Tensor, " n"],
    fake_labels: Int[Tensor, " m"],
) -> ClassDistances:
    """The mean over classes of the Fréchet distance within the class, in [0, ∞): intra-FID, lower is better.

    It sees fakes of the wrong class and collapse within a class, which FID over all classes may not (Miyato & Koyama
    2018). Every class of the reals needs at least 2 real and 2 fake examples, and as many as features for a
    covariance of full rank.
    """
    real, fake = checked_pair(real, fake, minimum=2)
    real_labels = checked_labels("real_labels", real_labels, len(real)).to(real.device)
    fake_labels = checked_labels("fake_labels", fake_labels, len(fake)).to(fake.device)
    distances = {}
    for number in real_labels.unique().tolist():
        of_real, of_fake = real[real_labels == number], fake[fake_labels == number]
        if len(of_real) < 2 or len(of_fake) < 2:
            raise ValueError(
                f"Class {number} has {len(of_real)} real and {len(of_fake)} fake examples, but at least 2 of each are "
                "expected. Generate fakes of every class, or leave the class out of the reals."
            )
        distances[number] = frechet_distance(of_real, of_fake)
    unknown = sorted(set(fake_labels.tolist()) - distances.keys())
    if unknown:
        raise ValueError(
            f"fake_labels: there are fakes of class {', '.join(map(str, unknown[:5]))}, but no reals. "
            "Pass reals of every class, or leave those fakes out."
        )
    return ClassDistances(sum(distances.values()) / len(distances), distances)


def classification_accuracy_score(
    features: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    *,
    test_features: Float[Tensor, "m d"],
    test_labels: Int[Tensor, " m"],
    strength: float = 1.0,
) -> ClassAccuracy:
    """How well a classifier fitted to one set classifies another, in [0, 1]; higher is better.

    Fitted to fakes and tested on held-out reals it is the classification accuracy score (Ravuri & Vinyals 2019), or
    GAN-train of Shmelkov et al. 2018, which sees both poor and missing examples of each class; the other way round it
    is GAN-test, which sees only whether fakes look like their class. Compare it with the score of a classifier fitted
    to as many reals. The papers train a network on pixels; here it is logistic regression on standardised features
    [N, D], with L2 penalty |w|² / (2 · strength) beside the sum of losses: its numbers compare among themselves.

    >>> x = torch.tensor([[-2.0], [-1.0], [1.0], [2.0]])
    >>> classification_accuracy_score(
    ...     x, torch.tensor([0, 0, 1, 1]), test_features=x, test_labels=torch.tensor([0, 0, 1, 0])
    ... )
    ClassAccuracy(accuracy=0.75, of_class={0: 0.6666666666666666, 1: 1.0})
    """
    features, test_features = checked("features", features), checked("test_features", test_features)
    check_same_width("features", features, "test_features", test_features)
    labels = checked_labels("labels", labels, len(features))
    test_labels = checked_labels("test_labels", test_labels, len(test_features)).cpu()
    if len(labels.unique()) < 2:
        raise ValueError(
            f"labels: only class {int(labels[0])} was passed, but at least 2 classes are expected. "
            "Fit to examples of every class."
        )
    if not strength > 0:
        raise ValueError(f"strength={strength} was passed, but a number above 0 is expected. Leave it out.")
    mean, spread = features.mean(0), features.std(0, correction=0)
    spread = torch.where(spread > 0, spread, 1)
    classifier = LogisticRegression(C=strength, max_iter=2000, tol=1e-8)
    classifier.fit(((features - mean) / spread).cpu().numpy(), labels.cpu().numpy())
    said = torch.from_numpy(np.asarray(classifier.predict(((test_features - mean) / spread).cpu().numpy())))
    right = (said == test_labels).double()
    of_class = {number: right[test_labels == number].mean().item() for number in test_labels.unique().tolist()}
    return ClassAccuracy(right.mean().item(), of_class)


def class_shares(labels: Int[Tensor, " n"], num_classes: int) -> Float[Tensor, " k"]:
    """The share of each class among class numbers [N], float64 [K]; those of the reals are what to compare with.

    >>> class_shares(torch.tensor([0, 2, 2, 2]), 4).tolist()
    [0.25, 0.0, 0.75, 0.0]
    """
    labels = checked_labels("labels", labels, len(labels), num_classes=num_classes)
    if len(labels) == 0:
        raise ValueError(
            "labels: no examples were passed, but at least one is expected. Pass the classes of the fakes."
        )
    return torch.bincount(labels, minlength=num_classes).double() / len(labels)


def _checked_probabilities(name: str, probabilities: Tensor) -> Tensor:
    p = checked(name, probabilities)
    if p.min() < 0 or not torch.allclose(p.sum(1), torch.ones_like(p[:, 0]), atol=1e-3, rtol=0):
        raise ValueError(
            f"{name}: rows with values from {p.min().item():.4g} and sums from {p.sum(1).min().item():.4g} to "
            f"{p.sum(1).max().item():.4g} were passed, but probabilities of sum 1 are expected. Use scores.softmax(1)."
        )
    return p / p.sum(1, keepdim=True)
