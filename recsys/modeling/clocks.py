"""What should a training row know? Three clocks, read anew and without the join that made it.

The definition, word by word: of a view's rows with the entity's keys, `event_timestamp` <= t and
`created_timestamp` <= t, not older than the TTL, the one with the newest event_timestamp, and of equal ones the newest
created_timestamp. An aggregate over all pairs says so directly; it is slower than a join that walks both sides in
order, and shares no code with it.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys.ports import Engine, ViewInfo
from recsys.schema import CREATED_TIMESTAMP, EVENT_TIMESTAMP, ITEM, TIMESTAMP, USER
from recsys.specs.problem import Target

ROW: Final = "row_number"

_MATCHED: Final = """
with wanted as (select distinct {keys}, t from rows),
matched as (
    select {keys}, w.t, unnest(max_by(
        {{{fields}}}, (f.event_timestamp, f.created_timestamp)))
    from wanted w join feature_rows f using ({keys})
    where f.event_timestamp <= w.t {known} {alive}
    group by {keys}, w.t)
select {columns} from rows r left join matched m on {same} and r.t = m.t order by r.{row}
"""

RULES: Final = (
    "an older row than the newest known one",
    "a row older than the view's TTL",
    "a row that became known after the decision time",
    "a row of after the decision time",
)

_ORIGIN: Final = """
select r.{row}, min(case when f.event_timestamp > r.t then 3 when f.created_timestamp > r.t then 2
                         when not ({alive}) then 1 when f.event_timestamp is not null then 0 end) as rule
from rows r left join feature_rows f on {joined} and {equal}
group by r.{row} order by r.{row}
"""

_LABELS: Final = """
with versions as (
    select *, row_number() over (partition by event_id order by created_timestamp desc) as version
    from events where created_timestamp <= timestamptz '{known_at}' and event_type = '{event}'),
taken as (
    select {keys}, event_timestamp, quantity, value from versions
    where version = 1 and quantity > 0 and {named})
select r.{row}, count(t.event_timestamp) > 0 as reached,
       coalesce(sum(cast(t.quantity as decimal(18, 6))), 0)::double as count,
       coalesce(sum(cast(t.value as decimal(18, 2))), 0)::double as amount
from rows r left join taken t on {same}
  and t.event_timestamp > r.t and t.event_timestamp <= r.t + interval {horizon} second
group by r.{row} order by r.{row}
"""


def matched_rows(engine: Engine, rows: pa.Table, view: ViewInfo, table: Path, *, known_then: bool = True) -> pa.Table:
    """Return what a view says of each row by the definition.

    Args:
        engine: runs the query.
        rows: the view's join keys and `event_timestamp`.
        view: keys, features and TTL.
        table: the folder of its feature table.
        known_then: whether only what was known at the row's time counts; all that is known today otherwise.

    Returns:
        One row a row: the view's features, event_timestamp and created_timestamp of what matched; null where nothing.
    """
    columns = [*view.features, EVENT_TIMESTAMP, CREATED_TIMESTAMP]
    sql = _MATCHED.format(
        keys=", ".join(view.join_keys),
        fields=", ".join(f"'m_{name}': f.{name}" for name in columns),
        columns=", ".join(f"m.m_{name} as {name}" for name in columns),
        same=" and ".join(f"r.{key} = m.{key}" for key in view.join_keys),
        known="and f.created_timestamp <= w.t" if known_then else "",
        alive=f"and {_alive(view)}",
        row=ROW,
    )
    return engine.query(sql, {"rows": _asked(rows, view.join_keys), "feature_rows": table})


def where_from(
    engine: Engine, rows: pa.Table, view: ViewInfo, table: Path, features: Sequence[str]
) -> Sequence[str | None]:
    """Say which row of a view's table the given values are of, where it is not the one of the definition.

    Args:
        engine: runs the query.
        rows: the view's join keys, `event_timestamp` and values of `features`.
        view: keys, features and TTL.
        table: the folder of its feature table.
        features: what is compared.

    Returns:
        A rule that was broken for each row, or None where no row of the table has these values.
    """
    sql = _ORIGIN.format(
        joined=" and ".join(f"r.{key} = f.{key}" for key in view.join_keys),
        equal=" and ".join(f"f.{name} is not distinct from r.{name}" for name in features),
        alive=_alive(view).replace("w.t", "r.t"),
        row=ROW,
    )
    asked = _asked(rows, [*view.join_keys, *features])
    found = engine.query(sql, {"rows": asked, "feature_rows": table})["rule"].to_pylist()
    return [None if rule is None else RULES[rule] for rule in found]


def reached(
    engine: Engine, rows: pa.Table, events: Path, event: str, horizon: timedelta, known_at: datetime
) -> pa.ChunkedArray:
    """Return whether each row's unit had an event in (t, t + horizon], as known at a moment; with its item, if any."""
    return _happened(engine, rows, events, event, horizon, known_at)["reached"]


def labels_anew(engine: Engine, rows: pa.Table, events: Path, target: Target, known_at: datetime) -> pa.ChunkedArray:
    """Return what each row's label should be: 0 or 1, or the quantity or amount that the target measures (float64)."""
    found = _happened(engine, rows, events, target.event, target.horizon, known_at)
    return found["reached"].cast(pa.float64()) if target.measure == "event" else found[target.measure]


def _happened(
    engine: Engine, rows: pa.Table, events: Path, event: str, horizon: timedelta, known_at: datetime
) -> pa.Table:
    """Return reached, count and amount of each row; rows without an item are of everything their unit did."""
    keys = [name for name in (USER, ITEM) if name in rows.column_names]
    asked = rows.select(keys).append_column("t", rows[EVENT_TIMESTAMP])
    sql = _LABELS.format(
        event=event.replace("'", "''"),
        known_at=known_at.isoformat(),
        horizon=_seconds(horizon),
        keys=", ".join(keys),
        named=" and ".join(f"{key} is not null" for key in keys),
        same=" and ".join(f"r.{key} = t.{key}" for key in keys),
        row=ROW,
    )
    return engine.query(sql, {"rows": numbered(asked), "events": events})


def numbered(rows: pa.Table) -> pa.Table:
    """Number the rows, so that a query can give them back in their order."""
    return rows.append_column(ROW, pa.array(range(len(rows)), pa.int64()))


def same_values(left: NDArray[Any], right: NDArray[Any], tolerance: float = 0.0) -> NDArray[np.bool_]:
    """Compare two columns value by value; unknown values (NaN, NaT) are equal to each other.

    Args:
        left: as `to_numpy` gives them.
        right: of the same kind.
        tolerance: absolute and relative, of numbers.
    """
    if left.dtype.kind == "f":
        return np.asarray(np.isclose(left, right, rtol=tolerance, atol=tolerance, equal_nan=True))
    if left.dtype.kind == "M":
        return np.asarray((left == right) | (np.isnat(left) & np.isnat(right)))
    return np.asarray(left == right, dtype=np.bool_)


def _asked(rows: pa.Table, columns: Sequence[str]) -> pa.Table:
    moments = rows[EVENT_TIMESTAMP].cast(TIMESTAMP)
    return numbered(rows.select(list(columns)).append_column("t", moments))


def _alive(view: ViewInfo) -> str:
    if view.ttl is None or view.ttl <= timedelta(0):
        return "true"
    return f"f.event_timestamp >= w.t - interval {_seconds(view.ttl)} second"


def _seconds(length: timedelta | None) -> int:
    return 0 if length is None else int(length.total_seconds())
