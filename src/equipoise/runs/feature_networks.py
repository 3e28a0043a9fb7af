"""Networks whose layers images are compared through: VGG from a local file, or a small one fitted on the spot."""

import copy
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, final

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.nn.functional import cross_entropy

from equipoise.core.disk import replace_file
from equipoise.core.errors import DataError
from equipoise.core.schedule import Schedule
from equipoise.core.seeding import generator, stable_seed
from equipoise.data.inspection.cache import cache_folder
from equipoise.data.source import Source
from equipoise.metrics.weights import check_keys, read_weights
from equipoise.networks.vgg import SMALL_DEPTHS, SMALL_TAPS, VGG, Kind, Pooling, SmallVGG, checked_taps, layer_names

BATCH = 64
WINDOW = 64
"""Images are fitted to through windows of at most that many pixels."""
FORMAT = 1
"""To be raised when the network, or how it is fitted, changes: what was fitted otherwise is not remembered."""


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class FeatureNetwork:
    """A frozen network from images [N, C, H, W] in [-1, 1] to a tuple of layers. Made by the functions below.

    Gradients flow to the images and not into the weights. `name` is a part of every number that is computed through it;
    `weights` is a SHA-256 that tells its weights from all others. It works where `net` is: `net.to(device)` moves it.
    """

    name: str
    weights: str
    net: VGG | SmallVGG
    accuracy: float | None = None
    """The share of held-out examples that it classified rightly; None where that is not known."""

    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        return self.net(images)


def vgg_from_file(
    path: Path | str, kind: Kind, taps: Sequence[str], *, sha256: str | None = None, pooling: Pooling = "max"
) -> FeatureNetwork:
    """VGG-16 or VGG-19 with torchvision's weights in a local file; nothing is downloaded.

    The state dict vgg16-397923af.pth or vgg19-dcbb9e9d.pth, of which the classifier is left out; the name ends in the
    beginning of the SHA-256, and `sha256`, where it is given, must be that of the file or its beginning. The network is
    called such as "vgg19[conv5_4, sha dcbb9e9d]", and `weights` is the SHA-256 of the file. Raises CheckpointError for
    a missing file, another hash or other tensors, ValueError for layers that there are not.
    """
    path = Path(path).expanduser()
    with torch.random.fork_rng(devices=[]):
        net = VGG(kind, taps, pooling=pooling)
    weights = read_weights(path, sha256=sha256)
    features = {name: value for name, value in weights.items() if not name.startswith("classifier.")}
    with torch.device("meta"):
        whole = VGG(kind, ("pool5",))
    check_keys(f"torchvision's {kind}", features, whole.state_dict())
    net.load_state_dict({name: features[name] for name in net.state_dict()})
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    parts = [" ".join(net.taps), *(["average pooling"] if pooling == "average" else []), f"sha {digest[:8]}"]
    return FeatureNetwork(name=f"{kind}[{', '.join(parts)}]", weights=digest, net=net.eval().requires_grad_(False))


