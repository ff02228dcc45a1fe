"""Do placements and audiences name views and features that are there, of the right keys and kinds?"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from recsys.errors import FeatureError
from recsys.modeling.context import read_of, unlearned
from recsys.ports import FeatureReader, FeatureSet
from recsys.schema import ITEM, REQUEST_TIMESTAMP, SESSION, USER
from recsys.specs.candidates import (
    SOURCES,
    Covisit,
    Ease,
    Newest,
    Personal,
    Popular,
    Seen,
    Stock,
    Values,
    score_column,
)
from recsys.specs.catalog import Catalog
from recsys.specs.model import ModelVersion
from recsys.specs.placement import Audience, Placement, Pool
from recsys.specs.reranking import Cap, Diversity

ANY: Final = "anything"
NUMBER: Final = "number"
TEXT: Final = "text"
TIME: Final = "time"

_ITEMS: Final = ((ITEM,),)
_PAIRS: Final = ((USER, ITEM), (SESSION, ITEM))

_Wanted = tuple[str, tuple[tuple[str, ...], ...], Mapping[str, str]]
"""A view, the keys that it may have, and features of it to their kinds."""


def placement_findings(features: FeatureReader, placement: Placement, shown: str) -> Iterator[str]:
    """Yield every reference of a placement that leads nowhere, or to something of another kind.

    Args:
        features: what the feature repository declares.
        placement: the declaration.
        shown: its file, as people read it.
    """
    yield from _check(features, _pool(placement.pool, _ITEMS), "pool", shown)
    yield from _context_apart(features, placement, shown)
    for kind in ("candidates", "new_units", "filters", "rerank"):
        for number, each in enumerate(getattr(placement, kind)):
            wanted = _wanted(each, placement.pool)
            if wanted is not None:
                yield from _check(features, wanted, f"{kind}.{number}", shown)


def audience_findings(features: FeatureReader, audience: Audience, shown: str) -> Iterator[str]:
    """Yield every reference of an audience that leads nowhere, or to something of another kind."""
    yield from _check(features, _pool(audience.units, ((USER,),)), "units", shown)
    for channel, asked in audience.contact.items():
        if asked is not None:
            yield from _check(features, _pool(asked, ((USER,),)), f"contact.{channel}", shown)


def request_findings(
    features: FeatureReader, wanted: FeatureSet, placement: str, declared: Placement, where: str
) -> Iterator[str]:
    """Yield what features need of a request and the placement's requests do not bring along.

    What depends on the session is not there for models: a request of the past has none, and would be another.

    Args:
        features: what the feature repository declares.
        wanted: the features of a model version.
        placement: the placement's name.
        declared: the placement.
        where: the file and field, as people read them.
    """
    stored = {name for view in wanted.views for name in view.features}
    of_session = [source for source in declared.sources if _of_session(features, source)]
    scores = (score_column(source) for source in declared.fitted if source not in of_session)
    brought = (REQUEST_TIMESTAMP, *(() if of_session else (SOURCES,)), *scores, *declared.context)
    computed = {name: each.name for each in wanted.transforms for name in each.outputs}
    named = {name: view.name for view in wanted.views for name in (*view.join_keys, *view.features)} | computed
    for name in declared.context:
        if name in named:
            yield (
                f"{where}: context {name} of placement {placement}: view {named[name]} has a column of that name:"
                " call one of them otherwise"
            )
    for transform in wanted.transforms:
        for name in transform.inputs:
            kind = declared.context.get(name)
            if name not in stored and name not in brought:
                yield (
                    f"{where}: on-demand view {transform.name} reads {name} of the request; requests of placement"
                    f" {placement} bring {', '.join(brought)}: `<source>_score` is of a covisit or ease source of that"
                    " name whose view is of users, and what only the caller knows is declared in the placement's"
                    " `context`"
                )
            elif name not in stored and kind is not None and transform.kinds.get(name, kind) != kind:
                yield (
                    f"{where}: on-demand view {transform.name} reads {name} as a {transform.kinds[name]}; in the"
                    f" context of placement {placement} it is a {kind}: both must be of one kind"
                )


def selecting_findings(wanted: FeatureSet, where: str) -> Iterator[str]:
    """Yield what features need of a request and the selection of an audience does not bring along."""
    stored = {name for view in wanted.views for name in view.features}
    for transform in wanted.transforms:
        for name in transform.inputs:
            if name not in stored and name != REQUEST_TIMESTAMP:
                yield (
                    f"{where}: on-demand view {transform.name} reads {name} of the request; an audience is selected at"
                    f" a moment and brings {REQUEST_TIMESTAMP} alone"
                )


def learning_findings(features: FeatureSet, version: ModelVersion, placement: Placement, shown: str) -> Iterator[str]:
    """Yield that a version reads a context and learns from no request, if so.

    Args:
        features: of the version.
        version: its declaration.
        placement: whose candidates it ranks.
        shown: its file, as people read it.
    """
    refused = unlearned(version, read_of(placement.context, features))
    if refused is not None:
        yield f"{shown}: {refused}"


def answering_findings(features: FeatureReader, catalog: Catalog) -> Iterator[str]:
    """Yield what versions read of the context of their own placement and may miss in another one where they answer."""
    for place, placement in catalog.placements.items():
        arms = {
            arm.model_version
            for experiment in catalog.experiments.values()
            if experiment.placement == place
            for arm in experiment.arms.values()
        }
        for name, version in catalog.models.items():
            home = catalog.placements.get(version.placement)
            answers = name in arms or name.partition("/")[0] == placement.model
            if home is None or not home.context or version.placement == place or not answers:
                continue
            for missed, kind in _read(features, version, home).items():
                if placement.context.get(missed) != kind:
                    yield (
                        f"registry/placements/{place}.yaml: context: {name} may answer here and reads {missed}, a"
                        f" {kind}, of the request, as its own placement {version.placement} declares it: declare it"
                        " here too"
                    )


def _read(features: FeatureReader, version: ModelVersion, home: Placement) -> Mapping[str, str]:
    try:
        return read_of(home.context, features.feature_set(version.feature_service))
    except FeatureError:
        return {}  # found with the model


def _context_apart(features: FeatureReader, placement: Placement, shown: str) -> Iterator[str]:
    try:
        items = features.view(placement.pool.view)
    except FeatureError:
        return  # found with the pool
    for name in placement.context:
        if name in items.features:
            yield f"{shown}: context.{name}: view {items.name} has a feature of that name: call it otherwise"


def _of_session(features: FeatureReader, source: Any) -> bool:  # noqa: ANN401 - any source
    try:
        return isinstance(source, Personal | Covisit | Ease) and features.view(source.view).join_keys[0] == SESSION
    except FeatureError:
        return False  # found by `placement_findings`


def _pool(pool: Pool, keys: tuple[tuple[str, ...], ...]) -> _Wanted:
    return pool.view, keys, {pool.feature: NUMBER}


def _wanted(each: Any, pool: Pool) -> _Wanted | None:  # noqa: ANN401 - any source, filter or stage
    asked = _of_units(each)
    if asked is not None:
        return each.view, _PAIRS, asked
    asked = _of_items(each)
    return None if asked is None else (pool.view, _ITEMS, asked)


def _of_units(each: Any) -> Mapping[str, str] | None:  # noqa: ANN401 - any source, filter or stage
    """Return the features of its own unit × item or session × item view that it names, or None where it reads none."""
    if isinstance(each, Personal):
        return dict.fromkeys(each.order_by, NUMBER)
    if isinstance(each, Covisit | Ease):
        return {} if each.strength is None else {each.strength: NUMBER}
    if isinstance(each, Seen):
        return {} if each.by is None else {each.by: TIME}
    return None


def _of_items(each: Any) -> Mapping[str, str] | None:  # noqa: ANN401 - any source, filter or stage
    """Return the features of the pool's view that it names, or None where it reads none."""
    match each:
        case Popular():
            wanted = ({} if each.by is None else {each.by: ANY}) | {each.order_by: NUMBER}
        case Newest():
            wanted = {each.order_by: TIME}
        case Values():
            wanted = {each.feature: TEXT}
        case Stock():
            wanted = {each.feature: NUMBER}
        case Cap():
            wanted = {each.by: TEXT}
        case Diversity():
            wanted = dict.fromkeys(each.by, TEXT)
        case _:
            return None
    return wanted


def _check(features: FeatureReader, wanted: _Wanted, where: str, shown: str) -> Iterator[str]:
    name, keys, kinds = wanted
    try:
        view = features.view(name)
    except FeatureError as error:
        yield f"{shown}: {where}.view: {error}"
        return
    if view.join_keys not in keys:
        yield (
            f"{shown}: {where}.view: {name}: keyed by {', '.join(view.join_keys)}; it has to be a view of"
            f" {', or of '.join(' and '.join(each) for each in keys)}"
        )
        return
    for feature, kind in kinds.items():
        if feature not in view.features:
            yield f"{shown}: {where}: {feature}: not a feature of view {name}; it has {', '.join(view.features)}"
        elif kind not in (ANY, view.kinds[feature]):
            yield f"{shown}: {where}: {feature}: a {view.kinds[feature]} in view {name}; it has to be a {kind}"
