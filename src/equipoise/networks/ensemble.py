"""Several critics: side by side, earlier copies of one, or one for each part of the data."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import adaptive_avg_pool2d, one_hot

from equipoise.core.game import Verdict


class Critics(nn.Module):
    """Several critics that answer as one: logits [N, K], a column for each of the K members.

    Features are those of all members, one after the other; class scores are the mean over the members that have any.
    Default: one critic; 2 to 5.
    Cost: K times a critic.
    Source: Durugkar, Gemp & Mahadevan 2017, Generative Multi-Adversarial Networks.
    """

    def __init__(self, members: Sequence[nn.Module]):
        super().__init__()
        if not members:
            raise ValueError("Critics([]): expected at least one critic. Pass networks that answer a Verdict.")
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Verdict:
        verdicts: list[Verdict] = [member(x, labels) for member in self.members]
        return Verdict(
            torch.stack([verdict.logits for verdict in verdicts], dim=1),  # [N, K]
            tuple(feature for verdict in verdicts for feature in verdict.features),
            mean_of([verdict.classes for verdict in verdicts if verdict.classes is not None]),
        )


def mean_of(scores: Sequence[Tensor]) -> Tensor | None:
    """The mean of tensors of one shape; None of none."""
    return torch.stack(list(scores)).mean(0) if scores else None


class Pool(nn.Module):
    """Past critics: frozen copies of one critic's parameters and buffers, the newest `size` of them.

    `forward` scores examples under every copy, with a gradient for the examples only; the critic itself and the copies
    stay as they are. Copies are kept as buffers, so they are saved with the game.
    Default: off; 3 to 5 copies, a new one every few hundred steps.
    Cost: memory of `size` critics, and one more forward and backward pass for each copy that is asked.
    Source: Ge et al. 2018, Fictitious GAN: Training GANs with Historical Models; Grnarova et al. 2018, Chekhov GAN.
    """

    filled: Tensor
    next: Tensor

    def __init__(self, critic: nn.Module, size: int):
        super().__init__()
        if size < 1:
            raise ValueError(f"Pool(size={size}): expected room for at least one copy. 3 to 5 are usual.")
        self.size = size
        self.parameter_names = [name for name, _ in critic.named_parameters()]
        self.buffer_names = [name for name, _ in critic.named_buffers()]
        for name, tensor in tensors(critic).items():
            # Flat, because a stack of convolutions has five axes, which no memory layout of images fits.
            self.register_buffer(slot_name(name), tensor.detach().reshape(1, -1).repeat(size, 1))
        self.register_buffer("filled", torch.tensor(0))
        self.register_buffer("next", torch.tensor(0))

    @torch.no_grad()
    def remember(self, critic: nn.Module) -> None:
        """Copy the critic as it is now over the oldest copy. The newest copy is not taken twice.

        Call it between moves: a graph that goes through the copies must not outlive it.
        """
        live, slot = tensors(critic), int(self.next)
        if self.filled and all(torch.equal(live[n], self.copy(live, n, slot - 1)) for n in self.parameter_names):
            return  # each micro-batch of a step says so
        for name in live:
            self.copy(live, name, slot).copy_(live[name])
        self.next.fill_((slot + 1) % self.size)
        self.filled.fill_(min(int(self.filled) + 1, self.size))

    def forward(self, critic: nn.Module, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits [N, K] of examples under the K copies that there are."""
        logits = [self.score(critic, slot, x, labels) for slot in range(int(self.filled))]
        return torch.stack(logits, dim=1) if logits else x.new_zeros(len(x), 0, dtype=torch.float32)

    def score(self, critic: nn.Module, slot: int, x: Tensor, labels: Tensor | None) -> Tensor:
        """Logits [N] of examples under one copy."""
        live = tensors(critic)
        parameters = {name: self.copy(live, name, slot) for name in self.parameter_names}
        # Clones, because batch and spectral normalisation write into their buffers while training.
        buffers = {name: self.copy(live, name, slot).clone() for name in self.buffer_names}
        return functional_call(critic, (parameters, buffers), (x, labels)).logits

    def copy(self, live: dict[str, Tensor], name: str, slot: int) -> Tensor:
        """A stored tensor, in the shape of the living one."""
        return self.get_buffer(slot_name(name))[slot].view(live[name].shape)


def tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def slot_name(name: str) -> str:
    """The name of the stacked copies of a tensor: a buffer's name may hold no dot."""
    return "copy-" + name.replace(".", "-")


