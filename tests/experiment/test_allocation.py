"""A running experiment may only grow; everything else is named and its users counted."""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.experiment.allocation import check_change, moved, moved_by_layer
from recsys.experiment.bucketing import bucket
from recsys.experiment.routing import Router
from recsys.specs.experiment import Experiment
from recsys.specs.layer import Layer

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
        {"plan": {**BASE["plan"], "end": "2017-12-06T12:00:00Z"}},
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
        ({"layer": {"name": "page", "range": [0.0, 1.0]}}, "layer"),
        ({"plan": {**BASE["plan"], "weeks": 5}}, "plan.weeks"),
        ({"plan": {**BASE["plan"], "weeks": 5, "end": "2018-01-01"}}, "plan.weeks"),
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


def test_an_end_comes_earlier_and_not_later() -> None:
    _, early = changed({"plan": {**BASE["plan"], "end": "2017-12-06"}})
    _, earlier = changed({"plan": {**BASE["plan"], "end": "2017-12-05"}})
    whole, _ = changed({})
    assert check_change(early, earlier) == []
    for later in (early, whole):
        (finding,) = check_change(earlier, later)
        assert finding.startswith("plan.end: 2017-12-05T00:00:00+00:00 -> ")
        assert "may end earlier, not later" in finding


PAGE = Layer(seed="page:", holdout=(0.0, 0.2))
SHARED = Experiment.model_validate({**BASE, "layer": {"name": "page", "range": [0.2, 0.9]}})


def test_another_layer_moves_whom_it_takes_out() -> None:
    other = PAGE.model_copy(update={"seed": "other:"})
    after = SHARED.model_copy(update={"layer": None})
    had = Router("e", SHARED, PAGE).route_many(UNITS).to_pylist()
    assert moved(SHARED, SHARED, UNITS, (PAGE, PAGE)) == 0
    assert moved(SHARED, after, UNITS, (PAGE, None)) == 0, "out of a layer nobody loses an arm, and others gain one"
    in_arms = [unit for unit, arm in zip(UNITS, had, strict=True) if arm is not None]
    lost = sum(not 2_000 <= bucket("other:", unit) < 9_000 for unit in in_arms)
    assert moved(SHARED, SHARED, UNITS, (PAGE, other)) == lost > 0


def test_a_layers_holdout_moves_whom_it_takes_or_frees() -> None:
    smaller = PAGE.model_copy(update={"holdout": (0.0, 0.1)})
    freed = sum(1_000 <= bucket("page:", unit) < 2_000 for unit in UNITS)
    assert moved_by_layer(SHARED, (PAGE, smaller), UNITS) == freed > 0
    assert moved_by_layer(SHARED, (smaller, PAGE), UNITS) == freed
    assert moved_by_layer(SHARED, (PAGE, PAGE), UNITS) == 0


# ---------------------------------------------------------------- sequences of allowed edits

Edit = tuple[str, int, int, int]
edits = st.lists(
    st.tuples(
        st.sampled_from(["grow", "arm", "override", "weeks"]),
        st.integers(0, 9_999),
        st.integers(1, 10_000),
        st.integers(1, 10_000),
    ),
    max_size=12,
)


def allowed(declared: dict[str, Any], edit: Edit) -> dict[str, Any]:
    """Return a declaration after an edit of this kind that a running experiment may see, by three numbers."""
    kind, first, second, third = edit
    after = {**declared, "arms": dict(declared["arms"]), "plan": dict(declared["plan"])}
    names = list(after["arms"])
    slots = {name: [round(10_000 * share) for share in arm["slot"]] for name, arm in after["arms"].items()}
    if kind == "grow":
        name = names[first % len(names)]
        taken, width = round(10_000 * after["arms"][name]["ratio"]), slots[name][1] - slots[name][0]
        grown = taken + second % (width - taken + 1)
        after["arms"][name] = {**after["arms"][name], "ratio": grown / 10_000}
    elif kind == "arm" and not any(start <= first < end for start, end in slots.values()):
        room = min([start - first for start, _ in slots.values() if start > first] + [10_000 - first])
        width = 1 + second % room
        after["arms"][f"arm{len(names)}"] = {
            "model_version": "basket/v3",
            "slot": [first / 10_000, (first + width) / 10_000],
            "ratio": (1 + third % width) / 10_000,
        }
    elif kind == "override":
        after["overrides"] = {f"u{first % 50}": names[second % len(names)]}
    elif kind == "weeks":
        after["plan"]["weeks"] = 1 + second % after["plan"]["weeks"]
    return after


@settings(deadline=None, max_examples=60)
@given(edits, st.booleans())
def test_no_sequence_of_allowed_edits_takes_anybody_out_of_an_arm(sequence: list[Edit], layered: bool) -> None:
    layer = PAGE if layered else None
    declared = {**BASE, "layer": {"name": "page", "range": [0.2, 0.9]} if layered else None}
    before = Experiment.model_validate(declared)
    units = pa.array(UNITS)
    positions = Router("e", before, layer).positions(units)
    held = dict[str, str]()
    for edit in [("none", 0, 1, 1), *sequence]:
        declared = allowed(declared, edit)
        after = Experiment.model_validate(declared)
        assert check_change(before, after) == []
        assert moved(before, after, units, (layer, layer)) == 0
        arms = Router("e", after, layer).route_many(units, overrides=False, positions=positions).to_pylist()
        found = {unit: arm for unit, arm in zip(UNITS, arms, strict=True) if arm is not None}
        assert found | held == found
        held = found
        before = after
