"""How often did this process's router give each arm, hour by hour, and what of that does the log know?"""

import threading
import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime

from recsys.ports import Exposure, RoutedCount

_Key = tuple[str, str, datetime]


class Tally:
    """Counts decisions in memory, and gives those counts that the log does not have yet; safe for threads.

    Counts are totals of this process, so that the log may be given one twice.
    """

    def __init__(self) -> None:
        """Start at nothing, under a name that no process ever had."""
        self._source = uuid.uuid4().hex
        self._lock = threading.Lock()
        self._decided: dict[_Key, int] = {}
        self._excused: dict[_Key, int] = {}
        self._changed: set[_Key] = set()

    @property
    def changed(self) -> bool:
        """Whether the log lacks anything of it."""
        return bool(self._changed)

    def decide(self, exposure: Exposure) -> bool:
        """Count a decision, and return whether it is the first that the log lacks; testers' are not counted."""
        key = RoutedCount.key_of(exposure)
        if key is None:
            return False
        with self._lock:
            first = not self._changed
            self._decided[key] = self._decided.get(key, 0) + 1
            self._changed.add(key)
        return first

    def excuse(self, exposures: Iterable[Exposure]) -> None:
        """Count decisions whose request the log had before."""
        for exposure in exposures:
            key = RoutedCount.key_of(exposure)
            with self._lock:
                if key is not None and self._excused.get(key, 0) < self._decided.get(key, 0):
                    self._excused[key] = self._excused.get(key, 0) + 1
                    self._changed.add(key)

    def pending(self) -> tuple[RoutedCount, ...]:
        """Return the counts that the log lacks."""
        with self._lock:
            return tuple(
                RoutedCount(self._source, *key, self._decided[key], self._excused.get(key, 0))
                for key in sorted(self._changed)
            )

    def written(self, counts: Sequence[RoutedCount]) -> None:
        """Note that the log has these; what was counted meanwhile, it still lacks."""
        with self._lock:
            for count in counts:
                key = (count.experiment, count.arm, count.period)
                if (count.decided, count.excused) == (self._decided[key], self._excused.get(key, 0)):
                    self._changed.discard(key)
