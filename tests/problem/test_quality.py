"""Is everything of a raw log that does not count told with its reason?"""

import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from recsys.adapters.duckdb_engine import DuckDBEngine
from recsys.problem.demand import demand
from recsys.problem.quality import dropped
from recsys.problem.rows import Stages
from recsys.specs.environment import Limits
from tests.problem.naive import DAY, STAGES, START, event, span, table

ENGINE = DuckDBEngine(Limits(memory="500MB", threads=1), Path(tempfile.gettempdir()) / "funnel-tests")
SESSION = Stages(STAGES, None)


def test_each_reason_has_its_rows(tmp_path: Path) -> None:
    rows = [event(1, "view", 30), event(1, "view", 30), event(2, "view", 31, session_id=None)]
    rows += [event(3, "click", 31, user_id=None), event(4, "click", 31, event_timestamp=None)]
    rows += [event(5, "click", 31, quantity=None), event(6, "click", 31, created_timestamp=START + 100 * DAY)]
    rows += [event(7, "order", 32, quantity=0.0), event(8, "order", 33), event(9, "order", 34, value=3.0)]
    pq.write_table(table(rows), tmp_path / "events.parquet")
    found = dropped(ENGINE, tmp_path / "events.parquet", SESSION, span(SESSION))
    assert [(each.stage, each.rows, each.read, each.why.partition(":")[0]) for each in found] == [
        ("view", 1, 3, "the same event again"),
        ("view", 1, 3, "no session"),
        ("click", 3, 4, "no id, user, time or quantity"),
        ("click", 1, 4, "another version of it counts, or it became known later"),
        ("order", 1, 3, "quantity is 0"),
        ("order", 1, 3, "no value"),
    ]


def test_events_that_never_have_a_value_are_not_told(tmp_path: Path) -> None:
    pq.write_table(table([event(1, "order", 32)]), tmp_path / "events.parquet")
    assert dropped(ENGINE, tmp_path / "events.parquet", SESSION, span(SESSION)) == ()


def test_demand_is_a_mean_over_whole_horizons(tmp_path: Path) -> None:
    rows = [event(1, "order", 25), event(2, "order", 26, item_id="i2"), event(3, "order", 27, user_id="u2")]
    rows += [event(4, "order", 49, item_id=None), event(5, "order", 50, quantity=0.0), event(1, "order", 25)]
    pq.write_table(table(rows), tmp_path / "events.parquet")
    found = demand(ENGINE, tmp_path / "events.parquet", "order", span(SESSION), DAY)
    assert found.units == pytest.approx(3 / 4)
    assert found.items == pytest.approx(3 / 2)
