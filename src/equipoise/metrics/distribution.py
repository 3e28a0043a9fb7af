"""How far two sets of examples are apart, seen through their features: pure functions on tensors [N, D], in float64."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from equipoise.core.seeding import shuffled
from equipoise.metrics.checks import checked, checked_pair


class Moments(NamedTuple):
    """Mean [D] and unbiased covariance [D, D] of a set of features, float64."""

    mean: Tensor
    covariance: Tensor


class KernelDistance(NamedTuple):
    """Mean of the kernel distance over the subsets, and its standard deviation from subset to subset."""

    mean: float
    std: float


class PrecisionRecall(NamedTuple):
    """Share of fakes among the reals, share of reals among the fakes; both in [0, 1]."""

    precision: float
    recall: float


class DensityCoverage(NamedTuple):
    """How densely fakes lie where the reals are (≥ 0, about 1 when alike); share of reals with a fake near (≤ 1)."""

    density: float
    coverage: float


def moments(features: Float[Tensor, "n d"]) -> Moments:
    """Mean and unbiased covariance of features [N, D], N ≥ 2: all that the Fréchet distance needs to know of a set.

    >>> moments(torch.tensor([[0.0, 0.0], [2.0, 4.0]])).mean.tolist()
    [1.0, 2.0]
    """
    features = checked("features", features, minimum=2)
    mean = features.mean(0)
    centred = features - mean
    return Moments(mean, centred.T @ centred / (len(features) - 1))


def frechet_distance(real: Float[Tensor, "n d"], fake: Float[Tensor, "m d"]) -> float:
    """The Fréchet distance between Gaussians fitted to features [N, D] and [M, D]: FID, in [0, ∞), lower is better.

    |μ₁ - μ₂|² + Tr(Σ₁ + Σ₂ - 2 (Σ₁ Σ₂)^½)    (Heusel et al. 2017, Eq. 6)

    Covariances may be singular (N < D). The distance grows as sets shrink: compare only sets of equal size.

    >>> real = torch.tensor([[-1.0], [1.0]])
    >>> round(frechet_distance(real, real + 3.0), 6)
    9.0
    """
    real, fake = checked_pair(real, fake, minimum=2)
    return _frechet(real.mean(0), _covariance_root(real), fake.mean(0), _covariance_root(fake))


def frechet_distance_of_moments(real: Moments, fake: Moments) -> float:
    """The Fréchet distance, in [0, ∞), of sets known only by their moments, such as stored reference statistics.

    It resolves 1e-7 of the variance; `frechet_distance`, which sees the features, does better.

    >>> unit = Moments(torch.zeros(2), torch.eye(2))
    >>> round(frechet_distance_of_moments(unit, Moments(torch.tensor([3.0, 4.0]), 4 * torch.eye(2))), 6)
    27.0
    """
    roots = []
    for name, (mean, covariance) in [("real", real), ("fake", fake)]:
        if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
            raise ValueError(
                f"{name}: mean {list(mean.shape)} and covariance {list(covariance.shape)} were passed, but [D] and "
                "[D, D] are expected. Use moments(features)."
            )
        if not (mean.isfinite().all() and covariance.isfinite().all()):
            raise ValueError(f"{name}: moments that are not finite were passed. Compute them from finite features.")
        values, vectors = torch.linalg.eigh(covariance.double())
        roots.append((vectors * values.clamp(min=0).sqrt()).T)
    if len(real.mean) != len(fake.mean):
        raise ValueError(
            f"real has {len(real.mean)} features and fake has {len(fake.mean)}, but equal numbers are expected. "
            "Compute both with the same feature network."
        )
    return _frechet(real.mean.double(), roots[0], fake.mean.double(), roots[1])


def kernel_distance(
    real: Float[Tensor, "n d"],
    fake: Float[Tensor, "m d"],
    *,
    subset_size: int | None = None,
    num_subsets: int = 100,
    seed: int = 0,
) -> KernelDistance:
    """The squared maximum mean discrepancy between features [N, D] and [M, D], unbiased: KID, lower is better.

    Mean over random subsets of the U-statistic with k(x, y) = (x·y / D + 1)³    (Bińkowski et al. 2018, Sec. 4)

    Being unbiased it is 0 on average for equal distributions, at any size, and can fall slightly below 0. Subsets are
    drawn without replacement; `subset_size` None means half of the smaller set, at most 1000.

    >>> real = torch.linspace(-1, 1, 40)[:, None]
    >>> near, far = kernel_distance(real, real + 0.1), kernel_distance(real, real + 2.0)
    >>> near.mean < far.mean
    True
    """
    real, fake = checked_pair(real, fake, minimum=4 if subset_size is None else 2)
    smaller = min(len(real), len(fake))
    size = min(smaller // 2, 1000) if subset_size is None else subset_size
    if not 2 <= size <= smaller:
        raise ValueError(
            f"subset_size={size} was passed, but 2 to {smaller} is expected: {len(real)} real and {len(fake)} fake "
            "examples are there. Choose a smaller subset or pass more examples."
        )
    if num_subsets < 1:
        raise ValueError(f"num_subsets={num_subsets} was passed, but at least 1 is expected. Use 100.")
    distances = []
    for i in range(num_subsets):
        x = real[shuffled(len(real), seed, "kernel_distance/real", i)[:size].to(real.device)]
        y = fake[shuffled(len(fake), seed, "kernel_distance/fake", i)[:size].to(fake.device)]
        xx, yy, xy = _cubic_kernel(x, x), _cubic_kernel(y, y), _cubic_kernel(x, y)  # [size, size]
        within = xx.sum() - xx.trace() + yy.sum() - yy.trace()
        distances.append(within / (size * (size - 1)) - 2 * xy.mean())
    of_subsets = torch.stack(distances)
    return KernelDistance(of_subsets.mean().item(), of_subsets.std(correction=0).item())


def precision_recall(
    real: Float[Tensor, "n d"], fake: Float[Tensor, "m d"], *, k: int = 3, chunk: int = 1024
) -> PrecisionRecall:
    """Improved precision (are fakes plausible?) and recall (is all real variety there?) in [0, 1], higher is better.

    A set's manifold is the union of closed balls around its examples, each reaching to the k-th nearest other example
    of the set. Precision is the share of fakes [M, D] in the manifold of the reals [N, D], recall the share of reals in
    that of the fakes    (Kynkäänniemi et al. 2019, Eqs. 1 and 2).

    `chunk` reals are compared with all fakes at a time (1024 with 10,000: 80 MB); the answer does not depend on it.

    >>> real = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    >>> precision_recall(real, torch.tensor([[1.0], [1.5], [2.0], [4.5]]), k=1)
    PrecisionRecall(precision=0.75, recall=0.75)
    """
    real, fake = _checked_neighbours(real, fake, k=k, chunk=chunk)
    real_radii, fake_radii = _radii(real, k=k, chunk=chunk), _radii(fake, k=k, chunk=chunk)
    fake_inside = torch.zeros(len(fake), dtype=torch.bool, device=fake.device)
    real_inside = []
    for distances, radii in zip(_distances(real, fake, chunk), real_radii.split(chunk)):  # [chunk, M], [chunk]
        fake_inside |= (distances <= radii[:, None]).any(0)
        real_inside.append((distances <= fake_radii).any(1))
    return PrecisionRecall(fake_inside.double().mean().item(), torch.cat(real_inside).double().mean().item())


def density_coverage(
    real: Float[Tensor, "n d"], fake: Float[Tensor, "m d"], *, k: int = 5, chunk: int = 1024
) -> DensityCoverage:
    """Density (how many reals are near a fake?) and coverage (how many reals have a fake near?), higher is better.

    With closed balls from each real example [N, D] to its k-th nearest other real one, density is the mean number of
    balls around a fake [M, D] divided by k, in [0, N/k] and about 1 for equal distributions; coverage is the share of
    balls that hold a fake, in [0, 1]    (Naeem et al. 2020, Sec. 3). Neither outliers among the reals nor the spread of
    bad fakes can raise them much, unlike precision and recall.

    `chunk` reals are compared with all fakes at a time (1024 with 10,000: 80 MB); the answer does not depend on it.

    >>> real = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    >>> density_coverage(real, torch.tensor([[0.1], [0.2]]), k=1)
    DensityCoverage(density=2.0, coverage=0.5)
    """
    real, fake = _checked_neighbours(real, fake, k=k, chunk=chunk)
    num_pairs, covered = 0, 0
    for distances, radii in zip(_distances(real, fake, chunk), _radii(real, k=k, chunk=chunk).split(chunk)):
        inside = distances <= radii[:, None]  # [chunk, M]
        num_pairs += int(inside.sum())
        covered += int(inside.any(1).sum())
    return DensityCoverage(density=num_pairs / (k * len(fake)), coverage=covered / len(real))


def _covariance_root(features: Tensor) -> Tensor:
    """R [min(N, D), D] with RᵀR = Σ. The covariance itself is never formed, so no digits are lost to squaring."""
    centred = (features - features.mean(0)) / (len(features) - 1) ** 0.5
    return torch.linalg.qr(centred, mode="r").R if len(features) > features.shape[1] else centred


def _frechet(mean_1: Tensor, root_1: Tensor, mean_2: Tensor, root_2: Tensor) -> float:
    # With Σ = RᵀR the trace of (Σ₁ Σ₂)^½ is the nuclear norm of R₁ R₂ᵀ, which exists for singular covariances too.
    overlap = torch.linalg.svdvals(root_1 @ root_2.T).sum()
    distance = (mean_1 - mean_2).square().sum() + root_1.square().sum() + root_2.square().sum() - 2 * overlap
    return max(distance.item(), 0.0)


def _cubic_kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _distances(rows: Tensor, columns: Tensor, chunk: int) -> Iterator[Tensor]:
    """Euclidean distances [chunk, M], chunk by chunk of the rows."""
    for part in rows.split(chunk):
        # The faster way through a matrix product rounds: equal examples would not be at distance 0.
        yield torch.cdist(part, columns, compute_mode="donot_use_mm_for_euclid_dist")


def _radii(features: Tensor, *, k: int, chunk: int) -> Tensor:
    """The distance [N] of each example to its k-th nearest other one."""
    # Each example is itself among its k + 1 nearest.
    return torch.cat([d.topk(k + 1, largest=False).values[:, -1] for d in _distances(features, features, chunk)])


def _checked_neighbours(real: Tensor, fake: Tensor, *, k: int, chunk: int) -> tuple[Tensor, Tensor]:
    if k < 1 or chunk < 1:
        raise ValueError(f"k={k}, chunk={chunk} were passed, but at least 1 is expected for both. Leave them out.")
    return checked_pair(real, fake, minimum=k + 1)
