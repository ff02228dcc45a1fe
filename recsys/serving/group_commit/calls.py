"""What does one caller want written, and how are many calls one group?"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from recsys import schema
from recsys.ports import EventLog, Exposure, RoutedCount

if TYPE_CHECKING:
    from concurrent.futures import Future

NO_OUTCOMES: Final = schema.EVENTS.empty_table()


@dataclass(eq=False)
class Call:
    """What one caller wants written."""

    exposures: tuple[Exposure, ...]
    outcomes: pa.Table
    ids: frozenset[str]
    rows: int
    commit: "Future[int] | None"
    """Awaited by an acknowledged caller; None where nobody waits."""
    patience: float
    """Seconds that it may wait for room and for its commit, together."""
    since: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Return the seconds that are left of that, 0 when none are."""
        return max(0.0, self.since + self.patience - time.monotonic())


def taken(calls: Iterable[Call]) -> list[Call]:
    """Mark calls as under way: their callers can no longer take them back."""
    begun = list(calls)
    for call in begun:
        if call.commit is not None:
            call.commit.set_running_or_notify_cancel()
    return begun


def write_together(log: EventLog, group: Sequence[Call], routed: Sequence[RoutedCount] = ()) -> list[frozenset[str]]:
    """Write a group in one transaction; return which ids of each call were new: the first call of an id has it."""
    exposures = [exposure for call in group for exposure in call.exposures]
    tables = [call.outcomes for call in group if call.outcomes.num_rows]
    new = log.write_group(exposures, _once(tables) if tables else NO_OUTCOMES, routed)
    requests, events = set(new.requests), set(new.events)
    found = []
    for call in group:
        unclaimed = requests if call.exposures else events
        mine = unclaimed & call.ids
        unclaimed -= mine
        found.append(frozenset(mine))
    return found


def _once(tables: Sequence[pa.Table]) -> pa.Table:
    """Put outcomes together; of equal ids the first counts."""
    if len(tables) == 1:
        return tables[0]
    together = pa.concat_tables(tables)
    first: dict[str, int] = {}
    for number, event_id in enumerate(together[schema.EVENT_ID].to_pylist()):
        first.setdefault(event_id, number)
    return together if len(first) == together.num_rows else together.take(pa.array(first.values(), pa.int64()))
