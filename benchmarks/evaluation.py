"""Every evaluation metric beside an independent implementation of it, on real digits and photographs.

    python -m benchmarks.evaluation --data FOLDER     # benchmarks/results/evaluation.json, and the table

FOLDER holds mnist.npz and the ×4 test sets set5.zip and set14.zip (pairs *_HR.png, *_LR.png, LR made by bicubic
reduction). A row holds the mean of our values and of the reference's, and the largest relative difference of any two.
Rows are replaced by the name of their check. References that are not in the test extra (torch-fidelity, lpips,
pytorch-msssim; the first two need a torchvision that works) are compared where they are installed; else their rows
stay as they are. It takes about a minute of one core.

"Features" are those of a small network fitted to 2,000 of the digits, "reals" 1,000 other digits, "fakes" 900 further
digits with noise. Networks with public weights are compared with random weights, which need no download.
"""

import argparse
import importlib
import io
import json
import math
import tempfile
import time
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import numpy as np
import torch
from PIL import Image
from scipy.linalg import sqrtm
from scipy.ndimage import convolve, gaussian_filter
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2_contingency, mannwhitneyu, wasserstein_distance
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from benchmarks.speed import commit
from equipoise.core.seeding import generator
from equipoise.data.open import open_source
from equipoise.data.source import subset
from equipoise.metrics import bins, classes, confidence, critic, distribution, image_quality, memorisation, projections
from equipoise.metrics.inception import FIDInception, inception_answers, load_inception, resized
from equipoise.metrics.lpips import Backbone, load_lpips, perceptual_distance
from equipoise.objectives import minimax
from equipoise.runs.environment import processor_name
from equipoise.runs.features import fit_feature_net

RESULTS = Path(__file__).parent / "results" / "evaluation.json"
# PSNR of bicubic ×4 on the luma, in dB, as super-resolution papers report it for these files (Huang et al. 2015).
PUBLISHED = {"set5": 28.43, "set14": 26.09}


