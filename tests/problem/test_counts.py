"""Are events, users and visits those that a plain reading of the log counts?"""

import tempfile
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.adapters.duckdb_engine import DuckDBEngine
from recsys.errors import DataError
from recsys.problem.chain import chained_sql
from recsys.problem.counts import Counted, count, day_grid
from recsys.problem.rows import SEEN, Segments, Stages, span_of, with_items
from recsys.specs.environment import Limits
from tests.problem.naive import DAY, STAGES, START, Row, event, read, span, table

ENGINE = DuckDBEngine(Limits(memory="500MB", threads=1), Path(tempfile.gettempdir()) / "funnel-tests")
SESSION = Stages(STAGES, None)
WINDOW = Stages(STAGES, timedelta(days=1))


def counted(rows: list[Row], stages: Stages = SESSION, *, once: bool = False) -> list[Counted]:
    within = span(stages)
    chained = ENGINE.query(chained_sql(stages, within), {"events": table(rows)})
    return count(ENGINE, chained, stages, within, measure="event", once=once)


@st.composite
def logs(draw: st.DrawFn) -> list[Row]:
    kinds = st.tuples(
        st.sampled_from([*STAGES, "other"]),
        st.integers(0, 23).map(lambda place: place * 6.0),
        st.sampled_from(["u1", "u2"]),
        st.sampled_from(["s1", "s2", None]),
        st.sampled_from([1.0, 1.0, 1.0, 0.0]),
        st.sampled_from([0.0, 2.0, 5.0]),
    )
    drawn = draw(st.lists(kinds, min_size=1, max_size=25))
    return [
        event(number, kind, hours, user_id=user, session_id=session, quantity=quantity, value=value)
        for number, (kind, hours, user, session, quantity, value) in enumerate(drawn)
    ]


@settings(max_examples=50)
@given(rows=logs(), stages=st.sampled_from([SESSION, WINDOW]))
def test_counts_are_those_of_a_naive_reading(rows: list[Row], stages: Stages) -> None:
    wanted = read(rows, stages, span(stages))
    found = counted(rows, stages)
    if not found:
        assert not any(wanted.events)
        return
    (of,) = found
    assert [total.events for total in of.totals] == wanted.events
    assert list(of.users) == wanted.users
    assert (None if of.visits is None else list(of.visits)) == wanted.visits
    assert [total.loose for total in of.totals] == wanted.loose
    assert [value for _, value in of.totals[-1].passed] == wanted.value_after
    assert of.totals[-1].value == wanted.value


@settings(max_examples=25)
@given(rows=logs(), stages=st.sampled_from([SESSION, WINDOW]))
def test_stages_are_nested(rows: list[Row], stages: Stages) -> None:
    for of in counted(rows, stages):
        for reached in filter(None, (of.users, of.visits)):
            assert list(reached) == sorted(reached, reverse=True)


@settings(max_examples=25)
@given(rows=logs(), stages=st.sampled_from([SESSION, WINDOW]), data=st.data())
def test_neither_the_order_of_rows_nor_duplicates_matter(rows: list[Row], stages: Stages, data: st.DataObject) -> None:
    again = data.draw(st.lists(st.sampled_from(rows), max_size=5))
    shuffled = data.draw(st.permutations([*rows, *again]))
    for one, other in zip(counted(rows, stages), counted(shuffled, stages), strict=True):
        assert (one.totals, one.users, one.visits) == (other.totals, other.users, other.visits)
        assert np.array_equal(np.sort(one.units.counts, axis=2), np.sort(other.units.counts, axis=2))


def test_events_out_of_order_are_no_funnel() -> None:
    rows = [event(1, "order", 30), event(2, "click", 31), event(3, "view", 32)]
    (of,) = counted(rows)
    assert of.users == (1, 0, 0)
    assert [total.loose for total in of.totals] == [0, 1, 1]


def test_repeated_events_count_each_and_their_visit_once() -> None:
    rows = [event(1, "view", 30), event(2, "click", 31), event(3, "click", 31.5), event(4, "order", 32)]
    (of,) = counted(rows)
    assert [total.events for total in of.totals] == [1, 2, 1]
    assert of.visits == (1, 1, 1)


def test_a_later_session_leads_to_nothing_but_a_window_may() -> None:
    rows = [event(1, "view", 30), event(2, "click", 40, session_id="s2"), event(3, "order", 41, session_id="s2")]
    assert counted(rows)[0].users == (1, 0, 0)
    assert counted(rows, WINDOW)[0].users == (1, 1, 1)


def test_the_window_counts_from_the_latest_entry_and_what_is_too_late_is_told() -> None:
    late = [event(1, "view", 30), event(2, "click", 31), event(3, "order", 30 + 24.5)]
    (of,) = counted(late, WINDOW)
    assert of.users == (1, 1, 0)
    assert (of.totals[2].loose, of.totals[2].late) == (1, 1)
    renewed = [*late, event(4, "view", 40), event(5, "click", 41)]
    assert counted(renewed, WINDOW)[0].users == (1, 1, 1)


