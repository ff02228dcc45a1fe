"""Which units does a file of ids name?"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys.errors import DataError

BATCH_ROWS: Final = 131_072
"""Rows in memory at once."""


def opened_ids(source: Path, column: str) -> pq.ParquetFile:
    """Open a parquet file of ids; it is the caller's to close.

    Raises:
        DataError: if it cannot be read, or has no such column.
    """
    try:
        file = pq.ParquetFile(source)
    except FileNotFoundError as error:
        message = f"{source}: no such file: give a parquet file with a column of ids"
        raise DataError(message) from error
    except (pa.ArrowInvalid, OSError) as error:
        message = f"{source}: cannot be read as parquet ({_line(error)}): give a parquet file with a column of ids"
        raise DataError(message) from error
    if column not in file.schema_arrow.names:
        file.close()
        message = (
            f"{source}: column {column}: not there; there are {', '.join(file.schema_arrow.names) or 'none'}: name the"
            " column of the ids with --column"
        )
        raise DataError(message)
    return file


def ids_of(file: pq.ParquetFile, source: Path, column: str) -> Iterator[pa.Array]:
    """Give the ids of an opened file, a batch in memory at a time.

    Raises:
        DataError: if one is missing, or the file is damaged.
    """
    done = 0
    for units in _column(file, source, column):
        if units.null_count:
            row = done + pc.index(pc.is_null(units), value=True).as_py() + 1
            message = (
                f"{source}: column {column}: row {row:,} is null: every assigned unit has an id: leave such rows out;"
                " nothing was written"
            )
            raise DataError(message)
        yield units
        done += len(units)


def _column(file: pq.ParquetFile, source: Path, column: str) -> Iterator[pa.Array]:
    try:
        for batch in file.iter_batches(BATCH_ROWS, columns=[column]):
            yield batch[column]
    except (pa.ArrowInvalid, OSError) as error:
        message = f"{source}: column {column}: cannot be read ({_line(error)}): write it again; nothing was written"
        raise DataError(message) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
