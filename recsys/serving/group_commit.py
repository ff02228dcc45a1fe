"""How do many requests share one commit of the event log, and what waits when the log does not keep up?

One thread writes all that waits as one transaction. What comes while it commits is the next group, so a single writer
waits for nobody and many share a commit. Two durabilities:

- acknowledged: a call returns when its group is committed;
- buffered: a call with exposures returns when they are in the queue. The thread gathers for `gather_seconds` first.
  Outcomes are acknowledged all the same: nobody could send them again who believes that they are kept.

The queue is bounded in rows. When it is full a caller waits, and is refused when its time is over. When the log cannot
be written, acknowledged calls are refused (at once, until the next attempt is due), and buffered ones stay queued and
are written by a later attempt; the pauses between attempts double up to a bound, with jitter. A value that the log
cannot keep fails its own call only: its group is written again one call at a time.
"""

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as LateError
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

import pyarrow as pa

from recsys import schema
from recsys.errors import StoreError
from recsys.ports import EventLog, Exposure, NewIds

LOGGER = logging.getLogger(__name__)

Durability = Literal["acknowledged", "buffered"]

_GROUP_ROWS: Final = 5_000
"""A transaction takes no more, unless one call alone brings more."""
_GATHER_SECONDS: Final = 0.01
_FIRST_PAUSE_SECONDS: Final = 0.05
_LONGEST_PAUSE_SECONDS: Final = 1.0
_NO_OUTCOMES: Final = schema.EVENTS.empty_table()


@dataclass(eq=False)
class _Call:
    """What one caller wants written."""

    exposures: tuple[Exposure, ...]
    outcomes: pa.Table
    ids: frozenset[str]
    rows: int
    commit: "Future[int] | None"
    """Awaited by an acknowledged caller; None where nobody waits."""
    since: float = field(default_factory=time.monotonic)


