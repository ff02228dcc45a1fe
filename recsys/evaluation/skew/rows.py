"""What is compared: which rows were logged, and what do the tables say of them under each assumption?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recsys.ports import Columns, FeatureSet, RequestTransform, ViewInfo

Owner = ViewInfo | RequestTransform
"""What a column is of: a stored view, or a function of the request."""


@dataclass(frozen=True)
class ViewRows:
    """What one stored view says of the logged rows, under each assumption; column to [rows] values."""

    due: Columns
    """By the definition: known at the request, within the TTL."""
    online: Columns
    """Up to the view's logged watermark, within the TTL."""
    endless: Columns
    """Known at the request, whatever its age."""
    stood: Columns
    """Up to the view's logged watermark, whatever its age."""
    today: Columns
    """Of the same time, as it is known today."""
    newer: NDArray[np.bool_]
    """[rows] whether the row by the definition happened or became known after the logged watermark."""
    origin: Sequence[str | None]
    """[rows] of `modeling.clocks.RULES`: which row of the table has the logged values; None where none has, or the
    view's values are not logged."""


@dataclass(frozen=True)
class Logged:
    """Rows that were shown with their features, all by one feature set and under one set of definitions."""

    features: FeatureSet
    columns: Columns
    """What was logged: feature column to [rows]."""
    views: Mapping[str, ViewRows]
    """Of each stored view that is not keyed by the session."""
    brought: Columns
    """Made again: what requests brought along, and features of their sessions."""
    changed: Mapping[str, Sequence[str]]
    """View, stored or computed, to how it was changed since, such as `ttl 7d, now 1d`; unchanged ones are left out."""
    requests: Sequence[str]
    """[rows] request id."""
    rows: Sequence[str]
    """[rows] a row in words: its keys and its time."""

    @cached_property
    def owners(self) -> Mapping[str, Owner]:
        """Return what each column is of, stored ones first."""
        found: dict[str, Owner] = {name: view for view in self.features.views for name in view.features}
        return found | {name: each for each in self.features.transforms for name in each.outputs}

    def read(self, owner: Owner) -> tuple[str, ...]:
        """Return the stored views behind a view or function, without those of sessions."""
        if isinstance(owner, ViewInfo):
            return (owner.name,) if owner.name in self.views else ()
        inputs = set(owner.inputs)
        return tuple(
            view.name for view in self.features.views if view.name in self.views and inputs & set(view.features)
        )
