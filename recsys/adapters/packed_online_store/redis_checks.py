"""Is a Redis server one that features can be kept on? Version, role, eviction, memory and persistence."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from recsys.adapters.packed_online_store.redis_client import failures
from recsys.errors import OnlineStoreError
from recsys.ports import Finding

if TYPE_CHECKING:
    from redis import Redis

NEEDED: Final = frozenset({"online store: connection", "online store: role"})
"""Where one of these failed, nothing can be written."""
_OLDEST: Final = (5, 0)
"""UNLINK, HSET of several fields and scripts that may draw random numbers; older ones were never tried."""
_FULL: Final = 0.9
_MEGABYTE: Final = 1_000_000
_REFILL: Final = "`recsys features build` fills it again"


def redis_findings(client: "Redis", name: str) -> Iterator[Finding]:
    """Ask a server; ends early where it does not answer, or takes no questions.

    Args:
        client: connects in bounded time.
        name: the store's, without a password.
    """
    try:
        with failures(name, "read"):
            client.ping()
    except OnlineStoreError as error:
        yield Finding("online store: connection", "failed", str(error))
        return
    yield Finding("online store: connection", "ok", name.removeprefix("online store "))
    try:
        with failures(name, "read"):
            said: Mapping[str, Any] = client.info("everything")
    except OnlineStoreError:
        advice = "let its user run INFO (ACL: +info), or look at version, eviction and persistence there"
        yield Finding("online store: settings", "warning", "this user may not ask for them", advice)
        return
    yield _version(said)
    yield _role(said)
    yield _eviction(said)
    yield _persistence(client, said)


def _version(said: Mapping[str, Any]) -> Finding:
    text = str(said.get("redis_version", "unknown"))
    found = tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
    if found and found < _OLDEST:
        return Finding("online store: version", "failed", f"Redis {text}", "install Redis 5.0 or newer")
    return Finding("online store: version", "ok", f"Redis {text}")


def _role(said: Mapping[str, Any]) -> Finding:
    if said.get("cluster_enabled"):
        advice = "use one primary: a view's two keys lie on different nodes of a cluster, and its scripts need both"
        return Finding("online store: role", "failed", "a node of Redis Cluster", advice)
    if said.get("role") == "slave":
        where = f"{said.get('master_host')}:{said.get('master_port')}"
        advice = "name the primary in online_store.url: a replica takes no writes"
        return Finding("online store: role", "failed", f"a replica of {where}", advice)
    return Finding("online store: role", "ok", "primary")


def _eviction(said: Mapping[str, Any]) -> Finding:
    name, policy = "online store: eviction", str(said.get("maxmemory_policy", "unknown"))
    limit, used = int(said.get("maxmemory", 0)), int(said.get("used_memory", 0))
    memory = f"{used / _MEGABYTE:,.0f} MB used of {f'{limit / _MEGABYTE:,.0f} MB' if limit else 'no limit'}"
    found = f"{policy}, {memory}"
    if policy.startswith("allkeys"):
        advice = "set maxmemory-policy to noeviction: a feature view is two keys, so a whole view would vanish at once"
        return Finding(name, "failed" if limit else "warning", found, advice)
    if limit and used > _FULL * limit:
        return Finding(name, "warning", found, "give the server more memory: writes are refused when it is full")
    return Finding(name, "ok", found)


def _persistence(client: "Redis", said: Mapping[str, Any]) -> Finding:
    name = "online store: persistence"
    if said.get("loading"):
        return Finding(name, "warning", "the server is loading its file", "wait, and run this again")
    if said.get("rdb_last_bgsave_status", "ok") != "ok" or said.get("aof_last_write_status", "ok") != "ok":
        return Finding(name, "failed", "its last write to disk failed", "look at the server's log, and free its disk")
    if said.get("aof_enabled"):
        return Finding(name, "ok", "append-only file")
    saves = _saves(client)
    if saves is None:
        advice = f"look there whether it keeps a file: after a restart without one {_REFILL}"
        return Finding(name, "warning", "no append-only file; this user may not ask for snapshots", advice)
    if saves:
        return Finding(name, "ok", f"snapshots: save {saves}")
    advice = f"switch on appendonly or save: after a restart the store is empty, and answers poor, until {_REFILL}"
    return Finding(name, "warning", "neither append-only file nor snapshots", advice)


def _saves(client: "Redis") -> str | None:
    """Return when the server saves snapshots, or None if it does not say."""
    from redis.exceptions import RedisError

    try:
        found: Any = client.config_get("save")
    except RedisError:  # managed servers hide CONFIG
        return None
    value = next(iter(found.values()), None) if found else None
    return value.decode() if isinstance(value, bytes) else value
