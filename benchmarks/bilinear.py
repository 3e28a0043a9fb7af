"""The bilinear game min over x, max over y of x·y: which ways to train find its equilibrium, and which circle or leave.

    python -m benchmarks.bilinear               # docs/pictures/bilinear.png, and the final distances

It is the smallest game in which gradient descent fails: its gradient field (y, −x) turns around the only equilibrium
(0, 0), as the field of a generator and a critic does near theirs. Both players take the same rule and a constant rate;
nothing is random. Everything is played by the trainer, as any other game.

What the picture does not show. Adam's variants arrive while their second moment remembers the larger gradients of the
start (β₂ = 0.999). Once it forgets, which `--betas 0 0.9` shows at once and `--steps 20000` later, steps no longer
shrink with the gradient, and all of them circle at a distance proportional to the rate: extra-Adam nearest, then
optimistic Adam, Adam far out. A falling rate brings them in. With a first moment, `--betas 0.9 0.999`, all leave.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn

from equipoise.core.game import Clock, Game, Move, Moves
from equipoise.engine.lookahead import Lookahead
from equipoise.engine.optimizers import Optimizer
from equipoise.engine.trainer import Plan, Trainer

PICTURE = Path(__file__).parent.parent / "docs" / "pictures" / "bilinear.png"
AT_FIRST = 300
"""Steps whose path is drawn: later ones would cover each other."""
START = (0.8, 0.6)


class Coordinate(nn.Module):
    """A player with one number."""

    def __init__(self, value: float):
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))


class Bilinear(Game):
    """x minimises x·y, y maximises it; at once, or x first."""

    def __init__(self, *, simultaneous: bool):
        super().__init__()
        self.x, self.y = map(Coordinate, START)
        self.simultaneous = simultaneous

    @property
    def players(self) -> dict[str, list[nn.Module]]:
        return {"x": [self.x], "y": [self.y]}

    def step(self, data: Iterator[Tensor], now: Clock) -> Moves:
        if self.simultaneous:
            payoff = self.x.value * self.y.value
            yield Move("x", payoff=payoff), Move("y", payoff=-payoff)
        else:
            yield Move("x", payoff=self.x.value * self.y.value)
            yield Move("y", payoff=-self.x.value * self.y.value)

    def point(self) -> Tensor:
        """(x, y) as they stand."""
        return torch.stack([self.x.value, self.y.value]).detach()

    def sample(self, batch: Tensor) -> dict[str, Tensor]:
        return {"point": self.point().expand(len(batch), 2)}

    def judge(self, batch: Tensor) -> Tensor:
        return (self.x.value * self.y.value).expand(len(batch))


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to train."""

    player: Optimizer
    simultaneous: bool = True
    lookahead: Lookahead | None = None
    colour: str
    dashes: str = "-"


def ways(betas: tuple[float, float]) -> dict[str, Way]:
    """All that are compared, in the colours of Okabe and Ito, which people with any colour vision tell apart."""
    sgd = Optimizer(rule="sgd", learning_rate=0.1)
    adam = Optimizer(rule="adam", learning_rate=0.05, betas=betas)
    return {
        "SGD, simultaneous": Way(player=sgd, colour="#D55E00"),
        "SGD, alternating": Way(player=sgd, simultaneous=False, colour="#E69F00", dashes="--"),
        "SGD with lookahead": Way(player=sgd, lookahead=Lookahead(every=5), colour="#CC79A7", dashes="-."),
        "Adam": Way(player=adam, colour="#000000", dashes=":"),
        "extra-Adam": Way(player=replace(adam, rule="extra-adam"), colour="#009E73"),
        "optimistic Adam": Way(player=replace(adam, rule="optimistic-adam"), colour="#0072B2", dashes="--"),
    }


def play(way: Way, *, steps: int) -> Tensor:
    """Where the players stand after 0, 1, …, `steps` steps: [steps + 1, 2]."""
    game = Bilinear(simultaneous=way.simultaneous)
    plan = Plan(steps=steps, batch=1, precision="fp32", ema_half_life=0, measure_every=steps, lookahead=way.lookahead)
    players = dict.fromkeys("xy", way.player)
    trainer = Trainer(game, lambda position, size: torch.zeros(size), players=players, plan=plan)
    points = [game.point()]
    for _ in range(steps):
        trainer.advance()
        points.append(game.point())
    return torch.stack(points)


def draw(compared: dict[str, Way], paths: dict[str, Tensor], path: Path) -> None:
    """Left where the players go, right how far from the equilibrium they are."""
    figure, (plane, distance) = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
    for name, points in paths.items():
        style = {"color": compared[name].colour, "linestyle": compared[name].dashes, "linewidth": 1.6}
        plane.plot(*points[: AT_FIRST + 1].T, **style)
        distance.plot(points.norm(dim=1), label=name, **style)
    plane.plot(*START, marker="o", color="0.4", markersize=7, linestyle="none")
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0, "alpha": 0.85}
    plane.annotate("start", START, xytext=(9, 9), textcoords="offset points", color="0.2", bbox=box)
    plane.plot(0, 0, marker="+", color="0.2", markersize=12, markeredgewidth=2, linestyle="none")
    plane.set(xlim=(-1.8, 1.8), ylim=(-1.8, 1.8), aspect="equal", xlabel="x", ylabel="y")
    plane.set_title(f"Where the players of min max x·y go in their first {AT_FIRST} steps")
    distance.set(yscale="log", ylim=(1e-6, 30), xlabel="step", ylabel="distance to the equilibrium")
    distance.set_title("How far from the equilibrium they are")
    distance.margins(x=0)
    distance.grid(color="0.9")
    distance.legend(loc="lower left", frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--betas", type=float, nargs=2, default=(0.0, 0.999), help="of Adam and its variants")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=PICTURE)
    options = parser.parse_args()
    torch.set_num_threads(1)
    compared = ways(tuple(options.betas))
    paths = {name: play(way, steps=options.steps) for name, way in compared.items()}
    for name, points in paths.items():
        print(f"{name:20} distance {points[-1].norm():.2e} after {options.steps} steps, {points[0].norm():g} before")
    draw(compared, paths, options.out)
    print(f"Wrote {options.out}")
