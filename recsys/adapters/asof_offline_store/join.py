"""How are the answers of several feature views put beside the entity rows?

Each view is joined by one query. Where many rows ask the same (a user's slate), each distinct
question is answered once; the answers are then put at their rows by number, so order and
duplicates stay.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa
from feast.data_source import DataSource
from feast.feature_view import DUMMY_ENTITY_ID, FeatureView
from feast.repo_config import RepoConfig

from recsys.adapters.asof_offline_store import sql
from recsys.adapters.asof_offline_store.entity_rows import EntityRows
from recsys.errors import FeatureError

DISTINCT_SHARE: Final = 0.6
"""Below this share of distinct (key, time) pairs it pays to join each pair once."""


@dataclass(frozen=True)
class ViewPlan:
    """One feature view of a join."""

    name: str
    source: DataSource
    pull: sql.Pull
    keys: tuple[pa.ChunkedArray, ...]

    @classmethod
    def of(
        cls,
        view: FeatureView,
        feature_refs: list[str],
        entities: EntityRows,
        full_feature_names: bool,
        known_only: bool,
    ) -> "ViewPlan":
        """Plan the join of `view`.

        Raises:
            FeatureError: the view has no batch source, or the entity rows lack one of its keys.
        """
        source = view.batch_source
        if source is None:
            message = f"feature view {view.name!r} has no batch source, so no history; declare one"
            raise FeatureError(message)
        projection = view.projection
        prefix = f"{projection.name_to_use()}:"  # type: ignore[no-untyped-call]
        features = dict.fromkeys(ref.removeprefix(prefix) for ref in feature_refs if ref.startswith(prefix))
        base = projection.name_alias or view.name
        keys = tuple(
            (key.name, projection.join_key_map.get(key.name, key.name))
            for key in view.entity_columns
            if key.name != DUMMY_ENTITY_ID
        )
        created = source.created_timestamp_column or None
        pull = sql.Pull(
            keys=keys,
            features=tuple((f, f"{base}__{f}" if full_feature_names else f) for f in features),
            timestamp_field=source.timestamp_field,
            created_column=created if known_only else None,
            tie_column=created,
            ttl=view.ttl if view.ttl and view.ttl > timedelta(0) else None,
        )
        return cls(view.name, source, pull, tuple(entities.column(n, view.name) for _, n in keys))


def without_keys(plans: list[ViewPlan]) -> list[ViewPlan]:
    """Leave out features whose name is a key of the join: the entity rows already say its value."""
    keys = {name for plan in plans for _, name in plan.pull.keys}
    return [
        replace(
            plan,
            pull=replace(
                plan.pull,
                features=tuple(pair for pair in plan.pull.features if pair[1] not in keys),
            ),
        )
        for plan in plans
    ]


def check_names(plans: list[ViewPlan], entities: EntityRows) -> None:
    """Refuse two columns of one name, which a reader could not tell apart."""
    taken = dict.fromkeys(entities.table.column_names, "entity_df")
    for plan in plans:
        for _, name in plan.pull.features:
            if name in taken:
                message = (
                    f"column {name!r} of feature view {plan.name!r} is also a column of "
                    f"{taken[name]}: result "
                    "names must be unique; rename the entity column or ask for full_feature_names"
                )
                raise FeatureError(message)
            taken[name] = f"feature view {plan.name!r}"


def join(
    connection: duckdb.DuckDBPyConnection,
    plans: list[ViewPlan],
    entities: EntityRows,
    repo_path: str,
) -> pa.Table:
    """The entity rows with the features of all views, in their order."""
    result, window = entities.table, entities.window()
    for plan in plans:
        if not plan.pull.features:
            continue
        source = sql.parquet(connection, plan.source, repo_path)
        hits = _hits(connection, plan, source, entities, window)
        for i, (_, name) in enumerate(plan.pull.features):
            result = result.append_column(name, hits[i])
    return result


def _hits(
    connection: duckdb.DuckDBPyConnection,
    plan: ViewPlan,
    source: sql.Parquet,
    entities: EntityRows,
    window: sql.Window | None,
) -> list[pa.ChunkedArray]:
    """Feature columns of one view, one value an entity row."""
    pull, rows = plan.pull, entities.table.num_rows
    keys = sql.key_names(pull)
    at = entities.table.column(entities.time_column).cast(pa.timestamp("us"), safe=False)
    probe = pa.table(
        [pa.array(np.arange(rows, dtype=np.int64)), at, *plan.keys],
        names=["row", "asked_at", *keys],
    )
    connection.register("entity", probe)
    _check_key_types(connection, plan, source)
    query = _query(connection, pull, source, window)
    found = arrow(connection, query, f"{source.label} of feature view {plan.name!r}")
    connection.unregister("entity")
    return _widen(found, rows)


def _query(
    connection: duckdb.DuckDBPyConnection,
    pull: sql.Pull,
    source: sql.Parquet,
    window: sql.Window | None,
) -> str:
    keys = sql.key_names(pull)
    pair = ", ".join([*keys, "asked_at"])
    asked = " AND ".join(f"{column} IS NOT NULL" for column in [*keys, "asked_at"])
    counts = connection.execute(
        f"SELECT count(*), approx_count_distinct(hash({pair})) FROM entity WHERE {asked}"
    ).fetchall()  # fetchone would leave the result open, and DuckDB 2 then refuses the next query
    total, distinct = counts[0]
    by_pair = distinct < total * DISTINCT_SHARE
    columns = ", ".join(f"found.f{i}" for i in range(len(pull.features)))
    chosen = f"DISTINCT {pair}" if by_pair else f"entity.row, {pair}"
    probe = f"(SELECT {chosen} FROM entity WHERE {asked})"
    keys_asked = f"asked AS (SELECT DISTINCT {', '.join(keys)} FROM entity), " if keys else ""
    answers = sql.history(source, pull, _visible(window, pull), asked="asked" if keys else None)
    widened = f"JOIN entity USING ({pair})" if by_pair else ""
    return f"""
        WITH {keys_asked}answers AS ({answers}),
        found AS ({sql.asof(pull, probe, "answers")})
        SELECT {"entity" if by_pair else "found"}.row, {columns} FROM found {widened}
    """


def _visible(window: sql.Window | None, pull: sql.Pull) -> sql.Window | None:
    """The events that the times of `window` can see."""
    if window is None or window.first is None:
        return window
    if pull.ttl is None or window.first - datetime.min <= pull.ttl:  # noqa: DTZ901 -- naive UTC
        return sql.Window(None, window.last)
    return sql.Window(window.first - pull.ttl, window.last)


def _widen(found: pa.Table, rows: int) -> list[pa.ChunkedArray]:
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


def connect(config: RepoConfig) -> duckdb.DuckDBPyConnection:
    """Return a connection in UTC, with the threads, memory and spill folder of the configuration."""
    store = config.offline_store
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    for setting in ("threads", "memory_limit", "temp_directory"):
        value = getattr(store, setting, None)
        if value is not None:
            connection.execute(f"SET {setting} = {sql.literal(str(value))}")
    return connection


def arrow(connection: duckdb.DuckDBPyConnection, query: str, label: str) -> pa.Table:
    """Run a query; a failure names the source it reads."""
    try:
        return connection.sql(query).to_arrow_table()
    except duckdb.Error as error:
        reason = str(error).splitlines()[0].rstrip(".")
        message = f"source {label}: the query failed: {reason}: where a file is damaged, delete it and build it anew"
        raise FeatureError(message) from error


def _check_key_types(connection: duckdb.DuckDBPyConnection, plan: ViewPlan, source: sql.Parquet) -> None:
    """A text key never meets a number key: say so instead of joining nothing."""
    types = {str(r[0]): str(r[1]) for r in connection.execute("DESCRIBE entity").fetchall()}
    for key, (name, entity_name) in zip(sql.key_names(plan.pull), plan.pull.keys, strict=True):
        pair = [types[key], source.key_type(name)]
        if "NULL" not in types[key] and len(sql.families(pair)) > 1:
            message = (
                f"feature view {plan.name!r}: entity_df column {entity_name!r} is {pair[0]} and "
                "the key "
                f"{name!r} of source {source.label} is {pair[1]}: both must be text or both "
                "numbers; cast one"
            )
            raise FeatureError(message)
