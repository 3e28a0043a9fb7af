"""Probes: what is measured of a game now and then, how often, and at what cost.

A probe looks at a `Scene`, which may lack things, and answers numbers by name. It judges nothing: that is the doctor's
affair. The names are those of the signals in `signals.jsonl`, behind "probe/".
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from equipoise.monitor import measures
from equipoise.monitor.spaces import Space, pixels

NUM = 256
"""Held-out reals, training reals and fakes of fixed latents that a run keeps for its probes."""
FEWEST = 8
"""Fewer examples say nothing about a distribution."""


@dataclass(frozen=True)
class Scene:
    """What there is to look at: examples [N, *shape] and the critic's logits on them [N]. Anything may be missing."""

    train: Tensor | None = None
    held_out: Tensor | None = None
    fake: Tensor | None = None
    """Of fixed latents: the n-th is always made from the same one."""
    shown: Tensor | None = None
    """The held-out examples as the critic sees them, where they are augmented."""
    train_logits: Tensor | None = None
    held_out_logits: Tensor | None = None
    fake_logits: Tensor | None = None
    train_labels: Tensor | None = None
    fake_labels: Tensor | None = None
    relabelled: Tensor | None = None
    """From the latents of `fake`, each with another label."""
    swapped: Tensor | None = None
    """Of games that make something of an input: the outputs for each other's inputs, with the same noise."""
    again: Tensor | None = None
    """Of such games: the outputs for the same inputs, with other noise."""
    space: Space = pixels
    past: tuple[Tensor, ...] = ()
    """The fakes at the last looks, the newest first: at most two."""
    still: tuple[Tensor, ...] = ()
    """Of each of the generator's layers, the share of units that answered the same to all latents: `watching_units`."""


Numbers = dict[str, Tensor]


@dataclass(frozen=True)
class Probe:
    """A measurement: what it asks for and what it costs."""

    name: str
    look: Callable[[Scene], Numbers]
    cost: str


def separation(scene: Scene) -> Numbers:
    """How well the critic tells reals from fakes, and training reals from held-out ones."""
    numbers: Numbers = {}
    logits = {"train": scene.train_logits, "held_out": scene.held_out_logits, "fake": scene.fake_logits}
    for name, values in logits.items():
        if values is not None:
            numbers[f"logits/{name}"] = values.float()
    if scene.held_out_logits is not None and scene.fake_logits is not None:
        numbers["auc/held_out"] = measures.share_above(scene.held_out_logits, scene.fake_logits)
    if scene.train_logits is not None:
        numbers["sign/train"] = scene.train_logits.float().sign().mean()
        if scene.fake_logits is not None:
            numbers["auc/train"] = measures.share_above(scene.train_logits, scene.fake_logits)
        if scene.held_out_logits is not None:
            numbers["overfit"] = measures.share_above(scene.train_logits, scene.held_out_logits)
    return numbers


def variety(scene: Scene) -> Numbers:
    """How varied the fakes are, how near to the data, and whether they are copies."""
    if scene.fake is None or scene.held_out is None or min(len(scene.fake), len(scene.held_out)) < FEWEST:
        return {}
    fake, held_out = scene.space(scene.fake), scene.space(scene.held_out)
    numbers = {
        "diversity": measures.diversity(fake, held_out),
        "nearest": measures.nearest_ratio(fake, held_out),
        "energy": measures.energy_distance(fake, held_out),
        "coverage": measures.coverage(fake, held_out),
    }
    if scene.train is not None:
        train = scene.space(scene.train)
        numbers["coverage/real"] = measures.coverage(train, held_out)
        numbers["energy/real"] = measures.energy_distance(train, held_out)
        numbers["copies"] = measures.nearer_to_train(pixels(scene.fake), pixels(scene.train), pixels(scene.held_out))
    if scene.shown is not None:
        numbers["energy/shown"] = measures.energy_distance(fake, scene.space(scene.shown))
    return numbers


def motion(scene: Scene) -> Numbers:
    """How far fakes of fixed latents moved since the last look, and whether they swing."""
    if scene.fake is None or scene.held_out is None or not scene.past:
        return {}
    now, real, *past = (scene.space(x) for x in (scene.fake, scene.held_out, *scene.past))
    numbers = {"movement": measures.movement(now, past[0], real)}
    if len(past) > 1:
        numbers["turning"] = measures.turning(now, past[0], past[1])
    return numbers


