"""Degradations made on the fly: what a restoration game undoes, from a sharp image by stated rules and a generator.

Settings are frozen dataclasses that a recipe can hold; `degraded` applies them. Images are [N, C, H, W] in [-1, 1], and
every image gets random settings of its own.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import Literal, assert_never, get_args

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn.functional import conv2d, interpolate

from equipoise.data.checks import Range, check_bits, check_choice, check_number, check_range, check_shares
from equipoise.data.source import to_float
from equipoise.data.tomography import filtered_back_projection, projections

WATER = 0.02
"""Attenuation of X-rays of about 70 keV by water, per millimetre."""

DownscaleFilter = Literal["bicubic", "bilinear", "box", "lanczos"]
ResizeFilter = Literal["area", "bilinear", "bicubic"]


@dataclass(frozen=True, kw_only=True)
class Downscale:
    """Images made smaller by a whole `factor`, antialiased as Pillow does it, rounded to `round_to` bits as files are.

    The classical task of super-resolution is "bicubic", with a = -0.5. 0 leaves the result unrounded.
    """

    kind: Literal["downscale"] = "downscale"
    factor: int = 4
    filter: DownscaleFilter = "bicubic"
    round_to: int = 8

    def __post_init__(self):
        check_number("factor", self.factor, 2, 64)
        check_choice("filter", self.filter, get_args(DownscaleFilter))
        check_bits(self.round_to)


@dataclass(frozen=True, kw_only=True)
class Kernels:
    """How often each kind of blur kernel is drawn: shares, relative to their sum.

    With q = u²/σ_x² + v²/σ_y² along turned axes u, v ("isotropic": σ_x = σ_y): Gaussian exp(-q/2), generalised Gaussian
    exp(-q^β/2), plateau 1/(1 + q^β); sinc is the ideal circular low-pass filter, which rings.
    """

    isotropic: float = 0.0
    anisotropic: float = 0.0
    generalised_isotropic: float = 0.0
    generalised_anisotropic: float = 0.0
    plateau_isotropic: float = 0.0
    plateau_anisotropic: float = 0.0
    sinc: float = 0.0

    def __post_init__(self):
        check_shares({field.name: getattr(self, field.name) for field in fields(self)})


@dataclass(frozen=True, kw_only=True)
class Blur:
    """Blur by a random kernel, with mirrored borders; by default those of Real-ESRGAN (Wang et al. 2021).

    Drawn for each image: the kernel's kind, its side, odd, within `size` pixels, `sigma` in pixels, `rotation` in
    degrees, β from `generalised` or `plateau` (half of the draws below 1, half above, where the range has both), and
    the `cutoff` of a sinc as a share of the highest frequency π, at least 1/3 where the kernel is below 13 pixels.
    """

    kind: Literal["blur"] = "blur"
    kernels: Kernels = Kernels(
        isotropic=0.405,
        anisotropic=0.225,
        generalised_isotropic=0.108,
        generalised_anisotropic=0.027,
        plateau_isotropic=0.108,
        plateau_anisotropic=0.027,
        sinc=0.1,
    )
    size: tuple[int, int] = (7, 21)
    sigma: Range = (0.2, 3.0)
    rotation: Range = (-180.0, 180.0)
    generalised: Range = (0.5, 4.0)
    plateau: Range = (1.0, 2.0)
    cutoff: Range = (0.2, 1.0)

    def __post_init__(self):
        check_range("size", self.size, 1, 101)
        if not all(side % 2 for side in self.size):
            raise ValueError(f"size is {self.size}: expected odd numbers of pixels, so that a kernel has a middle.")
        check_range("sigma", self.sigma, 0.01, 50)
        check_range("rotation", self.rotation, -360, 360)
        check_range("generalised", self.generalised, 0.1, 10)
        check_range("plateau", self.plateau, 0.1, 10)
        check_range("cutoff", self.cutoff, 0.05, 1)


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Noise, Gaussian or, for a `poisson_share` of the images, Poisson; for a share `grey` the same in all channels.

    - Gaussian: standard deviation from `sigma`, in units of 0..255.
    - Poisson: shot noise of v photons where the image is white, times a factor from `poisson`; v is the number of
      different bytes in the image, rounded up to a power of 2 (at most 256), as in Real-ESRGAN.
    """

    kind: Literal["noise"] = "noise"
    sigma: Range = (25.0, 25.0)
    poisson: Range = (0.05, 3.0)
    poisson_share: float = 0.0
    grey: float = 0.0

    def __post_init__(self):
        check_range("sigma", self.sigma, 0, 255)
        check_range("poisson", self.poisson, 0, 100)
        check_number("poisson_share", self.poisson_share, 0, 1)
        check_number("grey", self.grey, 0, 1)


