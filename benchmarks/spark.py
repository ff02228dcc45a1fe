"""What does Spark cost on one machine, beside the local engine: to start, and once it runs?

    .venv/bin/python benchmarks/spark.py [--users 10000] [--events 20] [--runs 3] [--questions 100000]
        [--units 20000] [--tables user_item,user_weekly] [--master local[2]] [--memory 4g]
        [--parts features,join,scoring]

A made-up shop: `--events` purchases a user over 16 weeks, of 5,000 items. Features: the shipped tables, from nothing to
the last week, by both engines. Join: `--questions` entity rows with the views of these tables, by Feast's own call over
both offline stores. Scoring: lists of 100 candidates, 12 features, 200 trees, by two threads here and by mapInArrow.
Start: Spark's session alone, where all is imported. First: the first call, for which Spark compiles. Steady: the median
of the calls after it; cores: the core-seconds of such a call. Rows are compared, floats to 1e-9. Spark comes by
`make spark`.
"""

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("FEAST_USAGE", "False")
warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402 - Feast reads the environment
import pandas as pd  # noqa: E402
import psutil  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
from catboost import CatBoostRegressor  # noqa: E402
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType  # noqa: E402
from feast.types import Float64  # noqa: E402
from spark_shop import ITEM_COUNT, START, WEEKS, Shop  # noqa: E402

from recsys.adapters.catboost_ranker import CatBoostRanker  # noqa: E402
from recsys.adapters.declared_logic import declared_tables  # noqa: E402
from recsys.adapters.duckdb_engine import DuckDBEngine  # noqa: E402
from recsys.adapters.spark_engine import SparkCluster, SparkEngine  # noqa: E402
from recsys.adapters.spark_session import open_session  # noqa: E402
from recsys.ports import Engine, FeatureTable, Step  # noqa: E402
from recsys.schema import CREATED_TIMESTAMP, EVENT_TIMESTAMP, TIMESTAMP  # noqa: E402
from recsys.serving.scoring import SCORED, ListScorer  # noqa: E402
from recsys.specs.environment import Limits  # noqa: E402

TRANSFORMS: Final = Path(__file__).parents[1] / "feature_repo" / "transforms.py"
TOLERANCE: Final = 1e-9
ASOF: Final = "recsys.adapters.asof_offline_store"
STORES: Final = {
    "duckdb": {"type": f"{ASOF}.AsofOfflineStore", "threads": 2, "memory_limit": "4GB"},
    "spark": {"type": f"{ASOF}.spark_store.SparkAsofOfflineStore"},
}


@dataclass(frozen=True)
class Timed:
    """Seconds of one part."""

    first: float
    steady: float
    """Seconds."""
    cores: float
    """Core-seconds of a steady call, of this process and all below it: what a busy machine does not stretch."""
    result: pa.Table
    """What the last call gave."""


def main() -> int:
    """Print a table; fail where the rows differ."""
    given = parsed()
    settings = {"spark.master": given.master, "spark.driver.memory": given.memory, "spark.sql.shuffle.partitions": "8"}
    load = os.getloadavg()[0]
    print(f"{given.users:,} users, {given.users * given.events:,} events; load before {load:.1f}")
    began = time.perf_counter()
    open_session(settings)
    print(f"{'start of Spark':<24}{time.perf_counter() - began:>10.1f} s")
    print(f"{'':<24}{'duckdb':>29}{'spark':>29}{'steady':>10}")
    heads = "".join(f"{head:>{width}}" for head, width in (("first", 11), ("steady", 9), ("cores", 9)))
    print(f"{'seconds':<24}{heads}{heads}{'ratio':>10}")
    differ = 0
    with tempfile.TemporaryDirectory() as folder:
        shop = Shop(Path(folder), given.users, given.events)
        tables = {name: declared_tables(TRANSFORMS)[name] for name in given.tables.split(",")}
        parts: dict[str, Callable[[], dict[str, dict[str, Timed]]]] = {
            "features": lambda: features(shop, tables, settings, given.runs),
            "join": lambda: {
                f"join of {given.questions:,}": joins(shop, tables, settings, given.questions, given.runs)
            },
            "scoring": lambda: {f"scoring of {given.units:,}": scoring(settings, given.units, given.runs)},
        }
        for part in given.parts.split(","):
            for name, timed in parts[part]().items():
                differ += report(name, timed)
    print(f"load after {os.getloadavg()[0]:.1f}")
    return 1 if differ else 0


