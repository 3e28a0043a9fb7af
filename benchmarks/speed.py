"""Speed of the trainer against hand-written loops on the same networks, interleaved in one process.

    python -m benchmarks.speed                  # one thread, batch 64, 32×32: benchmarks/results/speed.json
    python -m benchmarks.speed --device cuda
    python -m benchmarks.speed --network stylegan2-64 --batch 16      # 64×64, seconds a step on a CPU

Every loop plays the same game: one move of D, one of G, on one generator forward (the fakes that D learned from are
those that G is updated on), Adam. Timed are whole steps, on the CPU by process time, after two warm-up steps each.
"""

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch

from equipoise.engine.optimizers import Optimizer
from equipoise.engine.precision import has_native_bf16
from equipoise.engine.trainer import Plan, Trainer
from equipoise.games.gan import GAN
from equipoise.games.toolbox import Toolbox
from equipoise.monitor.record import Record
from equipoise.networks.dcgan import DCGANCritic, DCGANGenerator
from equipoise.networks.resnet import ResNetCritic, ResNetGenerator
from equipoise.networks.stylegan2 import StyleGAN2Critic, StyleGAN2Generator
from equipoise.objectives import hinge, non_saturating
from equipoise.runs.environment import processor_name

RESULTS = Path(__file__).parent / "results" / "speed.json"
SIZE, Z = 32, 128

NETWORKS = {
    "dcgan-w64": (
        lambda: DCGANGenerator(Z, 3, SIZE, width=64),
        lambda: DCGANCritic(3, SIZE, width=64, normalisation="batch"),
        non_saturating,
    ),
    "sngan-resnet-w64": (
        lambda: ResNetGenerator(Z, 3, SIZE, width=64),
        lambda: ResNetCritic(3, SIZE, width=64, normalisation="spectral"),
        hinge,
    ),
    "stylegan2-64": (
        lambda: StyleGAN2Generator(Z, 3, 64, width=32, max_width=256, w_dim=128, mapping_layers=2),
        lambda: StyleGAN2Critic(3, 64, width=32, max_width=256),
        non_saturating,
    ),
}
SIZES = {"stylegan2-64": 64}
"""Pixels per side, where they are not `SIZE`."""


def bare_loop(network: str, *, batch: int, device: torch.device, optimised: bool) -> Callable[[], None]:
    """A hand-written loop: as in the tutorials, or with every trick that the trainer uses."""
    make_g, make_d, loss = NETWORKS[network]
    G, D = make_g().to(device), make_d().to(device)
    if optimised:
        G, D = G.to(memory_format=torch.channels_last), D.to(memory_format=torch.channels_last)
    optimizer_g = torch.optim.Adam(G.parameters(), 2e-4, (0.0, 0.99), fused=optimised or None)
    optimizer_d = torch.optim.Adam(D.parameters(), 2e-4, (0.0, 0.99), fused=optimised or None)
    data = real_images(batch, device, SIZES.get(network, SIZE))
    if optimised:
        data = data.to(memory_format=torch.channels_last)

    def autocast() -> torch.autocast:
        return torch.autocast(device.type, torch.bfloat16, enabled=optimised and has_native_bf16(device))

    def step() -> None:
        with autocast():
            fake = G(torch.randn(batch, Z, device=device))
            d_loss = loss.d(D(data).logits, D(fake.detach()).logits).mean()
        optimizer_d.zero_grad()
        d_loss.backward()
        optimizer_d.step()
        with autocast():
            logits = D(fake).logits
            g_loss = loss.g(logits, logits).mean()
        optimizer_g.zero_grad()
        g_loss.backward(inputs=list(G.parameters()) if optimised else None)
        optimizer_g.step()

    return step


def trainer_loop(network: str, *, batch: int, device: torch.device, default: bool) -> tuple[Callable[[], None], str]:
    """The trainer with its default plan, or with its plain one; recording as a run does."""
    make_g, make_d, loss = NETWORKS[network]
    plan = (
        Plan(steps=10**6, batch=batch)
        if default
        else Plan(steps=10**6, batch=batch, precision="fp32", channels_last=False)
    )
    data = real_images(batch, device, SIZES.get(network, SIZE))
    settings = dict.fromkeys("DG", Optimizer())
    G, D = make_g(), make_d()
    tools = Toolbox(styled=G if isinstance(G, StyleGAN2Generator) else None)
    game = GAN(G, D, z_dim=Z, loss=loss, tools=tools)
    trainer = Trainer(
        game, lambda position, size: data, players=settings, plan=plan, observers=[Recording()], device=device
    )
    return trainer.advance, trainer.precision