@dataclass(frozen=True, kw_only=True)
class Jpeg:
    """Images compressed and read again by Pillow's JPEG codec (4:2:0 in colour), of a quality drawn from a range."""

    kind: Literal["jpeg"] = "jpeg"
    quality: tuple[int, int] = (30, 95)

    def __post_init__(self):
        check_range("quality", self.quality, 1, 100)


@dataclass(frozen=True, kw_only=True)
class Resize:
    """Images resized by a random factor and back to the size they had, each time with a random filter.

    `up`, `down` and `keep` are shares; the factor is drawn from 1 to the end of `scale`, or from its start to 1. As in
    Real-ESRGAN "bilinear" and "bicubic" are not antialiased, "area" is. Inside `RealWorld` the way back comes later.
    """

    kind: Literal["resize"] = "resize"
    up: float = 0.2
    down: float = 0.7
    keep: float = 0.1
    scale: Range = (0.15, 1.5)
    filters: tuple[ResizeFilter, ...] = ("area", "bilinear", "bicubic")

    def __post_init__(self):
        check_shares({"up": self.up, "down": self.down, "keep": self.keep})
        if not 0.01 <= self.scale[0] <= 1 <= self.scale[1] <= 8:
            raise ValueError(f"scale is {self.scale}: expected a range around 1, within 0.01 to 8.")
        if not self.filters:
            raise ValueError(f"filters is empty: expected some of {', '.join(get_args(ResizeFilter))}.")
        for name in self.filters:
            check_choice("filters", name, get_args(ResizeFilter))


@dataclass(frozen=True, kw_only=True)
class RealWorld:
    """The second-order chain of Real-ESRGAN with its probabilities: small images as they come from the wild.

    Blur, resize, noise, JPEG; then for a `second_blur_share` blur, resize relative to the final size, noise, and JPEG
    before or after (half each) the step to the final size with a sinc filter for a `sinc_share`. The result is H/factor
    x W/factor, rounded to `round_to` bits. Source: Wang et al. 2021, Real-ESRGAN: Training Real-World Blind
    Super-Resolution with Pure Synthetic Data. The paper's sharpening of the target is not part of the degradation.
    """

    kind: Literal["real-world"] = "real-world"
    factor: int = 4
    blur: Blur = Blur()
    resize: Resize = Resize()
    noise: Noise = Noise(sigma=(1.0, 30.0), poisson=(0.05, 3.0), poisson_share=0.5, grey=0.4)
    jpeg: Jpeg = Jpeg()
    second_blur_share: float = 0.8
    second_blur: Blur = Blur(sigma=(0.2, 1.5))
    second_resize: Resize = Resize(up=0.3, down=0.4, keep=0.3, scale=(0.3, 1.2))
    second_noise: Noise = Noise(sigma=(1.0, 25.0), poisson=(0.05, 2.5), poisson_share=0.5, grey=0.4)
    second_jpeg: Jpeg = Jpeg()
    sinc_share: float = 0.8
    sinc: Blur = Blur(kernels=Kernels(sinc=1.0), cutoff=(1 / 3, 1.0))
    round_to: int = 8

    def __post_init__(self):
        check_number("factor", self.factor, 1, 64)
        check_number("second_blur_share", self.second_blur_share, 0, 1)
        check_number("sinc_share", self.sinc_share, 0, 1)
        check_bits(self.round_to)


