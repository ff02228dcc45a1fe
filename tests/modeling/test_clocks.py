"""Do the clocks say what the definition says, row by row?"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys.adapters.duckdb_engine import DuckDBEngine
from recsys.modeling.clocks import RULES, matched_rows, reached, same_values, where_from
from recsys.ports import ViewInfo
from recsys.schema import CREATED_TIMESTAMP, EVENT_TIMESTAMP, ITEM, QUANTITY, TIMESTAMP, USER
from recsys.specs.environment import Limits
from tests.events import write_events

DAY = timedelta(days=1)
START = datetime(2024, 1, 1, tzinfo=UTC)
PROPERTY = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def view(ttl: timedelta | None) -> ViewInfo:
    """Describe a view of one feature by user and item."""
    return ViewInfo("pair", (USER, ITEM), ("times",), {"times": "number"}, ttl)


def rows(*entities: tuple[str, str, int], **more: Any) -> pa.Table:
    """Make entity rows: user, item, and days after the start."""
    return pa.table(
        {
            USER: pa.array([user for user, _, _ in entities], pa.string()),
            ITEM: pa.array([item for _, item, _ in entities], pa.string()),
            EVENT_TIMESTAMP: pa.array([START + day * DAY for _, _, day in entities], TIMESTAMP),
            **more,
        }
    )


def table(folder: Path, features: list[tuple[str, str, int, int, float]]) -> Path:
    """Write feature rows: user, item, days of event and knowledge, value."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        USER: pa.array([row[0] for row in features], pa.string()),
        ITEM: pa.array([row[1] for row in features], pa.string()),
        "times": pa.array([row[4] for row in features], pa.float64()),
        EVENT_TIMESTAMP: pa.array([START + row[2] * DAY for row in features], TIMESTAMP),
        CREATED_TIMESTAMP: pa.array([START + row[3] * DAY for row in features], TIMESTAMP),
    }
    pq.write_table(pa.table(content), folder / "part.parquet")
    return folder


keys = st.tuples(st.sampled_from("uv"), st.sampled_from("ab"))
days = st.integers(0, 12)
feature_rows = st.lists(
    st.tuples(keys, days, st.integers(0, 6)), min_size=1, max_size=14, unique_by=lambda row: (row[0], row[1], row[2])
)


@given(st.lists(st.tuples(keys, days), min_size=1, max_size=8), feature_rows, st.sampled_from([None, 0, 2, 5]))
@PROPERTY
def test_what_matches_is_the_newest_row_that_was_known(
    tmp_path: Path, entities: list[Any], features: list[Any], ttl: int | None
) -> None:
    known = [(u, i, at, at + late, float(n)) for n, ((u, i), at, late) in enumerate(features)]
    asked = [(u, i, at) for (u, i), at in entities]

    def by_definition(user: str, item: str, at: int) -> float | None:
        live = [
            (event, created, value)
            for u, i, event, created, value in known
            if (u, i) == (user, item) and event <= at and created <= at and (not ttl or event >= at - ttl)
        ]
        return max(live)[2] if live else None

    engine = DuckDBEngine(Limits(threads=1, memory="200MB"), tmp_path / "spill")
    declared = view(None if ttl is None else ttl * DAY)
    matched = matched_rows(engine, rows(*asked), declared, table(tmp_path / "pair", known))
    assert matched["times"].to_pylist() == [by_definition(*entity) for entity in asked]


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (1.0, RULES[0]),  # older than the newest known one
        (0.0, RULES[1]),  # past the TTL
        (3.0, RULES[2]),  # known on day 11
        (4.0, RULES[3]),  # of day 12
        (9.0, None),  # nowhere
    ],
)
def test_a_value_is_traced_to_the_row_it_is_of(tmp_path: Path, value: float, rule: str | None) -> None:
    known = [("u", "a", 1, 1, 0.0), ("u", "a", 7, 7, 1.0), ("u", "a", 8, 8, 2.0), ("u", "a", 9, 11, 3.0)]
    folder = table(tmp_path / "pair", [*known, ("u", "a", 12, 12, 4.0), ("v", "a", 8, 8, 9.0)])
    engine = DuckDBEngine(Limits(threads=1, memory="200MB"), tmp_path / "spill")
    asked = rows(("u", "a", 10), times=pa.array([value]))
    assert where_from(engine, asked, view(5 * DAY), folder, ["times"]) == [rule]


def test_a_label_is_reached_by_what_is_left_of_the_event(tmp_path: Path) -> None:
    def event(number: str, day: int, known: int, quantity: float = 1.0) -> dict[str, Any]:
        return {
            "event_id": number,
            "event_type": "purchase",
            USER: "u",
            ITEM: "a",
            QUANTITY: quantity,
            EVENT_TIMESTAMP: START + day * DAY,
            CREATED_TIMESTAMP: START + known * DAY,
        }

    path = write_events(
        tmp_path / "events.parquet", [event("1", 3, 3), event("1", 3, 6, 0.0), event("2", 12, 12), event("3", 20, 40)]
    )
    engine = DuckDBEngine(Limits(threads=1, memory="200MB"), tmp_path / "spill")
    asked = rows(("u", "a", 1), ("u", "a", 3), ("u", "a", 5), ("u", "a", 12), ("u", "b", 5), ("u", "a", 14))
    for known, wanted in ((5, [1, 0, 0, 0, 0, 0]), (30, [0, 0, 1, 0, 0, 0]), (40, [0, 0, 1, 0, 0, 1])):
        found = reached(engine, asked, path, "purchase", 7 * DAY, START + known * DAY)
        assert found.to_pylist() == [bool(one) for one in wanted]


def test_unknown_values_are_equal_to_each_other() -> None:
    nan, nat = float("nan"), np.datetime64("NaT", "us")
    moment = np.datetime64("2024-01-01", "us")
    assert same_values(np.array([nan, 1.0, nan]), np.array([nan, 1.0, 2.0])).tolist() == [True, True, False]
    assert same_values(np.array([nat, moment]), np.array([nat, nat])).tolist() == [True, False]
    assert same_values(np.array(["a", "b"], object), np.array(["a", "c"], object)).tolist() == [True, False]
    assert same_values(np.array([1.0]), np.array([1.0 + 1e-12]), 1e-9).tolist() == [True]