class Recording:
    """The part of a run's observer that costs something at every step."""

    def __init__(self):
        self.record = Record()

    def before_update(self, clock, player: str, parameters) -> None:
        pass

    def after_step(self, clock, record) -> None:
        for name, value in record.items():
            self.record.add(name, value)
        if clock.every(50):
            self.record.read()

    def on_event(self, clock, kind: str, message: str) -> None:
        pass


def real_images(batch: int, device: torch.device, size: int) -> torch.Tensor:
    return (torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1).to(device)


def build(network: str, loop: str, variant: str, *, batch: int, device: torch.device) -> tuple[Callable[[], None], str]:
    """The step of one variant and the precision it runs in."""
    torch.manual_seed(0)
    if loop == "equipoise":
        return trainer_loop(network, batch=batch, device=device, default=variant == "default")
    optimised = loop == "hand-optimised"
    bf16 = optimised and has_native_bf16(device)
    return bare_loop(network, batch=batch, device=device, optimised=optimised), "bf16" if bf16 else "fp32"


VARIANTS = [("plain", "plain"), ("hand-optimised", "all"), ("equipoise", "plain"), ("equipoise", "default")]


def measure(network: str, *, batch: int, device: torch.device, repeats: int) -> list[dict]:
    """One row per variant; the repeats of all variants are interleaved."""
    steps = {variant: build(network, *variant, batch=batch, device=device) for variant in VARIANTS}
    times: dict[tuple[str, str], list[float]] = {variant: [] for variant in VARIANTS}
    for repeat in range(repeats + 2):
        for variant, (step, _) in steps.items():
            taken = timed(step, device)
            if repeat >= 2:
                times[variant].append(taken)
        print(".", end="", flush=True)
    print()
    plain = statistics.median(times[VARIANTS[0]])
    rows = []
    for (loop, variant), taken in times.items():
        deciles = statistics.quantiles(taken, n=10)
        median = statistics.median(taken)
        rows.append(
            {
                "loop": loop,
                "network": network,
                "device": device.type,
                "threads": torch.get_num_threads(),
                "precision": steps[loop, variant][1],
                "variant": variant,
                "median_ms": round(1000 * median, 2),
                "p10_ms": round(1000 * deciles[0], 2),
                "p90_ms": round(1000 * deciles[-1], 2),
                "images_per_second": round(batch / median, 1),
                "peak_memory_mb": peak_memory(network, loop, variant, batch=batch, device=device),
                "ratio_to_plain": round(plain / median, 3),
                "machine": machine(device),
                "commit": commit(),
            }
        )
    return rows


def timed(step: Callable[[], None], device: torch.device) -> float:
    """Seconds of one step: of the processor on a CPU with one thread, else of the clock."""
    clock = time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    synchronise(device)
    start = clock()
    step()
    synchronise(device)
    return clock() - start


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory(network: str, loop: str, variant: str, *, batch: int, device: torch.device) -> float:
    """Megabytes at the peak of three steps, in a process of their own."""
    command = [sys.executable, "-m", "benchmarks.speed", "--memory-of", network, loop, variant]
    command += ["--batch", str(batch), "--device", str(device), "--threads", str(torch.get_num_threads())]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def memory_of(network: str, loop: str, variant: str, *, batch: int, device: torch.device) -> float:
    step, _ = build(network, loop, variant, batch=batch, device=device)
    for _ in range(3):
        step()
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    status = Path("/proc/self/status")  # the high-water mark of this program; getrusage's survives exec
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def machine(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{processor_name()}, {platform.system()}"


@cache
def commit() -> str:
    answer = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "unknown"


def show(rows: list[dict]) -> None:
    """The table of results."""
    print(f"{'network':18}{'loop':16}{'variant':9}{'precision':11}{'ms':>9}{'img/s':>9}{'MB':>8}{'× plain':>9}")
    for row in rows:
        print(
            f"{row['network']:18}{row['loop']:16}{row['variant']:9}{row['precision']:11}{row['median_ms']:9.1f}"
            f"{row['images_per_second']:9.1f}{row['peak_memory_mb']:8.0f}{row['ratio_to_plain']:9.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--network", choices=NETWORKS, action="append")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--memory-of", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    if options.memory_of:
        print(memory_of(*options.memory_of, batch=options.batch, device=device))
        return
    rows = []
    for network in options.network or NETWORKS:
        rows += measure(network, batch=options.batch, device=device, repeats=options.repeats)
    show(rows)
    key = ("network", "device", "threads", "loop", "variant")
    earlier = json.loads(options.out.read_text()) if options.out.exists() else []
    fresh = {tuple(row[k] for k in key) for row in rows}
    kept = [row for row in earlier if tuple(row[k] for k in key) not in fresh]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps([*kept, *rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
