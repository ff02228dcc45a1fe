"""What does the core ask of a feature store, and of the files that define features?"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys.errors import FeatureError


@dataclass(frozen=True)
class ViewInfo:
    """What the core has to know of one feature view."""

    name: str
    join_keys: tuple[str, ...]
    """Join keys in the order of the view's entities; a second key means rows are kept under the first."""
    features: tuple[str, ...]
    kinds: Mapping[str, str]
    """Feature to what its values are: number, text or time."""
    ttl: timedelta | None

    @cached_property
    def by_kind(self) -> Mapping[str, tuple[str, ...]]:
        """Return the features of each kind that it has any of."""
        found: dict[str, tuple[str, ...]] = {}
        for name in self.features:
            found[self.kinds[name]] = (*found.get(self.kinds[name], ()), name)
        return found


@dataclass(frozen=True)
class RequestTransform:
    """A feature computed at request time, by the same function online and offline."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    function: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    kinds: Mapping[str, str] = field(default_factory=dict)
    """Input that the request brings along to what its values are: number, text or time."""


@dataclass(frozen=True)
class FeatureSet:
    """What a feature service (or a list of references) asks for, resolved."""

    name: str
    columns: tuple[str, ...]
    """Names of the columns it gives, in order."""
    references: tuple[str, ...]
    """`view:feature` of each, in the same order."""
    views: tuple[ViewInfo, ...]
    """Every stored view that has to be read, including those that only request-time transforms read."""
    transforms: tuple[RequestTransform, ...] = ()
    digest: str = ""
    """Changes whenever a definition or a transform behind it does."""

    def __post_init__(self) -> None:
        """Refuse two features of one name: a row has one column of it.

        Raises:
            FeatureError: naming the feature and both views.
        """
        owner: dict[str, str] = {}
        parts = [(view.name, view.features) for view in self.views]
        parts += [(transform.name, transform.outputs) for transform in self.transforms]
        for name, features in parts:
            for feature in features:
                if feature in owner:
                    message = (
                        f"features {self.name}: views {owner[feature]} and {name} both have a feature {feature!r};"
                        " names are unique among the views that are read together: rename one"
                    )
                    raise FeatureError(message)
                owner[feature] = name


@dataclass(frozen=True)
class ErasedOnline:
    """What left the online store."""

    rows: Mapping[str, int]
    """View to how many of its rows."""
    unreached: tuple[str, ...]
    """Views that have the key, but keep their rows under another one first: nothing of them was erased."""


UnitColumns = Mapping[str, NDArray[Any]]
"""Join keys, features and timestamps of some rows of a view, by name; each is made when it is asked for."""


@dataclass(frozen=True)
class Groups:
    """The rows of several keys in a view, key after key."""

    columns: UnitColumns
    bounds: NDArray[np.int64]
    """[keys + 1] the rows of key i are those from `bounds[i]` up to `bounds[i + 1]`; a key may have none."""
    table: pa.Table | None = None
    """The same rows as Arrow, where they were read so: texts are compared there ten times as fast as one by one."""


class OnlineRows(Protocol):
    """The online rows of one unit."""

    def online_group(self, view: str, key: str, *, within: float | None = None) -> pa.Table | None:
        """Return all rows a unit has in a view online, or None; as `FeatureReader.online_group`."""
        ...

    def online_columns(self, keys: Mapping[str, str], *, within: float | None = None) -> Mapping[str, UnitColumns]:
        """Return the rows that a request reads; as `FeatureReader.online_columns`."""
        ...


class OnlineFeatures(OnlineRows, Protocol):
    """What requests are answered from: definitions and online rows. The methods are those of `FeatureReader`."""

    def feature_set(self, name: str | Sequence[str]) -> FeatureSet:
        """Resolve a feature service by name, or a list of `view:feature` references."""
        ...

    def view(self, name: str) -> ViewInfo:
        """Describe one stored feature view."""
        ...

    def online_all(self, view: str) -> pa.Table:
        """Return every row of a view online."""
        ...

    def watermark(self, view: str) -> datetime | None:
        """Return the newest event time of a view online, or None."""
        ...

    def generation(self, view: str) -> int:
        """Return a number that changes whenever the view's rows online do."""
        ...