class GroupCommit:
    """A `ports.EventLog` that commits in groups; safe for threads; `close` it, or what is buffered is lost.

    Reads go to the log itself and do not see what still waits.
    """

    def __init__(
        self,
        log: EventLog,
        durability: Durability = "acknowledged",
        *,
        queue_rows: int = 100_000,
        wait_seconds: float = 2.0,
        gather_seconds: float = _GATHER_SECONDS,
    ) -> None:
        """Start nothing yet: the thread begins with the first call.

        Args:
            log: what is written to; from one thread at a time.
            durability: of exposures.
            queue_rows: exposures, slots and outcomes that may wait; one call alone may be larger.
            wait_seconds: how long a call waits for room and for its commit, together.
            gather_seconds: how long buffered exposures wait for others, when no acknowledged call waits.
        """
        self._log = log
        self._durability = durability
        self._queue_rows = queue_rows
        self._wait_seconds = wait_seconds
        self._gather_seconds = gather_seconds
        self._changed = threading.Condition()
        self._queue: deque[_Call] = deque()
        self._rows = 0
        self._lost = 0
        self._failures = 0
        self._failure: StoreError | None = None
        self._next_attempt = 0.0
        self._thread: threading.Thread | None = None
        self._closed = False
        self._abandoned = False

    # -- writing

    def write_exposures(self, exposures: Iterable[Exposure]) -> int:
        """Write exposures; return how many were new, or, buffered, how many wait now.

        Raises:
            DataError: if a value is one that the log cannot keep (acknowledged only).
            StoreError: if they were not written, or not taken in, in time.
        """
        given = tuple(exposures)
        ids = frozenset(exposure.request_id for exposure in given)
        rows = len(given) + sum(len(exposure.items) for exposure in given)
        if self._durability == "acknowledged":
            return self._acknowledged(given, _NO_OUTCOMES, ids, rows)
        self._take_in(_Call(given, _NO_OUTCOMES, ids, rows, None), time.monotonic() + self._wait_seconds)
        return len(ids)

    def write_outcomes(self, outcomes: pa.Table) -> int:
        """Write rows of `schema.EVENTS`; return how many were new, when they are on disk.

        Raises:
            DataError: if columns or values break `schema.EVENTS`.
            StoreError: if they were not written in time.
        """
        ids = outcomes[schema.EVENT_ID].to_pylist() if schema.EVENT_ID in outcomes.column_names else ()
        return self._acknowledged((), outcomes, frozenset(ids), outcomes.num_rows)

    def write_group(self, exposures: Sequence[Exposure], outcomes: pa.Table) -> NewIds:
        """Write a group that another made, at once."""
        return self._log.write_group(exposures, outcomes)

    def close(self, wait_seconds: float = 10.0) -> int:
        """Write what waits, in bounded time, and take nothing more.

        Returns how many buffered exposures were lost since the start: refused by the log, or not written in time now.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(wait_seconds)
        with self._changed:
            self._abandoned = True
            left, self._queue = _taken(self._queue), deque()
            self._changed.notify_all()
        for call in left:
            self._end(call, StoreError("event log: closed before this was written; send it again"))
        return self._lost

    # -- reading

    @property
    def waiting(self) -> int:
        """Rows that are not committed yet."""
        return self._rows

    @property
    def lost(self) -> int:
        """Buffered exposures that will never be written."""
        return self._lost

    def exposures(self, placement: str, start: datetime, end: datetime) -> pa.Table:
        """Return committed exposures."""
        return self._log.exposures(placement, start, end)

    def impressions(self, placement: str, start: datetime, end: datetime) -> pa.Table:
        """Return the slots of committed exposures."""
        return self._log.impressions(placement, start, end)

    def outcomes(self, event_type: str, start: datetime, end: datetime) -> pa.Table:
        """Return committed outcomes."""
        return self._log.outcomes(event_type, start, end)

    def session_events(self, sessions: Sequence[str], event_types: Sequence[str], first: int) -> pa.Table:
        """Return the committed events of some sessions."""
        return self._log.session_events(sessions, event_types, first)

    def request(self, request_id: str) -> Exposure | None:
        """Return one committed exposure with its slots, or None."""
        return self._log.request(request_id)

    def ping(self) -> None:
        """Check that the log can be reached.

        Raises:
            StoreError: naming the log and what to do.
        """
        self._log.ping()

    # -- in the caller's thread

    def _acknowledged(self, exposures: tuple[Exposure, ...], outcomes: pa.Table, ids: frozenset[str], rows: int) -> int:
        deadline = time.monotonic() + self._wait_seconds
        commit: Future[int] = Future()
        call = _Call(exposures, outcomes, ids, rows, commit)
        self._take_in(call, deadline)
        try:
            return commit.result(max(0.0, deadline - time.monotonic()))
        except LateError:
            return self._given_up(call, commit)

    def _take_in(self, call: _Call, deadline: float) -> None:
        with self._changed:
            self._refuse_while_failing(call)
            while self._rows and self._rows + call.rows > self._queue_rows and not self._closed:
                if not self._changed.wait(max(0.0, deadline - time.monotonic())) and time.monotonic() >= deadline:
                    message = (
                        f"event log: {self._rows:,} rows wait and {self._queue_rows:,} may: the log has not kept up for"
                        f" {self._wait_seconds:g} s; nothing of this was written: send it again later"
                    )
                    raise StoreError(message)
            if self._closed:
                message = "event log: closed: the service is ending; nothing of this was written"
                raise StoreError(message)
            self._rows += call.rows
            self._queue.append(call)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="event-log", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def _refuse_while_failing(self, call: _Call) -> None:
        """Let nobody wait for an attempt that fails: who asks when one is due is the next attempt."""
        if call.commit is not None and self._failure is not None and time.monotonic() < self._next_attempt:
            message = f"{self._failure}; nothing of this was written: send it again later"
            raise StoreError(message) from self._failure

    def _given_up(self, call: _Call, commit: "Future[int]") -> int:
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
        message = f"event log: not committed within {self._wait_seconds:g} s; {said}"
        raise StoreError(message)

    # -- in the writer's thread

    def _run(self) -> None:
        while group := self._next_group():
            self._commit(group)

    def _next_group(self) -> list[_Call]:
        """Wait until a group is due and take it; nothing at the end."""
        with self._changed:
            while not self._abandoned and (self._queue or not self._closed):
                pause = self._due_in()
                if pause is None or pause > 0:
                    self._changed.wait(pause)
                    continue
                group: list[_Call] = []
                rows = 0
                while self._queue and (not group or rows + self._queue[0].rows <= _GROUP_ROWS):
                    group.append(self._queue.popleft())
                    rows += group[-1].rows
                return _taken(group)
            return []

    def _due_in(self) -> float | None:
        """Return in how many seconds a group is due; None where nothing waits."""
        if not self._queue:
            return None
        now = time.monotonic()
        if self._failure is not None:
            return self._next_attempt - now
        if self._closed or self._rows >= _GROUP_ROWS or any(call.commit is not None for call in self._queue):
            return 0.0
        return self._queue[0].since + self._gather_seconds - now

    def _commit(self, group: Sequence[_Call]) -> None:
        try:
            new = _write(self._log, group)
        except StoreError as error:
            self._put_back(group, error)
        except Exception as error:  # noqa: BLE001 - whatever a value does to the log is its caller's
            if len(group) == 1:
                self._end(group[0], error)
                return
            for call in group:
                if self._failure is None:
                    self._commit([call])
                else:
                    self._put_back([call], self._failure)
        else:
            with self._changed:
                self._failures, self._failure = 0, None
            for call, count in zip(group, new, strict=True):
                self._end(call, count)

    def _put_back(self, group: Sequence[_Call], error: StoreError) -> None:
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

    def _end(self, call: _Call, result: int | Exception) -> None:
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


def _taken(calls: Iterable[_Call]) -> list[_Call]:
    """Mark calls as under way: their callers can no longer take them back."""
    taken = list(calls)
    for call in taken:
        if call.commit is not None:
            call.commit.set_running_or_notify_cancel()
    return taken


def _write(log: EventLog, group: Sequence[_Call]) -> list[int]:
    """Write a group in one transaction; return how many ids of each call were new: the first call of an id has it."""
    exposures = [exposure for call in group for exposure in call.exposures]
    tables = [call.outcomes for call in group if call.outcomes.num_rows]
    new = log.write_group(exposures, _once(tables) if tables else _NO_OUTCOMES)
    requests, events = set(new.requests), set(new.events)
    counts = []
    for call in group:
        unclaimed = requests if call.exposures else events
        mine = unclaimed & call.ids
        unclaimed -= mine
        counts.append(len(mine))
    return counts


def _once(tables: Sequence[pa.Table]) -> pa.Table:
    """Put outcomes together; of equal ids the first counts."""
    if len(tables) == 1:
        return tables[0]
    together = pa.concat_tables(tables)
    first: dict[str, int] = {}
    for number, event_id in enumerate(together[schema.EVENT_ID].to_pylist()):
        first.setdefault(event_id, number)
    return together if len(first) == together.num_rows else together.take(pa.array(first.values(), pa.int64()))
