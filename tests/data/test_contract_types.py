"""Is a delivery read with the columns and types of the house, and what cannot be is named?"""

from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.data.contract import typed_sql
from recsys.errors import DataError
from recsys.schema import EVENTS, ITEMS
from tests.data.judged import AT, event, reasons
from tests.fakes.engine import FakeEngine

REQUIRED = ("event_id", "event_type", "user_id", "event_timestamp", "created_timestamp")
OPTIONAL = {"item_id": None, "session_id": None, "quantity": 1.0, "value": 0.0}


def typed(table: pa.Table, wanted: pa.Schema = EVENTS, required: tuple[str, ...] = REQUIRED) -> pa.Table:
    """Read a delivered table with the columns and types of the house."""
    return FakeEngine().query(typed_sql("events", table.schema, wanted, required), {"events": table})


def delivered(**columns: pa.Array) -> pa.Table:
    """Return one delivered event, some of its columns of other types."""
    table = pa.Table.from_pylist([event()], EVENTS)
    for name, values in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, values)
    return table


class TestTypes:
    """What is delivered, as the house reads it."""

    @pytest.mark.parametrize("name", REQUIRED)
    def test_a_missing_column_is_named(self, name: str) -> None:
        """Beside those that are there."""
        with pytest.raises(DataError, match=rf"events: column {name} \((text|time)\) is missing; it has .*quantity"):
            typed(delivered().drop_columns([name]))

    @pytest.mark.parametrize("name", OPTIONAL)
    def test_an_optional_column_may_be_absent(self, name: str) -> None:
        """One thing was done, for nothing, nowhere in particular."""
        table = typed(delivered().drop_columns([name]))
        assert table.schema == EVENTS
        assert table.to_pylist() == [event(**{name: OPTIONAL[name]})]

    def test_other_columns_are_left_out(self) -> None:
        """The order is the house's."""
        table = delivered().append_column("note", pa.array(["mine"]))
        assert typed(table.select(list(reversed(table.column_names)))).schema == EVENTS

    @pytest.mark.parametrize(
        ("name", "values", "kind"),
        [
            ("user_id", pa.array([7]), "text"),
            ("event_timestamp", pa.array(["2024-01-03"]), "time"),
            ("created_timestamp", pa.array([1_704_283_200]), "time"),
            ("event_timestamp", pa.array([AT.date()]), "time"),
            ("quantity", pa.array(["1"]), "number"),
            ("value", pa.array([True]), "number"),
            ("value", pa.array([[1.0]]), "number"),
            ("event_id", pa.array([b"e"]), "text"),
        ],
    )
    def test_a_column_of_another_kind_is_named(self, name: str, values: pa.Array, kind: str) -> None:
        """With its type and what it has to be: nothing is guessed."""
        with pytest.raises(DataError, match=rf"column {name}: .*; it has to be a {kind}: convert it"):
            typed(delivered(**{name: values}))

    @pytest.mark.parametrize(
        ("name", "values"),
        [
            ("user_id", pa.array(["u"]).dictionary_encode()),
            ("user_id", pa.array(["u"], pa.large_string())),
            ("user_id", pa.array(["u"], pa.string_view())),
            ("quantity", pa.array([1], pa.int8())),
            ("quantity", pa.array([1], pa.uint64())),
            ("value", pa.array([2.0], pa.float32())),
            ("value", pa.array([Decimal("2.00")])),
            ("event_timestamp", pa.array([AT.replace(tzinfo=None)], pa.timestamp("us"))),
            ("event_timestamp", pa.array([AT.replace(tzinfo=None)], pa.timestamp("ns"))),
            ("event_timestamp", pa.array([AT.replace(tzinfo=None)], pa.timestamp("ms"))),
            ("event_timestamp", pa.array([AT.replace(tzinfo=None)], pa.timestamp("s"))),
            ("event_timestamp", pa.array([AT], pa.timestamp("ns", tz="UTC"))),
            ("created_timestamp", pa.array([AT], pa.timestamp("ms", tz="America/New_York"))),
        ],
        ids=lambda value: value if isinstance(value, str) else str(value.type),
    )
    def test_other_types_of_the_same_kind_are_read(self, tmp_path: Path, name: str, values: pa.Array) -> None:
        """From parquet and from Arrow; a time without a zone is UTC."""
        table = delivered(**{name: values})
        pq.write_table(table, tmp_path / "events.parquet")
        for given_table in (table, tmp_path / "events.parquet"):
            found = FakeEngine().query("select * from events limit 0", {"events": given_table}).schema
            read = FakeEngine().query(typed_sql("events", found, EVENTS, REQUIRED), {"events": given_table})
            assert read.schema == EVENTS
            assert read.to_pylist() == [event()]

    def test_a_column_of_nothing_is_null(self) -> None:
        """An optional one means nothing; of a required one every row is refused."""
        table = typed(delivered(item_id=pa.nulls(1), user_id=pa.nulls(1)))
        assert table.schema == EVENTS
        assert reasons(*table.to_pylist()) == ["user_id is missing"]


def test_a_catalogue_needs_its_key_only() -> None:
    table = typed(pa.table({"item_id": ["a"], "brand": ["b"]}), ITEMS, ("item_id",))
    assert table.schema == ITEMS
    assert table.to_pylist()[0] == dict.fromkeys(ITEMS.names) | {"item_id": "a", "brand": "b"}
