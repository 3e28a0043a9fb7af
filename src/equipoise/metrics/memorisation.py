"""Are fakes copies of training examples? Judged against held-out examples, in features [N, F] or pixels [N, C, H, W].

A copy is much nearer to one training example than to all others; new examples rarely are, and how rarely is seen on
held-out reals. Distances are Euclidean, pixels are flattened. `mirrored` holds the mirrored training examples in the
same order (train.flip(-1), or its features): with it a mirrored copy counts as a copy.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import hypergeom
from sklearn.cluster import KMeans
from torch import Tensor

from equipoise.core.seeding import shuffled
from equipoise.metrics.checks import check_at_least, check_same_width, checked, checked_vector
from equipoise.metrics.neighbours import nearest_neighbours

CopyVerdict = Literal["copies", "no copies found", "unknown"]

# Of fakes that are like held-out examples one set in ten thousand is said to hold copies.
SIGNIFICANCE = 1e-4


class Pair(NamedTuple):
    """A fake and the training example it resembles most, by index: the nearest ones are worth looking at."""

    fake: int
    train: int
    distance: float
    ratio: float
    """Distance to this training example by the distance to the next one, in [0, 1]; 0 is a copy."""


@dataclass(frozen=True, kw_only=True)
class Memorisation:
    """Whether fakes are copies, and the numbers behind it; None where there is no held-out set to judge by."""

    verdict: CopyVerdict
    reason: str
    flagged_share: float | None
    """The share of fakes that are nearer to one training example than all but 0.1 % of held-out examples are."""
    expected_share: float | None
    """The share that is flagged on average where nothing is copied."""
    data_copying: float | None
    """C_T: far below 0 says that fakes are nearer to training examples than held-out examples are."""
    nearer_to_train: float | None
    """The share of fakes nearer to the training set than to as many held-out examples; 0.5 in health."""
    authenticity: float
    """The share of fakes farther from the nearest training example than that one is from the others."""
    pairs: tuple[Pair, ...]
    """The pairs of smallest ratio, the most suspicious first."""

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries, numbers and strings."""
        return {**asdict(self), "pairs": [pair._asdict() for pair in self.pairs]}


@dataclass(frozen=True, eq=False, kw_only=True)
class Flags:
    """Which fakes look like copies."""

    share: float
    flagged: Tensor
    """bool [N]."""
    ratios: Tensor
    """Of each fake [N]: distance to the nearest training example by the distance to the next."""
    threshold: float
    expected_share: float
    """The share of new examples that falls below the threshold, on average over held-out sets."""
    probability: float
    """How likely so many flags are, at least, for a set that is distributed as the held-out set is; exact."""


class Cell(NamedTuple):
    """One region of the data: its share of the held-out set, how many fakes are in it, and its z (None: too few)."""

    share: float
    num_fake: int
    z: float | None


class DataCopying(NamedTuple):
    """C_T, and the regions it is the mean of."""

    z: float
    cells: tuple[Cell, ...]


