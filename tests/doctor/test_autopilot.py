"""One remedy at a time, judged after a probation, undone if it did not help; it never loops and it can give up."""

from dataclasses import replace
from typing import Any

from equipoise.doctor.autopilot import Apply, Autopilot, GiveUp
from equipoise.doctor.diagnosis import Diagnosis
from equipoise.doctor.fault import Fault, Seeded
from equipoise.doctor.faults import FAULTS as REAL
from equipoise.doctor.finding import Evidence, Remedy
from equipoise.doctor.history import History


def fault(name: str, *remedies: dict[str, Any]) -> Fault:
    def symptom(history: History) -> list[Evidence]:
        return [Evidence(name, history.last(name), "0")] if history.last(name) > 0 else []

    tried = [Remedy(settings, f"why {settings}") for settings in remedies]
    return Fault(
        name,
        name,
        "warning",
        (name,),
        symptom,
        "it is there",
        Seeded("none", {}),
        looks=2,
        remedies=lambda settings, evidence: tried,
    )


FAULTS = (fault("a", {"x": 1}, {"x": 2}, {"bad": 1}), fault("b", {"y": 1}))


def pilot(**rest: Any) -> Autopilot:
    return Autopilot(fits=lambda remedy, undone: "bad" not in remedy.settings, probation=3, **rest)


def looks(autopilot: Autopilot, settings: dict[str, Any], *, a: list[int], b: int = 0, start: int = 0) -> Any:
    """Decisions over a stretch of training; it ends with the first."""
    diagnosis = Diagnosis(FAULTS)
    for number, value in enumerate(a):
        diagnosis.observe(start + 25 * (number + 1), {"a": value, "b": b})
        if decision := autopilot.consider(diagnosis, settings):
            return decision
    return None


def test_health_is_left_alone():
    assert looks(pilot(), {}, a=[0, 1, 0, 1, 0]) is None


def test_the_first_remedy_is_tried_and_judged_after_its_probation():
    autopilot = pilot()
    decision = looks(autopilot, {"x": 0}, a=[0, 1, 1, 1])
    assert isinstance(decision, Apply)
    assert decision.intervention.remedy.settings == {"x": 1}
    assert decision.intervention.finding.since == 50
    assert decision.intervention.step == 75
    assert autopilot.interventions[0].outcome == "on probation"
    assert looks(autopilot, {"x": 1}, a=[0, 0, 0, 0]) is None
    assert autopilot.interventions[0].outcome == "helped"
    assert autopilot.interventions[0].as_dict()["former"] == {"x": 0}


def test_what_does_not_help_is_undone_and_the_next_is_tried_from_the_former_recipe():
    autopilot = pilot()
    looks(autopilot, {"x": 0}, a=[1, 1])
    decision = looks(autopilot, {"x": 1}, a=[0, 1, 1])
    assert isinstance(decision, Apply)
    assert decision.undone is autopilot.interventions[0]
    assert decision.undone.outcome == "undone"
    assert decision.intervention.remedy.settings == {"x": 2}
    assert decision.intervention.former == {"x": 0}


def test_a_remedy_that_brings_another_fault_is_undone():
    autopilot = pilot()
    looks(autopilot, {}, a=[1, 1])
    decision = looks(autopilot, {}, a=[0, 0, 0], b=1)
    assert decision.undone.reason == "It brought another fault: b."


def test_when_nothing_is_left_it_gives_up_and_never_tries_twice():
    autopilot = pilot()
    looks(autopilot, {}, a=[1, 1])
    looks(autopilot, {}, a=[1, 1, 1])
    decision = looks(autopilot, {}, a=[1, 1, 1])  # the third remedy makes no valid recipe
    assert isinstance(decision, GiveUp)
    assert decision.finding.fault == "a"
    assert [i.outcome for i in autopilot.interventions] == ["undone", "undone"]
    assert isinstance(looks(autopilot, {}, a=[1, 1]), GiveUp)


def test_when_one_fault_has_no_remedy_left_another_that_is_there_is_treated():
    autopilot = pilot()
    looks(autopilot, {}, a=[1, 1])
    looks(autopilot, {}, a=[1, 1, 1])
    decision = looks(autopilot, {}, a=[1, 1, 1], b=1)
    assert isinstance(decision, Apply)
    assert decision.intervention.finding.fault == "b"
    assert [i.outcome for i in autopilot.interventions] == ["undone", "undone", "on probation"]


def test_what_the_recipe_has_already_is_no_remedy():
    decision = looks(pilot(), {"x": 1}, a=[1, 1])
    assert decision.intervention.remedy.settings == {"x": 2}


def test_the_number_of_interventions_is_bounded():
    autopilot = pilot(most=1)
    looks(autopilot, {}, a=[1, 1])
    assert isinstance(looks(autopilot, {}, a=[1, 1, 1]), GiveUp)


