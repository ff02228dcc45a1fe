"""Which SQL gives, for each entity row, the newest feature row that was known at its time?

Two clocks decide: a feature row counts at time t when it had happened (`event`) and was known (`created`) by t.
DuckDB's ASOF JOIN compares one clock only, so rows are put in the order of `greatest(event, created)` and a row stays
only if its event is the newest so far in that order: then the last row whose clock is <= t is also the newest event
known at t, and one ASOF JOIN finds it.

All times in here are whole microseconds since 1970 in UTC.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from recsys.adapters.asof_offline_store.parquet_source import Parquet, quoted

EVENT: Final = "__event"
CREATED: Final = "__created"
CLOCK: Final = "__clock"
PLACE: Final = "__place"
"""Ties in both clocks fall to the later file and row: a join gives the same rows every time."""
_PLACE_SQL: Final = f"(CAST(file_index AS BIGINT) << 40) + file_row_number AS {PLACE}"
_MICROSECOND: Final = timedelta(microseconds=1)
_MOST: Final = 2**62
"""Beyond it, in either direction, DuckDB knows no times."""


@dataclass(frozen=True)
class Pull:
    """What one feature view asks for."""

    keys: tuple[tuple[str, str], ...]
    """(key column of the source, key column of the entity table), possibly none."""
    features: tuple[tuple[str, str], ...]
    """(feature name, output name)."""
    timestamp_field: str
    created_column: str | None
    """None: nothing is cut off by when it was known."""
    tie_column: str | None
    """Created column that breaks ties, cut-off or not."""
    ttl: int | None
    """Microseconds; None: no limit."""


@dataclass(frozen=True)
class Window:
    """First and last moment that is asked about; None is the beginning of time."""

    first: int | None
    last: int

    def with_ttl(self, ttl: int | None) -> "Window":
        """The events that the times of this window can see."""
        seen = None if ttl is None or self.first is None else self.first - ttl
        return Window(seen if seen is not None and seen > -_MOST else None, self.last)


def history(source: Parquet, pull: Pull, window: Window | None, *, asked: str | None = None) -> str:
    """SQL of the rows that can be an answer: keys `k0…`, `__event`, `__clock` and features `f0…`.

    At most one row a key and clock, and never one that a newer event was known before.

    Args:
        source: the files.
        pull: what to read of them.
        window: oldest event that any time asked for can see, and the last such time.
        asked: name of a relation of the keys asked for (`k0…`); others are dropped early.
    """
    keys = key_names(pull)
    order = f"{CLOCK}, {EVENT}, {CREATED} NULLS FIRST, {PLACE}"
    partition = f"PARTITION BY {', '.join(keys)} " if keys else ""
    semi = f"SEMI JOIN {asked} USING ({', '.join(keys)})" if asked and keys else ""
    features = [f"f{i}" for i in range(len(pull.features))]
    return f"""
        SELECT {", ".join([*keys, EVENT, CLOCK, *features])}
        FROM ({_known_rows(source, pull, window)}) {semi}
        WINDOW known AS ({partition}ORDER BY {order})
        QUALIFY lead({CLOCK}) OVER known IS DISTINCT FROM {CLOCK}
            AND {EVENT} >= max({EVENT}) OVER known
    """


def asof(pull: Pull, probe: str, answers: str) -> str:
    """SQL that pairs each row of `probe` (`k0…`, `asked_at`) with its row of `answers`, if any.

    The TTL is inclusive: an event exactly `ttl` old still counts.
    """
    keys = [f"probe.{key} = answer.{key}" for key in key_names(pull)]
    on = " AND ".join([*keys, f"probe.asked_at >= answer.{CLOCK}"])
    features = "".join(f", answer.f{i}" for i in range(len(pull.features)))
    alive = f"WHERE answer.{EVENT} >= probe.asked_at - {pull.ttl}" if pull.ttl else ""
    return f"SELECT probe.*{features} FROM {probe} probe ASOF JOIN {answers} answer ON {on} {alive}"


def latest(source: Parquet, pull: Pull, start: int, end: int) -> str:
    """SQL of each key's newest row as known at `end`, if it happened or became known since `start`.

    Columns carry the source's own names; timestamps are UTC.
    """
    # A row that became known late has an old event: a limit on events would never let it go online.
    since = None if pull.created_column else start
    keys = key_names(pull)
    names = [
        *(f"{key} AS {source.column(name)}" for key, (name, _) in zip(keys, pull.keys, strict=True)),
        *(f"f{i} AS {source.column(name)}" for i, (name, _) in enumerate(pull.features)),
        f"make_timestamptz({EVENT}) AS {source.column(pull.timestamp_field)}",
    ]
    if pull.tie_column:
        names.append(f"make_timestamptz({CREATED}) AS {source.column(pull.tie_column)}")
    order = ", ".join(f"{c} DESC" for c in (EVENT, CREATED, PLACE))
    partition = f"PARTITION BY {', '.join(keys)} " if keys else ""
    known = _known_rows(source, pull, Window(since, end))
    if keys and start > 0:
        # Of a week's increment few keys changed: only their past has to be ordered.
        changed = f"SELECT {', '.join(keys)} FROM ({known}) WHERE {CLOCK} >= {start}"
        known = f"SELECT * FROM ({known}) SEMI JOIN ({changed}) USING ({', '.join(keys)})"
    return f"""
        SELECT {", ".join(names)}
        FROM ({known})
        QUALIFY row_number() OVER ({partition}ORDER BY {order}) = 1 AND {CLOCK} >= {start}
    """


def moments(source: Parquet, pull: Pull, window: Window) -> str:
    """SQL of each key and moment of the window at which a row of the source began to count.

    Columns carry the names of the entity table: its keys and `event_timestamp` (microseconds).
    """
    keys = [f"k{i} AS {quoted(name)}" for i, (_, name) in enumerate(pull.keys)]
    columns = ", ".join([*keys, f"{CLOCK} AS event_timestamp"])
    known = _known_rows(source, pull, Window(None, window.last))
    return f"SELECT DISTINCT {columns} FROM ({known}) WHERE {CLOCK} BETWEEN {window.first} AND {window.last}"


def within(source: Parquet, columns: Sequence[str], timestamp_field: str, start: int | None, end: int | None) -> str:
    """SQL of the columns of all rows whose event lies within [start, end], as the files have them."""
    rules = [f"{source.microseconds(timestamp_field)} IS NOT NULL"]
    rules += [] if start is None else [_compare(source, timestamp_field, ">=", start)]
    rules += [] if end is None else [_compare(source, timestamp_field, "<=", end)]
    names = ", ".join(source.column(name) for name in columns)
    return f"SELECT {names} FROM {source.relation} WHERE {' AND '.join(rules)}"


def key_names(pull: Pull) -> list[str]:
    """Names of the key columns inside the queries."""
    return [f"k{i}" for i in range(len(pull.keys))]


def microseconds(value: datetime | timedelta) -> int:
    """A moment (naive ones are UTC) or a duration as whole microseconds."""
    if isinstance(value, datetime):
        value = (value if value.tzinfo else value.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    return value // _MICROSECOND


def _known_rows(source: Parquet, pull: Pull, window: Window | None) -> str:
    """SQL of the source's rows with both clocks, without nulls in keys or clocks."""
    event = source.microseconds(pull.timestamp_field)
    tie = source.microseconds(pull.tie_column) if pull.tie_column else "NULL"
    clock = f"greatest({event}, {source.microseconds(pull.created_column)})" if pull.created_column else event
    columns = [
        *(f"{source.column(name)} AS k{i}" for i, (name, _) in enumerate(pull.keys)),
        *(f"{source.column(name)} AS f{i}" for i, (name, _) in enumerate(pull.features)),
        f"{event} AS {EVENT}",
        f"{tie} AS {CREATED}",
        f"{clock} AS {CLOCK}",
        _PLACE_SQL,
    ]
    needed = [*(name for name, _ in pull.keys), pull.timestamp_field, pull.created_column]
    rules = [f"{source.column(name)} IS NOT NULL" for name in needed if name]
    if window:
        rules += _seen(source, pull, window)
    return f"SELECT {', '.join(columns)} FROM {source.relation} WHERE {' AND '.join(rules)}"


