"""How many events, users and visits reach each stage, and what did each user do up to each day?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.ports import Engine
from recsys.problem.chain import CHAINED
from recsys.problem.rows import Span, Stages, moment
from recsys.schema import QUANTITY, SESSION, USER, VALUE

Measure = Literal["event", "count", "amount"]
"""What is counted at the last stage: events, their quantity or their value."""

_FEWEST_DAYS: Final = 3
_GRID: Final = 10


@dataclass(frozen=True)
class StageTotals:
    """What happened at one stage, in one segment."""

    events: int
    """That followed, of units that entered in the span."""
    loose: int
    """In the span, that came without the stage before: never, too late or without a session."""
    late: int
    """Of them, those before which it came, but too long ago."""
    all_events: int
    """In the span, that followed or not."""
    value: float
    """Of all events in the span."""
    passed: tuple[tuple[int, float], ...]
    """Of the last stage: events in the span that each stage before it came before, and their value."""


@dataclass(frozen=True)
class UnitTable:
    """One row a unit that entered; every array is [units]."""

    entry_day: NDArray[np.int64]
    """Whole days from the start to the unit's first entry."""
    days: tuple[int, ...]
    """Up to which days the columns below are told; the last is all of the span."""
    counts: NDArray[np.float64]
    """What each unit did, (stages, days, units): events, or what the problem measures at the last stage."""
    visits: NDArray[np.float64]
    """Its visits, (days, units); 1 from its entry on where sessions do not count."""
    counts_before: NDArray[np.float64]
    """What it did in the pre-period, (stages, units)."""
    visits_before: NDArray[np.float64]
    """Its visits in the pre-period."""


@dataclass(frozen=True)
class Counted:
    """A segment's counts; the segment is '' where all is counted together."""

    segment: str
    totals: tuple[StageTotals, ...]
    users: tuple[int, ...]
    """Users that reached each stage."""
    visits: tuple[int, ...] | None
    """Sessions that did; None where sessions do not count."""
    units: UnitTable


def day_grid(days: int) -> tuple[int, ...]:
    """Return the days at which counts are looked at, from a few to all."""
    first = min(_FEWEST_DAYS, days)
    return tuple(int(day) for day in np.unique(np.round(np.geomspace(first, days, _GRID))))


def count(
    engine: Engine, chained: pa.Table | Path, stages: Stages, span: Span, *, measure: Measure, once: bool
) -> list[Counted]:
    """Count what `chained_sql` gave, by segment.

    Args:
        engine: runs the SQL.
        chained: a table of it, or parquet.
        stages: of the funnel.
        span: which part of the log.
        measure: of the last stage.
        once: whether a unit counts once in a stage, whatever it does: where units are selected.

    Returns:
        A segment each, by its name.
    """
    tables = {CHAINED: chained}
    totals = engine.query(_totals_sql(stages, span), tables)
    sessions = engine.query(_sessions_sql(stages, span), tables) if stages.window is None else None
    days = day_grid(span.days)
    units = engine.query(_units_sql(stages, span, days, measure), tables)
    found = []
    for segment in sorted(set(totals["segment"].to_pylist())):
        of = [table.filter(pc.equal(table["segment"], segment)) for table in (totals, units)]
        visits = None
        if sessions is not None:
            (row,) = sessions.filter(pc.equal(sessions["segment"], segment)).to_pylist() or [{}]
            visits = tuple(int(row.get(f"reached_{number}", 0)) for number in range(len(stages.names)))
        reached = tuple(
            int(pc.sum(pc.greater(of[1][f"all_{number}"], 0)).as_py() or 0) for number in range(len(stages.names))
        )
        found.append(
            Counted(segment, _stage_totals(of[0], stages), reached, visits, _unit_table(of[1], stages, days, once))
        )
    return found


def _counted(span: Span) -> str:
    return f"entered >= {moment(span.start)} and entered < {moment(span.until)}"


def _totals_sql(stages: Stages, span: Span) -> str:
    inside = f"happened >= {moment(span.start)}"
    passed = ", ".join(
        f"count(*) filter ({inside} and passed_{number}) as passed_{number},"
        f" coalesce(sum({VALUE}) filter ({inside} and passed_{number}), 0) as passed_value_{number}"
        for number in range(stages.final)
    )
    return f"""
select segment, stage, count(*) filter ({_counted(span)}) as events,
       count(*) filter ({inside} and entered is null) as loose,
       count(*) filter ({inside} and entered is null and earlier) as late, count(*) filter ({inside}) as all_events,
       coalesce(sum({VALUE}) filter ({inside}), 0) as value, {passed}
from {CHAINED} group by segment, stage
"""


