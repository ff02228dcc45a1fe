"""How is Feast's store opened, from the configured stores or from a replay's own?"""

import os
import sys
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from recsys.adapters.feast_configuration import read_configuration, registry_failures, registry_path
from recsys.errors import FeatureError

if TYPE_CHECKING:
    from feast import FeatureStore, RepoConfig

_ATOMIC: Final = "recsys.adapters.atomic_registry_store.AtomicFileRegistryStore"
_CACHED_SECONDS: Final = 60
"""Of a replay's registry, which nothing but the replay writes."""


def prepare_feast() -> None:
    """Import Feast, which takes a second or two, unless it is imported already.

    Two thirds of the time to import it goes into typeguard, which rewrites its classes so that they check the types of
    what they are given. That is for people who write definitions; here they are read from the registry, which wrote
    them. Whoever reads the files of a repository imports Feast with its checks, and before this.
    """
    os.environ.setdefault("FEAST_USAGE", "False")
    if "feast" in sys.modules:
        return
    import typeguard

    checked = typeguard.typechecked
    typeguard.typechecked = _unchecked
    try:
        import feast.infra.online_stores.helpers
        import feast.repo_config  # noqa: F401
    finally:
        typeguard.typechecked = checked


def _unchecked(target: Any = None, **_: Any) -> Any:  # noqa: ANN401 - as typeguard's own decorator
    return (lambda decorated: decorated) if target is None else target


def open_store(
    repository: Path, configuration: str, namespace: Path | None, spark: Mapping[str, str] | None = None
) -> "FeatureStore":
    """Open the feature store of a repository.

    Args:
        repository: the folder feature_repo/.
        configuration: the Feast YAML inside it.
        namespace: a folder for a registry of its own, and the name of an online store of its own; the configured ones
            if None.
        spark: settings for an offline store that joins on Spark, instead of the configured ones: a process has one
            session.

    Raises:
        FeatureError: the configuration or the registry is missing or damaged, or the online store has no namespaces.
    """
    raw = read_configuration(repository / configuration)
    prepare_feast()
    if namespace is not None:
        raw = _own_namespace(raw, repository, namespace, configuration)
    store = _store_of(raw, repository, spark)
    # The packed stores can be read during a materialize, and a killed one leaves this state behind. The setting of the
    # same name does this too, but warns at every command where the registry is a file.
    opened_registry(store, repository, configuration).serve_features_while_materializing = True
    return store


def _store_of(raw: dict[str, Any], repository: Path, spark: Mapping[str, str] | None = None) -> "FeatureStore":
    from feast import FeatureStore
    from feast.repo_config import RepoConfig

    config = RepoConfig(**raw)
    if spark is not None and hasattr(config.offline_store, "spark_conf"):
        config.offline_store.spark_conf = dict(spark)
    config.repo_path = repository
    declared = registry_path(raw)
    if "://" not in declared and not Path(repository, declared).exists():
        message = f"Feast registry {declared}: missing; run `feast apply` in {repository.name}/"
        raise FeatureError(message)
    return FeatureStore(repo_path=str(repository), config=config)


def _own_namespace(raw: dict[str, Any], repository: Path, namespace: Path, configuration: str) -> dict[str, Any]:
    """Give a replay a registry and an online store of its own, starting from the applied definitions.

    The store is emptied before the registry is there: a kill in between empties it again.
    """
    from feast.repo_config import RepoConfig

    configured = RepoConfig(**raw).online_store
    if not hasattr(configured, "in_namespace"):
        message = (
            f"online store {configured.type}: cannot give a replay an online store of its own;"
            " name one of recsys.adapters' packed stores in feature_store.yaml"
        )
        raise FeatureError(message)
    own = namespace / "registry.db"
    changed = raw | {
        "registry": {"path": str(own), "registry_store_type": _ATOMIC, "cache_ttl_seconds": _CACHED_SECONDS},
        "online_store": raw["online_store"] | configured.in_namespace(namespace),
    }
    if not own.exists():
        applied = _applied(raw, repository, configuration)
        namespace.mkdir(parents=True, exist_ok=True)
        _empty(RepoConfig(**changed))
        partial = own.with_suffix(f".{os.getpid()}.partial")
        partial.write_bytes(applied)
        partial.replace(own)
    return changed


def _applied(raw: dict[str, Any], repository: Path, configuration: str) -> bytes:
    """Return the applied definitions as a registry file holds them, whatever keeps them.

    Raises:
        FeatureError: nothing was applied.
    """
    declared = registry_path(raw)
    if "://" in declared:
        store = _store_of(raw, repository)
        with registry_failures(configuration):
            content: bytes = opened_registry(store, repository, configuration).proto().SerializeToString()
        return content
    applied = repository / declared
    if not applied.exists():
        message = f"Feast registry {declared}: missing; run `feast apply` in {repository.name}/"
        raise FeatureError(message)
    return applied.read_bytes()


def _empty(config: "RepoConfig") -> None:
    """Forget what an online store's namespace holds of an earlier life."""
    from feast.infra.online_stores.helpers import get_online_store_from_config

    store: Any = get_online_store_from_config(config.online_store)
    store.forget(config)


def opened_registry(store: "FeatureStore", repository: Path, configuration: str) -> Any:  # noqa: ANN401 - Feast's registry
    """Return the registry, which is read here for the first time."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    registry = store.config.registry
    declared = str(registry if isinstance(registry, str) else registry.path)
    try:
        with registry_failures(configuration):
            opened = store.registry
    except DecodeError as error:
        message = (
            f"Feast registry {declared}: damaged ({error}); delete it, run `feast apply` in {repository.name}/ and"
            " `recsys features build`"
        )
        raise FeatureError(message) from error
    for name in ("read_engine", "write_engine"):  # of a SQL registry
        if hasattr(opened, name):
            weakref.finalize(opened, getattr(opened, name).dispose)
    return opened
