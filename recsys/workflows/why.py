"""Why did a request get the list it got? `recsys why`: what was logged, and the same list made again from the past.

What stood online at the request is read from the offline store as of the logged watermark, and goes through the very
functions that answer requests, with the logged weights. So the features are the same (their digest is compared), the
scores too, and where they are not, the answer was made from something that the feature tables do not say.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.candidates.fitted import PoolModel
from recsys.candidates.retrieval import Retrieval
from recsys.data.streams import FIRST_EVENTS
from recsys.errors import DataError, ModelError
from recsys.experiment.routing import Router
from recsys.modeling.context import remembered, stated
from recsys.modeling.moments import fitted_models
from recsys.ports import Exposure, FeatureTable, ItemWeights, Streams
from recsys.schema import CREATED_TIMESTAMP, ITEM, SESSION, TIMESTAMP
from recsys.serving.explaining import Explanation, explain, explain_contact
from recsys.serving.item_matrix import ItemMatrix, read_matrix
from recsys.serving.ladder import UNIT_UNKNOWN
from recsys.serving.past import PastFeatures, PastRequest
from recsys.serving.ranking import Asked, Wanted, known
from recsys.serving.state import LoadedModel
from recsys.serving.unit_rows import UnitRows
from recsys.serving.units import AudienceRows
from recsys.specs.candidates import label
from recsys.specs.experiment import Experiment
from recsys.specs.placement import Placement
from recsys.workflows.batch_exposures import MADE_AT
from recsys.workflows.table_records import declared_tables, sources, transforms_module
from recsys.workflows.workspace import Workspace

_CANDIDATES: Final = "candidates/"
SAME: Final = 1e-9
"""Two scores that differ by no more are the same."""


@dataclass(frozen=True)
class Why:
    """One answer, explained."""

    exposure: Exposure
    """What was logged."""
    arm_now: str | None
    """The arm that the unit has by the experiment's declaration of today; None without one."""
    as_of: datetime | None
    """How far the online store had come; None where no model answered."""
    explanation: Explanation | None
    """The list made again; None where no model answered."""

    @property
    def digest_equal(self) -> bool | None:
        """Whether the features are those that were logged; None where no model answered, or a batch kept no digest."""
        if self.explanation is None or not self.exposure.feature_digest:
            return None
        return self.explanation.digest == self.exposure.feature_digest

    @property
    def items_equal(self) -> bool | None:
        """Whether the same items stand in the same slots with the same scores; None where no model answered."""
        if self.explanation is None:
            return None
        made = [each.item for each in self.explanation.items]
        logged = self.exposure.items
        return [item.item_id for item in made] == [item.item_id for item in logged] and all(
            _same(one.score, other.score) for one, other in zip(made, logged, strict=True)
        )

    @property
    def differing(self) -> Mapping[str, int]:
        """Column of the logged feature row to how many slots have another value now; empty without a logged row."""
        logged = self.exposure.features
        if logged is None or self.explanation is None:
            return {}
        scored = [each.features for each in self.explanation.items if each.rank]
        return {
            name: count
            for name, values in logged.items()
            if (count := sum(not _same_value(row.get(name), value) for row, value in zip(scored, values, strict=False)))
        }


@dataclass(frozen=True)
class Remade:
    """What one logged list was made from."""

    asked: Asked
    model: LoadedModel
    placement: Placement
    as_of: datetime
    """How far the online store had come: the newest watermark of what was materialized."""


def why(workspace: Workspace, request_id: str, *, shap: bool = False) -> Why:
    """Explain a logged request.

    Args:
        workspace: the project.
        request_id: as the answer told it.
        shap: whether each score is taken apart by column.

    Raises:
        DataError: if the log has no such request.
        ModelError: if its weights are not in the registry any more.
        FeatureError: if a view or feature that it read is not declared any more.
    """
    exposure = workspace.event_log.request(request_id)
    if exposure is None:
        message = (
            "why: the event log has no request of this id: it is the `request_id` of an answer, or of a list of a batch"
            " that `recsys log sent` logged; requests are gone once the log is pruned or their user is forgotten"
        )
        raise DataError(message)
    return Recomputing(workspace).why(exposure, shap=shap)


