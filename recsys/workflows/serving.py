"""How is a resolver put together, for requests, batches and replays alike?"""

from collections.abc import Mapping
from datetime import datetime

from recsys.experiment.routing import Router
from recsys.ports import Clock, FeatureReader
from recsys.serving.resolver import Resolver
from recsys.specs.experiment import Experiment
from recsys.workflows.workspace import Workspace


def resolver_for(
    workspace: Workspace,
    placement: str,
    features: FeatureReader | None = None,
    clock: Clock | None = None,
    experiments: Mapping[str, Experiment] | None = None,
) -> Resolver:
    """Make the resolver of a placement; it is empty until its first `refresh`.

    Args:
        workspace: the project.
        placement: its name.
        features: the online store; the environment's by default.
        clock: the environment's by default.
        experiments: by name; all that are declared on this placement by default.
    """
    declared = workspace.catalog.placement(placement)
    if experiments is None:
        experiments = workspace.catalog.experiments
    routers = [Router(name, spec) for name, spec in experiments.items() if spec.placement == placement]
    return Resolver(
        name=placement,
        placement=declared,
        features=features or workspace.features,
        registry=workspace.registry,
        routers=routers,
        clock=clock or workspace.clock,
        feature_service_of=lambda version: workspace.catalog.model(version).feature_service,
    )


class FixedClock:
    """A clock that stands at one moment, and at another when told: the step of a replay, the date of a batch."""

    def __init__(self, at: datetime) -> None:
        """Stand at a moment."""
        self.at = at

    def now(self) -> datetime:
        """Return the moment."""
        return self.at
