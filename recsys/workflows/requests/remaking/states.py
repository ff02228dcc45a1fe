"""What stood online at the moment of an answer, and with which weights did it go? Each is read once."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from recsys.candidates.fitted import PoolModel
from recsys.candidates.retrieval import Retrieval
from recsys.errors import ModelError
from recsys.modeling.moments import fitted_models
from recsys.ports import Exposure, ItemWeights
from recsys.schema import ITEM
from recsys.serving.item_matrix import ItemMatrix, read_matrix
from recsys.serving.past import PastFeatures
from recsys.serving.state import LoadedModel
from recsys.specs.candidates import label
from recsys.specs.placement import Placement
from recsys.workflows.workspace import Workspace

CANDIDATES: Final = "candidates/"
"""What the watermark of an item-item model begins with."""


class PastStates:
    """The states that logged answers were made from."""

    def __init__(self, workspace: Workspace) -> None:
        """Read nothing yet."""
        self._workspace = workspace
        self._features: dict[tuple[datetime, bool], PastFeatures] = {}
        self._matrices: dict[tuple[Any, ...], tuple[ItemMatrix, Retrieval]] = {}
        self._item_models: dict[tuple[str, datetime], Mapping[str, tuple[str, ItemWeights]]] = {}
        self._loaded: dict[tuple[str, int], LoadedModel] = {}

    def features(self, as_of: datetime, *, units: bool) -> PastFeatures:
        """Return the online store of a moment, with the rows of units or without."""
        if (as_of, units) not in self._features:
            self._features[as_of, units] = PastFeatures(self._workspace.features, as_of, units=units)
        return self._features[as_of, units]

    def model(self, version: str, number: int) -> LoadedModel:
        """Return weights with the feature set that they read.

        Raises:
            ModelError: if the registry has them no more.
        """
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

    def online(
        self,
        exposure: Exposure,
        placement: Placement,
        model: LoadedModel,
        past: PastFeatures,
        stamps: Mapping[str, datetime],
    ) -> tuple[ItemMatrix, Retrieval]:
        """Return the items and the candidate sources as they were; the former go by the request's time, for TTLs."""
        item_views = [view for view in model.features.views if view.join_keys == (ITEM,)]
        fitted = {label(source): stamps.get(f"{CANDIDATES}{label(source)}") for source in placement.fitted}
        key = (exposure.placement, model.key, id(past), exposure.made_at, tuple(fitted.items()))
        if key not in self._matrices:
            matrix = read_matrix(past, placement, item_views, exposure.made_at)
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