@dataclass(frozen=True)
class Check:
    """Our values and those of the reference for the same inputs. Differences are relative to `scale` where given."""

    name: str
    ours: float | Sequence[float]
    reference: float | Sequence[float]
    by: str
    scale: float | None = None

    def row(self) -> dict[str, Any]:
        ours, reference = np.atleast_1d(self.ours).astype(float), np.atleast_1d(self.reference).astype(float)
        scale = np.abs(reference) if self.scale is None else np.full_like(reference, self.scale)
        difference = np.abs(ours - reference) / np.where(scale > 0, scale, 1)
        return {
            "check": self.name,
            "ours": float(ours.mean()),
            "reference": float(reference.mean()),
            "relative_difference": float(difference.max()),
            "by": self.by,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder with mnist.npz, set5.zip and set14.zip")
    options = parser.parse_args()
    torch.set_num_threads(1)
    start = time.process_time()
    rows = {row["check"]: row for row in (json.loads(RESULTS.read_text()) if RESULTS.exists() else [])}
    for check in checks(options.data):
        row = {**check.row(), "machine": processor_name(), "commit": commit()}
        rows[row["check"]] = row
        print(line(row), flush=True)
    RESULTS.write_text(json.dumps(list(rows.values()), indent=1) + "\n")
    print(f"{len(rows)} rows in {RESULTS}, {time.process_time() - start:.0f} CPU seconds")


def line(row: dict[str, Any]) -> str:
    """One line of the table."""
    numbers = f"{row['ours']:14.6g}{row['reference']:14.6g}{row['relative_difference']:10.1e}"
    return f"{row['check']:44}{numbers}  {row['by']}"


def checks(folder: Path) -> Iterator[Check]:
    """All checks, family by family."""
    print(f"{'check':44}{'ours':>14}{'reference':>14}{'rel.diff':>10}  by")
    digits = open_source(folder / "mnist.npz", part="test")
    order = torch.randperm(len(digits), generator=generator("evaluation"))
    net = fit_feature_net(subset(digits, order[:2000], name="digits"), num_steps=120)
    real, fake, held_out = (digits.examples(order[a:b]) for a, b in ((2000, 3000), (3000, 3900), (3900, 4700)))
    fake = (fake + 0.3 * torch.randn(fake.shape, generator=generator("noise"))).clamp(-1, 1)
    labels = [digits.labels(order[a:b]) for a, b in ((2000, 3000), (3000, 3900))]
    x, y, z = (net.features(images).double() for images in (real, fake, held_out))
    scores = net.classes(fake)
    assert scores is not None
    yield from distances(x, y)
    yield from class_checks(x, y, labels, scores.double().softmax(1))
    yield from copies(x, y, z)
    yield from the_critic()
    yield from pyramids(real, fake)
    for name in PUBLISHED:
        yield from photographs(folder / f"{name}.zip", name)
    yield from inception()
    yield from perceptual()


# ---------------------------------------------------------------- features


def distances(x: Tensor, y: Tensor) -> Iterator[Check]:
    """Between sets of features."""
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    a, b = x.numpy(), y.numpy()
    covariances = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = np.real(sqrtm(covariances[0] @ covariances[1]))
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(covariances[0] + covariances[1] - 2 * root)
    yield Check("FID", distribution.frechet_distance(x, y), float(expected), "numpy, scipy.linalg.sqrtm")

    class Passing(nn.Module):
        num_features = x.shape[1]

        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1)

    reference = FrechetInceptionDistance(feature=Passing()).set_dtype(torch.float64)
    reference.update(x[:, :, None, None], real=True)
    reference.update(y[:, :, None, None], real=False)
    yield Check(
        "FID (second reference)", distribution.frechet_distance(x, y), reference.compute().item(), "torchmetrics"
    )

    size = len(y)
    ours = distribution.kernel_distance(x[:size], y, subset_size=size, num_subsets=1).mean
    kernels = [polynomial_kernel(p, q, degree=3, coef0=1) for p, q in ((a[:size], a[:size]), (b, b), (a[:size], b))]
    within = sum(k.sum() - np.trace(k) for k in kernels[:2]) / (size * (size - 1))
    yield Check("KID", ours, float(within - 2 * kernels[2].mean()), "scikit-learn kernel")
    kid = KernelInceptionDistance(feature=Passing(), subsets=1, subset_size=size)
    kid.update(x[:size, :, None, None], real=True)
    kid.update(y[:, :, None, None], real=False)
    yield Check("KID (second reference)", ours, kid.compute()[0].item(), "torchmetrics")

    of_real, of_fake = NearestNeighbors().fit(a), NearestNeighbors().fit(b)
    for k in (3, 5):
        real_radii = of_real.kneighbors(a, k + 1)[0][:, -1]
        fake_radii = of_fake.kneighbors(b, k + 1)[0][:, -1]
        to_fake, nearest_fake = of_fake.kneighbors(a, len(b))
        to_real, nearest_real = of_real.kneighbors(b, len(a))
        if k == 3:
            precision, recall = distribution.precision_recall(x, y, k=k)
            expected = (to_real <= real_radii[nearest_real]).any(1).mean()
            yield Check("precision", precision, float(expected), "scikit-learn neighbours")
            expected = (to_fake <= fake_radii[nearest_fake]).any(1).mean()
            yield Check("recall", recall, float(expected), "scikit-learn neighbours")
        else:
            density, coverage = distribution.density_coverage(x, y, k=k)
            expected = (to_fake <= real_radii[:, None]).sum() / (k * len(b))
            yield Check("density", density, float(expected), "scikit-learn neighbours")
            yield Check("coverage", coverage, float((to_fake[:, 0] <= real_radii).mean()), "scikit-learn neighbours")

    draw = generator(0, "sliced_wasserstein", "directions")
    lines = torch.randn(x.shape[1], 64, generator=draw, dtype=torch.float64).numpy()
    lines = lines / np.linalg.norm(lines, axis=0)
    expected = np.mean([wasserstein_distance(a @ direction, b @ direction) for direction in lines.T])
    ours = projections.sliced_wasserstein(x, y, num_directions=64)
    yield Check("sliced Wasserstein", ours, float(expected), "scipy, each direction")

    found = bins.different_bins(x, y, num_bins=50)
    counts = zip(
        (found.real_shares * len(x)).round().int().tolist(), (found.fake_shares * len(y)).round().int().tolist()
    )
    tables = [[[n, len(x) - n], [m, len(y) - m]] for n, m in counts]
    different = sum(chi2_contingency(table, correction=False)[1] < 0.05 for table in tables) / 50
    yield Check("NDB / K", found.share_different, different, "scipy chi-squared of each bin")
    expected = jensenshannon(found.real_shares.numpy(), found.fake_shares.numpy()) ** 2
    yield Check("NDB Jensen-Shannon divergence", found.divergence, float(expected), "scipy")

    low, high, _ = confidence.interval_of_metric(lambda p, q: (q - p.mean(0)).mean().item(), x, y, num_resamples=1000)
    variance = (x.mean(1).var() / len(x) + y.mean(1).var() / len(y)).item()
    yield Check("width of the interval of a difference", high - low, 2 * 1.96 * variance**0.5, "theory")


