"""Diversity: terms of the generator that reward different outputs for different latents. One value per example."""

import math

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import softplus

from equipoise.objectives.classification import classification


def mode_seeking(
    x1: Float[Tensor, "n *shape"],
    x2: Float[Tensor, "n *shape"],
    z1: Float[Tensor, "n *latent"],
    z2: Float[Tensor, "n *latent"],
) -> Float[Tensor, "n"]:
    """Two latents must not give nearly the same example; steep where they do (MSGAN).

    1 / (d(x1, x2)/d(z1, z2) + 1e-5), with d the mean absolute difference per example. Computed as
    d_z / (d_x + 1e-5 d_z), which is finite for equal latents too, unless the examples are equal as well.
    Default: weight 1, mainly for conditional games, where both examples share the condition.
    Cost: one more pass of G.
    Source: Mao et al. 2019.
    """
    near = mean_distance(z1, z2)
    return near / (mean_distance(x1, x2) + 1e-5 * near)


def diversity_sensitive(
    x1: Float[Tensor, "n *shape"],
    x2: Float[Tensor, "n *shape"],
    z1: Float[Tensor, "n *latent"],
    z2: Float[Tensor, "n *latent"],
    limit: float = 10.0,
) -> Float[Tensor, "n"]:
    """Examples differ in proportion to their latents, up to a limit (DSGAN).

    -min(d(x1, x2)/d(z1, z2), limit), with d the mean absolute difference per example; latents must differ. With data in
    [-1, 1] and normal latents the ratio rarely exceeds 2, so that the default limit only holds unbounded data.
    Default: weight 8, limit 10.
    Cost: one more pass of G.
    Source: Yang et al. 2019.
    """
    return -(mean_distance(x1, x2) / mean_distance(z1, z2)).clamp(max=limit)


def mean_distance(a: Float[Tensor, "n *shape"], b: Float[Tensor, "n *shape"]) -> Float[Tensor, "n"]:
    """The mean of |a - b| over each example."""
    return (a - b).abs().flatten(1).mean(1)


def top_k(values: Float[Tensor, "n"], logits: Float[Tensor, "n"], share: float) -> Float[Tensor, "k"]:
    """The generator learns from its best-scored examples only.

    Of the values [N], those whose logits are among the ⌈share · N⌉ highest; of equal logits, any.
    Default: share from 1 down to 0.5 or 0.75, times 0.99 at each epoch.
    Cost: none.
    Source: Sinha et al. 2020.
    """
    if not 0 < share <= 1:
        raise ValueError(f"top_k(share={share}): expected a share of the batch in (0, 1]. Use 1 to keep all.")
    kept = math.ceil(share * len(values) - 1e-6)  # 0.07 · 100 is a little more than 7
    return values[logits.topk(max(kept, 1)).indices]


def information(joint: Float[Tensor, "*n"], marginal: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """The mutual information of latents and examples, and with it the generator's entropy, as a loss of G and T.

    sp(-T(x, z)) + sp(T(x, z')), with x = G(z), an auxiliary network T and latents z' of other examples (z shuffled):
    less is more information (the Jensen-Shannon bound). G and T both minimise it. G is deterministic, so that the
    information between x and z is the entropy of x up to a constant.
    Default: weight 1 relative to the adversarial loss; to be tuned.
    Cost: a forward and a backward pass of T on two batches of pairs.
    Source: Kumar et al. 2019 (maximum entropy generators); Hjelm et al. 2019 (the bound).
    """
    return softplus(-joint) + softplus(marginal)


def gaussian_code(
    code: Float[Tensor, "n c"], mean: Float[Tensor, "n c"], log_variance: Float[Tensor, "n c"]
) -> Float[Tensor, "n"]:
    """A network Q reads continuous codes back from the example, with an uncertainty of its own (InfoGAN), for G and Q.

    -log N(c; μ, e^s) = ½ Σ ((c - μ)² e^-s + s + log 2π), summed over the codes. Unbounded below as s → -∞.
    Default: weight 0.1.
    Cost: one pass of Q, a small head on the critic's features.
    Source: Chen et al. 2016.
    """
    return ((code - mean).square() * (-log_variance).exp() + log_variance + math.log(2 * math.pi)).sum(1) / 2


def squared_code(code: Float[Tensor, "n c"], mean: Float[Tensor, "n c"]) -> Float[Tensor, "n"]:
    """A network Q reads continuous codes back from the example, with unit variance (InfoGAN), for G and Q.

    ½ ‖c - μ‖², summed over the codes: gaussian_code with s = 0, up to a constant, and bounded below.
    Default: weight 0.1.
    Cost: one pass of Q, a small head on the critic's features.
    Source: Chen et al. 2016.
    """
    return (code - mean).square().sum(1) / 2


def categorical_code(scores: Float[Tensor, "n k"], codes: Int[Tensor, "n"]) -> Float[Tensor, "n"]:
    """A network Q reads a discrete code back from the example (InfoGAN), for G and Q.

    -log softmax(scores)[code].
    Default: weight 1.
    Cost: one pass of Q, a small head on the critic's features.
    Source: Chen et al. 2016.
    """
    return classification(scores, codes)