def fit_small_vgg(
    source: Source,
    *,
    held_out: Source | None = None,
    seed: int = 0,
    num_steps: int | None = None,
    width: int = 32,
    taps: Sequence[str] = SMALL_TAPS,
) -> FeatureNetwork:
    """Fit a `SmallVGG` to images, in minutes, and remember it in the user's cache folder.

    It learns the classes of the images; where there are none, to tell by how much an image was turned (Gidaris et al.
    2018). Larger images are seen through windows of 64 × 64 pixels at their own scale. `num_steps` None means 20 passes
    over the data, but at least 200 and at most 1500 steps of 64 examples. `held_out` is only used to state the accuracy
    (of the window in the middle). It is fitted on the device on which the source answers, and stays there. The result
    is decided by data, width, seed and number of steps; the global random state is neither used nor changed.

    The network is called such as "small-vgg[cifar10, 55.8 % on held-out, sha c280ad63]", with its taps where they are
    other than the usual ones. A network in the cache that is damaged is fitted again. Raises DataError for anything but
    at least two images with sides of at least 4, and for a held-out part of other data.
    """
    _check(source, held_out)
    if num_steps is not None and num_steps < 1:
        raise ValueError(f"num_steps={num_steps} was passed, but at least 1 is expected. Leave it out.")
    taps = checked_taps(taps, layer_names(SMALL_DEPTHS)[:-1])
    num_steps = num_steps or min(max(20 * len(source) // BATCH, 200), 1500)
    settings = {
        "format": FORMAT,
        "source": source.fingerprint,
        "held_out": None if held_out is None else held_out.fingerprint,
        "seed": seed,
        "num_steps": num_steps,
        "width": width,
    }
    num_classes = len(source.classes) if len(source.classes) > 1 else 0
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(stable_seed(seed, "small-vgg/weights"))
        net = SmallVGG(
            num_classes or len(_turns(source.shape)), source.shape[0], width=width, taps=taps, batch_norm=True
        )
    net.to(source.examples(torch.zeros(1, dtype=torch.int64)).device)

    entry = cache_folder().parent / "feature-networks" / f"{_digest(json.dumps(settings).encode())}.json"
    found = _remembered(entry, settings, net)
    if found is None:
        with torch.enable_grad():
            _fit(net, source, num_steps, seed)
        net.fold()
        accuracy = None if held_out is None else _accuracy(net, held_out)
        digest = _remember(entry, settings, net, accuracy)
    else:
        net, accuracy, digest = found
    parts = [
        source.name,
        *([] if num_classes else ["rotation"]),
        *([] if taps == SMALL_TAPS else [" ".join(taps)]),
        *([] if accuracy is None else [f"{100 * accuracy:.1f} % on held-out"]),
        f"sha {digest[:8]}",
    ]
    return FeatureNetwork(
        name=f"small-vgg[{', '.join(parts)}]",
        weights=digest,
        net=net.eval().requires_grad_(False),
        accuracy=accuracy,
    )


def _check(source: Source, held_out: Source | None) -> None:
    if len(source.shape) != 3 or min(source.shape[1:]) < 4:
        raise DataError(
            f"{source.name} has examples of shape {list(source.shape)}, but images [C, H, W] with sides of at least "
            "4 are expected. A small VGG can be fitted to images only."
        )
    if len(source) < 2:
        raise DataError(f"{source.name} has {len(source)} examples, but at least 2 are expected. Add more data.")
    if held_out is not None and (held_out.shape, held_out.classes) != (source.shape, source.classes):
        raise DataError(
            f"{held_out.name} has shape {list(held_out.shape)} and classes {list(held_out.classes)}, but those of "
            f"{source.name}, {list(source.shape)} and {list(source.classes)}, are expected. "
            "Hold out a part of the same data."
        )


# ---------------------------------------------------------------- what is remembered


class _Known(NamedTuple):
    net: SmallVGG
    accuracy: float | None
    digest: str


def _remembered(entry: Path, settings: dict[str, Any], net: SmallVGG) -> _Known | None:
    """What was fitted so before, in a network like the given one; None where there is nothing, or it is damaged."""
    try:
        card = json.loads(entry.read_text(encoding="utf-8"))
        weights = (entry.parent / f"{card['weights_sha256']}.safetensors").read_bytes()
        known = card["settings"] == settings and isinstance(card["accuracy"], float | None)
        if not known or _digest(weights) != card["weights_sha256"]:
            return None
        net = copy.deepcopy(net)
        net.fold()
        net.load_state_dict(safetensors.torch.load(weights))
        return _Known(net, card["accuracy"], card["weights_sha256"])
    except (OSError, ValueError, LookupError, TypeError, RuntimeError, SafetensorError):
        return None


def _remember(entry: Path, settings: dict[str, Any], net: SmallVGG, accuracy: float | None) -> str:
    """Keep the network and answer the hash of its weights. A cache that cannot be written is no reason to fail."""
    weights = safetensors.torch.save({name: x.cpu().contiguous() for name, x in net.state_dict().items()})
    digest = _digest(weights)
    card = {"settings": settings, "accuracy": accuracy, "weights_sha256": digest}
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        # Named by their content, weights that another process writes at the same time cannot be taken for these.
        replace_file(entry.parent / f"{digest}.safetensors", weights)
        replace_file(entry, json.dumps(card, indent=2).encode())
    except OSError:
        pass
    return digest


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# ---------------------------------------------------------------- how it is fitted


def _fit(net: SmallVGG, source: Source, num_steps: int, seed: int) -> None:
    optimizer = torch.optim.Adam(net.parameters())
    rate = Schedule(start=3e-3, end=0.0, shape="cosine", warmup=0.1)
    loss = torch.zeros(())
    for step in range(num_steps):
        draw = generator(seed, "small-vgg/batch", step)
        indices = torch.randint(len(source), (BATCH,), generator=draw)
        x, targets = _task(
            source, indices, _window(source.examples(indices), draw), torch.randint(4, (BATCH,), generator=draw)
        )
        loss = cross_entropy(net.classes(x), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = rate.at(step / num_steps)
        optimizer.step()
    if not loss.isfinite():
        raise DataError(
            f"{source.name}: a feature network fitted to it became {loss.item()}, but finite examples are expected. "
            "Look for NaN or infinity in the data."
        )


@torch.no_grad()
def _accuracy(net: SmallVGG, held_out: Source) -> float:
    """The share of all held-out examples that are classified rightly; images to be turned are judged in every turn."""
    num_turns = 1 if len(held_out.classes) > 1 else len(_turns(held_out.shape))
    num_right = 0
    for indices in torch.arange(len(held_out)).split(256):
        images = _window(held_out.examples(indices), None)
        for turn in range(num_turns):
            x, targets = _task(held_out, indices, images, torch.full_like(indices, turn))
            num_right += int((net.classes(x).argmax(1) == targets).sum())
    return num_right / (len(held_out) * num_turns)


def _task(source: Source, indices: Tensor, images: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
    """Images and what to say about each: its class, or which of the turns it was given."""
    if len(source.classes) > 1:
        return images, source.labels(indices)
    turns = _turns(source.shape)
    targets = turn % len(turns)
    turned = [torch.rot90(image, turns[target], (1, 2)) for image, target in zip(images, targets.tolist())]
    return torch.stack(turned), targets.to(images.device)


def _turns(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The quarter turns to be told apart: all four, or the half turn where others would change the window's shape."""
    height, width = _sides(shape)
    return (0, 1, 2, 3) if height == width else (0, 2)


def _sides(shape: tuple[int, ...]) -> tuple[int, int]:
    return min(shape[-2], WINDOW), min(shape[-1], WINDOW)


def _window(x: Tensor, draw: torch.Generator | None) -> Tensor:
    """A window of each image: the one in the middle, or any that begins up to an eighth of its side outside.

    Outside of the image its border is repeated.
    """
    n, c, h, w = x.shape
    height, width = _sides(x.shape)
    starts = []
    for whole, side in [(h, height), (w, width)]:
        if draw is None:
            starts.append(torch.full((n, 1), (whole - side) // 2))
        else:
            starts.append(torch.randint(whole - side + 2 * (side // 8) + 1, (n, 1), generator=draw) - side // 8)
    rows = (starts[0] + torch.arange(height)).clamp(0, h - 1).to(x.device)  # [N, height]
    columns = (starts[1] + torch.arange(width)).clamp(0, w - 1).to(x.device)  # [N, width]
    image, channel = torch.arange(n, device=x.device), torch.arange(c, device=x.device)
    return x[image[:, None, None, None], channel[:, None, None], rows[:, None, :, None], columns[:, None, None, :]]
