"""Does a service answer by what was applied, whatever happens to the files meanwhile?"""

from pathlib import Path

import pytest

from recsys.errors import StoreError
from recsys.serving.breaker import Breaker
from recsys.serving.gate import Gate
from recsys.serving.stores import Stores
from recsys.workflows.serving.live_serving import LiveSource, _document
from tests.fakes.features import FakeFeatures
from tests.fakes.item_models import FakeItemModels
from tests.fakes.serving_copy import FakeServingCopy
from tests.workflows.small_project import SmallProject


class ServedProject(SmallProject):
    """A project that is served."""

    def prepare(self) -> None:
        """Import nothing."""

    def features(self, namespace: Path | None) -> FakeFeatures:
        """Return features without rows."""
        assert namespace is None
        return self.declared_features()

    def item_models(self, namespace: Path | None) -> FakeItemModels:
        """Return no item-item models."""
        assert namespace is None
        return FakeItemModels()

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


def test_layers_are_followed_with_their_experiments_and_kept_in_the_copy(project: ServedProject) -> None:
    project.files["layers/page.yaml"] = {"seed": "page:", "holdout": [0.0, 0.5]}
    project.files["layers/elsewhere.yaml"] = {"seed": "elsewhere:"}
    project.change("experiments/home_ranker.yaml", "layer", {"name": "page", "range": [0.5, 1.0]})
    made = source(project)
    assert made.declared().layers.keys() == {"page", "elsewhere"}
    project.apply()
    before = made.declared()
    (router,) = made.resolver("home", before).state.routers
    assert router.layer == before.layers["page"]

    project.change("layers/elsewhere.yaml", "seed", "else:")
    project.apply()
    assert made.declared().of("home") == before.of("home"), "a layer of other experiments changes nothing here"
    project.change("layers/page.yaml", "holdout", [0.0, 0.25])
    project.apply()
    after = made.declared()
    assert after.of("home") != before.of("home")

    made._copy.write("home", {"declared": _document(after, "home")}, [])
    remembered = made.remembered()
    assert remembered is not None
    assert remembered.of("home") == after.of("home")
