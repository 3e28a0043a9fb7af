"""Scores by name: what they are of, which way is better, and those that a game measures in a way of its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

OF_SAMPLES = ("fid", "kid", "precision", "recall", "density", "coverage")
OF_PICTURES = ("psnr", "ssim", "perceptual")
"""Metrics of generated examples, and of restored pictures."""
LOWER = ("fid", "kid", "perceptual", "content", "style", "fid_real", "kid_real", "fid_a", "error")
"""Metrics of which less is better; of the others, more is."""
TITLES = {
    "fid": "FID",
    "kid": "KID",
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
    "perceptual": "perceptual distance",
    "dice": "Dice",
    "iou": "IoU",
    "domain": "taken for the target domain",
    "kept": "content kept",
    "fid_real": "FID of real pictures",
    "kid_real": "KID of real pictures",
    "domain_real": "real pictures taken for the target domain",
    "content": "content distance",
    "style": "style distance",
    "strokes": "patches taken for the style",
    "mean_score": "mean score of the tasks",
    "fid_a": "FID of the first domain",
    "domain_a": "taken for the first domain",
    "worst_class": "accuracy on the worst class",
}
"""As people read them; names that are not here are read as they are."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What a game measured of itself, with what stands beside it."""

    values: Mapping[str, float]
    beside: Mapping[str, float]
    """Of what was given, of the data itself: what the values are to be compared with, where there is such a thing."""
    of: str
    """What `beside` is of, such as "untranslated"."""
    data: str
    num: int
    """Pictures that were answered."""
    features: str
    """The network that judged; scores through different ones do not compare."""
    more: Mapping[str, Any]
    """What else the scores depend on."""
    found: Mapping[str, Any] = field(default_factory=dict)
    """What was found beside the scores, such as a confusion matrix."""
    generated: bool = False
    """Whether the game makes examples from latents, rather than answering pictures."""

    def provenance(self) -> dict[str, Any]:
        """What the scores depend on beside the answers."""
        return {"features": self.features, "data": self.data, "num_fake": self.num, "num_real": self.num, **self.more}

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries, numbers and strings."""
        scores = {"values": dict(self.values), "given": dict(self.beside), "given_is": self.of}
        found: dict[str, Any] = {"found": dict(self.found)} if self.found else {}
        found |= {"generated": True} if self.generated else {}
        return {**self.provenance(), **scores, **found, "provenance": self.provenance()}
