"""Do all declarations hold together, with Feast's too? `recsys validate`."""

from collections.abc import Iterator
from dataclasses import dataclass

from recsys.errors import FeatureError, SpecError
from recsys.ports import FeatureReader, FeatureSet
from recsys.specs.catalog import Catalog
from recsys.specs.model import CatBoostAlgorithm, FeatureAlgorithm, ModelVersion
from recsys.workflows.declarations.validate_placements import (
    answering_findings,
    audience_findings,
    learning_findings,
    placement_findings,
    request_findings,
    selecting_findings,
)
from recsys.workflows.workspace import Workspace


@dataclass(frozen=True)
class Validated:
    """How many declarations of each kind were found and hold."""

    problems: int
    models: int
    placements: int
    audiences: int
    metrics: int
    layers: int
    experiments: int
    monitors: int
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
        audiences=len(catalog.audiences),
        metrics=len(catalog.metrics),
        layers=len(catalog.layers),
        experiments=len(catalog.experiments),
        monitors=len(catalog.monitors),
        environments=len(catalog.environments),
    )


def feature_findings(catalog: Catalog, features: FeatureReader) -> Iterator[str]:
    """Yield every reference into the feature repository that leads nowhere."""
    for name, placement in catalog.placements.items():
        yield from placement_findings(features, placement, f"registry/placements/{name}.yaml")
    for name, audience in catalog.audiences.items():
        yield from audience_findings(features, audience, f"registry/audiences/{name}.yaml")
    for name, model in catalog.models.items():
        yield from _model(features, catalog, model, f"registry/models/{name}.yaml")
    yield from answering_findings(features, catalog)


def _model(features: FeatureReader, catalog: Catalog, model: ModelVersion, shown: str) -> Iterator[str]:
    try:
        read = features.feature_set(model.feature_service)
    except FeatureError as error:
        yield f"{shown}: feature_service: {error}"
        return
    columns = read.columns
    yield from _needs(features, catalog, model, read, f"{shown}: feature_service")
    if model.placement in catalog.placements:
        yield from learning_findings(read, model, catalog.placements[model.placement], shown)
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
            read = features.feature_set([reference])
        except FeatureError as error:
            yield f"{shown}: baselines.{baseline}: {error}"
            continue
        yield from _needs(features, catalog, model, read, f"{shown}: baselines.{baseline}")


def _needs(
    features: FeatureReader, catalog: Catalog, model: ModelVersion, read: FeatureSet, where: str
) -> Iterator[str]:
    """Yield what features need of a request and do not get; of a place that is not declared, nothing is known."""
    placement = catalog.placements.get(model.placement)
    if placement is not None:
        yield from request_findings(features, read, model.placement, placement, where)
    elif model.placement in catalog.audiences:
        yield from selecting_findings(read, where)
