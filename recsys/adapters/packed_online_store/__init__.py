"""Where do features live for requests? A Feast online store that keeps an entity's row, or a user's rows, in one value.

- `store`: `PackedSqliteOnlineStore`, Feast's interface and the fast reads behind it
- `sqlite`: connections, transactions and tables
- `layout`: which columns a view stores, and Feast's protobufs to Arrow and back
- `packing`: Arrow rows to bytes and back; knows nothing of SQLite
"""

from recsys.adapters.packed_online_store.store import PackedSqliteOnlineStore, PackedSqliteOnlineStoreConfig

__all__ = ["PackedSqliteOnlineStore", "PackedSqliteOnlineStoreConfig"]
