"""Which feature values were known at each entity row's time, and which rows go online?

A Feast offline store on DuckDB's ASOF JOIN over parquet files. It differs from Feast's `duckdb` store, from
which it inherits the rest, in three rules: values not yet known at a row's time (by the source's created
timestamp) never count, also when materializing; every entity row comes back exactly once and in its order;
Arrow tables are accepted as entity rows.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import duckdb
import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from feast.data_source import DataSource
from feast.feature_view import DUMMY_ENTITY_ID, FeatureView
from feast.infra.offline_stores.duckdb import (
    DuckDBOfflineStore,
    DuckDBOfflineStoreConfig,
    _write_data_source,
)
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import RepoConfig
from feast.saved_dataset import SavedDatasetStorage

from recsys.adapters import _asof_sql as sql
from recsys.adapters._arrow_transformation import with_arrays
from recsys.errors import FeatureError

TYPE: Final = "recsys.adapters.asof_offline_store.AsofOfflineStore"
EVENT_TIMESTAMP: Final = "event_timestamp"

DISTINCT_SHARE: Final = 0.6
"""Below this share of distinct (key, time) pairs it pays to join each pair once and widen by a hash join."""


class AsofOfflineStoreConfig(DuckDBOfflineStoreConfig):
    """`offline_store:` of feature_store.yaml."""

    type: Literal["recsys.adapters.asof_offline_store.AsofOfflineStore"] = TYPE
    """Selects this store."""

    threads: int | None = None
    """Threads of DuckDB; all cores if not given."""

    memory_limit: str | None = None
    """Memory of DuckDB, e.g. `4GB`; beyond it DuckDB spills to `temp_directory`."""

    temp_directory: str | None = None
    """Where DuckDB spills to."""


class AsofOfflineStore(DuckDBOfflineStore):
    """Point-in-time joins as known at each entity row's time."""

    @staticmethod
    def get_historical_features(  # noqa: PLR0913 -- Feast's interface
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | pa.Table | str | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,  # noqa: FBT001, FBT002 -- Feast's interface
        filter_by_created_timestamp: bool = True,  # noqa: FBT001, FBT002 -- Feast's interface
        **unsupported: object,
    ) -> RetrievalJob:
        """Join feature values to entity rows.

        A feature row counts at time t if event_timestamp <= t, event_timestamp >= t - ttl (no limit if the ttl
        is zero or none) and, where the source names a created timestamp column, created <= t. Among those the
        newest event wins, ties go to the newest created. Null keys and null times match nothing. Naive
        timestamps are UTC.

        Args:
            config: the feature store's configuration.
            feature_views: views to join, with their projections.
            feature_refs: `view:feature` references, on-demand ones included. A feature that is named like a
                join key of the same request is left out: the entity rows hold its value.
            entity_df: entity rows with the join keys, a timestamp column (`event_timestamp`, or the only
                timestamp column) and the request data of on-demand views; other columns pass through.
            registry: where on-demand views are declared.
            project: the project of the views.
            full_feature_names: name columns `view__feature`.
            filter_by_created_timestamp: False also uses values that became known only later (leakage).
            **unsupported: `start_date` and `end_date` belong to retrieval without entity rows.

        Returns:
            A job; each execution reads the files anew.

        Raises:
            FeatureError: entity rows of an unsupported form, or a column that is missing or of a wrong type.
                Faults of the files surface when the job runs.
        """
        del unsupported
        entities = EntityRows.read(entity_df)
        odfvs = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        entities.check_request_data(odfvs)
        plans = [
            ViewPlan.of(view, feature_refs, entities, full_feature_names, filter_by_created_timestamp)
            for view in feature_views
        ]
        plans = _without_keys(plans)
        _check_names(plans, entities)

        def run() -> pa.Table:
            with _connect(config) as connection:
                return _join(connection, plans, entities, str(config.repo_path))

        columns = frozenset(entities.table.column_names)
        return ArrowRetrievalJob(
            run,
            on_demand_feature_views=[with_arrays(odfv, columns) for odfv in odfvs],
            full_feature_names=full_feature_names,
            metadata=entities.metadata(feature_refs),
            repo_path=str(config.repo_path),
        )

    @staticmethod
    def pull_latest_from_table_or_query(  # noqa: PLR0913 -- Feast's interface
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        """Each key's newest row as known at end_date, if it happened or became known since start_date.

        Where the source names a created timestamp this differs from Feast's rule (start_date <= event): a row
        that becomes known between two incremental runs would otherwise never go online.

        Args:
            config: the feature store's configuration.
            data_source: the source, whose own column names all arguments use.
            join_key_columns: key columns; rows with a null key are left out.
            feature_name_columns: columns to carry; none means all, as views with a transformation ask.
            timestamp_field: event timestamp column.
            created_timestamp_column: created timestamp column, if the source has one.
            start_date: first event or created time, inclusive.
            end_date: last event time and last created time, inclusive.

        Returns:
            A job of keys, features, event timestamp and created timestamp (UTC).
        """
        pull = sql.Pull(
            keys=tuple((name, name) for name in join_key_columns),
            features=tuple((name, name) for name in feature_name_columns),
            timestamp_field=timestamp_field,
            created_column=created_timestamp_column or None,
            tie_column=created_timestamp_column or None,
            ttl=None,
        )

        def run() -> pa.Table:
            with _connect(config) as connection:
                source = sql.parquet(connection, data_source, str(config.repo_path))
                wanted = pull if pull.features else replace(pull, features=_all_columns(source, pull))
                query = sql.latest(source, wanted, _naive_utc(start_date), _naive_utc(end_date))
                return _arrow(connection, query, source.label)

        return ArrowRetrievalJob(run, repo_path=str(config.repo_path))


class ArrowRetrievalJob(RetrievalJob):
    """A retrieval that gives Arrow and runs when asked."""

    def __init__(
        self,
        run: Callable[[], pa.Table],
        *,
        repo_path: str,
        on_demand_feature_views: list[OnDemandFeatureView] | None = None,
        full_feature_names: bool = False,
        metadata: RetrievalMetadata | None = None,
    ) -> None:
        """Keep what to run; `on_demand_feature_views` are applied to its result by `to_arrow` and `to_df`."""
        self._run = run
        self._repo_path = repo_path
        self._on_demand_feature_views = on_demand_feature_views or []
        self._full_feature_names = full_feature_names
        self._metadata = metadata

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        del timeout
        return self._run()

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        frame: pd.DataFrame = self._to_arrow_internal(timeout).to_pandas()
        return frame

    @property
    def full_feature_names(self) -> bool:
        """Whether columns are named `view__feature`."""
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        """Views computed from the joined rows."""
        return self._on_demand_feature_views

    @property
    def metadata(self) -> RetrievalMetadata | None:
        """What was asked for."""
        return self._metadata

    def persist(
        self,
        storage: SavedDatasetStorage,
        allow_overwrite: bool = False,  # noqa: FBT001, FBT002 -- Feast's interface
        timeout: int | None = None,
    ) -> None:
        """Run and write the result, on-demand features included, as parquet."""
        table = ibis.memtable(self.to_arrow(timeout=timeout))
        _write_data_source(
            table, storage.to_data_source(), self._repo_path, "overwrite", allow_overwrite
        )


@dataclass(frozen=True)
class EntityRows:
    """The rows to join features to."""

    table: pa.Table
    """As given, with the time column in UTC."""
    time_column: str

    @classmethod
    def read(cls, entity_df: pd.DataFrame | pa.Table | str | None) -> "EntityRows":
        """Take entity rows in any supported form.

        Raises:
            FeatureError: another form, or no time column to be found.
        """
        if isinstance(entity_df, pd.DataFrame):
            table = _from_pandas(entity_df)
        elif isinstance(entity_df, pa.Table):
            table = entity_df
        else:
            given = "a SQL query" if isinstance(entity_df, str) else f"{type(entity_df).__name__}"
            message = (
                f"entity_df is {given}: AsofOfflineStore joins to a pandas DataFrame or a pyarrow Table of "
                "entity rows only; read the rows first and pass them"
            )
            raise FeatureError(message)
        if duplicated := {n for n in table.column_names if table.column_names.count(n) > 1}:
            message = f"entity_df has columns {sorted(duplicated)} more than once: column names must be unique"
            raise FeatureError(message)
        name = _time_column(table)
        index = table.schema.get_field_index(name)
        return cls(table.set_column(index, name, _utc(table.column(name), name)), name)

    def column(self, name: str, view: str) -> pa.ChunkedArray:
        """The join key column `name`, plain.

        Raises:
            FeatureError: there is none.
        """
        if name not in self.table.column_names:
            message = (
                f"entity_df has no column {name!r}, which feature view {view!r} joins on (it has "
                f"{', '.join(self.table.column_names)}): add the key column or leave the view out"
            )
            raise FeatureError(message)
        column = self.table.column(name)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_floating(column.type):  # a missing number is NaN there, and NaN = NaN in DuckDB
            column = pc.if_else(pc.is_nan(column), None, column)
        return column

    def check_request_data(self, odfvs: list[OnDemandFeatureView]) -> None:
        """Every request field of the on-demand views must be a column.

        Raises:
            FeatureError: one is not.
        """
        for odfv in odfvs:
            for name in odfv.get_request_data_schema():
                if name not in self.table.column_names:
                    message = (
                        f"entity_df has no column {name!r}, which on-demand view {odfv.name!r} takes from the "
                        "request: add it to the entity rows"
                    )
                    raise FeatureError(message)

    def window(self) -> sql.Window | None:
        """First and last time asked for; none if there is no time at all."""
        bounds = pc.min_max(self.table.column(self.time_column).cast(pa.timestamp("us"), safe=False))
        first, last = bounds["min"].as_py(), bounds["max"].as_py()
        return None if first is None else sql.Window(first, last)

    def metadata(self, feature_refs: list[str]) -> RetrievalMetadata:
        """What Feast records with a saved dataset."""
        window = self.window()
        return RetrievalMetadata(
            features=feature_refs,
            keys=[name for name in self.table.column_names if name != self.time_column],
            min_event_timestamp=window.first.replace(tzinfo=UTC) if window and window.first else None,
            max_event_timestamp=window.last.replace(tzinfo=UTC) if window else None,
        )


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
        full_feature_names: bool,  # noqa: FBT001
        known_only: bool,  # noqa: FBT001
    ) -> "ViewPlan":
        """Plan the join of `view`.

        Raises:
            FeatureError: the view has no batch source, or the entity rows lack one of its keys.
        """
        source = view.batch_source
        if source is None:
            message = f"feature view {view.name!r} has no batch source: history cannot be read; declare one"
            raise FeatureError(message)
        projection = view.projection
        prefix = f"{projection.name_to_use()}:"  # type: ignore[no-untyped-call]
        features = dict.fromkeys(
            ref.removeprefix(prefix) for ref in feature_refs if ref.startswith(prefix)
        )
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


