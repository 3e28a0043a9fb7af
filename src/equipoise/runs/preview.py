"""A look at the augmentation of a recipe before anything is trained: some images, each beside variants of itself."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from equipoise.core.disk import replace_file
from equipoise.core.errors import DataError, RecipeError
from equipoise.core.schedule import Schedule, Scheduled, value_at
from equipoise.core.seeding import generator, seed_torch, shuffled, stable_seed
from equipoise.data.classical import Changes, changed
from equipoise.games.augmentation import AdaptiveAugment, Augmentation, InstanceNoise
from equipoise.monitor.grids import grid
from equipoise.runs.recipe import Recipe
from equipoise.runs.run import Run
from equipoise.runs.techniques import Techniques

SEEN = ("instance_noise", "classical", "diffaugment", "ada")
"""Settings of a game that change what its critic sees, in the order in which they are applied."""

_WIDTH = 640  # pixels: what a picture aims at
_BAND = 10  # pixels between the blocks, and between images and their variants
_MOST = 4096


@final
@dataclass(frozen=True)
class Preview:
    """What augmentation makes of some images."""

    loader: Tensor | None
    """By `data.augmentation`: [num, 1 + variants, C, H, W], the image itself first; None where it is off."""
    critic: Tensor | None
    """What the critic sees, the same way: by the game's settings, after `data.augmentation`."""
    lines: tuple[str, ...]
    """What is on the picture, for people."""

    def picture(self) -> np.ndarray:
        """One row for each image, which stands apart on the left, one block above the other: uint8 [H', W', 3]."""
        blocks = []
        for x in (self.loader, self.critic):
            if x is not None:
                columns = x.shape[1]
                zoom = max(1, round(_WIDTH / columns / x.shape[-1]))
                images = grid(x[:, 0], columns=1, zoom=zoom)
                variants = grid(x[:, 1:].flatten(0, 1), columns=columns - 1, zoom=zoom)
                blocks.append(beside(images, variants, axis=1))
        return blocks[0] if len(blocks) == 1 else beside(*blocks, axis=0)


def previewed(recipe: Recipe, *, num: int = 8, variants: int = 8, seed: int = 0) -> Preview:
    """`num` training images of a recipe with `variants` of each, changed by the functions that training uses.

    What grows or fades while training lasts is shown at its strongest: scheduled noise and ADA, and ADA that adapts at
    its limit. Raises `RecipeError` where the recipe augments nothing, `DataError` where examples are no images.
    """
    if min(num, variants) < 1 or num * (variants + 1) > _MOST:
        raise RecipeError(f"{num} images with {variants} variants: expected at least 1 of both and {_MOST} in all.")
    changes = recipe.data.augmentation
    changes = changes if changes is not None and does_something(changes) else None
    seen = {name: getattr(recipe.game, name) for name in SEEN} if isinstance(recipe.game, Techniques) else {}
    seen = {name: settings for name, settings in seen.items() if settings is not None}
    if changes is None and not seen:
        every = [field.name for field in fields(Changes) if field.name not in ("share", "fill")]
        raise RecipeError(
            "This recipe augments nothing, so there is nothing to preview. Training images are changed by "
            f"data.augmentation ({', '.join(every)}), for example --set data.augmentation.rotation=10; what the critic "
            f"sees by {', '.join(f'game.{name}' for name in SEEN)}, for example --set game.diffaugment=true."
        )
    run = Run.draft(recipe, origin="preview", folder=Path(recipe.name))
    train = run.parts(run.source()).train
    if len(train.shape) != 3:
        raise DataError(f"{train.name} has examples of shape {train.shape}: expected images, which can be augmented.")
    num = min(num, len(train))
    x = train.examples(shuffled(len(train), seed, "preview")[:num]).cpu()  # [N, C, H, W]
    dealt = [x if changes is None else loaded(x, changes, seed, number) for number in range(variants)]
    lines, first, loader, critic = [], 1, None, None
    if changes is not None:
        loader = run.for_looking(run.in_units(torch.stack([x, *dealt], dim=1).flatten(0, 1)))
        lines.append(f"Rows {first} to {num}: an image, then as data.augmentation ({told(vars(changes))}) deals it.")
        first += num
    if seen:
        augmentations = {name: settings.build() for name, settings in seen.items()}
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            seed_torch(stable_seed(seed, "preview"), torch.device("cpu"))
            shown = [critical(variant, augmentations) for variant in dealt]
        critic = run.for_looking(run.in_units(torch.stack([x, *shown], dim=1).flatten(0, 1)))
        words = "; ".join(f"game.{name} ({strength(augmentations[name], seen[name])})" for name in seen)
        after = "" if changes is None else ", after data.augmentation"
        lines.append(f"Rows {first} to {first + num - 1}: an image, then as the critic sees it by {words}{after}.")
    blocks = [None if y is None else y.unflatten(0, (num, variants + 1)) for y in (loader, critic)]
    return Preview(*blocks, lines=tuple(lines))


