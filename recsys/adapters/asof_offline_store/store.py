"""Which feature values were known at each entity row's time, and which rows go online?

A Feast offline store on DuckDB's ASOF JOIN over parquet files. It differs from Feast's `duckdb`
store, from which it inherits the rest, in three rules: values not yet known at a row's time (by
the source's created timestamp) never count, also when materializing; every entity row comes back
exactly once and in its order; entity rows may be Arrow, parquet files or SQL, or left out for a range of time.
"""

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final, Literal, TypedDict, Unpack

import pandas as pd
import pyarrow as pa
from feast.data_source import DataSource
from feast.feature_view import FeatureView
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig
from feast.infra.offline_stores.offline_store import RetrievalJob
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import RepoConfig

from recsys.adapters.asof_offline_store import saved_dataset, sql
from recsys.adapters.asof_offline_store.arrow_transformation import with_arrays
from recsys.adapters.asof_offline_store.connection import arrow, connected
from recsys.adapters.asof_offline_store.entity_forms import as_arrow
from recsys.adapters.asof_offline_store.entity_rows import EntityRows
from recsys.adapters.asof_offline_store.join import join
from recsys.adapters.asof_offline_store.observed import observed
from recsys.adapters.asof_offline_store.parquet_source import Parquet, parquet
from recsys.adapters.asof_offline_store.retrieval_job import ArrowRetrievalJob
from recsys.adapters.asof_offline_store.view_plan import ViewPlan, check, without_keys
from recsys.errors import FeatureError

TYPE: Final = "recsys.adapters.asof_offline_store.AsofOfflineStore"


class AsofOfflineStoreConfig(DuckDBOfflineStoreConfig):
    """`offline_store:` of feature_store.yaml."""

    type: Literal["recsys.adapters.asof_offline_store.AsofOfflineStore"] = TYPE
    """Selects this store."""

    threads: int | None = None
    """Threads of DuckDB; all cores if not given."""

    memory_limit: str | None = None
    """Memory of DuckDB, e.g. `4GB`; beyond it DuckDB spills to `temp_directory`. The entity rows and the result stand
    beside it, as Arrow."""

    temp_directory: str | None = None
    """Folder in which DuckDB spills, relative to feature_store.yaml; the system's folder for temporary files if not
    given. Each retrieval has a folder of its own there and removes it."""


class Period(TypedDict, total=False):
    """A range of time, for retrieval without entity rows."""

    start_date: datetime | None
    """First moment; the longest TTL of the views, or 30 days, before the last if not given."""
    end_date: datetime | None
    """Last moment, inclusive; now if not given."""


