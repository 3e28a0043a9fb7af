"""Faults persist before they are found, the first cause comes first, and what is missing is said."""

import json
import math
from dataclasses import replace

import pytest

import equipoise
from equipoise.doctor.diagnosis import Diagnosis, diagnosed
from equipoise.doctor.fault import (
    Fault,
    Seeded,
    balanced_rates,
    convergent,
    levelled_rates,
    scaled_penalty,
    scaled_rate,
)
from equipoise.doctor.faults import FAULTS
from equipoise.doctor.finding import Evidence
from equipoise.doctor.history import History
from equipoise.runs.recipe import dotted, to_dict, with_settings

SEEDED = Seeded("none", {})


def low(name: str, looks: int) -> Fault:
    """A fault of a made-up signal: below 1."""

    def symptom(history: History) -> list[Evidence]:
        value = history.last(name)
        return [Evidence(name, value, "at least 1")] if value < 1 else []

    return Fault(name, name, "warning", (name,), symptom, "too low", SEEDED, looks=looks)


def play(diagnosis: Diagnosis, **signals: list[float]) -> Diagnosis:
    for number, values in enumerate(zip(*signals.values())):
        diagnosis.observe(25 * (number + 1), dict(zip(signals, values)))
    return diagnosis


def test_a_symptom_must_persist():
    once = play(Diagnosis([low("a", 3)]), a=[2, 0, 0, 2, 0, 0])
    assert once.findings() == []
    [finding] = play(Diagnosis([low("a", 3)]), a=[2, 0, 0, 0, 0, 2]).findings()
    assert (finding.since, finding.until, finding.active) == (50, 125, False)
    [finding] = play(Diagnosis([low("a", 3)]), a=[2, 0, 0, 0]).findings()
    assert finding.active
    assert finding.curves["a"] == ((25, 2), (50, 0), (75, 0), (100, 0))


def test_the_first_persistent_cause_is_the_diagnosis_not_the_loudest():
    faults = [low("loud", 1), low("first", 3)]
    found = play(Diagnosis(faults), first=[0] * 8, loud=[2] * 5 + [0] * 3).findings()
    assert [finding.fault for finding in found] == ["first", "loud"]


def test_of_symptoms_that_appear_together_the_order_of_faults_decides():
    faults = [low("cause", 1), low("effect", 1)]
    found = play(Diagnosis(faults), effect=[0] * 6, cause=[2] * 3 + [0] * 3).findings()
    assert [finding.fault for finding in found] == ["cause", "effect"]
    found = play(Diagnosis(faults), effect=[0] * 6, cause=[2] * 4 + [0] * 2).findings()
    assert [finding.fault for finding in found] == ["effect", "cause"]


def test_a_cause_began_before_it_was_confirmed():
    slow = replace(low("slow", 2), began=lambda history: history.steps[0])
    [finding] = play(Diagnosis([slow]), slow=[2, 2, 0, 0]).findings()
    assert (finding.since, finding.until) == (25, 100)


def test_what_is_not_measured_is_not_judged_and_is_said():
    diagnosis = play(Diagnosis(), **{"auc/held_out": [1.0] * 20})
    assert diagnosis.findings() == []
    assert diagnosis.silent()["critic-too-strong"] == "energy"
    assert "overfit" in diagnosis.silent()["critic-overfitting"]


def test_a_look_without_the_signal_neither_counts_nor_breaks():
    diagnosis = Diagnosis([low("a", 3)])
    for step, numbers in ((25, {"a": 0}), (50, {"b": 1}), (75, {"a": 0}), (100, {}), (125, {"a": 0})):
        diagnosis.observe(step, numbers)
    [finding] = diagnosis.findings()
    assert (finding.since, finding.until) == (25, 125)


def test_lines_of_a_journal_are_read_with_gaps_and_oddities():
    lines = [
        {"step": 25, "signals": {"probe/auc/held_out": {"mean": 0.5, "std": 0.0, "count": 1}}},
        {"step": 50, "signals": {"probe/logits/fake": {"mean": None, "std": None, "count": 9}}},
        {"step": 75, "signals": {"watch/real": 3.0}},
        {"step": 100},
        {"signals": {}},
        {},
    ]
    diagnosis = diagnosed(lines)
    assert diagnosis.history.last("auc/held_out") == 0.5
    assert math.isnan(diagnosis.history.last("logits/fake"))
    assert [finding.fault for finding in diagnosis.findings()] == ["non-finite"]
    assert diagnosed([]).findings() == []