def class_checks(x: Tensor, y: Tensor, labels: list[Tensor], probabilities: Tensor) -> Iterator[Check]:
    """With labels or class probabilities."""
    from torchmetrics.image.inception import InceptionScore

    reference = InceptionScore(feature=nn.Flatten(), splits=1)
    reference.update(probabilities.log()[:, :, None, None])
    ours = classes.inception_score(probabilities, num_splits=1).mean
    yield Check("Inception Score", ours, reference.compute()[0].item(), "torchmetrics")

    ours = classes.intra_class_frechet_distance(x, y, real_labels=labels[0], fake_labels=labels[1])
    expected = []
    for number in range(10):
        a, b = x[labels[0] == number].numpy(), y[labels[1] == number].numpy()
        c, d = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
        # Eigenvalues, for these covariances need not have full rank.
        root = np.real(np.sqrt(np.linalg.eigvals(c @ d).astype(complex))).sum()
        expected.append(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(c) + np.trace(d) - 2 * root)
    yield Check("intra-class FID", list(ours.of_class.values()), expected, "numpy eigenvalues")

    ours = classes.classification_accuracy_score(y, labels[1], test_features=x, test_labels=labels[0]).accuracy
    scaler = StandardScaler().fit(y.numpy())
    fitted = LogisticRegression(max_iter=5000, tol=1e-8, solver="newton-cg")
    fitted.fit(scaler.transform(y.numpy()), labels[1].numpy())
    expected = fitted.score(scaler.transform(x.numpy()), labels[0].numpy())
    yield Check("classification accuracy score", ours, float(expected), "scikit-learn, another solver")


def copies(x: Tensor, y: Tensor, z: Tensor) -> Iterator[Check]:
    """Memorisation: x are the training examples, y fakes, z held-out examples."""
    ours = memorisation.authenticity(y, x)
    of_train = NearestNeighbors(n_neighbors=2).fit(x.numpy())
    distance, which = of_train.kneighbors(y.numpy(), 1)
    to_other = of_train.kneighbors(x.numpy(), 2)[0][:, 1]
    yield Check("authenticity", ours, float((distance[:, 0] > to_other[which[:, 0]]).mean()), "scikit-learn neighbours")

    found = memorisation.data_copying(y, x, z, num_cells=4)
    means = KMeans(4, n_init="auto", random_state=0).fit(x.numpy())
    cells = [means.predict(s.numpy()) for s in (x, y, z)]
    total, weight = 0.0, 0.0
    for number in range(4):
        train, fake, held_out = (s.numpy()[c == number] for s, c in zip((x, y, z), cells))
        near = NearestNeighbors(n_neighbors=1).fit(train)
        u = mannwhitneyu(near.kneighbors(fake)[0][:, 0], near.kneighbors(held_out)[0][:, 0]).statistic
        n, m = len(fake), len(held_out)
        total += m * (u - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)
        weight += m
    yield Check("C_T", found.z, total / weight, "scipy, scikit-learn")

    fresh = z[:400]
    with_copies = torch.cat([fresh[:380], x[:20] + 1e-3])
    for name, fakes, expected in [("none", fresh, 0.0), ("5 %", with_copies, 0.05)]:
        share = memorisation.flag_copies(fakes, x, z[400:]).share
        yield Check(f"flagged copies, planted: {name}", share, expected, "what was planted", scale=1)