def features(
    shop: Shop, tables: Mapping[str, FeatureTable], settings: Mapping[str, str], runs: int
) -> dict[str, dict[str, Timed]]:
    """Make each table from nothing, by both engines."""
    local = DuckDBEngine(Limits(threads=2, memory="4GB"), shop.folder / "spill")
    engines: dict[str, Engine] = {"duckdb": local, "spark": SparkEngine(local, settings)}
    step = Step(None, START + timedelta(weeks=WEEKS))
    made: dict[str, dict[str, Timed]] = {}
    for name, table in tables.items():
        made[name] = {}
        for engine, runner in engines.items():
            folder, order = shop.table(engine, name), [(key, "ascending") for key in (*table.keys, EVENT_TIMESTAMP)]
            output = folder / "until.parquet"
            build = partial(runner.transform, TRANSFORMS, table, step, shop.sources, folder, output)
            timed = timed_of(build, runs)
            made[name][engine] = replace(timed, result=sample(folder, order))
    return made


def sample(folder: Path, order: list[tuple[str, str]]) -> pa.Table:
    """Return rows of a table that can be compared: all, or those of some users where there are millions."""
    table = pq.read_table(folder)
    if len(table) > 2_000_000 and "user_id" in table.column_names:  # noqa: PLR2004 - what is compared in a few seconds
        table = pq.read_table(folder, filters=[("user_id", "<", "2")])
    return table.sort_by(order)


def joins(
    shop: Shop, tables: Mapping[str, FeatureTable], settings: Mapping[str, str], questions: int, runs: int
) -> dict[str, Timed]:
    """Join the tables that both engines made, by Feast's own call."""
    random = np.random.default_rng(1)
    at = START + timedelta(weeks=1)
    entities = pa.table(
        {
            "user_id": pa.array(random.integers(0, shop.users, questions)).cast(pa.string()),
            "item_id": pa.array([f"i{int(ITEM_COUNT * one**3)}" for one in random.random(questions)]),
            EVENT_TIMESTAMP: pa.array(
                np.datetime64(at.replace(tzinfo=None), "us")
                + random.integers(0, WEEKS, questions) * np.timedelta64(7 * 86_400, "s")
            ).cast(TIMESTAMP),
        }
    )
    timed = {}
    for engine, offline in STORES.items():
        store, references = _feast(shop, tables, engine, offline, settings)
        timed[engine] = timed_of(
            lambda store=store, references=references: store.get_historical_features(entities, references).to_arrow(),
            runs,
        )
    return timed


def _feast(
    shop: Shop,
    tables: Mapping[str, FeatureTable],
    engine: str,
    offline: Mapping[str, object],
    settings: Mapping[str, str],
) -> tuple[FeatureStore, list[str]]:
    entities = {key: Entity(name=key, join_keys=[key], value_type=ValueType.STRING) for key in ("user_id", "item_id")}
    views = []
    for name, table in tables.items():
        folder = shop.table("duckdb", name)
        schema = pq.read_table(folder).schema
        source = FileSource(
            name=name,
            path=str(folder),
            timestamp_field=EVENT_TIMESTAMP,
            created_timestamp_column=CREATED_TIMESTAMP,
        )
        fields = [Field(name=field.name, dtype=Float64) for field in schema if field.type == pa.float64()]
        views.append(
            FeatureView(name=name, entities=[entities[key] for key in table.keys], schema=fields, source=source)
        )
    config = RepoConfig(
        project="benchmark",
        registry=str(shop.folder / f"{engine}.db"),
        provider="local",
        offline_store=dict(offline) | ({"spark_conf": dict(settings)} if engine == "spark" else {}),
        online_store={"type": "sqlite", "path": str(shop.folder / f"{engine}_online.db")},
        entity_key_serialization_version=3,
    )
    config.repo_path = shop.folder
    store = FeatureStore(config=config)
    store.apply([*entities.values(), *views])
    return store, [f"{view.name}:{field.name}" for view in views for field in view.features]


