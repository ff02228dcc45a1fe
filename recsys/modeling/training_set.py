"""What does a training leave behind, so that it can be looked at, checked and trained on again?

A folder: `learn.parquet` (training and validation rows), `test.parquet` (all candidates of the test requests),
`requests.parquet` (who was asked for, when, and how much they took) and `dataset.json`. The digest is that of the
three tables' bytes; everything in them is in a fixed order.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from recsys.candidates.pool import to_numpy
from recsys.modeling.offline_evaluation import Judged
from recsys.modeling.requests import ITEM_ROW, REQUEST, Requests
from recsys.ports import TrainingRows
from recsys.schema import EVENT_TIMESTAMP, ITEM, LABEL, USER

PART: Final = "part"
TRAIN: Final = "train"
VALIDATION: Final = "validation"
TEST: Final = "test"
LEARN: Final = "learn"
DOCUMENT: Final = "dataset.json"
TABLES: Final = (LEARN, TEST, "requests")


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
        """Return the rows of a part: learn (train and validation, told apart by `part`) or test."""
        return pq.read_table(self.folder / f"{part}.parquet")

    def judged(self, test: pa.Table) -> Judged:
        """Return what rankers are judged on, from the test rows."""
        requests = pq.read_table(self.folder / "requests.parquet", filters=[(PART, "==", TEST)])
        return Judged(
            rows=TrainingRows({}, test[LABEL].to_numpy().astype(np.float32), test[REQUEST].to_numpy()),
            item_row=test[ITEM_ROW].to_numpy(),
            item_code=test[ITEM].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64),
            users=to_numpy(requests[USER]),
            relevant=requests["relevant"].to_numpy(),
            pool_size=int(self.document["pool_size"]),
        )


def learning_rows(rows: pa.Table, columns: tuple[str, ...], part: str) -> TrainingRows:
    """Return train or validation rows as columns."""
    of_part = rows.filter(pa.compute.equal(rows[PART], part))
    return TrainingRows(
        columns={name: to_numpy(of_part[name]) for name in columns},
        label=of_part[LABEL].to_numpy().astype(np.float32),
        request=of_part[REQUEST].to_numpy(),
    )


def request_table(requests: Mapping[str, Requests]) -> pa.Table:
    """Return the requests of each part: part, request, user_id, event_timestamp, relevant."""
    tables = []
    for part, made in requests.items():
        numbers, first = np.unique(made.rows[REQUEST].to_numpy(), return_index=True)
        moments = _moments(made, numbers, first)
        tables.append(
            pa.table(
                {
                    PART: pa.array([part] * len(made), pa.string()),
                    REQUEST: pa.array(range(len(made)), pa.int64()),
                    USER: pa.array(made.users, pa.string()),
                    EVENT_TIMESTAMP: pa.array(moments, pa.timestamp("us")).cast(
                        made.rows.schema.field(EVENT_TIMESTAMP).type
                    ),
                    "relevant": pa.array(made.relevant, pa.int64()),
                }
            )
        )
    return pa.concat_tables(tables)


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


def _moments(made: Requests, numbers: NDArray[np.int64], first: NDArray[np.int64]) -> NDArray[np.datetime64]:
    """Return each request's decision time; a request without a candidate has none of its own rows."""
    moments = np.full(len(made), np.datetime64("NaT", "us"), dtype="datetime64[us]")
    moments[numbers] = to_numpy(made.rows[EVENT_TIMESTAMP])[first]
    return moments
