"""Small games and trainers that the tests of the engine play with."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from equipoise.core.game import Clock, Game, Move
from equipoise.core.schedule import Lazy
from equipoise.data import Loader, tensor_source
from equipoise.engine.checkpoint import Checkpoints, Snapshot
from equipoise.engine.optimizers import Optimizer
from equipoise.engine.trainer import Plan, Trainer
from equipoise.games.gan import GAN
from equipoise.networks.dcgan import DCGANCritic, DCGANGenerator
from equipoise.networks.mlp import MLPCritic, MLPGenerator
from equipoise.objectives import Adversarial, non_saturating, r1

PLAYER = Optimizer(learning_rate=1e-2, betas=(0.5, 0.99))
"""First moments matter to it, as they do not with the default betas."""

LENGTH = 20
"""Examples in the made data sets: with batches of 4, an epoch has five steps."""


def images(*, labels: bool = False) -> Loader:
    """Twenty random images [2, 8, 8] in three classes; with one channel there would be but one memory layout."""
    x = torch.rand(LENGTH, 2, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return Loader(tensor_source("made", x, torch.arange(LENGTH) % 3), labels=labels, seed=0)


def points(*, labels: bool = False) -> Loader:
    """Twenty random points [2] in three classes."""
    x = torch.randn(LENGTH, 2, generator=torch.Generator().manual_seed(1))
    return Loader(tensor_source("made", x, torch.arange(LENGTH) % 3), labels=labels, seed=0)


def mlp_gan(*, loss: Adversarial = non_saturating, **rest: Any) -> GAN:
    return GAN(
        MLPGenerator(2, (2,), width=8, num_layers=1), MLPCritic((2,), width=8, num_layers=1), z_dim=2, loss=loss, **rest
    )


def dcgan(normalisation: Any = "batch", **rest: Any) -> GAN:
    rest = {"loss": non_saturating, "penalties": {"r1": (r1, Lazy(0.5, 4))}, **rest}
    critic = DCGANCritic(2, 8, width=2, normalisation=normalisation)
    return GAN(DCGANGenerator(3, 2, 8, width=2), critic, z_dim=3, **rest)


def conditional(conditioning: Any = "projection", **rest: Any) -> GAN:
    return GAN(
        DCGANGenerator(3, 2, 8, width=2, num_classes=3),
        DCGANCritic(2, 8, width=2, normalisation="spectral", num_classes=3, conditioning=conditioning),
        z_dim=3,
        num_classes=3,
        loss=non_saturating,
        penalties={"r1": (r1, Lazy(0.5, 4))},
        **rest,
    )


class Duel(Game):
    """Two linear players. Latents are read from the data, so that nothing is random."""

    weights = {}
    averaged = ("G",)

    def __init__(self):
        super().__init__()
        self.G, self.D = nn.Linear(2, 2), nn.Linear(2, 1)
        self.register_buffer("level", torch.zeros(()))

    @property
    def players(self) -> dict[str, list[nn.Module]]:
        return {"D": [self.D], "G": [self.G]}

    def step(self, data: Iterator[Tensor], now: Clock) -> Iterator[Move]:
        x = next(data)  # [N, 2]
        real, fake = self.D(x), self.D(self.G(x.flip(1)).detach())
        yield Move(
            "D",
            adversarial=(1 - real).relu() + (1 + fake).relu(),
            slope=self.D.weight.square().sum(),
            remember={"level": real.mean()},
            watch={"real": real, "fake": fake},
        )
        yield Move("G", adversarial=-self.D(self.G(x.flip(1))))

    def sample(self, batch: Tensor) -> dict[str, Tensor]:
        return {"fake": self.G(batch)}

    def judge(self, batch: Tensor) -> Tensor:
        return self.D(batch)[:, 0]


class Diary:
    """An observer that writes everything down."""

    def __init__(self):
        self.events: list[tuple[int, str, str]] = []
        self.records: list[dict[str, Any]] = []
        self.moves: list[tuple[int, str]] = []

    def before_update(self, clock: Clock, player: str, parameters: Mapping[str, nn.Parameter]) -> None:
        self.moves.append((clock.step, player))

    def after_step(self, clock: Clock, record: dict[str, Any]) -> None:
        self.records.append(dict(record))

    def on_event(self, clock: Clock, kind: str, message: str) -> None:
        self.events.append((clock.step, kind, message))

    def kinds(self) -> list[str]:
        return [kind for _, kind, _ in self.events if kind != "saved"]


def seated(
    game: Callable[[], Game] = mlp_gan,
    data: Callable[[int, int], Any] | None = None,
    *,
    folder: Path | None = None,
    player: Optimizer = PLAYER,
    seed: int = 0,
    **plan: Any,
) -> Trainer:
    """A trainer of a small game; `seed` decides its initial weights, `folder` is where it saves."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        built = game()
    plan = {"steps": 10, "batch": 4, "precision": "fp32", "save_every": 1, "keep": 100, "ema_half_life": 100} | plan
    data = points() if data is None else data
    checkpoints = None if folder is None else Checkpoints(folder, keep=plan["keep"])
    return Trainer(
        built,
        data,
        players=dict.fromkeys(built.players, player),
        plan=Plan(**plan),
        checkpoints=checkpoints,
        observers=[Diary()],
    )


def copied(snapshot: Snapshot) -> Snapshot:
    """A snapshot that later steps do not change."""
    tensors = {group: {k: v.detach().clone() for k, v in part.items()} for group, part in snapshot.tensors.items()}
    return Snapshot(tensors, dict(snapshot.state))


def differences(a: Snapshot, b: Snapshot) -> list[str]:
    """The keys in which two snapshots differ by a bit or more."""
    flat_a = {f"{group}/{k}": v for group, part in a.tensors.items() for k, v in part.items()}
    flat_b = {f"{group}/{k}": v for group, part in b.tensors.items() for k, v in part.items()}
    unequal = [k for k in flat_a.keys() & flat_b.keys() if not same(flat_a[k], flat_b[k])]
    states = [k for k in a.state.keys() | b.state.keys() if a.state.get(k) != b.state.get(k)]
    return sorted([*unequal, *(flat_a.keys() ^ flat_b.keys()), *states])


def same(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)


def diary(trainer: Trainer) -> Diary:
    """The diary of a trainer made here."""
    (only,) = trainer.observers
    assert isinstance(only, Diary)
    return only