def test_a_remedy_may_take_longer_while_the_fakes_come_nearer():
    autopilot = pilot()
    looks(autopilot, {}, a=[1, 1])
    diagnosis = Diagnosis(FAULTS)
    for number, energy in enumerate([4.0, 3.0, 2.0, 1.5, 1.2]):
        diagnosis.observe(25 * (number + 1), {"a": 1, "b": 0, "energy": energy})
        assert autopilot.consider(diagnosis, {}) is None
    for number in range(5, 12):
        diagnosis.observe(25 * (number + 1), {"a": 1, "b": 0, "energy": 4.0})
        if decision := autopilot.consider(diagnosis, {}):
            break
    assert decision.undone.reason == "The fault is still there."


def test_a_training_that_cannot_go_on_was_not_helped():
    autopilot, diagnosis = pilot(), Diagnosis(FAULTS)
    for number, value in enumerate([1, 1]):
        diagnosis.observe(25 * (number + 1), {"a": value, "b": 0})
    assert isinstance(autopilot.consider(diagnosis, {"x": 0}), Apply)
    after = Diagnosis(FAULTS)
    after.observe(25, {"a": 0, "b": 0})
    autopilot.consider(after, {"x": 1}, ended=True)
    assert autopilot.interventions[0].outcome == "undone"
    assert autopilot.interventions[0].reason == "Training could not go on."


def test_what_is_still_on_probation_at_the_end_is_not_judged():
    autopilot = pilot()
    looks(autopilot, {"x": 0}, a=[1, 1])
    autopilot.finish(Diagnosis(FAULTS), {"x": 1})
    assert autopilot.interventions[0].outcome == "not judged"


def test_interventions_of_a_resumed_training_count():
    assert isinstance(looks(pilot(earlier=8), {"x": 0}, a=[1, 1]), GiveUp)
    assert looks(pilot(earlier=2), {"x": 0}, a=[1, 1]).intervention.number == 3


def test_what_is_only_seen_waits_for_its_cause():
    names = (fault("critic-too-strong", {"x": 1}), replace(fault("artefacts", {"y": 1}), surface=True))
    autopilot, diagnosis, decisions = pilot(), Diagnosis(names), []
    for number in range(8):
        diagnosis.observe(25 * number, {"artefacts": 1, "critic-too-strong": int(number >= 3)})
        decisions.append(autopilot.consider(diagnosis, {}))
    assert decisions[:3] == [None] * 2 + [decisions[2]]
    assert decisions[2].intervention.finding.fault == "artefacts"  # after a probation without a cause
    again = next(decision for decision in decisions[3:] if decision is not None)
    assert again.intervention.finding.fault == "critic-too-strong"  # which is the cause, and its turn
    assert again.undone.finding.fault == "artefacts"


def test_what_may_be_the_cause_and_began_earlier_is_waited_for():
    slow = replace(fault("b", {"y": 1}), looks=4, began=lambda history: 0)
    autopilot, diagnosis, decisions = pilot(), Diagnosis((slow, FAULTS[0])), []
    for number in range(1, 5):
        diagnosis.observe(25 * number, {"a": 1, "b": 1})
        decisions.append(autopilot.consider(diagnosis, {}))
    assert decisions[:3] == [None] * 3
    assert decisions[3].intervention.finding.fault == "b"


def test_a_cause_that_shows_late_and_began_earlier_is_treated_next():
    late = replace(fault("b", {"y": 1}), began=lambda history: 0)
    autopilot, diagnosis = pilot(), Diagnosis((late, FAULTS[0]))
    diagnosis.observe(25, {"a": 1, "b": 0})
    diagnosis.observe(50, {"a": 1, "b": 0})
    decision = autopilot.consider(diagnosis, {})
    assert decision.intervention.finding.fault == "a"
    decision.intervention.back_to, decisions = 25, []
    for number in range(3, 7):
        diagnosis.observe(25 * number, {"a": 1, "b": 1})
        decisions.append(autopilot.consider(diagnosis, {"x": 1}))
    decision = next(decision for decision in decisions if decision is not None)
    assert decision.undone.finding.fault == "a"
    assert decision.intervention.finding.fault == "b"


def test_training_is_not_given_up_for_what_is_only_seen():
    seen = replace(fault("artefacts", {"y": 1}), surface=True)
    autopilot, diagnosis, decisions = pilot(), Diagnosis((seen,)), []
    for number in range(1, 12):
        diagnosis.observe(25 * number, {"artefacts": 1})
        decisions.append(autopilot.consider(diagnosis, {}))
    assert [decision.intervention.remedy.settings for decision in decisions if decision] == [{"y": 1}]
    assert autopilot.interventions[0].outcome == "not judged"
    assert autopilot.interventions[0].reason == "The fault is still there, and no other remedy is known."


def test_a_network_without_transposed_convolutions_is_not_exchanged_for_one_of_the_same_width():
    [artefacts] = [fault for fault in REAL if fault.name == "artefacts"]
    assert len(artefacts.remedies({"game.network.kind": "mlp", "game.network.width": 256}, ())) == 1
    assert len(artefacts.remedies({"game.network.kind": "dcgan", "game.network.width": 64}, ())) == 2
