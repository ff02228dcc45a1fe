"""What is the smallest search of settings? A draw at random, kept in a dictionary."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from recsys.errors import ModelError
from recsys.ports import Range, Settings, Trial


class FakeSearch:
    """`ports.SettingsSearch` that draws evenly, and learns nothing from what it has tried."""

    def __init__(self, kept: dict[str, list[Trial]] | None = None, seed: int = 0) -> None:
        """Go on with the trials in `kept`, search by search, and keep new ones there."""
        self._kept = {} if kept is None else kept
        self._seed = seed

    def maximize(
        self,
        name: str,
        objective: Callable[[Settings], float],
        space: Mapping[str, Range],
        first: Settings,
        trials: int,
        tried: Callable[[Trial, Trial], None],
    ) -> Sequence[Trial]:
        """Try `first`, then draws of which each depends on the seed and its number only."""
        done = self._kept.setdefault(name, [])
        while len(done) < trials:
            draws = np.random.default_rng([self._seed, len(done)])
            settings = {each: _drawn(draws, space[each]) for each in space} if done else dict(first)
            known = [trial.value for trial in done if trial.settings == settings]
            value = known[0] if known else objective(settings)
            if not math.isfinite(value):
                message = f"settings {settings}: their value is {value}: what is not a number cannot be compared"
                raise ModelError(message)
            done.append(Trial(len(done), settings, value))
            tried(done[-1], max(done, key=lambda trial: trial.value))
        return list(done)


def _drawn(draws: np.random.Generator, values: Range) -> float | int:
    """Draw a value; of a whole one every number has its share, on the scale that was asked for."""
    low, high = (values.low - 0.5, values.high + 0.5) if values.whole else (values.low, values.high)
    if values.logarithmic:
        low, high = math.log(low), math.log(high)
    drawn = float(draws.uniform(low, high))
    if values.logarithmic:
        drawn = math.exp(drawn)
    if values.whole:
        drawn = round(drawn)
    kept = min(max(drawn, values.low), values.high)
    return int(kept) if values.whole else kept