@dataclass(frozen=True, kw_only=True)
class LowDose:
    """The noise of a computed tomography with few photons, for slices [N, 1, H, W] whose -1 and 1 are HU values.

    Attenuation is μ = 0.02/mm · (1 + HU/1000), at least 0; a slice is `field_of_view` millimetres wide (its longer
    side), with air around it. Of parallel beams at `views` angles over half a turn, each detector bin counts
    Poisson(I₀ exp(-p)) + N(0, `electronic`²) photons, with the line integral p and the count without patient I₀, drawn
    from `photons` evenly in its logarithm. The slice comes from ln(I₀/max(count, 1)) by filtered back-projection F.

    With `residual` the result is slice + F(noisy) - F(clean): only noise is added, and undoing the blur of F is no part
    of the task. Without it, it is F(noisy). Values beyond `low` or `high` are clipped.
    """

    kind: Literal["low-dose"] = "low-dose"
    low: float = -1024.0
    """The HU that -1 stands for."""
    high: float = 3072.0
    """The HU that 1 stands for."""
    photons: Range = (1e5, 1e5)
    electronic: float = 3.0
    views: int = 180
    field_of_view: float = 350.0
    residual: bool = True

    def __post_init__(self):
        if not -1100 <= self.low < self.high <= 32767:
            raise ValueError(
                f"low and high are {self.low} and {self.high}: expected Hounsfield units from -1100 to 32767, "
                "the lower one first."
            )
        check_range("photons", self.photons, 10, 1e8)
        check_number("electronic", self.electronic, 0, 1000)
        check_number("views", self.views, 8, 2000)
        check_number("field_of_view", self.field_of_view, 1, 2000)


@dataclass(frozen=True, kw_only=True)
class Rician:
    """Noise of magnetic resonance magnitudes [N, 1, H, W]: √((a + σε₁)² + (σε₂)²), a = (x + 1)/2, ε from N(0, 1).

    σ is drawn from `sigma`, as a share of white. Where there is no signal the mean is σ√(π/2), not 0.
    """

    kind: Literal["rician"] = "rician"
    sigma: Range = (0.02, 0.1)

    def __post_init__(self):
        check_range("sigma", self.sigma, 0, 1)


@dataclass(frozen=True, kw_only=True)
class Undersampled:
    """Magnetic resonance from a part of k-space: magnitudes [N, 1, H, W] of images with missing columns of frequencies.

    Of W columns, round(W/acceleration) are kept: the middle `centre` share, and others at random, anew for each image.
    The image is taken as real (no phase), so its k-space is symmetric; what is missing is 0.
    """

    kind: Literal["undersampled"] = "undersampled"
    acceleration: float = 4.0
    centre: float = 0.08

    def __post_init__(self):
        check_number("acceleration", self.acceleration, 1, 64)
        check_number("centre", self.centre, 0, 1)
        if self.centre * self.acceleration > 1:
            raise ValueError(
                f"centre is {self.centre} with an acceleration of {self.acceleration}: the middle alone is more than "
                f"1/{self.acceleration:g} of the columns. Expected a centre of at most {1 / self.acceleration:.3g}."
            )


@dataclass(frozen=True, kw_only=True)
class Grey:
    """Colour taken away, for colourisation: every channel becomes the luma of ITU-R 601; [N, 3, H, W] stays so."""

    kind: Literal["grey"] = "grey"


Degradation = Downscale | Blur | Noise | Jpeg | Resize | RealWorld | LowDose | Rician | Undersampled | Grey


