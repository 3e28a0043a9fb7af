"""Reconstruction: an image is to be like another, in its values, its edges or its frequencies. One value per example.

All are means over an example, so that a weight does not depend on the size of images, and computed in float32 at least.
They stay the same when the two sides are exchanged, and gradients flow into both: cycle consistency is l1(x, F(G(x))),
identity l1(y, G(y)).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from equipoise.objectives.matching import full


def l1(
    real: Float[Tensor, "n *shape"], fake: Float[Tensor, "n *shape"], mask: Tensor | None = None
) -> Float[Tensor, "n"]:
    """The values themselves, with outliers counting in proportion: sharper results than with squares.

    mean |x - y| over each example; with a mask w, Σ w |x - y| / Σ w, and 0 where all weights are. The mask has weights
    of at least 0 (or is boolean), of the shape of x or 1 in some axes, such as [N, 1, H, W]. Ones in a hole and zeros
    around it give the mean over the hole, however large it is. Weights from papers with images in [0, 1] are to be
    halved for [-1, 1].
    Default: weight 100 (pix2pix), 10 for cycles and 5 for identity (CycleGAN), 0.005 beside content (ESRGAN).
    Cost: none beyond the passes of G.
    Source: Isola et al. 2017, Eq. 3; Zhu et al. 2017, Eq. 2 (cycles); Zhao et al. 2017 compare it with squares.
    """
    return averaged(difference(real, fake).abs(), mask)


def l2(
    real: Float[Tensor, "n *shape"], fake: Float[Tensor, "n *shape"], mask: Tensor | None = None
) -> Float[Tensor, "n"]:
    """The values themselves, by squares: the highest PSNR, with blur where several results are possible.

    mean (x - y)² over each example; with a mask as in l1.
    Default: weight 1, alone; l1 or charbonnier beside an adversarial term.
    Cost: none beyond the passes of G.
    Source: Gauss 1809; Pathak et al. 2016 beside an adversarial loss.
    """
    return averaged(difference(real, fake).square(), mask)


def charbonnier(
    real: Float[Tensor, "n *shape"],
    fake: Float[Tensor, "n *shape"],
    mask: Tensor | None = None,
    *,
    epsilon: float = 1e-3,
) -> Float[Tensor, "n"]:
    """l1 with a smooth bottom, so that steps become small where hardly anything is wrong.

    mean √((x - y)² + ε²) over each example, which is ε for equal images; with a mask as in l1.
    Default: weight 1, ε = 0.001.
    Cost: none beyond the passes of G.
    Source: Charbonnier et al. 1994; Lai et al. 2017 (LapSRN) for images and for ε.
    """
    check_epsilon("charbonnier", epsilon)
    return averaged((difference(real, fake).square() + epsilon**2).sqrt(), mask)


def edges(
    real: Float[Tensor, "n c h w"], fake: Float[Tensor, "n c h w"], *, epsilon: float = 1e-3
) -> Float[Tensor, "n"]:
    """Edges and fine lines are the same; brightness and slow changes of it do not matter.

    mean √((Δx - Δy)² + ε²) with the Laplacian Δ of the four neighbours, Σ neighbours - 4 · centre, where all of them
    lie inside the image: ε for equal images, and for those that differ by a linear ramp.
    Default: weight 0.05 beside charbonnier, ε = 0.001.
    Cost: none beyond the passes of G.
    Source: Zamir et al. 2021 (MPRNet), who blur before taking differences.
    """
    check_epsilon("edges", epsilon)
    d = difference(real, fake)
    check_sides("edges", d, 3)
    around = d[..., :-2, 1:-1] + d[..., 2:, 1:-1] + d[..., 1:-1, :-2] + d[..., 1:-1, 2:]
    laplacian = around - 4 * d[..., 1:-1, 1:-1]
    return averaged((laplacian.square() + epsilon**2).sqrt())


def image_gradients(real: Float[Tensor, "n c h w"], fake: Float[Tensor, "n c h w"]) -> Float[Tensor, "n"]:
    """From pixel to pixel the images change alike, against blur; brightness as such does not matter.

    mean |∂ᵥx - ∂ᵥy| + mean |∂ₕx - ∂ₕy| with ∂ the difference of vertical and of horizontal neighbours: the
    total_variation of x - y.
    Default: weight 1 beside l1 of weight 1; to be tuned.
    Cost: none beyond the passes of G.
    Source: Mathieu et al. 2016 compare |∂x| with |∂y|; with the signs kept, a negative is no perfect result.
    """
    return total_variation(difference(real, fake))


def total_variation(images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n"]:
    """One image is smooth, apart from edges: against noise and checkerboards.

    mean |∂ᵥx| + mean |∂ₕx| with ∂ the difference of vertical and of horizontal neighbours (anisotropic).
    Default: weight 0.01 beside l1 of weight 1; to be tuned, as it washes out texture.
    Cost: none beyond the passes of G.
    Source: Rudin et al. 1992; Mahendran & Vedaldi 2015 for images that a network makes.
    """
    check_sides("total_variation", images, 2)
    x = full(images)
    return averaged((x[..., 1:, :] - x[..., :-1, :]).abs()) + averaged((x[..., 1:] - x[..., :-1]).abs())


def focal_frequency(
    real: Float[Tensor, "n c h w"], fake: Float[Tensor, "n c h w"], *, alpha: float = 1.0
) -> Float[Tensor, "n"]:
    """The spectra are the same, and those frequencies count most that are farthest off (focal frequency loss).

    mean w |F(x) - F(y)|² over channels and frequencies, with the orthonormal two-dimensional Fourier transform F and
    w = |F(x) - F(y)|^α / max, the largest of each image and channel. No gradient flows into w. With α = 0 it is l2.
    Default: weight 1 beside the terms that are there already, α = 1.
    Cost: a Fourier transform of each image.
    Source: Jiang et al. 2021, with whole images as patches.
    """
    if alpha < 0:
        raise ValueError(f"focal_frequency(alpha={alpha}): expected at least 0; 1 as in the paper, 0 for all alike.")
    spectrum = torch.fft.fft2(difference(real, fake), norm="ortho")  # linear: one transform for the two images
    squares = spectrum.real.square() + spectrum.imag.square()
    weights = squares.detach().sqrt() ** alpha
    largest = weights.amax((-2, -1), keepdim=True)
    return averaged(squares * weights / torch.where(largest > 0, largest, 1))


def difference(real: Tensor, fake: Tensor) -> Tensor:
    """real - fake in float32 at least; a ValueError unless they have one shape, since broadcasting would hide it."""
    if real.shape != fake.shape:
        raise ValueError(
            f"Images of shape {list(real.shape)} and {list(fake.shape)} were passed: expected one shape. Compare each "
            "image with its own target, of the same size and channels."
        )
    return full(real) - full(fake)


def averaged(values: Tensor, mask: Tensor | None = None) -> Tensor:
    """The mean over each example, weighted by the mask where there is one: [N]."""
    if mask is None:
        return values.flatten(1).mean(1)
    if mask.ndim != values.ndim or any(side not in (1, whole) for side, whole in zip(mask.shape, values.shape)):
        raise ValueError(
            f"A mask of shape {list(mask.shape)} was passed for images of shape {list(values.shape)}: expected that "
            "shape, or 1 in some axes, such as [N, 1, H, W]."
        )
    weights = mask.to(values.dtype).expand_as(values).flatten(1)
    total = weights.sum(1)
    return (weights * values.flatten(1)).sum(1) / torch.where(total > 0, total, 1)


def check_epsilon(name: str, epsilon: float) -> None:
    """Raise ValueError unless epsilon > 0: without it, equal images would have no gradient."""
    if not epsilon > 0:
        raise ValueError(f"{name}(epsilon={epsilon}): expected a number above 0, such as 0.001. Use l1 without one.")


def check_sides(name: str, images: Tensor, smallest: int) -> None:
    """Raise ValueError where a side is too short for a difference."""
    if min(images.shape[2:]) < smallest:
        raise ValueError(
            f"{name} got images of {images.shape[2]} × {images.shape[3]} pixels: expected sides of at least {smallest}."
        )
