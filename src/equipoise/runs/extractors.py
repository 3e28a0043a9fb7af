"""Feature spaces from elsewhere: the Inception of published scores, or any network that a Python file makes."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, cast, final

import torch
from torch import Tensor, nn

from equipoise.core.errors import RecipeError
from equipoise.metrics.inception import FIDInception, Resizer, inception_answers, load_inception
from equipoise.metrics.provenance import content_hash
from equipoise.runs.loading import is_python_recipe, python_object

INCEPTION = "inception:"


class Answers(NamedTuple):
    """Features [N, D], and class scores [N, K] where the network knows classes."""

    features: Tensor
    classes: Tensor | None


class Extractor(Protocol):
    """What examples are measured through."""

    @property
    def name(self) -> str:
        """What results in this feature space are called."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes of the data, where the network knows them."""
        ...

    @property
    def accuracy(self) -> float | None:
        """The share of held-out examples of which it knows the class."""
        ...

    @property
    def weights(self) -> str | None:
        """SHA-256 of its weights, or of the file that makes it and its weights; None of one that has neither."""
        ...

    @property
    def resizer(self) -> str | None:
        """How examples are brought to its size; None where they are not, or nobody knows."""
        ...

    def answers(self, x: Tensor, batch: int = 256) -> Answers:
        """Of examples [N, *shape], float32 on the CPU, computed `batch` at a time."""
        ...


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Inception:
    """The network that published FID, KID and Inception Scores are computed with. Made by `extractor_of`."""

    net: FIDInception
    weights: str
    resizer: Resizer
    name: str = "inception-2015-12-05"
    class_names: tuple[str, ...] = ()
    accuracy: float | None = None

    def answers(self, x: Tensor, batch: int = 32) -> Answers:
        """See `Extractor`. Images only; the class scores are those of ImageNet, without the last bias."""
        found = inception_answers(self.net, x, resizer=self.resizer, batch=min(batch, 32))
        return Answers(found.features, found.unbiased_logits)


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Foreign:
    """A function from examples to features [N, D]. Made by `extractor_of`."""

    name: str
    function: Callable[[Tensor], Tensor]
    weights: str | None
    resizer: str | None = None
    class_names: tuple[str, ...] = ()
    accuracy: float | None = None

    @torch.no_grad()
    def answers(self, x: Tensor, batch: int = 256) -> Answers:
        """See `Extractor`. Raises `RecipeError` unless it answers one vector of finite numbers for each example."""
        found = []
        for part in x.split(batch):
            try:
                features = self.function(part)
            except Exception as error:
                raise RecipeError(f"{self.name} stops with {type(error).__name__}: {error}") from error
            if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != len(part):
                what = list(features.shape) if isinstance(features, Tensor) else type(features).__name__
                raise RecipeError(f"{self.name} answered {what} to {list(part.shape)}: expected features [N, D].")
            if not features.isfinite().all():
                bad = int((~features.isfinite()).any(1).sum())
                raise RecipeError(f"{self.name} answered NaN or infinity to {bad} of {len(part)} examples.")
            found.append(features.float().cpu())
        return Answers(torch.cat(found), None)


def extractor_of(name: str, *, resizer: Resizer = "bilinear-tf1") -> Extractor:
    """The feature space of a name: "inception:FILE" with the weights of FID in a file, or "FILE.py:FUNCTION".

    The function takes nothing and returns a network, or any function, from images [N, C, H, W] in [-1, 1] to features
    [N, D]: a backbone of timm or torchvision with what it needs before, its weights read from a file of yours. Raises
    `CheckpointError` for other weights, `RecipeError` for anything else.
    """
    if name.startswith(INCEPTION):
        path = Path(name.removeprefix(INCEPTION)).expanduser()
        net = load_inception(path)
        return Inception(net=net, weights=hashlib.sha256(path.read_bytes()).hexdigest(), resizer=resizer)
    if not is_python_recipe(name):
        raise RecipeError(f"Features {name!r}: expected {INCEPTION}FILE with the weights of FID, or FILE.py:FUNCTION.")
    made = python_object(name, "a network from images to features")
    if not callable(made):
        raise RecipeError(f"{name} returned a {type(made).__name__}: expected a network or function.")
    function = cast(Callable[[Tensor], Tensor], made)
    file, _, inside = name.rpartition(":")
    digest = hashlib.sha256(Path(file).read_bytes())  # two files of one name are two feature spaces
    if isinstance(made, nn.Module):
        for _, tensor in sorted(made.eval().state_dict().items()):
            digest.update(content_hash(tensor).encode())
    return Foreign(name=f"{Path(file).name}:{inside}", function=function, weights=digest.hexdigest())