class AsofOfflineStore(DuckDBOfflineStore):
    """Point-in-time joins as known at each entity row's time."""

    @classmethod
    def get_historical_features(
        cls,
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | pa.Table | str | Path | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = True,
        **period: Unpack[Period],
    ) -> RetrievalJob:
        """Join feature values to entity rows.

        A feature row counts at time t if event_timestamp <= t, event_timestamp >= t - ttl (no
        limit if the ttl is zero or none) and, where the source names a created timestamp column,
        created <= t. Among those the newest event wins, ties go to the newest created. Null keys
        and null times match nothing. Naive timestamps are UTC.

        Args:
            config: the feature store's configuration.
            feature_views: views to join, with their projections.
            feature_refs: `view:feature` references, on-demand ones included. A feature that is
                named like a join key of the same request is left out: the entity rows hold its
                value.
            entity_df: entity rows with the join keys, a timestamp column (`event_timestamp`, or
                the only timestamp column) and the request data of on-demand views; other columns
                pass through. A pandas DataFrame, an Arrow table, the path of parquet files, or a SQL
                query that DuckDB runs over files. None: each key and moment between start_date and
                end_date at which a row of a view began to count.
            registry: where on-demand views are declared.
            project: the project of the views.
            full_feature_names: name columns `view__feature`.
            filter_by_created_timestamp: False also uses values that became known only later
                (leakage).
            **period: start_date and end_date, where there are no entity rows.

        Returns:
            A job; each execution reads the sources' files anew. Entity rows are read once, now.

        Raises:
            FeatureError: entity rows of an unsupported form or unreadable, or a column that is missing
                or of a wrong type. Faults of the sources' files surface when the job runs.
        """
        plans = [
            ViewPlan.of(
                view, feature_refs, full_feature_names=full_feature_names, known_only=filter_by_created_timestamp
            )
            for view in feature_views
        ]
        if entity_df is None:
            entities = EntityRows.of(observed(config, feature_views, plans, **period))
        elif any(period.values()):
            message = "entity_df is given, and start_date or end_date too: the rows have times; leave one of them out"
            raise FeatureError(message)
        else:
            entities = EntityRows.of(as_arrow(entity_df, config))
        odfvs = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        entities.check_request_data(odfvs)
        plans = without_keys(plans)
        check(plans, entities)

        columns = frozenset(entities.table.column_names)
        return ArrowRetrievalJob(
            lambda: cls._joined(config, plans, entities),
            on_demand_feature_views=[with_arrays(odfv, columns) for odfv in odfvs],
            full_feature_names=full_feature_names,
            metadata=entities.metadata(feature_refs),
            repo_path=str(config.repo_path),
        )

    @classmethod
    def pull_latest_from_table_or_query(
        cls,
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        """Each key's newest row as known at end_date, if it is new or newly known since start_date.

        Where the source names a created timestamp this differs from Feast's rule (start_date <=
        event): a row that becomes known between two incremental runs would otherwise never go
        online.

        Args:
            config: the feature store's configuration.
            data_source: the source, whose own column names all arguments use.
            join_key_columns: key columns; rows with a null key are left out.
            feature_name_columns: columns to carry; none means all, as views with a transformation
                ask.
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

        start, end = sql.microseconds(start_date), sql.microseconds(end_date)
        return ArrowRetrievalJob(
            lambda: cls._latest(config, data_source, pull, start, end), repo_path=str(config.repo_path)
        )

    @staticmethod
    def _joined(config: RepoConfig, plans: list[ViewPlan], entities: EntityRows) -> pa.Table:
        """Join views to entity rows."""
        with connected(config) as connection:
            return join(connection, plans, entities, str(config.repo_path))

    @staticmethod
    def _latest(config: RepoConfig, data_source: DataSource, pull: sql.Pull, start: int, end: int) -> pa.Table:
        """Read each key's newest row; a pull without features asks for all columns."""
        with connected(config) as connection:
            source = parquet(connection, data_source, str(config.repo_path))
            query = sql.latest(source, with_features(pull, source), start, end)
            return arrow(connection, query, f"source {source.label}")

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """All rows whose event lies within [start_date, end_date]; a saved dataset of this store as a whole.

        Args:
            config: the feature store's configuration.
            data_source: the source, whose own column names all arguments use.
            join_key_columns: key columns.
            feature_name_columns: columns to carry; none means all.
            timestamp_field: event timestamp column; rows without one are left out.
            created_timestamp_column: created timestamp column to carry.
            start_date: first event time; no limit if not given.
            end_date: last event time; no limit if not given.

        Returns:
            A job of keys, features and timestamps as the files have them; of a saved dataset all columns and rows, a
            label too, in the order they were saved in.
        """
        asked = [*join_key_columns, *feature_name_columns, timestamp_field, created_timestamp_column or ""]

        def run() -> pa.Table:
            saved = saved_dataset.read_whole(data_source, str(config.repo_path))
            if saved is not None:
                return saved
            with connected(config) as connection:
                source = parquet(connection, data_source, str(config.repo_path))
                names = dict.fromkeys(name for name in asked if name) if feature_name_columns else source.types
                start, end = (None if date is None else sql.microseconds(date) for date in (start_date, end_date))
                query = sql.within(source, list(names), timestamp_field, start, end)
                return arrow(connection, query, f"source {source.label}")

        return ArrowRetrievalJob(run, repo_path=str(config.repo_path))


def with_features(pull: sql.Pull, source: Parquet) -> sql.Pull:
    """A pull with the features it names; one that names none carries all columns."""
    if pull.features:
        return pull
    taken = {pull.timestamp_field, pull.tie_column, *(name for name, _ in pull.keys)}
    return replace(pull, features=tuple((name, name) for name in source.types if name not in taken))
