"""By what are requests told apart: split, decision time, and how active the unit had been?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

ACTIVITY: Final = ("new", "light", "heavy")
"""new: no earlier target event; light: at most the median of those that have any; heavy: more."""


@dataclass(frozen=True)
class Group:
    """One way of telling requests or rows apart."""

    name: str
    names: tuple[str, ...]
    """Of its parts."""
    part: NDArray[np.int64]
    """[requests] the number of its part, -1 where it is in none."""


def request_groups(
    moments: NDArray[np.datetime64], history: NDArray[np.int64], splits: Mapping[str, Sequence[np.datetime64]]
) -> tuple[list[Group], dict[str, float]]:
    """Tell requests apart.

    Args:
        moments: [requests] decision times.
        history: [requests] earlier events of the unit.
        splits: name to its decision times.

    Returns:
        Groups, and at which number of earlier events light ends: `activity`.
    """
    by_activity, cut = activity(history)
    groups = [time_group(moments), by_activity]
    if len(splits) > 1:
        groups.insert(0, split_group(moments, splits))
    return groups, {"activity": cut}


def time_group(moments: NDArray[np.datetime64]) -> Group:
    """Tell decision times apart, oldest first."""
    times, part = np.unique(moments, return_inverse=True)
    return Group("decision_time", tuple(_written(time) for time in times), part.astype(np.int64))


def split_group(moments: NDArray[np.datetime64], splits: Mapping[str, Sequence[np.datetime64]]) -> Group:
    """Tell splits apart by their decision times."""
    part = np.full(len(moments), -1, dtype=np.int64)
    for number, times in enumerate(splits.values()):
        part[np.isin(moments, np.array(times, dtype="datetime64[us]"))] = number
    return Group("split", tuple(splits), part)


def activity(history: NDArray[np.int64]) -> tuple[Group, float]:
    """Tell new, light and heavy units apart; returns the largest number of earlier events that is light, too.

    The cut is the median of those that have any history, so that light and heavy are about as many.
    """
    some = history[history > 0]
    cut = float(np.median(some)) if len(some) else 0.0
    part = np.where(history <= 0, 0, np.where(history <= cut, 1, 2)).astype(np.int64)
    return Group("activity", ACTIVITY, part), cut


def _written(time: np.datetime64) -> str:
    text = str(time.astype("datetime64[m]"))
    return text.removesuffix("T00:00")
