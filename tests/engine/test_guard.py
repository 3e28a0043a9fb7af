"""Nothing that is not finite is ever applied, averaged or saved."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from tiny import copied, dcgan, diary, differences, seated

from equipoise.core.errors import DivergedError
from equipoise.engine.checkpoint import Checkpoints, Snapshot
from equipoise.engine.trainer import Trainer
from equipoise.objectives import Adversarial, non_saturating

BAD_STEP = 3


class Fault:
    """Something that goes wrong at chosen steps of a trainer."""

    def __init__(self, *steps: int):
        self.steps = steps
        self.trainer: Trainer | None = None

    @property
    def now(self) -> bool:
        return self.trainer is not None and self.trainer.clock.step in self.steps


def trainer_with(fault: Fault, kind: str, player: str, folder: Path | None = None, **plan: Any) -> Trainer:
    """A DCGAN with batch normalisation in both networks, with one fault built in."""

    def sick(loss: Callable, mine: str) -> Callable:
        def value(real, fake):
            losses = loss(real, fake)
            return losses * math.nan if fault.now and kind == "loss" and player == mine else losses

        return value

    loss = Adversarial(sick(non_saturating.d, "D"), sick(non_saturating.g, "G"))
    images = tiny.images()

    def data(position: int, size: int):
        x = images(position, size)
        if fault.now and kind == "data":
            x[1, 0, 3, 3] = math.nan
        return x

    plan = {"save_every": 100, **plan}
    trainer = seated(lambda: dcgan(loss=loss), data, folder=folder, **plan)
    if kind == "gradient":
        weight = next(iter(trainer.seats[player].parameters.values()))
        weight.register_hook(lambda g: torch.full_like(g, math.inf) if fault.now else g)
    fault.trainer = trainer
    return trainer


@pytest.mark.parametrize(
    ("kind", "player"), [("data", "D"), ("loss", "D"), ("loss", "G"), ("gradient", "D"), ("gradient", "G")]
)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_bad_move_changes_nothing_of_its_player(kind, player, accumulate):
    fault = Fault(BAD_STEP)
    trainer = trainer_with(fault, kind, player, accumulate=accumulate)
    trainer.fit(until=BAD_STEP)
    before = copied(trainer.snapshot())
    trainer.fit(until=BAD_STEP + 1)
    after = trainer.snapshot()
    # A valid move of D before the bad move of G stays; the averages, the buffers and G stand where they stood.
    changed = differences(before, after)
    moved = {key for key in changed if key not in ("step", "examples", "bad_in_a_row")}
    if player == "D":
        assert moved == set()
    else:
        weights = {f"game/{name}" for name in trainer.seats["D"].parameters}
        assert moved <= weights | {key for key in moved if key.startswith("optimizer-D/")}
        assert weights <= moved
        assert {key for key in moved if key.startswith("optimizer-D/")}
    (event,) = [event for event in diary(trainer).events if event[1] == "bad_step"]
    origin = "the gradient" if kind == "gradient" else "the loss adversarial"
    assert event[0] == BAD_STEP
    assert f"move of {player}: {origin}" in event[2]
    assert trainer.bad_in_a_row == 1
    trainer.fit()
    assert trainer.clock.step == 10
    assert trainer.bad_in_a_row == 0
    assert diary(trainer).kinds() == ["bad_step"]
    assert all_finite(trainer.snapshot())
    assert differences(after, trainer.snapshot())


def test_no_observer_sees_an_update_that_is_not_made():
    fault = Fault(BAD_STEP)
    trainer = trainer_with(fault, "loss", "G")
    trainer.fit()
    assert [player for step, player in diary(trainer).moves if step == BAD_STEP] == ["D"]
    assert len(diary(trainer).records) == 10


def test_a_run_without_faults_tells_of_none():
    trainer = trainer_with(Fault(), "data", "D")
    trainer.fit()
    assert diary(trainer).kinds() == []


@pytest.mark.parametrize("kind", ["data", "loss", "gradient"])
def test_bad_steps_in_a_row_roll_back_with_new_noise_and_half_the_rate(kind, tmp_path):
    class Passing(Fault):
        """Gone after the first rollback."""

        @property
        def now(self) -> bool:
            return super().now and self.trainer is not None and self.trainer.rollbacks == 0

    trainer = trainer_with(Passing(4, 5, 6), kind, "D", tmp_path, save_every=4, patience=3)
    rates, noises = [], []

    def watch(clock, record):
        rates.extend((clock.step, trainer.rollbacks, rate) for key, rate in record.items() if "learning_rate" in key)

    trainer.game.G.register_forward_pre_hook(
        lambda module, inputs: noises.append((trainer.clock.step, trainer.rollbacks, inputs[0].clone()))
    )
    diary(trainer).after_step = watch
    trainer.fit()
    assert (trainer.clock.step, trainer.rollbacks) == (10, 1)
    assert diary(trainer).kinds() == ["bad_step"] * 3 + ["rollback"]
    message = next(m for _, kind, m in diary(trainer).events if kind == "rollback")
    assert message.startswith("Back from step 7 to step 4: rollback 1 of 3")
    assert all_finite(trainer.snapshot())
    assert Checkpoints(tmp_path).load(4).state["rollbacks"] == 0
    assert Checkpoints(tmp_path).load(8).state["rollbacks"] == 1
    (old,) = [z for step, rollbacks, z in noises if (step, rollbacks) == (5, 0)]
    (new,) = [z for step, rollbacks, z in noises if (step, rollbacks) == (5, 1)]
    assert not torch.equal(old, new)
    assert {rate for _, rollbacks, rate in rates if rollbacks == 0} == {1e-2}
    assert {rate for step, rollbacks, rate in rates if rollbacks == 1} == {5e-3}


def test_after_all_rollbacks_training_has_diverged(tmp_path):
    trainer = trainer_with(Fault(*range(4, 10)), "loss", "G", tmp_path, save_every=2, patience=2, rollbacks=2)
    message = r"2 steps in a row .* after 2 rollbacks\. Lower the learning rates"
    with pytest.raises(DivergedError, match=message) as caught:
        trainer.fit()
    assert caught.value.exit_code == 70
    assert diary(trainer).kinds() == ["bad_step", "bad_step", "rollback"] * 2 + ["bad_step", "bad_step"]
    assert all(all_finite(Checkpoints(tmp_path).load(step)) for step in Checkpoints(tmp_path).steps())


def test_without_checkpoints_there_is_nothing_to_go_back_to():
    with pytest.raises(DivergedError, match="after 0 rollbacks"):
        trainer_with(Fault(*range(4, 10)), "loss", "D", patience=2).fit()


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("player", ["D", "G"])
def test_a_poisoned_weight_reaches_no_checkpoint_and_no_average(value, player, tmp_path):
    trainer = seated(dcgan, tiny.images(), folder=tmp_path, save_every=2, patience=2)
    poison_once(trainer, 4, lambda: next(iter(trainer.seats[player].parameters.values())), value)
    trainer.fit()
    assert trainer.clock.step == 10
    assert "rollback" in diary(trainer).kinds()
    assert all_finite(trainer.snapshot())
    for step in Checkpoints(tmp_path).steps():
        assert all_finite(Checkpoints(tmp_path).load(step))


@pytest.mark.parametrize("name", ["G.norms.0.norm.running_mean", "G.norms.0.norm.running_var"])
def test_a_poisoned_buffer_reaches_no_checkpoint(name, tmp_path):
    # In train mode the running statistics enter no loss: only the look before saving can find it.
    trainer = seated(dcgan, tiny.images(), folder=tmp_path, save_every=2, patience=2)
    poison_once(trainer, 4, lambda: trainer.game.get_buffer(name), math.inf)
    trainer.fit()
    assert diary(trainer).kinds() == ["rollback"]
    assert all_finite(trainer.snapshot())
    for step in Checkpoints(tmp_path).steps():
        assert all_finite(Checkpoints(tmp_path).load(step))


def test_a_poisoned_weight_at_the_very_start_is_divergence(tmp_path):
    trainer = seated(dcgan, tiny.images(), folder=tmp_path)
    with torch.no_grad():
        next(iter(trainer.seats["G"].parameters.values())).fill_(math.nan)
    with pytest.raises(DivergedError):
        trainer.fit()
    assert Checkpoints(tmp_path).steps() == []


def test_recovery_takes_the_newest_sound_checkpoint_and_mends_the_damaged_one(tmp_path):
    trainer = seated(dcgan, tiny.images(), folder=tmp_path, save_every=2, patience=1)
    trainer.fit(until=6)
    poison_once(trainer, 7, lambda: next(iter(trainer.seats["G"].parameters.values())), math.nan)
    trainer.fit(until=7)
    (tmp_path / "step-000000006" / "state.json").write_text("{}")
    trainer.fit()
    (message,) = [message for _, kind, message in diary(trainer).events if kind == "rollback"]
    assert message.startswith("Back from step 7 to step 4")
    assert Checkpoints(tmp_path).steps() == [0, 2, 4, 6, 8, 10]
    assert all(Checkpoints(tmp_path).sound(step) for step in (0, 2, 4, 6, 8, 10))


def poison_once(trainer: Trainer, step: int, tensor: Callable[[], torch.Tensor], value: float) -> None:
    """Write a value straight into a tensor of the game after a step, once."""
    done = []
    remember = diary(trainer).after_step

    def poison(clock, record):
        remember(clock, record)
        if clock.step == step and not done:
            done.append(step)
            with torch.no_grad():
                tensor()[0] = value

    diary(trainer).after_step = poison


def all_finite(snapshot: Snapshot) -> bool:
    return all(torch.isfinite(value).all() for part in snapshot.tensors.values() for value in part.values())
