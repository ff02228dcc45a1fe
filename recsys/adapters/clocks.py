"""What time is it: the system's, or where a replay has come to?"""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

from recsys.errors import StoreError


class SystemClock:
    """The machine's time, in UTC."""

    def now(self) -> datetime:
        """Return the present moment."""
        return datetime.now(UTC)


class ReplayedClock:
    """A clock that stands still until a replay moves it.

    Its position is a file, so that every process reads the same time.
    """

    def __init__(self, path: Path, start: datetime) -> None:
        """Stand at `start` until the file says otherwise."""
        self._path = path
        self._start = start

    def now(self) -> datetime:
        """Return where the replay has come to.

        Raises:
            StoreError: if the position file is not what `move` writes.
        """
        try:
            return datetime.fromisoformat(json.loads(self._path.read_text())["now"])
        except FileNotFoundError:
            return self._start
        except (ValueError, KeyError, TypeError) as error:
            message = (
                f"replay clock {self._path}: cannot be read ({error}); delete the file to start at"
                f" {self._start:%Y-%m-%d} again"
            )
            raise StoreError(message) from error

    def move(self, to: datetime) -> None:
        """Move the clock forward; it never goes back."""
        if to <= self.now():
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_suffix(f".{os.getpid()}.partial")
        partial.write_text(json.dumps({"now": to.isoformat()}))
        partial.rename(self._path)
