"""How good the fakes are: every metric against held-out reals, beside what other reals reach in their place."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from equipoise.core.errors import RecipeError
from equipoise.core.seeding import shuffled
from equipoise.metrics.bins import different_bins
from equipoise.metrics.cautions import cautions
from equipoise.metrics.classes import inception_score
from equipoise.metrics.confidence import Interval, interval_of_metric
from equipoise.metrics.distribution import density_coverage, frechet_distance, kernel_distance, precision_recall
from equipoise.metrics.image_quality import MS_SSIM_WEIGHTS, pair_similarity
from equipoise.metrics.memorisation import Memorisation
from equipoise.metrics.projections import sliced_wasserstein
from equipoise.metrics.provenance import Provenance, content_hash
from equipoise.runs.extractors import Answers, Extractor

FEWEST = 10
SMALLEST_SIDE = 11
"""Of the coarsest scale at which the structure of images is compared."""
Better = Literal["lower", "higher", "equal"]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """One set of examples measured against the held-out reals; see `equipoise.metrics.distribution` for each."""

    fid: float
    kid: float
    kid_std: float
    precision: float
    recall: float
    density: float
    coverage: float


class Row(NamedTuple):
    """One line of a table of results."""

    name: str
    value: float
    floor: float | None
    better: Better
    """"equal": as near to the floor as can be."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The scores of the fakes, and the floor: the scores of as many real training examples in their place.

    The floor is what the data reaches itself. Precision and density above it mean that the fakes keep to what is
    typical of the reals.
    """

    feature_space: str
    """The name of the extractor. Scores of different feature spaces cannot be compared."""
    num_samples: int
    """How many held-out reals, how many fakes and how many training examples were compared."""
    fake: Scores
    floor: Scores
    class_shares: dict[str, float] | None
    """The share of the fakes that the classifier gives to each class; None without classes."""
    real_class_shares: dict[str, float] | None
    """The same for the held-out reals."""
    agreement: float | None
    """The share of the fakes classified as the class that was requested; None where none was requested."""
    agreement_floor: float | None
    """The share of held-out reals that the classifier gets right, where it is known."""
    provenance: Provenance
    """What all of these numbers rest on; two evaluations of different provenance cannot be compared."""
    fid_interval: Interval | None = None
    """In which other samples of the same size would find FID, 95 times of 100."""
    cautions: tuple[str, ...] = ()
    """What to beware of in these numbers."""
    memorisation: Memorisation | None = None
    """Whether fakes are copies of training examples; None where nobody looked."""
    further: tuple[Row, ...] = ()
    """Metrics that only a thorough evaluation takes the time for."""

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries, numbers and strings."""
        found = None if self.memorisation is None else self.memorisation.to_json()
        interval = None if self.fid_interval is None else self.fid_interval._asdict()
        further = [row._asdict() for row in self.further]
        return {**asdict(self), "fid_interval": interval, "memorisation": found, "further": further}


def evaluate(
    extractor: Extractor,
    real_held_out: Tensor,
    *,
    fake: Tensor,
    real_train: Tensor,
    requested: Tensor | None = None,
    seed: int = 0,
    thorough: bool = False,
) -> Evaluation:
    """Measure fakes [N, *shape] against held-out reals [M, *shape], with training examples [L, *shape] as the floor.

    Sets of different sizes are cut to the smallest by a draw that `seed` decides, because the scores depend on size.
    `requested` int64 [N] are the classes that the fakes should show. A `thorough` evaluation also says how much FID
    would move with other samples, and takes further metrics. Raises `ValueError` for too few examples or such that are
    not finite, `RecipeError` for features that are the same for all.

    >>> from equipoise.data.toy import ring
    >>> from equipoise.runs.features import fit_feature_net
    >>> reals = ring().sample(300, seed=0)
    >>> extractor = fit_feature_net(ring().source(200), num_steps=20)
    >>> collapsed = evaluate(extractor, reals[:100], fake=reals[:1].repeat(100, 1), real_train=reals[100:])
    >>> collapsed.num_samples, collapsed.fake.coverage < collapsed.floor.coverage
    (100, True)
    """
    sets = {"real_held_out": real_held_out, "fake": fake, "real_train": real_train}
    for name, examples in sets.items():
        if len(examples) < FEWEST:
            raise ValueError(f"{name}: {len(examples)} examples were passed, but {FEWEST} are needed. Pass more.")
        bad = int((~examples.isfinite()).flatten(1).any(1).sum())
        if bad:
            raise ValueError(
                f"{name}: {bad} of {len(examples)} examples hold NaN or infinity, but all values must be finite. "
                "Evaluate an earlier checkpoint, or leave those examples out."
            )
    if requested is not None and (requested.shape != (len(fake),) or not extractor.class_names):
        raise ValueError(
            f"requested: class numbers of shape {list(requested.shape)} were passed for {len(fake)} fakes and "
            f"{len(extractor.class_names)} classes of {extractor.name}, but one of each fake is expected. "
            "Leave it out where there are no classes."
        )
    n = min(map(len, sets.values()))
    order = {name: shuffled(len(examples), seed, "evaluation", name)[:n] for name, examples in sets.items()}
    drawn = {name: examples[order[name].to(examples.device)] for name, examples in sets.items()}
    held_out, fakes, others = (extractor.answers(drawn[name]) for name in ("real_held_out", "fake", "real_train"))
    if (held_out.features == held_out.features[0]).all():
        raise RecipeError(
            f"{extractor.name} has the same features for all of {n} held-out examples, so that its scores would say "
            "nothing: expected features that tell examples apart. Measure in others, by --features."
        )
    named = bool(extractor.class_names)
    agreement = None
    if requested is not None and fakes.classes is not None:
        agreement = (fakes.classes.argmax(1) == requested.cpu()[order["fake"]]).double().mean().item()
    return Evaluation(
        feature_space=extractor.name,
        num_samples=n,
        fake=_scores(held_out.features, fakes.features, seed),
        floor=_scores(held_out.features, others.features, seed),
        class_shares=_shares(fakes.classes, extractor.class_names) if named else None,
        real_class_shares=_shares(held_out.classes, extractor.class_names) if named else None,
        agreement=agreement,
        agreement_floor=None if agreement is None else extractor.accuracy,
        provenance=Provenance(
            features=extractor.name,
            weights=extractor.weights,
            resizer=extractor.resizer,
            num_real=n,
            num_fake=n,
            reference=content_hash(drawn["real_held_out"]),
            seed=seed,
        ),
        fid_interval=interval_of_metric(frechet_distance, held_out.features, fakes.features) if thorough else None,
        cautions=tuple(
            sentence
            for metric in ("FID", "KID", "precision and recall")
            for sentence in cautions(metric, num_real=n, num_fake=n, num_features=held_out.features.shape[1])
        ),
        further=tuple(_further(drawn, held_out, fakes, others, seed)) if thorough else (),
    )


