"""How are the answers of several feature views put beside the entity rows?

Each view is joined by one query. Where many rows ask the same (a user's slate), each distinct question is answered
once; the answers are then put at their rows by number, so order and duplicates stay.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa

from recsys.adapters.asof_offline_store import sql
from recsys.adapters.asof_offline_store.connection import arrow, explained
from recsys.adapters.asof_offline_store.entity_rows import EntityRows
from recsys.adapters.asof_offline_store.parquet_source import Parquet, parquet
from recsys.adapters.asof_offline_store.view_plan import ViewPlan
from recsys.errors import FeatureError

DISTINCT_SHARE: Final = 0.6
"""Below this share of distinct (key, time) pairs it pays to join each pair once."""

FEW: Final = 4
"""With this many rows of history for each question, it pays to look first at which keys are asked for."""


def join(
    connection: duckdb.DuckDBPyConnection, plans: list[ViewPlan], entities: EntityRows, repo_path: str
) -> pa.Table:
    """The entity rows with the features of all views, in their order.

    Raises:
        FeatureError: a source's files are missing, damaged or of another schema than declared.
    """
    result, window = entities.table, entities.window()
    for plan in plans:
        if not plan.pull.features:
            continue
        source = parquet(connection, plan.source, repo_path)
        hits = _hits(connection, plan, source, entities, window)
        for i, (_, name) in enumerate(plan.pull.features):
            result = result.append_column(name, hits[i])
    return result


def _hits(
    connection: duckdb.DuckDBPyConnection,
    plan: ViewPlan,
    source: Parquet,
    entities: EntityRows,
    window: sql.Window | None,
) -> list[pa.ChunkedArray]:
    """Feature columns of one view, one value an entity row."""
    pull, rows = plan.pull, entities.table.num_rows
    probe = questions(plan, entities)
    connection.register("entity", probe)
    check_key_types(connection, plan, source)
    label = f"source {source.label} of feature view {plan.name!r}"
    with explained(label):
        query = _query(connection, pull, source, window.with_ttl(pull.ttl) if window else None)
    found = arrow(connection, query, label)
    connection.unregister("entity")
    return widen(found, rows)


def questions(plan: ViewPlan, entities: EntityRows) -> pa.Table:
    """What the rows ask of a view: `row` (their number), `asked_at` (microseconds) and the keys `k0…`."""
    columns = [entities.column(name, plan.name) for _, name in plan.pull.keys]
    numbers = pa.array(np.arange(entities.table.num_rows, dtype=np.int64))
    return pa.table([numbers, entities.times(), *columns], names=["row", "asked_at", *sql.key_names(plan.pull)])


def _query(connection: duckdb.DuckDBPyConnection, pull: sql.Pull, source: Parquet, window: sql.Window | None) -> str:
    keys = sql.key_names(pull)
    pair = ", ".join([*keys, "asked_at"])
    asked = " AND ".join(f"{column} IS NOT NULL" for column in [*keys, "asked_at"])
    counts = connection.execute(
        f"SELECT count(*), approx_count_distinct(hash({pair})) FROM entity WHERE {asked}"
    ).fetchall()  # fetchone would leave the result open, and DuckDB 2 then refuses the next query
    total, distinct = counts[0]
    by_pair = distinct < total * DISTINCT_SHARE
    chosen = f"DISTINCT {pair}" if by_pair else f"entity.row, {pair}"
    probe = f"(SELECT {chosen} FROM entity WHERE {asked})"
    known = _keys_asked(connection, keys, source, distinct)
    answers = sql.history(source, pull, window, asked=known)
    columns = ", ".join(f"found.f{i}" for i in range(len(pull.features)))
    widened = f"JOIN entity USING ({pair})" if by_pair else ""
    return f"""
        WITH answers AS ({answers}), found AS ({sql.asof(pull, probe, "answers")})
        SELECT {"entity" if by_pair else "found"}.row, {columns} FROM found {widened}
    """


def _keys_asked(connection: duckdb.DuckDBPyConnection, keys: list[str], source: Parquet, questions: int) -> str | None:
    """Name of a table of the keys asked for, where they are few; None where looking for them would not pay."""
    if not keys:
        return None
    rows = connection.execute(f"SELECT count(*) FROM {source.relation}").fetchall()[0][0]
    if questions * FEW > rows:
        return None
    # A table, whose size the planner knows: else it may hash the history instead of the keys.
    connection.execute(f"CREATE OR REPLACE TEMP TABLE asked AS SELECT DISTINCT {', '.join(keys)} FROM entity")
    return "asked"


def widen(found: pa.Table, rows: int) -> list[pa.ChunkedArray]:
    """Put the found rows at their places; an entity row without a find gets nulls."""
    order = found.column("row").to_numpy()
    columns = found.columns[1:]
    if len(order) == rows and bool(np.all(order[1:] > order[:-1])):
        return list(columns)
    place = np.full(rows, -1, dtype=np.int64)
    place[order] = np.arange(len(order))
    indices = pa.array(place) if len(order) == rows else pa.array(place, mask=place < 0)
    with ThreadPoolExecutor() as pool:  # Arrow's take runs on one thread and lets the others go on
        return list(pool.map(lambda column: _take(column, indices), columns))


def _take(column: pa.ChunkedArray, indices: pa.Array) -> pa.ChunkedArray:
    if column.num_chunks == 0:
        return pa.chunked_array([pa.nulls(len(indices), column.type)])
    return pa.chunked_array([pa.concat_arrays(column.chunks).take(indices)])


def check_key_types(connection: duckdb.DuckDBPyConnection, plan: ViewPlan, source: Parquet) -> None:
    """A text key never meets a number key: say so instead of joining nothing. `entity` holds the questions."""
    types = {str(r[0]): str(r[1]) for r in connection.execute("DESCRIBE entity").fetchall()}
    for key, (name, entity_name) in zip(sql.key_names(plan.pull), plan.pull.keys, strict=True):
        pair = [types[key], source.type_of(name)]
        if "NULL" not in types[key] and len(sql.families(pair)) > 1:
            message = (
                f"feature view {plan.name!r}: entity_df column {entity_name!r} is {pair[0]} and the key {name!r} of "
                f"source {source.label} is {pair[1]}: both must be text or both numbers; cast one"
            )
            raise FeatureError(message)
