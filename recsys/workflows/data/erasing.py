"""How do the rows of some users leave parquet files, whole at any moment and in bounded memory?"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys.errors import DataError
from recsys.schema import SESSION, USER
from recsys.workflows.exclusive import renamed_to

Mask = Callable[[pa.RecordBatch], pa.Array]
"""Gives true for the rows that leave, of the columns that it asked for."""


def erase_users(path: Path, users: Sequence[str]) -> int:
    """Rewrite a parquet file without the rows of some users, by rename; return how many there were.

    A file without such rows, or without a column of users, is left as it is.

    Raises:
        DataError: if it is no parquet file.
    """
    return erase_rows(path, (USER,), of_users(users))


def erase_sessions(path: Path, sessions: Sequence[str]) -> int:
    """Rewrite a parquet file of sessions without some of them, by rename; return how many rows there were.

    A file that has a column of users, or none of sessions, is left as it is.

    Raises:
        DataError: if it is no parquet file.
    """
    wanted = pa.array(sessions, pa.string())
    with _readable(path):
        if USER in pq.read_schema(path).names:
            return 0
    return erase_rows(
        path, (SESSION,), lambda batch: pc.is_in(batch.column(SESSION).cast(pa.string()), value_set=wanted)
    )


def sessions_of(path: Path, users: Sequence[str]) -> set[str]:
    """Return the sessions of users by a file of events.

    Raises:
        DataError: if it is no parquet file.
    """
    with _readable(path):
        mine = pq.read_table(path, columns=[SESSION], filters=[(USER, "in", list(users))])
    return set(mine[SESSION].drop_null().to_pylist())


def of_users(users: Sequence[str]) -> Mask:
    """Return what finds the rows of users."""
    wanted = pa.array(users, pa.string())
    return lambda batch: pc.is_in(batch.column(USER).cast(pa.string()), value_set=wanted)


def erase_rows(path: Path, columns: Sequence[str], leaves: Mask, target: Path | None = None) -> int:
    """Rewrite a parquet file without some rows, by rename; return how many there were.

    Args:
        path: the file.
        columns: what the rows are told by; a file that lacks one is left as it is.
        leaves: finds them.
        target: another file to write, instead of the same.

    Raises:
        DataError: if it is no parquet file.
    """
    with _readable(path), pq.ParquetFile(path) as file:
        if set(columns) - set(file.schema_arrow.names):
            return 0
        gone = sum(pc.sum(leaves(batch)).as_py() or 0 for batch in file.iter_batches(columns=list(columns)))
        if gone:
            _rewrite(file, target or path, leaves)
    return int(gone)


def shadow(folder: Path, beside: Path, rewritten: Sequence[str]) -> None:
    """Fill a folder with the files of another, linked where they stay as they are."""
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    for path in folder.iterdir():
        if path.name not in rewritten:
            os.link(path, beside / path.name)


def parquet_files(folder: Path) -> Iterator[Path]:
    """Give every parquet file below a folder, in order."""
    yield from sorted(path for path in folder.rglob("*.parquet") if path.is_file())


def counted(rows: Mapping[str, int], prefix: str) -> dict[str, int]:
    """Name counts by where they were, without those of nothing."""
    return {f"{prefix}{name}": count for name, count in rows.items() if count}


def _rewrite(file: pq.ParquetFile, target: Path, leaves: Mask) -> None:
    compression = "zstd"
    if file.metadata.num_row_groups and file.metadata.num_columns:
        compression = file.metadata.row_group(0).column(0).compression.lower()
    options: dict[str, Any] = {"compression": None if compression == "uncompressed" else compression}
    with renamed_to(target) as partial, pq.ParquetWriter(partial, file.schema_arrow, **options) as writer:
        for batch in file.iter_batches():
            writer.write_batch(batch.filter(pc.invert(pc.fill_null(leaves(batch), False))))


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except pa.ArrowInvalid as error:
        message = f"{path}: cannot be read as parquet ({error}): nothing of it was erased; delete it, or mend it"
        raise DataError(message) from error
