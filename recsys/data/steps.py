"""Which periods of a feature table are due, and what belongs into each?

The table grows by whole periods, as if it had been built at the end of every one of them with what was known then:
several periods are made at once where nothing about earlier ones became known in between. So the same rows, with the
same `created_timestamp`, come out of one build over a year and out of fifty-two weekly ones.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from recsys.data.knowledge import known, literal
from recsys.errors import DataError
from recsys.ports import Engine, FeatureTable, Step
from recsys.schema import CREATED_TIMESTAMP, EVENT_TIMESTAMP

SAME_SHARE: Final = 1e-9
"""Two floats that differ by less than this share of the larger are the same: the order of a sum is no change."""

ANCHOR: Final = datetime(1970, 1, 5, tzinfo=UTC)
"""A Monday: periods end at whole multiples of their length after it."""

# Names of columns that stand beside features for a while; a feature may have any other.
_EARLIEST: Final = "recsys_earliest"
_FOUND: Final = "recsys_found"
_NEWEST: Final = "recsys_newest_"
_RANK: Final = "recsys_rank"

# The period in which something happened ends at number `happened`; the first end at which it was known is `known`.
_LATE: Final = """
with numbered as (
    select cast(floor((epoch({event}) - {anchor}) / {period}) as bigint) + 1 as happened,
           cast(ceil((epoch({created}) - {anchor}) / {period}) as bigint) as known
    from events)
select distinct known from numbered where known > happened order by known
"""
_LAST_KNOWN: Final = f"select max(greatest({CREATED_TIMESTAMP}, {EVENT_TIMESTAMP})) as newest from events"
_SPAN: Final = "select min({event}) as first, max({created}) as last from events"


def last_period(engine: Engine, events: Path, period: timedelta) -> datetime:
    """Return the end of the last period that is over, by what the events say: the newest one's may still be running.

    Raises:
        DataError: if there are no events, or all of them are of one period that is not over.
    """
    span = engine.query(_SPAN.format(event=EVENT_TIMESTAMP, created=CREATED_TIMESTAMP), {"events": events})
    first, last = span["first"][0].as_py(), span["last"][0].as_py()
    if first is None or period_end(last, period) <= first:
        found = "no events" if first is None else f"events from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}"
        message = (
            f"feature tables: {found}: no period of {period.days} days is over yet; bring more history in with"
            " `recsys ingest`"
        )
        raise DataError(message)
    return period_end(last, period)


def last_known(engine: Engine, events: Path) -> datetime:
    """Return when the newest event became known, or happened where that is said to be later.

    Raises:
        DataError: if there are no events.
    """
    newest: datetime | None = engine.query(_LAST_KNOWN, {"events": events})["newest"][0].as_py()
    if newest is None:
        message = "feature tables: no events yet; bring history in with `recsys ingest`"
        raise DataError(message)
    return newest


def due_steps(
    engine: Engine, events: Path, period: timedelta, after: datetime | None, until: datetime
) -> Sequence[Step]:
    """Return the steps that lead a table from one period's end to a later one.

    Args:
        engine: counts late events.
        events: parquet of `schema.EVENT_TABLE`.
        period: the table's.
        after: up to where it is made; None when it is empty.
        until: the end of the last period to make.
    """
    sql = _LATE.format(
        event=EVENT_TIMESTAMP,
        created=CREATED_TIMESTAMP,
        anchor=int(ANCHOR.timestamp()),
        period=int(period.total_seconds()),
    )
    late = [ANCHOR + number * period for number in engine.query(sql, {"events": events})["known"].to_pylist()]
    steps = []
    done = after
    for end in late:
        if (done is not None and end <= done) or end > until:
            continue
        before = end - period
        if done is None or before > done:
            steps.append(Step(done, before))
            done = before
        steps.append(Step(done, end, restates=True))
        done = end
    if done is None or done < until:
        steps.append(Step(done, until))
    return steps


def inputs_of(events: Any, table: FeatureTable, step: Step) -> Any:  # noqa: ANN401 - Ibis tables
    """Return the events that a step's transform reads: as known at its end, of those for whom something may be new."""
    there = known(events, step.until)
    if step.after is None:
        return there
    unit = table.keys[0]
    active_since = step.after - table.period * (table.active_periods - 1)
    new = (events[CREATED_TIMESTAMP] <= literal(step.until)) & (
        (events[CREATED_TIMESTAMP] > literal(step.after)) | (events[EVENT_TIMESTAMP] >= literal(active_since))
    )
    return there.semi_join(events.filter(new).select(unit).distinct(), unit)


