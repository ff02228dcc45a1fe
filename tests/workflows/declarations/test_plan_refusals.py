"""Is each forbidden difference refused: one clear line each, all at once, and nothing written?"""

from datetime import timedelta
from pathlib import Path

import pytest

from recsys.errors import SpecError
from tests.specs.registry_files import ENVIRONMENT, EXPERIMENT, MODEL, PLACEMENT, PROBLEM, SECOND_MODEL
from tests.workflows.small_project import BEFORE, HOUSEHOLDS, START, SmallProject


@pytest.fixture
def applied(tmp_path: Path) -> SmallProject:
    """A project that was applied before its experiment starts."""
    project = SmallProject(tmp_path)
    project.shop()
    project.apply()
    return project


def refused(project: SmallProject) -> tuple[str, ...]:
    """Return why an apply is refused, and see that plan says the same and that nothing was written."""
    entries, applies = project.ledger_kept.entries(), project.repository.applies
    with pytest.raises(SpecError) as caught:
        project.apply()
    assert project.plan().refused == caught.value.problems
    assert project.ledger_kept.entries() == entries
    assert project.repository.applies == applies
    assert not any("\n" in finding for finding in caught.value.problems)
    return caught.value.problems


@pytest.mark.parametrize("what", ["spec", "candidates", "target", "view", "transform"])
def test_trained_logic_does_not_change(applied: SmallProject, what: str) -> None:
    weights = applied.train("basket/v2")
    if what == "spec":
        applied.change(SECOND_MODEL, "algorithm.depth", 4)
    elif what == "candidates":
        applied.change(PLACEMENT, "candidates.0.limit", 100)
    elif what == "target":
        applied.change(PROBLEM, "target.horizon", "14d")
    elif what == "view":
        applied.repository.files["feature_views"]["user_item"]["features"]["pair_weeks"] = "Int64"
    else:
        applied.tables["user_item"] = "return other"
    (finding,) = refused(applied)
    assert finding.startswith("registry/models/basket/v2.yaml: logic: ")
    assert weights.tags["recsys.logic_digest"] in finding
    assert "weights 1 were trained" in finding
    assert "declare a new version" in finding


def test_the_step_that_changes_trained_logic_is_named(applied: SmallProject) -> None:
    applied.train("basket/v2")
    applied.tables["user_item"] = "return other"
    (finding,) = refused(applied)
    assert "undo the edit of transforms/user_item," in finding


def test_trained_logic_is_held_without_any_apply(tmp_path: Path) -> None:
    project = SmallProject(tmp_path)
    project.train("basket/v1")
    project.change(MODEL, "algorithm.feature", "pair_baskets")
    assert not project.plan().refused
    project.change(MODEL, "negatives.per_request", 7)
    (finding,) = refused(project)
    assert "the edit of its spec, features or candidates" in finding


def test_what_is_not_logic_of_a_trained_version_may_change(applied: SmallProject) -> None:
    applied.train("basket/v2")
    applied.change(PLACEMENT, "k", 20)
    applied.change(PROBLEM, "business_issue", "said otherwise")
    assert applied.apply().transaction


@pytest.mark.parametrize("kind", ["feature_views", "transforms", "feature_services"])
def test_features_do_not_change_under_a_running_experiment(applied: SmallProject, kind: str) -> None:
    defined = applied.repository.files
    if kind == "feature_views":
        defined[kind]["user_item"]["features"]["pair_weeks"] = "Int64"
    elif kind == "transforms":
        applied.tables["user_item"] = "return other"
    else:
        defined[kind]["basket_full"]["references"].append("user_item:pair_weeks")
    assert not applied.plan().refused
    applied.come_to(START)
    (finding,) = refused(applied)
    assert finding.startswith(f"{kind}/")
    assert "experiment home_ranker stands on it and runs until 2018-01-01 00:00" in finding
    applied.come_to(START + timedelta(weeks=4))
    assert applied.apply().transaction


def test_a_placement_does_not_change_under_a_running_experiment(applied: SmallProject) -> None:
    applied.come_to(START)
    applied.change(PLACEMENT, "k", 20)
    (finding,) = refused(applied)
    assert finding.startswith("placements/home: k: changed: experiment home_ranker")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("seed", "other:", "another seed assigns everybody anew"),
        ("unit", "session_id", "another unit"),
        ("arms.control.ratio", 0.25, "a ratio only grows"),
        ("arms.treatment.model_version", "basket/v1", "an arm serves one logic"),
        ("plan.start", "2017-12-05", "the plan is fixed once started"),
        ("plan.weeks", 5, "may end earlier, not later"),
        ("metrics.primary.name", "mrr@10", "what decides is fixed"),
    ],
)
def test_a_running_experiment_is_not_edited(applied: SmallProject, field: str, value: object, words: str) -> None:
    applied.come_to(START)
    applied.change(EXPERIMENT, field, value)
    (finding,) = refused(applied)
    assert finding.startswith("registry/experiments/home_ranker.yaml: ")
    assert words in finding
    assert f"of {HOUSEHOLDS} known units)" in finding


