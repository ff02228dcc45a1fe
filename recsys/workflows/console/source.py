"""Where do the console's documents come from? From a project's files and stores, over connections of their own."""

import logging
import threading
from collections.abc import Mapping
from typing import Any

from recsys.errors import SpecError
from recsys.specs.catalog import load
from recsys.workflows.console.experiments import experiment_document, experiment_report
from recsys.workflows.console.models import model_document, model_report
from recsys.workflows.console.overview import overview_document
from recsys.workflows.console.problems import placement_document, problem_document
from recsys.workflows.funnel import kept_funnel
from recsys.workflows.why import why
from recsys.workflows.why_document import document
from recsys.workflows.workspace import Workspace

LOGGER = logging.getLogger(__name__)

Document = Mapping[str, Any]


class ConsoleSource:
    """`web.console.reads.ConsoleReads` over a workspace.

    It opens its own connections, so that what it waits for keeps no request for a list waiting. Any number of threads
    may ask.
    """

    def __init__(self, workspace: Workspace) -> None:
        """Open nothing yet."""
        self._workspace = _of(workspace)
        self._lock = threading.Lock()
        self._stamp = self._files()
        self._broken: tuple[str, ...] = ()

    def overview(self) -> Document:
        """Return everything that is declared, by problem, and what needs attention."""
        workspace = self._now()
        return overview_document(workspace, self._broken)

    def problem(self, name: str) -> Document:
        """Return one problem.

        Raises:
            SpecError: if none of that name is declared.
        """
        return problem_document(self._now(), name)

    def problem_report(self, name: str) -> Document | None:
        """Return what `recsys funnel` kept of a problem, or None."""
        return kept_funnel(self._now(), name)

    def model(self, name: str, version: str | None) -> Document:
        """Return one registered model; of the version asked for, or that of the champion, all that is known.

        Raises:
            SpecError: if no version of it is declared or registered, or not the one that is asked for.
            StoreError: if the registry or the ledger cannot be read.
        """
        return model_document(self._now(), name, version)

    def model_report(self, name: str, version: str) -> Document | None:
        """Return a version's offline report, or None."""
        return model_report(self._now(), name, version)

    def experiment(self, name: str) -> Document:
        """Return one experiment.

        Raises:
            SpecError: if none of that name is declared or applied.
            StoreError: if the ledger cannot be read.
        """
        return experiment_document(self._now(), name)

    def experiment_report(self, name: str) -> Document | None:
        """Return an experiment's report, or None."""
        return experiment_report(self._now(), name)

    def request(self, request_id: str) -> Document:
        """Explain one logged request, which takes seconds.

        Raises:
            RecsysError: as `recsys why`.
        """
        return document(why(self._now(), request_id))

    def placement(self, name: str) -> Document:
        """Return one placement or audience.

        Raises:
            SpecError: if none of that name is declared.
        """
        return placement_document(self._now(), name)

    def _now(self) -> Workspace:
        """Return the workspace as the files are now; while they do not load, as they were before."""
        with self._lock:
            stamp = self._files()
            if stamp != self._stamp:
                self._stamp = stamp
                try:
                    self._workspace.catalog = load(self._workspace.root / "registry")
                    self._broken = ()
                except SpecError as error:
                    self._broken = tuple(error.problems)
                    LOGGER.warning("console: the declarations do not load: %d findings", len(self._broken))
            return self._workspace

    def _files(self) -> tuple[tuple[str, int, int], ...]:
        found = (self._workspace.root / "registry").rglob("*.yaml")
        stats = ((path, path.stat()) for path in sorted(found))
        return tuple((str(path), stat.st_mtime_ns, stat.st_size) for path, stat in stats)


def _of(workspace: Workspace) -> Workspace:
    """Return another workspace of the same project, which makes its own adapters."""
    return Workspace(workspace.root, workspace.environment_name, workspace.catalog, workspace.clock, workspace.adapters)
