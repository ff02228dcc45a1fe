"""How is a resolver put together, for requests, batches and replays alike?"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final

import pyarrow as pa

from recsys.data.knowledge import known_sql
from recsys.decision.champion import ChampionStatus, champion_status, overrides
from recsys.experiment.routing import routers_of
from recsys.ports import Clock, Decisions, FeatureReader, ItemModelStore, NamedWeights, Weights
from recsys.serving.freshness import SessionFeatures
from recsys.serving.resolver import Resolver
from recsys.serving.state import OVERRIDE_TAG, Online
from recsys.specs.experiment import Experiment
from recsys.workflows.features.table_records import declared_tables, sources, transforms_module
from recsys.workflows.workspace import Workspace

LOGGER = logging.getLogger(__name__)

_UNITS: Final = """
select distinct user_id from ({known})
where event_type = '{event}' and quantity > 0 and event_timestamp <= timestamptz '{at}'
order by user_id
"""


def resolver_for(
    workspace: Workspace,
    placement: str,
    features: FeatureReader | None = None,
    clock: Clock | None = None,
    experiments: Mapping[str, Experiment] | None = None,
    item_models: ItemModelStore | None = None,
) -> Resolver:
    """Make the resolver of a placement; it is empty until its first `refresh`.

    Args:
        workspace: the project.
        placement: its name.
        features: the online store; the environment's by default.
        clock: the environment's by default.
        experiments: by name; all that are declared on this placement by default.
        item_models: of candidate sources; the environment's by default.
    """
    declared = workspace.catalog.placement(placement)
    if experiments is None:
        experiments = workspace.catalog.experiments
    return Resolver(
        name=placement,
        placement=declared,
        online=Online(features or workspace.features, item_models or workspace.item_models),
        registry=workspace.registry,
        champion_of=lambda model: recorded_champion(workspace, model),
        routers=routers_of(placement, experiments, workspace.catalog.layers),
        clock=clock or workspace.clock,
        feature_service_of=lambda version: workspace.catalog.model(version).feature_service,
        feature_rows=workspace.environment.serve.feature_rows,
    )


def session_features(workspace: Workspace) -> SessionFeatures | None:
    """Make what keeps the features of sessions up to the event log; None where no stream table is declared."""
    tables = [table for table in declared_tables(workspace).values() if table.is_stream]
    if not tables:
        return None
    return SessionFeatures(
        workspace.event_log,
        workspace.features,
        tables,
        lambda: workspace.engine.streams(transforms_module(workspace), tables, sources(workspace)),
    )


def recorded_champion(workspace: Workspace, model: str) -> Weights | None:
    """Return the champion that the ledger knows; an alias that was moved from outside is logged and not served."""
    return champion_to_serve(workspace.registry, workspace.ledger, model, say_moved)


def champion_to_serve(
    registry: NamedWeights, ledger: Decisions, model: str, moved: Callable[[str, ChampionStatus], None]
) -> Weights | None:
    """Return the champion that the ledger knows, tagged with its override if it was made by one.

    Args:
        registry: the alias.
        ledger: the record.
        model: a registered model.
        moved: told the model and the status where the alias was moved from outside.
    """
    status = champion_status(registry, ledger, model)
    champion = status.alias
    if not status.agrees:
        moved(model, status)
        champion = next((weights for weights in registry.search(model) if weights.number == status.recorded), None)
    override = None if champion is None else overrides(ledger, model).get(champion.model_version)
    if champion is None or override is None:
        return champion
    return replace(champion, tags={**champion.tags, OVERRIDE_TAG: override.reason})


def say_moved(model: str, status: ChampionStatus) -> None:
    """Log that an alias was moved from outside."""
    LOGGER.warning(
        "model %s: alias champion names weights %s, the ledger says %s: the recorded ones are served;"
        " run `recsys accept %s` to serve the others",
        model,
        status.alias.number if status.alias else "none",
        status.recorded,
        model,
    )


def known_units(workspace: Workspace, placement: str, at: datetime) -> list[str]:
    """Return every unit that had the placement's target event by a moment, as known then, ascending."""
    units: list[str] = known_unit_ids(workspace, placement, at).to_pylist()
    return units


def known_unit_ids(workspace: Workspace, placement: str, at: datetime) -> pa.ChunkedArray:
    """Return the same as an Arrow column: of many units, a tenth of the memory."""
    target = workspace.catalog.problem(workspace.catalog.placement(placement).problem).target
    query = _UNITS.format(known=known_sql("events", at), event=target.event.replace("'", "''"), at=at.isoformat())
    return workspace.engine.query(query, {"events": workspace.events})["user_id"]


class FixedClock:
    """A clock that stands at one moment, and at another when told: the step of a replay, the date of a batch."""

    def __init__(self, at: datetime) -> None:
        """Stand at a moment."""
        self.at = at

    def now(self) -> datetime:
        """Return the moment."""
        return self.at
