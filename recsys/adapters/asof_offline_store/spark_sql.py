"""Which statements of Spark give what those of `sql` give on DuckDB?

Spark has no ASOF JOIN. Answers and questions are laid in one order of their clock, and a window hands each question the
last answer before it: one shuffle by key and one sort, whatever the length of a history.
"""

from recsys.adapters.asof_offline_store import sql
from recsys.adapters.asof_offline_store.parquet_source import Parquet
from recsys.adapters.asof_offline_store.sql import CLOCK, CREATED, EVENT, PLACE, Pull, Window

FILE: str = "__file"
"""The number of a row's file, in the order in which ties fall; PLACE is the row's number in it."""


def joined(source: Parquet, pull: Pull, window: Window | None) -> str:
    """SQL of the questions that have an answer: `row` and the features `f0…`.

    It reads the views `source` (the files, with FILE and PLACE) and `entity` (`row`, `asked_at`, `k0…`).
    """
    keys = sql.key_names(pull)
    partition = f"PARTITION BY {', '.join(keys)} " if keys else ""
    names = "".join(f"{key}, " for key in keys)
    features = [f"f{i}" for i in range(len(pull.features))]
    answer = f"named_struct('event', {EVENT}, {', '.join(f'{name!r}, {name}' for name in features)})"
    asked = " AND ".join(f"{column} IS NOT NULL" for column in [*keys, "asked_at"])
    only = f"LEFT SEMI JOIN (SELECT {', '.join(keys)} FROM entity) USING ({', '.join(keys)})" if keys else ""
    alive = f"AND answer.event >= asked_at - {pull.ttl}" if pull.ttl else ""
    return f"""
        WITH known AS ({_known_rows(source, pull, window)}),
        numbered AS (
            SELECT *, lead({CLOCK}) OVER ordered AS next_clock, max({EVENT}) OVER ordered AS newest
            FROM known {only}
            WINDOW ordered AS ({partition}ORDER BY {CLOCK}, {EVENT}, {CREATED} NULLS FIRST, {FILE}, {PLACE})),
        together AS (
            SELECT {names}{CLOCK} AS asked_at, CAST(NULL AS BIGINT) AS row, {answer} AS answer
            FROM numbered WHERE NOT next_clock <=> {CLOCK} AND {EVENT} >= newest
            UNION ALL
            SELECT {names}asked_at, row, NULL FROM entity WHERE {asked}),
        answered AS (
            SELECT row, asked_at, last(answer, true) OVER
                ({partition}ORDER BY asked_at, row NULLS FIRST ROWS UNBOUNDED PRECEDING) AS answer
            FROM together)
        SELECT row, {", ".join(f"answer.{name} AS {name}" for name in features)}
        FROM answered WHERE row IS NOT NULL AND answer IS NOT NULL {alive}
    """


def latest(source: Parquet, pull: Pull, start: int, end: int) -> str:
    """SQL of each key's newest row as known at `end`, if it happened or became known since `start`; as `sql.latest`."""
    since = None if pull.created_column else start
    keys = sql.key_names(pull)
    names = [
        *(f"{key} AS {_column(source, name)}" for key, (name, _) in zip(keys, pull.keys, strict=True)),
        *(f"f{i} AS {_column(source, name)}" for i, (name, _) in enumerate(pull.features)),
        f"timestamp_micros({EVENT}) AS {_column(source, pull.timestamp_field)}",
    ]
    if pull.tie_column:
        names.append(f"timestamp_micros({CREATED}) AS {_column(source, pull.tie_column)}")
    order = ", ".join(f"{column} DESC NULLS LAST" for column in (EVENT, CREATED, FILE, PLACE))
    partition = f"PARTITION BY {', '.join(keys)} " if keys else ""
    return f"""
        SELECT {", ".join(names)} FROM (
            SELECT *, row_number() OVER ({partition}ORDER BY {order}) AS number
            FROM ({_known_rows(source, pull, Window(since, end))}))
        WHERE number = 1 AND {CLOCK} >= {start}
    """


def _known_rows(source: Parquet, pull: Pull, window: Window | None) -> str:
    """SQL of the source's rows with both clocks, without nulls in keys or clocks; as `sql` has it for DuckDB."""
    event = _microseconds(source, pull.timestamp_field)
    tie = _microseconds(source, pull.tie_column) if pull.tie_column else "CAST(NULL AS BIGINT)"
    clock = f"greatest({event}, {_microseconds(source, pull.created_column)})" if pull.created_column else event
    columns = [
        *(f"{_column(source, name)} AS k{i}" for i, (name, _) in enumerate(pull.keys)),
        *(f"{_column(source, name)} AS f{i}" for i, (name, _) in enumerate(pull.features)),
        f"{event} AS {EVENT}",
        f"{tie} AS {CREATED}",
        f"{clock} AS {CLOCK}",
        FILE,
        PLACE,
    ]
    needed = [*(name for name, _ in pull.keys), pull.timestamp_field, pull.created_column]
    rules = [f"{_column(source, name)} IS NOT NULL" for name in needed if name]
    rules += _seen(source, pull, window) if window else []
    return f"SELECT {', '.join(columns)} FROM source WHERE {' AND '.join(rules)}"


def _seen(source: Parquet, pull: Pull, window: Window) -> list[str]:
    """Rules that keep the events of the window known at its end; scans can skip by them."""
    bounds: list[tuple[str, str, int]] = [(pull.timestamp_field, "<=", window.last)]
    if window.first is not None:
        bounds.append((pull.timestamp_field, ">=", window.first))
    if pull.created_column:
        bounds.append((pull.created_column, "<=", window.last))
    return [f"{_moment(source, name)} {operator} timestamp_micros({value})" for name, operator, value in bounds]


def _microseconds(source: Parquet, name: str) -> str:
    """A timestamp column as microseconds since 1970 in UTC; naive times are UTC."""
    source.microseconds(name)  # refuses what is no time
    return f"unix_micros({_moment(source, name)})"


def _moment(source: Parquet, name: str) -> str:
    """A timestamp column as Spark's own; where it is that already, a scan can skip row groups."""
    column = _column(source, name)
    return column if source.type_of(name) == "TIMESTAMP WITH TIME ZONE" else f"CAST({column} AS TIMESTAMP)"


def _column(source: Parquet, name: str) -> str:
    """The column that `name` is read from, as Spark quotes it."""
    plain = source.column(name)[1:-1].replace('""', '"')
    return "`" + plain.replace("`", "``") + "`"
