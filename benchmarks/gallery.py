"""Pictures of what `benchmarks.restoration` trained: given, answers, and what was asked for, side by side.

    python -m benchmarks.gallery sr|inpainting|denoising|ct --data FOLDER

Writes docs/pictures/restored-*.png.
"""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from benchmarks.restoration import (
    FOR_PSNR,
    seen,
    smoothed,
    squares,
    stages,
    targets_of,
    telea,
    through_classes,
    train,
    tuned,
)
from benchmarks.rows import choose
from equipoise.runs.recipe import with_settings
from equipoise.runs.restored import restored, whole_pictures
from equipoise.runs.run import Run

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
GAP = 4


def answer(run: Run, given: Tensor) -> Tensor:
    """The answer of a run to a picture [1, C, h, w]."""
    return restored(run.picture_game(run.trained_game()[0]), given, scale=run.scale)


def enlarged(given: Tensor, target: Tensor) -> Tensor:
    """What is given, at the size of what is asked for, without its mask."""
    plain = given[:, : target.shape[1]]
    return interpolate(plain, size=target.shape[2:], mode="bicubic", antialias=True)


def test_pairs(run: Run, path: Path) -> list[tuple[Tensor, Tensor]]:
    """Pictures of a test set as the run is given them."""
    pictures, chosen = whole_pictures(with_settings(run.recipe, {"data": {"path": path, "crop": 8}}).data.open())
    return [(pair.given, pair.target) for pair in map(pictures.whole, chosen)]


def sheet(rows: list[list[Tensor]], path: Path, *, times: int = 1) -> None:
    """Rows of pictures [1, C, H, W] of one size as one file, each pixel so many times as large."""
    lines = [torch.cat([_framed(one) for one in row], dim=2) for row in rows]
    whole = torch.cat(lines, dim=1).repeat_interleave(times, 1).repeat_interleave(times, 2)
    Image.fromarray(whole.permute(1, 2, 0).numpy()).save(path, quality=85)
    print(f"Wrote {path}")


def _framed(picture: Tensor) -> Tensor:
    levels = ((picture[0].clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).expand(3, -1, -1)
    return torch.nn.functional.pad(levels, (0, GAP, 0, GAP), value=255)


def cut(picture: Tensor, top: int, left: int, side: int) -> Tensor:
    """A square of a picture."""
    return picture[..., top : top + side, left : left + side]


def super_resolution(data: Path, seed: int) -> None:
    """Bicubic, reconstruction, adversarial, true."""
    both = (("reconstruction", FOR_PSNR), ("adversarial", {}))
    runs = [train("sr4", stage, data / "t91.zip", seed, changes | through_classes(data))[0] for stage, changes in both]
    rows = []
    pairs = (
        test_pairs(runs[0], targets_of(data / "set5.zip")) + test_pairs(runs[0], targets_of(data / "set14.zip"))[1::4]
    )
    for given, target in pairs[:6]:
        top, left = (max(side // 2 - 80, 0) for side in target.shape[2:])
        all_four = [enlarged(given, target), *(answer(run, given) for run in runs), target]
        rows.append([cut(one, top, left, 160) for one in all_four])
    sheet(rows, PICTURES / "restored-sr4.webp")


def inpainting(data: Path, seed: int) -> None:
    """Holes, Telea's method where OpenCV is installed, reconstruction, adversarial, true."""
    runs = [run for run, _ in stages("inpainting", data / "t91.zip", seed)]
    givens, targets = squares(runs[0], targets_of(data / "set14.zip"))
    classical, rows = telea(), []
    for given, target in list(zip(givens, targets))[3::12][:10]:
        known = target * (1 - given[-1:]) + given[-1:]
        others = [] if classical is None else [classical(given)]
        answers = [*others, *(answer(run, given[None])[0] for run in runs), target]
        rows.append([one[None] for one in (known, *answers)])
    sheet(rows, PICTURES / "restored-holes.webp", times=2)


def denoising(data: Path, seed: int) -> None:
    """Noisy, non-local means, reconstruction, adversarial, true."""
    runs = [run for run, _ in stages("denoising", data / "t91.zip", seed)]
    rows, factor = [], tuned(runs[0])
    for given, target in test_pairs(runs[0], targets_of(data / "set14.zip"))[1::3][:4]:
        top, left = (max(side // 2 - 90, 0) for side in target.shape[2:])
        answers = [given, smoothed(given, factor), *(answer(run, given) for run in runs), target]
        rows.append([cut(one, top, left, 180) for one in answers])
    sheet(rows, PICTURES / "restored-noise.webp")


def scans(data: Path, seed: int) -> None:
    """Low dose, non-local means, restored, true; two held-out slices."""
    run, _ = train("ct", "reconstruction", data / "stent.npz", seed, {})
    pictures, chosen = whole_pictures(run.parts(run.source()).held_out)
    pairs = [pictures.whole(chosen[at]) for at in (5, 25)]
    factor = tuned(run)
    rows = [[p.given, smoothed(p.given, factor), answer(run, p.given), p.target] for p in pairs]
    sheet([[seen(run, one) for one in row] for row in rows], PICTURES / "restored-ct.webp", times=2)


if __name__ == "__main__":
    choose(__doc__, {"sr": super_resolution, "inpainting": inpainting, "denoising": denoising, "ct": scans})
