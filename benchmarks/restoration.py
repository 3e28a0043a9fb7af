"""How good restoration is: super-resolution, inpainting, low-dose CT and denoising, beside what is known and free.

    python -m benchmarks.restoration sr --data FOLDER          # t91.zip, set5.zip, set14.zip, cifar10.zip
    python -m benchmarks.restoration inpainting --data FOLDER  # t91.zip, set14.zip
    python -m benchmarks.restoration ct --data FOLDER          # stent.npz
    python -m benchmarks.restoration denoising --data FOLDER   # t91.zip, set14.zip

Each trains a shipped recipe into benchmarks/results/.restoration/, goes on where it stopped, and adds its rows to
benchmarks/results/restoration.json. Non-local means are those of scikit-image (a test extra), Telea's method that of
OpenCV, if it is installed.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import torch

from benchmarks import rows
from benchmarks.rows import choose, row
from equipoise.core.seeding import generator
from equipoise.data.standardise import windowed
from equipoise.metrics.image_quality import eight_bit, psnr, ssim
from equipoise.metrics.perceptual import feature_distance
from equipoise.runs.recipe import with_settings
from equipoise.runs.restored import judging_network, restored, whole_pictures
from equipoise.runs.run import Run

RESULTS = rows.RESULTS / "restoration.json"
WORK = rows.RESULTS / ".restoration"

ALONE = {"game.warmup": 1.0}
"""Reconstruction alone, for as many steps."""
FOR_PSNR = {**ALONE, "training.steps": 12_000, "data.crop": 96, "players.G.learning_rate.shape": "cosine"}
"""Super-resolution for its exact values alone: longer than the recipe's first stage, and on larger squares."""


def through_classes(data: Path) -> dict[str, Any]:
    """Pictures are compared, and judged, through networks that learnt the classes of CIFAR-10."""
    return {"game.features": {"images": data / "cifar10.zip"}}


def train(recipe: str, stage: str, data: Path, seed: int, changes: dict[str, Any]) -> tuple[Run, float]:
    """The run of a shipped recipe with changes, and the CPU seconds that it took."""
    return rows.train(recipe, stage, data, seed, changes, work=WORK)


def keep(found: list[dict[str, Any]]) -> None:
    """Append to the results."""
    rows.keep(found, RESULTS)


def stages(recipe: str, data: Path, seed: int) -> Iterator[tuple[Run, float]]:
    """The reconstruction alone, and the whole recipe, each for as many steps."""
    yield train(recipe, "reconstruction", data, seed, ALONE)
    yield train(recipe, "adversarial", data, seed, {})


def of_pictures(run: Run, seconds: float, sets: dict[str, Path]) -> Iterator[dict[str, Any]]:
    """PSNR, SSIM and perceptual distance of test sets, with those of what was given as baselines."""
    for name, path in sets.items():
        result = run.evaluate_restoration(data=path)
        for metric in ("psnr", "ssim", "perceptual"):
            value, baseline = getattr(result.answer, metric), getattr(result.given, metric)
            yield row(run, name, metric, value, baseline=baseline, seconds=seconds)


def targets_of(path: Path) -> Path:
    """A folder of the large pictures of a set that has small ones beside them."""
    folder = WORK / path.stem
    with ZipFile(path) as file:
        for name in file.namelist():
            if name.endswith("_HR.png"):
                folder.mkdir(parents=True, exist_ok=True)
                (folder / Path(name).name.replace("_HR", "")).write_bytes(file.read(name))
    return folder


# ---------------------------------------------------------------- super-resolution


def super_resolution(data: Path, seed: int) -> None:
    """×4: the reconstruction stage by itself, and with the adversarial stage after it."""
    sets = {name: data / f"{name}.zip" for name in ("set5", "set14")}
    for stage, changes in (("reconstruction", FOR_PSNR), ("adversarial", {})):
        run, seconds = train("sr4", stage, data / "t91.zip", seed, changes | through_classes(data))
        keep(list(of_pictures(run, seconds, sets)))


# ---------------------------------------------------------------- inpainting


def inpainting(data: Path, seed: int) -> None:
    """Squares of 64 pixels with strokes and boxes: with a critic, and its reconstruction-only twin of equal steps."""
    for run, seconds in stages("inpainting", data / "t91.zip", seed):
        keep(list(of_holes(run, seconds, targets_of(data / "set14.zip"))))


def of_holes(run: Run, seconds: float, path: Path) -> Iterator[dict[str, Any]]:
    """Error in the holes and perceptual distance on squares of a test set, beside Telea's method."""
    judge, game = judging_network(run), run.picture_game(run.trained_game()[0])
    given, target = squares(run, path)
    hidden = given[:, -1:]
    answers = {"ours": torch.cat([restored(game, one[None], scale=1) for one in given])}
    if (classical := telea()) is not None:
        answers["telea"] = torch.stack([classical(one) for one in given])
    scores = {
        name: (
            ((answer - target).abs() * hidden).sum().item() / (hidden.sum().item() * target.shape[1]) * 127.5,
            feature_distance(judge, answer, target).mean().item(),
        )
        for name, answer in answers.items()
    }
    beside = scores.get("telea", (None, None))
    where = f"{path.stem}, {len(given)} squares"
    for number, metric in enumerate(("hole error, levels", "perceptual")):
        yield row(run, where, metric, scores["ours"][number], baseline=beside[number], seconds=seconds)


