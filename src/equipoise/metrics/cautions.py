"""What to beware of in a number, before anyone trusts it: rules on sample sizes, as sentences."""

from typing import Literal, get_args

from equipoise.core.errors import nearest
from equipoise.metrics.checks import check_at_least

Metric = Literal[
    "FID",
    "intra-class FID",
    "KID",
    "precision and recall",
    "density and coverage",
    "Inception Score",
    "sliced Wasserstein",
    "NDB",
    "memorisation",
]

FEW = 1000


def cautions(
    metric: Metric,
    *,
    num_real: int,
    num_fake: int,
    num_features: int | None = None,
    num_classes: int | None = None,
) -> tuple[str, ...]:
    """Sentences on why a number of these sample sizes misleads; none where nothing is known against it.

    Pass `num_features` where the metric sees features and `num_classes` where it sees classes. For the metrics of
    memorisation `num_real` counts the held-out examples.

    >>> cautions("KID", num_real=5000, num_fake=5000)
    ()
    >>> cautions("FID", num_real=100, num_fake=5000, num_features=2048)[0]
    'FID of 100 examples in 2048 features: the covariance has no full rank, and the number says little. Use KID.'
    """
    if metric not in get_args(Metric):
        raise ValueError(f"metric={metric!r} is unknown. {nearest(str(metric), get_args(Metric))}")
    check_at_least(1, num_real=num_real, num_fake=num_fake)
    smaller = min(num_real, num_fake)
    found = []
    if metric in ("FID", "intra-class FID"):
        per_class = smaller // (num_classes or 1)
        if num_features is not None and per_class <= num_features:
            found.append(
                f"{metric} of {per_class} examples{' per class' if num_classes else ''} in {num_features} features: "
                "the covariance has no full rank, and the number says little. Use KID."
            )
        elif smaller < 10 * FEW:
            found.append(
                f"{metric} of {smaller} examples is larger than that of more: compare it with numbers of the same "
                "sizes only."
            )
    if metric in ("sliced Wasserstein", "NDB", "precision and recall", "density and coverage") and smaller < FEW:
        found.append(f"{metric} of {smaller} examples: it depends on how many there are. Use {FEW} or more.")
    if metric != "Inception Score" and metric != "memorisation" and num_real != num_fake:
        found.append(f"{num_real} reals and {num_fake} fakes: published numbers compare as many of both, or all reals.")
    if metric == "Inception Score" and num_fake < 10 * (num_classes or FEW):
        found.append(
            f"Inception Score of {num_fake} fakes in {num_classes or 'about a thousand'} classes is smaller than that "
            "of more: compare it with numbers of the same size only."
        )
    if metric == "KID" and smaller < 100:
        found.append(f"KID of {smaller} examples is right on average, but it varies: look at its deviation.")
    if metric == "memorisation" and num_real < FEW:
        found.append(
            f"{num_real} held-out examples: the threshold of what counts as a copy is their smallest ratio, and "
            f"{1 / (num_real + 1):.1%} of new examples fall below it."
        )
    return tuple(found)