def test_who_enters_when_the_window_is_still_open_is_left_out() -> None:
    rows = [event(1, "view", 24 + 73), event(2, "click", 24 + 74)]
    assert counted(rows, WINDOW)[0].users == (0, 0, 0)
    assert counted(rows)[0].users == (1, 1, 0)


def test_only_what_was_known_is_used_in_its_version_of_then() -> None:
    order = event(3, "order", 32, value=4.0)
    cancelled = {**order, "quantity": 0.0, "value": 0.0, "created_timestamp": START + 3 * DAY}
    rows = [event(1, "view", 30), event(2, "click", 31), order | {"superseded_timestamp": START + 3 * DAY}, cancelled]
    assert counted(rows)[0].users == (1, 1, 0)
    early = span_of(SESSION, START + DAY, START + 4 * DAY, START + 2 * DAY, covariate_weeks=0, settle=timedelta(0))
    chained = ENGINE.query(chained_sql(SESSION, early), {"events": table(rows)})
    (of,) = count(ENGINE, chained, SESSION, early, measure="event", once=False)
    assert of.users == (1, 1, 1)


def test_what_a_unit_did_is_told_up_to_each_day_and_in_the_pre_period() -> None:
    rows = [event(1, "view", 2, session_id="s0"), event(2, "click", 3, session_id="s0")]
    rows += [event(10 + day, "view", 24 * day + 1, session_id=f"s{day}") for day in (1, 2, 4)]
    rows += [event(20 + day, "click", 24 * day + 2, session_id=f"s{day}") for day in (1, 4)]
    (of,) = counted(rows)
    assert of.units.days == (3, 4)
    assert of.units.counts[1].tolist() == [[1.0], [2.0]]
    assert of.units.visits.tolist() == [[2.0], [3.0]]
    assert (of.units.counts_before[1].tolist(), of.units.visits_before.tolist()) == ([1.0], [1.0])


def test_where_units_are_selected_each_counts_once() -> None:
    rows = [event(1, "view", 30), event(2, "click", 31), event(3, "click", 32)]
    (of,) = counted(rows, WINDOW, once=True)
    assert of.units.counts[1, -1].tolist() == [1.0]


def test_without_a_funnel_any_event_enters_and_who_was_there_before_is_there_from_the_start() -> None:
    stages = Stages((SEEN, "order"), timedelta(days=1))
    rows = [event(1, "view", 2, user_id="u1"), event(2, "view", 50, user_id="u2"), event(3, "order", 51, user_id="u2")]
    (of,) = counted(rows, stages)
    assert sorted(of.units.entry_day.tolist()) == [0, 1]
    assert sorted(of.units.counts[1, -1].tolist()) == [0.0, 1.0]


def test_quantity_and_value_are_measured_where_the_problem_says_so() -> None:
    rows = [event(1, "view", 30), event(2, "click", 31), event(3, "order", 32, quantity=3.0, value=7.5)]
    within = span(SESSION)
    chained = ENGINE.query(chained_sql(SESSION, within), {"events": table(rows)})
    measured = [
        count(ENGINE, chained, SESSION, within, measure=measure, once=False)[0].units.counts[2, -1].tolist()
        for measure in ("event", "count", "amount")
    ]
    assert measured == [[1.0], [3.0], [7.5]]


def test_segments_of_users_and_items_add_up() -> None:
    rows = [event(1, "view", 30, item_id=None), event(2, "click", 31), event(3, "click", 32, item_id="i2")]
    rows += [event(4, "view", 30, item_id=None, user_id="u2"), event(5, "order", 33, item_id="i2")]
    users = pa.table({"user_id": ["u1"], "age": ["old"]})
    items = pa.table({"item_id": ["i1", "i2"], "brand": ["a", "b"]})
    by_age = chained_sql(SESSION, span(SESSION), Segments("age", "users"))
    found = count(
        ENGINE,
        ENGINE.query(by_age, {"events": table(rows), "users": users}),
        SESSION,
        span(SESSION),
        measure="event",
        once=False,
    )
    assert {of.segment: of.users for of in found} == {"old": (1, 1, 1), "(unknown)": (1, 0, 0)}
    part = with_items(SESSION, [0, 2, 1])
    by_brand = chained_sql(part, span(part), Segments("brand", "items"))
    found = count(
        ENGINE,
        ENGINE.query(by_brand, {"events": table(rows), "items": items}),
        part,
        span(part),
        measure="event",
        once=False,
    )
    assert {of.segment: of.users for of in found} == {"a": (1, 0), "b": (1, 1)}


def test_a_span_without_a_whole_day_and_items_without_events_are_refused() -> None:
    with pytest.raises(DataError, match="no whole day is left before the end once what follows has 1 day to come"):
        span(WINDOW, days=1.5)
    with pytest.raises(DataError, match="no event order has an item_id"):
        with_items(SESSION, [0, 4, 0])


def test_days_looked_at_end_with_the_last() -> None:
    assert day_grid(1) == (1,)
    assert day_grid(90)[0] == 3
    assert day_grid(90)[-1] == 90