def memorisation(
    fake: Float[Tensor, "n *shape"],
    train: Float[Tensor, "m *shape"],
    held_out: Float[Tensor, "l *shape"] | None,
    *,
    mirrored: Float[Tensor, "m *shape"] | None = None,
    num_pairs: int = 16,
    seed: int = 0,
) -> Memorisation:
    """All of this file together. The verdict follows the flags alone, which blur and collapse do not raise.

    Without held-out examples the verdict is "unknown": how near new examples come to training examples is a matter of
    the data. It is too where held-out examples are in the training set themselves, or too few to tell.

    >>> draw = torch.Generator().manual_seed(0)
    >>> train, held_out, fake = torch.randn(3, 300, 8, generator=draw)
    >>> fake[:30] = train[:30]
    >>> found = memorisation(fake, train, held_out)
    >>> found.verdict, round(found.flagged_share, 2), memorisation(fake, train, None).verdict
    ('copies', 0.1, 'unknown')
    """
    pairs = worst_pairs(fake, train, mirrored=mirrored, num_pairs=num_pairs)
    authentic = authenticity(fake, train, mirrored=mirrored)
    judged = dict.fromkeys(("flagged_share", "expected_share", "data_copying", "nearer_to_train"))
    if held_out is None:
        verdict: CopyVerdict = "unknown"
        reason = "There are no held-out examples to tell what is near."
    else:
        flags = flag_copies(fake, train, held_out, mirrored=mirrored)
        enough = min(len(fake), len(held_out)) >= FEWEST_IN_CELL
        judged = {
            "flagged_share": flags.share,
            "expected_share": flags.expected_share,
            "data_copying": data_copying(fake, train, held_out, seed=seed).z if enough else None,
            "nearer_to_train": nearer_to_train(fake, train, held_out, seed=seed),
        }
        count = f"{int(flags.flagged.sum())} of {len(fake)} fakes are flagged as copies"
        possible = hypergeom.cdf(0, len(fake) + len(held_out), len(held_out), len(fake)) < SIGNIFICANCE
        if flags.probability < SIGNIFICANCE:
            verdict, reason = "copies", f"{count}, where {flags.expected_share:.2%} would be by chance."
        elif flags.threshold == 0:
            verdict = "unknown"
            reason = "Held-out examples are in the training set too: remove duplicates before the data is split."
        elif not possible:
            verdict, reason = "unknown", f"{len(fake)} fakes and {len(held_out)} held-out examples are too few to tell."
        else:
            verdict, reason = "no copies found", f"{count}, no more than by chance."
    return Memorisation(verdict=verdict, reason=reason, authenticity=authentic, pairs=pairs, **judged)


def flag_copies(
    fake: Float[Tensor, "n *shape"],
    train: Float[Tensor, "m *shape"],
    held_out: Float[Tensor, "l *shape"],
    *,
    mirrored: Float[Tensor, "m *shape"] | None = None,
    allowed: float = 0.001,
) -> Flags:
    """Flags fakes whose ratio d₁ / d₂ lies below that of all but the share `allowed` of held-out examples.

    d₁ and d₂ are the distances to the nearest and the second nearest distinct training example. A ratio does not see
    blur, which brings fakes nearer to all examples at once. With fewer than 1 / `allowed` held-out examples the
    threshold is their smallest ratio, so that `expected_share` is larger. Training examples with near duplicates hide
    copies of themselves (d₂ is small): remove duplicates first. Where held-out examples are in the training set the
    threshold may be 0, and nothing is flagged.
    """
    fake, train, held_out = _flat_sets(fake=fake, train=train, held_out=held_out)
    if not 0 <= allowed < 1:
        raise ValueError(f"allowed={allowed} was passed, but a share of at least 0 and below 1 is expected. Use 0.001.")
    twins = _mirrors(mirrored, train)
    of_held_out = _ratios(held_out, train, twins).sort().values
    ratios = _ratios(fake, train, twins)
    num_below = int(allowed * len(held_out))
    threshold = of_held_out[num_below].item()
    flagged = ratios < threshold
    # If fakes are like held-out examples, any order of their ratios is as likely: among the num_flagged + num_below
    # smallest, num_below or fewer are held-out ones.
    num_smallest = int(flagged.sum()) + num_below
    return Flags(
        share=flagged.double().mean().item(),
        flagged=flagged,
        ratios=ratios,
        threshold=threshold,
        expected_share=(num_below + 1) / (len(held_out) + 1),
        probability=float(hypergeom.cdf(num_below, len(fake) + len(held_out), len(held_out), num_smallest)),
    )


def worst_pairs(
    fake: Float[Tensor, "n *shape"],
    train: Float[Tensor, "m *shape"],
    *,
    mirrored: Float[Tensor, "m *shape"] | None = None,
    num_pairs: int = 16,
) -> tuple[Pair, ...]:
    """The fakes of smallest ratio d₁ / d₂ with their nearest training examples: indices, to show as pictures.

    A person must judge them side by side: a small ratio may be a copy, or a thing that always looks the same.
    """
    check_at_least(1, num_pairs=num_pairs)
    fake, train = _flat_sets(fake=fake, train=train)
    twins = _mirrors(mirrored, train)
    nearest = nearest_neighbours(fake, train, mirrored=twins)
    ratios = _ratios(fake, train, twins)
    # Of equal ratios, such as many exact copies, the nearest first.
    order = sorted(range(len(fake)), key=lambda i: (ratios[i].item(), nearest.distances[i, 0].item()))
    return tuple(
        Pair(i, int(nearest.indices[i, 0]), nearest.distances[i, 0].item(), ratios[i].item()) for i in order[:num_pairs]
    )


