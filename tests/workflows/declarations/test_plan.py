"""Does a plan show every difference and whom it hits, and does an apply make it so once, on record?"""

import copy
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.errors import FeatureError, SpecError
from recsys.planning.plan import Step
from recsys.planning.state import applied_events, applied_state
from tests.specs.registry_files import ENVIRONMENT, EXPERIMENT, PLACEMENT, PROBLEM, SECOND_MODEL
from tests.workflows.small_project import BEFORE, HOUSEHOLDS, START, SmallProject


@pytest.fixture
def project(tmp_path: Path) -> SmallProject:
    return SmallProject(tmp_path)


def step(project: SmallProject, subject: str) -> Step:
    return next(one for one in project.plan().steps if one.subject == subject)


def test_a_first_plan_adds_every_kind_and_writes_nothing(project: SmallProject) -> None:
    made = project.plan()
    assert {one.change for one in made.steps} == {"added"}
    assert [one.subject for one in made.steps] == [
        "environments/local",
        "transforms/item_weekly",
        "transforms/user_item",
        "feature_views/item_weekly",
        "feature_views/user_item",
        "feature_services/basket_full",
        "problems/weekly_basket",
        "placements/home",
        "models/basket/v1",
        "models/basket/v2",
        "experiments/home_ranker",
        "feast/registry",
    ]
    assert not made.refused
    assert not project.ledger_kept.entries()
    assert not project.repository.applies
    assert not (project.root / ".recsys").exists()
    with pytest.raises(FrozenInstanceError):
        made.steps = ()  # type: ignore[misc]


def test_after_an_apply_there_is_nothing_to_do(project: SmallProject) -> None:
    wanted = project.plan()
    done = project.apply()
    assert done.plan == wanted
    assert project.repository.applies == 1
    assert not project.plan().steps

    entries = project.ledger_kept.entries()
    again = project.apply()
    assert again.transaction is None
    assert not again.plan.steps
    assert project.ledger_kept.entries() == entries
    assert project.repository.applies == 1