def degraded(
    x: Float[Tensor, "n c h w"], degradation: Degradation | Sequence[Degradation], draw: torch.Generator
) -> Float[Tensor, "n c hs ws"]:
    """Images [N, C, H, W] in [-1, 1] made worse by one degradation, or by several in order; in [-1, 1] again.

    Random numbers come from `draw`, a generator on the CPU: equal states give equal results. A degradation that does
    not fit the images (channels, or a size that the factor does not divide) is a ValueError.

    >>> degraded(torch.zeros(2, 3, 64, 64), Downscale(factor=4), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3, 16, 16])
    """
    if x.ndim != 4 or not x.is_floating_point():
        raise ValueError(
            f"degraded got {x.dtype} of shape {tuple(x.shape)}: expected images [N, C, H, W] as floats in [-1, 1]."
        )
    if isinstance(degradation, Sequence):
        for one in degradation:
            x = degraded(x, one, draw)
        return x
    match degradation:
        case Downscale():
            y = downscaled(x, degradation)
        case Blur():
            y = torch.stack([blurred(image, degradation, draw) for image in x])
        case Noise():
            y = torch.stack([noisy(image, degradation, draw) for image in x])
        case Jpeg():
            y = torch.stack([compressed(image, degradation, draw) for image in x])
        case Resize():
            y = torch.stack([there_and_back(image, degradation, draw) for image in x])
        case RealWorld():
            y = torch.stack([second_order(image, degradation, draw) for image in x])
        case LowDose():
            y = low_dose(x, degradation, draw)
        case Rician():
            y = rician(x, degradation, draw)
        case Undersampled():
            y = undersampled(x, degradation, draw)
        case Grey():
            y = luma(x, "Grey").expand_as(x)
        case _:
            assert_never(degradation)
    return y.clamp(-1, 1)


def shrinkage(degradation: Degradation | Sequence[Degradation]) -> int:
    """By what whole factor degradations make an image smaller: how much a generator has to enlarge.

    >>> shrinkage([Grey(), Downscale(factor=2)])
    2
    """
    if isinstance(degradation, Sequence):
        return math.prod(shrinkage(one) for one in degradation)
    return degradation.factor if isinstance(degradation, Downscale | RealWorld) else 1


def resized(
    x: Float[Tensor, "n c h w"], size: tuple[int, int], filter: DownscaleFilter = "bicubic"
) -> Float[Tensor, "n c hs ws"]:
    """Images of another `size` (height, width), antialiased as Pillow resizes, without its rounding to bytes.

    Each axis is a matrix of weights: output pixel i reads around (i + ½)s - ½, with s the ratio of the sizes, by the
    filter's bell, stretched by s where the axis shrinks, cut off at the border and with a sum of 1.
    """
    if x.shape[3] != size[1]:
        x = x @ _resampling(x.shape[3], size[1], filter).to(x).T
    if x.shape[2] != size[0]:
        x = _resampling(x.shape[2], size[0], filter).to(x) @ x
    return x


def bell_kernel(
    size: int, *, sigma: tuple[float, float], angle: float = 0.0, beta: float = 1.0, plateau: bool = False
) -> Float[Tensor, "k k"]:
    """A blur kernel [size, size] with a sum of 1: exp(-q^β/2), or 1/(1 + q^β) as a plateau; see `Kernels`.

    `sigma` are the widths in pixels along two axes, turned by `angle` in radians; β = 1 is the Gaussian.
    """
    place = torch.arange(size) - (size - 1) / 2
    u = math.cos(angle) * place + math.sin(angle) * place[:, None]
    v = math.cos(angle) * place[:, None] - math.sin(angle) * place
    q = ((u / sigma[0]) ** 2 + (v / sigma[1]) ** 2) ** beta
    kernel = 1 / (1 + q) if plateau else torch.exp(-q / 2)
    return kernel / kernel.sum()


def sinc_kernel(size: int, cutoff: float) -> Float[Tensor, "k k"]:
    """The ideal circular low-pass filter [size, size], cut off at its border, with a sum of 1.

    k(r) = ω J₁(ωr)/(2πr), ω²/(4π) in the middle, with ω = π · `cutoff` and the Bessel function J₁.
    """
    place = torch.arange(size) - (size - 1) / 2
    r = torch.hypot(place, place[:, None])
    omega = math.pi * cutoff
    around = omega * torch.special.bessel_j1(omega * r) / (2 * math.pi * r.clamp_min(0.5))
    kernel = torch.where(r == 0, omega**2 / (4 * math.pi), around)
    return kernel / kernel.sum()


def downscaled(x: Tensor, settings: Downscale) -> Tensor:
    """Images [N, C, H, W] by the rules of `Downscale`."""
    height, width = final_size(x, settings.factor)
    for size in ((x.shape[2], width), (height, width)):  # Pillow makes bytes of the columns before it does the rows
        x = rounded(resized(x, size, settings.filter).clamp(-1, 1), settings.round_to)
    return x


