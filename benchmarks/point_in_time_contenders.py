"""How does each contender of benchmarks/point_in_time.py join? One run a process.

    point_in_time_contenders.py FOLDER TASK CONTENDER

prints wall seconds, CPU seconds, the peak of memory in MiB and a digest of the output, as JSON. Each contender is
handed the entity rows in its own form (Arrow, pandas, polars) and gives an Arrow table; importing and reading the
entity rows is not timed.
"""

import hashlib
import json
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from point_in_time_data import FEATURES

TTL_DAYS = {"users": 30, "items": 0, "pairs": 0}
KEYS = {"users": ["user_id"], "items": ["item_id"], "pairs": ["user_id", "item_id"]}
VIEWS = {"two-views": ["users", "items"], "pair-view": ["pairs"]}

TYPES = {
    pa.large_string(): pa.string(),
    pa.string_view(): pa.string(),
    pa.timestamp("ns", "UTC"): pa.timestamp("us", "UTC"),
}
"""Types of one contender -> types that all are compared in."""

Join = Callable[[], pa.Table]


def ours(folder: Path, task: str) -> Join:
    """AsofOfflineStore, by Feast."""
    store = _store(folder, "recsys.adapters.asof_offline_store.AsofOfflineStore")
    entities, features = pq.read_table(folder / "entities.parquet"), _references(task)
    return lambda: store.get_historical_features(entities, features).to_arrow()


def feast(folder: Path, task: str) -> Join:
    """Feast's duckdb store, told to cut off what was not known."""
    store = _store(folder, "duckdb")
    entities, features = pq.read_table(folder / "entities.parquet").to_pandas(), _references(task)
    return lambda: store.get_historical_features(entities, features, filter_by_created_timestamp=True).to_arrow()


def raw(folder: Path, task: str) -> Join:
    """Plain DuckDB: what one would write by hand for these very files."""
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.register("given", pq.read_table(folder / "entities.parquet"))
    names = VIEWS[task]
    histories = ", ".join(f"{name} AS ({_history_sql(folder, name)})" for name in names)
    joins = " ".join(
        f"ASOF LEFT JOIN {name} ON {' AND '.join(f'e.{key} = {name}.{key}' for key in KEYS[name])}"
        f" AND e.event_timestamp >= {name}.clock"
        for name in names
    )
    values = ", ".join(_value_sql(name, feature) for name in names for feature in FEATURES)
    query = (
        f"WITH e AS (SELECT *, row_number() OVER () AS row FROM given), {histories} "
        f"SELECT e.* EXCLUDE row, {values} FROM e {joins} ORDER BY row"
    )
    return lambda: connection.sql(query).to_arrow_table()


def _history_sql(folder: Path, name: str) -> str:
    keys = ", ".join(KEYS[name])
    return (
        f"SELECT *, greatest(event_timestamp, created_timestamp) AS clock FROM '{folder / name}.parquet' "
        f"QUALIFY event_timestamp >= max(event_timestamp) OVER (PARTITION BY {keys} ORDER BY clock, event_timestamp)"
    )


def _value_sql(name: str, feature: str) -> str:
    if not TTL_DAYS[name]:
        return f"{name}_{feature}"
    alive = f"{name}.event_timestamp >= e.event_timestamp - INTERVAL {TTL_DAYS[name]} DAY"
    return f"CASE WHEN {alive} THEN {name}_{feature} END AS {name}_{feature}"


def polars(folder: Path, task: str) -> Join:
    """Polars' join_asof, with the same running maximum."""
    import polars as pl

    entities = pl.read_parquet(folder / "entities.parquet")

    def join() -> pa.Table:
        rows = entities.lazy().with_row_index("row").sort("event_timestamp")
        for name in VIEWS[task]:
            clock = pl.max_horizontal("event_timestamp", "created_timestamp").alias("clock")
            history = (
                pl.scan_parquet(folder / f"{name}.parquet")
                .with_columns(clock)
                .sort("clock", "event_timestamp", "created_timestamp")
                .filter(pl.col("event_timestamp") >= pl.col("event_timestamp").cum_max().over(KEYS[name]))
                .rename({"event_timestamp": "event"})
            )
            rows = rows.join_asof(
                history, left_on="event_timestamp", right_on="clock", by=KEYS[name], check_sortedness=False
            )
            values = [f"{name}_{feature}" for feature in FEATURES]
            if TTL_DAYS[name]:
                alive = pl.col("event") >= pl.col("event_timestamp") - pl.duration(days=TTL_DAYS[name])
                rows = rows.with_columns(pl.when(alive).then(pl.col(value)).alias(value) for value in values)
            rows = rows.drop("event", "created_timestamp", "clock", strict=False)
        return rows.sort("row").drop("row").collect().to_arrow()

    return join