def _join(
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
        [pa.array(np.arange(rows, dtype=np.int64)), at, *plan.keys], names=["row", "asked_at", *keys]
    )
    connection.register("entity", probe)
    _check_key_types(connection, plan, source)
    query = _query(connection, pull, source, window)
    found = _arrow(connection, query, f"{source.label} of feature view {plan.name!r}")
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


def _connect(config: RepoConfig) -> duckdb.DuckDBPyConnection:
    store = config.offline_store
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    for setting in ("threads", "memory_limit", "temp_directory"):
        value = getattr(store, setting, None)
        if value is not None:
            connection.execute(f"SET {setting} = {sql.literal(str(value))}")
    return connection


def _arrow(connection: duckdb.DuckDBPyConnection, query: str, label: str) -> pa.Table:
    try:
        return connection.sql(query).to_arrow_table()
    except duckdb.Error as error:
        message = f"source {label}: the query failed: {error}"
        raise FeatureError(message) from error


def _check_key_types(
    connection: duckdb.DuckDBPyConnection, plan: ViewPlan, source: sql.Parquet
) -> None:
    """A text key never meets a number key: say so instead of joining nothing."""
    types = {str(r[0]): str(r[1]) for r in connection.execute("DESCRIBE entity").fetchall()}
    for key, (name, entity_name) in zip(sql.key_names(plan.pull), plan.pull.keys, strict=True):
        pair = [types[key], source.key_type(name)]
        if "NULL" not in types[key] and len(sql.families(pair)) > 1:
            message = (
                f"feature view {plan.name!r}: entity_df column {entity_name!r} is {pair[0]} and the key "
                f"{name!r} of source {source.label} is {pair[1]}: both must be text or both numbers; cast one"
            )
            raise FeatureError(message)


