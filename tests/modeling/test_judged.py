"""Do the tables of a training set become what rankers are judged on, and are tables of two sets told apart?"""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.errors import ModelError
from recsys.modeling.judged import JudgedLists, JudgedUnits, judged
from recsys.schema import TIMESTAMP
from recsys.specs.problem import Problem

MONDAYS = [datetime(2017, 11, day, tzinfo=UTC) for day in (13, 20)]


def problem(**changes: Any) -> Problem:
    return Problem.model_validate(
        {
            "business_issue": "Households find too few of their usual products",
            "owners": {"product": "growth", "engineering": "ml"},
            "target": {"event": "purchase", "horizon": "7d"},
            "formulation": "ranking",
            "channels": {"feed": {"k": 10}},
        }
        | changes
    )


UNITS = problem(entity={"item": None}, formulation="classification", channels={"sms": {"capacity": 2}})


def list_tables() -> dict[str, pa.Table]:
    """Two test requests, the second without candidates; a training request stands between them."""
    return {
        "test": pa.table(
            {
                "request": pa.array([4, 4, 4], pa.int64()),
                "user_id": ["a", "a", "a"],
                "item_id": ["x", "y", "z"],
                "event_timestamp": pa.array([MONDAYS[0]] * 3, TIMESTAMP),
                "label": pa.array([1, 0, 1], pa.float32()),
                "item_row": pa.array([0, 1, 2], pa.int64()),
                "sources": pa.array([1, 3, 2], pa.int64()),
            }
        ),
        "requests": pa.table(
            {
                "part": ["test", "learn", "test"],
                "request": pa.array([7, 4, 4], pa.int64()),
                "user_id": ["b", "c", "a"],
                "event_timestamp": pa.array([MONDAYS[1], MONDAYS[0], MONDAYS[0]], TIMESTAMP),
                "relevant": pa.array([1, 9, 3], pa.float64()),
                "history": pa.array([0, None, 12], pa.int64()),
            }
        ),
        "taken": pa.table(
            {
                "request": pa.array([4, 4, 4, 7], pa.int64()),
                "item_id": ["x", "z", "w", "w"],
                "new": [True, False, None, True],
            }
        ),
        "items": pa.table(
            {"item_id": ["w", "x", "y", "z"], "segment": ["dairy", None, "dairy", "meat"], "buyers": [5, 0, 2, 1]}
        ),
    }


def unit_tables() -> dict[str, pa.Table]:
    return {
        "test": pa.table(
            {
                "request": pa.array([0, 0, 0, 1, 1], pa.int64()),
                "user_id": ["a", "b", "c", "a", "c"],
                "event_timestamp": pa.array([MONDAYS[0]] * 3 + [MONDAYS[1]] * 2, TIMESTAMP),
                "label": pa.array([1, 0, 0, 0, 1], pa.float32()),
                "item_row": pa.array([0, 1, 2, 0, 2], pa.int64()),
                "history": pa.array([3, 0, 1, 4, 1], pa.int64()),
            }
        ),
        "requests": pa.table(
            {
                "part": ["test", "test"],
                "request": pa.array([0, 1], pa.int64()),
                "user_id": pa.nulls(2, pa.string()),
                "event_timestamp": pa.array(MONDAYS, TIMESTAMP),
                "relevant": pa.array([2, 1], pa.float64()),
                "history": pa.nulls(2, pa.int64()),
            }
        ),
        "taken": pa.table({"request": pa.array([], pa.int64())}),
        "items": pa.table({"item_id": pa.array([], pa.string())}),
    }


def made(tables: Mapping[str, pa.Table], of: Problem) -> Any:
    return judged(
        of,
        tables["test"],
        tables["requests"],
        tables["taken"],
        tables["items"],
        units=10,
        pool_size=4,
        splits={"older": MONDAYS[:1], "newer": MONDAYS[1:]},
    )


def test_lists() -> None:
    found = made(list_tables(), problem())
    assert isinstance(found, JudgedLists)
    assert found.rows.request.tolist() == [0, 0, 0]
    assert found.item.tolist() == [1, 2, 3]
    assert found.sources is not None
    assert found.sources.tolist() == [1, 3, 2]
    assert found.users.tolist() == ["a", "b"]
    assert found.history.tolist() == [12, 0]
    assert found.relevant.tolist() == [3, 1]
    assert found.moments.tolist() == [time.replace(tzinfo=None) for time in MONDAYS]
    assert found.taken.request.tolist() == [0, 0, 0, 1]
    assert found.taken.item.tolist() == [1, 3, 0, 0]
    assert found.taken.new.tolist() == [True, False, False, True]
    assert found.items.segment.tolist() == ["dairy", None, "dairy", "meat"]
    assert found.items.buyers.tolist() == [5, 0, 2, 1]
    assert (found.items.units, found.items.pool_size) == (10, 4)
    assert list(found.splits) == ["older", "newer"]
    assert found.splits["older"] == [np.datetime64("2017-11-13", "us")]


def test_units() -> None:
    found = made(unit_tables(), UNITS)
    assert isinstance(found, JudgedUnits)
    assert found.users.tolist() == ["a", "b", "c", "a", "c"]
    assert found.history.tolist() == [3, 0, 1, 4, 1]
    assert found.relevant.tolist() == [2, 1]
    assert not found.measured
    amounts = problem(
        entity={"item": None},
        formulation="regression",
        channels={"sms": {"capacity": 2}},
        target={"event": "purchase", "horizon": "7d", "measure": "amount"},
    )
    assert made(unit_tables(), amounts).measured


def test_tables_may_be_files(tmp_path: Path) -> None:
    tables = list_tables()
    for name, table in tables.items():
        pq.write_table(table, tmp_path / f"{name}.parquet")
    paths = [tmp_path / f"{name}.parquet" for name in ("test", "requests", "taken", "items")]
    found = judged(problem(), *paths, units=10, pool_size=4)
    assert isinstance(found, JudgedLists)
    assert found.relevant.tolist() == [3, 1]


def test_sources_may_be_missing() -> None:
    tables = list_tables()
    assert made(tables | {"test": tables["test"].drop_columns(["sources"])}, problem()).sources is None


def changed(name: str, column: str, values: list[Any]) -> dict[str, pa.Table]:
    tables = list_tables()
    table = tables[name]
    place = table.column_names.index(column)
    return tables | {name: table.set_column(place, column, pa.array(values, table.schema.field(column).type))}


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (changed("test", "request", [4, 4, 5]), "test rows: request 5 is not among the 2 test requests"),
        (changed("test", "request", [7, 4, 4]), "request numbers descend"),
        (changed("test", "item_id", ["x", "y", "q"]), "test rows: item 'q' is not in the table of items"),
        (changed("taken", "item_id", ["x", "z", "q", "w"]), "taken items: item 'q' is not in the table of items"),
        (changed("taken", "request", [4, 4, 8, 7]), "taken items: request 8 is not among the 2 test requests"),
        (changed("requests", "relevant", [2, 9, 3]), "test request 1: relevant is 2, and 1 items were taken"),
    ],
)
def test_tables_that_do_not_belong_together_are_told(tables: dict[str, pa.Table], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        made(tables, problem())
