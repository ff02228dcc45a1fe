"""At which past moments would a model have had to decide, and which of them may it learn from?"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from recsys.data.steps import ANCHOR
from recsys.errors import ModelError
from recsys.specs.base import format_duration
from recsys.specs.model import Testing, Training
from recsys.specs.problem import Target


@dataclass(frozen=True)
class Split:
    """Decision times, ascending; every label of a part is mature before the next part decides."""

    train: tuple[datetime, ...]
    validation: tuple[datetime, ...]
    test: tuple[datetime, ...]
    immature: tuple[datetime, ...] = ()
    """Later decision times that are past, but whose labels are still to come or to settle: left out."""


def split(known_at: datetime, target: Target, training: Training, testing: Testing) -> Split:
    """Choose the newest mature decision times for testing, and those a horizon before them for learning.

    A decision time t is mature when t + horizon + settle_delay <= known_at. The validation time, which stops the fit
    early, is mature at the first test time, and the training times are mature at the validation time.

    Raises:
        ModelError: if decisions would have to be taken before 1970.
    """
    wait = target.horizon + target.settle_delay
    step = training.every
    if step <= timedelta(0):
        message = f"training.every: {format_duration(step)}: decision times must be apart"
        raise ModelError(message)
    test = _last(known_at - wait, step, testing.decision_times)
    validation = _last(test[0] - wait, step, 1)
    train = _last(validation[0] - wait, step, training.decision_times - 1)
    if train[0] < ANCHOR:
        message = (
            f"known at {known_at:%Y-%m-%d}: the first decision time would be {train[0]:%Y-%m-%d}; ask for"
            f" fewer decision times"
        )
        raise ModelError(message)
    newest = _last(known_at - timedelta(microseconds=1), step, 1)[0]
    immature = tuple(test[-1] + step * ahead for ahead in range(1, (newest - test[-1]) // step + 1))
    return Split(train=train, validation=validation, test=test, immature=immature)


def _last(latest: datetime, step: timedelta, count: int) -> tuple[datetime, ...]:
    newest = ANCHOR + ((latest - ANCHOR) // step) * step
    return tuple(newest - step * back for back in reversed(range(count)))
