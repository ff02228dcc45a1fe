"""Does a service answer by what was applied, whatever happens to the files meanwhile?"""

from pathlib import Path

import pytest

from recsys.errors import StoreError
from recsys.serving.breaker import Breaker
from recsys.serving.gate import Gate
from recsys.serving.stores import Stores
from recsys.workflows.live_serving import LiveSource
from tests.fakes.serving_copy import FakeServingCopy
from tests.workflows.small_project import SmallProject


class ServedProject(SmallProject):
    """A project that is served."""

    def prepare(self) -> None:
        """Import nothing."""

    def serving_copy(self) -> FakeServingCopy:
        """Return a copy in memory."""
        return FakeServingCopy()


@pytest.fixture
def project(tmp_path: Path) -> ServedProject:
    return ServedProject(tmp_path)


def source(project: ServedProject) -> LiveSource:
    return LiveSource(project.open(), Stores())


def test_before_the_first_apply_it_is_the_files_of_the_start(project: ServedProject) -> None:
    made = source(project)
    first = made.declared()
    assert list(first.placements) == ["home"]
    project.change("placements/home.yaml", "k", 3)
    project.open()
    assert made.declared() is first


def test_an_apply_is_followed_and_nothing_else_is(project: ServedProject) -> None:
    made = source(project)
    before = made.declared()
    project.apply()
    applied = made.declared()
    assert applied.stamp != before.stamp
    assert applied.placements == before.placements
    assert applied.experiments == before.experiments
    assert applied.services == before.services
    project.change("placements/home.yaml", "fallback", "empty")
    workspace = project.open()
    assert made.declared() is applied, "a file that was edited is not applied"
    (workspace.root / "registry/placements/other.yaml").write_text("k: [")
    assert made.declared() is applied, "nor is one that is broken"
    project.apply()
    after = made.declared()
    assert after.placements["home"].fallback == "empty"
    assert after.of("home") != applied.of("home")
    assert source(project).declared() == after, "another worker finds the same"


def test_a_ledger_that_cannot_be_read_is_an_error_of_its_store(project: ServedProject) -> None:
    stores = Stores(log=Gate(Breaker("event log")))
    made = LiveSource(project.open(), stores)

    def down(_: str | None = None) -> None:
        message = "ledger: no answer"
        raise StoreError(message)

    project.ledger_kept.entries = down  # type: ignore[method-assign,assignment] # by command
    with pytest.raises(StoreError, match="ledger: no answer"):
        made.declared()
