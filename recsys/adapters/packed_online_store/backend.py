"""What does a packed store ask of the place that keeps its values?"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from recsys.ports import Finding

Key = str | int | bytes
"""What values are kept under: the value of a view's grouping join key."""


@dataclass(frozen=True)
class Place:
    """Where the values of one view are kept."""

    project: str
    view: str
    """The view's name, version included."""
    join_keys: tuple[str, ...]
    """What they are kept under, the grouping key first."""


@dataclass(frozen=True)
class Kept:
    """What a backend knows of a view."""

    join_keys: tuple[str, ...] | None
    """None where nobody said."""
    schema_id: bytes | None
    """Of the last write."""
    watermark: int | None
    """Newest event time ever written, in microseconds."""
    generation: int
    """Another number after every write; 0 before the first."""


@dataclass(frozen=True)
class Packed:
    """Values to write, one a key; all of one schema."""

    keys: list[Key]
    payloads: list[bytes]
    event: NDArray[np.int64]
    """Event time of each value's newest row, in microseconds."""
    created: NDArray[np.int64]
    schema_id: bytes
    schema: bytes
    """Serialised: it goes along, so that no payload is ever without its schema."""
    fresh: NDArray[np.int64]
    """How many entities get a new row by each value."""


Newest = Callable[[Sequence[bytes]], NDArray[np.int64]]
"""Returns the event time of each value's newest row, in microseconds."""
Pack = Callable[[Sequence[Key], Mapping[Key, bytes]], Packed]
"""Merges the new rows of some groups into the groups' old values."""


class Backend(Protocol):
    """Keeps values by view and key, and what is known of each view. Its errors are FeatureErrors that name it."""

    name: str
    """For messages."""

    def patient(self, seconds: float | None) -> AbstractContextManager[None]:
        """Let what this thread reads in the block end within so many seconds; None is the store's own time-outs."""
        ...

    def kept(self, place: Place) -> Kept:
        """Return what is known of a view."""
        ...

    def schema(self, place: Place, schema_id: bytes) -> bytes | None:
        """Return a schema that a payload names, serialised."""
        ...

    def read(self, place: Place, keys: Sequence[Key]) -> tuple[tuple[str, ...] | None, dict[Key, bytes]]:
        """Return what the view's values are kept under, and those of `keys` that are there."""
        ...

    def read_each(self, wanted: Sequence[tuple[Place, Key]]) -> list[tuple[tuple[str, ...] | None, bytes | None]]:
        """Return what the values of each view are kept under, and that of one key of it if it is there, in order.

        That is what a request reads, so it is as few questions to the store as can be.
        """
        ...

    def read_all(self, place: Place) -> tuple[tuple[str, ...] | None, list[bytes]]:
        """Return what the view's values are kept under, and all of them in an order that stays."""
        ...

    def create(self, place: Place) -> None:
        """Say what a view's values are kept under; values kept under other join keys are forgotten."""
        ...

    def write(self, place: Place, packed: Packed) -> int:
        """Write one row a key where it is not older than the stored one; return how many were."""
        ...

    def merge(self, place: Place, groups: Sequence[Key], pack: Pack) -> int:
        """Replace the values of groups by what `pack` makes of them; return how many entities got a new row.

        No write in between is lost: `pack` may be called again with values that another writer changed.
        """
        ...

    def expire(self, place: Place, before: int, newest: Newest) -> int:
        """Forget the values whose newest row is of before a time in microseconds; return how many.

        A value that is written meanwhile stays.
        """

    def erase(self, place: Place, keys: Sequence[Key]) -> None:
        """Delete the values of `keys`, and leave no copy where the values are kept."""
        ...

    def drop(self, place: Place) -> None:
        """Forget a view."""
        ...

    def forget(self) -> None:
        """Forget every view of every project in this file, or under this prefix."""
        ...

    def findings(self) -> Iterator[Finding]:
        """Say what `recsys doctor` has to know: of the place, and whether rows can be written, read and deleted."""
        ...
