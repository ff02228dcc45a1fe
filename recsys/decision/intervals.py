"""Which interval counts, which way is good, and how is it written?"""

import math

from recsys.statistics.bootstrap import Interval


def oriented(interval: Interval, direction: str) -> Interval:
    """Return the interval so that larger is better."""
    if direction == "higher_is_better":
        return interval
    return Interval(-interval.estimate, -interval.upper, -interval.lower)


def text(interval: Interval, scale: str) -> str:
    """Write an effect with its bounds: percent of the control's mean, or a difference."""
    lower, upper = (number(value, scale) for value in (interval.lower, interval.upper))
    return f"{number(interval.estimate, scale)} [{lower}, {upper}]"


def number(value: float, scale: str) -> str:
    """Write one bound; what is not finite is unknown."""
    if not math.isfinite(value):
        return "unknown"
    return f"{value:+.2%}" if scale == "relative" else f"{value:+.4f}"
