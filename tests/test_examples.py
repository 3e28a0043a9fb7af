"""Loops that are not ours: the doctor finds what was planted in them, and is silent where nothing was."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parent.parent / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "plant", "fault", "steps"),
    [
        ("dcgan_loop", "slow-critic", "critic-too-weak", 700),
        ("wgan_gp_loop", "no-penalty", "exploding-critic", 300),
        ("lightning_gan", "high-rate", "learning-rate", 400),
    ],
)
def test_a_planted_fault_is_found_first(name, plant, fault, steps, capsys):
    doctor = example(name).train(steps, plant=plant)
    assert doctor.findings()[0].fault == fault
    assert doctor.findings()[0].title in capsys.readouterr().out


@pytest.mark.parametrize(("name", "steps"), [("dcgan_loop", 700), ("wgan_gp_loop", 400), ("lightning_gan", 700)])
def test_a_healthy_loop_is_left_alone(name, steps, capsys):
    assert example(name).train(steps).findings() == []
    assert "No fault" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["dcgan_loop", "wgan_gp_loop", "lightning_gan"])
def test_the_doctor_takes_at_most_six_lines(name):
    assert 0 < (FOLDER / f"{name}.py").read_text("utf-8").count("# (+)") <= 6
