"""How does the core read features? Joined as known in the past, and live from the online store.

Both from one Feast repository, whose stores are the ASOF and the packed one of this package.
"""

import contextlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import yaml

from recsys.adapters.declared_logic import normalized, transform_source
from recsys.adapters.repository_modules import importable
from recsys.errors import FeatureError
from recsys.ports import FeatureSet, RequestTransform, ViewInfo
from recsys.schema import TIMESTAMP
from recsys.specs.catalog import digest

if TYPE_CHECKING:
    from feast import FeatureService, FeatureStore, FeatureView, OnDemandFeatureView

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class FeastFeatures:
    """The FeatureReader port on a Feast repository whose stores are the packed and ASOF ones of this package."""

    def __init__(self, repository: Path, configuration: str, namespace: Path | None = None) -> None:
        """Point at a repository; nothing is read before it is needed.

        Args:
            repository: the folder feature_repo/.
            configuration: the Feast YAML inside it.
            namespace: a folder for an online store and registry of its own (a replay's); the configured ones by
            default.
        """
        self._repository = repository
        self._configuration = repository / configuration
        self._namespace = namespace

    @cached_property
    def store(self) -> "FeatureStore":
        """Feast's own store object, opened at first use."""
        os.environ.setdefault("FEAST_USAGE", "False")
        from feast import FeatureStore
        from feast.repo_config import RepoConfig

        try:
            raw = yaml.safe_load(os.path.expandvars(self._configuration.read_text(encoding="utf-8")))
        except OSError as error:
            message = (
                f"Feast configuration {self._configuration}: {error.strerror}; the environment's feature_store names it"
            )
            raise FeatureError(message) from error
        if self._namespace is not None:
            raw = self._own_namespace(raw, self._namespace)
        config = RepoConfig(**raw)
        config.repo_path = self._repository
        declared = str(config.registry if isinstance(config.registry, str) else config.registry.path)
        if "://" not in declared and not Path(self._repository, declared).exists():
            message = f"Feast registry {declared}: missing; run `feast apply` in {self._repository.name}/"
            raise FeatureError(message)
        store = FeatureStore(repo_path=str(self._repository), config=config)
        # The packed store shows a view as before or after a materialize, and a killed one leaves this state behind. The
        # setting of the same name does this too, but warns at every command where the registry is a file.
        _opened_registry(store, declared, self._repository).serve_features_while_materializing = True
        return store

    def _own_namespace(self, raw: dict[str, Any], namespace: Path) -> dict[str, Any]:
        """Give a replay a registry and an online store of its own, starting from the applied definitions."""
        namespace.mkdir(parents=True, exist_ok=True)
        registry = raw["registry"] if isinstance(raw["registry"], dict) else {"path": raw["registry"]}
        own = namespace / "registry.db"
        if not own.exists():
            applied = self._repository / str(registry["path"])
            if not applied.exists():
                message = f"Feast registry {applied}: missing; run `feast apply` in {self._repository.name}/"
                raise FeatureError(message)
            own.write_bytes(applied.read_bytes())
        return raw | {
            "registry": registry | {"path": str(own)},
            "online_store": raw["online_store"] | {"path": str(namespace / "online.db")},
        }

    # ------------------------------------------------------------ definitions

    def view(self, name: str) -> ViewInfo:
        """Describe one stored feature view."""
        return _describe(self._view(name))

    def feature_set(self, name: str | Sequence[str]) -> FeatureSet:
        """Resolve a feature service by name, or a list of `view:feature` references."""
        if isinstance(name, str):
            references = self._service_references(name)
            label = name
        else:
            references, label = list(name), "+".join(name)
        stored = {view.name: view for view in self.store.list_feature_views()}
        computed = {view.name: view for view in self.store.list_on_demand_feature_views()}
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
            views=tuple(_describe(view) for view in needed.values()),
            transforms=tuple(_transform(view) for view in transforms.values()),
            digest=self._digest(references, needed, transforms),
        )

    def _service_references(self, name: str) -> list[str]:
        services = {service.name: service for service in self.store.list_feature_services()}
        if name not in services:
            known = ", ".join(sorted(services)) or "none"
            message = f"feature service {name!r}: not declared; Feast knows: {known}; run `feast apply` after a change"
            raise FeatureError(message)
        return [
            f"{projection.name}:{field.name}"
            for projection in services[name].feature_view_projections
            for field in projection.features
        ]

    def _view(self, name: str) -> "FeatureView":
        for view in self.store.list_feature_views():
            if view.name == name:
                return view
        known = ", ".join(sorted(view.name for view in self.store.list_feature_views()))
        message = f"feature view {name!r}: not declared; Feast knows: {known}; run `feast apply` after a change"
        raise FeatureError(message)

    def _digest(
        self, references: Sequence[str], views: "dict[str, FeatureView]", transforms: "dict[str, OnDemandFeatureView]"
    ) -> str:
        """Digest what the columns mean: definitions, transforms of the tables, and request-time code."""
        module = self._repository / "transforms.py"
        return digest(
            {
                "columns": list(references),
                "views": {
                    name: {
                        "join_keys": list(_describe(view).join_keys),
                        "ttl_s": (view.ttl or timedelta(0)).total_seconds(),
                        "features": [[field.name, str(field.dtype)] for field in view.features],
                        "transform": transform_source(module, name),
                    }
                    for name, view in views.items()
                },
                "request_time": {
                    name: {
                        "code": normalized(_source(view)),
                        "inputs": sorted(_transform(view).inputs),  # Feast keeps sources in no order
                        "outputs": [[field.name, str(field.dtype)] for field in view.features],
                    }
                    for name, view in transforms.items()
                },
            }
        )

    # ------------------------------------------------------------ offline

    def historical(self, entities: pa.Table, features: FeatureSet) -> pa.Table:
        """Join features to entity rows as known at each row's time; rows and their order stay."""
        job = self.store.get_historical_features(entity_df=entities, features=list(features.references))
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
            join_key_columns=list(_describe(declared).join_keys),
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

    def materialize(self, until: datetime, since: datetime | None = None) -> None:
        """Bring every view's online rows up to a moment."""
        with contextlib.redirect_stdout(io.StringIO()):  # Feast prints its progress
            self.store.materialize(start_date=since or EPOCH, end_date=until)

    def online_group(self, view: str, key: str) -> pa.Table | None:
        """Return all rows of one first key, with their event timestamps."""
        return self._online.read_group(self.store.config, self._view_cached(view), key)

    def online_all(self, view: str) -> pa.Table:
        """Return every row of a view."""
        return self._online.read_all(self.store.config, self._view_cached(view))

    def watermark(self, view: str) -> datetime | None:
        """Return the newest event timestamp that was materialized."""
        newest: datetime | None = self._online.watermark(self.store.config, self._view_cached(view))
        return newest

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


