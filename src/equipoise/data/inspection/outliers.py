"""Images unlike all others, by a rule that stays silent on a set whose images merely vary."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from equipoise.data.arrays import LUMA
from equipoise.data.inspection.findings import Finding, found
from equipoise.data.inspection.pictures import Facts, Pictures

FEWEST = 50
"""Of fewer images nobody can say what is usual."""
REACH = 6.0
"""How many times as far from the median as 90 % of the set on that side; of a normal distribution, 7.7 standard
deviations. The furthest of 100,000 photographs and digits were 4.4 times as far, noise among them 9 times."""
MOST = 0.01
"""Where more than this share stands out, that is how the set is, and nothing is said."""
COMPONENTS = 24

_SAMPLE = 4000


def outliers(pictures: Pictures, ignore: Iterable[str] = ()) -> Iterator[Finding]:
    """Images whose brightness, contrast, colour, fineness or shapes are far from those of the set.

    `ignore` names images that have a finding already. Each of six numbers x is judged by itself: an image stands out
    if x > median + 6 (q - median), where q is the quantile above which 10 % of the set lie, and likewise below.
    """
    skip = set(ignore)
    kept = np.array([number for number, one in enumerate(pictures.facts) if one.name not in skip], np.int64)
    if len(kept) < FEWEST:
        return
    facts = [pictures.facts[number] for number in kept]
    reasons: dict[int, list[tuple[str, float, float]]] = {}
    for name, (values, floor) in _features(pictures.thumbs[kept], facts).items():
        low, middle, high = np.quantile(values, [0.1, 0.5, 0.9])
        above = values - middle > REACH * np.maximum(high - middle, floor)
        below = middle - values > REACH * np.maximum(middle - low, floor)
        for number in np.flatnonzero(above | below):
            reasons.setdefault(int(number), []).append((name, float(values[number]), float(middle)))
    if len(reasons) > max(3, MOST * len(kept)):
        return
    for number, features in reasons.items():
        text = "; ".join(
            f"its {name} is {value:.2f}, the set's median {middle:.2f}" for name, value, middle in features
        )
        evidence = {name: round(value, 4) for name, value, _ in features}
        yield found("outlier", (facts[number].name,), text[:1].upper() + text[1:] + ".", evidence=evidence)


def _features(thumbs: np.ndarray, facts: Sequence[Facts]) -> dict[str, tuple[np.ndarray, float]]:
    """Six numbers for each image, and the smallest spread to reckon with, so that a set of twins accuses nobody."""
    colour = thumbs.astype(np.float32)  # [N, 16, 16, 3]
    grey = (colour @ np.array(LUMA, np.float32)).reshape(len(thumbs), -1)  # [N, 256]
    coarse = grey.std(axis=1)
    contrast = np.array([one.contrast for one in facts], np.float32)
    fineness = np.array([one.fineness for one in facts], np.float32)
    saturation = (colour.max(axis=3) - colour.min(axis=3)).mean(axis=(1, 2))

    shape = (grey - grey.mean(axis=1, keepdims=True)) / np.maximum(coarse, 1.0)[:, None]
    sample = shape[:: max(1, len(shape) // _SAMPLE)]
    # Twice: the first principal components of all would follow the outliers themselves.
    fitted = sample[_residual(sample, sample) <= np.quantile(_residual(sample, sample), 0.95)]
    return {
        "brightness": (grey.mean(axis=1), 8.0),
        "contrast (log)": (np.log(contrast + 1.0), 0.1),
        "fineness (log)": (np.log(fineness + 0.01), 0.1),
        "colour (log)": (np.log(saturation + 16.0), 0.1),
        "share of coarse structure (log)": (np.log((coarse + 1.0) / (contrast + 1.0)), 0.1),
        "share of unusual shapes (log)": (np.log(_residual(fitted, shape) + 0.01), 0.1),
    }


def _residual(sample: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """The share of each thumbnail's energy outside of the leading principal components of a sample, [N]."""
    middle = sample.mean(axis=0)
    _, basis = np.linalg.eigh((sample - middle).T @ (sample - middle))
    leading = basis[:, -COMPONENTS:]
    centred = shapes - middle
    rest = centred - (centred @ leading) @ leading.T
    return (rest**2).sum(axis=1) / np.maximum((centred**2).sum(axis=1), 1e-6)
