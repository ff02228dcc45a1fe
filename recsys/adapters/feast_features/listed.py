"""Which definitions are in Feast's registry now? It is read at each question, and made into objects once a version.

To make its objects of a registry takes Feast a tenth of a millisecond a field, and a command asks dozens of times.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from feast import FeatureService, FeatureStore, FeatureView, OnDemandFeatureView


Definition = TypeVar("Definition")


class Listed:
    """The definitions of a store's project; whoever is given them does not change them."""

    def __init__(self, store: "FeatureStore") -> None:
        """Read nothing yet."""
        self._store = store
        self._kept: dict[str, tuple[str, list[Any]]] = {}

    def stored_views(self) -> "list[FeatureView]":
        """Return the views that have rows."""
        return self._of_version("stored", self._store.list_feature_views)

    def computed_views(self) -> "list[OnDemandFeatureView]":
        """Return the views that are computed at the request."""
        return self._of_version("computed", self._store.list_on_demand_feature_views)

    def services(self) -> "list[FeatureService]":
        """Return the feature services."""
        return self._of_version("services", self._store.list_feature_services)

    def _of_version(self, kind: str, listed: Callable[[], list[Definition]]) -> list[Definition]:
        version = self._version()
        if not version:
            return listed()
        of, definitions = self._kept.get(kind, ("", []))
        if of != version:
            definitions = listed()
            self._kept[kind] = version, definitions
        return definitions

    def _version(self) -> str:
        """Return by which name the registry's file knows its content, or nothing for one that is no file.

        Each write gives it another: plain `feast apply` and a materialize do, in whichever process.
        """
        from feast.infra.registry.registry import Registry

        registry = getattr(self._store, "registry", None)  # files that were only parsed have none
        if not isinstance(registry, Registry):
            return ""
        registry.refresh(self._store.project)
        return str(registry.proto().version_id)
