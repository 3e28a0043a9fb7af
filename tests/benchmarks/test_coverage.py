"""The coverage benchmark counts rightly, keeps every row and goes on where it stopped."""

import json
import math

import pytest
import torch

from benchmarks import coverage
from benchmarks.coverage import EFFECTS, GRID, RING, STACKED, Method, from_uniform, mixture_world, play, show
from equipoise.data.toy import grid, ring

REQUIRED = {
    "world",
    "method",
    "critic",
    "seed",
    "modes",
    "high_quality",
    "reverse_kl",
    "kl",
    "cpu_seconds",
    "machine",
    "commit",
}
TINY = Method("tiny", {"game.network.width": 4}, 20)


def test_the_divergence_from_uniform_is_that_of_the_histogram():
    # two of four classes, three quarters and one quarter: 3/4 log 3 + 1/4 log 1
    assert from_uniform(torch.tensor([0, 0, 0, 1]), 4) == pytest.approx(0.75 * math.log(3))
    assert from_uniform(torch.tensor([0, 1, 2, 3]), 4) == pytest.approx(0)
    assert from_uniform(torch.tensor([2, 2]), 1000) == pytest.approx(math.log(1000))


def test_perfect_samples_score_the_ceiling():
    world = mixture_world(ring())
    found = world.score(world.source.examples(torch.arange(2500)))
    assert found["modes"] == 8
    assert found["high_quality"] == pytest.approx(1 - math.exp(-4.5), abs=0.008)
    assert found["reverse_kl"] == pytest.approx(0, abs=0.01)


def test_a_row_says_everything():
    row = play(mixture_world(ring()), TINY, critic="normal", seed=0, seconds=1)
    assert row.keys() >= REQUIRED
    assert row["steps"] == 20
    assert 0 <= row["modes"] <= 8
    assert row["ending"] == "finished"
    json.dumps(row)


def test_what_was_run_is_kept_and_not_run_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(coverage, "RESULTS", tmp_path / "coverage.json")
    world = mixture_world(ring())
    coverage.measure(world, [("normal", TINY, 0), ("normal", TINY, 1)], seconds=1, table="coverage")
    first = coverage.saved()
    coverage.measure(world, [("normal", TINY, 1), ("normal", TINY, 2)], seconds=1, table="coverage")
    assert [row["seed"] for row in first] == [0, 1]
    assert [row["seed"] for row in coverage.saved()] == [0, 1, 2]
    assert coverage.saved()[:2] == first
    table = "\n".join(show(coverage.saved()))
    assert "| tiny | ours | 3 |" in table
    assert "| PacGAN4 | PacGAN | |" in table


@pytest.mark.parametrize("method", [*RING, *GRID, *EFFECTS, *(m for _, m in STACKED)], ids=lambda m: m.name)
def test_every_method_of_the_benchmark_is_a_valid_recipe(method):
    from equipoise.runs.recipe import Recipe, with_settings

    kind = "mlp" if method in (*RING, *GRID) else "dcgan"
    with_settings(Recipe(), {"game.network.kind": kind, **method.settings})


def test_the_grid_s_first_method_is_the_shipped_recipe():
    from equipoise.recipes import grid as shipped
    from equipoise.runs.recipe import Recipe, with_settings

    best = with_settings(Recipe(), {**mixture_world(grid()).base, **GRID[0].settings, "training.steps": GRID[0].steps})
    assert best.game == shipped().game
    assert best.players == shipped().players
    for name in ("steps", "batch", "ema_half_life", "precision"):
        assert getattr(best.training, name) == getattr(shipped().training, name)


def test_names_are_used_once():
    for methods in (RING, GRID, EFFECTS):
        assert len({method.name for method in methods}) == len(methods)


def test_committed_rows_are_complete():
    for row in coverage.saved():
        assert row.keys() >= REQUIRED
        assert row["world"] in ("ring", "grid", "stacked-mnist")
        assert row["critic"] in ("normal", "quarter")
