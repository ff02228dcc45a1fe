"""Which feature values were known at each entity row's time, and which rows go online?

A Feast offline store on DuckDB's ASOF JOIN over parquet files. It differs from Feast's `duckdb`
store, from which it inherits the rest, in three rules: values not yet known at a row's time (by
the source's created timestamp) never count, also when materializing; every entity row comes back
exactly once and in its order; Arrow tables are accepted as entity rows.
"""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, Literal

import pandas as pd
import pyarrow as pa
from feast.data_source import DataSource
from feast.feature_view import FeatureView
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig
from feast.infra.offline_stores.offline_store import RetrievalJob
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import RepoConfig

from recsys.adapters.asof_offline_store import sql
from recsys.adapters.asof_offline_store.arrow_transformation import with_arrays
from recsys.adapters.asof_offline_store.entity_rows import EntityRows
from recsys.adapters.asof_offline_store.join import ViewPlan, arrow, check_names, connect, join, without_keys
from recsys.adapters.asof_offline_store.retrieval_job import ArrowRetrievalJob

TYPE: Final = "recsys.adapters.asof_offline_store.AsofOfflineStore"


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
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | pa.Table | str | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = True,
        **unsupported: object,
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
                pass through.
            registry: where on-demand views are declared.
            project: the project of the views.
            full_feature_names: name columns `view__feature`.
            filter_by_created_timestamp: False also uses values that became known only later
                (leakage).
            **unsupported: `start_date` and `end_date` belong to retrieval without entity rows.

        Returns:
            A job; each execution reads the files anew.

        Raises:
            FeatureError: entity rows of an unsupported form, or a column that is missing or of a
                wrong type. Faults of the files surface when the job runs.
        """
        del unsupported
        entities = EntityRows.read(entity_df)
        odfvs = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        entities.check_request_data(odfvs)
        plans = [
            ViewPlan.of(view, feature_refs, entities, full_feature_names, filter_by_created_timestamp)
            for view in feature_views
        ]
        plans = without_keys(plans)
        check_names(plans, entities)

        def run() -> pa.Table:
            with connect(config) as connection:
                return join(connection, plans, entities, str(config.repo_path))

        columns = frozenset(entities.table.column_names)
        return ArrowRetrievalJob(
            run,
            on_demand_feature_views=[with_arrays(odfv, columns) for odfv in odfvs],
            full_feature_names=full_feature_names,
            metadata=entities.metadata(feature_refs),
            repo_path=str(config.repo_path),
        )

    @staticmethod
    def pull_latest_from_table_or_query(
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

        def run() -> pa.Table:
            with connect(config) as connection:
                source = sql.parquet(connection, data_source, str(config.repo_path))
                wanted = pull if pull.features else replace(pull, features=_all_columns(source, pull))
                query = sql.latest(source, wanted, _naive_utc(start_date), _naive_utc(end_date))
                return arrow(connection, query, source.label)

        return ArrowRetrievalJob(run, repo_path=str(config.repo_path))


def _all_columns(source: sql.Parquet, pull: sql.Pull) -> tuple[tuple[str, str], ...]:
    taken = {pull.timestamp_field, pull.tie_column, *(name for name, _ in pull.keys)}
    return tuple((name, name) for name in source.types if name not in taken)


def _naive_utc(value: datetime) -> datetime:
    return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
