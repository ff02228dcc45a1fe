"""How much time does a request have left?"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Deadline:
    """A moment by which a request is answered, or none."""

    ends: float | None = None
    """By `now`; None never comes."""
    now: Callable[[], float] = time.monotonic

    @classmethod
    def after(cls, budget: timedelta | None, now: Callable[[], float] = time.monotonic) -> "Deadline":
        """Begin a budget at this moment; None is no limit."""
        return cls(None if budget is None else now() + budget.total_seconds(), now)

    @property
    def left(self) -> float | None:
        """Return the seconds that are left, 0 when none are; None where there is no limit."""
        return None if self.ends is None else max(self.ends - self.now(), 0.0)

    @property
    def over(self) -> bool:
        """Tell whether no time is left."""
        return self.left == 0


class OutOfTimeError(Exception):
    """A stage was not begun, because the request's time was up; it never leaves the resolver."""
