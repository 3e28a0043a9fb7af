"""Differentiable augmentation of what a critic sees, real and generated alike; randomness is torch's global stream."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

DIFFAUGMENT_POLICY = ("color", "translation", "cutout")
ADA_KINDS = ("blit", "geometry", "color")
ADA_LIMIT = 0.8
"""Up to this probability augmentations are unlikely to leak into generated images (Karras et al. 2020)."""


def diffaugment(x: Tensor, policy: Sequence[str] = DIFFAUGMENT_POLICY) -> Tensor:
    """Differentiable augmentation: every image [N, C, H, W] that the critic sees is changed at random.

    "color": x + U(-½, ½); then saturation, distances from the mean of the channels times U(0, 2); then contrast,
    distances from the mean of the image times U(½, 1½). "translation": by whole pixels, uniformly up to 1/8 of the
    side, grey (0) comes in. "cutout": a grey square of half the side, its centre uniform, cut off at the border.
    Default: off; all three where there are few images.
    Cost: a few passes over the pixels of all images D sees; G's gradient goes through them.
    Source: Zhao et al. 2020, Differentiable Augmentation for Data-Efficient GAN Training.
    """
    check_images(x, "diffaugment")
    for name in policy:
        if name not in DIFFAUGMENT_POLICY:
            raise ValueError(f"diffaugment policy {name!r}: expected some of {', '.join(DIFFAUGMENT_POLICY)}.")
    y = at_least_float32(x)
    if "color" in policy:
        brightness, saturation, contrast = torch.rand(3, len(x), 1, 1, 1, device=x.device, dtype=y.dtype)
        y = y + (brightness - 0.5)
        y = torch.lerp(y.mean(1, keepdim=True), y, 2 * saturation)
        y = torch.lerp(y.mean((1, 2, 3), keepdim=True), y, contrast + 0.5)
    if "translation" in policy:
        y = shifted(shifted(y, 2), 3)
    if "cutout" in policy:
        rows, columns = hidden(y, 2), hidden(y, 3)  # [N, H], [N, W]
        y = y.masked_fill(rows[:, None, :, None] & columns[:, None, None, :], 0)
    return y.to(x.dtype)


def jittered(x: Tensor) -> Tensor:
    """A weak change of images: mirrored with probability ½, then moved by whole pixels, up to 1/8 of the side.

    The change that a critic should not mind, for consistency regularisation. Images [N, C, H, W]; grey (0) comes in.
    Default: as said; up to 4 pixels of 32.
    Cost: negligible.
    Source: Zhang et al. 2020, Consistency Regularization for Generative Adversarial Networks.
    """
    check_images(x, "jittered")
    mirrored = torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5
    return shifted(shifted(torch.where(mirrored, x.flip(3), x), 2), 3)


def shifted(x: Tensor, axis: int) -> Tensor:
    """Each image moved along an axis by a whole number of pixels, uniform up to 1/8 of the side; zeros come in."""
    side = x.shape[axis]
    most = round(side / 8)
    shift = torch.randint(-most, most + 1, (len(x), 1), device=x.device)
    source = torch.arange(side, device=x.device) - shift  # [N, side]
    view = [len(x), 1, 1, 1]
    view[axis] = side
    outside = ((source < 0) | (source >= side)).view(view)
    return x.gather(axis, source.clamp(0, side - 1).view(view).expand_as(x)).masked_fill(outside, 0)


def hidden(x: Tensor, axis: int) -> Tensor:
    """Which rows or columns [N, side] lie within a quarter of the side of a uniform centre."""
    side = x.shape[axis]
    length = round(side / 2)
    start = torch.randint(0, side + 1, (len(x), 1), device=x.device) - length // 2
    position = torch.arange(side, device=x.device)
    return (position >= start) & (position < start + length)


def ada(x: Tensor, p: Tensor | float, *, kinds: Sequence[str] = ADA_KINDS) -> Tensor:
    """Adaptive discriminator augmentation (ADA): each of many changes happens to each image with probability p.

    "blit": mirror, quarter turns, whole-pixel shifts U(±1/8). "geometry": scaling, lognormal of σ = 0.2·ln 2, equal and
    opposite along the axes, turns by any angle before and after, fractional shifts N(0, 1/8); all of these are one
    bilinear resampling with reflected borders. "color": brightness N(0, 0.2), contrast lognormal of σ = 0.5·ln 2,
    luma flip, and with three channels hue by any angle and saturation lognormal of σ = ln 2. Images [N, C, H, W]. An
    image that is not drawn stays as it is, bit for bit: with p = 0, all do. Keep p at most `ADA_LIMIT`.
    Default: off; p from 0, moved by `ada_step`.
    Cost: one resampling and a few passes over the pixels of all images D sees.
    Source: Karras et al. 2020, Training Generative Adversarial Networks with Limited Data, App. B.
    """
    check_images(x, "ada")
    for name in kinds:
        if name not in ADA_KINDS:
            raise ValueError(f"ada kind {name!r}: expected some of {', '.join(ADA_KINDS)}.")
    p = torch.as_tensor(p, dtype=torch.float32, device=x.device)
    y = at_least_float32(x)
    if "blit" in kinds or "geometry" in kinds:
        y = resampled(y, p, kinds)
    if "color" in kinds:
        y = recoloured(y, p)
    return y.to(x.dtype)


def resampled(x: Tensor, p: Tensor, kinds: Sequence[str]) -> Tensor:
    """All geometric changes at once: the image is read where the inverse of the changes sends each pixel."""
    num, _, height, width = x.shape
    drawn = Draws(num, p, x)
    inverse = torch.eye(3, device=x.device, dtype=x.dtype).expand(num, 3, 3)
    if "blit" in kinds:
        mirror = 1 - 2 * drawn.kept(drawn.integers(2))
        turn = drawn.kept(drawn.integers(4)) * (math.pi / 2)
        right, down = drawn.kept(torch.stack([drawn.uniform() * (width / 8), drawn.uniform() * (height / 8)]).round())
        inverse = after(inverse, scaling(mirror, torch.ones_like(mirror)))
        inverse = after(inverse, rotation(turn))
        inverse = after(inverse, translation(-right, -down))
    if "geometry" in kinds:
        either = 1 - (1 - p).clamp_min(0).sqrt()  # so that one of the two turns happens with probability p
        size = drawn.kept(drawn.normal(0.2 * math.log(2))).exp()
        turn = drawn.kept(drawn.uniform() * math.pi, either)
        stretch = drawn.kept(drawn.normal(0.2 * math.log(2))).exp()
        turn_after = drawn.kept(drawn.uniform() * math.pi, either)
        right, down = drawn.kept(torch.stack([drawn.normal(width / 8), drawn.normal(height / 8)]))
        inverse = after(inverse, scaling(1 / size, 1 / size))
        inverse = after(inverse, rotation(turn))
        inverse = after(inverse, scaling(1 / stretch, stretch))
        inverse = after(inverse, rotation(turn_after))
        inverse = after(inverse, translation(-right, -down))
    grid = places(inverse, x)
    y: Tensor = Sampling.apply(x, grid)  # type: ignore[assignment]
    return torch.where(drawn.any[:, None, None, None], y, x)


def places(inverse: Tensor, x: Tensor) -> Tensor:
    """Where each pixel of images is read, [N, H, W, 2] as `grid_sample` takes it: `inverse` [N, 3, 3] moves positions
    in pixels from the centre."""
    height, width = x.shape[2:]
    columns = torch.arange(width, device=x.device, dtype=x.dtype) - (width - 1) / 2
    rows = torch.arange(height, device=x.device, dtype=x.dtype)[:, None] - (height - 1) / 2
    matrix = inverse[:, :2, :, None, None]  # [N, 2, 3, 1, 1]
    pixels = matrix[:, :, 0] * columns + matrix[:, :, 1] * rows + matrix[:, :, 2]  # [N, 2, H, W] from the centre
    return torch.stack([pixels[:, 0] * (2 / width), pixels[:, 1] * (2 / height)], dim=-1)


def recoloured(x: Tensor, p: Tensor) -> Tensor:
    """All changes of colour: brightness, contrast, luma flip, and with three channels hue and saturation."""
    drawn = Draws(len(x), p, x)
    brightness, contrast = drawn.kept(drawn.normal(0.2)), drawn.kept(drawn.normal(0.5 * math.log(2))).exp()
    flip = 1 - 2 * drawn.kept(drawn.integers(2))
    y = (x + each(brightness)) * each(contrast)
    luma = y.mean(1, keepdim=True)
    if x.shape[1] == 3:
        hue, saturation = drawn.kept(drawn.uniform() * math.pi), drawn.kept(drawn.normal(math.log(2))).exp()
        # A turn about the grey axis v = (1, 1, 1)/√3: the colour's own part stays, v × y is at a right angle to it.
        across = (y.roll(1, 1) - y.roll(2, 1)) / math.sqrt(3)
        colour = each(saturation * hue.cos()) * (y - luma) + each(saturation * hue.sin()) * across
    else:
        colour = y - luma
    return torch.where(drawn.any[:, None, None, None], each(flip) * luma + colour, x)


class Draws:
    """Random numbers of N images, of which each change keeps those of the images that it is to happen to.

    `any` [N] says which images any change happens to.
    """

    def __init__(self, num: int, p: Tensor, like: Tensor):
        self.num, self.p, self.like = num, p, like
        self.any = torch.zeros(num, dtype=torch.bool, device=like.device)

    def uniform(self) -> Tensor:
        """From U(-1, 1), [N]."""
        return 2 * torch.rand(self.num, device=self.like.device, dtype=self.like.dtype) - 1

    def normal(self, std: float) -> Tensor:
        """From N(0, std²), [N]."""
        return std * torch.randn(self.num, device=self.like.device, dtype=self.like.dtype)

    def integers(self, end: int) -> Tensor:
        """From 0, 1, …, end - 1, [N]."""
        return torch.randint(end, (self.num,), device=self.like.device).to(self.like.dtype)

    def kept(self, values: Tensor, p: Tensor | None = None) -> Tensor:
        """Values [..., N] of one change: 0 for images that it does not happen to, with the usual p or another."""
        drawn = torch.rand(self.num, device=self.like.device) < (self.p if p is None else p)
        self.any = self.any | drawn
        return torch.where(drawn, values, 0)


def each(values: Tensor) -> Tensor:
    """One number for each image [N, C, H, W]."""
    return values[:, None, None, None]


def after(a: Tensor, b: Tensor) -> Tensor:
    """The matrix product; by hand, because autocast and reduced matmul precision would move pixels."""
    return (a[:, :, :, None] * b[:, None]).sum(2)


def scaling(x: Tensor, y: Tensor) -> Tensor:
    """Matrices [N, 3, 3] that multiply positions."""
    return torch.diag_embed(torch.stack([x, y, torch.ones_like(x)], dim=1))


def translation(x: Tensor, y: Tensor) -> Tensor:
    """Matrices [N, 3, 3] that move positions."""
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    return torch.stack([one, zero, x, zero, one, y, zero, zero, one], dim=1).view(-1, 3, 3)


def rotation(angle: Tensor) -> Tensor:
    """Matrices [N, 3, 3] that turn positions."""
    cos, sin, one, zero = angle.cos(), angle.sin(), torch.ones_like(angle), torch.zeros_like(angle)
    return torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], dim=1).view(-1, 3, 3)


class Sampling(torch.autograd.Function):
    """Bilinear reading of images at given places, with reflected borders.

    It is linear in the image, so its gradient is its transpose, and the transpose's gradient is itself again. That
    makes gradient penalties on augmented images work where torch has no second derivative of `grid_sample`.
    """

    @staticmethod
    def forward(x: Tensor, grid: Tensor) -> Tensor:
        return grid_sample(x, grid, padding_mode="reflection", align_corners=False)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx, gradient: Tensor):  # type: ignore[override]
        return Spreading.apply(gradient, ctx.saved_tensors[0]), None


class Spreading(torch.autograd.Function):
    """The transpose of `Sampling`: what was read at a place is added back to the pixels around it."""

    @staticmethod
    def forward(y: Tensor, grid: Tensor) -> Tensor:
        # Bilinear, reflected borders, pixel areas; y in the image's place only gives the shape.
        image, _ = torch.ops.aten.grid_sampler_2d_backward(y, y, grid, 0, 2, False, [True, False])
        return image

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx, gradient: Tensor):  # type: ignore[override]
        return Sampling.apply(gradient, ctx.saved_tensors[0]), None


def ada_step(
    p: Tensor, sign: Tensor, num_examples: int, *, target: float = 0.6, span: int = 500_000, limit: float = ADA_LIMIT
) -> Tensor:
    """The next probability of ADA: up where the critic overfits, down where it does not.

    p ← clamp(p + sgn(r_t - target)·num_examples/span, 0, limit), with r_t = E sgn D(x) over real training examples, in
    [-1, 1], averaged by the caller over a few batches; num_examples are the real examples since the last step of p.
    Default: target = 0.6; span = 500,000 examples from 0 to 1; the paper moves p every 4 batches.
    Cost: none.
    Source: Karras et al. 2020, Training Generative Adversarial Networks with Limited Data, section 3.
    """
    return (p + (sign - target).sign() * (num_examples / span)).clamp(0, limit)


def instance_noise(x: Tensor, std: Tensor | float) -> Tensor:
    """Instance noise: x + std·ε, ε ~ N(0, I), on all that the critic sees, images or vectors.

    Noise makes the distributions of real and generated examples overlap, so the critic's task is never hopeless.
    Default: off; std from 0.1 to 0.5 of the data's, brought to 0 during training.
    Cost: negligible.
    Source: Sønderby et al. 2017, Amortised MAP Inference for Image Super-Resolution; Arjovsky & Bottou 2017.
    """
    return x + std * torch.randn_like(x)


def pseudo(real: Tensor, fake: Tensor, p: Tensor | float) -> Tensor:
    """Adaptive pseudo augmentation (APA): with probability p, a generated example takes the place of a real one.

    The critic cannot be sure of its real examples, so it overfits less. Images or vectors, both of one shape [N, ...].
    Default: off; p from 0, moved by `ada_step`.
    Cost: none beside the fakes.
    Source: Jiang et al. 2021, Deceive D: Adaptive Pseudo Augmentation for GAN Training with Limited Data.
    """
    if real.shape != fake.shape:
        raise ValueError(
            f"pseudo got real examples of shape {tuple(real.shape)} and generated ones of {tuple(fake.shape)}: "
            "expected the same shape. Generate as many as there are real ones."
        )
    drawn = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device) < p
    return torch.where(drawn, fake.to(real.dtype), real)


def check_images(x: Tensor, name: str) -> None:
    """Raise ValueError unless x is a batch of images."""
    if x.ndim != 4:
        raise ValueError(
            f"{name} got examples of shape {tuple(x.shape[1:])}: expected images [N, C, H, W]. "
            "For vectors use instance noise or pseudo augmentation, which suit any shape."
        )


def at_least_float32(x: Tensor) -> Tensor:
    """Narrow floating-point formats to float32; wider ones stay."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