def new_rows(made: Any, existing: Any | None, events: Any, table: FeatureTable, step: Step) -> Any:  # noqa: ANN401
    """Return what a step appends: rows of its periods, and other versions of earlier rows that changed.

    Args:
        made: what the transform made, as an Ibis table.
        existing: the rows of earlier steps, or None when there are none.
        events: the event table.
        table: keys and period.
        step: which periods.

    Returns:
        The rows with `created_timestamp`, columns in the order of `made`.
    """
    columns = list(made.columns)
    made = _named(made, table)
    at = made[EVENT_TIMESTAMP]
    in_time = made.mutate(**{CREATED_TIMESTAMP: at.cast("timestamp('UTC')")})
    if step.after is None:
        return in_time
    fresh = in_time.filter(at > literal(step.after))
    if not step.restates or existing is None:
        return fresh
    unit = table.keys[0]
    late = events.filter(
        (events[CREATED_TIMESTAMP] > literal(step.after))
        & (events[CREATED_TIMESTAMP] <= literal(step.until))
        & (events[EVENT_TIMESTAMP] < literal(step.after))
    )
    earliest = late.group_by(unit).aggregate(**{_EARLIEST: late[EVENT_TIMESTAMP].min()})
    touched = made.filter(at <= literal(step.after)).join(earliest, unit)
    touched = touched.filter(touched[EVENT_TIMESTAMP] > touched[_EARLIEST]).select(*columns)
    # Only the newest version of a row is compared: a row that returns to an earlier value has changed too.
    changed = _other(touched, newest_versions(existing.semi_join(earliest, unit), table), table).select(*columns)
    return fresh.union(changed.mutate(**{CREATED_TIMESTAMP: literal(step.until)}))


def _other(rows: Any, newest: Any, table: FeatureTable) -> Any:  # noqa: ANN401 - Ibis tables
    """Return the rows that are not in `newest`, or stand there with other features."""
    place = [*table.keys, EVENT_TIMESTAMP]
    features = {_NEWEST + name: newest[name] for name in rows.columns if name not in place}
    joined = rows.left_join(newest.select(*place, **{_FOUND: True}, **features), place)
    differs = joined[_FOUND].isnull()
    for name in features:
        differs |= _differs(joined[name.removeprefix(_NEWEST)], joined[name])
    return joined.filter(differs)


def _differs(value: Any, other: Any) -> Any:  # noqa: ANN401 - Ibis values
    """Compare features: null is a value, and floats are the same within SAME_SHARE."""
    import ibis

    differs = ~value.identical_to(other)
    if value.type().is_floating():
        far = (value - other).abs() / ibis.greatest(value.abs(), other.abs()).nullif(0) > SAME_SHARE
        differs &= far.fill_null(True)
    return differs


def _named(rows: Any, table: FeatureTable) -> Any:  # noqa: ANN401 - Ibis tables
    """Return the rows whose keys are known: a purchase may be of no item, and then nobody can ask for its row."""
    return rows.filter([rows[key].notnull() for key in table.keys])


def newest_versions(rows: Any, table: FeatureTable) -> Any:  # noqa: ANN401 - Ibis tables
    """Return the newest version of every row."""
    import ibis

    newest = ibis.window(group_by=[*table.keys, EVENT_TIMESTAMP], order_by=ibis.desc(CREATED_TIMESTAMP))
    ranked = rows.mutate(**{_RANK: ibis.row_number().over(newest)})
    return ranked.filter(ranked[_RANK] == 0).drop(_RANK)


def newest_rows(made: Any, table: FeatureTable) -> Any:  # noqa: ANN401 - Ibis tables
    """Return the newest row of every key."""
    import ibis

    newest = ibis.window(group_by=list(table.keys), order_by=ibis.desc(EVENT_TIMESTAMP))
    ranked = _named(made, table).mutate(**{_RANK: ibis.row_number().over(newest)})
    return ranked.filter(ranked[_RANK] == 0).drop(_RANK)


def period_end(moment: datetime, period: timedelta) -> datetime:
    """Return the end of the last period that was over at a moment."""
    return ANCHOR + ((moment - ANCHOR) // period) * period
