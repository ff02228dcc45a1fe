"""How much memory do the items of a large catalogue take in a worker? A process of its own for `serving.py`.

    .venv/bin/python benchmarks/serving_memory.py FOLDER ITEMS FEATURES

Fills a packed SQLite store once, then a fresh process (`--read`) makes the item matrix from it and prints, as JSON, its
resident megabytes before, after, and at its peak.
"""

import contextlib
import gc
import io
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.ports import ViewInfo
from recsys.serving.item_matrix import read_matrix
from recsys.specs.placement import Placement

START = datetime(2024, 1, 1, tzinfo=UTC)
VIEW = "item_weekly"


def filled(folder: Path, items: int, features: int) -> None:
    """Materialize the items."""
    random = np.random.default_rng(7)
    times = pa.array(np.full(items, START.replace(tzinfo=None), dtype="datetime64[us]")).cast(pa.timestamp("us", "UTC"))
    columns: dict[str, Any] = {"item_id": pa.array([f"{number:08d}" for number in range(items)])}
    columns |= {f"f{number}": random.random(items) for number in range(features)}
    table = pa.table({**columns, "event_timestamp": times, "created_timestamp": times})
    pq.write_table(table, folder / "items.parquet")
    store, _ = _store(folder, features)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        store.materialize(START - timedelta(days=1), START + timedelta(days=1), [VIEW])


def _store(folder: Path, features: int) -> tuple[Any, Any]:
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.types import Float64, String

    config = RepoConfig(
        project="recsys_memory",
        provider="local",
        registry=str(folder / "registry.db"),
        online_store={
            "type": "recsys.adapters.packed_online_store.PackedSqliteOnlineStore",
            "path": str(folder / "online.db"),
        },
        materialization={"pull_latest_features": True},
        entity_key_serialization_version=3,
        offline_store={"type": "recsys.adapters.asof_offline_store.AsofOfflineStore"},
        batch_engine={"type": "recsys.adapters.arrow_batch_engine.ArrowBatchEngine"},
    )
    config.repo_path = folder
    item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)
    view = FeatureView(
        name=VIEW,
        entities=[item],
        ttl=timedelta(0),
        schema=[Field(name="item_id", dtype=String)]
        + [Field(name=f"f{number}", dtype=Float64) for number in range(features)],
        source=FileSource(
            name="items",
            path=str(folder / "items.parquet"),
            timestamp_field="event_timestamp",
            created_timestamp_column="created_timestamp",
        ),
    )
    store = FeatureStore(config=config)
    with contextlib.redirect_stdout(io.StringIO()):
        store.apply([item, view])
    return store, store.get_feature_view(VIEW)


class _Items:
    """The online store as the matrix reads it."""

    def __init__(self, folder: Path, features: int) -> None:
        self._store, self._view = _store(folder, features)
        self._info = ViewInfo(
            VIEW,
            ("item_id",),
            tuple(f"f{number}" for number in range(features)),
            {f"f{number}": "number" for number in range(features)},
            None,
        )

    def view(self, _: str) -> ViewInfo:
        return self._info

    def online_all(self, _: str) -> pa.Table:
        online: Any = self._store._get_provider().online_store  # noqa: SLF001 - Feast hides the store that it configured
        table: pa.Table = online.read_all(self._store.config, self._view)
        return table

    def generation(self, _: str) -> int:
        return 1


def read(folder: Path, features: int) -> dict[str, float]:
    """Make the matrix and say what it takes, in megabytes."""
    items: Any = _Items(folder, features)
    placement = Placement.model_validate(
        {
            "problem": "weekly_basket",
            "model": "basket",
            "k": 10,
            "pool": {"view": VIEW, "feature": "f0", "minimum": 0},
            "candidates": [{"source": "popular", "order_by": "f0", "limit": 100}],
        }
    )
    before = _resident()
    matrix = read_matrix(items, placement, [items.view(VIEW)], START + timedelta(days=1))
    gc.collect()
    pa.default_memory_pool().release_unused()
    values = sum(column.nbytes for column in matrix.columns.values()) / 1e6
    # Not getrusage's: a process begins with what its parent had.
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (peak,) = (int(line.split()[1]) / 1e3 for line in status if line.startswith("VmHWM"))
    return {"before": before, "after": _resident(), "peak": peak, "values": values}


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def measured(folder: Path, items: int, features: int) -> dict[str, float]:
    """Fill a store, and measure in a process that has done nothing else."""
    filled(folder, items, features)
    command = [sys.executable, __file__, "--read", str(folder), str(features)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    told: dict[str, float] = json.loads(done.stdout)
    return told


if __name__ == "__main__":
    if sys.argv[1] == "--read":
        print(json.dumps(read(Path(sys.argv[2]), int(sys.argv[3]))))
    else:
        print(json.dumps(measured(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
