"""What is read of units: of one while there is time, and of many at once?

A read for a request that fails or comes too late gives nothing, and no error.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, Protocol, TypeVar

import numpy as np
import pyarrow as pa

from recsys.ports import FeatureReader, Groups, OnlineRows, UnitColumns
from recsys.schema import EVENT_TIMESTAMP
from recsys.serving.breaker import Breaker, OpenError
from recsys.serving.deadline import Deadline

LOGGER = logging.getLogger(__name__)

READ_SHARE: Final = 0.5
"""Of the time that is left, a read may take so much: the model has to answer in the rest."""

Found = TypeVar("Found")


class UnitReader(Protocol):
    """Where the rows of units are read from: a store, or what guards one."""

    def online_groups(self, keys: Mapping[str, Sequence[str]]) -> Mapping[str, Groups]:
        """Return the rows of some keys of each view online, key after key; a view without any is left out."""
        ...


class Reads(UnitReader, Protocol):
    """Where requests read from, and whether some of it could not be read."""

    @property
    def missing(self) -> bool:
        """Tell whether a read failed or came too late: what it would have told is unknown."""
        ...

    def online_group(self, view: str, key: str) -> pa.Table | None:
        """Return all rows of one key in a view online; None where it has none or they cannot be read."""
        ...


def of_one(columns: UnitColumns) -> Groups:
    """Return the rows of one key as those of many."""
    return Groups(columns, np.array([0, len(columns[EVENT_TIMESTAMP])]))


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
        self._missing = False

    @property
    def missing(self) -> bool:
        """Tell whether a read failed or came too late."""
        return self._missing

    def online_group(self, view: str, key: str) -> pa.Table | None:
        """Return all rows a unit has in a view online; None where it has none or they cannot be read."""
        return self._guarded((view,), lambda within: self._features.online_group(view, key, within=within))

    def online_groups(self, keys: Mapping[str, Sequence[str]]) -> Mapping[str, Groups]:
        """Return the rows of the one key of each view; nothing where they cannot be read."""
        alone = {view: key for view, (key,) in keys.items()}
        read = self._guarded(keys, lambda within: self._features.online_columns(alone, within=within)) or {}
        return {view: of_one(columns) for view, columns in read.items()}

    def _guarded(self, views: Collection[str], read: Callable[[float | None], Found | None]) -> Found | None:
        left = self._deadline.left
        if self._missing or left == 0:
            self._missing = True
            return None
        try:
            with self._breaker.asking():
                return read(None if left is None else READ_SHARE * left)
        except OpenError:
            self._missing = True
        except Exception as error:  # noqa: BLE001 - whatever a store's driver raises; the unit's features are unknown
            self._missing = True
            LOGGER.warning("view %s: a unit's rows cannot be read: %s", ", ".join(views), error)
        return None


class PlainReads:
    """The reads of a batch: a store that cannot be read is an error, for lists without its rows are others."""

    missing: Final = False

    def __init__(self, features: FeatureReader) -> None:
        """Read nothing yet."""
        self._features = features

    def online_group(self, view: str, key: str) -> pa.Table | None:
        """Return all rows of one key in a view online, or None."""
        return self._features.online_group(view, key)

    def online_groups(self, keys: Mapping[str, Sequence[str]]) -> Mapping[str, Groups]:
        """Return the rows of some keys of each view online, key after key."""
        return self._features.online_groups(keys)
