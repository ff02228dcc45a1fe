"""What stood online at a past moment, read as requests read it?"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from recsys.candidates.pool import columns_of
from recsys.modeling.moments import rows_by_unit
from recsys.ports import FeatureReader, FeatureSet, Groups, UnitColumns, ViewInfo
from recsys.schema import SESSION
from recsys.serving.reads import of_one

if TYPE_CHECKING:
    import numpy as np


class PastFeatures:
    """`ports.OnlineFeatures` of a past moment, from the offline store; every view is read once, at first use."""

    def __init__(self, features: FeatureReader, at: datetime, *, units: bool = True) -> None:
        """Read nothing yet.

        Args:
            features: the past.
            at: how far the online store had come; nothing that happened or became known later is read.
            units: False where the rows of units could not be read then.
        """
        self._features = features
        self._at = at
        self._units = units
        self._rows: dict[str, pa.Table] = {}
        self._places: dict[str, Mapping[str, np.ndarray]] = {}

    def feature_set(self, name: str | Sequence[str]) -> FeatureSet:
        """Resolve a feature service by name, or a list of `view:feature` references."""
        return self._features.feature_set(name)

    def view(self, name: str) -> ViewInfo:
        """Describe one stored feature view."""
        return self._features.view(name)

    def online_all(self, view: str) -> pa.Table:
        """Return every row of a view as a materialize at the moment put it online."""
        if view not in self._rows:
            self._rows[view] = self._features.snapshot(view, self._at)
        return self._rows[view]

    def online_group(self, view: str, key: str, *, within: float | None = None) -> pa.Table | None:
        """Return all rows of a unit in a view, or None; a past moment has time."""
        del within
        if not self._units:
            return None
        if view not in self._places:
            first = self._features.view(view).join_keys[0]
            self._places[view] = rows_by_unit(self.online_all(view)[first])
        places = self._places[view].get(key)
        return None if places is None else self.online_all(view).take(pa.array(places))

    def online_columns(self, keys: Mapping[str, str], *, within: float | None = None) -> Mapping[str, UnitColumns]:
        """Return the rows of one key of each view, column by column."""
        found = {view: self.online_group(view, key, within=within) for view, key in keys.items()}
        return {view: columns_of(rows) for view, rows in found.items() if rows is not None}

    def watermark(self, view: str) -> datetime | None:
        """Return the moment: what was online is as of it."""
        del view
        return self._at

    def generation(self, view: str) -> int:
        """Return a number that stays: a past moment does not change."""
        del view
        return 1


class PastRequest:
    """What one request of the past could read of its unit and of its session."""

    def __init__(self, past: PastFeatures, session: Callable[[str], pa.Table | None]) -> None:
        """Read nothing yet.

        Args:
            past: what stood online of units.
            session: view to what the request read of its session, or None.
        """
        self._past = past
        self._session = session

    def online_groups(self, keys: Mapping[str, Sequence[str]]) -> Mapping[str, Groups]:
        """Return all rows of the unit, or of the session, in each view."""
        alone = {view: key for view, (key,) in keys.items()}
        of_session = {view for view in alone if self._past.view(view).join_keys[0] == SESSION}
        rows = {view: self._session(view) for view in sorted(of_session)}
        read = {
            **self._past.online_columns({view: key for view, key in alone.items() if view not in of_session}),
            **{view: columns_of(found) for view, found in rows.items() if found is not None},
        }
        return {view: of_one(columns) for view, columns in read.items()}
