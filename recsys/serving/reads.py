"""What is read of a unit while there is time? A read that fails or comes too late gives nothing, and no error."""

import logging
from collections.abc import Callable, Collection, Mapping
from typing import Final, Protocol, TypeVar

import pyarrow as pa

from recsys.ports import OnlineRows, UnitColumns
from recsys.serving.breaker import Breaker, OpenError
from recsys.serving.deadline import Deadline

LOGGER = logging.getLogger(__name__)

READ_SHARE: Final = 0.5
"""Of the time that is left, a read may take so much: the model has to answer in the rest."""

Found = TypeVar("Found")


class UnitReader(Protocol):
    """Where a unit's rows are read from: a store, or what guards one."""

    def online_columns(self, keys: Mapping[str, str]) -> Mapping[str, UnitColumns]:
        """Return the rows of one key of each view online, column by column; a view without any is left out."""
        ...


class GuardedReads:
    """The reads of one request. After one that failed no other is tried: the store is not likely to do better."""

    def __init__(self, features: OnlineRows, breaker: Breaker, deadline: Deadline) -> None:
        """Read nothing yet.

        Args:
            features: the online store.
            breaker: of that store.
            deadline: of the request; a read has a share of what is left as its time-out.
        """
        self._features = features
        self._breaker = breaker
        self._deadline = deadline
        self.missing = False

    def online_group(self, view: str, key: str) -> pa.Table | None:
        """Return all rows a unit has in a view online; None where it has none or they cannot be read."""
        return self._guarded((view,), lambda within: self._features.online_group(view, key, within=within))

    def online_columns(self, keys: Mapping[str, str]) -> Mapping[str, UnitColumns]:
        """Return the rows of one key of each view, column by column; nothing where they cannot be read."""
        return self._guarded(keys, lambda within: self._features.online_columns(keys, within=within)) or {}

    def _guarded(self, views: Collection[str], read: Callable[[float | None], Found | None]) -> Found | None:
        left = self._deadline.left
        if self.missing or left == 0:
            self.missing = True
            return None
        try:
            with self._breaker.asking():
                return read(None if left is None else READ_SHARE * left)
        except OpenError:
            self.missing = True
        except Exception as error:  # noqa: BLE001 - whatever a store's driver raises; the unit's features are unknown
            self.missing = True
            LOGGER.warning("view %s: a unit's rows cannot be read: %s", ", ".join(views), error)
        return None
