"""How many different units come to a placement, and how soon are there enough of them?"""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import pyarrow as pa

from recsys.evaluation.unit_metrics import UnitMetrics

_DAY: Final = timedelta(days=1)
_WEEK_DAYS: Final = 7


@dataclass(frozen=True)
class Arrivals:
    """How many units come, by the past."""

    cumulative: tuple[int, ...]
    """Different units up to each day's end."""
    share: float
    """Share of them that the arms take together."""
    rate_days: int = _WEEK_DAYS
    """Beyond the past, new units come as in so many days at its end."""

    def after(self, days: int) -> int:
        """Return the units of all arms after so many days; beyond the past at the rate of its end."""
        known = len(self.cumulative)
        if days <= known:
            return int(self.cumulative[days - 1] * self.share) if days > 0 else 0
        return int((self.cumulative[-1] + (days - known) * self._rate) * self.share)

    def days_for(self, units: int) -> int | None:
        """Return the days until so many units came to the arms, or None where they never would."""
        wanted = units / self.share
        within = np.searchsorted(self.cumulative, wanted)
        if within < len(self.cumulative):
            return int(within) + 1
        missing = wanted - self.cumulative[-1]
        return len(self.cumulative) + math.ceil(missing / self._rate) if self._rate > 0 else None

    @property
    def _rate(self) -> float:
        """New units a day, at the end of the past."""
        before = self.cumulative[-1 - self.rate_days] if len(self.cumulative) > self.rate_days else 0
        return (self.cumulative[-1] - before) / min(self.rate_days, len(self.cumulative))


def arrivals(metrics: UnitMetrics, start: datetime, share: float) -> Arrivals:
    """Count the different units up to each day of the past.

    Args:
        metrics: unit rows of the past.
        start: where it began.
        share: of all units that the arms take together.
    """
    first = np.asarray(metrics.units["first_exposure"].cast(pa.int64()))
    day = (first - round(start.timestamp()) * 1_000_000) // round(_DAY / timedelta(microseconds=1))
    days = (metrics.until - start) // _DAY
    counts = np.bincount(day, minlength=days)
    return Arrivals(tuple(int(count) for count in counts.cumsum()), share)
