"""Is a promotion refused for each single reason, in one line?"""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from recsys import printing
from recsys.errors import DecisionError, ModelError, SpecError
from recsys.ports import Ranker, Weights
from recsys.workflows.decision import promote
from recsys.workflows.monitoring.drift import weights_of
from tests.decision.reports import Bounds
from tests.fakes.registry import FakeRegistry
from tests.specs.registry_files import EXPERIMENT
from tests.workflows.promoted_project import END, GUARDRAILS, NAME, PromotedProject, made
from tests.workflows.small_project import START


@pytest.fixture
def project(tmp_path: Path) -> PromotedProject:
    """One whose report says SHIP, with nothing against it."""
    project = made(tmp_path)
    project.freeze(project.serve("basket/v2"))
    return project


def test_a_sound_experiment_promotes_with_all_digests(project: PromotedProject) -> None:
    done = project.promote()
    assert (done.changed, project.champion, done.override) == (True, 2, None)
    payload = project.ledger_kept.entries("basket")[-1].payload
    assert payload["aliases"] == {"champion": {"before": 1, "after": 2}}
    assert (payload["logic_digest"], payload["data_digest"]) == ("logic of basket/v2", "data")
    report = project.ledger_kept.entries(NAME)[-1].payload
    assert (payload["digest"], payload["experiment_digest"]) == (report["digest"], report["experiment_digest"])
    assert not project.promote().changed
    printed = printing.history("basket", promote.history(project.open(), "basket"))
    assert "basket/v1 (1)  basket/v2 (2)  home_ranker" in printed
    of_weights = "logic logic of basket/v2, data data"
    assert f"experiment {report['experiment_digest']}, {of_weights}, report {report['digest']}" in printed
    assert "OVERRIDE" not in printed


def test_a_plan_that_was_never_applied(tmp_path: Path) -> None:
    project = made(tmp_path, apply_at=None)
    project.freeze(project.serve("basket/v2"))
    (line,) = project.refused()
    assert line.startswith("experiment home_ranker: its plan was never applied")


def test_a_plan_that_was_applied_after_its_start(tmp_path: Path) -> None:
    """Only an environment that is replayed lets it be applied then; its clock counts."""
    project = made(tmp_path, apply_at=timedelta(seconds=1))
    project.freeze(project.serve("basket/v2"))
    (line,) = project.refused()
    assert "its plan was applied at 2017-12-04T00:00:01+00:00, after its start, 2017-12-04T00:00:00+00:00" in line


def test_a_plan_that_was_applied_at_its_start_is_in_time(tmp_path: Path) -> None:
    project = made(tmp_path, apply_at=timedelta(0))
    project.freeze(project.serve("basket/v2"))
    assert project.promote().changed


def test_an_end_that_was_moved_forward(tmp_path: Path) -> None:
    project = made(tmp_path)
    project.come_to(START + timedelta(days=1))
    project.change(EXPERIMENT, "plan.end", "2017-12-18")
    with project.registry_hidden():
        project.apply()
    project.come_to(END)
    project.freeze(project.serve("basket/v2"))
    (line,) = project.refused()
    assert "it ended 14 days before its plan, 2018-01-01T00:00:00+00:00: only a planned end ships" in line


def test_a_declaration_that_changed_after_the_freeze(project: PromotedProject) -> None:
    project.change(EXPERIMENT, "metrics.guardrails", [GUARDRAILS[0] | {"margin": 0.5}])
    (line,) = project.refused()
    assert "when its report was frozen: what was judged is what is promoted" in line


def test_a_declaration_that_was_judged_and_never_applied(tmp_path: Path) -> None:
    project = made(tmp_path)
    project.change(EXPERIMENT, "metrics.guardrails", [GUARDRAILS[0] | {"margin": 0.5}])
    project.freeze(project.serve("basket/v2"))
    (line,) = project.refused()
    assert "was applied: an edit is applied before it counts" in line


