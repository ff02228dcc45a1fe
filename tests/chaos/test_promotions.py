"""A registry that dies in the middle of a promotion: is it the old state afterwards, or the new one with its record?

The registry is an MLflow server over HTTP, killed with all its children and started again on what it had on disk.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from recsys.adapters.feature_pyfunc import write_feature_flavor
from recsys.adapters.mlflow_registry import MlflowRegistry
from recsys.adapters.sql_event_log import SqlLedger
from recsys.errors import StoreError
from recsys.modeling.feature_ranker import FeatureRanker, load_feature_ranker
from recsys.ports import LedgerEntry, Weights
from recsys.workflows.decision import promote
from tests.adapters.test_registry_contract import registration
from tests.chaos.own_servers import own_mlflow
from tests.workflows.promoted_project import END, PromotedProject
from tests.workflows.small_project import BEFORE

# What MLflow says of its own types while it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")

Hook = Callable[[], object]


def nothing() -> None:
    """Let all go on."""


class WatchedLedger(SqlLedger):
    """The ledger in a file, which says when an intent is on disk."""

    after_intent: Hook = staticmethod(nothing)

    def append(self, **entry: Any) -> LedgerEntry:
        """Append, and say so."""
        made = super().append(**entry)
        if made.state == "intent":
            self.after_intent()
        return made


class WatchedRegistry(MlflowRegistry):
    """The registry of the server, which says when an alias has moved."""

    after_move: Hook = staticmethod(nothing)

    def set_alias(self, weights: Weights, alias: str) -> None:
        """Move it, and say so."""
        super().set_alias(weights, alias)
        self.after_move()


class ServedProject(PromotedProject):
    """A project whose aliases are on an MLflow server."""

    registry_kept: WatchedRegistry  # type: ignore[assignment]
    ledger_kept: WatchedLedger  # type: ignore[assignment]

    def serve(self, version: str, gate: str = "passed", **tags: str) -> Weights:
        """Register weights that MLflow can keep, and let the alias of their logic name them."""
        every = {"recsys.gate": gate, "recsys.logic_digest": f"logic of {version}", "recsys.data_digest": "data"} | tags
        weights = self.registry_kept.register(registration(FeatureRanker("frequency"), version, tags=every))
        self.registry_kept.set_alias(weights, f"logic-{weights.version}")
        return weights

    @property
    def ended(self) -> list[tuple[str, str]]:
        """Return the actions on record and how each ended."""
        return [(entry.action, entry.state) for entry in promote.history(self.open(), "basket")]


class Server:
    """An MLflow server that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        """Start it."""
        self._folder = folder
        self._running = ExitStack()
        self.port = self._running.enter_context(own_mlflow(folder))

    def kill(self) -> None:
        """Kill it and its children."""
        self._running.close()

    def restart(self) -> None:
        """Start it where it was, on what it had on disk."""
        self._running.enter_context(own_mlflow(self._folder, self.port))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "mlflow").mkdir()
    made = Server(tmp_path / "mlflow")
    yield made
    made.kill()


@pytest.fixture
def project(tmp_path: Path, server: Server) -> Iterator[ServedProject]:
    """Give a project with champion v1, whose report says that v2 shall be it."""
    ledger = WatchedLedger(f"sqlite:///{tmp_path}/ledger.db")
    uri = f"http://127.0.0.1:{server.port}"
    registry = WatchedRegistry(uri, None, {"feature": load_feature_ranker}, {"feature": write_feature_flavor})
    made = ServedProject(tmp_path / "project", ledger_kept=ledger, registry_kept=registry)  # type: ignore[arg-type]
    made.root.mkdir()
    made.change("environments/local.yaml", "clock", {"replay_from": "2017-12-01"})
    made.serve("basket/v1")
    promote.promote_first(made.open(), "basket/v1")
    made.come_to(BEFORE)
    with made.registry_hidden():
        made.apply()
    made.come_to(END)
    made.freeze(made.serve("basket/v2"))
    yield made
    ledger._database.close()


def assert_promoted(project: ServedProject) -> None:
    """Check that v2 is champion, by the alias and by the record, with what it rests on."""
    assert project.champion == 2
    entry = promote.history(project.open(), "basket")[-1]
    assert (entry.action, entry.state) == ("promote", "done")
    assert entry.payload["aliases"] == {"champion": {"before": 1, "after": 2}}
    assert entry.payload["logic_digest"] == "logic of basket/v2"


FIRST: Final = ("promote", "done")
"""What made v1 champion."""


def test_a_server_killed_before_the_alias_moved_leaves_the_old_state(project: ServedProject, server: Server) -> None:
    project.ledger_kept.after_intent = server.kill  # type: ignore[method-assign]
    with pytest.raises(StoreError, match="cannot"):
        project.promote()
    project.ledger_kept.after_intent = nothing  # type: ignore[method-assign]
    assert project.ended == [FIRST, ("promote", "intent")]
    with pytest.raises(StoreError):  # nobody moves anything while it is away, nor ends what is open
        project.promote()
    assert project.ended == [FIRST, ("promote", "intent")]

    server.restart()
    assert project.champion == 1
    promote.accept(project.open(), "basket")  # any command on aliases recovers
    assert project.ended == [FIRST, ("promote", "reverted")]
    assert project.champion == 1
    assert project.promote().changed
    assert project.ended == [FIRST, ("promote", "reverted"), ("promote", "done")]
    assert_promoted(project)


def test_a_server_killed_after_the_alias_moved_leaves_the_new_state_with_its_record(
    project: ServedProject, server: Server
) -> None:
    """The command itself ends its record, for which it needs the ledger alone."""
    project.registry_kept.after_move = server.kill  # type: ignore[method-assign]
    assert project.promote().changed
    project.registry_kept.after_move = nothing  # type: ignore[method-assign]
    assert project.ended == [FIRST, ("promote", "done")]
    server.restart()
    assert_promoted(project)
    assert not project.promote().changed


def test_a_server_that_moved_the_alias_and_died_before_it_said_so_is_recovered_as_done(
    project: ServedProject, server: Server
) -> None:
    """The command sees a failure, and cannot know; the next one finds the alias where it was to go."""

    def died() -> None:
        server.kill()
        message = "model registry: cannot move an alias: the connection broke"
        raise StoreError(message)

    project.registry_kept.after_move = died  # type: ignore[method-assign]
    with pytest.raises(StoreError, match="connection broke"):
        project.promote()
    project.registry_kept.after_move = nothing  # type: ignore[method-assign]
    assert project.ended == [FIRST, ("promote", "intent")]
    server.restart()
    assert not project.promote().changed, "the next promotion ends it as done, and has nothing left to move"
    assert project.ended == [FIRST, ("promote", "done")]
    assert_promoted(project)