def rows(evaluation: Evaluation) -> list[Row]:
    """The table of an evaluation: FID, KID, precision and recall, density and coverage, agreement, and the further."""
    fake, floor = evaluation.fake, evaluation.floor
    table = [
        Row("FID", fake.fid, floor.fid, "lower"),
        Row("KID", fake.kid, floor.kid, "lower"),
        Row("precision", fake.precision, floor.precision, "higher"),
        Row("recall", fake.recall, floor.recall, "higher"),
        Row("density", fake.density, floor.density, "higher"),
        Row("coverage", fake.coverage, floor.coverage, "higher"),
    ]
    if evaluation.agreement is not None:
        table.append(Row("agreement", evaluation.agreement, evaluation.agreement_floor, "higher"))
    return [*table, *evaluation.further]


def _scores(real: Tensor, other: Tensor, seed: int) -> Scores:
    kernel = kernel_distance(real, other, seed=seed)
    precision, recall = precision_recall(real, other)
    density, coverage = density_coverage(real, other)
    return Scores(
        fid=frechet_distance(real, other),
        kid=kernel.mean,
        kid_std=kernel.std,
        precision=precision,
        recall=recall,
        density=density,
        coverage=coverage,
    )


def _further(
    drawn: Mapping[str, Tensor], held_out: Answers, fakes: Answers, others: Answers, seed: int
) -> Iterator[Row]:
    """Sliced Wasserstein distance and bins of the features, Inception Score of the classes, variety of the images."""
    real, fake, floor = (answers.features for answers in (held_out, fakes, others))
    away, away_floor = (sliced_wasserstein(real, x, seed=seed) for x in (fake, floor))
    yield Row("sliced Wasserstein", away, away_floor, "lower")
    num_bins = min(100, len(real) // 10, len(real.unique(dim=0)))
    if num_bins >= 2:
        bins, bins_floor = (
            different_bins(real, x, num_bins=num_bins, seed=seed).share_different for x in (fake, floor)
        )
        yield Row(f"NDB / {num_bins}", bins, bins_floor, "lower")
    if fakes.classes is not None and others.classes is not None:
        num_splits = 10 if len(fake) >= 5000 else 1
        score, score_floor = (
            inception_score(answers.classes.softmax(1), num_splits=num_splits, seed=seed).mean
            for answers in (fakes, others)
            if answers.classes is not None
        )
        yield Row("Inception Score", score, score_floor, "higher")
    images, reals = drawn["fake"], drawn["real_train"]
    if images.ndim == 4 and min(images.shape[2:]) >= SMALLEST_SIDE:
        num_scales = 1
        while num_scales < len(MS_SSIM_WEIGHTS) and min(images.shape[2:]) / 2**num_scales >= SMALLEST_SIDE:
            num_scales += 1
        weights = [weight / sum(MS_SSIM_WEIGHTS[:num_scales]) for weight in MS_SSIM_WEIGHTS[:num_scales]]
        alike, alike_floor = (pair_similarity(x.clamp(-1, 1), seed=seed, weights=weights) for x in (images, reals))
        yield Row(f"MS-SSIM of pairs, {num_scales} scale{'s' * (num_scales > 1)}", alike, alike_floor, "equal")


def _shares(scores: Tensor | None, class_names: tuple[str, ...]) -> dict[str, float] | None:
    if scores is None:
        return None
    shares = torch.bincount(scores.argmax(1), minlength=len(class_names)).double() / len(scores)
    return dict(zip(class_names, shares.tolist()))