def the_critic() -> Iterator[Check]:
    """AUC and the duality gap."""
    logits = [
        torch.randn(n, generator=generator("auc", n)).mul(3).round() + shift for n, shift in ((700, 0.5), (500, 0))
    ]
    expected = roc_auc_score(np.repeat([1, 0], [700, 500]), torch.cat(logits).numpy())
    yield Check("AUC, with ties", critic.auc(*logits), float(expected), "scikit-learn")

    class Table(nn.Module):
        def __init__(self):
            super().__init__()
            self.logits = nn.Parameter(torch.zeros(3))

        def forward(self, one_hot: Tensor) -> Tensor:
            return one_hot @ self.logits

    one_hot = [torch.eye(3).repeat_interleave(torch.tensor(counts), 0) for counts in ([8, 4, 4], [2, 2, 12])]
    batch = [(one_hot[0], one_hot[1])]
    scaled = nn.Linear(3, 3, bias=False)
    nn.init.eye_(scaled.weight)
    search = critic.Search(learning_rate=0.05)
    gap = critic.duality_gap(scaled, Table(), loss=minimax, searching=batch, judging=batch, search=search).gap
    divergence = jensenshannon(np.array([8, 4, 4]) / 16, np.array([2, 2, 12]) / 16) ** 2
    yield Check("duality gap of a known game", gap, float(2 * divergence), "closed form, 2 JSD")


# ---------------------------------------------------------------- images


def pyramids(real: Tensor, fake: Tensor) -> Iterator[Check]:
    """Patches of digits of 32 × 32."""
    a, b = (nn.functional.pad(images[:100], (2, 2, 2, 2), value=-1.0) for images in (real, fake))
    ours = projections.laplacian_swd(a, b, patches_per_image=16, num_directions=32)
    expected = laplacian_swd_by_scipy(a.double().numpy(), b.double().numpy(), num_patches=16, num_directions=32, seed=0)
    yield Check("Laplacian SWD", list(ours.values()), list(expected.values()), "scipy pyramid and distances")


