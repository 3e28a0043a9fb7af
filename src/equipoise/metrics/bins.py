"""Number of statistically different bins: which regions of the data do the fakes hit too often or too rarely?"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import norm
from sklearn.cluster import KMeans
from torch import Tensor

from equipoise.metrics.checks import checked_pair


@dataclass(frozen=True, eq=False, kw_only=True)
class Bins:
    """How the two sets fill the bins. `real_shares` and `fake_shares` [K] sum to 1; z [K] > 0 means too many fakes."""

    num_different: int
    """NDB: how many bins differ significantly."""
    share_different: float
    """NDB / K in [0, 1]: about the significance level for equal distributions; lower is better."""
    divergence: float
    """Jensen-Shannon divergence of the shares in nats, in [0, log 2]; lower is better."""
    real_shares: Tensor
    fake_shares: Tensor
    z: Tensor


def different_bins(
    real: Float[Tensor, "n d"],
    fake: Float[Tensor, "m d"],
    *,
    num_bins: int = 100,
    level: float = 0.05,
    seed: int = 0,
) -> Bins:
    """NDB: bins are the cells of k-means on the reals [N, D]; each is tested for its share of reals and of fakes.

    A bin differs where |p - q| / sqrt(s (1 - s) (1/N + 1/M)) exceeds the normal quantile of 1 - level / 2, with the
    shares p of the reals, q of the fakes [M, D] and s of both together (Richardson & Weiss 2018). Bins that are
    too full or too empty show modes that are overdone or missing. The paper works on pixels (x.flatten(1)) of training
    images; use at least ten examples per bin. More examples find smaller differences: compare sets of equal size only.

    >>> real = torch.tensor([[0.0], [0.1], [9.0], [9.1]]).repeat(10, 1)
    >>> different_bins(real, real[:1].repeat(40, 1), num_bins=2).num_different
    2
    """
    real, fake = checked_pair(real, fake)
    distinct = len(real.unique(dim=0))
    if not 2 <= num_bins <= distinct:
        raise ValueError(
            f"num_bins={num_bins} was passed for {distinct} distinct reals, but 2 to {distinct} is expected. "
            "Use a tenth of their number, at most 100."
        )
    if not 0 < level < 1:
        raise ValueError(f"level={level} was passed, but a number between 0 and 1 is expected. Leave it out.")
    means = KMeans(num_bins, n_init="auto", random_state=seed % 2**32).fit(real.cpu().numpy())
    counts = [
        torch.bincount(torch.from_numpy(np.asarray(means.predict(x.cpu().numpy()))).long(), minlength=num_bins).double()
        for x in (real, fake)
    ]
    n, m = len(real), len(fake)
    p, q, both = counts[0] / n, counts[1] / m, (counts[0] + counts[1]) / (n + m)
    z = (q - p) / (both * (1 - both) * (1 / n + 1 / m)).sqrt()
    num_different = int((z.abs() > float(norm.ppf(1 - level / 2))).sum())
    middle = (p + q) / 2
    divergence = torch.special.entr(middle).sum() - (torch.special.entr(p).sum() + torch.special.entr(q).sum()) / 2
    return Bins(
        num_different=num_different,
        share_different=num_different / num_bins,
        divergence=max(divergence.item(), 0.0),
        real_shares=p,
        fake_shares=q,
        z=z,
    )
