"""Is every made-up shop a shop: rows as the schema says, steps in their order, and the same ones each time?"""

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys import schema
from recsys.experiment.bucketing import bucket
from recsys.simulation.population import USERS_PER_BLOCK
from recsys.simulation.rows import EXPOSURES, IMPRESSIONS
from recsys.simulation.shop import Shop
from recsys.simulation.truth import Truth
from recsys.specs.simulation import Simulation
from tests.simulation.shops import Made, make, newest

MAKE = settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def simulations(draw: st.DrawFn) -> Simulation:
    categories = draw(st.integers(1, 12))
    slots = draw(st.integers(1, 12))
    document: dict[str, Any] = {
        "seed": draw(st.integers(0, 2**64)),
        "users": draw(st.integers(1, 60)),
        "days": draw(st.integers(1, 40)),
        "start": draw(st.sampled_from(["2024-02-28", "2023-12-31", "1969-12-25"])),
        "assortment": {
            "items": draw(st.integers(max(10, slots, categories), 200)),
            "departments": draw(st.integers(1, categories)),
            "categories": categories,
            "lines": draw(st.integers(1, 8)),
            "zipf": draw(st.sampled_from([0, 0.9, 3])),
        },
        "habits": {
            "favourites": draw(st.integers(1, 20)),
            "favourite_lasts": draw(st.sampled_from(["1d", "9d", "300d"])),
            "repurchase": draw(st.sampled_from(["1d", "21d", "400d"])),
            "taste_shape": draw(st.sampled_from([1e-6, 0.5, 50.0])),
            "regularity": draw(st.sampled_from([0.1, 1.0, 100.0])),
        },
        "season": {"weekly": draw(st.sampled_from([[1] * 7, [0, 0, 0, 0, 0, 1, 1]]))},
        "page": {
            "slots": slots,
            "per_session": draw(st.sampled_from([1, 2.5, 4])),
            **dict(
                zip(
                    ("favourites", "popular"),
                    draw(st.sampled_from([(0, 0), (0.5, 0.3), (1, 0), (0.5, 0.5), (0, 1)])),
                    strict=True,
                )
            ),
            "explored": draw(st.sampled_from([0, 0.5, 1])),
        },
        "orders": {"late": draw(st.sampled_from([0, 0.3, 1])), "cancelled": draw(st.sampled_from([0, 0.3, 1]))},
        "complete": draw(st.booleans()),
    }
    if draw(st.booleans()):
        effects = {"click": draw(st.sampled_from([-0.5, 0.2])), "purchase": 0.1}
        arms = {"control": {"ratio": 0.25}, "treatment": {"ratio": 0.5, "slot": [0.4, 1], "effects": effects}}
        document["trial"] = {"seed": draw(st.sampled_from(["a:", "ü:"])), "arms": arms}
    return Simulation.model_validate(document)


@pytest.fixture(scope="module")
def shop() -> Made:
    return make(Simulation(users=300, days=60, complete=True, trial=TRIAL))


TRIAL: Any = {
    "start": "2024-01-15",
    "weeks": 4,
    "arms": {"control": {"ratio": 0.3}, "treatment": {"ratio": 0.3, "effects": {"click": 0.1}}},
}


@MAKE
@given(simulations())
def test_tables_have_the_columns_of_the_schema(simulation: Simulation) -> None:
    made = make(simulation)
    assert made.events.schema == schema.EVENTS
    assert made.items.schema == schema.ITEMS
    assert made.users.schema == schema.USERS
    assert made.exposures.schema == EXPOSURES
    assert made.impressions.schema == IMPRESSIONS
    assert len(made.users) == len(set(made.users["user_id"].to_pylist())) == simulation.users
    assert len(made.items) == len(set(made.items["item_id"].to_pylist())) == simulation.assortment.items
    assert made.items["category"].null_count == made.items["line_id"].null_count == 0
    nullable = {"item_id"}
    assert all(made.events[name].null_count == 0 for name in schema.EVENTS.names if name not in nullable)