class Recomputing:
    """Makes logged lists again; what several have in common, the online store of a moment, is read once."""

    def __init__(self, workspace: Workspace) -> None:
        """Read nothing yet."""
        self._workspace = workspace
        self._pasts: dict[tuple[datetime, bool], PastFeatures] = {}
        self._matrices: dict[tuple[Any, ...], tuple[ItemMatrix, Retrieval]] = {}
        self._item_models: dict[tuple[str, datetime], Mapping[str, tuple[str, ItemWeights]]] = {}
        self._loaded: dict[tuple[str, int], LoadedModel] = {}
        self._streams: tuple[Mapping[str, FeatureTable], Streams] | None = None

    def why(self, exposure: Exposure, *, shap: bool = False) -> Why:
        """Explain one logged request.

        Raises:
            ModelError: if its weights are not in the registry any more.
            FeatureError: if a view or feature that it read is not declared any more.
        """
        arm = self._arm_now(exposure)
        if exposure.model_version and exposure.weights is not None and self._is_contact(exposure):
            return self._contact(exposure, exposure.model_version, exposure.weights, shap=shap)
        remade = self.remade(exposure)
        if remade is None:
            return Why(exposure, arm, None, None)
        made = explain(remade.asked, remade.model, remade.placement, shap=shap)
        return Why(exposure, arm, remade.as_of, made)

    def remade(self, exposure: Exposure) -> Remade | None:
        """Return what a logged list was made from, as of its watermark; None where no model answered, or none of lists.

        Raises:
            ModelError: if its weights are not in the registry any more.
            FeatureError: if a view or feature that it read is not declared any more.
        """
        if exposure.model_version is None or exposure.weights is None or self._is_contact(exposure):
            return None
        placement = self._workspace.catalog.placement(exposure.placement)
        stamps = {name: datetime.fromisoformat(stamp) for name, stamp in exposure.watermarks.items()}
        as_of = max(stamp for name, stamp in stamps.items() if self._materialized(name))
        model = self._model(exposure.model_version, exposure.weights)
        past = self._past(as_of, units=exposure.fallback != UNIT_UNKNOWN)
        matrix, retrieval = self._online(exposure, placement, model, past, stamps)
        reads = PastRequest(past, lambda view: self._session_rows(exposure, view, stamps.get(view)))
        unit = UnitRows(reads, matrix, [exposure.user_id], _made_at(exposure), [exposure.session_id])
        views = {name: past.view(name) for name in placement.history_views}
        wanted = Wanted(
            slots=int(exposure.asked.get("k", len(exposure.items))),
            at=_made_at(exposure),
            given=tuple(exposure.asked.get("candidates", ())),
            request_id=exposure.request_id,
            session=exposure.session_id,
            context=stated(placement.context, remembered(placement.context, exposure.asked.get("context", {}))),
        )
        asked = Asked(matrix, retrieval, unit, views, [wanted])
        return Remade(asked, model, placement, as_of)

    def _is_contact(self, exposure: Exposure) -> bool:
        return exposure.placement in self._workspace.catalog.audiences

    def _contact(self, exposure: Exposure, version: str, number: int, *, shap: bool) -> Why:
        """Explain whom a campaign reached: one unit, by its features when the campaign was made."""
        model = self._model(version, number)
        # The view that says who may be contacted may be newer: answers are pushed as they come.
        stamps = (exposure.watermarks[view.name] for view in model.features.views)
        as_of = max(datetime.fromisoformat(stamp) for stamp in stamps)
        past = self._past(as_of, units=True)
        rows = AudienceRows(past, model.features, pa.array([exposure.user_id]), _made_at(exposure))
        columns = rows.columns(np.zeros(1, dtype=np.int64))
        made = explain_contact(columns, model, exposure.items[0], int(exposure.asked["rank"]), shap=shap)
        return Why(exposure, None, as_of, made)

    def _materialized(self, name: str) -> bool:
        """Tell whether a watermark is of what a materialize brought, and not of a session or an item-item model."""
        return not name.startswith(_CANDIDATES) and self._workspace.features.view(name).join_keys[0] != SESSION

    def _session_rows(self, exposure: Exposure, view: str, known_at: datetime | None) -> pa.Table | None:
        """Make what a request read of its session again, from the events of the log that were known then."""
        if known_at is None or exposure.session_id is None:
            return None
        if self._streams is None:
            tables = [table for table in declared_tables(self._workspace).values() if table.is_stream]
            prepared = self._workspace.engine.streams(
                transforms_module(self._workspace), tables, sources(self._workspace)
            )
            self._streams = {table.name: table for table in tables}, prepared
        tables_of, prepared = self._streams
        types = sorted({name for table in tables_of.values() for name in table.events})
        events = self._workspace.event_log.session_events([exposure.session_id], types, FIRST_EVENTS)
        then = events.filter(pc.less_equal(events[CREATED_TIMESTAMP], pa.scalar(known_at, TIMESTAMP)))
        rows = prepared.rows(tables_of[view], then)
        return rows if len(rows) else None

    def _arm_now(self, exposure: Exposure) -> str | None:
        experiments = self._workspace.catalog.experiments
        if exposure.experiment is None or exposure.experiment not in experiments:
            return None
        spec = experiments[exposure.experiment]
        unit = exposure.session_id if spec.unit == "session_id" else exposure.user_id
        assignment = None if unit is None else self._router(exposure.experiment, spec).route(unit)
        return None if assignment is None else assignment.arm

    def _router(self, name: str, spec: Experiment) -> Router:
        return Router(name, spec, self._workspace.catalog.layer_of(spec))

    def _past(self, as_of: datetime, *, units: bool) -> PastFeatures:
        if (as_of, units) not in self._pasts:
            self._pasts[as_of, units] = PastFeatures(self._workspace.features, as_of, units=units)
        return self._pasts[as_of, units]

    def _model(self, version: str, number: int) -> LoadedModel:
        workspace, model = self._workspace, version.partition("/")[0]
        if (model, number) not in self._loaded:
            weights = next((each for each in workspace.registry.search(model) if each.number == number), None)
            if weights is None:
                message = (
                    f"why: weights {number} of model {model} answered, and the registry has them no more: without them"
                    " the list cannot be made again; what was logged of it is in the event log"
                )
                raise ModelError(message)
            features = workspace.features.feature_set(workspace.catalog.model(version).feature_service)
            self._loaded[model, number] = LoadedModel(weights, workspace.registry.load(weights), features)
        return self._loaded[model, number]

    def _online(
        self,
        exposure: Exposure,
        placement: Placement,
        model: LoadedModel,
        past: PastFeatures,
        stamps: Mapping[str, datetime],
    ) -> tuple[ItemMatrix, Retrieval]:
        """Return the items and the candidate sources as they were; the former go by the request's time, for TTLs."""
        item_views = [view for view in model.features.views if view.join_keys == (ITEM,)]
        fitted = {label(source): stamps.get(f"{_CANDIDATES}{label(source)}") for source in placement.fitted}
        at = _made_at(exposure)
        key = (exposure.placement, model.key, id(past), at, tuple(fitted.items()))
        if key not in self._matrices:
            matrix = read_matrix(past, placement, item_views, at)
            models = {
                name: PoolModel(self._fitted(exposure.placement, placement, moment)[name][1], matrix.pool)
                for name, moment in fitted.items()
                if moment is not None
            }
            self._matrices.clear()  # requests come by time: an earlier one is not asked for again
            self._matrices[key] = matrix, Retrieval(placement, matrix.pool, models)
        return self._matrices[key]

    def _fitted(self, name: str, placement: Placement, moment: datetime) -> Mapping[str, tuple[str, ItemWeights]]:
        if (name, moment) not in self._item_models:
            memory = self._workspace.environment.limits.memory_bytes
            self._item_models[name, moment] = fitted_models(self._workspace.features, placement, moment, memory)
        return self._item_models[name, moment]