CONTENDERS = {"ours": ours, "raw": raw, "feast": feast, "polars": polars}


def write_repository(folder: Path) -> None:
    """Apply the views to a registry in `folder`."""
    from feast import Entity, FeatureView, Field, FileSource, ValueType
    from feast.types import Float64, Int64, String

    types = {"clicks": Int64, "segment": String}
    entities = {
        f"{name}_id": Entity(name=name, join_keys=[f"{name}_id"], value_type=ValueType.STRING)
        for name in ("user", "item")
    }
    views = [
        FeatureView(
            name=name,
            entities=[entities[key] for key in KEYS[name]],
            ttl=timedelta(days=TTL_DAYS[name]),
            schema=[Field(name=f"{name}_{feature}", dtype=types.get(feature, Float64)) for feature in FEATURES],
            source=FileSource(
                name=f"{name}_source",
                path=str(folder / f"{name}.parquet"),
                timestamp_field="event_timestamp",
                created_timestamp_column="created_timestamp",
            ),
        )
        for name in KEYS
    ]
    _store(folder, "duckdb").apply([*entities.values(), *views])


def _store(folder: Path, offline: str) -> Any:  # noqa: ANN401 -- feast is imported by those who use it
    from feast import FeatureStore, RepoConfig

    config = RepoConfig(
        project="benchmark",
        registry=str(folder / "registry.db"),
        provider="local",
        offline_store={"type": offline},
        online_store={"type": "sqlite", "path": str(folder / "online.db")},
        entity_key_serialization_version=3,
    )
    config.repo_path = folder
    return FeatureStore(config=config)


def _references(task: str) -> list[str]:
    return [f"{name}:{name}_{feature}" for name in VIEWS[task] for feature in FEATURES]


def _digest(table: pa.Table, folder: Path, task: str) -> str:
    """Of all values, in an order by all columns: Feast's store keeps none."""
    columns = [*pq.read_schema(folder / "entities.parquet").names]
    columns += [f"{name}_{feature}" for name in VIEWS[task] for feature in FEATURES]
    table = pa.table({name: _plain(table.column(name)) for name in columns})
    table = table.sort_by([(name, "ascending") for name in columns])
    result = hashlib.sha256()
    for column in table.combine_chunks().columns:
        result.update(column.is_null().to_numpy(zero_copy_only=False).tobytes())
        values = pc.fill_null(column, "" if pa.types.is_string(column.type) else 0)
        result.update(
            "\n".join(values.to_pylist()).encode() if pa.types.is_string(column.type) else values.to_numpy().tobytes()
        )
    return result.hexdigest()[:12]


def _check_order(table: pa.Table, folder: Path) -> None:
    entities = pq.read_table(folder / "entities.parquet")
    for name in entities.column_names:
        if not _plain(table.column(name)).equals(_plain(entities.column(name))):
            message = f"the output's {name} is not that of the entity rows, in their order"
            raise RuntimeError(message)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Of the types that all contenders give alike."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    column = column.cast(TYPES.get(column.type, column.type))
    return pc.cast(column, pa.int64()) if pa.types.is_timestamp(column.type) else column


def main() -> None:
    """Run one contender once."""
    folder, task, name = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    join = CONTENDERS[name](folder, task)
    before = time.process_time()
    started = time.perf_counter()
    table = join()
    wall, cpu = time.perf_counter() - started, time.process_time() - before
    peak = _peak()
    if name != "feast":
        _check_order(table, folder)
    print(json.dumps({"wall": wall, "cpu": cpu, "peak": peak, "digest": _digest(table, folder, task)}))


def _peak() -> float:
    """MiB. Linux' own count of this program: ru_maxrss would begin with that of the process it was forked from."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main()
