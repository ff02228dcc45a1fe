"""Which item-item models do the declared sources need, and how are they made for requests?

The same function over the same snapshot that training uses at its decision times: what a source scored then and what it
scores now differ only by what has happened in between.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from recsys.candidates.fitted import model_key
from recsys.modeling.moments import fitted_models
from recsys.ports import FeatureReader, ItemModelStore, ItemWeights
from recsys.specs.placement import Placement


@dataclass(frozen=True)
class MadeItemModel:
    """One item-item model, of one source or of several that are fitted alike."""

    key: str
    sources: tuple[str, ...]
    """Such as home.covisit."""
    items: int
    """Items that take part."""
    megabytes: float
    """Of its weights."""


@dataclass(frozen=True)
class FittedItemModel:
    """What was made, and the model itself."""

    made: MadeItemModel
    model: ItemWeights


def needed_models(placements: Iterable[Placement]) -> frozenset[str]:
    """Return the keys of the models that the placements' sources read."""
    return frozenset(model_key(source, placement.pool) for placement in placements for source in placement.fitted)


def fit_item_models(
    features: FeatureReader, placements: Iterable[tuple[str, Placement]], at: datetime, memory: int
) -> list[FittedItemModel]:
    """Fit every model that the placements' sources read, each once.

    Args:
        features: the past.
        placements: by name.
        at: nothing that happened or became known later is used.
        memory: bytes that a dense model may take while it is fitted.

    Raises:
        FeatureError: if a view or feature is not there, or a model does not fit into memory.
    """
    models: dict[str, ItemWeights] = {}
    sources: dict[str, list[str]] = {}
    for name, placement in placements:
        for source, (key, model) in fitted_models(features, placement, at, memory).items():
            models.setdefault(key, model)
            sources.setdefault(key, []).append(f"{name}.{source}")
    return [
        FittedItemModel(MadeItemModel(key, tuple(sources[key]), len(model.items), model.nbytes / 1e6), model)
        for key, model in models.items()
    ]


def write_item_models(store: ItemModelStore, fitted: Iterable[FittedItemModel]) -> tuple[MadeItemModel, ...]:
    """Put models in the place of the present ones, and remove those that no source reads any more.

    Raises:
        StoreError: if one cannot be written.
    """
    made = []
    for each in fitted:
        store.write(each.made.key, each.model)
        made.append(each.made)
    store.keep(frozenset(each.key for each in made))
    return tuple(made)
