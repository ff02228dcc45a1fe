"""Where do features live for requests? A Feast online store that keeps an entity's row, or a user's rows, in one value.

- `stores`: `PackedSqliteOnlineStore`, `PackedRedisOnlineStore`, and what feature_store.yaml may set for them
- `store`: Feast's interface and the fast reads behind it
- `clock`: by which time a view's TTL is judged
- `layout`: which columns a view stores, and under which keys
- `values`: Feast's protobufs to Arrow and back
- `rows`: the rows of a value, and what newer ones make of them
- `packing`: Arrow rows to bytes and back, by the kinds of `columns`
- `backend`: what the store asks of the place that keeps the values: `sqlite`, a file, or `redis`, a server, with what
  runs on it in `redis_scripts`, how it is reached in `redis_client` and how long one waits in `redis_patience`
"""

from recsys.adapters.packed_online_store.stores import (
    PackedRedisOnlineStore,
    PackedRedisOnlineStoreConfig,
    PackedSqliteOnlineStore,
    PackedSqliteOnlineStoreConfig,
)

__all__ = [
    "PackedRedisOnlineStore",
    "PackedRedisOnlineStoreConfig",
    "PackedSqliteOnlineStore",
    "PackedSqliteOnlineStoreConfig",
]
