"""Why did a request get this list? The same steps as for an answer, with what each of them found, did and left out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.candidates.retrieval import Retrieval
from recsys.modeling.context import broadcast
from recsys.ports import Columns, ShownItem
from recsys.serving.assembly import assemble
from recsys.serving.lists import Lists
from recsys.serving.ranking import Asked, Scored, feature_digest, plain_features, scored, shown
from recsys.serving.reranking import Ranked, after_each
from recsys.serving.state import LoadedModel
from recsys.specs.candidates import SOURCES, label
from recsys.specs.placement import Placement
from recsys.specs.reranking import Explore


@dataclass(frozen=True)
class ExplainedItem:
    """One slot."""

    item: ShownItem
    rank: int
    """Place in the model's own order, from 1; 0 of a pinned item that no source gave."""
    sources: tuple[str, ...]
    """Names of the candidate sources that gave it."""
    features: Mapping[str, Any]
    """What the model read of it; empty where it was not scored."""
    contributions: Mapping[str, float]
    """Column to its part of the score (SHAP: Lundberg and Lee 2017), largest first; empty where not asked for."""


@dataclass(frozen=True)
class StageEffect:
    """What one stage after the model did to the first slots."""

    stage: str
    """Such as cap."""
    before: tuple[str, ...]
    """Item ids of the slots before it."""
    after: tuple[str, ...]
    left_out: int
    """Items of the whole list that it took away."""


@dataclass(frozen=True)
class Explanation:
    """One list, step by step."""

    items: tuple[ExplainedItem, ...]
    digest: str
    """Of the feature values of its scored items."""
    candidates: int
    sources: Mapping[str, int]
    """Source to how many of the candidates it gave, alone or with others."""
    filtered: Mapping[str, int]
    """Filter to how many items that the sources would have given it keeps out."""
    stages: tuple[StageEffect, ...]


def explain(asked: Asked, model: LoadedModel, placement: Placement, *, shap: bool = False) -> Explanation:
    """Make the list of a request again and tell how.

    Args:
        asked: what it is made from.
        model: the weights.
        placement: sources, filters and stages.
        shap: whether scores are taken apart.

    Raises:
        FeatureError: if the placement names a feature that a view lacks.
    """
    made = scored(asked, model)
    stages, chosen = _through(asked, made, placement)
    places = made.places(chosen)
    features = plain_features(made.columns, places)
    parts = model.ranker.contributions({name: values[places] for name, values in made.columns.items()}) if shap else {}
    names = [label(source) for source in placement.sources]
    given = [_bits(bits, names) for bits in made.found[0].sources]
    items, line = [], 0
    for slot, rank in zip(shown(asked.matrix, chosen), chosen.ranks.tolist(), strict=True):
        if rank:
            read = {name: values[line] for name, values in features.items()}
            of_score = _largest_first({name: float(values[line]) for name, values in parts.items()})
            items.append(ExplainedItem(slot, rank, given[places[line]], read, of_score))
            line += 1
        else:
            items.append(ExplainedItem(slot, 0, (), {}, {}))
    return Explanation(
        items=tuple(items),
        digest=feature_digest(made.columns, places),
        candidates=len(made.scores),
        sources=dict(Counter(name for mine in given for name in mine)),
        filtered=_filtered(asked, placement),
        stages=stages,
    )


def explain_contact(
    columns: Columns, model: LoadedModel, logged: ShownItem, rank: int, *, shap: bool = False
) -> Explanation:
    """Score a unit again that a campaign reached.

    Args:
        columns: the unit's features, one row, as known when the campaign was made.
        model: the weights.
        logged: the contact.
        rank: the unit's place in the campaign's list.
        shap: whether the score is taken apart.
    """
    row = np.zeros(1, dtype=np.int64)
    score = float(model.ranker.score(columns)[0])
    parts = model.ranker.contributions(columns) if shap else {}
    contact = ExplainedItem(
        item=replace(logged, score=score),
        rank=rank,
        sources=(),
        features={name: values[0] for name, values in plain_features(columns, row).items()},
        contributions=_largest_first({name: float(values[0]) for name, values in parts.items()}),
    )
    return Explanation((contact,), feature_digest(columns, row), candidates=1, sources={}, filtered={}, stages=())


def features_of(asked: Asked, model: LoadedModel, items: Sequence[str]) -> tuple[Columns, NDArray[np.int64]]:
    """Return what there was to read of some items of a logged list, whichever list would be made of them now.

    Args:
        asked: what the list was made from: one request.
        model: the weights that answered; the columns that they read, and all that those are computed from, are told.
        items: their ids.

    Returns:
        Column to [items] values (stored features, what the request brought along, computed features), and the items'
        rows of the matrix, -1 where it lacks one: its values are of no item.
    """
    features, wanted, pool = model.features, asked.wanted[0], asked.matrix.pool
    rows = pool.rows_of(items)
    placed = np.maximum(rows, 0)
    found = asked.retrieval.candidates(asked.histories(), asked.instant, wanted.given)
    gave = np.zeros(len(pool), dtype=np.int64)
    gave[found.rows] = found.sources
    brought: dict[str, NDArray[Any]] = {SOURCES: gave[placed], **asked.retrieval.scores(placed, asked.histories())}
    if wanted.context:
        brought |= broadcast(wanted.context, len(placed))
    stored = [name for view in features.views for name in view.features]
    computed = [name for each in features.transforms for name in (*each.inputs, *each.outputs)]
    every = replace(features, columns=tuple(dict.fromkeys([*stored, *computed, *features.columns])))
    return assemble(every, asked.matrix, asked.units, Lists.of([placed]), asked.at, brought), rows


def _through(asked: Asked, made: Scored, placement: Placement) -> tuple[tuple[StageEffect, ...], Ranked]:
    """Carry the stages out one by one; each sees what the one before it left."""
    slots, pool = asked.slots, asked.matrix.pool
    before, effects = made.ranked(), []
    steps = after_each(placement.rerank, before, pool, asked.may_get(), slots, asked.wanted[0].request_id)
    for stage, after in zip(placement.rerank, steps, strict=True):
        gone = set() if isinstance(stage, Explore) else set(before.rows.tolist()) - set(after.rows.tolist())
        seen, then = (tuple(str(pool.ids[row]) for row in _first(each, slots).rows) for each in (before, after))
        effects.append(StageEffect(stage.stage, seen, then, len(gone)))
        before = after
    return tuple(effects), _first(before, slots)


def _first(ranked: Ranked, slots: int) -> Ranked:
    return ranked.take(np.arange(min(slots, len(ranked))))


def _filtered(asked: Asked, placement: Placement) -> dict[str, int]:
    """Count, for each filter by itself, what it keeps out of the union of the sources."""
    if not placement.filters:
        return {}
    pool, models = asked.matrix.pool, asked.retrieval.models
    open_to_all = placement.model_copy(update={"filters": ()})
    histories = asked.histories()
    union = Retrieval(open_to_all, pool, models).candidates(histories, asked.instant, asked.wanted[0].given).rows
    counted: dict[str, int] = {}
    for each in placement.filters:
        alone = Retrieval(placement.model_copy(update={"filters": (each,)}), pool, models)
        out = int((~alone.may_get(union, histories, asked.instant)).sum())
        counted[each.filter] = counted.get(each.filter, 0) + out
    return counted


def _bits(bits: np.int64, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for place, name in enumerate(names) if int(bits) >> place & 1)


def _largest_first(parts: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(parts.items(), key=lambda part: (-abs(part[1]), part[0])))