class Clusters(nn.Module):
    """Online k-means: which of `num` clusters an example belongs to, for critics that know one part of the data each.

    Examples are compared as images average-pooled to at most size × size pixels, vectors as they are. Each look at a
    batch moves every centroid that has members there by c ← decay·c + (1 - decay)·mean of its members. The first batch
    sets the centroids: the example nearest the mean, then again and again the one farthest from all chosen. A cluster
    whose running share of the examples falls below 1/(20·num) starts again at the example farthest from its centroid.
    Default: off; decay = 0.99, size = 8.
    Cost: N·num distances in at most size²·C dimensions a step.
    Source: MacQueen 1967 (online k-means); Gonzalez 1985 (farthest-first start).
    """

    centroids: Tensor
    share: Tensor
    started: Tensor

    def __init__(self, num: int, shape: Sequence[int], *, size: int = 8, decay: float = 0.99):
        super().__init__()
        if num < 1 or size < 1 or not 0 <= decay < 1 or len(shape) not in (1, 3):
            raise ValueError(
                f"Clusters(num={num}, shape={tuple(shape)}, size={size}, decay={decay}): expected at least one cluster "
                "and one pixel, (C, H, W) or (D,), and a decay from 0 to below 1. Leave size and decay out."
            )
        self.size, self.decay = size, decay
        num_features = shape[0] if len(shape) == 1 else shape[0] * min(shape[1], size) * min(shape[2], size)
        self.register_buffer("centroids", torch.zeros(num, num_features))
        self.register_buffer("share", torch.full((num,), 1 / num))
        self.register_buffer("started", torch.tensor(0.0))

    @torch.no_grad()
    def assign(self, x: Tensor) -> Tensor:
        """The number of the nearest centroid, [N] int64."""
        h = self.features(x)
        return distances(h, self.present(h)).argmin(1)

    @torch.no_grad()
    def news(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Buffers and their new values after a look at a batch; writes nothing."""
        h = self.features(x)
        centroids = self.present(h)
        nearest = distances(h, centroids).min(1)
        members = one_hot(nearest.indices, len(centroids)).to(h)  # [N, K]
        count = members.sum(0)
        means = members.T @ h / count.clamp_min(1)[:, None]
        moved = torch.where(count[:, None] > 0, torch.lerp(means, centroids, self.decay), centroids)
        share = torch.lerp(count / len(h), self.share, self.decay)
        # The first of the empty clusters gets the farthest example, the second the next one, …
        empty = share < 1 / (20 * len(share))
        farthest = nearest.values.argsort(descending=True, stable=True)
        turn = (empty.cumsum(0) - 1).clamp(0, len(h) - 1)
        return [
            (self.centroids, torch.where(empty[:, None], h[farthest[turn]], moved)),
            (self.share, torch.where(empty, 1 / len(share), share)),
            (self.started, torch.ones_like(self.started)),
        ]

    def membership(self, x: Tensor) -> Tensor:
        """How much each example belongs to each cluster, [N, K], differentiable: softmax(-2 ‖x - c‖² / d²)."""
        h = self.features(x)
        centroids = self.present(h.detach())
        between = distances(centroids, centroids).sum() / max(len(centroids) * (len(centroids) - 1), 1)
        return torch.softmax(-2 * distances(h, centroids) / between.clamp_min(1e-12), dim=1)

    def present(self, h: Tensor) -> Tensor:
        """The centroids, and before there are any, those that this batch suggests."""
        return torch.where(self.started > 0, self.centroids, farthest_first(h, len(self.centroids)))

    def features(self, x: Tensor) -> Tensor:
        """What distances are measured between, [N, F] in float32."""
        x = x.float()
        if x.ndim == 4:
            x = adaptive_avg_pool2d(x, (min(x.shape[2], self.size), min(x.shape[3], self.size)))
        return x.flatten(1)


class Specialists(nn.Module):
    """Several critics, each of which judges above all the examples of one cluster, real and generated ones.

    D(x) = Σ_k w_k(x) D_k(x), w = softmax_k(-2 ‖x - c_k‖² / d²), with d² the mean squared distance between centroids;
    these are found online by k-means on coarse pixels. Each critic spends its capacity on one part of the data. Where
    fakes are missing its logits are high, and w leads the generator there: a hard choice of critic would not.
    Default: off; 3 critics.
    Cost: K times a critic.
    Source: own formulation: a critic as a mixture of experts (Jacobs et al. 1991), in the line of several critics for
    several parts of the data (Mordido et al. 2020, microbatchGAN).
    """

    def __init__(self, members: Sequence[nn.Module], clusters: Clusters):
        super().__init__()
        if len(members) != len(clusters.centroids):
            raise ValueError(
                f"Specialists: {len(members)} critics for {len(clusters.centroids)} clusters: expected one each."
            )
        self.members, self.clusters = nn.ModuleList(members), clusters

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Verdict:
        verdicts: list[Verdict] = [member(x, labels) for member in self.members]
        logits = torch.stack([verdict.logits for verdict in verdicts], dim=1)  # [N, K]
        return Verdict(
            (self.clusters.membership(x) * logits).sum(1),
            tuple(feature for verdict in verdicts for feature in verdict.features),
            mean_of([verdict.classes for verdict in verdicts if verdict.classes is not None]),
        )


def distances(h: Tensor, centroids: Tensor) -> Tensor:
    """Squared distances [N, K]."""
    return (h[:, None] - centroids).square().sum(2)


def farthest_first(h: Tensor, num: int) -> Tensor:
    """The example nearest the mean, then each time the one that is farthest from those chosen; [num, F]."""
    chosen = [h[distances(h, h.mean(0, keepdim=True)).argmin()]]
    least = distances(h, chosen[0][None])[:, 0]
    while len(chosen) < num:
        chosen.append(h[least.argmax()])
        least = torch.minimum(least, distances(h, chosen[-1][None])[:, 0])
    return torch.stack(chosen)
