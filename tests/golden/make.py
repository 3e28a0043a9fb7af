"""Write the golden losses: `python -m tests.golden.make` writes them all anew, with names of recipes only those.

A refactor may not change them; a change of mathematics or of a recipe must, and then they are written anew.
"""

import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from equipoise.core.game import Clock
from equipoise.engine.trainer import Trainer
from equipoise.networks.vgg import VGG
from equipoise.recipes import load
from equipoise.runs.multitasking import TasksData
from equipoise.runs.restoring import PicturesData
from equipoise.runs.run import Run
from equipoise.runs.styling import StyledData
from equipoise.runs.translating import UnpairedData

FOLDER = Path(__file__).parent
RECIPES = (
    "digits",
    "conditional-digits",
    "ring",
    "grid",
    "sr4",
    "inpainting",
    "denoising",
    "ct",
    "pix2pix",
    "multitask",
    "cyclegan",
    "cut",
    "fastcut",
    "style",
    "adain",
    "style-gan",
    "stylegan2",
    "r3gan",
    "fastgan",
    "sgan",
    "infogan",
    "cogan",
    "lapgan",
    "vaegan",
    "aae",
)
STEPS = 10
SMALL: dict[str, Any] = {"training.batch": 2, "training.steps": STEPS, "data.crop": 24, "game.warmup": 0.5}
"""Of recipes of pictures: few and small squares, half of the steps with a critic, no feature network to fit."""
STYLED: dict[str, Any] = {"training.steps": STEPS, "data.crop": 32, "data.held_out": 2, "data.unseen": 0}
"""Of recipes of style: small squares, and a feature network of random weights, which is the same everywhere."""

DOMAINS: dict[str, Any] = {
    "training.batch": 2,
    "training.steps": STEPS,
    "data.size": 18,
    "data.crop": 16,
    "game.network": {"width": 8, "num_blocks": 2},
    "game.critic": {"kind": "patch", "width": 8, "num_layers": 1, "normalisation": "instance"},
}
"""Of recipes without pairs: small networks and squares."""
NARROW: dict[str, dict[str, Any]] = {
    "stylegan2": {"training.batch": 4, "game.network.width": 8, "game.network.max_width": 16, "game.network.w_dim": 8},
    "r3gan": {"training.batch": 4, "game.network.width": 16, "game.network.max_width": 32},
    "fastgan": {"game.network.width": 8, "game.network.max_width": 16},
}
"""Of recipes of generation: narrow networks."""
COUPLED: dict[str, Any] = {"training.batch": 4, "training.steps": STEPS, "data.size": 16, "game.width": 8}
"""Of two domains that share a generator."""


class Losses:
    """An observer that keeps the mean of every loss term, one line a step."""

    def __init__(self):
        self.lines: list[dict[str, float]] = []

    def before_update(self, clock: Clock, player: str, parameters: Mapping[str, nn.Parameter]) -> None:
        pass

    def after_step(self, clock: Clock, record: dict[str, Tensor | float]) -> None:
        losses = {name: value for name, value in record.items() if name.startswith("loss/")}
        self.lines.append({name: float(torch.as_tensor(value).double().mean()) for name, value in losses.items()})

    def on_event(self, clock: Clock, kind: str, message: str) -> None:
        pass


