"""Did every decision of the router reach the log as one exposure?

The service counts decisions by arm and hour, whatever becomes of their exposures (`ports.RoutedCount`). What was
decided and never received was lost on the way; what was received and never decided was put there by something else. An
exposure that stands twice under one request id is a copy, and counts once here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from recsys import schema
from recsys.evaluation.part import Part
from recsys.experiment.routing import window
from recsys.ports import Engine, RoutedCount
from recsys.specs.experiment import Experiment

UNRECEIVED_LIMIT: Final = 0.01
"""From this share of an arm's decisions on that were lost, or were never made, its exposures are not its traffic."""
_HOUR: Final = timedelta(hours=1)

_SQL: Final = """
SELECT e.arm, count(DISTINCT e.request_id) AS received
FROM exposures e CROSS JOIN parameters p
WHERE e.experiment = p.experiment AND e.arm IS NOT NULL AND NOT e.overridden AND e.{unit} IS NOT NULL
  AND epoch_us(e.event_timestamp) >= epoch_us(p.starts) AND epoch_us(e.event_timestamp) < epoch_us(p.ends)
  AND epoch_us(e.event_timestamp) // 3600000000 IN (SELECT epoch_us(period) // 3600000000 FROM routed)
GROUP BY ALL ORDER BY ALL
"""


@dataclass(frozen=True)
class Receipts:
    """Decisions and exposures of each arm, over the hours in which a service counted decisions."""

    hours: int
    decided: Mapping[str, int]
    """Without those that rightly have no exposure: requests that were asked again, and users that were forgotten."""
    received: Mapping[str, int]
    """Distinct request ids."""
    lost: Mapping[str, int]
    """Decided, and never received."""
    undecided: Mapping[str, int]
    """Received, and never decided."""

    def failures(self) -> Iterator[str]:
        """Yield what is wrong, in plain sentences."""
        for arm, count in self.decided.items():
            limit = UNRECEIVED_LIMIT * max(1, count)
            if self.lost[arm] >= limit:
                yield (
                    f"Of {count} decisions for {arm}, {self.lost[arm]} exposures ({self.lost[arm] / max(1, count):.1%})"
                    f" were lost, the limit is {UNRECEIVED_LIMIT:.0%}; find what the event log did not take."
                )
            if self.undecided[arm] >= limit:
                yield (
                    f"{arm} has {self.received[arm]} exposures of {count} decisions: {self.undecided[arm]} were logged"
                    f" and never decided, the limit is {UNRECEIVED_LIMIT:.0%}; remove what was imported or copied under"
                    " other request ids."
                )


def receipts(
    engine: Engine,
    name: str,
    experiment: Experiment,
    exposures: pa.Table | Path,
    routed: pa.Table,
    *,
    now: datetime,
    part: Part | None = None,
) -> Receipts | None:
    """Compare decisions with exposures over whole hours that are over.

    Args:
        engine: runs the SQL.
        name: the experiment's name.
        experiment: its declaration.
        exposures: as `EventLog.exposures` gives them, or parquet of the same columns.
        routed: as `EventLog.routed` gives them.
        now: the environment's time; while the experiment runs, its hour is not over.
        part: the requests that are looked at; all of the experiment by default.

    Returns:
        The comparison, or None where no service counted in these hours: a replay, or an import.
    """
    starts, ends = _whole_hours(experiment, now, part)
    inside = pc.and_(
        pc.greater_equal(routed["period"], pa.scalar(starts, schema.TIMESTAMP)),
        pc.less(routed["period"], pa.scalar(ends, schema.TIMESTAMP)),
    )
    counted = routed.filter(inside)
    # Forgotten users are excused in hours that no service counted too: those say nothing.
    periods = pc.unique(counted.filter(pc.greater(counted["decided"], 0))["period"])
    if not len(periods):
        return None
    counted = counted.filter(pc.is_in(counted["period"], value_set=periods))
    parameters = pa.table(
        {
            "experiment": [name],
            "starts": pa.array([starts], schema.TIMESTAMP),
            "ends": pa.array([ends], schema.TIMESTAMP),
        }
    )
    tables = {"exposures": exposures, "parameters": parameters, "routed": counted}
    found = engine.query(_SQL.format(unit=experiment.unit), tables)
    received = dict(zip(found["arm"].to_pylist(), found["received"].to_pylist(), strict=True))
    summed = counted.group_by("arm").aggregate([("decided", "sum"), ("excused", "sum")]).to_pylist()
    # More may be excused than is known as decided, if a worker was killed before it could say so.
    decided = {row["arm"]: max(0, row["decided_sum"] - row["excused_sum"]) for row in summed}
    decided, received = ({arm: counts.get(arm, 0) for arm in experiment.arms} for counts in (decided, received))
    return Receipts(
        hours=len(periods),
        decided=decided,
        received=received,
        lost={arm: max(0, decided[arm] - received[arm]) for arm in decided},
        undecided={arm: max(0, received[arm] - decided[arm]) for arm in decided},
    )


def _whole_hours(experiment: Experiment, now: datetime, part: Part | None) -> tuple[datetime, datetime]:
    """Return [first, last) such that hours in it are whole: counts are of hours.

    No decision is made before the experiment starts or after it ends, so the hours of its own borders are whole.
    """
    start, end = window(experiment)
    looked = (start, end) if part is None else (part.start, part.end)
    first, last = looked[0], min(now, looked[1])
    if first == start:
        first = RoutedCount.period_of(first)
    elif RoutedCount.period_of(first) < first:
        first = RoutedCount.period_of(first) + _HOUR
    return first, last if last == end else RoutedCount.period_of(last)
