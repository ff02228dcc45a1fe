"""Slots, ratios and overrides decide the arm; time decides whether there is an experiment."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.errors import ExperimentError
from recsys.experiment.bucketing import bucket
from recsys.experiment.routing import DEFAULT, Assignment, Router, arm_table, assign, routers_of
from recsys.specs.experiment import Experiment
from recsys.specs.layer import Layer

UNITS = [f"u{number}" for number in range(2_000)]


def declare(
    control: float = 0.5,
    treatment: float = 0.5,
    *,
    overrides: dict[str, str] | None = None,
    **changes: object,
) -> Experiment:
    """Return an experiment with two slots of one half each."""
    return Experiment.model_validate(
        {
            "hypothesis": "better",
            "placement": "home",
            "seed": "home:",
            "arms": {
                "control": {"model_version": "basket/v1", "slot": [0.0, 0.5], "ratio": control},
                "treatment": {"model_version": "basket/v2", "slot": [0.5, 1.0], "ratio": treatment},
            },
            "overrides": overrides or {},
            "metrics": {"primary": {"name": "precision@10", "minimum_effect": 0.08}},
            "plan": {"units": 100, "start": "2017-12-04", "weeks": 4},
        }
        | changes
    )


def test_table_follows_slots_and_ratios() -> None:
    table = arm_table(declare(0.1, 0.25))
    assert table[:1_000].tolist() == [0] * 1_000
    assert set(table[1_000:5_000].tolist()) == {DEFAULT}
    assert table[5_000:7_500].tolist() == [1] * 2_500
    assert set(table[7_500:].tolist()) == {DEFAULT}


def test_scalar_and_vector_agree() -> None:
    router = Router(
        "home_ranker", declare(0.1, 0.25, overrides={"u1": "treatment", "u2": "control", "absent": "control"})
    )
    routed = [router.route(unit) for unit in UNITS]
    arms = [found.arm if found else None for found in routed]
    assert router.route_many(UNITS).to_pylist() == arms
    assert router.route_many(pa.chunked_array([UNITS[:7], UNITS[7:]])).to_pylist() == arms
    assert {None, "control", "treatment"} == set(arms)


def test_override_wins_and_is_flagged() -> None:
    by_bucket = Router("home_ranker", declare())
    unit = next(unit for unit in UNITS if bucket("home:", unit) < 5_000)
    assert by_bucket.route(unit) == Assignment("home_ranker", "control", "basket/v1", overridden=False)
    router = Router("home_ranker", declare(overrides={unit: "treatment"}))
    assert router.route(unit) == Assignment("home_ranker", "treatment", "basket/v2", overridden=True)
    assert router.route_many([unit]).to_pylist() == ["treatment"]
    assert router.route_many([unit], overrides=False).to_pylist() == ["control"]


def test_active_from_start_up_to_end() -> None:
    router = Router("home_ranker", declare())
    start = datetime(2017, 12, 4, tzinfo=UTC)
    tick = timedelta(microseconds=1)
    assert not router.active(start - tick)
    assert router.active(start)
    assert router.active(start + timedelta(weeks=4) - tick)
    assert not router.active(start + timedelta(weeks=4))
    with pytest.raises(ExperimentError, match="has no zone"):
        router.active(datetime(2017, 12, 5))  # noqa: DTZ001 - the case


@settings(deadline=None)
@given(
    st.integers(1, 5_000),
    st.integers(1, 5_000),
    st.integers(0, 5_000),
    st.integers(0, 5_000),
    st.lists(st.text(min_size=1)),
)
def test_growing_moves_nobody_out(control: int, treatment: int, more: int, more_too: int, units: list[str]) -> None:
    small = Router("e", declare(control / 10_000, treatment / 10_000))
    grown = declare(min(control + more, 5_000) / 10_000, min(treatment + more_too, 5_000) / 10_000)
    after = Router("e", grown).route_many([*units, *UNITS[:200]]).to_pylist()
    before = small.route_many([*units, *UNITS[:200]]).to_pylist()
    assert all(old is None or old == new for old, new in zip(before, after, strict=True))


@settings(deadline=None)
@given(st.text(min_size=1))
def test_an_arm_stays_inside_its_slot(unit: str) -> None:
    found = Router("e", declare(0.3, 0.4)).route(unit)
    position = bucket("home:", unit)
    expected = "control" if position < 3_000 else "treatment" if 5_000 <= position < 9_000 else None
    assert (found.arm if found else None) == expected


PAGE = Layer(seed="page:", holdout=(0.0, 0.1))
DURING = datetime(2017, 12, 5, tzinfo=UTC)


def in_page(first: float, last: float, **changes: object) -> Experiment:
    """Return an experiment on a part of the layer."""
    return declare(layer={"name": "page", "range": [first, last]}, **changes)


def test_a_layers_range_comes_before_the_arms() -> None:
    overrides = {"u1": "treatment", "u2": "control"}
    router = Router("e", in_page(0.1, 0.4, overrides=overrides), PAGE)
    routed = [router.route(unit) for unit in UNITS]
    assert router.route_many(UNITS).to_pylist() == [found.arm if found else None for found in routed]
    for unit, arm in zip(UNITS, router.route_many(UNITS, overrides=False).to_pylist(), strict=True):
        expected = "control" if bucket("home:", unit) < 5_000 else "treatment"
        assert arm == (expected if 1_000 <= bucket("page:", unit) < 4_000 else None)
    assert router.overridden(UNITS).tolist() == [unit in overrides for unit in UNITS]


def test_a_router_takes_the_layer_that_its_experiment_names() -> None:
    for experiment, layer, named in ((in_page(0.1, 0.4), None, "layer page"), (declare(), PAGE, "no layer")):
        with pytest.raises(ExperimentError, match=f"experiment e is in {named}"):
            Router("e", experiment, layer)


def test_nobody_is_in_two_experiments_of_a_layer_or_in_its_holdout() -> None:
    experiments = {"a": in_page(0.1, 0.5, seed="a:"), "b": in_page(0.5, 1.0, seed="b:")}
    experiments["elsewhere"] = declare(placement="cart")
    one, other = routers_of("home", experiments, {"page": PAGE})
    assert (one.name, other.name) == ("a", "b")
    for unit in UNITS:
        found = [router.name for router in (one, other) if router.route(unit) is not None]
        position = bucket("page:", unit)
        assert found == ([] if position < 1_000 else ["a"] if position < 5_000 else ["b"])


def test_an_override_of_any_experiment_comes_first() -> None:
    experiments = {"a": in_page(0.1, 0.5, seed="a:"), "b": in_page(0.5, 1.0, seed="b:", overrides={"u5": "control"})}
    routers = routers_of("home", experiments, {"page": PAGE})
    unit = next(unit for unit in UNITS if 1_000 <= bucket("page:", unit) < 5_000)
    found = assign(routers, unit, None, DURING)
    assert found is not None
    assert (found.experiment, found.overridden) == ("a", False)
    experiments["b"] = in_page(0.5, 1.0, seed="b:", overrides={unit: "control"})
    found = assign(routers_of("home", experiments, {"page": PAGE}), unit, None, DURING)
    assert found == Assignment("b", "control", "basket/v1", overridden=True)
    assert assign(routers, unit, None, datetime(2018, 1, 1, tzinfo=UTC)) is None


def test_an_experiment_of_sessions_needs_one() -> None:
    routers = routers_of("home", {"e": declare(unit="session_id")}, {})
    assert assign(routers, "u1", None, DURING) is None
    assert assign(routers, "u1", "s1", DURING) == routers[0].route("s1")


def test_an_earlier_end_ends_it() -> None:
    router = Router("e", declare(plan={"units": 100, "start": "2017-12-04", "weeks": 4, "end": "2017-12-06T12:00:00Z"}))
    end = datetime(2017, 12, 6, 12, tzinfo=UTC)
    assert router.active(end - timedelta(microseconds=1))
    assert not router.active(end)
