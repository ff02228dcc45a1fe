"""How does the core read features? Joined as known in the past, and live from the online store."""

import contextlib
import io
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from recsys.adapters.feast_configuration import registry_failures
from recsys.adapters.feast_features.definitions import describe, digest_of, request_transform
from recsys.adapters.feast_features.listed import Listed
from recsys.adapters.feast_features.opening import open_store
from recsys.candidates.pool import PlainColumns
from recsys.errors import FeatureError
from recsys.ports import ErasedOnline, FeatureSet, Groups, UnitColumns, ViewInfo
from recsys.schema import TIMESTAMP

if TYPE_CHECKING:
    from feast import FeatureService, FeatureStore, FeatureView, OnDemandFeatureView

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class FeastFeatures:
    """The FeatureReader port on a Feast repository whose stores are the packed and ASOF ones of this package."""

    def __init__(
        self,
        repository: Path,
        configuration: str,
        namespace: Path | None = None,
        spark: Mapping[str, str] | None = None,
    ) -> None:
        """Point at a repository; nothing is read before it is needed.

        Args:
            repository: the folder feature_repo/.
            configuration: the Feast YAML inside it.
            namespace: a folder for a registry of its own, and the name of an online store of its own (a replay's): a
                file in the folder, or a prefix on the server; the configured ones by default.
            spark: settings of an offline store that joins on Spark; those of the configuration by default.
        """
        self._repository = repository
        self._configuration = configuration
        self._namespace = namespace
        self._spark = spark

    @cached_property
    def store(self) -> "FeatureStore":
        """Feast's own store object, opened at first use."""
        return open_store(self._repository, self._configuration, self._namespace, self._spark)

    @cached_property
    def _listed(self) -> Listed:
        return Listed(self.store)

    # ------------------------------------------------------------ definitions

    def view(self, name: str) -> ViewInfo:
        """Describe one stored feature view."""
        return describe(self._view(name))

    def feature_set(self, name: str | Sequence[str]) -> FeatureSet:
        """Resolve a feature service by name, or a list of `view:feature` references."""
        if isinstance(name, str):
            references = self._service_references(name)
            label = name
        else:
            references, label = list(name), "+".join(name)
        stored = {view.name: view for view in self._stored_views()}
        computed = {view.name: view for view in self._computed_views()}
        needed: dict[str, FeatureView] = {}
        transforms: dict[str, OnDemandFeatureView] = {}
        for reference in references:
            view_name, _, feature = reference.partition(":")
            if view_name in stored and any(field.name == feature for field in stored[view_name].features):
                needed[view_name] = stored[view_name]
            elif view_name in computed and any(field.name == feature for field in computed[view_name].features):
                transforms[view_name] = computed[view_name]
                for projection in computed[view_name].source_feature_view_projections.values():
                    needed[projection.name] = stored[projection.name]
            else:
                known = ", ".join(sorted([*stored, *computed]))
                message = (
                    f"feature {reference!r}: no such feature; declared views: {known}; run `feast apply` after a change"
                )
                raise FeatureError(message)
        return FeatureSet(
            name=label,
            columns=tuple(reference.partition(":")[2] for reference in references),
            references=tuple(references),
            views=tuple(describe(view) for view in needed.values()),
            transforms=tuple(request_transform(view) for view in transforms.values()),
            digest=digest_of(self._repository / "transforms.py", references, needed, transforms),
        )

    def _service_references(self, name: str) -> list[str]:
        services = {service.name: service for service in self._services()}
        if name not in services:
            known = ", ".join(sorted(services)) or "none"
            message = f"feature service {name!r}: not declared; Feast knows: {known}; run `feast apply` after a change"
            raise FeatureError(message)
        return [
            f"{projection.name}:{field.name}"
            for projection in services[name].feature_view_projections
            for field in projection.features
        ]

    def _stored_views(self) -> "list[FeatureView]":
        with registry_failures(self._configuration):
            return self._listed.stored_views()

    def _computed_views(self) -> "list[OnDemandFeatureView]":
        with registry_failures(self._configuration):
            return self._listed.computed_views()

    def _services(self) -> "list[FeatureService]":
        with registry_failures(self._configuration):
            return self._listed.services()

    def _view(self, name: str) -> "FeatureView":
        for view in self._stored_views():
            if view.name == name:
                return view
        known = ", ".join(sorted(view.name for view in self._stored_views()))
        message = f"feature view {name!r}: not declared; Feast knows: {known}; run `feast apply` after a change"
        raise FeatureError(message)

    # ------------------------------------------------------------ offline

    def historical(self, entities: pa.Table, features: FeatureSet) -> pa.Table:
        """Join features to entity rows as known at each row's time; rows and their order stay."""
        with registry_failures(self._configuration):
            job = self.store.get_historical_features(entity_df=entities, features=with_inputs(features))
        return job.to_arrow()

    def snapshot(self, view: str, as_of: datetime, features: Sequence[str] | None = None) -> pa.Table:
        """Return every entity's newest live row as known at a moment."""
        declared = self._view(view)
        source = declared.batch_source
        if source is None:
            message = f"feature view {view}: has no batch source; give it one to train on its past"
            raise FeatureError(message)
        job = self.store._get_provider().offline_store.pull_latest_from_table_or_query(  # noqa: SLF001 - Feast has no public snapshot
            config=self.store.config,
            data_source=source,
            join_key_columns=list(describe(declared).join_keys),
            feature_name_columns=[
                field.name for field in declared.features if features is None or field.name in features
            ],
            timestamp_field=source.timestamp_field,
            created_timestamp_column=source.created_timestamp_column,
            start_date=EPOCH,
            end_date=as_of,
        )
        rows = job.to_arrow()
        if not declared.ttl:
            return rows
        live = pc.greater_equal(rows[source.timestamp_field], pa.scalar(as_of - declared.ttl, TIMESTAMP))
        return rows.filter(live)

    # ------------------------------------------------------------ online

    def materialize(self, until: datetime, since: datetime | None = None, views: Collection[str] | None = None) -> None:
        """Bring views' online rows up to a moment."""
        names = None if views is None else sorted(views)
        with (
            registry_failures(self._configuration),
            contextlib.redirect_stdout(io.StringIO()),
        ):  # Feast prints its progress
            self.store.materialize(start_date=since or EPOCH, end_date=until, feature_views=names)
        for view in self._stored_views():
            if (names is None or view.name in names) and view.ttl and isinstance(view.stream_source, self._push_source):
                self._online.expire(self.store.config, view, until - view.ttl)

    def push(self, view: str, rows: pa.Table) -> None:
        """Write rows of a view online as they come in.

        That is `FeatureStore.push` to the online store, without the registry's being read again for every call, which
        takes ten times as long as the write.
        """
        declared = self._view_cached(view)
        if not isinstance(declared.stream_source, self._push_source):
            message = (
                f"feature view {view}: nothing can be pushed to it: its source is"
                f" {type(declared.stream_source or declared.batch_source).__name__}; wrap it in a PushSource"
            )
            raise FeatureError(message)
        self._online.write_arrow(self.store.config, declared, rows)

    @cached_property
    def _push_source(self) -> Any:  # noqa: ANN401 - Feast's class
        from feast import PushSource

        return PushSource

    def online_group(self, view: str, key: str, *, within: float | None = None) -> pa.Table | None:
        """Return all rows of one first key, with their event timestamps."""
        return self._online.read_group(self.store.config, self._view_cached(view), key, within)

    def online_columns(self, keys: Mapping[str, str], *, within: float | None = None) -> Mapping[str, UnitColumns]:
        """Return the rows of one key of each view as numpy columns, each unpacked when it is asked for."""
        wanted = [(self._view_cached(view), key) for view, key in keys.items()]
        found: Mapping[str, UnitColumns] = self._online.read_columns(self.store.config, wanted, within)
        return found

    def online_groups(self, keys: Mapping[str, Sequence[str]]) -> Mapping[str, Groups]:
        """Return the rows of many keys of each view as numpy columns, a read a view."""
        config, found = self.store.config, {}
        for view, some in keys.items():
            rows, bounds = self._online.read_many(config, self._view_cached(view), some)
            if len(rows):
                found[view] = Groups(PlainColumns(rows), bounds, rows)
        return found

    def online_all(self, view: str) -> pa.Table:
        """Return every row of a view."""
        return self._online.read_all(self.store.config, self._view_cached(view))

    def watermark(self, view: str) -> datetime | None:
        """Return the newest event timestamp that was materialized."""
        newest: datetime | None = self._online.watermark(self.store.config, self._view_cached(view))
        return newest

    def erase(self, join_key: str, values: Sequence[str]) -> ErasedOnline:
        """Delete all rows online that are kept under some values of a join key."""
        rows: dict[str, int] = {}
        unreached: list[str] = []
        for view in self._stored_views():
            keys = describe(view).join_keys
            if keys[:1] == (join_key,):
                rows[view.name] = self._online.erase_groups(self.store.config, view, values)
            elif join_key in keys:
                unreached.append(view.name)
        return ErasedOnline(rows, tuple(unreached))

    def generation(self, view: str) -> int:
        """Return how often the view was written online."""
        return int(self._online.generation(self.store.config, self._view_cached(view)))

    @cached_property
    def _online(self) -> Any:  # noqa: ANN401 - the packed store; adapters do not import one another
        online = self.store._get_provider().online_store  # noqa: SLF001 - Feast hides the store it configured
        if not hasattr(online, "read_group"):
            message = (
                f"online store {type(online).__name__}: cannot read a user's rows in one go; "
                "name one of recsys.adapters' packed stores in feature_store.yaml"
            )
            raise FeatureError(message)
        return online

    @cached_property
    def _views(self) -> "dict[str, FeatureView]":
        return {}

    def _view_cached(self, name: str) -> "FeatureView":
        if name not in self._views:
            self._views[name] = self._view(name)
        return self._views[name]


def with_inputs(features: FeatureSet) -> list[str]:
    """Return the references, and before a computed one its inputs that are not asked for by themselves.

    Feast would add them in the order of a set, which differs from process to process, and so would columns of a table.
    """
    view_of = {name: view.name for view in features.views for name in view.features}
    inputs = {transform.name: transform.inputs for transform in features.transforms}
    asked: dict[str, None] = {}
    for reference in features.references:
        read = sorted(f"{view_of[n]}:{n}" for n in inputs.get(reference.partition(":")[0], ()) if n in view_of)
        asked |= dict.fromkeys([*(each for each in read if each not in features.references), reference])
    return list(asked)
