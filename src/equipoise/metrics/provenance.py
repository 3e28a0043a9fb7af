"""What a measured number rests on; numbers are compared only where they rest on the same."""

import hashlib
import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor

from equipoise.core.errors import nearest
from equipoise.metrics.confidence import Interval


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Everything that decides whether two numbers of one metric may be compared."""

    features: str
    """What examples were seen through, such as "pixels", "inception-2015-12-05" or the name of a fitted network."""
    num_real: int
    num_fake: int
    reference: str
    """The hash of the reals, from `content_hash`."""
    seed: int
    """Of the draw of subsets, directions and latents."""
    resizer: str | None = None
    """How images were brought to the size of the feature network; None where they were not."""
    weights: str | None = None
    """The SHA-256 of the feature network's weights; None where there are none."""
    settings: tuple[tuple[str, str | int | float], ...] = ()
    """What else the metric was told, by name, such as (("k", 5),)."""

    def __post_init__(self):
        # Order says nothing, and JSON has no tuples.
        object.__setattr__(self, "settings", tuple(sorted((str(name), value) for name, value in self.settings)))


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A number with its name, what it rests on, what to beware of and, where known, its sampling error."""

    name: str
    value: float
    provenance: Provenance
    interval: Interval | None = None
    cautions: tuple[str, ...] = ()

    def to_json(self) -> str:
        """One line of JSON, from which `from_json` makes an equal object."""
        values = asdict(self)
        values["interval"] = None if self.interval is None else self.interval._asdict()
        return json.dumps(values)

    @staticmethod
    def from_json(text: str) -> "Measured":
        """What `to_json` wrote. Raises ValueError for anything else."""
        try:
            values: dict[str, Any] = json.loads(text)
            interval = values.pop("interval")
            provenance = Provenance(**values.pop("provenance"))
            return Measured(
                provenance=provenance,
                interval=None if interval is None else Interval(**interval),
                cautions=tuple(values.pop("cautions")),
                **values,
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f"No measured number can be read ({type(error).__name__}: {error}). Expected what Measured.to_json "
                "wrote. Measure again."
            ) from error


class Comparison(NamedTuple):
    """`difference` is a - b; `apart` says that the intervals do not overlap (None: one has no interval)."""

    difference: float
    apart: bool | None


def compared(a: Measured, b: Measured, *, ignoring: Collection[str] = ()) -> Comparison:
    """Compare two numbers of the same metric and the same provenance; others are refused, with all differences named.

    `ignoring` names fields of `Provenance` that may differ, such as ("seed",) for two trainings of the same setting.

    >>> on = Provenance(features="pixels", num_real=100, num_fake=100, reference="1f0e", seed=0)
    >>> compared(Measured(name="FID", value=9.0, provenance=on), Measured(name="FID", value=7.5, provenance=on))
    Comparison(difference=1.5, apart=None)
    """
    names = [field.name for field in fields(Provenance)]
    for name in ignoring:
        if name not in names:
            raise ValueError(f"ignoring={name!r} is no part of the provenance. {nearest(name, names)}")
    differences = [] if a.name == b.name else [f"name {a.name!r} and {b.name!r}"]
    for name in names:
        one, other = getattr(a.provenance, name), getattr(b.provenance, name)
        if name not in ignoring and one != other:
            differences.append(f"{name} {one!r} and {other!r}")
    if differences:
        raise ValueError(
            f"{a.name}={a.value:.6g} and {b.name}={b.value:.6g} cannot be compared: they differ in "
            f"{'; '.join(differences)}. Measure both in the same way."
        )
    apart = None
    if a.interval is not None and b.interval is not None:
        apart = a.interval.low > b.interval.high or b.interval.low > a.interval.high
    return Comparison(a.value - b.value, apart)


def content_hash(examples: Tensor) -> str:
    """SHA-256 of a tensor's type, shape and values: the name of a set of examples or features.

    >>> content_hash(torch.zeros(2)) == content_hash(torch.zeros(2)) != content_hash(torch.zeros(2, 1))
    True
    """
    x = examples.detach().cpu().contiguous()
    digest = hashlib.sha256(f"{x.dtype} {list(x.shape)}\n".encode())
    digest.update(x.view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