def test_a_report_that_was_altered(project: PromotedProject) -> None:
    project.alter(lambda document: document["analysis"]["arms"][1].update(units=7), seal=False)
    (line,) = project.refused()
    assert "it was altered" in line


@pytest.mark.parametrize("verdict", ["INVALID", "STOP", "REVIEW", "ITERATE", "UNDERPOWERED"])
def test_another_verdict(project: PromotedProject, verdict: str) -> None:
    project.alter(lambda document: document["verdict"].update(name=verdict))
    (line,) = project.refused()
    assert line == f"experiment home_ranker: verdict {verdict}: only SHIP promotes; planted by a test"


def test_health_that_is_not_sound(project: PromotedProject) -> None:
    project.alter(lambda document: document["analysis"]["health"].update(failures=["The split is off."]))
    (line,) = project.refused()
    assert line == "experiment home_ranker: health: The split is off. Only a sound experiment promotes"


@pytest.mark.parametrize(
    ("primary", "guardrail", "words"),
    [
        ((-0.01, 0.2), (-0.01, 0.05), "primary precision@10 of treatment moved by +9.50% [-1.00%, +20.00%]"),
        ((0.02, 0.2), (-0.06, 0.05), "guardrail mrr@10 of treatment moved by -0.50% [-6.00%, +5.00%]"),
    ],
)
def test_figures_that_do_not_ship(tmp_path: Path, primary: Bounds, guardrail: Bounds, words: str) -> None:
    project = made(tmp_path)
    project.freeze(project.serve("basket/v2"), primary=primary, guardrails=[guardrail])
    (line,) = project.refused()
    assert words in line


def test_figures_are_read_by_scale_and_direction(tmp_path: Path) -> None:
    project = PromotedProject(tmp_path)
    primary = {"name": "precision@10", "minimum_effect": 0.01, "scale": "absolute", "direction": "lower_is_better"}
    guardrails = [GUARDRAILS[0] | {"scale": "absolute", "direction": "lower_is_better", "margin": 0.02}]
    project.change(EXPERIMENT, "metrics", {"primary": primary, "guardrails": guardrails})
    project.serve("basket/v1")
    promote.promote_first(project.open(), "basket/v1")
    with project.registry_hidden():
        project.apply()
    weights = project.serve("basket/v2")
    project.freeze(weights)
    both = project.refused()
    assert "precision@10 of treatment moved by +0.1000 [+0.0200, +0.1800]" in both[0]
    assert "mrr@10 of treatment moved by +0.0200 [-0.0100, +0.0500]" in both[1]
    project.freeze(weights, primary=(-0.03, -0.01), guardrails=[(-0.5, 0.01)])
    assert project.promote().changed


def test_figures_that_are_missing(project: PromotedProject) -> None:
    project.alter(lambda document: document["analysis"].update(effects=[]))
    assert ["moved by unknown [unknown, unknown]" in line for line in project.refused()] == [True, True]


def test_a_gate_that_failed(tmp_path: Path) -> None:
    project = made(tmp_path)
    project.freeze(project.serve("basket/v2", gate="failed"))
    (line,) = project.refused()
    assert line.startswith("weights 2 of basket/v2: gate failed")


def test_weights_that_never_answered(project: PromotedProject) -> None:
    project.serve("basket/v2")
    (line,) = project.refused()
    assert "weights 3 are in service, and arm treatment was answered by 2: only weights that were measured" in line


def test_no_weights_in_service(project: PromotedProject) -> None:
    project.registry_kept.delete_alias("basket", "logic-v2")
    (line,) = project.refused()
    assert "no weights of it are in service (alias logic-v2 is not set)" in line


