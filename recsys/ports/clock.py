"""What time is it here?"""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """What time is it here? Every TTL, maturity, declaration and ledger check asks this."""

    def now(self) -> datetime:
        """Return the environment's time, in UTC."""
        ...
