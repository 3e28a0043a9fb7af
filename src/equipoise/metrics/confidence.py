"""How much a number would move with other samples of the same size: intervals by resampling, seeded."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from equipoise.core.seeding import generator, shuffled
from equipoise.metrics.checks import check_at_least, checked_pair, checked_vector


class Interval(NamedTuple):
    """From `low` to `high`, which holds the true value in the share `level` of repetitions."""

    low: float
    high: float
    level: float


def interval_of_mean(
    values: Float[Tensor, " n"], *, num_resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> Interval:
    """The bootstrap interval of the mean of values [N], such as the PSNR of each image (Efron 1979, percentiles).

    It speaks of other images, not of another training: for that pass one value per seed.

    >>> low, high, _ = interval_of_mean(torch.arange(100.0))
    >>> 43 < low < 46 < 53 < high < 56
    True
    """
    values = checked_vector("values", values, minimum=2)
    _check_resampling(num_resamples, level)
    draw = generator(seed, "interval_of_mean")
    means = [values[torch.randint(len(values), (len(values),), generator=draw)].mean() for _ in range(num_resamples)]
    return _quantiles(torch.stack(means), level)


def interval_of_metric(
    metric: Callable[[Tensor, Tensor], float],
    real: Float[Tensor, "n d"],
    fake: Float[Tensor, "m d"],
    *,
    num_resamples: int = 100,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """An interval of any metric of features [N, D] and [M, D], such as `frechet_distance`, around its value.

    The metric is computed on random halves of both sets, drawn without replacement: they spread around their mean as
    whole sets spread around theirs (the delete-half jackknife; Shao & Wu 1989). The bootstrap would repeat examples,
    which metrics of neighbours and covariances take for collapse. Halves are biased where small sets are (FID), so
    their quantiles are moved to the value of the whole. It costs `num_resamples` times the metric at half size.

    >>> real = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    >>> low, high, _ = interval_of_metric(lambda x, y: (y.mean() - x.mean()).item(), real, real + 1)
    >>> low < 1 < high
    True
    """
    real, fake = checked_pair(real, fake, minimum=4)
    _check_resampling(num_resamples, level)
    whole = metric(real, fake)
    values = torch.tensor(
        [
            metric(*(x[shuffled(len(x), seed, name, i)[: len(x) // 2].to(x.device)] for name, x in _named(real, fake)))
            for i in range(num_resamples)
        ],
        dtype=torch.float64,
    )
    if not values.isfinite().all():
        raise ValueError("metric: a value that is not finite came from half of the examples. Pass more examples.")
    low, high, _ = _quantiles(whole + values - values.mean(), level)
    return Interval(low, high, level)


def _named(real: Tensor, fake: Tensor) -> list[tuple[str, Tensor]]:
    return [("interval/real", real), ("interval/fake", fake)]


def _quantiles(values: Tensor, level: float) -> Interval:
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=values.dtype, device=values.device)
    low, high = torch.quantile(values, ends).tolist()
    return Interval(low, high, level)


def _check_resampling(num_resamples: int, level: float) -> None:
    check_at_least(10, num_resamples=num_resamples)
    if not 0 < level < 1:
        raise ValueError(f"level={level} was passed, but a number between 0 and 1 is expected. Use 0.95.")
