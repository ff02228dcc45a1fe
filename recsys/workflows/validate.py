"""Do all declarations hold together, with Feast's too? `recsys validate`."""

from collections.abc import Iterator
from dataclasses import dataclass

from recsys.errors import FeatureError, SpecError
from recsys.ports import FeatureReader
from recsys.specs.catalog import Catalog
from recsys.specs.model import CatBoostAlgorithm, FeatureAlgorithm, ModelVersion
from recsys.specs.placement import Personal, Popular
from recsys.workflows.workspace import Workspace


@dataclass(frozen=True)
class Validated:
    """How many declarations of each kind were found and hold."""

    problems: int
    models: int
    placements: int
    experiments: int
    environments: int


def validate(workspace: Workspace) -> Validated:
    """Check references into the feature repository; the workspace's catalog was cross-checked when it was opened.

    Raises:
        SpecError: with every finding.
    """
    findings = list(feature_findings(workspace.catalog, workspace.adapters.declared_features()))
    if findings:
        raise SpecError(findings)
    catalog = workspace.catalog
    return Validated(
        problems=len(catalog.problems),
        models=len(catalog.models),
        placements=len(catalog.placements),
        experiments=len(catalog.experiments),
        environments=len(catalog.environments),
    )


def feature_findings(catalog: Catalog, features: FeatureReader) -> Iterator[str]:
    """Yield every reference into the feature repository that leads nowhere."""
    for name, placement in catalog.placements.items():
        shown = f"registry/placements/{name}.yaml"
        yield from _view_features(features, placement.pool.view, (placement.pool.feature,), "pool", shown)
        for number, source in enumerate(placement.candidates):
            where = f"candidates.{number}"
            if isinstance(source, Personal):
                yield from _view_features(features, source.view, source.order_by, where, shown)
            elif isinstance(source, Popular):
                yield from _view_features(features, placement.pool.view, (source.order_by,), where, shown)
    for name, model in catalog.models.items():
        yield from _model(features, model, f"registry/models/{name}.yaml")


def _view_features(features: FeatureReader, view: str, names: tuple[str, ...], where: str, shown: str) -> Iterator[str]:
    try:
        known = features.view(view).features
    except FeatureError as error:
        yield f"{shown}: {where}.view: {error}"
        return
    for name in names:
        if name not in known:
            yield f"{shown}: {where}: {name}: not a feature of view {view}; it has {', '.join(known)}"


def _model(features: FeatureReader, model: ModelVersion, shown: str) -> Iterator[str]:
    try:
        columns = features.feature_set(model.feature_service).columns
    except FeatureError as error:
        yield f"{shown}: feature_service: {error}"
        return
    wanted: tuple[str, ...] = ()
    if isinstance(model.algorithm, CatBoostAlgorithm):
        wanted = model.algorithm.categorical
    elif isinstance(model.algorithm, FeatureAlgorithm):
        wanted = (model.algorithm.feature,)
    for name in wanted:
        if name not in columns:
            yield f"{shown}: algorithm: {name}: not a column of {model.feature_service}; it has {', '.join(columns)}"
    for baseline, reference in model.baselines.items():
        try:
            features.feature_set([reference])
        except FeatureError as error:
            yield f"{shown}: baselines.{baseline}: {error}"
