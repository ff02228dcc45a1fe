"""Which packed stores can feature_store.yaml name, and what may it set for each?

Feast looks for a store's settings beside its class, as `<class>Config`.
"""

import os
import threading
from pathlib import Path
from typing import Any, Literal

from feast.repo_config import FeastConfigBaseModel, RepoConfig
from pydantic import StrictStr

from recsys.adapters.packed_online_store.backend import Backend
from recsys.adapters.packed_online_store.clock import ReplayedClockConfig
from recsys.adapters.packed_online_store.redis import RedisBackend
from recsys.adapters.packed_online_store.redis_client import connect
from recsys.adapters.packed_online_store.sqlite import SqliteBackend, path_of
from recsys.adapters.packed_online_store.store import PackedOnlineStore


class PackedOnlineStoreConfig(FeastConfigBaseModel):
    """What both packed stores have."""

    clock: Literal["system"] | ReplayedClockConfig = "system"
    """By which time Feast's reads judge a view's TTL."""


class PackedSqliteOnlineStoreConfig(PackedOnlineStoreConfig):
    """`online_store:` of feature_store.yaml."""

    type: Literal["recsys.adapters.packed_online_store.PackedSqliteOnlineStore"] = (
        "recsys.adapters.packed_online_store.PackedSqliteOnlineStore"
    )
    """Selects this store."""

    path: StrictStr = "data/online.db"
    """SQLite file, relative to the feature repository."""

    def in_namespace(self, folder: Path) -> dict[str, Any]:
        """Return the settings that differ in a namespace of its own: the file lies in its folder."""
        return {"path": str(folder / "online.db")}


class PackedSqliteOnlineStore(PackedOnlineStore):
    """Values in a SQLite file."""

    def __init__(self) -> None:
        """Open nothing yet: each thread connects at its first call."""
        super().__init__()
        self._local = threading.local()

    def _backend(self, config: RepoConfig) -> Backend:
        path = path_of(config)
        current: SqliteBackend | None = getattr(self._local, "backend", None)
        if current is None or current.path != path or current.process != os.getpid():
            current = self._local.backend = SqliteBackend(path)
        return current


class PackedRedisOnlineStoreConfig(PackedOnlineStoreConfig):
    """`online_store:` of feature_store.yaml."""

    type: Literal["recsys.adapters.packed_online_store.PackedRedisOnlineStore"] = (
        "recsys.adapters.packed_online_store.PackedRedisOnlineStore"
    )
    """Selects this store."""

    url: StrictStr = "redis://127.0.0.1:6379/0"
    """redis://user:password@host:port/database, rediss:// with TLS, or unix://; `${NAME}` is taken from the process's
    environment."""

    key_prefix: StrictStr = "recsys:"
    """Every key begins with it: two environments on one server have different ones."""

    connect_timeout_seconds: float = 2.0
    """How long a connection may take."""

    timeout_seconds: float = 5.0
    """How long an answer may take."""

    def in_namespace(self, folder: Path) -> dict[str, Any]:
        """Return the settings that differ in a namespace of its own: the prefix ends in its name."""
        return {"key_prefix": f"{self.key_prefix}namespace={folder.name}:"}


class PackedRedisOnlineStore(PackedOnlineStore):
    """Values on a Redis server."""

    def __init__(self) -> None:
        """Connect to nothing yet: the threads of a process share the connections of one client."""
        super().__init__()
        self._backends: dict[tuple[str, str, float, float], Backend] = {}

    def _backend(self, config: RepoConfig) -> Backend:
        own = config.online_store
        chosen = (own.url, own.key_prefix, own.connect_timeout_seconds, own.timeout_seconds)
        if chosen not in self._backends:
            client = connect(own.url, own.connect_timeout_seconds, own.timeout_seconds)
            self._backends.setdefault(chosen, RedisBackend(client, own.key_prefix))
        return self._backends[chosen]
