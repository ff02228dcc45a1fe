"""Which settings of a model are best, by trying some?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

Settings = Mapping[str, float | int]
"""Name of a setting to its value."""


@dataclass(frozen=True)
class Range:
    """The values that one setting may take, both ends included."""

    low: float
    high: float
    whole: bool = False
    """Whether only whole numbers count."""
    logarithmic: bool = False
    """Whether a factor counts as much at the low as at the high end."""


@dataclass(frozen=True)
class Trial:
    """One set of settings that was tried."""

    number: int
    """Counts the finished ones from 0, which is `first`."""
    settings: Settings
    value: float
    """What they gave; larger is better."""


class SettingsSearch(Protocol):
    """Tries settings, remembers what they gave, and goes on where an earlier search of the same name ended."""

    def maximize(
        self,
        name: str,
        objective: Callable[[Settings], float],
        space: Mapping[str, Range],
        first: Settings,
        trials: int,
        tried: Callable[[Trial, Trial], None],
    ) -> Sequence[Trial]:
        """Try settings until there are so many finished trials.

        A trial that was broken off, by an error of the objective or a kill, does not count and has no number. Settings
        that come again are not tried again: they have the value that they had.

        Args:
            name: of the search: equal names share their trials.
            objective: settings to their value; larger is better.
            space: what may be tried.
            first: tried first of all; all of its values lie in `space`.
            trials: how many there are to be, those of earlier searches of this name included.
            tried: called after each trial with it and with the best so far.

        Returns:
            All finished trials, by number.

        Raises:
            ModelError: if a value is not a number; what else the objective raises comes through.
            StoreError: if the trials cannot be read or written.
        """
        ...
