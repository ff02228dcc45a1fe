"""A running experiment may only grow; everything else is named and its users counted."""

from typing import Any

import pytest

from recsys.experiment.allocation import check_change, moved
from recsys.experiment.bucketing import bucket
from recsys.specs.experiment import Experiment

UNITS = [f"u{number}" for number in range(4_000)]
BASE: dict[str, Any] = {
    "hypothesis": "better",
    "placement": "home",
    "seed": "home:",
    "arms": {
        "control": {"model_version": "basket/v1", "slot": [0.0, 0.4], "ratio": 0.2},
        "treatment": {"model_version": "basket/v2", "slot": [0.4, 0.8], "ratio": 0.2},
    },
    "overrides": {},
    "metrics": {"primary": {"name": "precision@10", "minimum_effect": 0.08}},
    "plan": {"units": 100, "start": "2017-12-04", "weeks": 4},
}


def with_arm(name: str, **fields: object) -> dict[str, Any]:
    """Return the arms with some fields of one changed or a new one added."""
    arms = dict(BASE["arms"])
    arms[name] = {**arms.get(name, {}), **fields}
    return {"arms": arms}


def changed(changes: dict[str, Any]) -> tuple[Experiment, Experiment]:
    """Return the base declaration and a changed one."""
    return Experiment.model_validate(BASE), Experiment.model_validate({**BASE, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        with_arm("control", ratio=0.4),
        with_arm("treatment", ratio=0.2001),
        with_arm("third", model_version="basket/v3", slot=[0.8, 1.0], ratio=0.1),
        {"overrides": {"u1": "treatment"}},
        {"plan": {**BASE["plan"], "weeks": 2}},
    ],
)
def test_allowed(changes: dict[str, Any]) -> None:
    before, after = changed(changes)
    assert check_change(before, after) == []
    assert moved(before, after, UNITS) == 0


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        (with_arm("control", ratio=0.1), "arms.control.ratio"),
        (with_arm("control", slot=[0.0, 0.3]), "arms.control.slot"),
        (with_arm("treatment", slot=[0.5, 0.8]), "arms.treatment.slot"),
        (with_arm("treatment", model_version="basket/v9"), "arms.treatment.model_version"),
        ({"seed": "again:"}, "seed"),
        ({"unit": "session_id"}, "unit"),
        ({"placement": "cart"}, "placement"),
        ({"control": "treatment"}, "control"),
        ({"hypothesis": "worse"}, "hypothesis"),
        ({"metrics": {"primary": {"name": "mrr@10", "minimum_effect": 0.08}}}, "metrics"),
        ({"plan": {**BASE["plan"], "weeks": 5}}, "plan.weeks"),
        ({"plan": {**BASE["plan"], "alpha": 0.1}}, "plan.alpha"),
        ({"plan": {**BASE["plan"], "power": 0.9}}, "plan.power"),
        ({"plan": {**BASE["plan"], "units": 10}}, "plan.units"),
        ({"plan": {**BASE["plan"], "start": "2017-12-05"}}, "plan.start"),
    ],
)
def test_refused_and_named(changes: dict[str, Any], field: str) -> None:
    findings = check_change(*changed(changes))
    assert len(findings) == 1
    assert findings[0].startswith(f"{field}: ")


def test_removed_arm_and_one_in_its_slot_are_two_findings() -> None:
    arms = {
        "control": BASE["arms"]["control"],
        "other": {"model_version": "basket/v3", "slot": [0.4, 0.8], "ratio": 0.2},
    }
    before, after = changed({"arms": arms})
    findings = check_change(before, after)
    assert [finding.split(":")[0] for finding in findings] == ["arms.treatment", "arms.other.slot"]
    assert moved(before, after, UNITS) == sum(4_000 <= bucket("home:", unit) < 6_000 for unit in UNITS)


def test_shrinking_moves_those_who_fall_out() -> None:
    before, after = changed(with_arm("control", ratio=0.1))
    fallen = [unit for unit in UNITS if 1_000 <= bucket("home:", unit) < 2_000]
    assert moved(before, after, UNITS) == len(fallen) > 0


def test_testers_are_not_counted_as_moved() -> None:
    before, after = changed({**with_arm("control", ratio=0.1), "overrides": dict.fromkeys(UNITS, "treatment")})
    assert moved(before, after, UNITS) == 0
