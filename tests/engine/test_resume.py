"""Training that was cut and resumed equals training that was not, bit for bit."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from tiny import PLAYER, conditional, copied, dcgan, diary, differences, mlp_gan, seated

from equipoise.core.errors import CheckpointError
from equipoise.core.game import Game
from equipoise.core.schedule import Schedule
from equipoise.engine import trainer as engine
from equipoise.engine.checkpoint import Checkpoints, Snapshot
from equipoise.engine.lookahead import Lookahead
from equipoise.engine.optimizers import Optimizer
from equipoise.engine.trainer import Trainer

STEPS = 10
# An epoch has five steps, the lazy penalty is computed at steps 0, 4 and 8, the averages ramp up throughout.
POINTS = {"ramp-up": 1, "mid-epoch": 3, "at a lazy penalty": 4, "epoch edge": 5, "one step before a lazy penalty": 7}


@dataclass(frozen=True)
class Case:
    """One way to train."""

    game: Callable[[], Game]
    labels: bool = False
    player: Optimizer = PLAYER
    plan: dict[str, Any] = field(default_factory=dict)

    def seated(self, folder: Path | None = None, *, seed: int = 0) -> Trainer:
        plan = {"steps": STEPS, "save_every": 100, **self.plan}
        return seated(self.game, tiny.images(labels=self.labels), folder=folder, player=self.player, seed=seed, **plan)


CASES = {
    "batch norm": Case(dcgan),
    "batch norm, not channels_last": Case(dcgan, plan={"channels_last": False}),
    "spectral norm": Case(lambda: dcgan("spectral")),
    "conditional": Case(conditional, labels=True),
    "auxiliary": Case(lambda: conditional("auxiliary", auxiliary=0.5), labels=True),
    "bfloat16": Case(lambda: dcgan("spectral"), plan={"precision": "bf16"}),
    "bfloat16, conditional": Case(conditional, labels=True, plan={"precision": "bf16"}),
    "accumulation": Case(dcgan, plan={"accumulate": 2}),
    "two critic steps": Case(lambda: dcgan(critic_steps=2)),
    "clipped weights": Case(lambda: dcgan(clip=0.02)),
    "scheduled rate": Case(dcgan, player=Optimizer(learning_rate=Schedule(start=1e-2, end=1e-3, warmup=0.3))),
    "adamw": Case(dcgan, player=Optimizer(rule="adamw", weight_decay=0.1, betas=(0.5, 0.9))),
    "rmsprop": Case(dcgan, player=Optimizer(rule="rmsprop", learning_rate=1e-3, momentum=0.5)),
    "sgd": Case(dcgan, player=Optimizer(rule="sgd", learning_rate=1e-2, momentum=0.5)),
    "optimistic adam, lookahead": Case(
        dcgan, player=replace(PLAYER, rule="optimistic-adam"), plan={"lookahead": Lookahead(every=3)}
    ),
    "optimistic sgd, noise": Case(
        dcgan, player=Optimizer(rule="optimistic-sgd", learning_rate=1e-2, gradient_noise=Schedule(start=0.1, end=0.0))
    ),
    "extra adam, growing batch": Case(
        dcgan, player=replace(PLAYER, rule="extra-adam"), plan={"batch": Schedule(start=2, end=9)}
    ),
    "extra sgd, accumulation, lookahead, noise": Case(
        dcgan,
        player=Optimizer(rule="extra-sgd", learning_rate=1e-2, momentum=0.5, gradient_noise=0.01, clip_value=0.1),
        plan={"accumulate": 2, "lookahead": Lookahead(every=2)},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_resume_is_exact(name, tmp_path):
    case = CASES[name]
    unbroken = case.seated()
    unbroken.fit()
    saving = case.seated(tmp_path / "all")
    for step in POINTS.values():
        saving.fit(until=step)
        saving.save()
    saving.fit()
    assert differences(saving.snapshot(), unbroken.snapshot()) == []
    for step in POINTS.values():
        folder = tmp_path / str(step)
        shutil.copytree(saving.checkpoints.path(step), folder / f"step-{step:09d}")
        resumed = case.seated(folder, seed=1)  # other initial weights: all must come from the disk
        assert resumed.resume()
        assert resumed.clock.step == step
        resumed.fit()
        assert differences(resumed.snapshot(), unbroken.snapshot()) == [], f"resumed at step {step}"


def test_two_identical_runs_are_identical():
    first, second = CASES["conditional"].seated(), CASES["conditional"].seated()
    first.fit()
    torch.randn(7)
    second.fit()
    assert differences(first.snapshot(), second.snapshot()) == []
    other = CASES["conditional"].seated(seed=1)
    other.fit()
    assert differences(first.snapshot(), other.snapshot()) != []


@pytest.mark.parametrize("name", ["batch norm", "conditional"])
def test_evaluation_and_sampling_leave_training_unchanged(name):
    quiet, disturbed = CASES[name].seated(), CASES[name].seated()
    quiet.fit()

    def disturb(clock, record):
        torch.randn(clock.step + 1)
        with disturbed.averaging.applied(), torch.no_grad():
            disturbed.game.eval()
            batch = disturbed.place(disturbed.data(0, 4))
            disturbed.game.sample(batch)
            disturbed.game.judge(batch)
            disturbed.game.train()

    diary(disturbed).after_step = disturb
    disturbed.fit()
    assert differences(quiet.snapshot(), disturbed.snapshot()) == []


def test_fitting_leaves_global_randomness_alone(tmp_path):
    torch.manual_seed(3)
    expected = torch.randn(3)
    torch.manual_seed(3)
    trainer = CASES["batch norm"].seated(tmp_path)
    trainer.fit(until=2)
    assert torch.equal(torch.randn(3), expected)


def test_moments_take_the_memory_layout_of_their_parameter(tmp_path):
    trainer = CASES["batch norm"].seated(tmp_path)
    trainer.fit(until=2)
    trainer.save()
    resumed = CASES["batch norm"].seated(tmp_path, seed=1)
    resumed.resume()
    layouts = set()
    for seat in resumed.seats.values():
        for parameter in seat.parameters.values():
            moments = seat.optimizer.state[parameter]
            layouts.add(parameter.is_contiguous())
            assert moments["exp_avg"].stride() == moments["exp_avg_sq"].stride() == parameter.stride()
    assert layouts == {True, False}


def test_until_stops_early_and_zero_is_no_step():
    trainer = CASES["sgd"].seated()
    trainer.fit(until=0)
    assert trainer.clock.step == 0
    trainer.fit(until=2)
    assert trainer.clock.step == 2
    trainer.fit(until=10**6)
    assert trainer.clock.step == STEPS


# ---------------------------------------------------------------- the test itself is tested: every key is needed


@dataclass(frozen=True)
class Telling:
    """A training with one bad batch, at step 5, whose state at that step makes every key matter."""

    game: Callable[[], Game]
    batches: Callable[[int, int], Any]
    player: Optimizer = PLAYER
    plan: dict[str, Any] = field(default_factory=dict)

    def data(self, position: int, size: int) -> Any:
        bad = torch.nan if position == 20 else 1.0
        batch = self.batches(position, size)
        return batch * bad if torch.is_tensor(batch) else (batch[0] * bad, batch[1])

    def trainer(self, folder: Path | None, *, seed: int = 0) -> Trainer:
        """Five steps lie behind it, one of them bad, and a bad one comes next: with patience 2 it will roll back."""
        plan = {"steps": 9, "precision": "auto", "patience": 2, "save_every": 50, **self.plan}
        return seated(self.game, self.data, folder=folder, seed=seed, player=self.player, **plan)

    def resumed_from(self, folder: Path, snapshot: Snapshot) -> Snapshot:
        """The end of a fresh training that starts from a snapshot on disk, and what its critic says at the start."""
        Checkpoints(folder).save(5, snapshot)
        trainer = self.trainer(folder, seed=1)
        assert trainer.resume()
        with torch.no_grad():
            verdict = trainer.game.eval().judge(self.batches(0, 4))
        trainer.fit()
        end = trainer.snapshot()
        return Snapshot({**end.tensors, "verdict": {"logits": verdict}}, end.state)

    def outcome(self, folder: Path, snapshot: Snapshot) -> Snapshot | None:
        """The end of training, or None where the checkpoint is refused."""
        try:
            return self.resumed_from(folder, snapshot)
        except CheckpointError:
            return None


TELLING = {
    "conditional, adam": Telling(conditional, tiny.images(labels=True)),
    "optimistic adam, lookahead": Telling(
        mlp_gan,
        tiny.points(),
        player=replace(PLAYER, rule="optimistic-adam"),
        plan={"lookahead": Lookahead(every=3)},
    ),
}


@pytest.fixture(params=TELLING)
def telling(request, tmp_path, monkeypatch) -> tuple[Telling, Path, Snapshot, Snapshot, Snapshot]:
    """A training, a folder, its initial snapshot, one on the way that makes every key matter, and the final one."""
    case = TELLING[request.param]
    monkeypatch.setattr(engine, "has_native_bf16", lambda device: False)
    trainer = case.trainer(None)
    initial = copied(trainer.snapshot())
    trainer.precision, trainer.rollbacks = "bf16", 1
    trainer.fit(until=5)
    trainer.bad_in_a_row = 1
    middle = copied(trainer.snapshot())
    assert trainer.clock.examples == 20
    return case, tmp_path, initial, middle, case.resumed_from(tmp_path / "truth", middle)


def with_tensor(snapshot: Snapshot, group: str, key: str, value: torch.Tensor | None) -> Snapshot:
    part = {k: v for k, v in snapshot.tensors[group].items() if k != key} | ({} if value is None else {key: value})
    return Snapshot({**snapshot.tensors, group: part}, snapshot.state)


def test_the_telling_state_resumes_exactly(telling):
    case, folder, _, middle, truth = telling
    assert truth.state == {"step": 9, "examples": 36, "rollbacks": 2, "bad_in_a_row": 0, "precision": "bf16"}
    assert differences(case.resumed_from(folder / "again", middle), truth) == []


def test_dropping_any_key_of_the_state_is_noticed(telling):
    case, folder, _, middle, _ = telling
    for group in middle.tensors:
        snapshot = Snapshot({g: part for g, part in middle.tensors.items() if g != group}, middle.state)
        assert case.outcome(folder / group, snapshot) is None, f"the group {group} is not needed"
        for number, key in enumerate(middle.tensors[group]):
            end = case.outcome(folder / f"{group}-{number}", with_tensor(middle, group, key, None))
            assert end is None, f"{group}: {key} is not missed"
    for key in middle.state:
        snapshot = Snapshot(middle.tensors, {k: v for k, v in middle.state.items() if k != key})
        assert case.outcome(folder / f"state-{key}", snapshot) is None, f"the state's {key} is not missed"


def test_a_key_that_does_not_belong_is_refused(telling):
    case, folder, _, middle, _ = telling
    for group in middle.tensors:
        snapshot = with_tensor(middle, group, "G.stranger/exp_avg", torch.zeros(1))
        assert case.outcome(folder / group, snapshot) is None, f"{group} takes in a stranger"


def test_resetting_any_key_of_the_state_changes_the_end(telling):
    case, folder, initial, middle, truth = telling
    for group, part in middle.tensors.items():
        for number, (key, value) in enumerate(part.items()):
            start = initial.tensors[group].get(key, torch.zeros_like(value))
            start = -start if torch.equal(start, value) else start  # the sign is all that spectral norm has of one row
            end = case.outcome(folder / f"{group}-{number}", with_tensor(middle, group, key, start))
            assert end is None or differences(end, truth), f"{group}: {key} need not be saved"
    for key, value in initial.state.items():
        assert middle.state[key] != value
        end = case.outcome(folder / f"state-{key}", Snapshot(middle.tensors, {**middle.state, key: value}))
        assert end is None or differences(end, truth), f"the state's {key} need not be saved"


@pytest.mark.parametrize(
    "state",
    [{"step": "soon"}, {"step": None}, {"examples": [1]}, {"rollbacks": {}}, {"bad_in_a_row": "x"}, {"precision": 3}],
)
def test_a_state_of_the_wrong_kind_is_refused(telling, state):
    case, _, _, middle, _ = telling
    with pytest.raises(CheckpointError):
        case.trainer(None).restore(Snapshot(middle.tensors, {**middle.state, **state}))


def test_a_checkpoint_of_another_game_is_refused(tmp_path):
    trainer = CASES["batch norm"].seated(tmp_path)
    trainer.fit(until=1)
    trainer.save()
    with pytest.raises(CheckpointError, match="does not fit"):
        CASES["spectral norm"].seated(tmp_path).resume()
    with pytest.raises(CheckpointError, match="does not fit"):
        Case(dcgan, player=Optimizer(rule="sgd", momentum=0.5)).seated(tmp_path).resume()
    with pytest.raises(CheckpointError, match="does not fit"):
        Case(dcgan, plan={"ema_half_life": 0}).seated(tmp_path).resume()