def squares(run: Run, path: Path, *, side: int = 64, most: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    """What is given and asked for, [N, …], of up to so many squares of each picture of a set, always the same."""
    pictures, chosen = whole_pictures(with_settings(run.recipe, {"data": {"path": path, "crop": 8}}).data.open())
    tiles = []
    for index in chosen:
        target = pictures.whole(index).target
        parts = [part for band in target.split(side, 2) for part in band.split(side, 3)]
        whole = [part for part in parts if part.shape[2:] == (side, side)]
        tiles += whole[:: -(-len(whole) // most)]
    givens = [pictures.task.given(tile, generator(0, "square", number)) for number, tile in enumerate(tiles)]
    return torch.cat(givens), torch.cat(tiles)


def telea() -> Callable[[torch.Tensor], torch.Tensor] | None:
    """Telea's inpainting (2004) of an image with its mask [4, H, W], if OpenCV is installed."""
    try:
        import cv2
    except ImportError:
        return None

    def filled(given: torch.Tensor) -> torch.Tensor:
        image = ((given[:3].permute(1, 2, 0).numpy() + 1) * 127.5).round().astype(np.uint8)
        mask = (given[3].numpy() * 255).astype(np.uint8)
        whole = cv2.inpaint(np.ascontiguousarray(image), mask, 3, cv2.INPAINT_TELEA)
        return torch.from_numpy(whole).permute(2, 0, 1).float() / 127.5 - 1

    return filled


# ---------------------------------------------------------------- denoising and scans


def denoising(data: Path, seed: int) -> None:
    """Colour images with noise of 25 levels: PSNR and perceptual distance beside non-local means."""
    for run, seconds in stages("denoising", data / "t91.zip", seed):
        set14 = targets_of(data / "set14.zip")
        keep(list(of_pictures(run, seconds, {"set14": set14})))
        keep(list(of_means(run, set14, seconds)))


def scans(data: Path, seed: int) -> None:
    """Low-dose CT of a volume, its last slices held out: PSNR, SSIM and errors in units."""
    run, seconds = train("ct", "reconstruction", data / "stent.npz", seed, {})
    result = run.evaluate_restoration()
    for metric in ("psnr", "ssim", "error", "bias"):
        value, baseline = getattr(result.answer, metric), getattr(result.given, metric)
        keep([row(run, "stent, last 40 slices", metric, value, baseline=baseline, seconds=seconds)])
    keep(list(of_means(run, None, seconds)))


def seen(run: Run, x: torch.Tensor) -> torch.Tensor:
    """A picture as it is scored: through the window of the run, if it has one."""
    window = run.recipe.data.looked_through
    return x if window is None else windowed(run.in_units(x), window)


def tuned(run: Run) -> float:
    """The strength of non-local means that is best on six training pictures."""
    pictures, chosen = whole_pictures(run.parts(run.source()).train)
    pairs = [pictures.whole(index) for index in chosen[:: max(len(chosen) // 6, 1)][:6]]

    def score(factor: float) -> float:
        return sum(psnr(seen(run, smoothed(p.given, factor)), seen(run, p.target)).item() for p in pairs)

    return max((0.4, 0.6, 0.8, 1.0, 1.3, 1.7, 2.2, 3.0, 4.0), key=score)


def of_means(run: Run, path: Path | None, seconds: float) -> Iterator[dict[str, Any]]:
    """PSNR and SSIM of non-local means on the same pictures; its strength is tuned on training pictures."""
    factor = tuned(run)
    if path is None:
        pictures, chosen = whole_pictures(run.parts(run.source()).held_out)
    else:
        place = {"path": path, "crop": 8}
        pictures, chosen = whole_pictures(with_settings(run.recipe, {"data": place}).data.open())
    values = []
    for index in chosen:
        given, target = pictures.whole(index)
        answer = smoothed(given, factor).clamp(-1, 1)
        answer = answer if path is None else eight_bit(answer)
        values.append(tuple(metric(seen(run, answer), seen(run, target)).item() for metric in (psnr, ssim)))
    name = "stent, last 40 slices" if path is None else path.stem
    for number, metric in enumerate(("psnr", "ssim")):
        value = float(np.mean([one[number] for one in values]))
        yield row(run, name, f"{metric}, non-local means ({factor} σ)", value, baseline=None, seconds=seconds)


def smoothed(given: torch.Tensor, factor: float) -> torch.Tensor:
    """Non-local means (Buades et al. 2005) of a picture [1, C, H, W], for noise of so many times what is estimated."""
    from skimage.restoration import denoise_nl_means

    image = ((given[0].permute(1, 2, 0).numpy() + 1) / 2).astype(np.float64)
    mixed = np.diff(np.diff(image, axis=0), axis=1)  # of white noise, twice its deviation
    sigma = float(np.median(np.abs(mixed)) / 0.6745 / 2)
    colours = image.shape[2] > 1
    patch = {"patch_size": 5, "patch_distance": 6, "fast_mode": True, "channel_axis": 2 if colours else None}
    whole = denoise_nl_means(image if colours else image[..., 0], h=factor * sigma, sigma=sigma, **patch)
    return torch.from_numpy(whole).reshape(image.shape).permute(2, 0, 1)[None].float() * 2 - 1


if __name__ == "__main__":
    choose(__doc__, {"sr": super_resolution, "inpainting": inpainting, "ct": scans, "denoising": denoising})
