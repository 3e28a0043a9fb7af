"""StyleGAN2: styles modulate convolutions (Karras et al. 2020, Analyzing and Improving the Quality of StyleGAN)."""

import math
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, interpolate, leaky_relu, one_hot
from torch.nn.utils import parametrize

from equipoise.core.game import Verdict
from equipoise.networks.layers import (
    Conditioning,
    CriticHead,
    LabelPlanes,
    PixelNorm,
    at_least_float32,
    check_multiple,
    start_and_doublings,
)
from equipoise.networks.minibatch import Minibatch, MinibatchDeviation, minibatch_layer

Layer = TypeVar("Layer", bound=nn.Module)


class StyleGAN2Generator(nn.Module):
    """Latents z [N, Z], and a condition if there is one, to images [N, C, size, size].

    A mapping turns a latent into a style w [W]; the synthesis starts from a learned constant and is told w by every
    layer, [N, L, W] in all. x = Σₖ up(rgbₖ(hₖ)). The condition is a class [N] int64, or a vector [N, E].

    In training every layer adds fresh noise of a learned strength, a share `mixing` of the images takes the styles of
    another latent from a random layer on, and images are unbounded. In eval mode the noise of a layer is one picture
    that was drawn at the start, so that an image is a function of its latent and ways between latents do not flicker;
    nothing is mixed, and images are clipped to [-1, 1].

    `truncation` ψ moves styles to their running mean, that of the class if there is one: w̄ + ψ (w - w̄). The mean is a
    buffer; `news` says what it becomes, and the game writes it together with the generator's update.

    Source: Karras et al. 2020, section 2 and Appendix B; truncation: Karras et al. 2019, Appendix B.
    """

    mean: Tensor

    def __init__(
        self,
        z_dim: int,
        channels: int,
        size: int,
        *,
        width: int = 64,
        max_width: int = 512,
        w_dim: int = 512,
        mapping_layers: int = 8,
        mixing: float = 0.9,
        decay: float = 0.998,
        num_classes: int = 0,
        condition_dim: int = 0,
    ):
        super().__init__()
        check_multiple(size, "stylegan2")
        self.mixing, self.decay, self.num_classes = mixing, decay, num_classes
        start, doublings = start_and_doublings(size)
        widths = widths_by_level(width, doublings, max_width)
        self.mapping = StyleMapping(
            z_dim, w_dim, num_layers=mapping_layers, num_classes=num_classes, condition_dim=condition_dim
        )
        self.constant = nn.Parameter(torch.randn(1, widths[0], start, start))
        layers = [StyleLayer(widths[0], widths[0], w_dim, size=start)]
        for k, (a, b) in enumerate(pairwise(widths), 1):
            layers.append(StyleLayer(a, b, w_dim, size=start * 2**k, up=True))
            layers.append(StyleLayer(b, b, w_dim, size=start * 2**k))
        self.layers = nn.ModuleList(layers)
        self.to_image = nn.ModuleList([ToImage(w, channels, w_dim) for w in widths])
        self.num_styles = 2 * len(widths)
        self.register_buffer("mean", torch.zeros(max(num_classes, 1), w_dim))

    def forward(self, z: Tensor, condition: Tensor | None = None, *, truncation: float = 1.0) -> Tensor:
        styles = self.styles(z, condition)
        if truncation != 1.0:
            mean = self.mean[condition] if self.num_classes and condition is not None else self.mean
            styles = torch.lerp(mean[:, None].to(styles), styles, truncation)
        x = self.synthesis(styles)
        return x if self.training else x.clamp(-1, 1)

    def traced(self, z: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The styles [N, L, W] of latents, and the images made of them."""
        styles = self.styles(z, condition)
        return styles, self.synthesis(styles)

    def styles(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """One style a layer, [N, L, W]; in training some are mixed of two latents."""
        w = self.mapping(z, condition)[:, None].expand(-1, self.num_styles, -1)
        if not self.training or self.mixing == 0:
            return w
        other = self.mapping(torch.randn_like(z), condition)[:, None]
        crossover = torch.randint(1, self.num_styles, (len(z), 1), device=z.device)
        mixed = torch.rand(len(z), 1, device=z.device) < self.mixing
        after = torch.arange(self.num_styles, device=z.device) >= crossover
        return torch.where((mixed & after)[:, :, None], other, w)

    def synthesis(self, styles: Tensor) -> Tensor:
        """Images, unbounded, of the styles [N, L, W] of the layers."""
        w = styles.unbind(1)
        h, x = self.constant.expand(len(styles), -1, -1, -1), None
        for level, to_image in enumerate(self.to_image):
            for k in range(max(2 * level - 1, 0), 2 * level + 1):
                h = self.layers[k](h, w[k])
            image = to_image(h, w[2 * level + 1])  # the style of the layer that comes next
            x = image if x is None else image + interpolate(x, scale_factor=2, mode="bilinear")
        assert x is not None
        return x

    @torch.no_grad()
    def news(self, z: Tensor, condition: Tensor | None = None) -> list[tuple[Tensor, Tensor]]:
        """The running mean of styles and its new value after a look at a batch; writes nothing."""
        w = self.mapping(z, condition).to(self.mean)
        if not self.num_classes or condition is None:
            return [(self.mean, torch.lerp(w.mean(0, keepdim=True), self.mean, self.decay))]
        members = one_hot(condition, self.num_classes).to(w)  # [N, K]
        count = members.sum(0)[:, None]
        moved = torch.lerp(members.T @ w / count.clamp_min(1), self.mean, self.decay)
        return [(self.mean, torch.where(count > 0, moved, self.mean))]


class StyleGAN2Critic(nn.Module):
    """Images [N, C, size, size], and a condition if there is one, to a `Verdict`: residual blocks that halve.

    `conditioning` is as for all critics; "projection" also takes vectors [N, E] (`condition_dim`). Minibatch standard
    deviation in groups of `group` is seen by the last convolution.
    Source: Karras et al. 2020, section 4.1 (residual critic).
    """

    def __init__(
        self,
        channels: int,
        size: int,
        *,
        width: int = 64,
        max_width: int = 512,
        num_classes: int = 0,
        condition_dim: int = 0,
        conditioning: Conditioning = "none",
        minibatch: Minibatch = "deviation",
        group: int = 4,
    ):
        super().__init__()
        check_multiple(size, "stylegan2")
        end, halvings = start_and_doublings(size)
        widths = widths_by_level(width, halvings, max_width)[::-1]  # from large to small
        self.planes = LabelPlanes(num_classes, size) if conditioning == "concatenation" else None
        self.from_image = equalised(nn.Conv2d(channels + (self.planes is not None), widths[0], 1))
        self.blocks = nn.ModuleList([HalvingBlock(a, b) for a, b in pairwise(widths)])
        deviation = minibatch == "deviation"
        self.deviation = MinibatchDeviation(group) if deviation else nn.Identity()
        self.last = equalised(nn.Conv2d(widths[-1] + deviation, widths[-1], 3, padding=1))
        after: Minibatch = "none" if deviation else minibatch
        self.minibatch, num_features = minibatch_layer(after, (widths[-1], end, end), group=group, wrap=equalised)
        self.hidden = equalised(nn.Linear(num_features, widths[-1]))
        self.head = CriticHead(widths[-1], num_classes, conditioning, equalised, condition_dim=condition_dim)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Verdict:
        x = x if self.planes is None or condition is None else self.planes(x, condition)
        h = leaky(self.from_image(x))
        features = []
        for block in self.blocks:
            h = block(h)
            features.append(h)
        h = leaky(self.last(self.deviation(h)))
        h = leaky(self.hidden(self.minibatch(h).flatten(1)))
        logits, classes = self.head(h, condition)
        return Verdict(logits, (*features, h), classes)


class StyleMapping(nn.Module):
    """Latents [N, Z], and an embedded condition, to styles w [N, W], in float32 at least.

    Linear layers with leaky ReLU that learn a hundred times slower than the others: their weights are stored 1/rate
    times as large as they act. Latents and the embedded condition are normalised first.
    """

    def __init__(
        self,
        z_dim: int,
        w_dim: int,
        *,
        num_layers: int = 8,
        num_classes: int = 0,
        condition_dim: int = 0,
        rate: float = 0.01,
    ):
        super().__init__()
        if num_classes and condition_dim:
            raise ValueError(
                f"num_classes={num_classes} and condition_dim={condition_dim}: expected classes or vectors as the "
                "condition. Leave one of them at 0; classes can be part of a vector, as one-hot."
            )
        self.norm = PixelNorm()
        self.embedding = None
        if num_classes:
            self.embedding = equalised(nn.Embedding(num_classes, w_dim))
        if condition_dim:
            self.embedding = equalised(nn.Linear(condition_dim, w_dim))
        widths = [z_dim + (w_dim if self.embedding is not None else 0), *[w_dim] * num_layers]
        self.layers = nn.ModuleList([equalised(nn.Linear(a, b), rate=rate) for a, b in pairwise(widths)])

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):
            w = self.norm(at_least_float32(z))
            if self.embedding is not None:
                w = torch.cat([w, self.norm(self.embedding(condition))], dim=1)
            for layer in self.layers:
                w = leaky(layer(w))
        return w


class StyleLayer(nn.Module):
    """A modulated 3×3 convolution, to twice the resolution if `up`, then noise, bias and leaky ReLU."""

    def __init__(self, incoming: int, outgoing: int, w_dim: int, *, size: int, up: bool = False):
        super().__init__()
        self.conv = ModulatedConv(incoming, outgoing, w_dim, kernel=3, up=up)
        self.finish = Finish(outgoing, size)

    def forward(self, h: Tensor, w: Tensor) -> Tensor:
        return self.finish(self.conv(h, w))


class Finish(nn.Module):
    """Noise of a learned strength, one value a pixel; a bias; leaky ReLU. In eval mode, noise is a fixed picture."""

    picture: Tensor

    def __init__(self, num_features: int, size: int):
        super().__init__()
        self.strength = nn.Parameter(torch.zeros(1))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("picture", torch.randn(1, 1, size, size))

    def forward(self, h: Tensor) -> Tensor:
        noise = torch.randn_like(h[:, :1]) if self.training else self.picture.to(h.dtype)
        return leaky(h + noise * self.strength.to(h.dtype) + self.bias[:, None, None].to(h.dtype))


class ToImage(nn.Module):
    """Features to colours: a modulated 1×1 convolution without demodulation, in float32 at least."""

    def __init__(self, incoming: int, channels: int, w_dim: int):
        super().__init__()
        self.conv = ModulatedConv(incoming, channels, w_dim, kernel=1, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, h: Tensor, w: Tensor) -> Tensor:
        return at_least_float32(self.conv(h, w)) + self.bias[:, None, None]


class ModulatedConv(nn.Module):
    """A convolution whose weights are scaled by a style w [N, W], for each example on its own: `modulated`."""

    def __init__(
        self, incoming: int, outgoing: int, w_dim: int, *, kernel: int, up: bool = False, demodulate: bool = True
    ):
        super().__init__()
        self.affine = equalised(nn.Linear(w_dim, incoming))
        nn.init.ones_(self.affine.bias)
        self.weight = nn.Parameter(torch.randn(outgoing, incoming, kernel, kernel))
        self.scale = (incoming * kernel**2) ** -0.5
        self.demodulate = demodulate
        self.blur = Blur(padding=1, gain=4.0) if up else None

    def forward(self, h: Tensor, w: Tensor) -> Tensor:
        with torch.autocast(h.device.type, enabled=False):
            style = self.affine(w)
        return modulated(h, self.weight * self.scale, style, demodulate=self.demodulate, blur=self.blur)


def modulated(
    h: Tensor, weight: Tensor, style: Tensor, *, demodulate: bool = True, blur: "Blur | None" = None
) -> Tensor:
    """A convolution of h [N, I, H, W] with the weights w'ₒᵢ = sᵢ·wₒᵢ of each example, divided by their norms.

    Scaling inputs by the style [N, I], and outputs by 1/‖w'ₒ‖, is the same as scaling the weights, and faster than the
    N different convolutions that they would make. With a blur, zeros are put between the pixels of h first, and the
    blur smoothes what comes of it, [N, O, 2H, 2W].
    Source: Karras et al. 2020, Eq. 1 and 3.
    """
    h = h * style[:, :, None, None].to(h.dtype)
    if blur is None:
        h = conv2d(h, weight, padding=weight.shape[-1] // 2)
    else:
        h = blur(conv_transpose2d(h, weight.transpose(0, 1), stride=2))
    if not demodulate:
        return h
    with torch.autocast(h.device.type, enabled=False):
        squared = style.square() @ weight.square().sum((2, 3)).T  # ‖w'ₒ‖² [N, O]
        return h * torch.rsqrt(squared + 1e-8)[:, :, None, None].to(h.dtype)


class HalvingBlock(nn.Module):
    """Two 3×3 convolutions, the second at every other pixel of blurred features; beside them a blurred 1×1 one."""

    def __init__(self, incoming: int, outgoing: int):
        super().__init__()
        self.conv1 = equalised(nn.Conv2d(incoming, incoming, 3, padding=1))
        self.conv2 = equalised(nn.Conv2d(incoming, outgoing, 3, stride=2))
        self.skip = equalised(nn.Conv2d(incoming, outgoing, 1, bias=False))
        self.blur, self.halve = Blur(padding=2), Blur(padding=1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        h = leaky(self.conv1(x))
        h = leaky(self.conv2(self.blur(h)))
        return (h + self.skip(self.halve(x))) / math.sqrt(2)


class Blur(nn.Module):
    """Each channel smoothed by the filter [1, 3, 3, 1] along both axes, times a gain."""

    filter: Tensor

    def __init__(self, *, padding: int, stride: int = 1, gain: float = 1.0):
        super().__init__()
        self.padding, self.stride = padding, stride
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.register_buffer("filter", gain * taps[None, None, :, None] * taps)

    def forward(self, h: Tensor) -> Tensor:
        num = h.shape[1]
        taps = self.filter.to(h.dtype).expand(num, -1, -1, -1)
        return conv2d(h, taps, stride=self.stride, padding=self.padding, groups=num)


class Scaled(nn.Module):
    """A parametrisation: the parameter times a constant."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.factor


def equalised(layer: Layer, *, rate: float = 1.0) -> Layer:
    """Equalised learning rate: weights are drawn from N(0, 1/rate²) and act times rate/√fan_in, biases times rate.

    So all layers keep the size of signals and, with Adam, change at the same relative speed, times `rate`.
    Source: Karras et al. 2018, Progressive Growing of GANs, section 4.1.
    """
    weight = layer.weight
    assert isinstance(weight, Tensor)
    factor = rate / math.sqrt(weight[0].numel())
    nn.init.normal_(weight, std=1 / rate)
    bias = getattr(layer, "bias", None)  # embeddings have none
    if isinstance(bias, Tensor):
        nn.init.zeros_(bias)
    parametrize.register_parametrization(layer, "weight", Scaled(factor))
    if isinstance(bias, Tensor) and rate != 1:
        parametrize.register_parametrization(layer, "bias", Scaled(rate))
    return layer


def leaky(h: Tensor) -> Tensor:
    """Leaky ReLU of slope 0.2 that keeps the size of signals."""
    return leaky_relu(h, 0.2) * math.sqrt(2)


def widths_by_level(width: int, num_levels: int, max_width: int) -> list[int]:
    """Channels from the smallest resolution to the full one, which has `width`: doubling, up to `max_width`."""
    return [max(width, min(width * 2 ** (num_levels - level), max_width)) for level in range(num_levels + 1)]