class FeatureReader(Protocol):
    """Features as known at a moment in the past (offline) and now (online)."""

    def feature_set(self, name: str | Sequence[str]) -> FeatureSet:
        """Resolve a feature service by name, or a list of `view:feature` references.

        Raises:
            FeatureError: if it is not declared.
        """
        ...

    def view(self, name: str) -> ViewInfo:
        """Describe one stored feature view.

        Raises:
            FeatureError: if it is not declared.
        """
        ...

    def historical(self, entities: pa.Table, features: FeatureSet) -> pa.Table:
        """Join features to entity rows as known at each row's `event_timestamp`.

        Args:
            entities: join keys, `event_timestamp` and any further columns, which pass through.
            features: what to join.

        Returns:
            Every entity row once, in its order, with the columns of `features`.
        """
        ...

    def snapshot(self, view: str, as_of: datetime, features: Sequence[str] | None = None) -> pa.Table:
        """Return the newest live row of every entity of a view, as known at a moment.

        That is what a materialize at that moment would put online.

        Args:
            view: its name.
            as_of: the moment.
            features: of the view; all by default.

        Returns:
            Join keys, features and `event_timestamp`; rows past the view's TTL are left out.
        """
        ...

    def online_group(self, view: str, key: str, *, within: float | None = None) -> pa.Table | None:
        """Return all rows a unit has in a view online, or None; the TTL is the caller's to enforce.

        Args:
            view: its name.
            key: the unit's id.
            within: seconds after which a store that does not answer is given up; the store's own time-outs by default.

        Raises:
            FeatureError: if the store cannot be read, or not in that time.
        """
        ...

    def online_columns(self, keys: Mapping[str, str], *, within: float | None = None) -> Mapping[str, UnitColumns]:
        """Return all that a request reads of its unit and session, in one read: the rows of `online_group`, by column.

        Args:
            keys: view to the id of the unit, or of the session, that its rows are kept under.
            within: as for `online_group`, for all of them together.

        Returns:
            View to columns; a view that has no rows of its key is left out. Numbers are float64 with NaN, times
            datetime64[us] in UTC with NaT, texts objects with 'unknown'.

        Raises:
            FeatureError: if the store cannot be read, or not in that time.
        """
        ...

    def online_groups(self, keys: Mapping[str, Sequence[str]]) -> Mapping[str, Groups]:
        """Return what many requests read of their units and sessions, a read a view: the rows of `online_columns`.

        Args:
            keys: view to the ids that rows are kept under.

        Returns:
            View to the rows of its keys, in their order; a view that has no rows of any is left out.

        Raises:
            FeatureError: if the store cannot be read.
        """
        ...

    def online_all(self, view: str) -> pa.Table:
        """Return every row of a view online; the TTL is the caller's to enforce."""
        ...

    def materialize(self, until: datetime, since: datetime | None = None, views: Collection[str] | None = None) -> None:
        """Bring the online store up to a moment.

        Of views that rows are pushed to, keys of which every row is past its TTL then are forgotten: they are of what
        has ended, such as a session.

        Args:
            until: nothing that happened or became known later is written.
            since: only what happened or became known since then; everything by default.
            views: their names; all by default.
        """
        ...

    def push(self, view: str, rows: pa.Table) -> None:
        """Write rows of a view online as they come in; an entity keeps its newest row, as with a materialize.

        Args:
            view: its name; its source has to be one that rows can be pushed to.
            rows: join keys, features, `event_timestamp` and `created_timestamp`.

        Raises:
            FeatureError: if nothing can be pushed to the view, or the online store cannot be written.
        """
        ...

    def watermark(self, view: str) -> datetime | None:
        """Return the newest event time of a view online, or None when nothing was materialized."""
        ...

    def generation(self, view: str) -> int:
        """Return a number that changes whenever the view's rows online do; 0 before the first write."""
        ...

    def erase(self, join_key: str, values: Sequence[str]) -> ErasedOnline:
        """Delete all rows online that are kept under some values of a join key, such as all of some users."""
        ...


Definitions = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Kind (feature_views, request_transforms, feature_services) to name to what is defined, as JSON values.

A feature view has join_keys and features, a request transform has reads (views) and code, a feature service has
references (`view:feature`); all may have more."""


class FeatureRepository(Protocol):
    """The definitions of features: as the files say, and as the feature store was told."""

    def declared(self) -> Definitions:
        """Return what the files define, applied or not.

        Raises:
            FeatureError: if a file cannot be read.
        """
        ...

    def registered(self) -> Definitions:
        """Return what the feature store knows; empty before its first apply."""
        ...

    def apply(self) -> None:
        """Tell the feature store what the files define, and forget what they no longer do.

        Raises:
            FeatureError: if the store refuses.
        """
        ...