def photographs(path: Path, name: str) -> Iterator[Check]:
    """The bicubic enlargements of a test set beside the originals."""
    from skimage.color import rgb2ycbcr
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    pairs = list(enlarged(path))
    on_luma = [(image_quality.luma(x), image_quality.luma(y)) for x, y in pairs]
    ours = [image_quality.psnr(x, y, shave=4).item() for x, y in on_luma]
    yield Check(f"PSNR-Y of bicubic ×4, {name}", float(np.mean(ours)), PUBLISHED[name], "published value, dB")
    planes = [[np.asarray(rgb2ycbcr(pixels(image)))[4:-4, 4:-4, 0] for image in pair] for pair in pairs]
    expected = [peak_signal_noise_ratio(y, x, data_range=255) for x, y in planes]
    yield Check(f"PSNR-Y, {name}", ours, expected, "scikit-image")
    settings: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    ours = [image_quality.ssim(x, y, shave=4).item() for x, y in on_luma]
    expected = [structural_similarity(y, x, data_range=255, **settings) for x, y in planes]
    yield Check(f"SSIM-Y, {name}", ours, expected, "scikit-image")
    ours = [image_quality.mean_absolute_error(x, y).item() for x, y in pairs]
    expected = [float(np.abs(pixels(x) - pixels(y)).mean()) * 2 for x, y in pairs]
    yield Check(f"mean absolute error, {name}", ours, expected, "numpy")
    large = [(x.double(), y.double()) for x, y in pairs if min(x.shape[2:]) >= 161]
    ours = [image_quality.ms_ssim(x, y).item() for x, y in large]
    expected = [ms_ssim_by_scipy(x[0].numpy() + 1, y[0].numpy() + 1) for x, y in large]
    yield Check(f"MS-SSIM, {name}", ours, expected, "scipy filters")
    if package := installed("pytorch_msssim"):
        # On the luma, for this package averages the channels last, and on sides that can be halved four times.
        sides = [(x.shape[2] // 16 * 16, x.shape[3] // 16 * 16) for x, _ in on_luma]
        even = [(x[..., :h, :w], y[..., :h, :w]) for (x, y), (h, w) in zip(on_luma, sides) if min(h, w) >= 176]
        ours = [image_quality.ms_ssim(x, y).item() for x, y in even]
        expected = [package.ms_ssim(x + 1, y + 1, data_range=2.0).item() for x, y in even]
        yield Check(f"MS-SSIM-Y, {name}", ours, expected, "pytorch-msssim 1.0")


def enlarged(path: Path) -> Iterator[tuple[Tensor, Tensor]]:
    """(bicubic enlargement, original) of every pair of an archive, each [1, 3, H, W]."""
    with zipfile.ZipFile(path) as archive:
        for name in sorted(n for n in archive.namelist() if n.endswith("_HR.png")):
            original, small = (
                Image.open(io.BytesIO(archive.read(n)), formats=("PNG",)).convert("RGB")
                for n in (name, name.replace("_HR.png", "_LR.png"))
            )
            # Pillow's bicubic has a = -0.5 as MATLAB's, and no antialias where it enlarges.
            large = small.resize(original.size, Image.Resampling.BICUBIC)
            x, y = (torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 127.5 - 1 for image in (large, original))
            yield x, y


def pixels(image: Tensor) -> np.ndarray:
    """[H, W, 3] in [0, 1], float64."""
    return np.round((image[0].permute(1, 2, 0).double().numpy() + 1) * 127.5) / 255


def ms_ssim_by_scipy(x: np.ndarray, y: np.ndarray, weights: Iterable[float] = image_quality.MS_SSIM_WEIGHTS) -> float:
    """MS-SSIM of one image [C, H, W] with values in [0, 2], scale by scale, by scipy's Gaussian filter."""
    product, weights = 1.0, list(weights)
    for scale, weight in enumerate(weights):
        mean_x, mean_y = windows(x), windows(y)
        variances = windows(x * x) - mean_x**2 + windows(y * y) - mean_y**2
        contrast = (2 * (windows(x * y) - mean_x * mean_y) + 0.06**2) / (variances + 0.06**2)
        light = (2 * mean_x * mean_y + 0.02**2) / (mean_x**2 + mean_y**2 + 0.02**2)
        term = (light * contrast).mean() if scale == len(weights) - 1 else contrast.mean()
        product *= max(term, 0) ** weight
        # The filter of Wang's code: means of 2 × 2 with the last row and column repeated, every second kept.
        x, y = (np.pad(a, ((0, 0), (0, a.shape[1] % 2), (0, a.shape[2] % 2)), mode="edge") for a in (x, y))
        x, y = (a.reshape(len(a), a.shape[1] // 2, 2, a.shape[2] // 2, 2).mean((2, 4)) for a in (x, y))
    return float(product)


def windows(a: np.ndarray) -> np.ndarray:
    """Gaussian means of the windows of 11 × 11 inside the image."""
    return gaussian_filter(a, (0, 1.5, 1.5), truncate=3.5)[:, 5:-5, 5:-5]


def laplacian_swd_by_scipy(
    a: np.ndarray, b: np.ndarray, *, num_patches: int, num_directions: int, seed: int
) -> dict[int, float]:
    """The same pyramid by scipy's filters, the same patches one by one, and scipy's distance in each direction."""
    found = {}
    for x, y in zip(pyramid_by_scipy(a), pyramid_by_scipy(b)):
        n, c, side = x.shape[:3]
        draw = generator(seed, "laplacian_swd", side, "places")
        top, left = (torch.randint(side - 6, (n, num_patches), generator=draw).numpy() for _ in range(2))
        sets = []
        for images in (x, y):
            places = [(i, top[i, j], left[i, j]) for i in range(n) for j in range(num_patches)]
            patches = np.array([images[i, :, r : r + 7, s : s + 7] for i, r, s in places])
            patches = patches - patches.mean((0, 2, 3), keepdims=True)
            sets.append((patches / patches.std((0, 2, 3), keepdims=True)).reshape(len(patches), -1))
        draw = generator(seed, "laplacian_swd", side, "directions")
        lines = torch.randn(c * 49, num_directions, generator=draw, dtype=torch.float64).numpy()
        lines = lines / np.linalg.norm(lines, axis=0)
        found[side] = 1000 * float(np.mean([wasserstein_distance(sets[0] @ line, sets[1] @ line) for line in lines.T]))
    return found


def pyramid_by_scipy(images: np.ndarray) -> list[np.ndarray]:
    """The levels of the Laplacian pyramid, the finest first, the last one 16 × 16."""
    taps = np.array([1, 4, 6, 4, 1]) / 16
    kernel = np.outer(taps, taps)[None, None]
    levels = [images]
    while levels[-1].shape[-1] > 16:
        down = convolve(levels[-1], kernel, mode="mirror")[:, :, ::2, ::2]
        up = np.zeros_like(levels[-1])
        up[:, :, ::2, ::2] = down
        levels[-1] = levels[-1] - convolve(up, 4 * kernel, mode="mirror")
        levels.append(down)
    return levels


# ---------------------------------------------------------------- networks with public weights


def inception() -> Iterator[Check]:
    """The network and its resizers, with random weights in the layout of the public file."""
    pillow, ours = [], []
    photo = np.random.default_rng(0).integers(0, 256, (3, 400, 333), dtype=np.uint8)
    for channel in photo.astype(np.float32):
        image = Image.fromarray(channel).resize((299, 299), Image.Resampling.BICUBIC)
        pillow.append(np.asarray(image).clip(0, 255))
    as_image = torch.from_numpy(photo)[None].float() / 127.5 - 1
    ours = resized(as_image, resizer="bicubic-antialiased")[0].numpy()
    yield Check("bicubic-antialiased pixels", ours.ravel().tolist(), np.array(pillow).ravel().tolist(), "Pillow", 255)
    if not (package := installed("torch_fidelity.feature_extractor_inceptionv3")):
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.pth"
        torch.save(random_inception(), path)
        net = load_inception(path, sha256=None)
        asked = ["2048", "logits_unbiased", "logits"]
        reference = package.FeatureExtractorInceptionV3("reference", asked, feature_extractor_weights_path=str(path))
    images = torch.randint(256, (4, 3, 64, 48), generator=generator("inception"), dtype=torch.uint8)
    answer = inception_answers(net, images.float() / 127.5 - 1)
    named = zip(("features", "unbiased logits", "logits"), (answer.features, answer.unbiased_logits, answer.logits))
    for (name, found), expected in zip(named, reference(images)):
        scale = expected.abs().max().item()
        yield Check(
            f"Inception {name}", found.flatten().tolist(), expected.flatten().tolist(), "torch-fidelity 0.4", scale
        )


def random_inception() -> dict[str, Tensor]:
    """Weights that keep the size of the signal through 94 layers."""
    with torch.device("meta"):
        layout = FIDInception().state_dict()
    draw, weights = generator("random_inception"), {}
    for name, value in layout.items():
        x = torch.randn(value.shape, generator=draw)
        if name.endswith("num_batches_tracked"):
            x = torch.zeros((), dtype=torch.long)
        elif name.endswith("conv.weight"):
            x = x * math.sqrt(2 / value[0].numel())
        elif name.endswith(("bn.weight", "running_var")):
            x = (0.1 * x).exp()
        else:
            x = 0.1 * x
        weights[name] = x
    return weights


def perceptual() -> Iterator[Check]:
    """LPIPS with random backbones and the heads that the lpips package brings."""
    package, backbones = installed("lpips"), installed("torchvision.models")
    if package is None or backbones is None:
        return
    x, y = torch.rand(2, 3, 3, 64, 80, generator=generator("lpips")) * 2 - 1
    for kind in get_args(Backbone):
        torch.manual_seed(0)
        backbone = backbones.alexnet(weights=None) if kind == "alex" else backbones.vgg16(weights=None)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "backbone.pth"
            torch.save(backbone.state_dict(), path)
            heads = Path(str(package.__file__)).parent / "weights" / "v0.1" / f"{kind}.pth"
            net = load_lpips(kind, backbone_file=path, heads_file=heads)
        reference = package.LPIPS(net=kind, pnet_rand=True, verbose=False).eval()
        numbered = backbone.features.state_dict()
        reference.net.load_state_dict({name: numbered[name.partition(".")[2]] for name in reference.net.state_dict()})
        with torch.no_grad():
            expected = reference(x, y).flatten().tolist()
        yield Check(f"LPIPS {kind}", perceptual_distance(net, x, y).tolist(), expected, "lpips 0.1.4, its heads")


def installed(name: str) -> ModuleType | None:
    """The module, or None and a word about it."""
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError) as error:
        print(f"{name} is left out: {error}")
        return None


if __name__ == "__main__":
    main()