def test_findings_become_json():
    [finding] = play(Diagnosis([low("a", 1)]), a=[0.5]).findings()
    plain = json.loads(json.dumps(finding.as_dict()))
    assert plain["evidence"] == [{"signal": "a", "value": 0.5, "healthy": "at least 1"}]
    assert plain["since"] == 25


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_fault_has_a_page_and_remedies_that_a_recipe_takes(fault):
    for part in ("**What it sees.**", "**Why it matters.**", "**False positives.**"):
        assert part in fault.page
    for settings in ({}, {"game.loss": "minimax", "game.penalties.r1": 0.5, "game.critic_steps": 3}):
        for remedy in fault.remedies(settings, ()):
            assert remedy.why
            assert remedy.settings


def test_a_rate_is_scaled_whether_number_or_schedule():
    assert scaled_rate({}, "D", 0.5) == {"players.D.learning_rate": 1e-4}
    assert scaled_rate({"players.G.learning_rate": 1e-3}, "G", 0.1) == {"players.G.learning_rate": pytest.approx(1e-4)}
    schedule = {"start": 1e-3, "end": 0.0, "shape": "cosine"}
    assert scaled_rate({"players.G.learning_rate": schedule}, "G", 2.0) == {
        "players.G.learning_rate": {"start": 2e-3, "end": 0.0, "shape": "cosine"}
    }


def test_remedies_fit_what_was_found():
    named = {fault.name: fault for fault in FAULTS}
    rising = {"players.D.learning_rate": {"start": 0.001, "end": 0.05}, "players.G.learning_rate": 0.05}
    first, second, third = named["learning-rate"].remedies(rising, [Evidence("update/D", 0.1, "")])
    assert first.settings == {"players.D.learning_rate": {"start": 0.001, "end": 0.001}}
    assert second.settings == {
        "players.D.learning_rate": {"start": 0.001, "end": pytest.approx(0.005)},
        "players.G.learning_rate": pytest.approx(0.005),
    }
    assert third.settings["players.G.learning_rate"] == pytest.approx(0.001)
    for update, share in ((3.0, 0.02), (0.2, 0.05), (0.06, 0.1), (float("nan"), 0.1)):
        evidence = [Evidence("update/D", update, ""), Evidence("update/G", update / 10, "")]
        [first, _] = named["learning-rate"].remedies({"players.D.learning_rate": 1.0}, evidence)
        assert first.settings["players.D.learning_rate"] == pytest.approx(share)
    slow = {"players.D.rule": "sgd", "players.G.rule": "adam", "players.G.learning_rate": 0.004}
    [first, *_] = named["critic-too-weak"].remedies(slow, [Evidence("update/D", 0.0, "")])
    assert first.settings == {"players.D.rule": "adam", "players.D.learning_rate": 0.004}
    assert named["critic-too-weak"].remedies(slow, [Evidence("auc/held_out", 0.5, "")])[0] == first
    [first, *_] = named["critic-too-weak"].remedies({}, [Evidence("logits/held_out/std", 0.0, "")])
    assert first.settings == {"game.network.critic_width": 256}
    faded = {"players.D.learning_rate": {"start": 1e-3, "end": 1e-6}, "players.G.learning_rate": 1e-3}
    [first, *_] = named["critic-too-weak"].remedies(faded, [Evidence("auc/held_out", 0.5, "")])
    assert first.settings == {"players.D.learning_rate": 1e-3}
    narrow = {"game.network.width": 64, "game.network.critic_width": 2}
    [first, *_] = named["critic-too-weak"].remedies(narrow, [Evidence("logits/held_out/std", 0.0, "")])
    assert first.settings == {"game.network.critic_width": 64}
    share = [Evidence("share/D/r1", 0.99, "")]
    for settings, changes in (
        ({"game.penalties.r1": 1e5}, {"game.penalties.r1": 0.1}),
        ({"game.penalties.r1.weight": 1e5, "game.penalties.r1.every": 8}, {"game.penalties.r1.weight": 0.1}),
    ):
        assert [remedy.settings for remedy in named["dominating-term"].remedies(settings, share)] == [changes]


