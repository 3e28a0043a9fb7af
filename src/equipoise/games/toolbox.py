"""The toolbox: what may be added to a game between one generator and its critics. Empty by default."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from equipoise.core.schedule import Lazy, Scheduled
from equipoise.games.augmentation import Augmentation, PseudoReal
from equipoise.games.jury import Jury, PastCritics
from equipoise.games.round import Term
from equipoise.games.throttle import Throttle
from equipoise.networks.ensemble import Clusters
from equipoise.networks.stylegan2 import StyleGAN2Generator


@dataclass(frozen=True, kw_only=True)
class Toolbox:
    """Techniques of the literature; each can be combined with the others unless a `RecipeError` says why not."""

    terms: Mapping[str, tuple[Term, Scheduled | Lazy]] = field(default_factory=dict)
    """"player/name" -> a further term and its weight."""
    augmentations: Sequence[Augmentation] = ()
    """What happens to every example before a critic sees it, in this order."""
    pseudo: PseudoReal | None = None
    packing: int = 1
    jury: Jury | None = None
    """How several critics decide together; the critic must answer logits [N, K]."""
    clusters: Clusters | None = None
    """The clusters of specialised critics; part of the critic."""
    styled: StyleGAN2Generator | None = None
    """The generator, where it makes examples of styles; their running mean moves with it."""
    past: PastCritics | None = None
    unrolled: int = 0
    throttle: Throttle | None = None
    top_k: Scheduled = 1.0
    simultaneous: bool = False
    separate_penalties: bool = False
    growing: float | None = None
    """Both networks have a `grow(progress, fade)` that is called before every step, with this share for fading in."""
    categories: int = 0
    """The first so many latents are a category: G gets the largest of them as one-hot (InfoGAN)."""
    matching_alone: bool = False
    """The generator does without its adversarial loss."""

    def modules(self) -> nn.ModuleDict:
        """Everything that has a state, by name."""
        named = {name.replace("/", "_"): term for name, (term, _) in self.terms.items()}
        named |= {f"augmentation_{k}": augmentation for k, augmentation in enumerate(self.augmentations)}
        named |= {"pseudo": self.pseudo, "jury": self.jury, "past": self.past, "throttle": self.throttle}
        return nn.ModuleDict({name: module for name, module in named.items() if isinstance(module, nn.Module)})