def surface(scene: Scene) -> Numbers:
    """The range of values and, of images, saturation and checkerboards: of fakes beside reals."""
    numbers: Numbers = {}
    for name, x in (("fake", scene.fake), ("real", scene.held_out), ("train", scene.train)):
        if x is None:
            continue
        some = x.float().flatten()[:: max(x.numel() // 20_000, 1)]
        numbers[f"range/{name}"], numbers[f"lowest/{name}"] = some.abs().quantile(0.999), some.quantile(0.001)
        if x.ndim == 4 and name != "train":
            numbers[f"saturation/{name}"] = measures.saturation(x.float())
            if min(x.shape[2:]) > 1:
                numbers[f"checkerboard/{name}"] = measures.checkerboard(x.float())
    return numbers


def obedience(scene: Scene) -> Numbers:
    """Whether labels say anything about the data, whether the generator listens, and how varied each class is."""
    if scene.train_labels is None or scene.train is None:
        return {}
    train = scene.space(scene.train)
    if len(scene.train_labels.unique()) == len(scene.train_labels):
        return {}  # no two of a class
    within = measures.within_classes(train, scene.train_labels)
    numbers = {"labels/within": within / measures.pair_distance(train).clamp_min(1e-12)}
    if scene.fake is not None and scene.fake_labels is not None:
        fake = scene.space(scene.fake)
        numbers["labels/diversity"] = measures.within_classes(fake, scene.fake_labels) / within.clamp_min(1e-12)
        if scene.relabelled is not None:
            moved = (fake - scene.space(scene.relabelled)).norm(dim=1).mean()
            numbers["labels/effect"] = moved / measures.pair_distance(fake).clamp_min(1e-12)
    return numbers


def heed(scene: Scene) -> Numbers:
    """Whether an output follows its input, and how varied the outputs for one input are."""
    others = {"input/effect": scene.swapped, "input/diversity": scene.again}
    if scene.fake is None or scene.held_out is None or not any(x is not None for x in others.values()):
        return {}
    fake, apart = scene.space(scene.fake), measures.pair_distance(scene.space(scene.held_out)).clamp_min(1e-12)
    return {name: (fake - scene.space(x)).norm(dim=1).mean() / apart for name, x in others.items() if x is not None}


def liveness(scene: Scene) -> Numbers:
    """The largest share of units in one of the generator's layers that answer the same to every latent."""
    return {"constant_units": torch.stack(scene.still).amax()} if scene.still else {}


@contextmanager
def watching_units(generator: nn.Module) -> Iterator[list[Tensor]]:
    """Inside, a pass of the generator adds the share of constant units of each layer that has weights."""
    shares: list[Tensor] = []

    def watch(module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim >= 2:
            units = output.detach().float()
            apart = (units - units[:1]).abs().transpose(0, 1).flatten(1).amax(1)  # [units], over latents and places
            size = units.abs().transpose(0, 1).flatten(1).amax(1)
            shares.append((apart <= 1e-6 * size.clamp_min(1e-12)).float().mean())

    layers = [m for m in generator.modules() if not list(m.children()) and list(m.parameters(recurse=False))]
    handles = [layer.register_forward_hook(watch) for layer in layers if not isinstance(layer, nn.Embedding)]
    try:
        yield shares
    finally:
        for handle in handles:
            handle.remove()


PROBES = (
    Probe("separation", separation, "three passes of the critic on 256 examples, 200,000 comparisons"),
    Probe("variety", variety, "one pass of the generator, three of the space, six tables of 256² distances"),
    Probe("motion", motion, "three passes of the space, one table of 256² distances"),
    Probe("surface", surface, "a look at each pixel"),
    Probe("obedience", obedience, "one more pass of the generator, two tables of distances; only with labels"),
    Probe("heed", heed, "two more passes of the generator; only in games with an input"),
    Probe("liveness", liveness, "a look at each layer's output"),
)


@dataclass
class Cadence:
    """How often a probing may happen so that all of them take a given share of the training time.

    The first interval is `shortest`; then the interval follows from the time that the last probing and the steps since
    took: cost / (budget · seconds per step), rounded up to a multiple of `shortest`.
    """

    budget: float = 0.015
    shortest: int = 25
    longest: int = 2000
    interval: int = field(init=False)

    def __post_init__(self):
        self.interval = self.shortest

    def learn(self, *, cost: float, seconds_per_step: float) -> None:
        """Set the interval from what one probing and one step cost, in seconds."""
        steps = cost / max(self.budget * seconds_per_step, 1e-12)
        self.interval = min(max(math.ceil(steps / self.shortest), 1) * self.shortest, self.longest)


@torch.no_grad()
def looked_at(scene: Scene, probes: tuple[Probe, ...] = PROBES) -> Numbers:
    """The numbers of all probes on one scene."""
    return {name: value for probe in probes for name, value in probe.look(scene).items()}


def remembered(scene: Scene, fake: Tensor) -> tuple[Tensor, ...]:
    """These fakes and those of the last look, for the next scene's `past`."""
    return (fake, *scene.past[:1])
