"""Runs beside each other: repetitions, differences, chance, and scores that cannot be compared."""

import json
import math
import shutil
from functools import partial

import pytest

import equipoise
from equipoise.core.errors import RecipeError
from equipoise.runs import features
from equipoise.runs import run as module
from equipoise.runs.comparison import Contrast, compare, holm, spelt_out, write_page
from equipoise.runs.recipe import parse_setting, to_toml, with_settings
from equipoise.runs.run import Run
from tests.cli.made import TINY

SETTINGS = dict(map(parse_setting, TINY)) | {"judging.at_end": True, "judging.num_samples": 20}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two seeds of one recipe, two of another, and a run on points: never to be changed."""
    patch = pytest.MonkeyPatch()
    patch.setattr(module, "write_report", lambda folder: folder)
    patch.setattr(features, "fit_feature_net", partial(features.fit_feature_net, num_steps=3))
    folder = tmp_path_factory.mktemp("compared")
    made = {
        f"{loss}-{seed}": SETTINGS | {"game.loss": loss, "training.seed": seed}
        for loss in ("hinge", "wasserstein")
        for seed in (0, 1)
    }
    for name, settings in made.items():
        equipoise.train("digits", settings=settings, folder=folder / name, quiet=True)
    equipoise.train("ring", settings=SETTINGS, folder=folder / "points", quiet=True)
    patch.undo()
    return folder


def test_runs_that_differ_in_the_seed_alone_are_repetitions(runs):
    found = compare([runs / "hinge-0", runs / "wasserstein-0", runs / "hinge-1"])
    assert [[member.run.id for member in group.members] for group in found.groups] == [
        ["hinge-0", "hinge-1"],
        ["wasserstein-0"],
    ]
    assert found.differences == {"game.loss": ("hinge", "wasserstein")}
    assert not found.refused
    assert all(test.p is None and "nothing can be said" in test.words for test in found.tests)


def test_chance_is_judged_by_welchs_test(runs):
    found = compare([runs / name for name in ("hinge-0", "hinge-1", "wasserstein-0", "wasserstein-1")])
    a, b = (group.scores("fid") for group in found.groups)
    fid = next(test for test in found.tests if test.metric == "fid")
    assert fid.difference == pytest.approx(sum(b) / 2 - sum(a) / 2)
    # With two values each, Welch's t has the degrees of freedom (u + v)² / (u² + v²), u and v half the variances.
    u, v = (((x - y) ** 2 / 2) / 2 for x, y in (a, b))
    t, freedom = abs(fid.difference) / math.sqrt(u + v), (u + v) ** 2 / (u**2 + v**2)
    from scipy.special import stdtr

    raw = 2 * stdtr(freedom, -t)
    assert raw - 1e-9 <= fid.p <= min(6 * raw, 1) + 1e-9


def test_p_values_are_corrected_for_their_number():
    tests = [Contrast("fid", "b", 1.0, p) for p in (0.01, 0.04, 0.03, None)]
    assert [test.p for test in holm(tests)] == pytest.approx([0.03, 0.06, 0.06, None])


def test_scores_of_different_provenance_are_refused_until_one_judge_measures_all(runs, tmp_path):
    other = shutil.copytree(runs / "hinge-1", tmp_path / "other")
    entries = json.loads((other / "metrics.json").read_text())
    entries[-1]["provenance"]["num_fake"] = 19
    (other / "metrics.json").write_text(json.dumps(entries))
    found = compare([runs / "hinge-0", other])
    assert "different provenance. num_fake: 20 in hinge-0, 19 in other" in found.refused
    assert not found.tests
    assert found.to_json()["groups"][0]["scores"] is None
    assert not compare([runs / "hinge-0", other], judge=runs / "wasserstein-0", num=20).refused


def judged_again(folder, *, step, fid, provenance=()):
    """Write one more entry into metrics.json, as `equipoise evaluate` would."""
    entries = json.loads((folder / "metrics.json").read_text())
    last = entries[0]
    entry = {**last, "step": step, "values": {**last["values"], "fid": fid}}
    entry["provenance"] = {**last["provenance"], **dict(provenance)}
    (folder / "metrics.json").write_text(json.dumps([*entries, entry]))


def test_the_score_of_a_run_is_that_of_the_newest_step_whenever_it_was_measured(runs, tmp_path):
    a, b = (shutil.copytree(runs / name, tmp_path / name) for name in ("hinge-0", "wasserstein-0"))
    before = compare([a, b]).groups[0].scores("fid")
    judged_again(a, step=0, fid=198.0)
    assert compare([a, b]).groups[0].scores("fid") == before
    last = json.loads((a / "metrics.json").read_text())[0]["step"]
    judged_again(a, step=last, fid=5.0)
    assert compare([a, b]).groups[0].scores("fid") == [5.0]


def test_of_several_scores_of_a_step_the_one_that_all_runs_have_is_compared(runs, tmp_path):
    a, b = (shutil.copytree(runs / name, tmp_path / name) for name in ("hinge-0", "wasserstein-0"))
    before = compare([a, b])
    step = before.members[0].measured["step"]
    judged_again(a, step=step, fid=198.0, provenance={"num_real": 12, "num_fake": 12})
    found = compare([a, b])
    assert not found.refused
    assert found.groups[0].scores("fid") == before.groups[0].scores("fid")
    judged_again(b, step=step + 1, fid=198.0, provenance={"num_real": 13})
    assert "num_real: 12 in hinge-0, 13 in wasserstein-0" in compare([a, b]).refused  # none in common: the last


def test_a_run_that_went_on_since_it_was_judged_is_named(runs, tmp_path):
    old = shutil.copytree(runs / "hinge-1", tmp_path / "old")
    entries = json.loads((old / "metrics.json").read_text())
    step, entries[0]["step"] = entries[0]["step"], 0
    (old / "metrics.json").write_text(json.dumps(entries[:1]))
    found = compare([runs / "hinge-0", old])
    words = f"old was judged at step 0 and has reached {step}: evaluate it again."
    assert found.to_json()["outdated"] == [words]
    assert words in write_page(found, tmp_path / "page.html").read_text()


def test_a_refusal_shows_the_first_digits_of_a_hash(runs, tmp_path):
    other = shutil.copytree(runs / "hinge-1", tmp_path / "other")
    entries = json.loads((other / "metrics.json").read_text())
    here = entries[-1]["provenance"]["reference"]
    entries[-1]["provenance"]["reference"] = "0123456789abcdef" * 4
    (other / "metrics.json").write_text(json.dumps(entries))
    assert f"reference: {here[:8]} in hinge-0, 01234567 in other." in compare([runs / "hinge-0", other]).refused


def test_of_schedules_only_the_parts_that_differ_are_told():
    rates = {"start": 1e-3, "end": 0.0, "shape": "cosine"}, {"start": 2e-3, "end": 0.0, "shape": "cosine"}
    told = spelt_out({"game.loss": ("hinge", "hinge"), "D.rate": rates, "G.rate": (rates[0], 1e-3)})
    assert told == {
        "game.loss": ("hinge", "hinge"),
        "D.rate.start": (1e-3, 2e-3),
        "D.rate.end": (0.0, 0.0),
        "D.rate.shape": ("cosine", "cosine"),
        "G.rate": (rates[0], 1e-3),
    }


def test_two_rates_with_another_start_differ_in_that_alone(runs, tmp_path):
    faster = shutil.copytree(runs / "hinge-0", tmp_path / "faster")
    recipe = Run.open(faster).recipe
    rate = recipe.players["D"].learning_rate
    changed = with_settings(recipe, {"players.D.learning_rate.start": 2 * rate.start})
    (faster / "recipe.toml").write_text(to_toml(changed))
    differences = compare([runs / "hinge-0", faster]).differences
    assert differences == {"players.D.learning_rate.start": (rate.start, 2 * rate.start)}


def test_a_page_of_one_recipe_shows_no_tests_and_no_best(runs, tmp_path):
    one = write_page(compare([runs / "hinge-0", runs / "hinge-1"]), tmp_path / "one.html").read_text()
    assert "1 recipe. Runs" in one
    assert "Welch" not in one
    assert "nowrap good" not in one
    assert "green" not in one
    two = write_page(compare([runs / "hinge-0", runs / "wasserstein-0"]), tmp_path / "two.html").read_text()
    assert "2 recipes. Runs" in two
    assert "Welch" in two
    assert "nowrap good" in two
    assert "green is the best mean" in two


def test_a_run_that_was_never_evaluated_has_no_scores_to_compare(runs, tmp_path):
    bare = shutil.copytree(runs / "hinge-1", tmp_path / "bare")
    (bare / "metrics.json").unlink()
    assert "bare was never evaluated" in compare([runs / "hinge-0", bare]).refused


def test_the_page_shows_all_runs_and_needs_nothing_else(runs, tmp_path):
    found = compare([runs / "hinge-0", runs / "hinge-1", runs / "wasserstein-0"])
    page = write_page(found, tmp_path / "deep" / "page.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert "game.loss" in page
    assert "Critic&#39;s accuracy" in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")


def test_one_run_or_runs_of_different_shapes_are_refused(runs):
    with pytest.raises(RecipeError, match="at least two"):
        compare([runs / "hinge-0", runs / "hinge-0"])
    with pytest.raises(RecipeError, match="Compare runs of one shape"):
        compare([runs / "hinge-0", runs / "points"], judge=runs / "hinge-0")
    assert "different provenance" in compare([runs / "hinge-0", runs / "points"]).refused
