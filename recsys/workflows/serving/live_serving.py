"""What does a running service answer from? What was applied, stores behind breakers, and a local copy.

What counts is the ledger's last `recsys apply`, not the files of this moment: a file that is being edited changes
nothing, and one that is broken takes no worker down. Before the first apply it is the files that it began with.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from recsys.decision.champion import ChampionStatus
from recsys.experiment.routing import routers_of
from recsys.planning.state import APPLY, TRANSFORMS, State, applied_state
from recsys.ports import LedgerEntry, OnlineFeatures, ServingCopy, Weights
from recsys.serving.copying import CopiedStores, save
from recsys.serving.fleet import Declared
from recsys.serving.following import Follower
from recsys.serving.resolver import Resolver
from recsys.serving.state import Online, ServingState
from recsys.serving.stores import GuardedLedger, GuardedWeights, Stores
from recsys.specs.catalog import digest
from recsys.specs.experiment import Experiment
from recsys.specs.layer import Layer
from recsys.specs.placement import Placement
from recsys.specs.reading import validated
from recsys.workflows.serving.resolvers import champion_to_serve, say_moved
from recsys.workflows.workspace import Workspace

LOGGER = logging.getLogger(__name__)

_OF_FEATURES: Final = ("feature_views", "request_transforms", "feature_services", TRANSFORMS)


class LiveSource:
    """`serving.fleet.Source` over a workspace."""

    def __init__(self, workspace: Workspace, stores: Stores) -> None:
        """Import what is needed, which takes seconds, and open nothing yet.

        Args:
            workspace: the project, in its environment.
            stores: the breakers to ask past.
        """
        workspace.adapters.prepare()
        self._workspace = workspace
        self._stores = stores
        self._copy: ServingCopy = workspace.adapters.serving_copy()
        self._registry = GuardedWeights(workspace.registry, stores.registry)
        self._ledger = GuardedLedger(workspace.ledger, stores.log)
        self._last: Declared | None = None
        self._features: tuple[str, OnlineFeatures] | None = None
        self._moved: dict[str, ChampionStatus] = {}

    # ------------------------------------------------------------ declarations

    def declared(self) -> Declared:
        """Return what was applied last; before the first apply, what the files declared at the start."""
        entries = self._ledger.entries()
        done = [entry for entry in entries if entry.action == APPLY and entry.state == "done"]
        stamp = done[-1].transaction if done else "files"
        if self._last is None or self._last.stamp != stamp:
            self._last = self._applied(stamp, entries) if done else self._of_files(stamp)
        return self._last

    def _applied(self, stamp: str, entries: Sequence[LedgerEntry]) -> Declared:
        state = applied_state(entries)
        return Declared(
            stamp,
            placements={
                name: validated(each, f"placement {name}", Placement) for name, each in state["placements"].items()
            },
            experiments={
                name: validated(each, f"experiment {name}", Experiment) for name, each in state["experiments"].items()
            },
            services={name: str(each["feature_service"]) for name, each in state["models"].items()},
            features=_digest_of_features(state),
            layers={name: validated(each, f"layer {name}", Layer) for name, each in state["layers"].items()},
        )

    def _of_files(self, stamp: str) -> Declared:
        catalog = self._workspace.catalog
        services = {name: spec.feature_service for name, spec in catalog.models.items()}
        return Declared(stamp, catalog.placements, catalog.experiments, services, layers=catalog.layers)

    def remembered(self) -> Declared | None:
        """Return what the local copy says was declared, or None where there is none."""
        documents = {name: found for name in self._copy.placements() if (found := self._copy.read(name))}
        if not documents:
            return None
        placements: dict[str, Placement] = {}
        experiments: dict[str, Experiment] = {}
        layers: dict[str, Layer] = {}
        services: dict[str, str] = {}
        features = ""
        for name, document in documents.items():
            kept = document["declared"]
            placements[name] = Placement.model_validate(kept["placement"])
            experiments |= {n: Experiment.model_validate(each) for n, each in kept["experiments"].items()}
            layers |= {n: Layer.model_validate(each) for n, each in kept.get("layers", {}).items()}
            services |= kept["services"]
            features = kept["features"]
        return Declared("local copy", placements, experiments, services, features, layers)

    # ------------------------------------------------------------ resolvers

    def resolver(self, placement: str, declared: Declared) -> Resolver:
        """Make the resolver of a placement; it has read nothing yet."""
        workspace = self._workspace
        online = Online(self._features_of(declared), workspace.item_models, self._stores.online)
        routers = routers_of(placement, declared.experiments, declared.layers)
        spec, services = declared.placements[placement], declared.services
        return Resolver(
            placement,
            spec,
            online,
            self._registry,
            self._champion,
            routers,
            workspace.clock,
            services.__getitem__,
            feature_rows=workspace.environment.serve.feature_rows,
        )

    def _features_of(self, declared: Declared) -> OnlineFeatures:
        """Return a feature store that was opened after the last change of definitions: it keeps those it has read."""
        if self._features is None or self._features[0] != declared.features:
            self._features = declared.features, self._workspace.adapters.features(None)
        return self._features[1]

    def _champion(self, model: str) -> Weights | None:
        return champion_to_serve(self._registry, self._ledger, model, self._say_moved)

    def _say_moved(self, model: str, status: ChampionStatus) -> None:
        if self._moved.get(model) != status:
            self._moved[model] = status
            say_moved(model, status)

    # ------------------------------------------------------------ the local copy

    def save(self, placement: str, declared: Declared, resolver: Resolver) -> None:
        """Write the local copy of what a resolver answers from."""
        kept = _document(declared, placement)
        online = self._features_of(declared)
        save(self._copy, placement, kept, resolver.state, online, self._workspace.clock.now())

    def restore(self, placement: str, declared: Declared, resolver: Resolver) -> None:
        """Let a resolver answer from the local copy, if there is one of these declarations."""
        document = self._copy.read(placement)
        if document is None or document["declared"] != _document(declared, placement):
            return
        try:
            files = self._workspace.adapters.declared_features()
            copied = CopiedStores(self._copy, document, (files.feature_set, self._features_of(declared).feature_set))
            routers = routers_of(placement, declared.experiments, declared.layers)
            follower = Follower(
                placement,
                declared.placements[placement],
                Online(copied, self._workspace.item_models),
                copied,
                copied.champion_of,
                routers,
                self._workspace.clock,
                declared.services.__getitem__,
            )
            resolver.restore(follower.restored(ServingState.empty(routers), copied.at))
        except Exception:
            LOGGER.exception("placement %s: its local copy cannot be used", placement)

    def forget(self, placement: str) -> None:
        """Remove the local copy of a placement that is no longer declared."""
        self._copy.forget(placement)


def _document(declared: Declared, placement: str) -> Mapping[str, Any]:
    spec, experiments, services, features, layers = declared.of(placement)
    return {
        "placement": spec.model_dump(mode="json"),
        "experiments": {name: each.model_dump(mode="json") for name, each in experiments.items()},
        "layers": {name: each.model_dump(mode="json") for name, each in layers.items()},
        "services": services,
        "features": features,
    }


def _digest_of_features(state: State) -> str:
    return digest({kind: state[kind] for kind in _OF_FEATURES})
