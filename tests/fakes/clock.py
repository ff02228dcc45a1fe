"""What time is it in a test? The time that the test set."""

from datetime import UTC, datetime, timedelta


class FixedClock:
    """`ports.Clock` that stands still until it is set."""

    def __init__(self, now: datetime = datetime(2017, 12, 4, tzinfo=UTC)) -> None:
        """Stand at a moment, with a zone."""
        self._now = now

    def now(self) -> datetime:
        """Return the moment it was set to."""
        return self._now

    def set(self, now: datetime) -> None:
        """Go to a moment."""
        self._now = now

    def advance(self, step: timedelta) -> None:
        """Go on by a step."""
        self._now += step