def test_balanced_rates_put_the_critic_ahead():
    assert balanced_rates({}) == {"players.D.learning_rate": 4e-4, "players.G.learning_rate": 5e-5}
    behind = balanced_rates({"players.D.learning_rate": 1e-6, "players.G.learning_rate": 1e-3})
    assert behind == {"players.D.learning_rate": 2e-3, "players.G.learning_rate": 2.5e-4}
    fading = balanced_rates({"players.D.learning_rate": {"start": 1e-3, "end": 1e-6}, "players.G.learning_rate": 1e-3})
    assert fading == behind


@pytest.mark.parametrize(
    ("critic", "generator", "level"), [(1.0, 0.1, 0.5), (0.1, 3.0, 1.5), (1.0, 1.0, 1.0), (1.0, 0.8, 0.8)]
)
def test_rates_are_levelled_at_half_of_the_higher_and_equal_ones_stay(critic, generator, level):
    rates = {"players.D.learning_rate": critic, "players.G.learning_rate": generator}
    assert levelled_rates(rates) == pytest.approx(dict.fromkeys(rates, level))


def test_what_converges_has_little_momentum():
    flat = {"game.loss": "relativistic-pairing", "game.penalties.r1": 0.1, "game.penalties.r2": 0.1}
    assert convergent({"players.D.betas": [0.5, 0.9]}) == flat
    swinging = convergent({"players.D.betas": [0.9, 0.99], "game.clip": 0.1})
    assert swinging == {**flat, "game.clip": None, "players.D.betas": [0.5, 0.99]}


def test_a_number_that_is_not_finite_is_found_in_a_training_under_way_as_in_its_journal():
    for value in (None, float("nan"), float("inf")):
        line = {"step": 25, "signals": {"probe/logits/fake": {"mean": value, "std": value, "count": 256}}}
        [finding] = diagnosed([line]).findings()
        assert (finding.fault, finding.evidence[0].signal) == ("non-finite", "logits/fake")


def test_a_large_step_that_did_no_harm_is_forgotten():
    spike = [0.01] * 10 + [0.5] + [0.01] * 39
    near, far = [0.01] * 30, [0.8] * 20
    signals = {"update/G": spike, "update/D": spike, "energy": [*near, *far], "diversity": [1.0] * 50}
    assert "learning-rate" not in [finding.fault for finding in play(Diagnosis(), **signals).findings()]
    at_once = signals | {"energy": [0.01] * 10 + [0.8] * 40}
    [finding] = [found for found in play(Diagnosis(), **at_once).findings() if found.fault == "learning-rate"]
    assert finding.since == 25 * 11


def test_one_refused_move_is_harmless_and_several_are_not():
    def line(step: int, count: int) -> dict:
        return {"step": step, "signals": {"refused/D": {"mean": 1.0, "std": 0.0, "count": count}}}

    assert diagnosed([line(25, 1), {"step": 50, "signals": {}}]).findings() == []
    assert [finding.fault for finding in diagnosed([line(25, 5)]).findings()] == ["non-finite"]


def test_a_finding_knows_its_first_and_its_newest_episode():
    values = [2, 0, 0, 0, *[2] * 30, 0, 0, 0]
    [finding] = play(Diagnosis([low("a", 3)]), a=values).findings()
    assert (finding.since, finding.lately) == (50, 25 * 35)


@pytest.mark.parametrize(
    "signals",
    [[1], "x", {"a": {"mean": "abc"}}, {"a": {"mean": [1]}}, {"a": {"avg": 1.0}}, {"a": {"mean": 10**400}}],
)
def test_what_is_no_number_in_a_journal_is_left_out(signals):
    assert diagnosed([{"step": 25, "signals": signals}]).findings() == []


@pytest.mark.parametrize("rate", [0.0, {"start": 0.0, "end": 1e-3}, {"start": 1e-3, "end": 0.0}])
def test_remedies_cope_with_rates_that_are_0_or_rise(rate):
    for fault in FAULTS:
        fault.remedies({"players.D.learning_rate": rate, "players.G.learning_rate": rate}, ())


