"""What the tests of the command line are made of: tiny settings, made images, and what a command answers."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

TINY = (
    "training.steps=2",
    "training.batch=8",
    "training.save_every=1",
    "training.precision=fp32",
    "game.network.width=4",
    "game.z_dim=4",
    "data.held_out=40",
    "watching.signals_every=1",
    "watching.samples_every=2",
    "watching.num_samples=4",
    "watching.tensorboard=false",
    "judging.at_end=false",
)


class Answer(NamedTuple):
    """What a command left with, and what it printed."""

    code: int
    out: str
    err: str


Command = Callable[..., Answer]


def images(folder: Path, num: int, *, size: int = 8, seed: int = 0) -> Path:
    """A folder of grey noise."""
    folder.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed)
    for number in range(num):
        pixels = noise.integers(0, 256, (size, size), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, but for the lock."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }
