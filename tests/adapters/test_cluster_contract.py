"""Does a function give the same rows side by side as here, and do its errors come back as its own?"""

import os
from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from catboost import CatBoostRegressor

from recsys.adapters.catboost_ranker import CatBoostRanker
from recsys.adapters.spark_engine import SparkCluster
from recsys.errors import FeatureError, StoreError
from recsys.ports import Cluster
from recsys.serving.scoring import SCORED, ListScorer
from tests.fakes.cluster import FakeCluster

COUNTED = pa.schema([("n", pa.int64()), ("process", pa.int64())])


@pytest.fixture(params=["fake", pytest.param("spark", marks=pytest.mark.spark)])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """Give the real cluster and the fake."""
    return FakeCluster() if request.param == "fake" else SparkCluster(request.getfixturevalue("spark"))


def doubled(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        numbers = batch.column("n").to_numpy() * 2
        yield pa.record_batch([numbers, np.full(len(numbers), os.getpid())], schema=COUNTED)


def refusing(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for _ in batches:
        message = "feature table t: is missing; build it"
        raise FeatureError(message)
    yield from ()


def mistaken(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield batch.column("nothing")


class TestMapBatches:
    def test_rows_come_back_in_their_order(self, cluster: Cluster) -> None:
        rows = pa.table({"n": np.arange(1_000)})
        made = cluster.map_batches(doubled, rows, COUNTED)
        assert made.schema == COUNTED
        assert made["n"].to_pylist() == list(range(0, 2_000, 2))

    def test_an_error_of_the_function_is_its_own(self, cluster: Cluster) -> None:
        with pytest.raises(FeatureError, match=r"^feature table t: is missing; build it$"):
            cluster.map_batches(refusing, pa.table({"n": [1]}), COUNTED)

    def test_another_failure_is_the_clusters(self, cluster: Cluster) -> None:
        with pytest.raises(StoreError, match="a worker failed"):
            cluster.map_batches(mistaken, pa.table({"n": [1]}), COUNTED)

    def test_lists_are_those_that_one_process_scores(self, cluster: Cluster) -> None:
        """Of a real model, with ragged, empty and missing lists; to the last bit."""
        random, units, items = np.random.default_rng(0), 400, 90
        model = CatBoostRegressor(iterations=20, depth=4, verbose=False, allow_writing_files=False)
        columns = {name: random.normal(size=500) for name in ("sold", "visits", "pair")}
        model.fit(pd.DataFrame(columns), random.normal(size=500))
        lists = [random.permutation(items)[: random.integers(0, 40)].tolist() for _ in range(units)]
        rows = pa.table(
            {
                "user_id": [f"u{n}" for n in range(units)],
                "candidates": pa.array(
                    [None if n % 50 == 0 else of for n, of in enumerate(lists)], pa.list_(pa.int32())
                ),
                "visits": random.normal(size=units),
                "pair": pa.array(
                    [None if n % 50 == 0 else random.normal(size=len(of)).tolist() for n, of in enumerate(lists)]
                ),
            }
        )
        ids = pa.array([f"i{n:02}" for n in range(items)])
        scorer = ListScorer(CatBoostRanker(model), ids, {"sold": random.normal(size=items)}, k=10)
        here = pa.Table.from_batches(scorer(rows.combine_chunks().to_batches()), SCORED)
        assert len(here) > 2 * units
        assert cluster.map_batches(scorer, rows, SCORED).equals(here)


@pytest.mark.spark
def test_spark_runs_it_in_processes_of_its_own(spark: dict[str, str]) -> None:
    made = SparkCluster(spark).map_batches(doubled, pa.table({"n": np.arange(100)}), COUNTED)
    assert os.getpid() not in made["process"].to_pylist()
