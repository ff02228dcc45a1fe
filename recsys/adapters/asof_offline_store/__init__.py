"""Which feature values were known at each entity row's time? A Feast offline store on DuckDB's ASOF JOIN.

- `store`: `AsofOfflineStore`, Feast's interface
- `entity_forms`, `entity_rows`: what the caller asks about, in any form; checked
- `observed`: what is asked about where the caller gives only a range of time
- `view_plan`: what is asked of each feature view
- `parquet_source`: a source's files, as DuckDB sees them
- `join`: one view's history joined to the rows, then widened
- `sql`: the statements, and the rule of the two clocks
- `spark_store`, `spark_sql`: the same on Spark, where histories are too long for one machine
- `connection`: DuckDB, in UTC and within its memory
- `arrow_transformation`: request-time features over columns
- `retrieval_job`: the lazy result that Feast hands on
- `saved_dataset`: that result as a file, read back whole
"""

from recsys.adapters.asof_offline_store.store import AsofOfflineStore, AsofOfflineStoreConfig

__all__ = ["AsofOfflineStore", "AsofOfflineStoreConfig"]
