"""What does a training leave behind, so that it can be looked at, checked and trained on again?

A folder: `learn.parquet` (training and validation rows of all splits), `test.parquet` (all candidates of the test
requests), `requests.parquet` (who was asked for, when, and how much they took), `taken.parquet` (what they took),
`items.parquet` (segments and reach of the items) and `dataset.json`. The digest is that of the tables' bytes;
everything in them is in a fixed order.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from recsys.candidates.pool import UNKNOWN, to_numpy
from recsys.modeling.decision_times import TEST, TRAIN, VALIDATION, Split, read_split
from recsys.modeling.judged import Judged, judged
from recsys.modeling.requests import REQUEST, Requests
from recsys.ports import TrainingRows
from recsys.schema import EVENT_TIMESTAMP, LABEL, TIMESTAMP, USER
from recsys.specs.problem import Problem

PART: Final = "part"
LEARN: Final = "learn"
REQUESTS: Final = "requests"
TAKEN: Final = "taken"
ITEMS: Final = "items"
DOCUMENT: Final = "dataset.json"
TABLES: Final = (LEARN, TEST, REQUESTS, TAKEN, ITEMS)
_COLUMNS_AT_ONCE: Final = 4
"""Are read together: some for Arrow's threads, few for memory."""
_PIECE: Final = 2**20
"""Bytes of a file that are in memory at once."""
REQUEST_SCHEMA: Final = pa.schema(
    [
        (PART, pa.string()),
        (REQUEST, pa.int64()),
        (USER, pa.string()),
        (EVENT_TIMESTAMP, TIMESTAMP),
        ("relevant", pa.float64()),
        ("history", pa.int64()),
    ]
)


