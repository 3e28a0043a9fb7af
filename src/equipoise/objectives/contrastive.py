"""Contrastive terms: what belongs together is more alike than what does not. One value per example."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from equipoise.objectives.matching import full


def patch_contrastive(
    queries: Float[Tensor, "n s c"], keys: Float[Tensor, "n s c"], *, temperature: float = 0.07
) -> Float[Tensor, "n"]:
    """Each patch of a translation has more in common with the same patch of its input than with the others (PatchNCE).

    mean_s -log(exp(q_s·k_s / τ) / Σ_t exp(q_s·k_t / τ)) over the S places of an image, for queries q (of the
    translation) and keys k (of the input, at the same places), both scaled to length 1 in float32 at least. The other
    places of the same image are the negatives. No gradient flows into the keys. It is log S where all keys are alike.
    Default: weight 1 with 256 places and as much for identity (CUT), 10 alone (FastCUT), τ = 0.07; mean over layers.
    Cost: the first half of G on translation and input; S² products a layer and image.
    Source: Park et al. 2020, Contrastive Learning for Unpaired Image-to-Image Translation, Eq. 3 and 4.
    """
    if queries.shape != keys.shape:
        raise ValueError(
            f"patch_contrastive got queries of shape {list(queries.shape)} and keys of shape {list(keys.shape)}: "
            "expected one shape, the same places of both images."
        )
    if not temperature > 0:
        raise ValueError(f"patch_contrastive(temperature={temperature}): expected a number above 0, such as 0.07.")
    q, k = (normalize(full(x), dim=2, eps=1e-7) for x in (queries, keys.detach()))
    num, places, _ = q.shape
    with torch.autocast(q.device.type, enabled=False):
        alike = q @ k.transpose(1, 2) / temperature  # [N, S, S]
    own = torch.arange(places, device=q.device).repeat(num)
    return cross_entropy(alike.flatten(0, 1), own, reduction="none").view(num, places).mean(1)
