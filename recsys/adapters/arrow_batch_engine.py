"""How do features get from the offline to the online store without a protobuf a cell?

A Feast batch engine that pulls the newest rows as Arrow and hands them to an online store that
takes Arrow. Everything else (other stores, views with transformations or aggregations, offline
writes) goes Feast's own way.
"""

from datetime import datetime
from typing import Any, Final, Literal, Protocol, runtime_checkable

import pyarrow as pa
from feast.batch_feature_view import BatchFeatureView
from feast.data_source import DataSource, PushSource
from feast.feature_view import FeatureView
from feast.infra.common.materialization_job import MaterializationJobStatus, MaterializationTask
from feast.infra.compute_engines.local.compute import LocalComputeEngine
from feast.infra.compute_engines.local.job import LocalMaterializationJob
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from feast.stream_feature_view import StreamFeatureView
from feast.utils import _get_column_names

TYPE: Final = "recsys.adapters.arrow_batch_engine.ArrowBatchEngine"


class ArrowBatchEngineConfig(FeastConfigBaseModel):
    """`batch_engine:` of feature_store.yaml."""

    type: Literal["recsys.adapters.arrow_batch_engine.ArrowBatchEngine"] = TYPE
    """Selects this engine."""

    backend: str | None = None
    """Data frames of Feast's own engine, where that is used."""


@runtime_checkable
class ArrowWriter(Protocol):
    """An online store that takes Arrow."""

    def write_arrow(self, config: RepoConfig, view: FeatureView, table: pa.Table) -> int:
        """Write rows, all or none; say how many entities got a new row."""


class ArrowBatchEngine(LocalComputeEngine):
    """Materializes by Arrow where it can."""

    def _materialize_one(
        self,
        registry: BaseRegistry,
        task: MaterializationTask,
        **kwargs: Any,  # noqa: ANN401 -- Feast's interface
    ) -> LocalMaterializationJob:
        """Write the newest row of each entity in (start, end) that was known at its end.

        Returns:
            A job that is done; a failure is its error, which Feast raises after it has reset the
            view.
        """
        view, store, source = task.feature_view, self.online_store, task.feature_view.batch_source
        if source is None or not isinstance(store, ArrowWriter) or not _is_plain(view):
            return super()._materialize_one(registry, task, **kwargs)
        job = f"{view.name}-{task.start_time}-{task.end_time}"
        try:
            if view.online:
                store.write_arrow(self.repo_config, view, self._latest(registry, task, source))
        except Exception as error:  # noqa: BLE001 -- Feast takes errors from the job
            return LocalMaterializationJob(job, MaterializationJobStatus.ERROR, error)
        return LocalMaterializationJob(job, MaterializationJobStatus.SUCCEEDED)

    def _latest(self, registry: BaseRegistry, task: MaterializationTask, source: DataSource) -> pa.Table:
        """The rows to write, under the view's names."""
        view = task.feature_view
        entities = [registry.get_entity(name, task.project) for name in view.entities]
        keys, features, event, created = _get_column_names(view, entities)
        table = self.offline_store.pull_latest_from_table_or_query(
            config=self.repo_config,
            data_source=source,
            join_key_columns=keys,
            feature_name_columns=features,
            timestamp_field=event,
            created_timestamp_column=created,
            start_date=_since(task),
            end_date=task.end_time,
        ).to_arrow()
        mapping = source.field_mapping or {}
        return table.rename_columns([mapping.get(name, name) for name in table.column_names])


def _since(task: MaterializationTask) -> datetime:
    """From when on rows are written: of a view that is pushed to, those past its TTL stay away.

    Its entities come and go (sessions), so that nothing of them that is live would be overwritten by being left out.
    """
    view = task.feature_view
    if not view.ttl or not isinstance(getattr(view, "stream_source", None), PushSource):
        return task.start_time
    return max(task.start_time, task.end_time - view.ttl)


def _is_plain(view: FeatureView | BatchFeatureView | StreamFeatureView) -> bool:
    """Whether the view's rows go online as they are in its source."""
    computed = ("feature_transformation", "aggregations", "source_views", "filter")
    return (
        not any(getattr(view, name, None) for name in computed)
        and not getattr(view, "enable_validation", False)
        and not view.offline
    )
