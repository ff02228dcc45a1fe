"""What is an event log, in memory?"""

import itertools
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from recsys import schema
from recsys.errors import DataError
from recsys.ports import Exposure, NewIds, RoutedCount, RoutedCounts


class FakeEventLog:
    """`ports.EventLog` that forgets everything with its process."""

    def __init__(self) -> None:
        """Start empty."""
        self._exposures: dict[str, Exposure] = {}
        self._outcomes: dict[str, dict[str, Any]] = {}
        self._routed: dict[tuple[str, str, str, datetime], RoutedCount] = {}

    def write_exposures(self, exposures: Iterable[Exposure]) -> int:
        """Keep exposures whose request id is new."""
        before = len(self._exposures)
        for exposure in exposures:
            self._exposures.setdefault(exposure.request_id, exposure)
        return len(self._exposures) - before

    def write_outcomes(self, outcomes: pa.Table) -> int:
        """Keep outcomes whose event id is new."""
        missing = set(schema.EVENTS.names) - set(outcomes.column_names)
        if missing:
            message = f"outcomes: column {min(missing)} is missing"
            raise DataError(message)
        before = len(self._outcomes)
        for row in outcomes.select(schema.EVENTS.names).cast(schema.EVENTS).to_pylist():
            if row[schema.EVENT_ID] is None:
                message = "outcomes: event_id is null"
                raise DataError(message)
            self._outcomes.setdefault(row[schema.EVENT_ID], row)
        return len(self._outcomes) - before

    def write_group(self, exposures: Sequence[Exposure], outcomes: pa.Table, routed: RoutedCounts = ()) -> NewIds:
        """Keep all of it, or nothing."""
        requests, events = set(self._exposures), set(self._outcomes)
        self.write_outcomes(outcomes)
        self.write_exposures(exposures)
        new = NewIds(frozenset(self._exposures) - requests, frozenset(self._outcomes) - events)
        counts = routed(new.requests) if callable(routed) else routed
        self._routed |= {(count.source, count.experiment, count.arm, count.period): count for count in counts}
        return new

    def exposures(self, placement: str, start: datetime, end: datetime) -> pa.Table:
        """Return the exposures of a placement within [start, end), by time and request id."""
        shown = self._shown(placement, start, end)
        return pa.Table.from_pylist(
            [{name: getattr(exposure, name) for name in schema.EXPOSURES.names} for exposure in shown],
            schema=schema.EXPOSURES,
        )

    def recent(self, placement: str, count: int) -> pa.Table:
        """Return the newest exposures of a placement."""
        ever = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
        return self.exposures(placement, *ever).sort_by([(schema.EVENT_TIMESTAMP, "descending")])[:count]

    def impressions(self, placement: str, start: datetime, end: datetime) -> pa.Table:
        """Return the slots of those exposures."""
        rows = [
            {
                schema.REQUEST_ID: exposure.request_id,
                schema.POSITION: item.position,
                schema.ITEM: item.item_id,
                schema.SCORE: item.score,
                schema.PROPENSITY: item.propensity,
            }
            for exposure in self._shown(placement, start, end)
            for item in sorted(exposure.items, key=lambda item: item.position)
        ]
        return pa.Table.from_pylist(rows, schema=schema.IMPRESSIONS)

    def contexts(self, placement: str, start: datetime, end: datetime) -> pa.Table:
        """Return what those exposures' requests said, of those that said something."""
        shown = [each for each in self._shown(placement, start, end) if "context" in each.asked]
        return pa.Table.from_pylist(
            [{schema.REQUEST_ID: each.request_id, "context": json.dumps(each.asked["context"])} for each in shown],
            schema=schema.CONTEXTS,
        )

    def with_features(self, placement: str, start: datetime, end: datetime) -> Sequence[str]:
        """Return the ids of those exposures that have their features, ascending."""
        return sorted(each.request_id for each in self._shown(placement, start, end) if each.features is not None)

    def outcomes(self, event_type: str, start: datetime, end: datetime) -> pa.Table:
        """Return outcomes of a type within [start, end), by time and event id."""
        rows = [
            row
            for row in self._outcomes.values()
            if row[schema.EVENT_TYPE] == event_type and start <= row[schema.EVENT_TIMESTAMP] < end
        ]
        rows.sort(key=lambda row: (row[schema.EVENT_TIMESTAMP], row[schema.EVENT_ID]))
        return pa.Table.from_pylist(rows, schema=schema.EVENTS)

    def routed(self, experiment: str) -> pa.Table:
        """Return an experiment's counts of all sources, by arm and period."""
        summed: dict[tuple[str, datetime], list[int]] = {}
        for count in self._routed.values():
            if count.experiment == experiment:
                both = summed.setdefault((count.arm, count.period), [0, 0])
                both[:] = both[0] + count.decided, both[1] + count.excused
        rows = [(arm, period, *both) for (arm, period), both in sorted(summed.items())]
        columns = zip(*rows, strict=True) if rows else ([], [], [], [])
        return pa.table(dict(zip(schema.ROUTED.names, map(list, columns), strict=True)), schema.ROUTED)

    def event_types(self) -> Sequence[str]:
        """Return the types of the outcomes, ascending."""
        return sorted({row[schema.EVENT_TYPE] for row in self._outcomes.values()})

    def session_events(self, sessions: Sequence[str], event_types: Sequence[str], first: int) -> pa.Table:
        """Return the first events of each session, by session, created_timestamp and event id."""
        rows = [
            row
            for row in self._outcomes.values()
            if row[schema.SESSION] in set(sessions) and row[schema.EVENT_TYPE] in set(event_types)
        ]
        rows.sort(key=lambda row: (row[schema.SESSION], row[schema.CREATED_TIMESTAMP], row[schema.EVENT_ID]))
        kept = [row for _, mine in itertools.groupby(rows, lambda row: row[schema.SESSION]) for row in [*mine][:first]]
        return pa.Table.from_pylist(kept, schema=schema.EVENTS)

    def request(self, request_id: str) -> Exposure | None:
        """Return one exposure with its slots, or None."""
        return self._exposures.get(request_id)

    def ping(self) -> None:
        """Memory can always be reached."""

    def _shown(self, placement: str, start: datetime, end: datetime) -> Sequence[Exposure]:
        found = [
            exposure
            for exposure in self._exposures.values()
            if exposure.placement == placement and start <= exposure.event_timestamp < end
        ]
        return sorted(found, key=lambda exposure: (exposure.event_timestamp, exposure.request_id))