def test_each_step_is_an_event_with_its_content_and_origin(
    project: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_AUTHOR", "ada")
    done = project.apply()
    events = applied_events(project.ledger_kept.entries())
    assert [event.subject for event in events] == [one.subject for one in done.plan.steps]
    event = events[-2]
    assert event.subject == "experiments/home_ranker"
    assert event.author == "ada"
    assert event.action == "apply"
    assert event.transaction == done.transaction
    assert event.event_timestamp == BEFORE
    assert event.payload["digest"] == done.plan.steps[-2].after
    assert event.payload["content"]["seed"] == "home_ranker:"
    assert event.payload["git_commit"] == "unknown"
    assert event.payload["plan"] == done.plan.digest
    *_, last = project.ledger_kept.entries()
    assert (last.state, last.subject) == ("done", f"plan/{done.plan.digest}")


def test_a_changed_field_is_named_with_both_values(project: SmallProject) -> None:
    project.apply()
    project.change(PROBLEM, "owners.product", "basics")
    changed = step(project, "problems/weekly_basket")
    assert changed.change == "changed"
    assert [(one.field, one.before, one.after) for one in changed.fields] == [("owners.product", "growth", "basics")]
    assert changed.harmless


def test_a_field_inside_a_list_is_named_by_its_number(project: SmallProject) -> None:
    project.apply()
    project.change(PLACEMENT, "candidates.1.limit", 70)
    (changed,) = step(project, "placements/home").fields
    assert (changed.field, changed.before, changed.after) == ("candidates.1.limit", 100, 70)
    project.files[PLACEMENT]["candidates"].pop()
    (changed,) = step(project, "placements/home").fields
    assert changed.field == "candidates"


def test_a_removed_declaration_is_a_step_and_is_forgotten(project: SmallProject) -> None:
    project.apply()
    del project.files[EXPERIMENT]
    assert [(one.subject, one.change, one.after) for one in project.plan().steps] == [
        ("experiments/home_ranker", "removed", None)
    ]
    project.apply()
    assert not project.plan().steps
    assert not applied_state(project.ledger_kept.entries())["experiments"]


def test_a_views_change_lists_the_versions_arms_and_running_experiments_it_hits(project: SmallProject) -> None:
    project.apply()
    project.tables["user_item"] = "return other"
    hits = step(project, "transforms/user_item").hits
    assert hits.model_versions == ("basket/v1", "basket/v2")
    assert hits.arms == ("home_ranker.control", "home_ranker.treatment")
    assert hits.running == ()
    project.come_to(START)
    assert step(project, "transforms/user_item").hits.running == ("home_ranker",)
    project.repository.files["feature_services"]["lonely"] = {"references": []}
    assert step(project, "feature_services/lonely").hits.model_versions == ()


def test_a_request_transform_hits_whoever_reads_it_and_a_view_below_it_too(project: SmallProject) -> None:
    defined = project.repository.files
    defined["feature_views"]["user_line"] = {"join_keys": ["user_id", "line_id"], "features": {"line_weeks": "number"}}
    defined["request_transforms"]["rhythm"] = {"reads": ["user_line"], "code": "a"}
    defined["feature_services"]["basket_rhythm"] = {"references": ["rhythm:pace"]}
    project.change(SECOND_MODEL, "feature_service", "basket_rhythm")
    workspace = project.open()
    before = {"feature_views": {}, **defined, "models": {"basket/v2": _json(workspace.catalog.model("basket/v2"))}}

    from recsys.planning.hits import hits_of

    before["placements"] = {"home": _json(workspace.catalog.placement("home"))}
    for subject in ("request_transforms/rhythm", "feature_views/user_line", "transforms/user_line"):
        assert hits_of(subject, [before], frozenset()).model_versions == ("basket/v2",)


def test_a_view_that_only_a_filter_reads_hits_whoever_learns_from_its_placement(project: SmallProject) -> None:
    from recsys.planning.hits import hits_of

    project.change(PLACEMENT, "filters", [{"filter": "seen", "view": "user_seen"}])
    workspace = project.open()
    state = {
        **project.repository.files,
        "models": {"basket/v2": _json(workspace.catalog.model("basket/v2"))},
        "placements": {"home": _json(workspace.catalog.placement("home"))},
    }
    assert hits_of("feature_views/user_seen", [state], frozenset()).model_versions == ("basket/v2",)
    assert hits_of("feature_views/user_other", [state], frozenset()).model_versions == ()


def test_before_the_start_a_plan_counts_the_units_of_each_arm(project: SmallProject) -> None:
    stands = "draft: from 2017-12-04 00:00 to 2018-01-01 00:00"
    assert step(project, "experiments/home_ranker").notes == (stands,)
    project.shop()
    note, last = step(project, "experiments/home_ranker").notes
    assert last == stands
    assert note.startswith(f"of {HOUSEHOLDS} known units: ")
    assert note.endswith("treatment, 0 the default model")
    project.change(EXPERIMENT, "unit", "session_id")
    assert any("carry over" in note for note in step(project, "experiments/home_ranker").notes)


def test_a_running_experiment_may_grow_end_earlier_and_take_new_arms(project: SmallProject) -> None:
    project.change(EXPERIMENT, "arms.treatment", {"model_version": "basket/v2", "slot": [0.5, 0.8], "ratio": 0.1})
    project.apply()
    project.come_to(START + timedelta(days=8))
    project.change(EXPERIMENT, "arms.treatment.ratio", 0.3)
    project.change(EXPERIMENT, "arms.third", {"model_version": "basket/v1", "slot": [0.8, 1.0], "ratio": 0.2})
    project.change(EXPERIMENT, "plan.weeks", 2)
    project.change(EXPERIMENT, "overrides", {})
    done = project.apply()
    assert {one.field for one in done.plan.steps[0].fields} >= {"arms.treatment.ratio", "arms.third", "plan.weeks"}


def test_words_may_change_under_a_running_experiment(project: SmallProject) -> None:
    project.apply()
    project.come_to(START)
    project.repository.files["feature_views"]["user_item"]["description"] = "better said"
    assert project.apply().transaction


def test_only_the_plan_that_was_read_is_applied(project: SmallProject) -> None:
    digest = project.plan().digest
    project.change(PLACEMENT, "k", 12)
    with pytest.raises(SpecError, match=f"plan: {digest}: it is .* by now"):
        project.apply(digest)
    assert not project.ledger_kept.entries()
    assert project.apply(project.plan().digest).transaction


def test_feast_that_was_told_by_somebody_else_is_told_again(project: SmallProject) -> None:
    project.apply()
    project.repository._registered = {}
    (again,) = project.plan().steps
    assert (again.subject, again.change) == ("feast/registry", "added")
    project.apply()
    assert not project.plan().steps
    assert project.repository.applies == 2


def test_feast_that_refuses_leaves_nothing_applied(project: SmallProject) -> None:
    project.repository.refuses = True
    with pytest.raises(FeatureError, match="cannot be written"):
        project.apply()
    assert [entry.state for entry in project.ledger_kept.entries()][-1] == "reverted"
    assert not any(applied_state(project.ledger_kept.entries()).values())
    project.repository.refuses = False
    assert len(project.apply().plan.steps) == 12
    assert not project.plan().steps


@pytest.mark.parametrize("kept", range(1, 13))
def test_an_apply_that_was_killed_has_applied_nothing_and_the_next_completes(project: SmallProject, kept: int) -> None:
    append = project.ledger_kept.append

    def dying(**entry: Any) -> Any:
        if len(project.ledger_kept.entries()) == kept:
            raise KeyboardInterrupt
        return append(**entry)

    project.ledger_kept.append = dying  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        project.apply()
    project.ledger_kept.append = append  # type: ignore[method-assign]
    assert len([one for one in project.plan().steps if one.kind != "feast"]) == 11
    project.apply()
    assert not project.plan().steps
    ends = [entry.state for entry in project.ledger_kept.entries() if entry.state != "intent"]
    assert ends == ["reverted", "done"]


def test_passwords_do_not_reach_the_ledger(project: SmallProject) -> None:
    project.change(ENVIRONMENT, "event_log", "postgresql+psycopg://ada:secret@host/log")
    project.apply()
    content = applied_state(project.ledger_kept.entries())["environments"]["local"]
    assert content["event_log"] == "postgresql+psycopg://ada:***@host/log"
    assert not project.plan().steps


EDITS: dict[str, Callable[[SmallProject], object]] = {
    "ratio": lambda p: p.change(EXPERIMENT, "arms.control.ratio", 0.25),
    "weeks": lambda p: p.change(EXPERIMENT, "plan.weeks", 2),
    "k": lambda p: p.change(PLACEMENT, "k", 20),
    "horizon": lambda p: p.change(PROBLEM, "target.horizon", "14d"),
    "iterations": lambda p: p.change(SECOND_MODEL, "algorithm.iterations", 50),
    "transform": lambda p: p.tables.update(user_item="return more"),
    "view": lambda p: p.repository.files["feature_views"]["user_item"].update(description="else"),
    "new view": lambda p: p.repository.files["feature_views"].update(more={"join_keys": ["item_id"], "features": {}}),
    "no experiment": lambda p: p.files.pop(EXPERIMENT),
    "environment": lambda p: p.change(ENVIRONMENT, "limits.threads", 4),
}


@given(edits=st.lists(st.lists(st.sampled_from(sorted(set(EDITS) - {"no experiment"})), unique=True), max_size=3))
@settings(max_examples=20)
def test_whatever_is_edited_an_apply_makes_it_so_and_a_second_one_nothing(
    tmp_path_factory: pytest.TempPathFactory, edits: list[list[str]]
) -> None:
    project = SmallProject(tmp_path_factory.mktemp("edited"))
    project.apply()
    for together in edits:
        before = copy.deepcopy(applied_state(project.ledger_kept.entries()))
        for edit in together:
            EDITS[edit](project)
        made = project.plan()
        assert made == project.plan()
        assert applied_state(project.ledger_kept.entries()) == before
        done = project.apply(made.digest)
        assert done.plan == made
        assert not project.plan().steps
        count = len(project.ledger_kept.entries())
        assert project.apply().transaction is None
        assert len(project.ledger_kept.entries()) == count


@pytest.mark.parametrize("name", EDITS)
def test_each_edit_is_seen(project: SmallProject, name: str) -> None:
    project.apply()
    EDITS[name](project)
    assert project.plan().steps


def _json(spec: Any) -> dict[str, Any]:
    return dict(spec.model_dump(mode="json"))
