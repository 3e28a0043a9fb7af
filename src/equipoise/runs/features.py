"""A feature space made on the spot from the training data itself, and always called by its name in the results."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final, get_args

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

from equipoise.core.disk import disk_errors, replace_file
from equipoise.core.errors import CheckpointError, DataError
from equipoise.core.schedule import Schedule
from equipoise.core.seeding import generator, stable_seed
from equipoise.data.source import Source
from equipoise.networks.features import FeatureNet, Features
from equipoise.runs.extractors import Answers

Kind = Literal["classifier", "rotation", "random", "coordinates"]

BATCH = 64
FORMAT = 1


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class FeatureExtractor:
    """Examples to features [N, F], and to class scores [N, K] where the data has classes. Made by `fit_feature_net`.

    `kind` says what the features are: the penultimate layer of a "classifier", of a network that tells by which
    "rotation" an image was turned (Gidaris et al. 2018), of a "random" network, or the "coordinates" of points of at
    most three dimensions themselves. `accuracy` is the share of held-out examples that the network gets right.
    """

    kind: Kind
    source: str
    shape: tuple[int, ...]
    class_names: tuple[str, ...]
    net: FeatureNet | None
    accuracy: float | None

    @property
    def name(self) -> str:
        """What results in this feature space are called, such as "classifier[digits, 64-d, 99.4 % on held-out]"."""
        size = self.shape[0] if self.net is None or self.kind == "coordinates" else self.net.num_features
        score = "" if self.accuracy is None else f", {100 * self.accuracy:.1f} % on held-out"
        return f"{self.kind}[{self.source}, {size}-d{score}]"

    @property
    def weights(self) -> str | None:
        """SHA-256 of its weights; None of one that has none."""
        return fingerprint(self)

    @property
    def resizer(self) -> None:
        """None: examples are looked at as they are."""
        return None

    def answers(self, x: Tensor, batch: int = 256) -> Answers:
        """Features [N, F] of examples [N, *shape] and, where the data has classes, class scores [N, K].

        Both are float32 on the CPU, computed `batch` at a time.
        """
        self._check(x)
        points = x.detach().float().cpu()
        if self.net is None:
            return Answers(points, None)
        found = _answers(self.net, x, batch)
        features = points if self.kind == "coordinates" else found.features
        return Answers(features, found.classes if self.class_names else None)

    def features(self, x: Tensor, batch: int = 256) -> Tensor:
        """Features [N, F] of examples [N, *shape], float32 on the CPU, computed `batch` at a time."""
        if self.kind == "coordinates":  # without asking the network
            self._check(x)
            return x.detach().float().cpu()
        return self.answers(x, batch).features

    def classes(self, x: Tensor, batch: int = 256) -> Tensor | None:
        """Class scores [N, K] of examples [N, *shape], float32 on the CPU; None where the data has no classes."""
        return self.answers(x, batch).classes

    def _check(self, x: Tensor) -> None:
        if tuple(x.shape[1:]) != self.shape or len(x) == 0:
            raise ValueError(
                f"Examples of shape {list(x.shape)} were passed to {self.name}, but at least one of shape "
                f"{list(self.shape)} is expected. Pass examples of that shape, or fit a feature network to such data."
            )


def fit_feature_net(
    source: Source,
    *,
    held_out: Source | None = None,
    seed: int = 0,
    num_steps: int | None = None,
    device: torch.device | str = "cpu",
) -> FeatureExtractor:
    """Fit a feature network to the data, in seconds to minutes: a classifier where there are labels.

    Without labels, images are turned and the network learns to tell by how much, and vectors pass through a random
    network. Points of up to three dimensions are their own features. `num_steps` None means 20 passes over the data,
    but at least 200 and at most 1500 steps of 64 examples. `held_out` is only used to state the accuracy. The result
    is decided by data, seed and number of steps; the global random state is neither used nor changed.

    >>> from equipoise.data.toy import ring
    >>> fit_feature_net(ring().source(500), num_steps=20).name
    'coordinates[ring, 2-d]'
    """
    if len(source) < 2:
        raise DataError(f"{source.name} has {len(source)} examples, but at least 2 are expected. Add more data.")
    if num_steps is not None and num_steps < 1:
        raise ValueError(f"num_steps={num_steps} was passed, but at least 1 is expected. Leave it out.")
    if held_out is not None and (held_out.shape, held_out.classes) != (source.shape, source.classes):
        raise DataError(
            f"{held_out.name} has shape {list(held_out.shape)} and classes {list(held_out.classes)}, but those of "
            f"{source.name}, {list(source.shape)} and {list(source.classes)}, are expected. "
            "Hold out a part of the same data."
        )
    shape = source.shape
    class_names = source.classes if len(source.classes) > 1 else ()
    kind = _kind(shape, class_names)
    net, accuracy = None, None
    if kind != "coordinates" or class_names:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(stable_seed(seed, "features/weights"))
            net = FeatureNet(shape, _num_outputs(shape, class_names))
        net.to(device)
        with torch.enable_grad():
            _fit(net, source, kind, num_steps or min(max(20 * len(source) // BATCH, 200), 1500), seed)
        net.eval().requires_grad_(False)
        accuracy = None if held_out is None or kind == "random" else _accuracy(net, held_out, kind)
    return FeatureExtractor(
        kind=kind, source=source.name, shape=shape, class_names=class_names, net=net, accuracy=accuracy
    )


def save(extractor: FeatureExtractor, folder: Path | str) -> None:
    """Write the extractor into the folder as extractor.json and, where there is a network, extractor.safetensors."""
    folder = Path(folder)
    weights = stored_weights(extractor)
    card = {
        "format": FORMAT,
        "kind": extractor.kind,
        "source": extractor.source,
        "shape": list(extractor.shape),
        "class_names": list(extractor.class_names),
        "accuracy": extractor.accuracy,
        "weights_sha256": None if weights is None else hashlib.sha256(weights).hexdigest(),
    }
    with disk_errors("saving the feature network", folder, num_bytes=len(weights or b"")):
        folder.mkdir(parents=True, exist_ok=True)
        if weights is not None:
            replace_file(folder / "extractor.safetensors", weights)
        replace_file(folder / "extractor.json", json.dumps(card, indent=2, ensure_ascii=False).encode())


def fingerprint(extractor: FeatureExtractor) -> str | None:
    """The SHA-256 of its weights; None of one that has none."""
    weights = stored_weights(extractor)
    return None if weights is None else hashlib.sha256(weights).hexdigest()


def stored_weights(extractor: FeatureExtractor) -> bytes | None:
    """The weights as they are written; None where there is no network."""
    if extractor.net is None:
        return None
    state = {name: tensor.cpu().contiguous() for name, tensor in extractor.net.state_dict().items()}
    return safetensors.torch.save(state)


def load(folder: Path | str, *, device: torch.device | str = "cpu") -> FeatureExtractor:
    """Read an extractor that `save` wrote. A `CheckpointError` where it is missing, damaged or of another format."""
    folder = Path(folder)
    try:
        card = json.loads((folder / "extractor.json").read_text(encoding="utf-8"))
        if card["format"] != FORMAT or card["kind"] not in get_args(Kind):
            raise ValueError(f"format {card['format']!r} of kind {card['kind']!r}, expected format {FORMAT}")
        shape, class_names = tuple(card["shape"]), tuple(card["class_names"])
        net = None
        if card["weights_sha256"] is not None:
            weights = (folder / "extractor.safetensors").read_bytes()
            if hashlib.sha256(weights).hexdigest() != card["weights_sha256"]:
                raise ValueError("extractor.safetensors does not match its checksum")
            with torch.random.fork_rng(devices=[]):
                net = FeatureNet(shape, _num_outputs(shape, class_names))
            net.load_state_dict(safetensors.torch.load(weights))
            net.to(device).eval().requires_grad_(False)
        return FeatureExtractor(
            kind=card["kind"],
            source=card["source"],
            shape=shape,
            class_names=class_names,
            net=net,
            accuracy=card["accuracy"],
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder}: no feature network can be read ({error}). Expected extractor.json and extractor.safetensors as "
            "they were saved. Fit it again."
        ) from error


def _kind(shape: tuple[int, ...], class_names: tuple[str, ...]) -> Kind:
    if len(shape) == 1 and shape[0] <= 3:
        return "coordinates"
    if class_names:
        return "classifier"
    return "rotation" if len(shape) == 3 else "random"


def _turns(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The quarter turns to be told apart: all four, or the half turn where others would change the image's shape."""
    return (0, 1, 2, 3) if shape[-2] == shape[-1] else (0, 2)


