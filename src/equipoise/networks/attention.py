"""Self-attention: every place of a feature map looks at all others (Zhang et al. 2019, SAGAN)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from equipoise.networks.layers import Wrap, at_least_float32


class SelfAttention(nn.Module):
    """x + γ·W(softmax(QᵀK) V): features [N, C, H, W] to features of the same shape; γ begins at 0.

    Queries and keys have C/8 channels, values C/2; keys and values are pooled to half the resolution, so that a place
    looks at (H/2)·(W/2) others. Written out rather than by a fused kernel, which cannot be differentiated twice.
    Default: off; at 16, or 32, pixels of residual networks.
    Cost: H·W·(H/2)·(W/2) products for each example.
    Source: Zhang et al. 2019, Self-Attention GANs, section 3; pooled keys: Brock et al. 2019's networks.
    """

    def __init__(self, width: int, wrap: Wrap):
        super().__init__()
        inner, value = max(width // 8, 1), max(width // 2, 1)
        self.query = wrap(nn.Conv2d(width, inner, 1, bias=False))
        self.key = wrap(nn.Conv2d(width, inner, 1, bias=False))
        self.value = wrap(nn.Conv2d(width, value, 1, bias=False))
        self.out = wrap(nn.Conv2d(value, width, 1, bias=False))
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        query = self.query(x).flatten(2)  # [N, c, H·W]
        key = max_pool2d(self.key(x), 2).flatten(2)  # [N, c, H·W/4]
        value = max_pool2d(self.value(x), 2).flatten(2)
        looks = torch.softmax(at_least_float32(query.transpose(1, 2) @ key), dim=2).to(value.dtype)  # [N, H·W, H·W/4]
        seen = (value @ looks.transpose(1, 2)).unflatten(2, x.shape[2:])
        return x + self.gamma.to(x.dtype) * self.out(seen)


def attention_after(attention: int | None, sizes: list[int], widths: list[int], wrap: Wrap) -> nn.ModuleList:
    """For every block, whose output has so many pixels per side and channels, attention or nothing.

    Raises ValueError where no block has `attention` pixels per side. Of several blocks, the last one is followed by it.
    """
    if attention is not None and attention not in sizes:
        raise ValueError(
            f"attention = {attention}: no block of this network has so many pixels per side. Expected one of "
            f"{', '.join(map(str, dict.fromkeys(sizes)))}."
        )
    place = max((k for k, size in enumerate(sizes) if size == attention), default=-1)
    return nn.ModuleList([SelfAttention(w, wrap) if k == place else nn.Identity() for k, w in enumerate(widths)])
