"""Has MLflow's database changed? SQLite counts its commits; a server is not asked."""

import sqlite3
import threading
import weakref
from contextlib import closing
from pathlib import Path
from typing import Final

_WAIT_SECONDS: Final = 0.05
"""A writer may hold the file so long before nothing is told."""


class Changes:
    """The commits of one database, as far as they can be counted for little."""

    def __init__(self, uri: str) -> None:
        """Keep where the file is; nothing is opened yet.

        Args:
            uri: of MLflow.
        """
        scheme, _, path = uri.partition(":///")
        self._path = Path(path) if scheme == "sqlite" else None
        self._lock = threading.Lock()
        self._file: tuple[int, int] | None = None
        self._connection: sqlite3.Connection | None = None

    def stamp(self) -> str | None:
        """Return another text after any commit; None where there is no file, or it cannot be told now.

        `PRAGMA data_version` counts the commits of all others, as one connection has seen them: so the connection is
        kept, and belongs to the text. A read of the file itself would end SQLite's own locks on it.
        """
        if self._path is None:
            return None
        with self._lock:
            try:
                found = self._path.stat()
                if self._connection is None or self._file != (found.st_dev, found.st_ino):
                    self._open(self._path)
                    self._file = found.st_dev, found.st_ino
                connection: sqlite3.Connection = self._connection  # type: ignore[assignment] # _open made it
                with closing(connection.execute("PRAGMA data_version")) as cursor:
                    return f"{id(connection)} {self._file} {cursor.fetchone()[0]}"
            except (OSError, sqlite3.Error):
                return None

    def _open(self, path: Path) -> None:
        self._connection = None
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", timeout=_WAIT_SECONDS, uri=True, check_same_thread=False
        )
        weakref.finalize(self, connection.close)
        self._connection = connection