def authenticity(
    fake: Float[Tensor, "n *shape"],
    train: Float[Tensor, "m *shape"],
    *,
    mirrored: Float[Tensor, "m *shape"] | None = None,
) -> float:
    """The share of fakes s with d(s, i) > d(i, nearest other j), where i is the training example nearest to s.

    In [0, 1]; from the definition of Alaa et al. 2022. Copies lower it, but so does blur, and what perfect
    fakes reach depends on the dimension (normal data: 0.36 in 2, 0.57 in 8, 0.86 in 128 dimensions): compare it with
    what held-out reals reach in place of the fakes.

    >>> train = torch.tensor([[0.0], [1.0], [10.0]])
    >>> authenticity(torch.tensor([[0.1], [14.0], [20.0]]), train)
    0.3333333333333333
    """
    fake, train = _flat_sets(fake=fake, train=train)
    if len(train) < 2:
        raise ValueError("train: 1 example was passed, but at least 2 are expected. Pass more.")
    twins = _mirrors(mirrored, train)
    nearest = nearest_neighbours(fake, train, mirrored=twins)
    asked, which = nearest.indices[:, 0].unique(return_inverse=True)
    # Of the two nearest training examples of a training example, one is at distance 0: itself.
    to_other = nearest_neighbours(train[asked], train, k=2, mirrored=twins).distances[:, 1]
    return (nearest.distances[:, 0] > to_other[which]).double().mean().item()


def nearer_to_train(
    fake: Float[Tensor, "n *shape"],
    train: Float[Tensor, "m *shape"],
    held_out: Float[Tensor, "l *shape"],
    *,
    seed: int = 0,
) -> float:
    """The share of fakes nearer to the training set than to the held-out set, ties half; 0.5 in health, 1 if all copy.

    The larger of the two sets is cut to the size of the smaller by a draw that `seed` decides. A collapsed generator
    makes the answer a matter of luck: look at the variety of the fakes too.

    >>> nearer_to_train(torch.tensor([[0.1], [5.2]]), torch.tensor([[0.0], [5.0]]), torch.tensor([[1.0], [5.3]]))
    0.5
    """
    fake, train, held_out = _flat_sets(fake=fake, train=train, held_out=held_out)
    size = min(len(train), len(held_out))
    to_set = [
        nearest_neighbours(fake, some[shuffled(len(some), seed, "nearer_to_train", name)[:size].to(some.device)])
        for name, some in (("train", train), ("held_out", held_out))
    ]
    to_train, to_held_out = (nearest.distances[:, 0] for nearest in to_set)
    return ((to_train < to_held_out).double() + 0.5 * (to_train == to_held_out)).mean().item()


FEWEST_IN_CELL = 20