def _without_keys(plans: list[ViewPlan]) -> list[ViewPlan]:
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


def _check_names(plans: list[ViewPlan], entities: EntityRows) -> None:
    taken = dict.fromkeys(entities.table.column_names, "entity_df")
    for plan in plans:
        for _, name in plan.pull.features:
            if name in taken:
                message = (
                    f"column {name!r} of feature view {plan.name!r} is also a column of {taken[name]}: result "
                    "names must be unique; rename the entity column or ask for full_feature_names"
                )
                raise FeatureError(message)
            taken[name] = f"feature view {plan.name!r}"


def _from_pandas(frame: pd.DataFrame) -> pa.Table:
    try:
        return pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowException, TypeError) as error:
        message = f"entity_df cannot become an Arrow table: {error}: give every column one type"
        raise FeatureError(message) from error


def _time_column(table: pa.Table) -> str:
    if EVENT_TIMESTAMP in table.column_names:
        return EVENT_TIMESTAMP
    candidates = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
    if len(candidates) != 1:
        message = (
            f"entity_df has timestamp columns {candidates}: the join needs exactly one, or a column named "
            f"{EVENT_TIMESTAMP!r}; rename the column that holds each row's time"
        )
        raise FeatureError(message)
    return str(candidates[0])


def _utc(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """A time column as UTC timestamps of its own unit; naive times and texts without an offset are UTC."""
    kind: Any = column.type
    if pa.types.is_timestamp(kind):
        return column.cast(pa.timestamp(kind.unit, tz="UTC"))
    if pa.types.is_date(kind):
        return column.cast(pa.timestamp("us")).cast(pa.timestamp("us", tz="UTC"))
    if pa.types.is_null(kind):
        return column.cast(pa.timestamp("us", tz="UTC"))
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        message = f"entity_df column {name!r} is {kind}: the rows' times must be timestamps; convert it"
        raise FeatureError(message)
    try:
        times = pd.to_datetime(column.to_pandas(), utc=True, format="ISO8601")
    except ValueError as error:
        reason = str(error).partition(". You")[0]  # pandas goes on with advice about its own parameters
        message = (
            f"entity_df column {name!r}: {reason}: the rows' times must be timestamps or ISO 8601 texts; convert them"
        )
        raise FeatureError(message) from error
    return pa.chunked_array([pa.Array.from_pandas(times)])


def _all_columns(source: sql.Parquet, pull: sql.Pull) -> tuple[tuple[str, str], ...]:
    taken = {pull.timestamp_field, pull.tie_column, *(name for name, _ in pull.keys)}
    return tuple((name, name) for name in source.types if name not in taken)


def _naive_utc(value: datetime) -> datetime:
    return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
