"""How do a session's features follow an event that has just been logged? Made anew from the log, and pushed online.

The log is the truth: the rows of a session are made from all that it knows of the session, never from rows of before.
So the order of events, their batches and retries do not matter, and a push that was lost is made up for by the next
event of the session.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from recsys.data.streams import FIRST_EVENTS
from recsys.ports import EventLog, FeatureReader, FeatureTable, Streams
from recsys.schema import EVENT_ID, EVENT_TYPE, SESSION

_ATTEMPTS: Final = 10
"""A session in which more is logged while its rows are pushed is pushed again; whoever logged that pushes it too."""


class SessionFeatures:
    """Keeps the online rows of stream tables up to the event log; safe for threads and for several workers."""

    def __init__(
        self,
        log: EventLog,
        features: FeatureReader,
        tables: Sequence[FeatureTable],
        prepare: Callable[[], Streams],
    ) -> None:
        """Hold the collaborators; nothing is prepared yet.

        Args:
            log: has the events.
            features: the online store.
            tables: stream tables keyed by the session first, each with a view of its name.
            prepare: compiles the tables' transforms.
        """
        self._log = log
        self._features = features
        self._tables = tuple(tables)
        self._types = sorted({name for table in tables for name in table.events})
        self._prepare = prepare
        self._prepared: Streams | None = None
        self._lock = threading.Lock()

    def warm(self) -> None:
        """Prepare the transforms, which the first event would wait for.

        Raises:
            FeatureError: if one does not run.
        """
        self._streams()

    def follow(self, events: pa.Table) -> int:
        """Bring the rows of the sessions that some logged events are of up to the log.

        A row is pushed over one that knows as much or less by its clocks, and of two workers the slower may have read
        the log first. So each reads it again after its push, and pushes again if there was more: the last push is of
        everything.

        Args:
            events: rows of `schema.EVENTS` that are committed.

        Returns:
            How many sessions were concerned.

        Raises:
            FeatureError: if a transform does not run, or rows cannot be pushed.
            StoreError: if the log cannot be read.
        """
        concerned = events.filter(pc.is_in(events[EVENT_TYPE], value_set=pa.array(self._types, pa.string())))
        sessions = pc.unique(concerned[SESSION]).drop_null().to_pylist()
        if not sessions:
            return 0
        known: pa.ChunkedArray | None = None
        for _ in range(_ATTEMPTS):
            before, logged = known, self._log.session_events(sessions, self._types, FIRST_EVENTS)
            known = logged[EVENT_ID]
            if before is not None and known.equals(before):
                break
            for table in self._tables:
                self._features.push(table.name, self._streams().rows(table, logged))
        return len(sessions)

    def _streams(self) -> Streams:
        if self._prepared is None:
            with self._lock:
                if self._prepared is None:
                    self._prepared = self._prepare()
        return self._prepared
