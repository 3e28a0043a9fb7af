"""What networks for images of any size share: how far they see, how images meet their strides, normalisation.

A network's `reach` is the number of pixels of its input, to each side, that an output pixel can depend on; where the
output is s times larger, output pixel o lies at input pixel ⌊o/s⌋. It is None where statistics of the whole image enter
(instance normalisation, Fourier transforms); batch normalisation counts as in eval mode, where it looks at one pixel.
`period` is the number of pixels by which the input can be shifted so that the output shifts with it: it is also what
sides are padded to, at the right and at the bottom. `smallest` is the shortest side that works. So a large image may be
computed in tiles that begin at multiples of `period`: outputs farther than `reach` from a cut are those of the whole.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn
from torch.nn.functional import pad

PlainNormalisation = Literal["none", "batch", "instance"]


@runtime_checkable
class AnySize(Protocol):
    """A network that takes images of any size, and says what it needs of them."""

    @property
    def reach(self) -> int | None:
        """Beyond how many input pixels an output pixel depends on nothing; None where it depends on all."""
        ...

    @property
    def period(self) -> int:
        """By multiples of how many pixels its grid repeats."""
        ...

    @property
    def smallest(self) -> int:
        """The shortest side that it takes."""
        ...


class Span(NamedTuple):
    """Pixels of one axis, from the first to the last, both included."""

    first: int
    last: int


def reach_of(before_all: Callable[[Span], Span], *, period: int = 1, scale: int = 1) -> int:
    """The farthest input pixel that an output pixel depends on, over all phases of the strides.

    `before_all` says which pixels of the input the given output pixels depend on; `scale` is how many times the output
    is larger.

    >>> reach_of(lambda span: before(span, nn.Sequential(nn.Conv2d(1, 8, 7, padding=3), nn.Conv2d(8, 1, 3, padding=1))))
    4
    """
    reach = 0
    for output in range(period * scale):
        span = before_all(Span(output, output))
        reach = max(reach, output // scale - span.first, span.last - output // scale)
    return reach


def before(span: Span, network: nn.Module) -> Span:
    """The inputs that a chain of layers needs for the outputs `span`: along one axis, and as if the image went on.

    The chain is all convolutions, pixel shuffles and enlargements within `network`, in the order of their registration;
    other layers work on each pixel. Skip connections within it must lie within the chain's own span, as those of
    residual and dense blocks do.
    """
    for layer in reversed([*network.modules()]):
        match layer:
            case nn.Conv2d(kernel_size=(kernel, _), stride=(stride, _), padding=(padding, _), dilation=(dilation, _)):
                first = span.first * stride - padding
                span = Span(first, span.last * stride - padding + dilation * (kernel - 1))
            case nn.PixelShuffle(upscale_factor=factor):
                span = Span(span.first // factor, span.last // factor)
            case nn.Upsample(mode="nearest"):
                factor = enlargement(layer)
                span = Span(span.first // factor, span.last // factor)
            case nn.Upsample(mode="bilinear"):
                factor = enlargement(layer)  # output o reads the two inputs around (o + 1/2) / factor - 1/2
                span = Span(lower_neighbour(span.first, factor), lower_neighbour(span.last, factor) + 1)
            case nn.Upsample(mode="bicubic"):
                factor = enlargement(layer)  # and here the four around it
                span = Span(lower_neighbour(span.first, factor) - 1, lower_neighbour(span.last, factor) + 2)
            case _:
                pass
    return span


def enlargement(layer: nn.Upsample) -> int:
    """The whole number by which a layer enlarges both sides."""
    assert isinstance(layer.scale_factor, float)
    assert layer.scale_factor.is_integer()
    assert not layer.align_corners
    return int(layer.scale_factor)


def lower_neighbour(output: int, factor: int) -> int:
    """⌊(o + 1/2) / factor - 1/2⌋: the nearest input pixel at or before the place of an output pixel."""
    return (2 * output + 1 - factor) // (2 * factor)


def join(*spans: Span) -> Span:
    """The span of all pixels that lie in one of the spans, or between them."""
    return Span(min(span.first for span in spans), max(span.last for span in spans))


def padded(x: Tensor, multiple: int) -> Tensor:
    """The images, reflected at the right and at the bottom until both sides are multiples; crop with `[..., :H, :W]`.

    Sides of more than half of `multiple` suffice: a reflection cannot be longer than what is reflected.
    """
    below, beside = -x.shape[-2] % multiple, -x.shape[-1] % multiple
    return pad(x, (0, beside, 0, below), mode="reflect") if below or beside else x


def smallest_side(multiple: int) -> int:
    """The shortest side that one reflection makes a multiple: n with -n mod multiple < n.

    >>> [smallest_side(multiple) for multiple in (1, 2, 4, 8, 16)]
    [1, 2, 3, 5, 9]
    """
    return multiple // 2 + 1


def check_sides(x: Tensor, smallest: int, network: str, remedy: str) -> None:
    """Raise ValueError unless both sides of the images have at least `smallest` pixels."""
    if min(x.shape[-2:]) < smallest:
        raise ValueError(
            f"{network}: images of {x.shape[-2]}×{x.shape[-1]} pixels were passed: expected sides of at least "
            f"{smallest}. {remedy}"
        )


def check_counts(network: str, **counts: int) -> None:
    """Raise ValueError unless all counts are at least 1."""
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{network}({name}={count}): expected at least 1. Leave it out, or pass more.")


def norm_for(normalisation: PlainNormalisation, num_features: int) -> nn.Module:
    """A layer that normalises over the batch, over each image (Ulyanov et al. 2016), or not at all.

    Both kinds learn a gain and a bias of each channel, so that the convolution before needs no bias.
    """
    match normalisation:
        case "none":
            return nn.Identity()
        case "batch":
            return nn.BatchNorm2d(num_features)
        case "instance":
            return nn.InstanceNorm2d(num_features, affine=True)
        case _:
            raise ValueError(
                f"normalisation={normalisation!r}: expected 'none', 'batch' or 'instance'. Choose one of them."
            )
