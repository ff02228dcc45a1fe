"""What waits for the log, for how long, and who writes it?"""

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from recsys.errors import StoreError
from recsys.ports import EventLog, Exposure, RoutedCount
from recsys.serving.group_commit.calls import Call, taken, write_together
from recsys.serving.group_commit.tally import Tally

if TYPE_CHECKING:
    from concurrent.futures import Future

LOGGER = logging.getLogger(__name__)

_GROUP_ROWS: Final = 5_000
"""A transaction takes no more, unless one call alone brings more."""
_ALONE_SECONDS: Final = 1.0
"""Counts that no exposures take along wait so long."""
_FIRST_PAUSE_SECONDS: Final = 0.05
_LONGEST_PAUSE_SECONDS: Final = 1.0


class Writer:
    """A bounded queue of calls, and one thread that writes what is in it as groups."""

    def __init__(self, log: EventLog, queue_rows: int, gather_seconds: float, tally_seconds: float) -> None:
        """Start nothing yet: the thread begins with the first call.

        Args:
            log: what is written to.
            queue_rows: rows that may wait.
            gather_seconds: how long buffered exposures wait for others.
            tally_seconds: so long after the last one no group takes the counts of decisions with it.
        """
        self._log = log
        self._queue_rows = queue_rows
        self._gather_seconds = gather_seconds
        self._tally = Tally()
        self._tally_seconds = tally_seconds
        self._tally_at = 0.0
        self._changed = threading.Condition()
        self._queue: deque[Call] = deque()
        self._rows = 0
        self._lost = 0
        self._failures = 0
        self._failure: StoreError | None = None
        self._next_attempt = 0.0
        self._thread: threading.Thread | None = None
        self._closed = False
        self._abandoned = False

    @property
    def rows(self) -> int:
        """Rows that are not committed yet."""
        return self._rows

    @property
    def lost(self) -> int:
        """Buffered exposures that will never be written."""
        return self._lost

    def close(self, wait_seconds: float) -> None:
        """Write what waits, in bounded time, and take nothing more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(wait_seconds)
        with self._changed:
            self._abandoned = True
            left, self._queue = taken(self._queue), deque()
            self._changed.notify_all()
        for call in left:
            self._end(call, StoreError("event log: closed before this was written; send it again"))

    # -- in the caller's thread

    def decided(self, exposure: Exposure) -> None:
        """Count a decision; the first that the log lacks makes the writer look when it is due."""
        if self._tally.decide(exposure):
            with self._changed:
                if not self._closed:
                    self._begin()
                    self._changed.notify_all()

    def take_in(self, call: Call) -> None:
        """Queue a call.

        Raises:
            StoreError: if there was no room while it may wait, the log is down, or this closed.
        """
        with self._changed:
            self._refuse_while_failing(call)
            while self._lacks_room(call):
                if not self._changed.wait(call.left) and not call.left:
                    message = (
                        f"event log: {self._rows:,} rows wait and {self._queue_rows:,} may: the log has not kept up for"
                        f" {call.patience:.3g} s; nothing of this was written: send it again later"
                    )
                    raise StoreError(message)
            self._append(call)

    def take_in_now(self, call: Call) -> bool:
        """Queue a call if there is room for it, and say whether it was.

        Raises:
            StoreError: if the log is down, or this closed.
        """
        with self._changed:
            self._refuse_while_failing(call)
            if self._lacks_room(call):
                return False
            self._append(call)
        return True

    def _lacks_room(self, call: Call) -> bool:
        return self._rows > 0 and self._rows + call.rows > self._queue_rows and not self._closed

    def _append(self, call: Call) -> None:
        if self._closed:
            message = "event log: closed: the service is ending; nothing of this was written"
            raise StoreError(message)
        self._rows += call.rows
        self._queue.append(call)
        self._begin()
        self._changed.notify_all()

    def _begin(self) -> None:
        if self._thread is None:
            self._tally_at = time.monotonic()
            self._thread = threading.Thread(target=self._run, name="event-log", daemon=True)
            self._thread.start()

    def _refuse_while_failing(self, call: Call) -> None:
        """Let nobody wait for an attempt that fails: who asks when one is due is the next attempt."""
        if call.commit is not None and self._failure is not None and time.monotonic() < self._next_attempt:
            message = f"{self._failure}; nothing of this was written: send it again later"
            raise StoreError(message) from self._failure

    def take_back(self, call: Call, commit: "Future[int]") -> int:
        """Take a call back whose time is over, and say whether it may yet be written; or it was just now."""
        with self._changed:
            if commit.done():
                return commit.result()
            if commit.cancel():
                self._queue.remove(call)
                self._rows -= call.rows
                self._changed.notify_all()
                said = "nothing of this was written: send it again later"
            else:
                said = "this may be written yet: send it again, an id is written once"
        message = f"event log: not committed within {call.patience:.3g} s; {said}"
        raise StoreError(message)

    # -- in the writer's thread

    def _run(self) -> None:
        while (group := self._next_group()) is not None:
            self._commit(group)

    def _next_group(self) -> list[Call] | None:
        """Wait until a group is due and take it; an empty one where only counts wait, and None at the end."""
        with self._changed:
            while not self._abandoned and (self._queue or not self._closed or self._counts_wait):
                pause = self._due_in()
                if pause is None or pause > 0:
                    self._changed.wait(pause)
                    continue
                group: list[Call] = []
                rows = 0
                while self._queue and (not group or rows + self._queue[0].rows <= _GROUP_ROWS):
                    group.append(self._queue.popleft())
                    rows += group[-1].rows
                return taken(group)
            return None

    @property
    def _counts_wait(self) -> bool:
        """Whether counts are all that keeps this from its end; a log that is down then is asked once."""
        return self._tally.changed and self._failure is None

    def _due_in(self) -> float | None:
        """Return in how many seconds a group is due; None where nothing waits."""
        if not self._queue and not self._tally.changed:
            return None
        now = time.monotonic()
        if self._failure is not None:
            return self._next_attempt - now
        if not self._queue and not self._closed:
            return self._tally_at + _ALONE_SECONDS - now
        if self._closed or self._rows >= _GROUP_ROWS or any(call.commit is not None for call in self._queue):
            return 0.0
        return self._queue[0].since + self._gather_seconds - now

    def _due_counts(self) -> tuple[RoutedCount, ...]:
        """Return the counts that go with this commit."""
        now = time.monotonic()
        if not self._closed and now < self._tally_at + self._tally_seconds:
            return ()
        self._tally_at = now
        return self._tally.pending()

    def _commit(self, group: Sequence[Call]) -> None:
        counts = self._due_counts()
        try:
            new = write_together(self._log, group, counts)
        except StoreError as error:
            self._put_back(group, error)
        except Exception as error:  # noqa: BLE001 - whatever a value does to the log is its caller's
            self._answered()
            if len(group) == 1:
                self._end(group[0], error)
                return
            for call in group:
                if self._failure is None:
                    self._commit([call])
                else:
                    self._put_back([call], self._failure)
        else:
            self._answered()
            self._tally.written(counts)
            for call, ids in zip(group, new, strict=True):
                if len(ids) < len(call.ids):
                    self._tally.excuse(one for one in call.exposures if one.request_id not in ids)
                self._end(call, len(ids))

    def _answered(self) -> None:
        """The log is up, whether it liked the group or not."""
        with self._changed:
            self._failures, self._failure = 0, None

    def _put_back(self, group: Sequence[Call], error: StoreError) -> None:
        """Tell those who wait; queue again what nobody waits for."""
        with self._changed:
            if self._failures == 0:
                LOGGER.error("%s; tried again until it works", error)
            pause = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2**self._failures)
            self._failures = min(self._failures + 1, 30)
            self._failure = error
            self._next_attempt = time.monotonic() + pause * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
            kept = [call for call in group if call.commit is None and not self._abandoned]
            self._queue.extendleft(reversed(kept))
        for call in group:
            if call not in kept:
                self._end(call, error)

    def _end(self, call: Call, result: int | Exception) -> None:
        """Give a call its result, and its room to others."""
        with self._changed:
            self._rows -= call.rows
            self._changed.notify_all()
            if call.commit is None and isinstance(result, Exception):
                self._lost += len(call.exposures)
        if call.commit is None:
            if isinstance(result, Exception):
                LOGGER.error("%d buffered exposures are lost: %s", len(call.exposures), result)
        elif isinstance(result, Exception):
            call.commit.set_exception(result)
        else:
            call.commit.set_result(result)