def play(name: str) -> list[dict[str, float]]:
    """The loss terms of the first steps of a shipped recipe, in float64, so that all processors agree; seed 0."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {"training.precision": "fp32", "training.seed": 0} | NARROW.get(name, {})
        if name == "pix2pix":
            write_pairs(Path(folder))
            settings |= SMALL | {"data.path": folder}
        elif isinstance(load(name)[0].data, PicturesData):
            np.save(Path(folder) / "slices.npy", slices())
            settings |= SMALL | {"game.perceptual": None, "data.path": f"{folder}/slices.npy", "data.range": [0, 2000]}
        if name == "ct":  # counts of photons hang on the last bit of their mean
            settings |= {"data.degrade": [{"kind": "noise", "sigma": [25.0, 25.0]}]}
        if isinstance(load(name)[0].data, TasksData):
            np.save(Path(folder) / "pictures.npy", coloured())
            settings |= SMALL | {"training.batch": 4, "data.path": f"{folder}/pictures.npy"}
        if isinstance(load(name)[0].data, UnpairedData):
            volume = (slices() / 2000 * 255).astype(np.uint8)
            np.savez(Path(folder) / "domains.npz", a_images=volume[:40], b_images=255 - volume[40:])
            settings |= COUPLED if name == "cogan" else DOMAINS
            settings |= {"data.path": f"{folder}/domains.npz", "data.a": "a", "data.b": "b"}
        if isinstance(load(name)[0].data, StyledData):
            settings |= STYLED | painted(Path(folder))
            settings |= {"game.warmup": 0.5} if name == "style-gan" else {}
        recipe, origin = load(name, settings=settings)
        run = Run.draft(recipe, origin=origin, folder=Path("golden"))
        train, losses = run.parts(run.source()).train, Losses()
        with in_doubles():
            trainer = run.trainer(train)
            trainer.observers = (losses,)
            trainer.fit(until=STEPS)
    return losses.lines


def doubled(batch: Any) -> Any:
    """A batch, or a tuple of tensors, with float64 in place of float32."""
    if isinstance(batch, tuple):
        return tuple(map(doubled, batch))
    return batch.double() if batch.is_floating_point() else batch


@contextmanager
def in_doubles() -> Iterator[None]:
    """Inside, what would be float32 is float64: weights, noise, batches, and what a game asks to be float32."""
    single, place = torch.Tensor.float, Trainer.place
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]
    Trainer.place = lambda self, batch: doubled(place(self, batch))  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.Tensor.float, Trainer.place = single, place  # type: ignore[method-assign]
        torch.set_default_dtype(torch.float32)


def slices() -> np.ndarray:
    """A volume of smooth noise [80, 32, 40], from 0 to 2000."""
    coarse = torch.rand(1, 1, 10, 5, 6, generator=torch.Generator().manual_seed(0))
    fine = torch.nn.functional.interpolate(coarse, size=(80, 32, 40), mode="trilinear")
    return (2000 * fine[0, 0]).numpy()


def write_pairs(folder: Path) -> None:
    """Six pictures of 40 × 32 pixels of smooth noise, each beside the places where it is bright."""
    for number, x in enumerate(slices()[::14]):
        pair = np.concatenate([x / 2000 * 255, (x > 1000) * 255], axis=1)
        Image.fromarray(pair.astype(np.uint8)).save(folder / f"{number}.png")


def coloured() -> np.ndarray:
    """Twenty pictures of coloured squares [20, 32, 40, 3], bytes."""
    return np.random.default_rng(0).integers(0, 256, (20, 4, 5, 3), np.uint8).repeat(8, 1).repeat(8, 2)


def painted(folder: Path) -> dict[str, Any]:
    """Eight contents and one style of coloured squares, and VGG-16 of random weights, as settings."""
    for number in range(9):
        coarse = torch.randint(256, (3, 8, 9), generator=torch.Generator().manual_seed(number), dtype=torch.uint8)
        fine = coarse.repeat_interleave(8, 1).repeat_interleave(8, 2)
        path = folder / ("style" if number == 8 else "content") / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(fine.permute(1, 2, 0).numpy()).save(path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        weights = VGG("vgg16", ("pool5",)).state_dict()
    torch.save(weights, folder / "vgg16.pth")
    features = {"network": "vgg16", "weights": folder / "vgg16.pth", "layers": ("relu1_2", "relu2_2")}
    return {"data.path": folder, "game.features": features}


def written(lines: list[dict[str, float]]) -> str:
    """Lines of `name=value` with six significant digits."""
    return "".join(" ".join(f"{name}={value:.6g}" for name, value in line.items()) + "\n" for line in lines)


def read(name: str) -> list[dict[str, float]]:
    """The golden losses of a recipe."""
    lines = (FOLDER / f"{name}.txt").read_text("utf-8").splitlines()
    return [{key: float(value) for key, value in (pair.split("=") for pair in line.split())} for line in lines]


if __name__ == "__main__":
    torch.set_num_threads(1)
    for recipe in sys.argv[1:] or RECIPES:
        (FOLDER / f"{recipe}.txt").write_text(written(play(recipe)), "utf-8")
        print(f"Wrote {FOLDER / recipe}.txt")
