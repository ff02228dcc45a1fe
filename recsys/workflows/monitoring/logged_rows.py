"""What do logged rows look like beside what the feature tables say of them, under each assumption?"""

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys.candidates.pool import to_numpy, unknown
from recsys.evaluation.skew.rows import Logged, ViewRows
from recsys.modeling.clocks import matched_rows, where_from
from recsys.ports import Columns, Exposure, FeatureSet, ViewInfo
from recsys.schema import (
    CREATED_TIMESTAMP,
    EVENT_TIMESTAMP,
    ITEM,
    REQUEST_TIMESTAMP,
    SESSION,
    TIMESTAMP,
    USER,
)
from recsys.serving.explaining import features_of
from recsys.workflows.features.table_records import declared_tables, table_folder
from recsys.workflows.monitoring.definitions_then import DefinitionsThen
from recsys.workflows.monitoring.logged_columns import as_stored, logged_columns
from recsys.workflows.requests.remaking.answers import Remaking
from recsys.workflows.workspace import Workspace


class LoggedRows:
    """Makes what is compared, from the tables and by `recsys why`."""

    def __init__(self, workspace: Workspace) -> None:
        """Read the ledger and the definitions; no table yet."""
        self._workspace = workspace
        self._definitions = DefinitionsThen(workspace)
        self._again = Remaking(workspace)
        self._tables = declared_tables(workspace)
        self._unchecked: dict[str, None] = {}

    @property
    def unchecked(self) -> tuple[str, ...]:
        """Return the views met so far that no table is made of, with why."""
        return tuple(self._unchecked)

    def logged(self, version: str, exposures: Sequence[Exposure]) -> Logged:
        """Return the rows of one version's exposures with all that they are compared with."""
        workspace = self._workspace
        features = workspace.features.feature_set(workspace.catalog.model(version).feature_service)
        pairs = [(each, item.item_id) for each in exposures for item in each.items if not math.isnan(item.score)]
        said = logged_columns(features, exposures)
        rows = pa.table(
            {
                USER: pa.array([each.user_id for each, _ in pairs], pa.string()),
                ITEM: pa.array([item for _, item in pairs], pa.string()),
                EVENT_TIMESTAMP: pa.array([each.made_at for each, _ in pairs], TIMESTAMP),
            }
        )
        rows = self._with_keys(rows, features, exposures[0].placement)
        views = {
            view.name: self._view_rows(view, rows, said, [each.watermarks.get(view.name) for each, _ in pairs])
            for view in features.views
            if self._stands(view)
        }
        number = exposures[0].weights
        known = workspace.registry.search(version.partition("/")[0])
        weights = next((each for each in known if each.number == number), None)
        return Logged(
            features=features,
            columns=said,
            views=views,
            brought=self._brought(features, exposures, rows),
            changed=self._definitions.changed(features, weights, exposures[0].made_at),
            requests=[each.request_id for each, _ in pairs],
            rows=[self._in_words(each, item) for each, item in pairs],
        )

    def _in_words(self, exposure: Exposure, item: str) -> str:
        is_contact = exposure.placement in self._workspace.catalog.audiences
        shown = f"contact by {item}" if is_contact else f"item {item}"
        return f"{exposure.user_id}, {shown} at {exposure.made_at:%Y-%m-%d %H:%M} (request {exposure.request_id})"

    def _stands(self, view: ViewInfo) -> bool:
        """Tell whether a view is read from a table; what sessions did is made again from the event log."""
        if view.join_keys[0] == SESSION:
            return False
        if view.name not in self._tables:
            self._unchecked[f"view {view.name}: transforms.py makes no table of its name"] = None
            return False
        return True

    def _with_keys(self, rows: pa.Table, features: FeatureSet, placement: str) -> pa.Table:
        """Add the item attributes that views are keyed by, as they were known at the request."""
        wanted = sorted({key for view in features.views for key in view.join_keys} - {USER, ITEM, SESSION})
        if not wanted:
            return rows
        workspace = self._workspace
        pool = workspace.features.view(workspace.catalog.placement(placement).pool.view)
        known = self._matched(replace(pool, ttl=None), rows)
        for key in wanted:
            rows = rows.append_column(key, known[key])
        return rows

    def _view_rows(self, view: ViewInfo, rows: pa.Table, said: Columns, watermarks: Sequence[str | None]) -> ViewRows:
        endless = self._matched(replace(view, ttl=None), rows)
        stamps = [None if stamp is None else datetime.fromisoformat(stamp) for stamp in watermarks]
        moments = rows[EVENT_TIMESTAMP].to_pylist()
        # What a request does not say of a view is that it was up to date.
        upto = [min(stamp or at, at) for stamp, at in zip(stamps, moments, strict=True)]
        place = rows.schema.get_field_index(EVENT_TIMESTAMP)
        then = rows.set_column(place, EVENT_TIMESTAMP, pa.array(upto, TIMESTAMP))
        online = self._matched(replace(view, ttl=None), then)
        logged = [name for name in view.features if name in said]
        due = self._matched(view, rows)
        return ViewRows(
            due=_columns(due, view),
            online=_live(online, view, moments),
            endless=_columns(endless, view),
            stood=_columns(online, view),
            today=_columns(self._matched(view, rows, known_then=False), view),
            newer=_after(due, upto),
            origin=self._origin(view, rows, said, logged) if logged else [None] * len(rows),
        )

    def _origin(self, view: ViewInfo, rows: pa.Table, said: Columns, logged: Sequence[str]) -> Sequence[str | None]:
        asked = rows.select([*view.join_keys, EVENT_TIMESTAMP])
        for name in logged:
            asked = asked.append_column(name, as_stored(said[name], view.kinds[name]))
        return where_from(self._workspace.engine, asked, view, table_folder(self._workspace, view.name), logged)

    def _matched(self, view: ViewInfo, rows: pa.Table, *, known_then: bool = True) -> pa.Table:
        folder = table_folder(self._workspace, view.name)
        return matched_rows(self._workspace.engine, rows, view, folder, known_then=known_then)

    def _brought(self, features: FeatureSet, exposures: Sequence[Exposure], rows: pa.Table) -> Columns:
        """Make again what the tables do not give: session features, source scores, context; by `recsys why`."""
        kinds = {name: view.kinds[name] for view in features.views if not self._stands(view) for name in view.features}
        stored = {name for view in features.views for name in view.features}
        for transform in features.transforms:
            given = [name for name in transform.inputs if name not in stored and name != REQUEST_TIMESTAMP]
            kinds |= {name: transform.kinds.get(name, "number") for name in given}
        values: dict[str, NDArray[Any]] = {REQUEST_TIMESTAMP: to_numpy(rows[EVENT_TIMESTAMP])}
        if not kinds:
            return values
        values |= {name: unknown(kind, len(rows)) for name, kind in kinds.items()}
        first = 0
        for exposure in exposures:
            items = [item.item_id for item in exposure.items if not math.isnan(item.score)]
            made_from = self._again.made(exposure)
            if made_from is not None:
                made, placed = features_of(made_from.asked, made_from.model, items)
                for name in kinds:
                    values[name][first : first + len(items)] = np.where(
                        placed >= 0, made[name], unknown(kinds[name], len(items))
                    )
            first += len(items)
        return values


def _columns(matched: pa.Table, view: ViewInfo) -> dict[str, NDArray[Any]]:
    return {name: to_numpy(matched[name]) for name in view.features}


def _after(matched: pa.Table, watermarks: Sequence[datetime]) -> NDArray[np.bool_]:
    """Tell which matched rows happened or became known after a moment; of none, nothing did."""
    stamps = np.fmax(to_numpy(matched[EVENT_TIMESTAMP]), to_numpy(matched[CREATED_TIMESTAMP]))
    after: NDArray[np.bool_] = stamps > to_numpy(pa.array(watermarks, TIMESTAMP))
    return after


def _live(matched: pa.Table, view: ViewInfo, moments: Sequence[datetime]) -> dict[str, NDArray[Any]]:
    """Return a view's columns without rows that were past the TTL at the request."""
    columns = _columns(matched, view)
    if not view.ttl:
        return columns
    stamps = to_numpy(matched[EVENT_TIMESTAMP])
    oldest = to_numpy(pa.array(moments, TIMESTAMP)) - np.timedelta64(view.ttl)
    live = stamps >= oldest
    return {
        name: np.where(live, values, unknown(view.kinds[name], len(values))).astype(values.dtype)
        for name, values in columns.items()
    }
