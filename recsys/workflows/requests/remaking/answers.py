"""What was one logged list, or one contact of a campaign, made from?"""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa

from recsys.modeling.context import remembered, stated
from recsys.ports import Columns, Exposure
from recsys.schema import SESSION
from recsys.serving.ladder import UNIT_UNKNOWN
from recsys.serving.past import PastRequest
from recsys.serving.ranking import Asked, Wanted
from recsys.serving.state import LoadedModel
from recsys.serving.unit_rows import UnitRows
from recsys.serving.units import AudienceRows
from recsys.specs.placement import Placement
from recsys.workflows.requests.remaking.sessions import PastSessions
from recsys.workflows.requests.remaking.states import CANDIDATES, PastStates
from recsys.workflows.workspace import Workspace


@dataclass(frozen=True)
class MadeList:
    """What one logged list was made from."""

    asked: Asked
    model: LoadedModel
    placement: Placement
    as_of: datetime
    """How far the online store had come: the newest watermark of what was materialized."""


@dataclass(frozen=True)
class MadeContact:
    """What one logged contact of a campaign was made from."""

    columns: Columns
    """The unit's features, one row."""
    model: LoadedModel
    as_of: datetime
    """How far the views that the model reads had come."""


class Remaking:
    """Finds what logged answers were made from; what several have in common is read once."""

    def __init__(self, workspace: Workspace) -> None:
        """Read nothing yet."""
        self._workspace = workspace
        self._states = PastStates(workspace)
        self._sessions = PastSessions(workspace)

    def made(self, exposure: Exposure) -> MadeList | None:
        """Return what a logged list was made from, as of its watermark; None of a contact, or where no model answered.

        Raises:
            ModelError: if its weights are not in the registry any more.
            FeatureError: if a view or feature that it read is not declared any more.
        """
        if exposure.model_version is None or exposure.weights is None or self._is_contact(exposure):
            return None
        placement = self._workspace.catalog.placement(exposure.placement)
        stamps = {name: datetime.fromisoformat(stamp) for name, stamp in exposure.watermarks.items()}
        as_of = max(stamp for name, stamp in stamps.items() if self._materialized(name))
        model = self._states.model(exposure.model_version, exposure.weights)
        past = self._states.features(as_of, units=exposure.fallback != UNIT_UNKNOWN)
        matrix, retrieval = self._states.online(exposure, placement, model, past, stamps)
        reads = PastRequest(past, lambda view: self._sessions.rows(exposure, view, stamps.get(view)))
        unit = UnitRows(reads, matrix, [exposure.user_id], exposure.made_at, [exposure.session_id])
        views = {name: past.view(name) for name in placement.history_views}
        wanted = Wanted(
            slots=int(exposure.asked.get("k", len(exposure.items))),
            at=exposure.made_at,
            given=tuple(exposure.asked.get("candidates", ())),
            request_id=exposure.request_id,
            session=exposure.session_id,
            context=stated(placement.context, remembered(placement.context, exposure.asked.get("context", {}))),
        )
        return MadeList(Asked(matrix, retrieval, unit, views, [wanted]), model, placement, as_of)

    def contact(self, exposure: Exposure) -> MadeContact | None:
        """Return what a campaign's contact was scored by, its unit's features at that moment; None of a list.

        Raises:
            ModelError: if its weights are not in the registry any more.
            FeatureError: if a view or feature that it read is not declared any more.
        """
        if exposure.model_version is None or exposure.weights is None or not self._is_contact(exposure):
            return None
        model = self._states.model(exposure.model_version, exposure.weights)
        # The view that says who may be contacted may be newer: answers are pushed as they come.
        stamps = (exposure.watermarks[view.name] for view in model.features.views)
        as_of = max(datetime.fromisoformat(stamp) for stamp in stamps)
        past = self._states.features(as_of, units=True)
        rows = AudienceRows(past, model.features, pa.array([exposure.user_id]), exposure.made_at)
        return MadeContact(rows.columns(np.zeros(1, dtype=np.int64)), model, as_of)

    def _is_contact(self, exposure: Exposure) -> bool:
        return exposure.placement in self._workspace.catalog.audiences

    def _materialized(self, name: str) -> bool:
        """Tell whether a watermark is of what a materialize brought, and not of a session or an item-item model."""
        return not name.startswith(CANDIDATES) and self._workspace.features.view(name).join_keys[0] != SESSION