def test_the_refusal_counts_the_units_it_would_move(applied: SmallProject) -> None:
    applied.come_to(START)
    applied.change(EXPERIMENT, "arms.control.ratio", 0.25)
    (finding,) = refused(applied)
    moved = int(finding.partition("would move ")[2].partition(" of")[0])
    assert 0.17 * HOUSEHOLDS < moved < 0.33 * HOUSEHOLDS


def test_without_events_the_number_is_unknown_and_the_edit_refused_all_the_same(tmp_path: Path) -> None:
    project = SmallProject(tmp_path)
    project.apply()
    project.come_to(START)
    project.change(EXPERIMENT, "seed", "other:")
    (finding,) = refused(project)
    assert "unknown number of units (no events yet; run `recsys ingest`)" in finding


def test_a_running_experiment_is_not_removed(applied: SmallProject) -> None:
    applied.come_to(START)
    del applied.files[EXPERIMENT]
    (finding,) = refused(applied)
    assert "removed: it runs until 2018-01-01 00:00 on 100 % of the traffic" in finding


def test_an_ended_experiment_is_evidence_but_may_be_put_away(applied: SmallProject) -> None:
    applied.come_to(START + timedelta(weeks=4))
    applied.change(EXPERIMENT, "overrides", {})
    (finding,) = refused(applied)
    assert "overrides.household_1: changed: the experiment ended at 2018-01-01 00:00 and is evidence" in finding
    del applied.files[EXPERIMENT]
    assert applied.apply().transaction


def test_an_experiment_is_applied_before_it_starts(tmp_path: Path) -> None:
    project = SmallProject(tmp_path)
    project.come_to(START)
    assert not project.plan().refused
    project.come_to(START + timedelta(seconds=1))
    (finding,) = refused(project)
    assert "plan.start: 2017-12-04T00:00:00+00:00: the clock stands at 2017-12-04T00:00:01+00:00" in finding


def test_a_start_is_not_moved_into_the_past(applied: SmallProject) -> None:
    applied.change(EXPERIMENT, "plan.start", (BEFORE - timedelta(days=1)).isoformat())
    (finding,) = refused(applied)
    assert "declare a later start" in finding


def test_a_replayed_environment_lives_through_the_past(tmp_path: Path) -> None:
    project = SmallProject(tmp_path)
    project.change(ENVIRONMENT, "clock", {"replay_from": "2017-12-04"})
    project.come_to(START + timedelta(weeks=6))
    assert project.apply().transaction
    assert not project.plan().steps


@pytest.mark.parametrize("alias", ["champion", "recorded"])
def test_what_the_champion_stands_on_is_not_removed(applied: SmallProject, alias: str) -> None:
    weights = applied.train("basket/v1")
    del applied.files[EXPERIMENT]
    applied.apply()
    if alias == "champion":
        applied.registry_kept.set_alias(weights, "champion")
    else:
        applied.ledger_kept.append(
            transaction="t",
            state="done",
            action="promote",
            subject="basket",
            payload={"aliases": {"champion": {"before": None, "after": weights.number}}},
            author="ada",
            at=BEFORE,
        )
    del applied.files[MODEL]
    (finding,) = refused(applied)
    assert finding.startswith("models/basket/v1: (whole): removed: basket/v1 stands on it and is champion of basket")


def test_a_version_that_nobody_uses_may_be_removed(applied: SmallProject) -> None:
    applied.train("basket/v1")
    del applied.files[EXPERIMENT]
    del applied.files[MODEL]
    assert applied.apply().transaction


CAMPAIGN = {
    "entity": {"unit": "user_id", "item": None},
    "formulation": "classification",
    "channels": {"sms": {"capacity": HOUSEHOLDS // 2}, "phone": {"capacity": HOUSEHOLDS // 2 - 1}},
}


def test_half_of_all_units_is_noted_as_no_selection(applied: SmallProject) -> None:
    applied.files["problems/campaign.yaml"] = applied.files[PROBLEM] | CAMPAIGN
    (step,) = applied.plan().steps
    (note,) = step.notes
    assert note == (
        f"channels.sms.capacity {HOUSEHOLDS // 2} of {HOUSEHOLDS} known units is not a selection: no gate can be"
        " decided by it"
    )
    assert applied.apply().transaction


def test_a_capacity_is_not_judged_before_events_came_in(tmp_path: Path) -> None:
    project = SmallProject(tmp_path)
    project.files["problems/campaign.yaml"] = project.files[PROBLEM] | CAMPAIGN
    assert not any(step.notes for step in project.plan().steps if step.name == "campaign")


def test_all_findings_come_at_once_with_those_of_validate(applied: SmallProject) -> None:
    applied.train("basket/v2")
    applied.come_to(START)
    applied.change(EXPERIMENT, "seed", "other:")
    applied.change(SECOND_MODEL, "algorithm.depth", 4)
    applied.change(PLACEMENT, "pool.feature", "item_baskets_7d")
    found = "\n".join(refused(applied))
    for words in (
        "another seed",
        "trained logic",
        "placements/home: pool.feature",
        "not a feature of view item_weekly",
    ):
        assert words in found