@MAKE
@given(simulations())
def test_events_lie_in_the_span_and_are_known_when_they_happen_or_later(simulation: Simulation) -> None:
    events = make(simulation).events.to_pandas()
    assert (events.event_timestamp >= simulation.start).all()
    assert (events.event_timestamp < simulation.end).all()
    assert (events.created_timestamp >= events.event_timestamp).all()
    if not simulation.complete:
        assert (events.created_timestamp < simulation.end).all()
    on_time = events[events.event_type != "purchase"]
    assert (on_time.created_timestamp == on_time.event_timestamp).all()
    assert (on_time.quantity == 1).all()
    assert (on_time.value == 0).all()


@MAKE
@given(simulations())
def test_an_event_is_stated_once_or_a_second_time_as_cancelled(simulation: Simulation) -> None:
    events = make(simulation).events.to_pandas()
    same = ["event_id", "event_type", "user_id", "item_id", "session_id", "event_timestamp"]
    first = events[events.quantity > 0]
    again = events[events.quantity == 0]
    assert first.event_id.is_unique
    assert again.event_id.is_unique
    assert (again.event_type == "purchase").all()
    assert (again.value == 0).all()
    joined = again.merge(first, on=same, suffixes=("_again", "_first"))
    if simulation.complete:
        assert len(joined) == len(again)
    assert (joined.created_timestamp_again > joined.created_timestamp_first).all()
    bought = first[first.event_type == "purchase"]
    assert (bought.value > 0).all()
    assert (bought.quantity == bought.quantity.round()).all()


@MAKE
@given(simulations())
def test_every_step_follows_the_one_before_it_in_the_same_session(simulation: Simulation) -> None:
    made = make(simulation)
    events = made.events.to_pandas().drop_duplicates("event_id")
    events["request_id"] = events.event_id.str.rsplit("-", n=1).str[0]
    events["position"] = pd.to_numeric(events.event_id.str.rsplit("-", n=1).str[1].str[1:], errors="coerce")
    by_type = {name: events[events.event_type == name] for name in ("pageview", "click", "transfer", "purchase")}
    steps = [("click", "pageview", []), ("transfer", "click", ["item_id"]), ("purchase", "transfer", ["item_id"])]
    for later, earlier, more in steps:
        keys = ["request_id", "session_id", "user_id", *more]
        joined = by_type[later].merge(by_type[earlier], on=keys, suffixes=("", "_before"), validate="many_to_one")
        assert len(joined) == len(by_type[later])
        assert (joined.event_timestamp > joined.event_timestamp_before).all()
    shown = made.impressions.to_pandas()
    clicks = by_type["click"].merge(shown, on=["request_id", "position", "item_id"], validate="one_to_one")
    assert len(clicks) == len(by_type["click"])


@MAKE
@given(simulations())
def test_every_page_is_logged_with_all_slots_and_different_items(simulation: Simulation) -> None:
    made = make(simulation)
    exposures, shown, events = (table.to_pandas() for table in (made.exposures, made.impressions, made.events))
    pages = events[events.event_type == "pageview"]
    assert exposures.request_id.is_unique
    assert exposures.session_id.tolist() == pages.session_id.tolist()
    assert exposures.event_timestamp.tolist() == pages.event_timestamp.tolist()
    assert len(shown) == len(exposures) * simulation.page.slots
    assert not shown.duplicated(["request_id", "item_id"]).any()
    assert not shown.duplicated(["request_id", "position"]).any()
    assert set(shown.position.unique()) <= set(range(1, simulation.page.slots + 1))
    assert shown.item_id.isin(made.items["item_id"].to_pylist()).all()


@MAKE
@given(simulations())
def test_the_arm_is_the_one_of_the_hash_while_the_trial_runs(simulation: Simulation) -> None:
    made = make(simulation)
    trial, span = simulation.trial, simulation.trial_span()
    for row in made.exposures.to_pylist()[:200]:
        expected = None
        if trial is not None and span is not None and span[0] <= row["event_timestamp"] < span[1]:
            number = bucket(trial.seed, row["user_id"])
            arms = [name for name, (first, last) in trial.bucket_ranges().items() if first <= number < last]
            expected = arms[0] if arms else None
        assert row["arm"] == expected
        assert row["experiment"] == (trial.name if trial is not None and expected else None)


