"""A signal ends training after the step, with everything saved; a second one ends it at once."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

import equipoise
from equipoise.core.errors import Interrupted
from equipoise.engine.checkpoint import Checkpoints
from equipoise.engine.interruption import Interruption
from equipoise.engine.optimizers import Optimizer
from equipoise.engine.trainer import Plan, Trainer
from equipoise.games.gan import GAN
from equipoise.networks.mlp import MLPCritic, MLPGenerator
from equipoise.objectives import non_saturating

TINY = {
    "game.network.width": 8,
    "game.network.num_layers": 1,
    "data.num_examples": 200,
    "training.batch": 4,
    "training.save_every": 100_000,
    "watching.tensorboard": False,
    "watching.samples_every": 100_000,
    "judging.at_end": False,
    "players.D.learning_rate": 1e-3,
    "players.G.learning_rate": 1e-3,
}
LIMIT = 120
"""Seconds that a child may take; far more than it needs."""


@contextmanager
def training(folder: Path) -> Iterator[subprocess.Popen]:
    """`equipoise train ring`, for ever, in a process of its own that has begun."""
    settings = [f"--set={key}={str(value).lower()}" for key, value in {**TINY, "training.steps": 10**6}.items()]
    process = command("train", "ring", *settings, f"--run={folder}")
    try:
        wait_for(lambda: (folder / "signals.jsonl").exists(), process)
        yield process
    finally:
        process.kill()
        process.communicate()


def command(*arguments: str) -> subprocess.Popen:
    """The command line with the one thread that comparing bits asks for."""
    script = "import torch; torch.set_num_threads(1); from equipoise.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
    )


def wait_for(condition, process: subprocess.Popen) -> None:
    end = time.monotonic() + LIMIT
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.02)


def saved_steps(folder: Path) -> list[int]:
    return Checkpoints(folder / "checkpoints").steps()


def state(folder: Path) -> dict[str, torch.Tensor]:
    """Everything that the newest checkpoint holds, by name."""
    snapshot = Checkpoints(folder / "checkpoints").newest()
    tensors = {f"{group}/{k}": v for group, part in snapshot.tensors.items() for k, v in part.items()}
    return tensors | {k: torch.tensor(v) for k, v in snapshot.state.items() if k != "precision"}


def test_sigterm_saves_and_leaves_and_the_resumed_run_equals_an_unbroken_one(tmp_path):
    with training(tmp_path / "cut") as process:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 143
    assert "Stopped by signal 15 after step" in output
    first, stopped = saved_steps(tmp_path / "cut")
    assert first == 0
    assert stopped > 0
    assert f"Stopped by signal 15 after step {stopped}; everything is saved." in output
    goal = stopped + 30
    resumed = command("resume", str(tmp_path / "cut"), f"--set=training.steps={goal}")
    output, _ = resumed.communicate(timeout=LIMIT)
    assert resumed.returncode == 0, output
    equipoise.train("ring", settings={**TINY, "training.steps": goal}, folder=tmp_path / "whole", quiet=True)
    assert saved_steps(tmp_path / "cut") == [0, stopped, goal]
    assert saved_steps(tmp_path / "whole") == [0, goal]
    cut, whole = state(tmp_path / "cut"), state(tmp_path / "whole")
    assert cut.keys() == whole.keys()
    assert [name for name in whole if not torch.equal(cut[name], whole[name])] == []


def test_sigint_saves_and_leaves_with_130(tmp_path):
    with training(tmp_path / "run") as process:
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    assert "Traceback" not in output
    assert len(saved_steps(tmp_path / "run")) == 2


# ---------------------------------------------------------------- within one process


class Signals:
    """An observer that sends this process signals when a step or a save is done."""

    def __init__(self, *, at_step: int = -1, at_save: int = -1, numbers: tuple[int, ...] = (signal.SIGTERM,)):
        self.at_step, self.at_save, self.numbers = at_step, at_save, numbers

    def before_update(self, clock, player, parameters) -> None:
        pass

    def after_step(self, clock, record) -> None:
        if clock.step == self.at_step:
            self.send()

    def on_event(self, clock, kind, message) -> None:
        if kind == "saved" and clock.step == self.at_save:
            self.send()

    def send(self) -> None:
        for number in self.numbers:
            os.kill(os.getpid(), number)


def trainer(folder: Path, observer: Signals, *, steps: int = 8) -> Trainer:
    torch.manual_seed(0)
    game = GAN(MLPGenerator(2, (2,), width=4), MLPCritic((2,), width=4), z_dim=2, loss=non_saturating)
    return Trainer(
        game,
        lambda position, size: torch.randn(size, 2, generator=torch.Generator().manual_seed(position)),
        players={"D": Optimizer(), "G": Optimizer()},
        plan=Plan(steps=steps, batch=4, save_every=5, precision="fp32"),
        checkpoints=Checkpoints(folder, keep=10),
        observers=[observer],
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_step_saves_and_restores_the_handlers(number, tmp_path):
    former = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    playing = trainer(tmp_path, Signals(at_step=3, numbers=(number,)))
    with pytest.raises(Interrupted, match="after step 3; everything is saved") as caught:
        playing.fit()
    assert caught.value.exit_code == 128 + number
    assert Checkpoints(tmp_path).steps() == [0, 3]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == former


@pytest.mark.parametrize("step", [0, 5, 8])
def test_a_signal_while_saving_is_heeded_after_it(step, tmp_path):
    with pytest.raises(Interrupted, match=f"after step {step};"):
        trainer(tmp_path, Signals(at_save=step)).fit()
    assert Checkpoints(tmp_path).steps() == [s for s in (0, 5, 8) if s <= step]
    resumed = trainer(tmp_path, Signals())
    assert resumed.resume()
    resumed.fit()
    assert Checkpoints(tmp_path).steps() == [0, 5, 8]


def test_the_handlers_come_back_after_training_and_after_errors(tmp_path):
    former = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    trainer(tmp_path, Signals()).fit()
    with pytest.raises(ZeroDivisionError), Interruption():
        raise ZeroDivisionError
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == former


def test_a_second_signal_leaves_at_once(tmp_path):
    child = os.fork()
    if child == 0:
        try:
            trainer(tmp_path, Signals(at_step=3, numbers=(signal.SIGTERM, signal.SIGINT))).fit()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 130
    assert Checkpoints(tmp_path).steps() == [0]


def test_training_outside_of_the_main_thread_leaves_signals_alone(tmp_path):
    import threading

    former = signal.getsignal(signal.SIGTERM)
    playing = trainer(tmp_path, Signals())
    thread = threading.Thread(target=playing.fit)
    thread.start()
    thread.join()
    assert playing.clock.step == 8
    assert signal.getsignal(signal.SIGTERM) is former
