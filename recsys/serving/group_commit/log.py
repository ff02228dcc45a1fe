"""How does an event log look to those who write into a queue before it?"""

import asyncio
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as LateError
from datetime import datetime
from typing import Final, Literal

import pyarrow as pa

from recsys import schema
from recsys.ports import EventLog, Exposure, NewIds, RoutedCounts
from recsys.serving.group_commit.calls import NO_OUTCOMES, Call
from recsys.serving.group_commit.writer import Writer

Durability = Literal["acknowledged", "buffered"]

_GATHER_SECONDS: Final = 0.01


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
        self._wait_seconds = wait_seconds
        # What is acknowledged cannot be lost by a kill: there the counts need not go with every commit.
        self._writer = Writer(log, queue_rows, gather_seconds, 1.0 if durability == "acknowledged" else 0.0)

    # -- writing

    def decided(self, exposure: Exposure) -> None:
        """Count what the router decided, whatever becomes of its exposure; call it before that is written.

        The counts reach the log with the exposures, in the same transaction: buffered with each group, acknowledged
        once a second; and where no exposure does, within a second.
        """
        self._writer.decided(exposure)

    def write_exposures(self, exposures: Iterable[Exposure]) -> int:
        """Write exposures; return how many were new, or, buffered, how many wait now.

        Raises:
            DataError: if a value is one that the log cannot keep (acknowledged only).
            StoreError: if they were not written, or not taken in, in time.
        """
        call = self._call(exposures, self._wait_seconds)
        self._writer.take_in(call)
        return len(call.ids) if call.commit is None else self._committed(call, call.commit)

    async def write_soon(self, exposures: Iterable[Exposure], within: float | None = None) -> None:
        """Write exposures as `write_exposures` does, without a thread that waits for the commit.

        Args:
            exposures: what was answered.
            within: seconds that the caller has, where it has less than a call may wait.

        Raises:
            DataError: if a value is one that the log cannot keep (acknowledged only).
            StoreError: if they were not written, or not taken in, in time.
        """
        call = self._call(exposures, self._wait_seconds if within is None else min(within, self._wait_seconds))
        if not self._writer.take_in_now(call):
            await asyncio.to_thread(self._writer.take_in, call)
        if call.commit is not None:
            # Shielded: who no longer waits takes nothing back that is under way.
            committed = asyncio.shield(asyncio.wrap_future(call.commit))
            try:
                await asyncio.wait_for(committed, call.left)
            except TimeoutError:
                self._writer.take_back(call, call.commit)

    def write_outcomes(self, outcomes: pa.Table) -> int:
        """Write rows of `schema.EVENTS`; return how many were new, when they are on disk.

        Raises:
            DataError: if columns or values break `schema.EVENTS`.
            StoreError: if they were not written in time.
        """
        ids = outcomes[schema.EVENT_ID].to_pylist() if schema.EVENT_ID in outcomes.column_names else ()
        commit: Future[int] = Future()
        call = Call((), outcomes, frozenset(ids), outcomes.num_rows, commit, self._wait_seconds)
        self._writer.take_in(call)
        return self._committed(call, commit)

    def write_group(self, exposures: Sequence[Exposure], outcomes: pa.Table, routed: RoutedCounts = ()) -> NewIds:
        """Write a group that another made, at once."""
        return self._log.write_group(exposures, outcomes, routed)

    def close(self, wait_seconds: float = 10.0) -> int:
        """Write what waits, in bounded time, and take nothing more.

        Returns how many buffered exposures were lost since the start: refused by the log, or not written in time now.
        """
        self._writer.close(wait_seconds)
        return self._writer.lost

    # -- reading

    @property
    def waiting(self) -> int:
        """Rows that are not committed yet."""
        return self._writer.rows

    @property
    def lost(self) -> int:
        """Buffered exposures that will never be written."""
        return self._writer.lost

    def exposures(self, placement: str, start: datetime, end: datetime) -> pa.Table:
        """Return committed exposures."""
        return self._log.exposures(placement, start, end)

    def recent(self, placement: str, count: int) -> pa.Table:
        """Return the newest committed exposures."""
        return self._log.recent(placement, count)

    def impressions(self, placement: str, start: datetime, end: datetime) -> pa.Table:
        """Return the slots of committed exposures."""
        return self._log.impressions(placement, start, end)

    def contexts(self, placement: str, start: datetime, end: datetime) -> pa.Table:
        """Return what committed requests said."""
        return self._log.contexts(placement, start, end)

    def with_features(self, placement: str, start: datetime, end: datetime) -> Sequence[str]:
        """Return the committed requests whose features are logged."""
        return self._log.with_features(placement, start, end)

    def outcomes(self, event_type: str, start: datetime, end: datetime) -> pa.Table:
        """Return committed outcomes."""
        return self._log.outcomes(event_type, start, end)

    def routed(self, experiment: str) -> pa.Table:
        """Return an experiment's counts that are committed."""
        return self._log.routed(experiment)

    def event_types(self) -> Sequence[str]:
        """Return the types of the committed outcomes."""
        return self._log.event_types()

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

    def _call(self, exposures: Iterable[Exposure], patience: float) -> Call:
        given = tuple(exposures)
        ids = frozenset(exposure.request_id for exposure in given)
        rows = len(given) + sum(len(exposure.items) for exposure in given)
        commit: Future[int] | None = Future() if self._durability == "acknowledged" else None
        return Call(given, NO_OUTCOMES, ids, rows, commit, patience)

    def _committed(self, call: Call, commit: Future[int]) -> int:
        try:
            return commit.result(call.left)
        except LateError:
            return self._writer.take_back(call, commit)