@MAKE
@given(simulations())
def test_the_same_declaration_gives_the_same_shop(simulation: Simulation) -> None:
    once, twice = make(simulation), make(simulation)
    assert once == twice


def test_another_seed_is_another_shop() -> None:
    one, other = make(Simulation(users=50, days=30)), make(Simulation(users=50, days=30, seed=2))
    assert one.events.num_rows != other.events.num_rows
    assert one.items != other.items


def test_a_block_does_not_depend_on_the_blocks_before_or_behind_it() -> None:
    few, more = (
        Simulation(users=USERS_PER_BLOCK + extra, days=3, page={"slots": 2}) for extra in (100, USERS_PER_BLOCK + 7)
    )
    alone = block_events(Shop(few), 0)
    assert alone == block_events(Shop(more), 0)
    whole = make(few).events
    assert whole.slice(0, len(alone)) == alone
    assert whole.slice(len(alone)) == block_events(Shop(few), 1)


def block_events(shop: Shop, block: int) -> pa.Table:
    rows = shop.rows(shop.users(block), block, Truth(shop.simulation))
    return pa.concat_tables([part.events for part in rows]).combine_chunks()


def test_without_exposures_the_events_are_the_same() -> None:
    with_them = make(Simulation(users=100, days=10))
    without = make(Simulation(users=100, days=10, exposures=False))
    assert with_them.events == without.events


def test_an_extract_leaves_out_what_becomes_known_after_its_end() -> None:
    complete = Simulation(users=300, days=30, complete=True, orders={"late": 0.5, "cancelled": 0.5})
    extract = complete.model_copy(update={"complete": False})
    everything, known = make(complete).events.to_pandas(), make(extract).events.to_pandas()
    expected = everything[everything.created_timestamp < complete.end].reset_index(drop=True)
    assert len(expected) < len(everything)
    pd.testing.assert_frame_equal(known, expected)


def test_users_who_join_come_from_that_day_on_and_others_from_the_start() -> None:
    joins = {"new": {"share": 1, "sessions_per_week": 5, "joins": True}}
    simulation = Simulation(users=2_000, days=100, segments=joins, season={"trend": 0, "yearly": 0})
    sessions = make(simulation).exposures.to_pandas().drop_duplicates("session_id")
    day = (sessions.event_timestamp - simulation.start) / timedelta(days=1)
    first, second = (day < 50).sum(), (day >= 50).sum()
    # A user who joins on day d shops on 100 - d days: a quarter of all sessions lie in the first half.
    assert first / (first + second) == pytest.approx(0.25, abs=0.03)


def test_prices_are_those_of_the_declaration(shop: Made) -> None:
    bought = newest(shop.events).query("event_type == 'purchase' and quantity > 0")
    price = (bought.value / bought.quantity).round(2).groupby(bought.item_id)
    assert (price.max() - price.min() <= 0.011).all()
    catalogue = Shop(Simulation(assortment={"items": 20_000})).catalogue
    logarithms = np.log(catalogue.price)
    assert np.exp(np.median(logarithms)) == pytest.approx(4, rel=0.3)
    assert np.std(logarithms) == pytest.approx(0.7, rel=0.2)


def test_arms_are_given_during_the_trial_only(shop: Made) -> None:
    exposures = shop.exposures.to_pandas()
    inside = exposures.event_timestamp.between(
        pd.Timestamp("2024-01-15", tz="UTC"), pd.Timestamp("2024-02-12", tz="UTC"), "left"
    )
    assert exposures[~inside].arm.isna().all()
    assert set(exposures[inside].arm.dropna()) == {"control", "treatment"}
    assert 0.5 < exposures[inside].arm.notna().mean() < 0.7
