"""How does a table become parquet, part by part, each whole or not there?"""

import hashlib
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from recsys import schema

_UNIQUE: Final = frozenset({schema.EVENT_ID, schema.REQUEST_ID})
"""Columns of many different texts with the same beginnings: a dictionary would only be larger."""


@dataclass(frozen=True)
class Written:
    """A file as it was written."""

    path: Path
    rows: int
    size: int
    """Bytes."""
    sha256: str


class Part:
    """A parquet file that grows, and is seen under its name only when it is whole."""

    def __init__(self, path: Path, columns: pa.Schema) -> None:
        """Begin a file beside its place; its folder exists."""
        self.path = path
        self.rows = 0
        # Hidden: whoever reads a folder of parquet reads every other file of it.
        self._partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        self._writer: Any = pq.ParquetWriter(self._partial, columns, **_options(columns))
        self._columns = columns

    def add(self, table: pa.Table) -> None:
        """Append rows."""
        self._writer.write_table(table)
        self.rows += len(table)

    def finish(self) -> Written:
        """Move the file to its place."""
        self._writer.close()
        with self._partial.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = os.fstat(file.fileno()).st_size
        self._partial.replace(self.path)
        return Written(self.path, self.rows, size, digest)

    def give_up(self) -> None:
        """Remove what was written; harmless after `finish`."""
        self._writer.close()
        self._partial.unlink(missing_ok=True)


@contextmanager
def new_part(path: Path, columns: pa.Schema) -> Generator[Part]:
    """Begin a file; it is removed again unless it was finished."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = Part(path, columns)
    try:
        yield part
    finally:
        part.give_up()


def write_table(path: Path, table: pa.Table) -> Written:
    """Write a whole table."""
    with new_part(path, table.schema) as part:
        part.add(table)
        return part.finish()


def table_digest(parts: list[Written]) -> str:
    """Return one digest of a table's parts: of a single file, that of the file."""
    if len(parts) == 1:
        return parts[0].sha256
    return hashlib.sha256("".join(part.sha256 for part in parts).encode()).hexdigest()


def _options(columns: pa.Schema) -> dict[str, Any]:
    """Return how each column is laid out."""
    texts = [field.name for field in columns if pa.types.is_string(field.type)]
    plain = {name: "DELTA_BYTE_ARRAY" for name in texts if name in _UNIQUE}
    times = {field.name: "DELTA_BINARY_PACKED" for field in columns if pa.types.is_timestamp(field.type)}
    return {
        "compression": "zstd",
        "use_dictionary": [field.name for field in columns if field.name not in plain and field.name not in times],
        "column_encoding": plain | times,
    }
