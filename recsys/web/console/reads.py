"""What are the console's pages made from? Documents of JSON values, and nothing that could change anything."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

Document = Mapping[str, Any]


class ConsoleReads(Protocol):
    """What a project tells the console.

    A document is the very same object as before where nothing that it is made from has changed. Any of them raises
    SpecError for a name that there is not, and StoreError where a store that it needs does not answer.
    """

    def overview(self) -> Document:
        """Return everything that is declared, by problem, and what needs attention."""
        ...

    def problem(self, name: str) -> Document:
        """Return one problem."""
        ...

    def problem_report(self, name: str) -> Document | None:
        """Return a problem's funnel with its importance, sparsity and needs, or None."""
        ...

    def model(self, name: str, version: str | None) -> Document:
        """Return one registered model, and one version of it in full."""
        ...

    def model_report(self, name: str, version: str) -> Document | None:
        """Return a version's offline report, or None."""
        ...

    def experiment(self, name: str) -> Document:
        """Return one experiment."""
        ...

    def experiment_report(self, name: str) -> Document | None:
        """Return an experiment's report, or None."""
        ...

    def request(self, request_id: str) -> Document:
        """Explain one logged request, which takes seconds.

        Raises:
            RecsysError: if it cannot be explained, such as a DataError where the log has no such request.
        """
        ...

    def placement(self, name: str) -> Document:
        """Return one placement or audience."""
        ...

    def labels(self, items: Iterable[str]) -> Mapping[str, str]:
        """Return what some items are, for people; without those of which nothing is said."""
        ...

    def recent(self, placement: str | None = None) -> Sequence[Document]:
        """Return requests that were answered of late, the newest first; of one placement or of all."""
        ...
