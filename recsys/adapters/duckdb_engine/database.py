"""Where do an engine's queries run? In one database in memory, each over a connection of its own.

To make a database takes DuckDB 20 ms of processor time, a hundred times as long as a small query; a connection to one
that is there takes none.
"""

import os
import shutil
import threading
import uuid
import weakref
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import duckdb

_ALL: Final["weakref.WeakSet[_Opened]"] = weakref.WeakSet()
_INHERITED: Final[list["_Opened"]] = []
"""In a fork: its parent's databases. To close one would be to wait for threads that are not there."""

os.register_at_fork(after_in_child=lambda: _INHERITED.extend(_ALL))


class Database:
    """A database that is opened at its first use; safe to share between threads.

    What does not fit into its memory limit is spilled to a folder of its own: DuckDB names its files alike everywhere.
    A database that has spilled is closed when its last connection is, and its folder goes with it.
    """

    def __init__(self, config: Mapping[str, Any], spill: Path) -> None:
        """Keep the settings; nothing is opened yet.

        Args:
            config: DuckDB's settings, of all queries together.
            spill: folders beside it, their names beginning with its own, hold what memory does not.
        """
        self._config = dict(config)
        self._spill = spill
        self._lock = threading.Lock()
        self._opened: _Opened | None = None

    @contextmanager
    def connection(self) -> Generator[duckdb.DuckDBPyConnection]:
        """Give a connection in UTC, on which nothing was done yet; what is made over it is gone afterwards."""
        opened = self._entered()
        try:
            with opened.database.cursor() as connection:
                connection.execute("set timezone = 'UTC'; set enable_progress_bar = false; begin transaction")
                yield connection
        finally:
            self._left(opened)

    def _entered(self) -> "_Opened":
        with self._lock:
            if self._opened is None or self._opened.process != os.getpid():
                self._opened = _Opened(self._config, self._spill)
            self._opened.users += 1
            return self._opened

    def _left(self, opened: "_Opened") -> None:
        with self._lock:
            opened.users -= 1
            if not opened.users and opened.spill.exists():
                opened.close()
                self._opened = None


class _Opened:
    """A database of one process, and how many use it."""

    def __init__(self, config: Mapping[str, Any], spill: Path) -> None:
        self.process = os.getpid()
        self.users = 0
        self.spill = spill.with_name(f"{spill.name}-{self.process}-{uuid.uuid4().hex}")
        own = {"temp_directory": str(self.spill), "enable_external_file_cache": False}
        self.database = duckdb.connect(config={**config, **own})
        _ALL.add(self)

    def close(self) -> None:
        self.database.close()
        shutil.rmtree(self.spill, ignore_errors=True)
