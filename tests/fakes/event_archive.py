"""What is an event archive, in memory?"""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa

from recsys import schema
from recsys.ports import Exposure, LogRows, RoutedCount
from tests.fakes.event_log import FakeEventLog


class FakeEventArchive:
    """`ports.EventArchive` over a fake event log."""

    def __init__(self, log: FakeEventLog) -> None:
        """Read and change that log."""
        self._log = log

    def extent(self) -> tuple[datetime, datetime] | None:
        """Return the oldest and the newest event time."""
        times = [one.event_timestamp for one in self._log._exposures.values()]
        times += [row[schema.EVENT_TIMESTAMP] for row in self._log._outcomes.values()]
        return (min(times), max(times)) if times else None

    def scan(self, table: str, start: datetime, end: datetime) -> Iterator[pa.RecordBatch]:
        """Give all rows of a window at once."""
        if table == "outcomes":
            types = sorted({row[schema.EVENT_TYPE] for row in self._log._outcomes.values()})
            parts = [self._log.outcomes(one, start, end) for one in types]
        else:
            placements = sorted({one.placement for one in self._log._exposures.values()})
            if table == "impressions":
                parts = [self._log.impressions(one, start, end) for one in placements]
            else:
                parts = [
                    pa.Table.from_pylist(
                        [_logged(one) for one in shown],
                        schema=schema.LOGGED_EXPOSURES,
                    )
                    for shown in (self._log._shown(one, start, end) for one in placements)
                ]
        for part in parts:
            yield from part.to_batches()

    def prune(self, before: datetime) -> Iterator[LogRows]:
        """Delete what is older."""
        self._log._routed = {key: one for key, one in self._log._routed.items() if one.period >= before}
        yield self._without(
            {name for name, one in self._log._exposures.items() if one.event_timestamp < before},
            {name for name, row in self._log._outcomes.items() if row[schema.EVENT_TIMESTAMP] < before},
        )

    def sessions(self, users: Sequence[str]) -> tuple[str, ...]:
        """Return the sessions of users."""
        found = {one.session_id for one in self._log._exposures.values() if one.user_id in users}
        found |= {row[schema.SESSION] for row in self._log._outcomes.values() if row[schema.USER] in users}
        return tuple(sorted(session for session in found if session is not None))

    def erase(self, users: Sequence[str]) -> LogRows:
        """Delete what is of users."""
        for one in self._log._exposures.values():
            if one.user_id in users and one.experiment and one.arm and not one.overridden:
                count = RoutedCount(
                    f"forgotten {one.request_id}",
                    one.experiment,
                    one.arm,
                    RoutedCount.period_of(one.event_timestamp),
                    decided=0,
                    excused=1,
                )
                self._log._routed[count.source, count.experiment, count.arm, count.period] = count
        return self._without(
            {name for name, one in self._log._exposures.items() if one.user_id in users},
            {name for name, row in self._log._outcomes.items() if row[schema.USER] in users},
        )

    def _without(self, requests: set[str], events: set[str]) -> LogRows:
        slots = sum(len(self._log._exposures.pop(name).items) for name in requests)
        for name in events:
            del self._log._outcomes[name]
        return LogRows(len(requests), slots, len(events))


def _logged(exposure: Exposure) -> dict[str, Any]:
    row = {name: getattr(exposure, name) for name in schema.LOGGED_EXPOSURES.names}
    told = {"watermarks": dict(exposure.watermarks), "asked": dict(exposure.asked), "features": exposure.features}
    return row | {name: None if value is None else json.dumps(value) for name, value in told.items()}