def blurred(image: Tensor, settings: Blur, draw: torch.Generator) -> Tensor:
    """One image [C, H, W] by the rules of `Blur`; a sinc may go beyond the range."""
    kernel = random_kernel(settings, draw).to(image)
    reach = len(kernel) // 2
    rows, columns = (_mirrored(side, reach).to(image.device) for side in image.shape[1:])
    around = image[:, rows][:, :, columns]
    return conv2d(around[:, None], kernel[None, None])[:, 0]


def random_kernel(settings: Blur, draw: torch.Generator) -> Tensor:
    """A kernel [K, K] by the rules of `Blur`."""
    smallest, largest = settings.size
    size = smallest + 2 * chosen([1.0] * ((largest - smallest) // 2 + 1), draw)
    name = fields(Kernels)[chosen(astuple(settings.kernels), draw)].name
    if name == "sinc":
        lowest, highest = settings.cutoff
        if size < 13:
            lowest = min(max(lowest, 1 / 3), highest)
        return sinc_kernel(size, uniform((lowest, highest), draw))
    sigma = uniform(settings.sigma, draw)
    widths, angle, beta = (sigma, sigma), 0.0, 1.0
    if name.endswith("anisotropic"):
        widths = (sigma, uniform(settings.sigma, draw))
        angle = math.radians(uniform(settings.rotation, draw))
    if name not in ("isotropic", "anisotropic"):
        lowest, highest = settings.generalised if name.startswith("generalised") else settings.plateau
        if lowest <= 1 <= highest:
            lowest, highest = (lowest, 1) if uniform((0, 1), draw) < 0.5 else (1, highest)
        beta = uniform((lowest, highest), draw)
    return bell_kernel(size, sigma=widths, angle=angle, beta=beta, plateau=name.startswith("plateau"))


def noisy(image: Tensor, settings: Noise, draw: torch.Generator) -> Tensor:
    """One image [C, H, W] by the rules of `Noise`, in [-1, 1]."""
    of_one_channel = uniform((0, 1), draw) < settings.grey
    if uniform((0, 1), draw) < settings.poisson_share:
        factor = uniform(settings.poisson, draw)
        seen = luma(image[None], "Noise with grey")[0] if of_one_channel else image
        light = rounded(seen.clamp(-1, 1), 8) / 2 + 0.5
        photons = 2 ** math.ceil(math.log2(len(light.unique())))
        counts = torch.poisson(light.cpu() * photons, generator=draw).to(image)
        return (image + 2 * factor * (counts / photons - light)).clamp(-1, 1)
    sigma = uniform(settings.sigma, draw)
    shape = (1, *image.shape[1:]) if of_one_channel else image.shape
    return (image + sigma / 127.5 * torch.randn(shape, generator=draw).to(image)).clamp(-1, 1)


def compressed(image: Tensor, settings: Jpeg, draw: torch.Generator) -> Tensor:
    """One image [C, H, W] by the rules of `Jpeg`."""
    if len(image) not in (1, 3):
        raise ValueError(f"Jpeg got images of {len(image)} channels: expected 1 (grey) or 3 (colour).")
    lowest, highest = settings.quality
    quality = int(torch.randint(lowest, highest + 1, (), generator=draw))
    pixels = image.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    file = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if len(image) == 1 else pixels).save(file, "JPEG", quality=quality)
    decoded = np.array(Image.open(file))
    return to_float(torch.from_numpy(decoded).view(pixels.shape).permute(2, 0, 1)).to(image)


def there_and_back(image: Tensor, settings: Resize, draw: torch.Generator) -> Tensor:
    """One image [C, H, W] by the rules of `Resize`, of the size it had; "bicubic" may go beyond the range."""
    height, width = image.shape[1:]
    return in_size(scaled(image, (height, width), settings, draw), (height, width), settings, draw)


def scaled(image: Tensor, size: tuple[float, float], settings: Resize, draw: torch.Generator) -> Tensor:
    """One image [C, H, W] resized to a random multiple of `size`, at least one pixel."""
    match chosen((settings.up, settings.down, settings.keep), draw):
        case 0:
            factor = uniform((1, settings.scale[1]), draw)
        case 1:
            factor = uniform((settings.scale[0], 1), draw)
        case _:
            factor = 1.0
    return in_size(image, (max(1, int(size[0] * factor)), max(1, int(size[1] * factor))), settings, draw)


def in_size(image: Tensor, size: tuple[int, int], settings: Resize, draw: torch.Generator) -> Tensor:
    """One image [C, H, W] resized with a random filter."""
    mode = settings.filters[chosen([1.0] * len(settings.filters), draw)]
    return interpolate(image[None], size, mode=mode)[0]


def second_order(image: Tensor, settings: RealWorld, draw: torch.Generator) -> Tensor:
    """One image [C, H, W] by the rules of `RealWorld`."""
    size = final_size(image[None], settings.factor)
    y = blurred(image, settings.blur, draw)
    y = scaled(y, (image.shape[1], image.shape[2]), settings.resize, draw)
    y = noisy(y, settings.noise, draw)
    y = compressed(y, settings.jpeg, draw)

    if uniform((0, 1), draw) < settings.second_blur_share:
        y = blurred(y, settings.second_blur, draw)
    y = scaled(y, size, settings.second_resize, draw)
    y = noisy(y, settings.second_noise, draw)
    jpeg_first = uniform((0, 1), draw) < 0.5
    if jpeg_first:
        y = compressed(y, settings.second_jpeg, draw)
    y = in_size(y, size, settings.second_resize, draw)
    if uniform((0, 1), draw) < settings.sinc_share:
        y = blurred(y, settings.sinc, draw)
    if not jpeg_first:
        y = compressed(y, settings.second_jpeg, draw)
    return rounded(y.clamp(-1, 1), settings.round_to)


def low_dose(x: Tensor, settings: LowDose, draw: torch.Generator) -> Tensor:
    """Slices [N, 1, H, W] by the rules of `LowDose`."""
    check_single(x, "LowDose")
    height, width = x.shape[2:]
    pixel = settings.field_of_view / max(height, width)
    unit = (settings.high - settings.low) / 2
    hounsfield = settings.low + (x[:, 0] + 1) * unit  # [N, H, W]
    clean = projections(WATER * (1 + hounsfield / 1000).clamp_min(0), settings.views, pixel=pixel)  # [N, V, D]

    ends = (math.log(settings.photons[0]), math.log(settings.photons[1]))
    blank = torch.tensor([math.exp(uniform(ends, draw)) for _ in x]).view(-1, 1, 1)
    counts = torch.poisson(blank * (-clean).exp().cpu(), generator=draw)
    counts += settings.electronic * torch.randn(counts.shape, generator=draw)
    measured = (blank / counts.clamp_min(1)).log().to(x)

    if settings.residual:  # filtered back-projection is linear
        error = filtered_back_projection(measured - clean, height, width, pixel=pixel)
        return x + (error * (1000 / WATER / unit))[:, None]
    attenuation = filtered_back_projection(measured, height, width, pixel=pixel)
    return ((1000 * (attenuation / WATER - 1) - settings.low) / unit - 1)[:, None]


def rician(x: Tensor, settings: Rician, draw: torch.Generator) -> Tensor:
    """Magnitudes [N, 1, H, W] by the rules of `Rician`."""
    check_single(x, "Rician")
    sigma = torch.tensor([uniform(settings.sigma, draw) for _ in x]).to(x).view(-1, 1, 1, 1)
    real, imaginary = (sigma * torch.randn(x.shape, generator=draw).to(x) for _ in range(2))
    return 2 * torch.hypot((x + 1) / 2 + real, imaginary) - 1


def undersampled(x: Tensor, settings: Undersampled, draw: torch.Generator) -> Tensor:
    """Magnitudes [N, 1, H, W] by the rules of `Undersampled`."""
    check_single(x, "Undersampled")
    kept = torch.stack([kept_columns(x.shape[3], settings, draw) for _ in x]).to(x)  # [N, W], frequency 0 first
    frequencies = torch.fft.fft2((x + 1) / 2) * kept[:, None, None, :]
    return 2 * torch.fft.ifft2(frequencies).abs() - 1


def kept_columns(width: int, settings: Undersampled, draw: torch.Generator) -> Tensor:
    """Which of `width` columns of k-space are measured, bool [W], frequency 0 first; see `Undersampled`."""
    num_kept = max(1, round(width / settings.acceleration))
    num_centre = min(num_kept, max(1, round(width * settings.centre)))
    nearest_first = torch.fft.fftfreq(width).abs().argsort(stable=True)
    rest = nearest_first[num_centre:][torch.randperm(width - num_centre, generator=draw)[: num_kept - num_centre]]
    kept = torch.zeros(width, dtype=torch.bool)
    kept[nearest_first[:num_centre]] = True
    kept[rest] = True
    return kept


def luma(x: Tensor, name: str) -> Tensor:
    """The luma of ITU-R 601 of colour images, [N, 1, H, W]; grey ones stay."""
    if x.shape[1] == 1:
        return x
    if x.shape[1] != 3:
        raise ValueError(f"{name} got images of {x.shape[1]} channels: expected 1 (grey) or 3 (colour).")
    return (x * torch.tensor([0.299, 0.587, 0.114]).to(x)[:, None, None]).sum(1, keepdim=True)


def rounded(x: Tensor, bits: int) -> Tensor:
    """Values in [-1, 1] rounded to as many levels as `bits` tell apart; unchanged with 0."""
    if bits == 0:
        return x
    half = (2**bits - 1) / 2
    # Means of bytes are often ties: up they go, as in Pillow, also those that floats put a little too low.
    return ((x + 1) * half + 0.5001).floor() / half - 1


def final_size(x: Tensor, factor: int) -> tuple[int, int]:
    """Height and width divided by the factor. A ValueError where that leaves a rest."""
    height, width = x.shape[2:]
    if height % factor or width % factor:
        raise ValueError(
            f"images of {height} x {width} pixels cannot become smaller by {factor}: a side leaves a rest. "
            f"Choose a size that {factor} divides, such as {max(1, height // factor) * factor} x "
            f"{max(1, width // factor) * factor}."
        )
    return height // factor, width // factor


def uniform(ends: Range, draw: torch.Generator) -> float:
    """One number, uniformly within a range."""
    return ends[0] + (ends[1] - ends[0]) * torch.rand((), generator=draw).item()


def chosen(shares: Sequence[float], draw: torch.Generator) -> int:
    """The number of one of several things, by their shares."""
    return int(torch.multinomial(torch.tensor(shares, dtype=torch.float32), 1, generator=draw))


def check_single(x: Tensor, name: str) -> None:
    """Raise ValueError unless images have one channel."""
    if x.shape[1] != 1:
        raise ValueError(
            f"{name} got images of {x.shape[1]} channels: expected grey ones [N, 1, H, W]. "
            "Open the data with channels=1."
        )


def _resampling(old: int, new: int, filter: DownscaleFilter) -> Tensor:
    """The weights [new, old] of one axis."""
    ratio = old / new
    stretch = max(ratio, 1.0)
    middle = (torch.arange(new, dtype=torch.float64)[:, None] + 0.5) * ratio
    t = (torch.arange(old, dtype=torch.float64) + 0.5 - middle) / stretch
    distance = t.abs()
    match filter:
        case "box":
            weights = ((t >= -0.5) & (t < 0.5)).to(torch.float64)
        case "bilinear":
            weights = (1 - distance).clamp_min(0)
        case "bicubic":  # Keys 1981 with a = -1/2
            inner = (1.5 * distance - 2.5) * distance**2 + 1
            outer = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
            weights = torch.where(distance < 1, inner, torch.where(distance < 2, outer, 0))
        case "lanczos":
            weights = torch.where(distance < 3, torch.sinc(t) * torch.sinc(t / 3), 0)
    return weights / weights.sum(1, keepdim=True)


def _mirrored(side: int, reach: int) -> Tensor:
    """Where an axis is read that goes on by `reach` mirrored pixels at both ends, [side + 2 reach]."""
    period = max(2 * (side - 1), 1)
    place = torch.arange(-reach, side + reach) % period
    return torch.minimum(place, period - place) if side > 1 else torch.zeros_like(place)
