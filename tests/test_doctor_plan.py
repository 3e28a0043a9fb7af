"""The plan of the scored trainings is the one that was frozen before any of the test split was trained."""

from benchmarks.doctor import FROZEN, fingerprint, good_enough, plan, poisson_bound, summary


def test_the_plan_is_the_frozen_one():
    assert fingerprint() == FROZEN.read_text().strip()


def test_the_splits_share_no_seed_and_no_training():
    cells = list(plan())
    assert len({cell.name for cell in cells}) == len(cells)
    seeds = {
        split: {cell.seed for cell in cells if cell.split == split} for split in ("fit", "first", "second", "test")
    }
    assert len(set.union(*seeds.values())) == sum(len(some) for some in seeds.values())
    looked_at = {(cell.fault, cell.variant) for cell in cells if cell.split != "test" and cell.fault != "healthy"}
    faults = {cell.fault for cell in cells if cell.split == "test" and cell.fault != "healthy"}
    unseen = {(cell.fault, cell.variant) for cell in cells if cell.split == "test"} - looked_at
    assert {fault for fault, _ in unseen} >= faults  # of every fault a variant that nobody looked at
    assert {cell.world for cell in cells if cell.split == "fit"} == {"ring", "digits", "classes"}
    assert len({cell.fault for cell in cells} - {"healthy"}) == 12


def test_an_outcome_is_compared_with_the_worst_healthy_seed():
    references = [{"modes": 8, "reverse_kl": 0.01}, {"modes": 8, "reverse_kl": 0.03}]
    assert good_enough({"modes": 8, "reverse_kl": 0.12}, references)
    assert not good_enough({"modes": 7, "reverse_kl": 0.01}, references)
    assert not good_enough({"modes": 8, "reverse_kl": 0.2}, references)


def test_the_bound_of_no_event_is_three():
    assert abs(poisson_bound(0) - 3.0) < 0.01


def test_rates_are_those_of_the_rows():
    row = {
        "split": "test",
        "dose": "large",
        "fault": "mode-collapse",
        "said": "mode-collapse",
        "alarms": ["mode-collapse"],
        "looks": 50,
        "outcome_healthy": False,
        "steps_to_detection": 100,
        "remedy": True,
        "rescued": True,
        "retried": False,
    }
    healthy = row | {"dose": "none", "fault": "healthy", "said": "healthy", "alarms": [], "outcome_healthy": True}
    found = [row, row | {"said": "oscillation", "rescued": False}, healthy, healthy | {"alarms": ["oscillation"]}]
    result = summary(found, "test", "large")
    assert result["accuracy"] == 0.75
    assert result["recall"]["mode-collapse"] == 0.5
    assert result["false_alarms_per_1000_windows"] == 10
    assert result["rescue_rate"] == 0.5
    assert result["rescue_rate_reload_retry"] == 0
