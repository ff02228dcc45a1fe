"""Which documents need not be made again? Those of which nothing that they were made from has changed."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Any, Final, TypeVar

_RACY_SECONDS: Final = 0.1
"""A file may be written twice in a tick of the file system's clock, and its time then tells of the first only."""

D = TypeVar("D")

Stamp = object
"""Two that are equal mean that nothing has changed; None is equal to no other."""


def stamp_of(paths: Iterable[Path]) -> Stamp:
    """Return a stamp of files: names, inodes, times and sizes; None while one is so new that its time says little."""
    found, newest = [], 0.0
    for path in sorted(paths):
        try:
            told = path.stat()
        except FileNotFoundError:
            continue  # it was removed since it was listed
        newest = max(newest, told.st_mtime)
        found.append((str(path), told.st_ino, told.st_mtime_ns, told.st_size))
    return None if abs(time.time() - newest) < _RACY_SECONDS else found


class Memory:
    """The documents that were made last, each with the stamp of what it was made from."""

    def __init__(self, most: int = 64) -> None:
        """Remember so many."""
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[Stamp, Any]] = OrderedDict()

    def get(self, key: Hashable, stamp: Stamp, make: Callable[[], D], whole: Callable[[D], bool] = bool) -> D:
        """Return the very same object as before where the stamp is the same, or else what `make` gives.

        Args:
            key: of the document.
            stamp: of what it is made from, taken before it is made: what changes meanwhile then has another one.
            make: makes it.
            whole: tells whether it may be remembered; by default everything that there is.
        """
        with self._lock:
            if stamp is not None and key in self._kept and self._kept[key][0] == stamp:
                self._kept.move_to_end(key)
                found: D = self._kept[key][1]
                return found
        made = make()
        with self._lock:
            self._kept.pop(key, None)
            if stamp is not None and whole(made):
                self._kept[key] = stamp, made
                if len(self._kept) > self._most:
                    self._kept.popitem(last=False)
        return made
