"""The command line on two domains without pairs: trained, evaluated, and applied in both directions."""

import numpy as np
from made import Command
from PIL import Image

SMALL = (
    "data.size=16",
    "data.crop=null",
    "data.held_out=12",
    "data.check=false",
    "game.network={width = 4, num_blocks = 1, num_downs = 1}",
    "game.critic={kind = 'patch', width = 4, num_layers = 1, normalisation = 'instance'}",
    "training.steps=1",
    "training.precision=fp32",
    "watching.tensorboard=false",
    "judging.at_end=false",
)


def test_a_folder_of_two_domains_becomes_a_run_that_translates_both_ways(command: Command, tmp_path, monkeypatch):
    monkeypatch.setattr("equipoise.runs.translated.JUDGE_STEPS", 4)
    draw = np.random.default_rng(0)
    for domain in "AB":
        (tmp_path / "set" / f"train{domain}").mkdir(parents=True)
        for number in range(40):
            pixels = draw.integers(0, 255, (16, 16, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / f"train{domain}" / f"{number}.png")
    run, picture = tmp_path / "run", tmp_path / "set" / "trainA" / "0.png"
    trained = command("train", "cyclegan", "--data", tmp_path / "set", "--run", run, "--set", *SMALL)
    assert trained.code == 0, trained.err
    evaluated = command("evaluate", run)
    assert evaluated.code == 0, evaluated.err
    assert "untranslated" in evaluated.out
    assert "taken for the target domain" in evaluated.out
    for direction in ("AtoB", "BtoA"):
        answer = command("apply", run, picture, tmp_path / f"{direction}.png", "--direction", direction)
        assert answer.code == 0, answer.err
    assert Image.open(tmp_path / "AtoB.png").tobytes() != Image.open(tmp_path / "BtoA.png").tobytes()
    refused = command("apply", run, picture, tmp_path / "no.png", "--direction", "AtoC")
    assert refused.code == 2
    assert 'expected "AtoB"' in refused.err
    missing = command("train", "cut", "--data", tmp_path / "set" / "trainA", "--run", tmp_path / "other")
    assert missing.code == 65
    assert "has no pictures in trainA and trainB" in missing.err