def test_a_lazy_penalty_is_scaled_and_stays_lazy():
    settings = {"game.penalties.r1.weight": 10.0, "game.penalties.r1.every": 16}
    assert scaled_penalty(settings, "r1", 10, otherwise=0.5) == {"game.penalties.r1.weight": 100.0}
    assert scaled_penalty({}, "r1", 10, otherwise=0.5) == {"game.penalties.r1": 0.5}


def test_another_kind_of_game_or_network_keeps_what_was_set():
    recipe, _ = equipoise.load("conditional-digits")
    [labels] = [fault for fault in FAULTS if fault.name == "empty-labels"]
    [remedy] = labels.remedies(dotted(to_dict(recipe)), ())
    changed = with_settings(recipe, remedy.settings).game
    assert (changed.kind, changed.network, changed.penalties) == ("gan", recipe.game.network, recipe.game.penalties)
    [artefacts] = [fault for fault in FAULTS if fault.name == "artefacts"]
    recipe = with_settings(equipoise.load("images")[0], {"game.network.width": 16})
    changed = with_settings(recipe, artefacts.remedies(dotted(to_dict(recipe)), ())[1].settings)
    assert (changed.game.network.kind, changed.game.network.width) == ("resnet", 16)


def told(**signals: float) -> str:
    """What is said of a training in which every look shows the same numbers."""
    looks = {
        name.replace("__", "/"): [value] * 30
        for name, value in {
            "diversity": 0.9,
            "nearest": 0.9,
            "logits__held_out": 3.0,
            "logits__fake": -3.0,
            **signals,
        }.items()
    }
    found = play(Diagnosis(), **looks).findings()
    return found[0].fault if found else "nothing"


RULED = {"share__D__r1": 0.9, "share__D__adversarial": 0.1, "energy": 1.0, "auc__held_out": 0.5}
FLAT = {"logits__held_out": 0.2, "logits__fake": 0.2, "logits__held_out__std": 0.01}
WINS = {"auc__held_out": 0.99, "energy": 1.0}
MOVES, WAITS = {"update__G": 0.02, "update__D": 0.01}, {"update__G": 1e-4, "update__D": 0.01}


@pytest.mark.parametrize(
    ("signals", "fault"),
    [
        ({**WINS, **MOVES, "diversity": 0.001, "nearest": 0.0}, "mode-collapse"),  # it moves, and makes one example
        ({**WINS, **WAITS, "diversity": 0.001, "nearest": 0.0}, "critic-too-strong"),  # it never moved
        ({**WINS, **WAITS, "diversity": 0.1, "nearest": 0.1}, "critic-too-strong"),
        ({**WINS, **MOVES, "diversity": 0.1, "nearest": 0.1}, "mode-collapse"),
        ({**WINS, "diversity": 0.001, "nearest": 0.0}, "mode-collapse"),  # nothing is known of movements
        ({**WINS, **WAITS, "diversity": 0.1, "logits__held_out": 2e5}, "exploding-critic"),
        ({"auc__held_out": 0.5, "energy": 0.01, "logits__held_out": 2e5}, "nothing"),  # no harm
        ({"auc__held_out": 0.5, "energy": 0.01, "overfit": 0.7}, "nothing"),
        ({"auc__held_out": 0.5, "energy": 0.01, "overfit": 0.7, "nearest": 0.3}, "critic-overfitting"),
        ({"auc__held_out": 0.8, "energy": 0.01, "overfit": 0.7}, "critic-overfitting"),
        ({"auc__held_out": 0.5, "energy": 0.01, "overfit": 0.9}, "critic-overfitting"),
        ({**RULED, **FLAT}, "dominating-term"),
        ({**RULED, "auc__held_out": 0.7}, "nothing"),
        ({"auc__held_out": 0.5, "energy": 0.01, "copies": 0.8}, "nothing"),
        ({"auc__held_out": 0.5, "energy": 0.01, "copies": 0.8, "nearest": 0.3}, "memorisation"),
        ({"auc__held_out": 0.5, "energy": 0.01, "copies": 0.95}, "memorisation"),
    ],
)
def test_faults_that_look_alike_are_told_apart(signals, fault):
    assert told(**signals) == fault
