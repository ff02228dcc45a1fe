"""When have enough units come? For many pasts at once, each a row.

Units asked for are known at some days of the past. Between two of them they are interpolated by their logarithms;
beyond, they are a constant plus a part that falls with the days: the variance of what a unit did is that between units,
which grows with the square of the days as the squared mean does, and that within them, which grows with the days.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

FEWEST_UNITS: Final = 4
"""Two in each arm."""
LONGEST_DAYS: Final = 3_660
"""An experiment that would take longer never ends."""
_MOST_UNITS: Final = 1e300


def first_enough(
    days: Sequence[int], asked: NDArray[np.float64], cumulative: NDArray[np.float64], share: float, rate_days: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the first day at which as many units came as are asked for, and how many these are.

    Args:
        days: at which what is asked for is known, ascending; the last is the past's last.
        asked: units over both arms, [pasts, days]; infinite where nothing would show the effect.
        cumulative: units that came up to the end of each day of the past, [pasts, days of the past].
        share: of them that the experiment takes.
        rate_days: beyond the past, units come as in so many days at its end.

    Returns:
        Days, infinite where there are never enough, and units, then by the whole past; [pasts] each.
    """
    asked = np.clip(asked, FEWEST_UNITS, _MOST_UNITS)
    first, last = days[0], days[-1]
    within = np.arange(first, last + 1)
    at = np.log(within)
    looked = np.exp([np.interp(at, np.log(days), row) for row in np.log(asked)])
    found = _first(np.floor(cumulative[:, within - 1] * share) >= looked, within)
    needed = np.where(np.isfinite(found), looked[np.arange(len(found)), _place(found, within)], looked[:, -1])
    late = np.flatnonzero(np.isinf(found))
    if len(late):
        level, slope = (part[:, None] for part in _trend(days, asked[late]))
        beyond = _steps(last)
        continued = level + slope / beyond
        known = cumulative[late]
        before = known[:, -1 - rate_days] if last > rate_days else np.zeros(len(late))
        rate = (known[:, -1] - before) / min(rate_days, last)
        come = np.floor((known[:, -1:] + (beyond - last) * rate[:, None]) * share)
        found[late] = _first(come >= continued, beyond)
        ends = np.isfinite(found[late])
        at_end = continued[np.arange(len(late)), _place(found[late], beyond)]
        needed[late] = np.where(ends, np.maximum(at_end, FEWEST_UNITS), needed[late])
    return found, needed


def _first(enough: NDArray[np.bool_], days: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.where(enough.any(axis=1), days[enough.argmax(axis=1)], np.inf)


def _place(found: NDArray[np.float64], days: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where a found day stands among those looked at; anywhere if there is none."""
    return np.searchsorted(days, np.where(np.isfinite(found), found, days[0]))


def _steps(last: int) -> NDArray[np.int64]:
    """Return the days beyond the past that are looked at, ever sparser."""
    steps = []
    while last < LONGEST_DAYS:
        last += max(1, last // 100)
        steps.append(last)
    return np.array(steps, dtype=np.int64)


def _trend(days: Sequence[int], asked: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit units = level + slope / days to the later half of the days, neither below 0, by relative least squares."""
    inverse = 1 / np.array(days[len(days) // 2 :], dtype=np.float64)
    level, slope = 1 / asked[:, len(days) // 2 :], inverse / asked[:, len(days) // 2 :]
    a, b, c = ((one * two).sum(axis=1) for one, two in ((level, level), (level, slope), (slope, slope)))
    p, q = level.sum(axis=1), slope.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        both = (p * c - q * b) / (a * c - b * b), (q * a - p * b) / (a * c - b * b)
        usable = (both[0] >= 0) & (both[1] >= 0)
        # One of two parts is 0 where it would be below: that with the larger rest.
        alone = p**2 / a >= q**2 / c
        return (
            np.where(usable, both[0], np.where(alone, p / a, 0.0)),
            np.where(usable, both[1], np.where(alone, 0.0, q / c)),
        )