def write_preview(preview: Preview, path: Path) -> Path:
    """The picture as a PNG. It shows real data: nothing on it was generated, so it carries no label that says so."""
    stream = io.BytesIO()
    Image.fromarray(preview.picture()).save(stream, "PNG")
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, stream.getvalue())
    return path


def beside(one: np.ndarray, other: np.ndarray, *, axis: int) -> np.ndarray:
    """Two pictures [H, W, 3] with a white band between them: side by side (axis 1) or one above the other (axis 0)."""
    shape = list(one.shape)
    shape[axis] = _BAND
    return np.concatenate([one, np.full(shape, 255, dtype=np.uint8), other], axis=axis)


def does_something(changes: Changes) -> bool:
    """Whether any image is changed at all."""
    return changes.share > 0 and any(
        getattr(changes, field.name) for field in fields(Changes) if field.name not in ("share", "fill")
    )


def loaded(x: Tensor, changes: Changes, seed: int, number: int) -> Tensor:
    """Images as the loader deals them when `number` examples were dealt before."""
    return changed(x, changes, draw=generator(seed, "augmentation", number))


def critical(x: Tensor, augmentations: Mapping[str, Augmentation]) -> Tensor:
    """Images as the critic sees them where augmentation is at its strongest."""
    for augmentation in augmentations.values():
        progress = 0.0
        if isinstance(augmentation, InstanceNoise):
            progress = strongest(augmentation.std)
        if isinstance(augmentation, AdaptiveAugment):
            augmentation.dose.p.fill_(augmentation.dose.limit)
            progress = 0.0 if augmentation.fixed is None else strongest(augmentation.fixed)
        x = augmentation(x, progress)
    return x


def strongest(number: Scheduled) -> float:
    """The progress at which a number is largest."""
    marks = (0.0, number.begin, number.warmup, number.until, 1.0) if isinstance(number, Schedule) else (0.0,)
    return max((mark for mark in marks if mark <= 1), key=lambda mark: value_at(number, mark))


def strength(augmentation: Augmentation, settings: Any) -> str:
    """What is shown of an augmentation, in words."""
    if isinstance(augmentation, InstanceNoise):
        return f"at its strongest, std = {value_at(augmentation.std, strongest(augmentation.std)):g}"
    if isinstance(augmentation, AdaptiveAugment):
        p = augmentation.dose.limit
        if augmentation.fixed is not None:
            p = min(p, value_at(augmentation.fixed, strongest(augmentation.fixed)))
        return f"at its strongest, p = {p:g}"
    return told(settings.model_dump())


def told(settings: Mapping[str, Any]) -> str:
    """Settings that are on, as a list.

    >>> told({"mirror": True, "flip": False, "rotation": 10.0, "policy": ("color", "cutout")})
    'mirror, rotation = 10, policy = color cutout'
    """
    on = {name: value for name, value in settings.items() if value != 0 and not (name == "share" and value == 1)}
    texts = {name: " ".join(value) if isinstance(value, tuple) else value for name, value in on.items()}
    numbers = {name: f"{value:g}" if isinstance(value, float) else value for name, value in texts.items()}
    return ", ".join(name if value is True else f"{name} = {value}" for name, value in numbers.items())
