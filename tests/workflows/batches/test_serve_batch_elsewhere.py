"""Does a batch whose parts are made side by side in other processes hold the same bytes?"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest

from recsys.adapters.spark_engine import SparkCluster
from recsys.errors import StoreError
from recsys.ports import BatchFunction, Cluster
from recsys.workflows.batches.parts import BatchParts
from recsys.workflows.batches.serve_batch import Batch
from tests.fakes.cluster import FakeCluster
from tests.fakes.ranker import FakeRanker
from tests.workflows.batch_project import HOUSEHOLDS, BatchProject


@dataclass
class Spread(BatchProject):
    """The project, with a cluster."""

    workers: Cluster | None = None

    def cluster(self) -> Cluster | None:
        """Return the cluster."""
        return self.workers


@pytest.fixture(params=["fake", pytest.param("spark", marks=pytest.mark.spark)])
def workers(request: pytest.FixtureRequest) -> Cluster:
    """Give the real cluster and the fake."""
    return FakeCluster() if request.param == "fake" else SparkCluster(request.getfixturevalue("spark"))


def files_of(batch: Batch) -> Mapping[str, bytes]:
    return {str(path.relative_to(batch.folder)): path.read_bytes() for path in sorted(batch.folder.rglob("*.parquet"))}


def test_the_files_are_those_of_one_process(tmp_path: Path, workers: Cluster) -> None:
    """All households, both arms, pinned and explored slots; and what is told of them."""
    project = Spread(tmp_path)
    here = project.serve(out=tmp_path / "here")
    project.workers = workers
    told: list[tuple[int, int, int]] = []
    there = project.serve(out=tmp_path / "there", progress=lambda *done: told.append(done))
    assert files_of(here) == files_of(there)
    assert len(files_of(there)) > HOUSEHOLDS / 8
    assert (there.units, there.rows, there.answered_by) == (here.units, here.rows, here.answered_by)
    assert told[-1] == (HOUSEHOLDS, HOUSEHOLDS, here.rows)


def test_parts_that_are_there_are_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Spread(tmp_path, workers=Dying(parts=3))
    with pytest.raises(StoreError, match="a worker failed: killed"):
        project.serve()
    project.workers = FakeCluster()
    written: list[int] = []
    write = BatchParts.write
    monkeypatch.setattr(BatchParts, "write", lambda *given: written.append(given[1]) or write(*given))
    done = project.serve(resume=True)
    assert (done.units, done.resumed) == (HOUSEHOLDS, 24)
    assert written == list(range(3, 13))
    assert project.serve(resume=True).reused


def test_a_model_that_moves_meanwhile_ends_the_batch(tmp_path: Path) -> None:
    """A worker would make lists of other weights."""
    project = Spread(tmp_path)
    project.workers = Moving(project)
    with pytest.raises(
        StoreError, match="placement home: a model or the features moved meanwhile; run the batch again"
    ):
        project.serve()
    assert not (tmp_path / ".recsys/batch/home").exists() or not list((tmp_path / ".recsys/batch/home").glob("date=*"))


def test_workers_that_write_elsewhere_are_told(tmp_path: Path) -> None:
    """Such as to a disk of their own."""
    project = Spread(tmp_path, workers=Forgetting())
    with pytest.raises(StoreError, match=r"part 0 was written by a worker and is not here; .* all workers see"):
        project.serve()


@dataclass
class Dying(FakeCluster):
    """Its process is lost after some parts."""

    parts: int

    def map_batches(self, function: BatchFunction, rows: pa.Table, schema: pa.Schema) -> pa.Table:
        """Run some, then fail."""
        super().map_batches(function, rows.slice(0, self.parts), schema)
        message = "a worker failed: killed"
        raise StoreError(message)


@dataclass
class Moving(FakeCluster):
    """The champion moves before its workers look."""

    project: BatchProject

    def map_batches(self, function: BatchFunction, rows: pa.Table, schema: pa.Schema) -> pa.Table:
        """Register other weights, which replace the first."""
        self.project.register("basket/v1", FakeRanker((("pair_baskets", 9.0),)))
        return super().map_batches(function, rows, schema)


class Forgetting(FakeCluster):
    """It tells what it did not do."""

    def map_batches(self, function: BatchFunction, rows: pa.Table, schema: pa.Schema) -> pa.Table:
        """Return the numbers alone."""
        del function
        return rows.select(schema.names)
