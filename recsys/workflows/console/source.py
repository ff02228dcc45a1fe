"""Where do the console's documents come from? From a project's files and stores, over connections of their own."""

import logging
import threading
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from recsys.errors import SpecError, StoreError
from recsys.specs.catalog import load
from recsys.workflows.console.experiments import experiment_document, experiment_report
from recsys.workflows.console.memory import Memory, Stamp, stamp_of
from recsys.workflows.console.models import model_document, model_report
from recsys.workflows.console.overview import overview_document, registered_models
from recsys.workflows.console.places import problem_of
from recsys.workflows.console.problems import placement_document, problem_document
from recsys.workflows.console.registered import Registered, RegistryMemory
from recsys.workflows.console.requests import recent_requests
from recsys.workflows.data.item_labels import item_labels
from recsys.workflows.problem.funnel import kept_funnel
from recsys.workflows.requests.why import why
from recsys.workflows.requests.why_document import document, items_of
from recsys.workflows.workspace import Workspace

LOGGER = logging.getLogger(__name__)

Document = Mapping[str, Any]
D = TypeVar("D", bound=Mapping[str, Any] | None)


class ConsoleSource:
    """`web.console.reads.ConsoleReads` over a workspace.

    It opens its own connections, so that what it waits for keeps no request for a list waiting. Any number of threads
    may ask. A document is made again once a declaration, the ledger, the registry, a kept report or the clock's minute
    has changed, and is the very same object until then.
    """

    def __init__(self, workspace: Workspace) -> None:
        """Open nothing yet."""
        self._workspace = _of(workspace)
        self._lock = threading.Lock()
        self._stamp = self._files()
        self._broken: tuple[str, ...] = ()
        self._registry = RegistryMemory(self._workspace.registry)
        self._documents = Memory()

    def overview(self) -> Document:
        """Return everything that is declared, by problem, and what needs attention."""
        models = registered_models(self._now())
        return self._document(
            ("overview",), models, lambda look, registered: overview_document(look, registered, self._broken)
        )

    def problem(self, name: str) -> Document:
        """Return one problem.

        Raises:
            SpecError: if none of that name is declared.
        """
        return self._document(("problem", name), (), lambda look, _: problem_document(look, name))

    def problem_report(self, name: str) -> Document | None:
        """Return what `recsys funnel` kept of a problem, or None."""
        return kept_funnel(self._now(), name)

    def model(self, name: str, version: str | None) -> Document:
        """Return one registered model; of the version asked for, or that of the champion, all that is known.

        Raises:
            SpecError: if no version of it is declared or registered, or not the one that is asked for.
            StoreError: if the registry or the ledger cannot be read.
        """
        return self._document(
            ("model", name, version),
            (name,),
            lambda look, registered: model_document(look, registered, name, version),
        )

    def model_report(self, name: str, version: str) -> Document | None:
        """Return a version's offline report, or None."""
        return self._document(
            ("report", name, version),
            (name,),
            lambda look, registered: model_report(look, registered, name, version),
        )

    def experiment(self, name: str) -> Document:
        """Return one experiment.

        Raises:
            SpecError: if none of that name is declared or applied.
            StoreError: if the ledger cannot be read.
        """
        return self._document(("experiment", name), (), lambda look, _: experiment_document(look, name))

    def experiment_report(self, name: str) -> Document | None:
        """Return an experiment's report, or None."""
        return experiment_report(self._now(), name)

    def request(self, request_id: str) -> Document:
        """Explain one logged request, which takes seconds.

        Raises:
            RecsysError: as `recsys why`.
        """
        workspace = self._now()
        explained = why(workspace, request_id)
        found = document(explained, item_labels(workspace, items_of(explained)))
        return found | {"problem": problem_of(workspace.catalog, found["placement"])}

    def placement(self, name: str) -> Document:
        """Return one placement or audience.

        Raises:
            SpecError: if none of that name is declared.
        """
        workspace = self._now()
        audience = workspace.catalog.audiences.get(name)
        spec = audience or workspace.catalog.placement(name)
        return self._document(
            ("placement", name), (spec.model,), lambda look, registered: placement_document(look, registered, name)
        )

    def recent(self, placement: str | None = None) -> Sequence[Document]:
        """Return requests that were answered of late, the newest first.

        Args:
            placement: of this one; of all that are declared by default.

        Raises:
            StoreError: if the event log cannot be read.
        """
        return recent_requests(self._now(), placement)

    def labels(self, items: Iterable[str]) -> Mapping[str, str]:
        """Return what some items are, by the columns that the environment declares for it."""
        return item_labels(self._now(), items)

    def _document(self, key: Hashable, models: Sequence[str], make: Callable[[Workspace, Registered], D]) -> D:
        """Return a document, made anew where anything that it is made from has changed.

        Args:
            key: of the document.
            models: of which it says anything.
            make: makes it of the project and of what is registered.
        """
        workspace, registered = self._now(), self._registry.look()
        return self._documents.get(
            key, self._state(workspace, registered, models), lambda: make(workspace, registered), _whole
        )

    def _state(self, workspace: Workspace, registered: Registered, models: Sequence[str]) -> Stamp:
        """Return the stamp of everything that a document is made from; None where a store does not tell."""
        written = stamp_of((workspace.state / "reports").rglob("*.json"))
        if self._stamp is None or written is None:
            return None
        try:
            told = workspace.ledger.position(), registered.state(models)
        except StoreError:
            return None
        minute = workspace.clock.now().replace(second=0, microsecond=0)
        begun = workspace.events.exists(), (workspace.state / "materialized.json").exists()
        return self._stamp, self._broken, written, told, minute, begun

    def _now(self) -> Workspace:
        """Return the workspace as the files are now; while they do not load, as they were before."""
        with self._lock:
            stamp = self._files()
            if stamp is None or stamp != self._stamp:
                self._stamp = stamp
                try:
                    self._workspace.catalog = load(self._workspace.root / "registry")
                    self._broken = ()
                except SpecError as error:
                    self._broken = tuple(error.problems)
                    LOGGER.warning("console: the declarations do not load: %d findings", len(self._broken))
            return self._workspace

    def _files(self) -> Stamp:
        return stamp_of((self._workspace.root / "registry").rglob("*.yaml"))


def _whole(document: Mapping[str, Any] | None) -> bool:
    """Say whether every store answered: what one of them did not is asked for again at the next look."""
    return document is not None and not document.get("troubles")


def _of(workspace: Workspace) -> Workspace:
    """Return another workspace of the same project, which makes its own adapters."""
    return Workspace(workspace.root, workspace.environment_name, workspace.catalog, workspace.clock, workspace.adapters)