def _seen(source: Parquet, pull: Pull, window: Window) -> list[str]:
    """Rules that keep the events of the window known at its end; scans can skip by them."""
    rules = [_compare(source, pull.timestamp_field, "<=", window.last)]
    if window.first is not None:
        rules.append(_compare(source, pull.timestamp_field, ">=", window.first))
    if pull.created_column:
        rules.append(_compare(source, pull.created_column, "<=", window.last))
    return rules


def _compare(source: Parquet, name: str, operator: str, value: int) -> str:
    """Compare the column itself where its type allows: only then can a scan skip row groups."""
    made = {"TIMESTAMP": "make_timestamp", "TIMESTAMP WITH TIME ZONE": "make_timestamptz"}.get(source.type_of(name))
    column = source.microseconds(name)  # refuses what is no time
    return f"{source.column(name)} {operator} {made}({value})" if made else f"{column} {operator} {value}"


def families(names: Sequence[str]) -> set[str]:
    """Families of DuckDB key types: keys of different families can never be meant to be equal."""
    texts, numbers = (
        ("VARCHAR", "ENUM", "BLOB", "UUID"),
        ("INT", "DECIMAL", "DOUBLE", "FLOAT", "HUGE"),
    )
    return {
        "text" if name.startswith(texts) else "number" if any(part in name for part in numbers) else name
        for name in names
    }
