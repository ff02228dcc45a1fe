"""Can a promotion be overridden, on record, and is it shown with the version from then on?"""

import json
from pathlib import Path

import pytest

from recsys import printing
from recsys.decision.champion import overrides
from recsys.errors import DecisionError, StoreError
from recsys.ports import Weights
from recsys.workflows.decision import promote
from recsys.workflows.experiments.status import experiment_status
from recsys.workflows.serving.resolvers import recorded_champion
from tests.fakes.registry import FakeRegistry
from tests.specs.registry_files import EXPERIMENT
from tests.workflows.promoted_project import NAME, PromotedProject, made


@pytest.fixture
def project(tmp_path: Path) -> PromotedProject:
    """One whose report says SHIP, with nothing against it."""
    project = made(tmp_path)
    project.freeze(project.serve("basket/v2"))
    return project


def test_an_override_is_recorded_with_all_that_was_refused_and_shown(tmp_path: Path) -> None:
    project = made(tmp_path, apply_at=None)
    project.freeze(project.serve("basket/v2", gate="failed"), verdict="REVIEW")
    refused = project.refused()
    assert refused == ["experiment home_ranker: verdict REVIEW: only SHIP promotes; planted by a test", *refused[1:]]
    done = project.promote("a law changes on Monday")
    assert (done.changed, done.override, project.champion) == (True, "a law changes on Monday", 2)
    entry = project.ledger_kept.entries("basket")[-1]
    assert entry.payload["override"] == "a law changes on Monday"
    assert [line.partition(":")[0] for line in entry.payload["overridden"]] == [
        "experiment home_ranker",
        "experiment home_ranker",
        "weights 2 of basket/v2",
    ]
    assert not project.promote("again").changed

    workspace = project.open()
    (shown,) = promote.overrides(workspace, ["basket/v2", "basket/v1"])
    assert (shown.model_version, shown.refused) == ("basket/v2", tuple(entry.payload["overridden"]))
    status = experiment_status(workspace, NAME)
    for text in (
        printing.promotion(done),
        printing.history("basket", promote.history(workspace, "basket")),
        printing.experiment_status(status),
        "\n".join(printing.overridden([shown])),
        json.dumps(printing.experiment_status_document(status)),
    ):
        assert "a law changes on Monday" in text
    champion = recorded_champion(workspace, "basket")
    assert champion is not None
    assert champion.tags["recsys.override"] == "a law changes on Monday"

    promote.rollback(workspace, "basket", "complaints")
    assert not overrides(project.ledger_kept, "basket")
    assert project.champion == 1


def test_an_override_without_a_report_takes_the_only_treatment(tmp_path: Path) -> None:
    project = made(tmp_path)
    project.serve("basket/v2")
    assert "no frozen report yet" in project.refused()[0]
    assert project.promote("now").changed
    (line,) = project.ledger_kept.entries("basket")[-1].payload["overridden"]
    assert "no frozen report yet" in line


def test_an_override_of_a_verdict_without_an_arm(tmp_path: Path) -> None:
    project = made(tmp_path)
    third = {"model_version": "basket/v2", "slot": [0.2, 0.4], "ratio": 0.1}
    weights = project.serve("basket/v2")
    project.freeze(weights)
    project.alter(lambda document: document["verdict"].update(name="INVALID", treatment_arm=None, model_version=None))
    project.change(EXPERIMENT, "arms.control", {"model_version": "basket/v1", "slot": [0.0, 0.2], "ratio": 0.2})
    project.change(EXPERIMENT, "arms.third", third)
    with pytest.raises(DecisionError, match="arms treatment, third: no verdict names one of them"):
        project.promote("now")
    del project.files[EXPERIMENT]["arms"]["third"]
    assert project.promote("now").changed
    assert project.champion == weights.number


def test_an_override_brings_weights_into_service_that_are_not(project: PromotedProject) -> None:
    project.registry_kept.delete_alias("basket", "logic-v2")
    project.promote("now")
    aliases = project.ledger_kept.entries("basket")[-1].payload["aliases"]
    assert aliases == {"logic-v2": {"before": None, "after": 2}, "champion": {"before": 1, "after": 2}}


def test_nothing_is_overridden_where_nothing_is_refused(project: PromotedProject) -> None:
    assert project.promote("to be sure").override is None
    assert not overrides(project.ledger_kept, "basket")


@pytest.mark.parametrize(
    ("fails_at", "after", "ended"),
    [(1, False, "reverted"), (1, True, "reverted"), (2, False, "reverted"), (2, True, "done")],
)
def test_a_registry_that_goes_away_leaves_the_old_state_or_the_new_one_with_its_record(
    project: PromotedProject, monkeypatch: pytest.MonkeyPatch, fails_at: int, after: bool, ended: str
) -> None:
    """Two aliases move: it goes away before or after either of them, and the next command ends what is open."""
    project.registry_kept.delete_alias("basket", "logic-v2")
    moved = 0
    set_alias = FakeRegistry.set_alias

    def failing(registry: FakeRegistry, weights: Weights, alias: str) -> None:
        nonlocal moved
        moved += 1
        if moved != fails_at or after:
            set_alias(registry, weights, alias)
        if moved == fails_at:
            message = "model registry: gone"
            raise StoreError(message)

    with monkeypatch.context() as patched:
        patched.setattr(FakeRegistry, "set_alias", failing)
        with pytest.raises(StoreError, match="gone"):
            project.promote("now")
    assert promote.history(project.open(), "basket")[-1].state == "intent"
    promote.accept(project.open(), "basket")  # any command on aliases
    assert promote.history(project.open(), "basket")[-1].state == ended
    logic = project.registry_kept.resolve("basket", "logic-v2")
    assert (project.champion, logic is not None) == ((2, True) if ended == "done" else (1, False))
    assert project.promote("now").changed == (ended == "reverted")
    assert project.champion == 2
