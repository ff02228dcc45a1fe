"""At which past moments would a model have had to decide, and which of them may it learn from?

Rolling origin (Tashman, Out-of-sample tests of forecasting accuracy, 2000): each split is judged on decision times that
follow on those of the split before it, and learns only from labels that were mature when its own judging began.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recsys.data.steps import ANCHOR
from recsys.errors import ModelError
from recsys.specs.base import format_duration
from recsys.specs.model import Testing, Training
from recsys.specs.problem import Target

TRAIN: Final = "train"
VALIDATION: Final = "validation"
TEST: Final = "test"


@dataclass(frozen=True)
class Split:
    """Decision times, ascending; every label of a part is mature before the next part decides."""

    train: tuple[datetime, ...]
    validation: tuple[datetime, ...]
    test: tuple[datetime, ...]
    wait: timedelta
    """How long a label takes to mature: horizon and settle delay."""
    immature: tuple[datetime, ...] = ()
    """Later decision times that are past, but whose labels are still to come or to settle: left out."""

    def holds(self, part: str, moments: NDArray[np.datetime64]) -> NDArray[np.bool_]:
        """Tell which moments belong to a part.

        A part reaches from its first decision time to the last moment whose label is mature when the next part begins,
        so that requests between decision times (lists that were really shown) belong to one as well.

        Args:
            part: train, validation or test.
            moments: [rows] datetime64 in UTC.
        """
        first, last = {
            TRAIN: (self.train[0], self.validation[0] - self.wait),
            VALIDATION: (self.validation[0], self.test[0] - self.wait),
            TEST: (self.test[0], self.test[-1]),
        }[part]
        held: NDArray[np.bool_] = (moments >= _numpy(first)) & (moments <= _numpy(last))
        return held

    def to_dict(self) -> dict[str, Any]:
        """Return the decision times of each part as JSON values."""
        return {
            TRAIN: [time.isoformat() for time in self.train],
            VALIDATION: [time.isoformat() for time in self.validation],
            TEST: [time.isoformat() for time in self.test],
            "wait_seconds": int(self.wait.total_seconds()),
        }


def read_split(document: Mapping[str, Any]) -> Split:
    """Return what `Split.to_dict` wrote."""
    train, validation, test = (
        tuple(datetime.fromisoformat(time) for time in document[part]) for part in (TRAIN, VALIDATION, TEST)
    )
    return Split(train, validation, test, timedelta(seconds=document["wait_seconds"]))


def split(known_at: datetime, target: Target, training: Training, testing: Testing) -> Split:
    """Choose the newest mature decision times for testing, and those a horizon before them for learning.

    A decision time t is mature when t + horizon + settle_delay <= known_at. The validation time, which stops the fit
    early, is mature at the first test time, and the training times are mature at the validation time.

    Raises:
        ModelError: if decisions would have to be taken before 1970.
    """
    return rolling_splits(known_at, target, training, testing)[-1]


def rolling_splits(known_at: datetime, target: Target, training: Training, testing: Testing) -> tuple[Split, ...]:
    """Choose `testing.splits` splits, oldest first; the test times of each end where those of the next begin.

    Raises:
        ModelError: if decisions would have to be taken before 1970.
    """
    wait = target.horizon + target.settle_delay
    step = training.every
    if step <= timedelta(0):
        message = f"training.every: {format_duration(step)}: decision times must be apart"
        raise ModelError(message)
    newest = _last(known_at - wait, step, 1)[0]
    ahead = (_last(known_at - timedelta(microseconds=1), step, 1)[0] - newest) // step
    immature = tuple(newest + step * number for number in range(1, ahead + 1))
    made = []
    for back in range(testing.splits):
        test = _last(newest - step * testing.decision_times * back, step, testing.decision_times)
        validation = _last(test[0] - wait, step, 1)
        train = _last(validation[0] - wait, step, training.decision_times - 1)
        if train[0] < ANCHOR:
            message = (
                f"known at {known_at:%Y-%m-%d}: the first decision time would be {train[0]:%Y-%m-%d}; ask for"
                f" fewer decision times"
            )
            raise ModelError(message)
        made.append(Split(train, validation, test, wait, () if back else immature))
    return tuple(reversed(made))


def tuning_splits(splits: Sequence[Split]) -> tuple[Split, ...]:
    """Choose on which decision times settings may be tried: as many fits as there are splits, and no test time in any.

    The validation time of a later split lies among the test times of those before it, so settings that were chosen on
    it would be judged on what they were chosen by. Here the newest fit is the oldest split as it is, and each one
    before it is stopped and judged on the decision time before. Fewer where nothing would be left to learn from.

    Returns:
        Oldest first; only `train` and `validation` are of use.
    """
    oldest = splits[0]
    made = [oldest]
    for time in reversed([time for time in times_of(splits, TRAIN, VALIDATION) if time < oldest.validation[0]]):
        train = tuple(earlier for earlier in oldest.train if earlier <= time - oldest.wait)
        if len(made) == len(splits) or not train:
            break
        made.append(Split(train, (time,), (time + oldest.wait,), oldest.wait))
    return tuple(reversed(made))


def times_of(splits: Sequence[Split], *parts: str) -> tuple[datetime, ...]:
    """Return the distinct decision times of some parts of all splits, ascending."""
    return tuple(sorted({time for one in splits for part in parts for time in getattr(one, part)}))


def _last(latest: datetime, step: timedelta, count: int) -> tuple[datetime, ...]:
    newest = ANCHOR + ((latest - ANCHOR) // step) * step
    return tuple(newest - step * back for back in reversed(range(count)))


def _numpy(moment: datetime) -> np.datetime64:
    return np.datetime64(moment.replace(tzinfo=None), "us")