@dataclass(frozen=True)
class TrainingSet:
    """A training set in a folder."""

    folder: Path
    document: Mapping[str, Any]
    """dataset.json: what it is of, its digest, its split, sizes, what was left out, and its profile."""

    @property
    def digest(self) -> str:
        """Digest of the rows."""
        return str(self.document["digest"])

    def rows(self, part: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the rows of a table: learn (train and validation of all splits), test, requests, taken or items.

        Args:
            part: the table.
            columns: some of its columns; all by default.
        """
        return pq.read_table(self.folder / f"{part}.parquet", columns=None if columns is None else list(columns))

    def learning(self, columns: Sequence[str], split: Split) -> tuple[TrainingRows, TrainingRows]:
        """Return the train and the validation rows of one split, read anew."""
        train, validation = learning_rows(self.folder / f"{LEARN}.parquet", columns, split)
        return train, validation

    @property
    def splits(self) -> tuple[Split, ...]:
        """Return the splits, oldest first; the newest one's fit is registered."""
        return tuple(read_split(one) for one in self.document["splits"])

    def judged(self, test: pa.Table, problem: Problem, after: datetime | None = None) -> Judged:
        """Return what rankers are judged on.

        Args:
            test: the test rows, of all decision times or of those after a moment.
            problem: what is asked.
            after: that moment.
        """
        splits = self.splits
        requests, taken = self.rows(REQUESTS), self.rows(TAKEN)
        if after is not None:
            requests = requests.filter(pc.greater(requests[EVENT_TIMESTAMP], pa.scalar(after, TIMESTAMP)))
            asked = requests.filter(pc.equal(requests[PART], TEST))[REQUEST]
            taken = taken.filter(pc.is_in(taken[REQUEST], asked.combine_chunks()))
        return judged(
            problem,
            test,
            requests,
            taken,
            self.rows(ITEMS),
            units=int(self.document["units"]),
            pool_size=int(self.document["pool_size"]),
            splits={f"{one.test[0]:%Y-%m-%d}": one.test for one in splits} if len(splits) > 1 else None,
        )


def learning_rows(path: Path, columns: Sequence[str], split: Split) -> tuple[TrainingRows, TrainingRows]:
    """Read one split's train and validation rows, a few columns at a time: what is not learned from is never held.

    Args:
        path: learn.parquet.
        columns: what is learned from.
        split: tells which rows are whose.

    Returns:
        Train and validation rows. Numbers are float32, which is what ensembles of trees compare; texts are objects of
        which each distinct one is in memory once.
    """
    train, validation = _parts(path, columns, [split.holds(part, _moments(path)) for part in (TRAIN, VALIDATION)])
    pa.default_memory_pool().release_unused()  # else Arrow keeps what it read with through a fit that needs the room
    return train, validation


def _moments(path: Path) -> NDArray[np.datetime64]:
    return to_numpy(pq.read_table(path, columns=[EVENT_TIMESTAMP])[EVENT_TIMESTAMP])


def _parts(path: Path, columns: Sequence[str], held: Sequence[NDArray[np.bool_]]) -> Sequence[TrainingRows]:
    """Read the rows of each part."""
    with pq.ParquetFile(path) as file:
        texts = [field.name for field in file.schema_arrow if pa.types.is_string(field.type)]
    with pq.ParquetFile(path, read_dictionary=texts) as file:
        known = file.read([LABEL, REQUEST])
        label, request = known[LABEL].to_numpy().astype(np.float32), known[REQUEST].to_numpy()
        parts: list[dict[str, NDArray[Any]]] = [{} for _ in held]
        for start in range(0, len(columns), _COLUMNS_AT_ONCE):
            some = file.read(list(columns[start : start + _COLUMNS_AT_ONCE]))
            for name in some.column_names:
                column = _learned(some[name])
                for mine, part in zip(held, parts, strict=True):
                    part[name] = column[mine]
    return [TrainingRows(part, label[mine], request[mine]) for mine, part in zip(held, parts, strict=True)]


def _learned(column: pa.ChunkedArray) -> NDArray[Any]:
    """Return a column as `to_numpy` does, but numbers as float32 and of equal texts one object."""
    if pa.types.is_dictionary(column.type):
        coded = column.combine_chunks()
        texts = np.array([*coded.dictionary.to_pylist(), UNKNOWN], dtype=object)
        return np.asarray(texts[pc.fill_null(coded.indices, len(texts) - 1).to_numpy()])
    values = to_numpy(column)
    with np.errstate(over="ignore"):  # beyond float32 is infinite
        return values.astype(np.float32) if values.dtype.kind == "f" else values


def request_table(requests: Mapping[str, Requests], histories: Mapping[str, pa.Array]) -> pa.Table:
    """Return the requests of each part: part, request, user_id, event_timestamp, relevant, history.

    Args:
        requests: part to its requests.
        histories: part to the earlier visits of each request's unit; a part without them has nulls.
    """
    tables = [REQUEST_SCHEMA.empty_table()]
    for part, made in requests.items():
        columns = [
            pa.array([part] * len(made), pa.string()),
            pa.array(range(len(made)), pa.int64()),
            pa.array(made.users, pa.string()),
            pa.array(made.moments, pa.timestamp("us")).cast(TIMESTAMP),
            pa.array(made.relevant, pa.float64()),
            histories.get(part, pa.nulls(len(made), pa.int64())),
        ]
        tables.append(pa.table(columns, schema=REQUEST_SCHEMA))
    return pa.concat_tables(tables).combine_chunks()


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """Give another folder beside it to write into, which takes its place when all went well."""
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_table(folder: Path, name: str, table: pa.Table) -> None:
    """Write one of the tables into a folder."""
    pq.write_table(table, folder / f"{name}.parquet", compression="zstd")


def tables_digest(folder: Path) -> str:
    """Return the first 16 hex digits of the SHA-256 of the tables' bytes."""
    sums = hashlib.sha256()
    for name in TABLES:
        with (folder / f"{name}.parquet").open("rb") as file:
            while piece := file.read(_PIECE):
                sums.update(piece)
    return sums.hexdigest()[:16]


def read_training_set(folder: Path) -> TrainingSet | None:
    """Return the training set in a folder, or None where there is no whole one: the document is written last."""
    try:
        document = json.loads((folder / DOCUMENT).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return TrainingSet(folder, document)
