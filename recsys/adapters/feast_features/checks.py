"""What does `recsys doctor` have to know of Feast's online store and registry?"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from recsys.adapters.feast_configuration import read_configuration, registry_path
from recsys.adapters.feast_features.opening import prepare_feast
from recsys.adapters.sql_checks import sql_findings
from recsys.ports import Finding

_TABLES: Final = (
    "projects",
    "entities",
    "data_sources",
    "feature_views",
    "on_demand_feature_views",
    "feature_services",
)
_APPLY: Final = "`recsys apply`"


def online_store_findings(repository: Path, configuration: str) -> Iterator[Finding]:
    """Ask the configured online store; the registry need not be there.

    Raises:
        FeatureError: the configuration is wrong.
    """
    raw = read_configuration(repository / configuration)
    prepare_feast()
    from feast.infra.online_stores.helpers import get_online_store_from_config
    from feast.repo_config import RepoConfig

    config = RepoConfig(**raw)
    config.repo_path = repository
    store: Any = get_online_store_from_config(config.online_store)
    if not hasattr(store, "findings"):
        advice = f"name one of recsys.adapters' packed stores in {configuration}: requests read a user's rows in one go"
        yield Finding("online store: type", "failed", type(store).__name__, advice)
        return
    yield from store.findings(config)


def feast_registry_findings(repository: Path, configuration: str) -> Iterator[Finding]:
    """Ask what keeps Feast's registry: a file, or a database.

    Raises:
        FeatureError: the configuration is wrong.
    """
    address = registry_path(read_configuration(repository / configuration))
    if "://" in address:
        yield from sql_findings("feature registry", address, _TABLES, _APPLY)
        return
    file = Path(repository, address)
    folder = next(parent for parent in file.absolute().parents if parent.exists())
    if not os.access(folder, os.W_OK):
        advice = "let this user write there, or name another registry.path"
        yield Finding("feature registry: file", "failed", f"{folder} may not be written", advice)
    elif file.exists() and not os.access(file, os.R_OK):
        yield Finding("feature registry: file", "failed", f"{file} may not be read", "let this user read it")
    else:
        there = str(file.resolve()) if file.exists() else f"{file.name} is not there yet: {_APPLY} makes it"
        yield Finding("feature registry: file", "ok", there)
