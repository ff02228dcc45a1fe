"""Does each rule of the contract refuse what it names, with its name, and nothing else?"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.contract import REASON, judged_rows_sql
from recsys.schema import (
    CREATED_TIMESTAMP,
    EVENT_ID,
    EVENT_TABLE,
    EVENT_TIMESTAMP,
    EVENTS,
    ITEMS,
    SUPERSEDED_TIMESTAMP,
)
from tests.data.judged import AT, HOUR, LATEST, Row, event, judge, reasons
from tests.events import event_table
from tests.fakes.engine import FakeEngine

REQUIRED = ("event_id", "event_type", "user_id", "event_timestamp", "created_timestamp")


class TestRules:
    """One event, one rule."""

    def test_a_good_event_is_accepted(self) -> None:
        """At the edges of the ranges as well."""
        for changes in ({}, {"quantity": 0.0, "value": 0.0}, {"quantity": 100_000.0}, {"created_timestamp": LATEST}):
            assert reasons(event(**changes)) == [None]

    @pytest.mark.parametrize("name", REQUIRED)
    def test_what_has_to_be_there(self, name: str) -> None:
        """The reason names the column."""
        assert reasons(event(**{name: None})) == [f"{name} is missing"]

    @pytest.mark.parametrize("name", ["item_id", "session_id"])
    def test_what_may_be_missing(self, name: str) -> None:
        """A mailed campaign has neither."""
        assert reasons(event(**{name: None})) == [None]

    @pytest.mark.parametrize("value", [-0.01, 10.5, float("nan"), float("inf"), float("-inf"), None])
    @pytest.mark.parametrize("name", ["quantity", "value"])
    def test_ranges(self, name: str, value: float | None) -> None:
        """NaN is in no range."""
        found = reasons(event(quantity=0.0, value=0.0) | {name: value}, maximum_quantity=10, maximum_value=10)
        assert found == [f"{name} is missing or not in 0 to 10"]

    def test_event_types(self) -> None:
        """Any by default; a name may hold an apostrophe."""
        odd = event(event_type="o'neill")
        assert reasons(odd) == [None]
        assert reasons(odd, event_types=("purchase", "o'neill")) == [None]
        for declared in (("purchase",), ()):
            assert reasons(odd, event_types=declared) == ["event_type is not in the contract"]

    def test_nothing_is_known_before_it_happened(self) -> None:
        """Not by a microsecond."""
        instant = timedelta(microseconds=1)
        assert reasons(event(created_timestamp=AT - instant)) == ["known before it happened"]

    def test_nothing_is_known_in_the_future(self) -> None:
        """Unless past data is replayed."""
        late = event(created_timestamp=LATEST + timedelta(microseconds=1))
        assert reasons(late) == ["known in the future"]
        assert reasons(late, latest=None) == [None]

    def test_the_first_rule_counts(self) -> None:
        """One row has one reason."""
        assert reasons(event(user_id=None, quantity=-1.0, created_timestamp=AT - HOUR)) == ["user_id is missing"]


class TestVersions:
    """All rows of one event."""

    def test_a_version_restates_quantity_value_and_session(self) -> None:
        """Each says when the next became known."""
        rows = judge(
            event(created_timestamp=AT + 2 * HOUR, quantity=0.0, session_id=None),
            event(),
            event(created_timestamp=AT + HOUR, value=9.0),
            event(event_id="other"),
        )
        assert [row[REASON] for row in rows] == [None] * 4
        ends = [row[SUPERSEDED_TIMESTAMP] for row in rows if row[EVENT_ID] == "e"]
        assert ends == [AT + HOUR, AT + 2 * HOUR, None]
        assert [row[SUPERSEDED_TIMESTAMP] for row in rows if row[EVENT_ID] == "other"] == [None]

    @pytest.mark.parametrize(
        "changes",
        [
            {"event_timestamp": AT - HOUR},
            {"user_id": "v"},
            {"item_id": "j"},
            {"item_id": None},
            {"event_type": "mailed"},
        ],
    )
    def test_another_time_user_item_or_type_is_another_event(self, changes: Row) -> None:
        """The version that was known first stays."""
        first, second = judge(event(created_timestamp=AT + HOUR, **changes), event())
        assert (first[REASON], first[SUPERSEDED_TIMESTAMP]) == (None, None)
        assert second[REASON] == "restates another time, user, item or type"

    def test_items_that_both_are_missing_are_the_same(self) -> None:
        """Null is a value here."""
        assert reasons(event(item_id=None), event(item_id=None, created_timestamp=AT + HOUR)) == [None, None]

    def test_one_row_a_version(self) -> None:
        """Of copies one stays, the same in every order of delivery."""
        rows = [event(quantity=2.0), event(quantity=3.0), event(quantity=1.0)]
        for order in (rows, rows[::-1]):
            found = judge(*order)
            assert [row[REASON] for row in found] == [None] + ["the same version of an event twice"] * 2
            assert found[0]["quantity"] == 3.0

    def test_what_is_refused_is_no_version(self) -> None:
        """It supersedes nothing, and what comes after it is compared with the first accepted."""
        rows = judge(
            event(user_id="v", quantity=-1.0, created_timestamp=AT),
            event(created_timestamp=AT + HOUR),
            event(quantity=-1.0, created_timestamp=AT + 2 * HOUR),
            event(quantity=0.0, created_timestamp=AT + 3 * HOUR),
        )
        assert [row[REASON] is None for row in rows] == [False, True, False, True]
        assert [row[SUPERSEDED_TIMESTAMP] for row in rows] == [None, AT + 3 * HOUR, None, None]

    @settings(max_examples=50)
    @given(
        st.lists(
            st.fixed_dictionaries(
                {
                    "event_id": st.sampled_from(["a", "b", None]),
                    "user_id": st.sampled_from(["u", "v", None]),
                    "item_id": st.sampled_from(["i", "j", None]),
                    "quantity": st.sampled_from([0.0, 1.0, -1.0, float("nan")]),
                    "created_timestamp": st.integers(-1, 4).map(lambda hours: AT + hours * HOUR),
                }
            ),
            max_size=8,
        )
    )
    def test_counts_add_up_and_versions_follow_one_another(self, changes: list[Mapping[str, Any]]) -> None:
        """No row is lost or doubled; what is accepted is what a reader of versions would make of it."""
        rows = [event(**change) for change in changes]
        judged = judge(*rows)
        assert sorted(map(_shown, judged)) == sorted(map(_shown, rows))
        accepted = [row for row in judged if row[REASON] is None]
        without = [{name: row[name] for name in EVENTS.names} for row in accepted]
        by_hand = event_table(without).to_pylist()
        assert sorted(map(_shown_all, by_hand)) == sorted(map(_shown_all, accepted))
        assert len({(row[EVENT_ID], row[CREATED_TIMESTAMP]) for row in accepted}) == len(accepted)
        same = {(row[EVENT_ID], row[EVENT_TIMESTAMP], row["user_id"], row["item_id"]) for row in accepted}
        assert len({row[EVENT_ID] for row in accepted}) == len(same)


def _shown(row: Mapping[str, Any]) -> str:
    return " ".join(str(row[name]) for name in EVENTS.names)


def _shown_all(row: Mapping[str, Any]) -> str:
    return " ".join(str(row[name]) for name in EVENT_TABLE.names)


def test_a_catalogue_has_each_key_once() -> None:
    rows = [{"item_id": "a", "brand": "x"}, {"item_id": "a", "brand": "b"}, {"item_id": None}, {"item_id": "c"}]
    sql = judged_rows_sql("select * from items", "item_id", ITEMS.names)
    for order in (rows, rows[::-1]):
        judged = FakeEngine().query(sql, {"items": pa.Table.from_pylist(order, ITEMS)}).to_pylist()
        found = sorted((str(row["item_id"]), row["brand"], row[REASON]) for row in judged if row["item_id"] == "a")
        assert found == [("a", "b", None), ("a", "x", "item_id twice")]
        assert {row[REASON] for row in judged if row["item_id"] is None} == {"item_id is missing"}
        assert len(judged) == len(rows)