def data_copying(
    fake: Float[Tensor, "n *shape"],
    train: Float[Tensor, "m *shape"],
    held_out: Float[Tensor, "l *shape"],
    *,
    num_cells: int | None = None,
    seed: int = 0,
) -> DataCopying:
    """C_T (Meehan et al. 2020): are fakes nearer to training examples than held-out examples are, region by region?

    Far below 0 fakes copy, far above 0 they miss the data. Regions are the cells of k-means on the training set; in
    each, distances of fakes and of held-out examples to the nearest training example of the cell are compared by the
    Mann-Whitney U, as z; C_T is the mean of z over cells with at least 20 fakes, weighted by the share of the held-out
    set. For equal distributions its deviation is 1 with a single cell and less with more. It sees copying that is
    common, hardly the copying of 5 % of all fakes; blur lowers it too. `num_cells` None takes one for every 200
    held-out examples, at most 20.
    """
    fake, train, held_out = _flat_sets(fake=fake, train=train, held_out=held_out)
    wanted = max(1, min(20, len(held_out) // 200)) if num_cells is None else num_cells
    distinct = len(train.unique(dim=0))
    if not 1 <= wanted <= distinct:
        raise ValueError(
            f"num_cells={num_cells} was passed for {distinct} distinct training examples, but 1 to {distinct} is "
            "expected. Leave it out."
        )
    means = KMeans(wanted, n_init="auto", random_state=seed % 2**32).fit(train.cpu().numpy())
    cell_of_fake, cell_of_train, cell_of_held_out = (
        torch.from_numpy(np.asarray(means.predict(x.cpu().numpy()))).to(x.device) for x in (fake, train, held_out)
    )
    cells = []
    for number in range(wanted):
        of_fake, of_held_out = fake[cell_of_fake == number], held_out[cell_of_held_out == number]
        z = None
        if len(of_fake) >= FEWEST_IN_CELL and len(of_held_out):
            of_train = train[cell_of_train == number]
            distances = [nearest_neighbours(x, of_train).distances[:, 0] for x in (of_fake, of_held_out)]
            z = mann_whitney_z(*distances)
        cells.append(Cell(len(of_held_out) / len(held_out), len(of_fake), z))
    judged = [(cell.share, cell.z) for cell in cells if cell.z is not None]
    if not judged:
        raise ValueError(
            f"None of {wanted} cells holds {FEWEST_IN_CELL} of {len(fake)} fakes and a held-out example, but one at "
            "least must. Pass more fakes, or a smaller num_cells."
        )
    return DataCopying(sum(share * z for share, z in judged) / sum(share for share, _ in judged), tuple(cells))


def mann_whitney_z(a: Float[Tensor, " n"], b: Float[Tensor, " m"]) -> float:
    """How much larger values of a are than values of b, in standard deviations of U under equality; ties half.

    z = (U - nm/2) / sqrt(nm/12 · (n + m + 1 - Σ(t³ - t) / ((n + m)(n + m - 1)))) over groups of t equal values.

    >>> round(mann_whitney_z(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([4.0, 5.0, 6.0])), 4)
    -1.964
    """
    a, b = checked_vector("a", a), checked_vector("b", b)
    n, m = len(a), len(b)
    ordered = b.sort().values
    below, up_to = torch.searchsorted(ordered, a), torch.searchsorted(ordered, a, right=True)
    u = (below + up_to).sum().item() / 2
    ties = torch.cat([a, b]).unique(return_counts=True)[1].double()
    correction = ((ties**3 - ties).sum() / ((n + m) * (n + m - 1))).item()
    variance = n * m / 12 * (n + m + 1 - correction)
    return (u - n * m / 2) / variance**0.5 if variance > 0 else 0.0


def _ratios(queries: Tensor, train: Tensor, twins: Tensor | None) -> Tensor:
    """d₁ / d₂ of each query [N], where equal training examples count once."""
    distinct, which = train.unique(dim=0, return_inverse=True)
    if len(distinct) < 2:
        raise ValueError("train: all examples are equal, but at least 2 distinct ones are expected. Pass more.")
    if twins is not None:
        first = torch.empty(len(distinct), dtype=torch.long, device=train.device)
        first[which] = torch.arange(len(train), device=train.device)
        twins = twins[first]
    distances = nearest_neighbours(queries, distinct, k=2, mirrored=twins).distances
    nearest, second = distances[:, 0], distances[:, 1]
    return torch.where(nearest > 0, nearest / second, 0.0)


def _mirrors(mirrored: Tensor | None, train: Tensor) -> Tensor | None:
    if mirrored is None:
        return None
    (flat,) = _flat_sets(mirrored=mirrored)
    if flat.shape != train.shape:
        raise ValueError(
            f"mirrored: {len(flat)} examples of {flat.shape[1]} numbers were passed for {len(train)} training examples "
            f"of {train.shape[1]}, but the mirrored version of each is expected. Pass train.flip(-1), or its features."
        )
    return flat


def _flat_sets(**sets: Tensor) -> list[Tensor]:
    """The named sets as [N, D] in float64, all of the same width."""
    flat = {name: checked(name, x.flatten(1) if x.ndim > 2 else x) for name, x in sets.items()}
    (first, features), *others = flat.items()
    for name, other in others:
        check_same_width(first, features, name, other)
    return list(flat.values())