def _num_outputs(shape: tuple[int, ...], class_names: tuple[str, ...]) -> int:
    if class_names:
        return len(class_names)
    return len(_turns(shape)) if len(shape) == 3 else 1


def _fit(net: FeatureNet, source: Source, kind: Kind, num_steps: int, seed: int) -> None:
    device = next(net.parameters()).device
    optimizer = torch.optim.Adam(net.parameters())
    rate = Schedule(start=3e-3, end=0.0, shape="cosine", warmup=0.1)
    loss = torch.zeros(())
    for step in range(num_steps):
        draw = generator(seed, "features/batch", step)
        indices = torch.randint(len(source), (BATCH,), generator=draw)
        x, targets = _task(source, indices, kind, turn=torch.randint(4, (BATCH,), generator=draw))
        x = _shifted(x.to(device), draw) if x.ndim == 4 else x.to(device)
        classes = net(x).classes
        if kind == "random":
            continue  # the forward pass alone gives the normalisations the scale of the data
        loss = cross_entropy(classes, targets.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = rate.at(step / num_steps)
        optimizer.step()
    if not loss.isfinite():
        raise DataError(
            f"{source.name}: a feature network fitted to it became {loss.item()}, but finite examples are expected. "
            "Look for NaN or infinity in the data."
        )


def _task(source: Source, indices: Tensor, kind: Kind, *, turn: Tensor) -> tuple[Tensor, Tensor]:
    """Examples and what to say about each: its class, or which of the turns it was given."""
    x = source.examples(indices)
    if kind != "rotation":
        return x, source.labels(indices) if source.classes else torch.zeros_like(indices)
    turns = _turns(tuple(x.shape[1:]))
    targets = turn % len(turns)
    turned = torch.stack([torch.rot90(image, turns[target], (1, 2)) for image, target in zip(x, targets.tolist())])
    return turned, targets


def _shifted(x: Tensor, draw: torch.Generator) -> Tensor:
    """Images moved by up to an eighth of each side, the border repeated."""
    n, c, h, w = x.shape
    top = torch.randint(2 * (h // 8) + 1, (n, 1), generator=draw)
    left = torch.randint(2 * (w // 8) + 1, (n, 1), generator=draw)
    rows, columns = (top + torch.arange(h)).to(x.device), (left + torch.arange(w)).to(x.device)  # [N, H], [N, W]
    padded = pad(x, (w // 8, w // 8, h // 8, h // 8), mode="replicate")
    image, channel = torch.arange(n, device=x.device), torch.arange(c, device=x.device)
    return padded[image[:, None, None, None], channel[:, None, None], rows[:, None, :, None], columns[:, None, None, :]]


def _accuracy(net: FeatureNet, held_out: Source, kind: Kind) -> float:
    """The share of all held-out examples that are classified rightly; images to be turned are judged in every turn."""
    num_right, num_asked = 0, 0
    device = next(net.parameters()).device
    for indices in torch.arange(len(held_out)).split(256):
        for turn in range(len(_turns(tuple(held_out.shape))) if kind == "rotation" else 1):
            x, targets = _task(held_out, indices, kind, turn=torch.full_like(indices, turn))
            num_right += int((net(x.to(device)).classes.argmax(1) == targets.to(device)).sum())
            num_asked += len(indices)
    return num_right / num_asked


@torch.no_grad()
def _answers(net: FeatureNet, x: Tensor, batch: int) -> Features:
    device = next(net.parameters()).device
    answers = [net(part.to(device, torch.float32)) for part in x.split(batch)]
    return Features(*(torch.cat(parts).cpu() for parts in zip(*answers)))
