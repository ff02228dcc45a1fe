"""What does a Feast repository define, what does Feast's registry know, and how is the one brought to the other?"""

import contextlib
import io
import json
import os
import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys.adapters.declared_logic import normalized
from recsys.adapters.feast_configuration import (
    read_configuration,
    registry_disconnected,
    registry_is_empty,
    registry_path,
)
from recsys.adapters.repository_modules import importable
from recsys.errors import FeatureError
from recsys.ports import Definitions
from recsys.specs.base import format_duration

if TYPE_CHECKING:
    from feast import FeatureService, FeatureView, OnDemandFeatureView


class FeastRepository:
    """`ports.FeatureRepository` over the files of feature_repo/ and Feast's registry."""

    def __init__(
        self,
        folder: Path,
        configuration: str,
        files: Callable[[], Any],
        registry: Callable[[], Any],
        state: Path | None = None,
    ) -> None:
        """Point at a repository; nothing is read before it is needed.

        Args:
            folder: feature_repo/.
            configuration: the Feast YAML inside it.
            files: reads the files; returns something with the listings of a feature store.
            registry: opens the feature store, anew at each call.
            state: the state folder that feature tables lie in; the files' own default if None.
        """
        self._folder = folder
        self._configuration = configuration
        self._files = files
        self._registry = registry
        self._state = state

    def declared(self) -> Definitions:
        """Return what the files define, applied or not."""
        return _definitions(self._files())

    def registered(self) -> Definitions:
        """Return what Feast's registry holds; empty before its first apply."""
        return {} if self._never_applied() else _definitions(self._registry())

    def apply(self) -> None:
        """Do what the plain `feast apply` does.

        Raises:
            FeatureError: with the reason, if Feast fails.
        """
        address = registry_path(read_configuration(self._folder / self._configuration))
        os.environ.setdefault("FEAST_USAGE", "False")
        from feast.repo_config import load_repo_config
        from feast.repo_operations import apply_total

        said = io.StringIO()
        try:
            with (
                registry_disconnected(address),
                importable(self._folder, self._state),
                contextlib.redirect_stdout(said),
                contextlib.redirect_stderr(said),
                warnings.catch_warnings(record=True),  # Feast switches its own on
            ):
                config = load_repo_config(self._folder, self._folder / self._configuration)
                apply_total(config, self._folder, skip_source_validation=False)
        except SystemExit as error:  # Feast prints why before it gives up
            last = said.getvalue().strip().rpartition("\n")[2]
            raise self._failure(last or "without a word") from error
        except Exception as error:  # whatever a file of the repository, Feast or a store raises
            why = f"{type(error).__name__}: {error}"
            raise self._failure(why) from error

    def _failure(self, why: str) -> FeatureError:
        shown = " ".join(why.split())
        return FeatureError(f"feast apply in {self._folder.name}/: failed: {shown}; run it there to see all it says")

    def _never_applied(self) -> bool:
        path = registry_path(read_configuration(self._folder / self._configuration))
        if "://" in path:
            return registry_is_empty(self._configuration, path)
        return not (self._folder / path).exists()


def _definitions(store: Any) -> Definitions:  # noqa: ANN401 - a feature store, or the parsed files with its listings
    return {
        "feature_views": {view.name: _view(view) for view in store.list_feature_views()},
        "request_transforms": {view.name: _request_transform(view) for view in store.list_on_demand_feature_views()},
        "feature_services": {service.name: _service(service) for service in store.list_feature_services()},
    }


def _view(view: "FeatureView") -> dict[str, Any]:
    return {
        "join_keys": [column.name for column in view.entity_columns],
        "features": {field.name: str(field.dtype) for field in view.features},
        "ttl": format_duration(view.ttl or timedelta(0)),
        "online": view.online,
        "source": _source(view),
        **_words(view),
    }


def _source(view: "FeatureView") -> dict[str, Any]:
    if view.batch_source is None:
        return {}
    content: dict[str, Any] = json.loads(str(view.batch_source))  # Feast writes its message as JSON
    content.pop("meta", None)  # when it was applied
    content.pop("project", None)  # which only an applied one knows
    return content


def _request_transform(view: "OnDemandFeatureView") -> dict[str, Any]:
    requests = view.source_request_sources.values()
    return {
        "code": normalized(getattr(view.feature_transformation, "udf_string", "") or ""),
        "reads": sorted(projection.name for projection in view.source_feature_view_projections.values()),
        "requests": sorted(field.name for source in requests for field in source.schema),
        "features": {field.name: str(field.dtype) for field in view.features},
        **_words(view),
    }


def _service(service: "FeatureService") -> dict[str, Any]:
    return {
        "references": [
            f"{projection.name}:{field.name}"
            for projection in service.feature_view_projections
            for field in projection.features
        ],
        **_words(service),
    }


def _words(defined: "FeatureView | OnDemandFeatureView | FeatureService") -> dict[str, Any]:
    """Return what is said to people."""
    return {"description": defined.description, "owner": defined.owner, "tags": dict(defined.tags)}
