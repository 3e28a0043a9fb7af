"""Numbers about the balance of a game: pure functions of logits and of examples, free of any scale.

All take and give tensors and wait for no device. Examples are rows of a feature space, float [N, F]; see `spaces`.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn


def share_above(a: Float[Tensor, " n"], b: Float[Tensor, " m"]) -> Float[Tensor, ""]:
    """P(a > b) + P(a = b) / 2 over all pairs: the area under the ROC curve. 0.5 is a coin, 1 a perfect separation.

    With logits of real and generated examples it says how well the critic wins, with those of training and held-out
    examples how much it knows by heart.
    Cost: N·M comparisons.
    Source: Mann & Whitney 1947.
    """
    difference = a[:, None] - b[None]
    return ((difference > 0).float() + (difference == 0).float() / 2).mean()


def pair_distance(x: Float[Tensor, "n f"]) -> Float[Tensor, ""]:
    """The mean distance of two different examples.

    Cost: N² distances.
    """
    return torch.cdist(x, x).sum() / max(len(x) * (len(x) - 1), 1)


def diversity(fake: Float[Tensor, "n f"], real: Float[Tensor, "m f"]) -> Float[Tensor, ""]:
    """How far generated examples lie apart, relative to real ones: 1 is healthy, 0 is one single example.

    Cost: N² + M² distances.
    """
    return pair_distance(fake) / pair_distance(real).clamp_min(1e-12)


def energy_distance(fake: Float[Tensor, "n f"], real: Float[Tensor, "m f"]) -> Float[Tensor, ""]:
    """How far two distributions are apart: (2 E|x - y| - E|x - x'| - E|y - y'|) / E|y - y'|, about 0 where they agree.

    Unbiased, so it may fall a little below 0.
    Cost: (N + M)² distances.
    Source: Székely & Rizzo 2013, Energy statistics.
    """
    between, within = torch.cdist(fake, real).mean(), pair_distance(real)
    return (2 * between - pair_distance(fake) - within) / within.clamp_min(1e-12)


def nearest_ratio(fake: Float[Tensor, "n f"], real: Float[Tensor, "m f"]) -> Float[Tensor, ""]:
    """The median distance of a generated example to its nearest neighbour among them, relative to that of real ones.

    Near 0 where examples repeat each other, even if a few different ones keep the mean distance up.
    Cost: N² + M² distances.
    """
    return median_nearest(fake) / median_nearest(real).clamp_min(1e-12)


def median_nearest(x: Float[Tensor, "n f"]) -> Float[Tensor, ""]:
    """The median distance to the nearest other row."""
    apart = torch.cdist(x, x).fill_diagonal_(torch.inf)
    return apart.amin(1).median()


def coverage(fake: Float[Tensor, "n f"], real: Float[Tensor, "m f"], *, k: int = 5) -> Float[Tensor, ""]:
    """The share of real examples with a generated one no further away than their k-th nearest real neighbour.

    In spaces of many dimensions it is low for every generator: compare it with that of other real examples.
    Cost: N·M + M² distances.
    Source: Naeem et al. 2020, Reliable Fidelity and Diversity Metrics, Eq. 8.
    """
    apart = torch.cdist(real, real).fill_diagonal_(torch.inf)
    radius = apart.kthvalue(min(k, len(real) - 1), dim=1).values
    return (torch.cdist(real, fake).amin(1) <= radius).float().mean()


def nearer_to_train(
    fake: Float[Tensor, "n f"], train: Float[Tensor, "m f"], held_out: Float[Tensor, "m f"]
) -> Float[Tensor, ""]:
    """The share of generated examples whose nearest real one was trained on, against equally many held-out ones.

    0.5 is healthy; towards 1, the generator copies. Ties count half.
    Cost: 2·N·M distances.
    Source: the three-sample idea of Meehan et al. 2020, A Non-Parametric Test to Detect Data-Copying.
    """
    num = min(len(train), len(held_out))
    to_train, to_held_out = torch.cdist(fake, train[:num]).amin(1), torch.cdist(fake, held_out[:num]).amin(1)
    return ((to_train < to_held_out).float() + (to_train == to_held_out).float() / 2).mean()


def movement(fake: Float[Tensor, "n f"], before: Float[Tensor, "n f"], real: Float[Tensor, "m f"]) -> Float[Tensor, ""]:
    """How far the examples of the same latents moved since `before`, relative to the distance of two real ones.

    Cost: M² distances.
    """
    return (fake - before).norm(dim=1).mean() / pair_distance(real).clamp_min(1e-12)


def turning(
    fake: Float[Tensor, "n f"], before: Float[Tensor, "n f"], earlier: Float[Tensor, "n f"]
) -> Float[Tensor, ""]:
    """The mean cosine between two successive movements of the same latents: near -1 where they swing back and forth.

    Cost: nothing to speak of.
    """
    return nn.functional.cosine_similarity(fake - before, before - earlier, dim=1).mean()


def saturation(x: Float[Tensor, "n c h w"], *, limit: float = 0.99) -> Float[Tensor, ""]:
    """The share of pixels at the end of the range [-1, 1]: compare it with that of real images.

    Cost: nothing to speak of.
    """
    return (x.abs() > limit).float().mean()


def checkerboard(x: Float[Tensor, "n c h w"]) -> Float[Tensor, ""]:
    """The share of an image's energy that changes its sign from pixel to pixel: compare it with that of real images.

    Of the response of [1, -1] filters along both axes, relative to the variance: transposed convolutions leave such a
    pattern (Odena et al. 2016, Deconvolution and Checkerboard Artifacts).
    Cost: one difference of each pixel.
    """
    alternating = x[..., 1:, 1:] - x[..., :-1, 1:] - x[..., 1:, :-1] + x[..., :-1, :-1]
    return alternating.square().mean() / (16 * x.var().clamp_min(1e-12))


def within_classes(x: Float[Tensor, "n f"], labels: Tensor) -> Float[Tensor, ""]:
    """The mean distance of two examples of one class, averaged over the classes that occur at least twice; int64 [N].

    Cost: N² distances.
    """
    same = (labels[:, None] == labels[None]).float()
    same.fill_diagonal_(0)
    pairs = same.sum(1)
    apart = (torch.cdist(x, x) * same).sum(1) / pairs.clamp_min(1)
    return apart[pairs > 0].mean() if bool((pairs > 0).any()) else x.new_tensor(torch.nan)