def _sessions_sql(stages: Stages, span: Span) -> str:
    """Return SQL of the sessions that reached each stage: a unit's events of one session id."""
    numbers = range(len(stages.names))
    flags = ", ".join(f"bool_or(stage = {number}) as stage_{number}" for number in numbers)
    sums = ", ".join(f"count(*) filter (stage_{number}) as reached_{number}" for number in numbers)
    return f"""
select segment, {sums} from (
    select segment, {flags} from {CHAINED} where {_counted(span)} group by segment, {USER}, {SESSION})
group by segment
"""


def _units_sql(stages: Stages, span: Span, days: Sequence[int], measure: Measure) -> str:
    final = {"event": "1", "count": QUANTITY, "amount": VALUE}[measure]
    counted, before = _counted(span), f"entered >= {moment(span.covariate)} and happened < {moment(span.start)}"
    parts = []
    for number in range(len(stages.names)):
        what = final if number == stages.final else "1"
        parts.append(f"count(*) filter (stage = {number} and {counted}) as all_{number}")
        parts.append(_sum(what, f"stage = {number} and {before}", f"before_{number}"))
        parts += [
            _sum(what, f"stage = {number} and {counted} and {_up_to(span, day)}", f"count_{number}_{day}")
            for day in days
        ]
    parts += [_sum("1", f"opens and {counted} and {_up_to(span, day)}", f"visits_{day}") for day in days]
    parts.append(_sum("1", f"opens and {before}", "visits_before"))
    entry = f"min(date_diff('microsecond', {moment(span.start)}, entered)) filter (stage = 0 and {counted})"
    return f"""
select segment, {USER}, {entry} // 86400000000 as entry_day, {", ".join(parts)}
from {CHAINED} group by segment, {USER} order by segment, {USER}
"""


def _sum(what: str, condition: str, name: str) -> str:
    return f"coalesce(sum({what}) filter ({condition}), 0)::double as {name}"


def _up_to(span: Span, day: int) -> str:
    return f"entered < {moment(span.start)} + to_days({day})"


def _stage_totals(rows: pa.Table, stages: Stages) -> tuple[StageTotals, ...]:
    by_stage = {row["stage"]: row for row in rows.to_pylist()}
    found = []
    for number in range(len(stages.names)):
        row = by_stage.get(number, {})
        last = number == stages.final
        passed = tuple(
            (int(row.get(f"passed_{each}", 0)), float(row.get(f"passed_value_{each}", 0.0))) for each in range(number)
        )
        names = ("events", "loose", "late", "all_events")
        counts = {name: int(row.get(name, 0)) for name in names}
        found.append(StageTotals(**counts, value=float(row.get("value", 0.0)), passed=passed if last else ()))
    return tuple(found)


def _unit_table(rows: pa.Table, stages: Stages, days: tuple[int, ...], once: bool) -> UnitTable:
    """Return the units that entered; by a unit's window also those that were there in the pre-period, from day 0 on."""
    was_there = pc.greater(rows["before_0"], 0)
    entered = pc.is_valid(rows["entry_day"])
    if stages.any_event:
        entered = pc.or_(entered, was_there)
    rows = rows.filter(entered)
    day = _values(rows["entry_day"].fill_null(0)).astype(np.int64)
    if stages.any_event:
        day = np.where(_values(rows["before_0"]) > 0, 0, day)
    shorten: Callable[[NDArray[np.float64]], NDArray[np.float64]] = (
        (lambda x: np.minimum(x, 1.0)) if once else (lambda x: x)
    )
    numbers = range(len(stages.names))
    counts = [[shorten(_values(rows[f"count_{number}_{each}"])) for each in days] for number in numbers]
    if stages.window is None:
        visits = [_values(rows[f"visits_{each}"]) for each in days]
        visits_before = _values(rows["visits_before"])
    else:
        visits = [(day < each).astype(np.float64) for each in days]
        visits_before = (_values(rows["before_0"]) > 0).astype(np.float64)
    return UnitTable(
        entry_day=day,
        days=days,
        counts=np.array(counts).reshape(len(stages.names), len(days), len(day)),
        visits=np.array(visits).reshape(len(days), len(day)),
        counts_before=np.array([shorten(_values(rows[f"before_{number}"])) for number in numbers]),
        visits_before=visits_before,
    )


def _values(column: pa.ChunkedArray) -> NDArray[np.float64]:
    return np.asarray(column.to_numpy(), dtype=np.float64)
