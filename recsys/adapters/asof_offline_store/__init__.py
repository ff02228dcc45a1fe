"""Which feature values were known at each entity row's time? A Feast offline store on DuckDB's ASOF JOIN.

- `store`: `AsofOfflineStore`, Feast's interface
- `entity_rows`: what the caller asks about, checked, without duplicates
- `join`: one view's history joined to the rows, then widened
- `sql`: the statements, and the rule of the two clocks
- `arrow_transformation`: request-time features over columns
- `retrieval_job`: the lazy result that Feast hands on
"""

from recsys.adapters.asof_offline_store.store import AsofOfflineStore, AsofOfflineStoreConfig

__all__ = ["AsofOfflineStore", "AsofOfflineStoreConfig"]
