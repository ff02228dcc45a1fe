"""What does a training leave behind, so that it can be looked at, checked and trained on again?

A folder: `learn.parquet` (training and validation rows of all splits), `test.parquet` (all candidates of the test
requests), `requests.parquet` (who was asked for, when, and how much they took), `taken.parquet` (what they took),
`items.parquet` (segments and reach of the items) and `dataset.json`. The digest is that of the tables' bytes;
everything in them is in a fixed order.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys.candidates.pool import to_numpy
from recsys.modeling.decision_times import TEST, Split, read_split
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

    def rows(self, part: str) -> pa.Table:
        """Return the rows of a table: learn (train and validation of all splits), test, requests, taken or items."""
        return pq.read_table(self.folder / f"{part}.parquet")

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


def learning_rows(rows: pa.Table, columns: tuple[str, ...], split: Split, part: str) -> TrainingRows:
    """Return one split's train or validation rows as columns."""
    held = split.holds(part, to_numpy(rows[EVENT_TIMESTAMP]))
    of_part = rows.filter(pa.array(held))
    return TrainingRows(
        columns={name: to_numpy(of_part[name]) for name in columns},
        label=of_part[LABEL].to_numpy().astype(np.float32),
        request=of_part[REQUEST].to_numpy(),
    )


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


def write_tables(folder: Path, tables: Mapping[str, pa.Table]) -> str:
    """Write the tables into a folder; returns their digest."""
    for name in TABLES:
        pq.write_table(tables[name], folder / f"{name}.parquet", compression="zstd")
    return tables_digest(folder)


def tables_digest(folder: Path) -> str:
    """Return the first 16 hex digits of the SHA-256 of the tables' bytes."""
    sums = hashlib.sha256()
    for name in TABLES:
        sums.update((folder / f"{name}.parquet").read_bytes())
    return sums.hexdigest()[:16]


def read_training_set(folder: Path) -> TrainingSet | None:
    """Return the training set in a folder, or None where there is no whole one: the document is written last."""
    try:
        document = json.loads((folder / DOCUMENT).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return TrainingSet(folder, document)