@pytest.mark.parametrize("tag", ["recsys.logic_digest", "recsys.data_digest"])
def test_weights_whose_registered_digests_are_not_those_of_the_freeze(tmp_path: Path, tag: str) -> None:
    project = made(tmp_path)
    weights = project.serve("basket/v2", **{tag: "other"})
    project.freeze(Weights("basket", weights.number, "v2", weights.tags | {tag: "before"}))
    (line,) = project.refused()
    assert f"weights 2: tag {tag} is other in the registry and was before when the report was frozen" in line


def test_weights_that_answered_and_are_of_another_logic(project: PromotedProject) -> None:
    other = project.serve("basket/v2", **{"recsys.logic_digest": "another"})
    row = {"model_version": "basket/v2", "weights": other.number}

    def answer(document: dict[str, Any]) -> None:
        document["analysis"]["arms"][0]["weights"].append(row)
        document["registered"].append({**row, "logic_digest": "another", "data_digest": "data"})

    project.alter(answer)
    (line,) = project.refused()
    assert "weights 2 answered in arm treatment and are of logic logic of basket/v2; weights 3, in service" in line


def test_weights_that_answered_and_are_gone(project: PromotedProject) -> None:
    row = {"model_version": "basket/v2", "weights": 9}
    project.alter(lambda document: document["analysis"]["arms"][0]["weights"].append(row))
    (line,) = project.refused()
    assert "weights 9 answered in arm treatment and are not in the registry any more" in line


def test_weights_that_do_not_load(project: PromotedProject, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(_: FakeRegistry, weights: Weights) -> Ranker:
        message = f"weights basket/{weights.number}: damaged"
        raise ModelError(message)

    monkeypatch.setattr(FakeRegistry, "load", damaged)
    (line,) = project.refused()
    assert line.endswith("weights basket/2: damaged: only weights that load as they were trained are promoted")


def test_a_report_that_was_rolled_back(project: PromotedProject) -> None:
    project.promote()
    promote.rollback(project.open(), "basket", "complaints")
    (line,) = project.refused()
    assert "was rolled back: a report promotes once" in line
    printed = printing.history("basket", promote.history(project.open(), "basket"))
    assert "rollback  done   champion  basket/v2 (2)  basket/v1 (1)" in printed
    assert "    complaints" in printed


def test_a_champion_that_was_moved_from_outside(project: PromotedProject) -> None:
    project.registry_kept.set_alias(project.registry_kept.search("basket")[1], "champion")
    for reason in (None, "anyhow"):
        with pytest.raises(DecisionError, match="moved from outside"):
            project.promote(reason)


def test_every_reason_has_its_line(tmp_path: Path) -> None:
    project = made(tmp_path, apply_at=None)
    project.freeze(project.serve("basket/v2", gate="failed"), primary=(-0.1, 0.1))
    project.alter(lambda document: document["analysis"]["health"].update(failures=["Off."]), seal=False)
    assert len(project.refused()) == 5


def test_a_verdict_that_names_no_arm(project: PromotedProject) -> None:
    project.alter(lambda document: document["verdict"].update(treatment_arm=None, model_version=None))
    assert project.refused()[-1].startswith("report: model_version is missing")


def test_a_name_that_means_no_model_is_refused_with_those_that_do(project: PromotedProject) -> None:
    workspace = project.open()
    for ask in (
        lambda: promote.history(workspace, "nope"),
        lambda: promote.rollback(workspace, "nope", "worse"),
        lambda: promote.accept(workspace, "nope"),
        lambda: weights_of(workspace, "nope"),
    ):
        with pytest.raises(SpecError, match=r"^model 'nope': not declared; declared: basket$"):
            ask()


def test_a_model_that_is_not_declared_any_more_still_has_its_history(project: PromotedProject) -> None:
    project.promote()
    workspace = project.open()
    workspace.catalog = replace(workspace.catalog, models={})
    assert [entry.action for entry in promote.history(workspace, "basket")][-1] == "promote"
    with pytest.raises(SpecError, match=r"^model 'nope': not declared; declared: none$"):
        promote.history(workspace, "nope")