def _opened_registry(store: "FeatureStore", declared: str, repository: Path) -> Any:  # noqa: ANN401 - Feast's registry
    """Return the registry, which is read here for the first time."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        return store.registry
    except DecodeError as error:
        message = (
            f"Feast registry {declared}: damaged ({error}); delete it, run `feast apply` in {repository.name}/ and"
            " `recsys features build`"
        )
        raise FeatureError(message) from error


class DeclaredFeatures(FeastFeatures):
    """What the repository's files declare, applied or not: enough to check references, not to read values."""

    @cached_property
    def store(self) -> Any:  # noqa: ANN401 - the three listings that definitions are read from
        """The parsed repository, with the listings of a feature store."""
        os.environ.setdefault("FEAST_USAGE", "False")
        from feast import Field
        from feast.repo_operations import parse_repo
        from feast.types import String

        try:
            with importable(self._repository):
                contents = parse_repo(self._repository)
        except Exception as error:  # whatever a file of the repository raises when it is imported
            message = (
                f"feature repository {self._repository.name}/: {type(error).__name__}: {error}; `feast apply`"
                f" fails on it too"
            )
            raise FeatureError(message) from error
        keys = {entity.name: entity.join_key for entity in contents.entities}
        for view in contents.feature_views:
            # `feast apply` fills these in; a file that was only parsed has the names of its entities alone.
            if not view.entity_columns:
                view.entity_columns = [Field(name=keys[name], dtype=String) for name in view.entities if name in keys]
        return _Declared(contents.feature_views, contents.on_demand_feature_views, contents.feature_services)


@dataclass(frozen=True)
class _Declared:
    views: "list[FeatureView]"
    computed: "list[OnDemandFeatureView]"
    services: "list[FeatureService]"

    def list_feature_views(self) -> "list[FeatureView]":
        return self.views

    def list_on_demand_feature_views(self) -> "list[OnDemandFeatureView]":
        return self.computed

    def list_feature_services(self) -> "list[FeatureService]":
        return self.services


def _describe(view: "FeatureView") -> ViewInfo:
    return ViewInfo(
        name=view.name,
        join_keys=tuple(column.name for column in view.entity_columns) or tuple(view.entities),
        features=tuple(field.name for field in view.features),
        kinds={field.name: _kind(str(field.dtype)) for field in view.features},
        ttl=view.ttl or None,
    )


def _kind(dtype: str) -> str:
    if "String" in dtype or "STRING" in dtype:
        return "text"
    return "time" if "TIMESTAMP" in dtype.upper() else "number"


def _transform(view: "OnDemandFeatureView") -> RequestTransform:
    transformation = view.feature_transformation
    if str(view.mode) != "python" or transformation is None:
        message = (
            f"on-demand view {view.name}: mode {view.mode}; requests are answered by mode='python' functions"
            f" over columns"
        )
        raise FeatureError(message)
    inputs = [
        field.name for projection in view.source_feature_view_projections.values() for field in projection.features
    ]
    inputs += [field.name for source in view.source_request_sources.values() for field in source.schema]
    return RequestTransform(
        name=view.name,
        inputs=tuple(inputs),
        outputs=tuple(field.name for field in view.features),
        function=transformation.udf,
    )


def _source(view: "OnDemandFeatureView") -> str:
    return getattr(view.feature_transformation, "udf_string", "") or ""