def _made_at(exposure: Exposure) -> datetime:
    """Return the moment that features and scores are of: before the answer, where a batch was sent later."""
    made_at = exposure.asked.get(MADE_AT)
    return exposure.event_timestamp if made_at is None else datetime.fromisoformat(made_at)


def document(found: Why) -> dict[str, Any]:
    """Return an explanation as JSON values."""
    shown, made = found.exposure, found.explanation
    told: dict[str, Any] = {
        "request_id": shown.request_id,
        "placement": shown.placement,
        "user_id": shown.user_id,
        "session_id": shown.session_id,
        "at": shown.event_timestamp.isoformat(),
        "asked": dict(shown.asked),
        "experiment": shown.experiment,
        "arm": shown.arm,
        "arm_now": found.arm_now,
        "overridden": shown.overridden,
        "model_version": shown.model_version,
        "weights": shown.weights,
        "fallback": shown.fallback,
        "watermarks": dict(shown.watermarks),
        "logged": [
            {"position": item.position, "item_id": item.item_id, "score": known(item.score)} for item in shown.items
        ],
    }
    if made is None or found.as_of is None:
        return told | {"features": None, "recomputed": None}
    return told | {
        "features": {
            "source": "recomputed at the watermark" if shown.features is None else "logged row",
            "as_of": found.as_of.isoformat(),
            "digest": shown.feature_digest,
            "digest_equal": found.digest_equal,
            "differing": dict(found.differing),
        },
        "recomputed": {
            "items_equal": found.items_equal,
            "candidates": made.candidates,
            "sources": dict(made.sources),
            "filtered": dict(made.filtered),
            "stages": [
                {
                    "stage": stage.stage,
                    "before": list(stage.before),
                    "after": list(stage.after),
                    "left_out": stage.left_out,
                }
                for stage in made.stages
            ],
            "items": [
                {
                    "position": each.item.position,
                    "item_id": each.item.item_id,
                    "score": known(each.item.score),
                    "rank": each.rank or None,
                    "propensity": each.item.propensity,
                    "sources": list(each.sources),
                    "features": dict(each.features),
                    "contributions": dict(each.contributions),
                }
                for each in made.items
            ],
        },
    }


def _same(one: float, other: float) -> bool:
    return (math.isnan(one) and math.isnan(other)) or math.isclose(one, other, rel_tol=SAME, abs_tol=SAME)


def _same_value(one: Any, other: Any) -> bool:  # noqa: ANN401 - a number, a text or a time
    if isinstance(one, int | float) and isinstance(other, int | float):
        return _same(float(one), float(other))
    return bool(one == other)
