"""What of the event log is handed out, and what leaves it for good?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import pyarrow as pa


@dataclass(frozen=True)
class LogRows:
    """How many rows of each kind."""

    exposures: int = 0
    impressions: int = 0
    outcomes: int = 0

    def __add__(self, other: "LogRows") -> "LogRows":
        """Return the sums."""
        return LogRows(
            self.exposures + other.exposures,
            self.impressions + other.impressions,
            self.outcomes + other.outcomes,
        )


class EventArchive(Protocol):
    """The event log as a whole, over all placements and event types; the ledger is no part of it."""

    def extent(self) -> tuple[datetime, datetime] | None:
        """Return the oldest and the newest event time of exposures and outcomes, or None where there are none."""
        ...

    def scan(self, table: str, start: datetime, end: datetime) -> Iterator[pa.RecordBatch]:
        """Give the rows of a table with start <= event_timestamp < end, a bounded number at a time.

        Args:
            table: exposures (`schema.LOGGED_EXPOSURES`, by placement, time and request), impressions
                (`schema.IMPRESSIONS`, of those exposures and in their order) or outcomes (`schema.EVENTS`, by type,
                time and event).
            start: inside.
            end: outside.
        """
        ...

    def prune(self, before: datetime) -> Iterator[LogRows]:
        """Delete what is older than a moment, a bounded number of rows a transaction; give the counts of each."""
        ...

    def sessions(self, users: Sequence[str]) -> tuple[str, ...]:
        """Return the sessions in which users asked for lists or did something, ascending."""
        ...

    def erase(self, users: Sequence[str]) -> LogRows:
        """Delete what is of users, a bounded number of rows a transaction, and leave no copy in the database's file.

        Killed on the way it has deleted some; another run deletes the rest.
        """
        ...
