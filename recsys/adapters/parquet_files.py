"""How do a shop's own parquet files come in? From a folder with events, items and users, wherever they are made."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from recsys.errors import DataError
from recsys.ports import Delivery, Finding

_TABLES = ("events", "items", "users")


class ParquetFiles:
    """The ShopSource port on a folder: each table is `<name>.parquet` or a folder `<name>/` of parts."""

    def __init__(self, folder: Path) -> None:
        """Keep the folder; nothing is read yet."""
        self._folder = folder

    def version(self) -> str:
        """Return name, size and time of change of every file.

        Raises:
            DataError: if a table is not there.
        """
        parts = []
        for name in _TABLES:
            for path in _parts(self._table(name)):
                try:
                    status = path.stat()
                except OSError as error:
                    message = f"data source {path}: {error.strerror}; deliver it whole before `recsys ingest`"
                    raise DataError(message) from error
                parts.append(f"{path.relative_to(self._folder)}:{status.st_size}:{status.st_mtime_ns}")
        return "\n".join(parts)

    def deliver(self, folder: Path) -> Delivery:  # noqa: ARG002 - the files stay where they are
        """Hand the files over as they are.

        Raises:
            DataError: if a table is not there, or one of its files is no parquet.
        """
        tables = {name: self._table(name) for name in _TABLES}
        for path in tables.values():
            for part in _parts(path):
                try:
                    pq.read_metadata(part)
                except Exception as error:  # Arrow raises several kinds for damaged files
                    message = f"data source {part}: not a whole parquet file ({error}); write it again"
                    raise DataError(message) from error
        return Delivery(tables["events"], tables["items"], tables["users"])

    def findings(self) -> Iterator[Finding]:
        """Read the footer of every file.

        Raises:
            DataError: if a table is not there, or one of its files is no parquet.
        """
        delivery = self.deliver(self._folder)
        files = [part for table in (delivery.events, delivery.items, delivery.users) for part in _parts(table)]
        yield Finding(
            "shop data: files", "ok", f"{self._folder}: {len(files)} parquet files of events, items and users"
        )

    def _table(self, name: str) -> Path:
        file, parts = self._folder / f"{name}.parquet", self._folder / name
        if file.is_file():
            return file
        if _parts(parts):
            return parts
        message = (
            f"data source {self._folder}: neither {name}.parquet nor a folder {name}/ of parquet files is there;"
            " events, items and users have to be"
        )
        raise DataError(message)


def _parts(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    # Spark names its folders of parts like files.
    return sorted(part for part in path.glob("**/*.parquet") if not part.is_dir())