def scoring(settings: Mapping[str, str], units: int, runs: int) -> dict[str, Timed]:
    """Score lists of 100 candidates by one function, here and in Spark's workers."""
    random, candidates = np.random.default_rng(2), 100
    names = [f"item_{n}" for n in range(8)] + [f"user_{n}" for n in range(4)]
    model = CatBoostRegressor(iterations=200, depth=6, verbose=False, allow_writing_files=False, thread_count=2)
    model.fit(pd.DataFrame({name: random.normal(size=5_000) for name in names}), random.normal(size=5_000))
    scorer = ListScorer(
        CatBoostRanker(model),
        pa.array([f"i{n:05}" for n in range(ITEM_COUNT)]),
        {name: random.normal(size=ITEM_COUNT) for name in names[:8]},
        k=10,
    )
    flat = pa.array(random.integers(0, ITEM_COUNT, units * candidates).astype(np.int32))
    offsets = pa.array(np.arange(0, units * candidates + 1, candidates, dtype=np.int32))
    rows = pa.table(
        {
            "user_id": pa.array(np.arange(units)).cast(pa.string()),
            "candidates": pa.ListArray.from_arrays(offsets, flat),
            **{name: random.normal(size=units) for name in names[8:]},
        }
    )
    cluster = SparkCluster(settings)
    return {
        "duckdb": timed_of(
            lambda: pa.Table.from_batches(scorer.score_all(rows.to_batches(max_chunksize=500), 2), SCORED), runs
        ),
        "spark": timed_of(lambda: cluster.map_batches(scorer, rows, SCORED), runs),
    }


def timed_of(call: Callable[[], Any], runs: int) -> Timed:
    """Time a first call, and those after it."""
    seconds, cores = [], []
    result = None
    for _ in range(runs + 1):
        began, used = time.perf_counter(), core_seconds()
        result = call()
        seconds.append(time.perf_counter() - began)
        cores.append(core_seconds() - used)
    return Timed(seconds[0], statistics.median(seconds[1:]), statistics.median(cores[1:]), result)


def core_seconds() -> float:
    """Return what this process and all below it have used: Spark's JVM and its Python workers too."""
    process = psutil.Process()
    total = 0.0
    for one in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            total += times.user + times.system
    return total


def report(name: str, timed: Mapping[str, Timed]) -> bool:
    """Print one line; tell whether the rows differ."""
    local, spark = timed["duckdb"], timed["spark"]
    columns = "".join(f"{one.first:>11.2f}{one.steady:>9.2f}{one.cores:>9.2f}" for one in (local, spark))
    differ = not same(local.result, spark.result)
    print(f"{name:<24}{columns}{spark.steady / local.steady:>9.1f}x{'   ROWS DIFFER' if differ else ''}", flush=True)
    return differ


def same(one: pa.Table, other: pa.Table) -> bool:
    """Compare two tables, floats to the tolerance."""
    if len(one) != len(other) or one.column_names != other.column_names:
        return False
    for name in one.column_names:
        left, right = (table[name].combine_chunks() for table in (one, other))
        if pa.types.is_floating(left.type):
            values = [column.to_numpy(zero_copy_only=False) for column in (left, right)]
            if not np.allclose(*values, rtol=TOLERANCE, atol=0, equal_nan=True):
                return False
        elif not left.equals(right):
            return False
    return True


def parsed() -> argparse.Namespace:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--events", type=int, default=20, help="purchases of each user")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--questions", type=int, default=100_000)
    parser.add_argument("--units", type=int, default=20_000)
    parser.add_argument("--tables", default="user_item,user_weekly")
    parser.add_argument("--master", default="local[2]")
    parser.add_argument("--memory", default="4g")
    parser.add_argument("--parts", default="features,join,scoring")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
