"""Which stage, metric and lever follow from which figures?"""

from typing import Any

import pytest
from pydantic import ValidationError

from recsys.problem.bounds import Bounds
from recsys.problem.channels import advise
from recsys.problem.demand import Demand
from recsys.problem.figures import Reading, StageFigures
from recsys.problem.levers import weaknesses
from recsys.problem.need import StageNeed
from recsys.problem.planner import choose, findings
from recsys.problem.rows import SEEN
from recsys.specs.problem import Problem

NAMES = ("pageview", "click", "transfer", "purchase")


def need(
    days: int | None,
    units: int | None = 1000,
    *,
    beyond: bool = False,
    days_bounds: Bounds | None = None,
    units_bounds: Bounds | None = None,
) -> StageNeed:
    return StageNeed(0.1, units, units_bounds, days, days_bounds, cuped=False, beyond=beyond, detectable=0.25)


def stage(name: str, **changes: Any) -> StageFigures:
    fields = {
        "users": 900,
        "visits": 900,
        "events": 1000,
        "from_before": 0.5,
        "from_top": 0.5,
        "value_share": 1.0,
        "correlation": 0.8,
        "correlation_per_visit": 0.7,
        "events_per_user": 1.0,
        "events_per_day": 10.0,
        "bypass": 0.0,
        "late": None,
        "need": need(10),
    } | changes
    return StageFigures(stage=name, **fields)


def reading(*stages: StageFigures) -> Reading:
    first = stage(NAMES[0], users=1000, from_before=None, need=None, bypass=None)
    return Reading(None, 1000, small=False, stages=(first, *stages), valued=True)


def problem(**changes: Any) -> Problem:
    fields = {
        "business_issue": "b",
        "owners": {"product": "p", "engineering": "e"},
        "target": {"event": "purchase", "horizon": "7d"},
        "funnel": {"stages": list(NAMES), "within": "session"},
        "formulation": "ranking",
        "channels": {"feed": {"k": 10}},
    }
    return Problem.model_validate(fields | changes)


def campaign(**changes: Any) -> Problem:
    fields = {
        "entity": {"item": None},
        "formulation": "classification",
        "channels": {"sms": {"capacity": 100}},
        "funnel": {"stages": ["pageview", "purchase"]},
    }
    return problem(**(fields | changes))


# ---------------------------------------------------------------- which stage


def test_the_last_stage_is_modelled_where_it_can_be_tested() -> None:
    found = choose(problem(), reading(stage("click"), stage("purchase", need=need(20))), 1000)
    assert found.stage == "purchase"
    assert found.reasons == ("purchase needs 20 days at 10%, and is what is wanted in the end",)


def test_an_earlier_stage_stands_for_a_last_one_that_takes_too_long() -> None:
    read = reading(stage("click", need=need(6), correlation_per_visit=0.71), stage("purchase", need=need(94)))
    found = choose(problem(), read, 1000)
    assert found.stage == "click"
    assert found.reasons == (
        "purchase needs 94 days at 10% (56 are allowed); click needs 6 days at 10% and correlates 0.71 with purchase",
    )
    assert "the problem's target is purchase: to model click" in " ".join(findings(problem(), read, found))


def test_the_latest_of_the_stages_that_stand_for_it_is_taken() -> None:
    read = reading(stage("click"), stage("transfer"), stage("purchase", need=need(94)))
    assert choose(problem(), read, 1000).stage == "transfer"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"value_share": 0.4}, "only 40% of purchase comes after click (80% are asked for)"),
        ({"correlation_per_visit": 0.1}, "click correlates 0.10 with purchase (0.40 is asked for)"),
        ({"correlation_per_visit": None}, "click does not differ between units with purchase (0.40 is asked for)"),
        ({"events": 300}, "click is too sparse: 300 events, 500 are asked for"),
        ({"need": need(None)}, "click never has the units that it needs at 10% (56 are allowed)"),
        ({"need": need(None, None)}, "click says nothing about a test: its units do not differ"),
    ],
)
def test_no_stage_that_stands_and_can_be_tested_is_no_problem_for_a_model(changes: dict[str, Any], why: str) -> None:
    found = choose(problem(), reading(stage("click", **changes), stage("purchase", need=need(94))), 1000)
    assert found.stage is None
    assert found.reasons[0] == "purchase needs 94 days at 10% (56 are allowed); effects from 25% are seen in 56"
    assert found.reasons[1].startswith(why)


def test_thresholds_are_the_problems_own() -> None:
    read = reading(stage("click"), stage("purchase", need=need(94)))
    assert choose(problem(planning={"maximum_days": 100}), read, 1000).stage == "purchase"
    assert choose(problem(planning={"minimum_correlation": 0.9}), read, 1000).stage is None


def test_where_hardly_anybody_enters_no_model_helps() -> None:
    found = choose(problem(), reading(stage("purchase")), 50_000)
    assert found.stage is None
    assert found.reasons[0].startswith("2.0% of 50,000 known units reach pageview, 5% are asked for")


def test_without_any_event_of_the_last_stage_there_is_nothing_to_learn() -> None:
    found = choose(problem(), reading(stage("purchase", events=0)), 1000)
    assert found.reasons == ("no purchase follows in the span: there is nothing to learn from",)


def test_channels_that_reach_half_of_the_units_select_nothing() -> None:
    found = choose(campaign(channels={"email": {"capacity": 500}}), reading(stage("purchase")), 1000)
    assert found.reasons == ("every channel reaches half of the 1,000 known units or more: nothing is selected",)
    assert choose(campaign(), reading(stage("purchase")), 1000).stage == "purchase"


def test_a_campaign_is_tested_as_fast_as_its_channels_reach_units() -> None:
    read = reading(stage("purchase", need=need(200, 450)))
    assert choose(campaign(), read, 1000).reasons[0].startswith("purchase needs 35 days at 10% by sms")
    assert choose(campaign(), reading(stage("purchase", need=need(200, 2000))), 1000).stage is None


def test_days_stand_with_their_bounds() -> None:
    read = reading(
        stage("click", need=need(6, days_bounds=Bounds(5, 9)), correlation_per_visit=0.71),
        stage("purchase", need=need(94, days_bounds=Bounds(71, 130))),
    )
    (reason,) = choose(problem(), read, 1000).reasons
    assert reason == (
        "purchase needs 94 days [71, 130] at 10% (56 are allowed); click needs 6 days [5, 9] at 10% and correlates 0.71"
        " with purchase"
    )


@pytest.mark.parametrize(
    ("days", "bounds", "chosen", "doubt"),
    [
        (50, Bounds(40, 71), "purchase", "40 to 71 are needed"),
        (60, Bounds(56, 71), "click", "56 to 71 are needed"),
        (60, Bounds(56, None), "click", "56 or more are needed, and perhaps no number is enough"),
        (None, Bounds(50, None), "click", "50 or more are needed, and perhaps no number is enough"),
        (50, Bounds(40, 56), "purchase", None),
        (60, Bounds(57, 71), "click", None),
    ],
)
def test_a_stage_whose_bounds_hold_the_days_allowed_is_said_to_be_unsure(
    days: int | None, bounds: Bounds, chosen: str, doubt: str | None
) -> None:
    read = reading(stage("click"), stage("purchase", need=need(days, days_bounds=bounds)))
    found = choose(problem(), read, 1000)
    assert found.stage == chosen
    told = f"not sure whether purchase can be tested: 56 days are allowed, and by a past of this size {doubt}"
    assert found.reasons[1:] == (() if doubt is None else (told,))


def test_nothing_is_unsure_of_a_stage_that_days_do_not_decide() -> None:
    unsure = need(50, days_bounds=Bounds(40, 71))
    read = reading(
        stage("click", need=unsure, value_share=0.1),
        stage("transfer", need=unsure, events=10),
        stage("purchase", need=need(94)),
    )
    assert len(choose(problem(), read, 1000).reasons) == 3


def test_a_campaigns_bounds_are_those_of_its_channels_units() -> None:
    read = reading(stage("purchase", need=need(200, 450, units_bounds=Bounds(350, 1200))))
    found = choose(campaign(), read, 1000)
    assert found.reasons[0].startswith("purchase needs 35 days [28, never] at 10% by sms")
    (told,) = advise(campaign(), "purchase", Demand(50.0, None), read.stages[1].need, 1000)
    assert told.days_bounds == Bounds(28, None)


# ---------------------------------------------------------------- metrics of channels


@pytest.mark.parametrize(
    ("items", "metric"), [(1.2, "mrr@10/user"), (4.0, "ndcg@10/user"), (20.0, "precision@10/user")]
)
def test_a_lists_metric_follows_from_how_many_items_are_right(items: float, metric: str) -> None:
    (found,) = advise(problem(), "purchase", Demand(100, items), need(10), 1000)
    assert found.metric == metric


@pytest.mark.parametrize(("act", "metric"), [(500.0, "precision@100/global"), (50.0, "recall@100/global")])
def test_a_capacitys_metric_follows_from_how_many_units_act(act: float, metric: str) -> None:
    (found,) = advise(campaign(), "purchase", Demand(act, None), need(10, 450), 1000)
    assert (found.metric, found.days) == (metric, 35)


def test_a_capacity_of_half_of_the_units_has_no_metric() -> None:
    (found,) = advise(campaign(channels={"email": {"capacity": 500}}), "purchase", Demand(50, None), need(10), 1000)
    assert found.metric is None
    assert "nothing is selected" in found.reason


# ---------------------------------------------------------------- levers


def test_a_weak_stage_points_to_the_lever_of_its_place() -> None:
    read = reading(
        stage("click", from_before=0.2), stage("transfer", from_before=0.25), stage("purchase", from_before=0.1)
    )
    found = {each.stage: each for each in weaknesses(problem(), read, 1000)}
    assert {name: each.lever for name, each in found.items()} == {
        "click": "ranking",
        "transfer": "product",
        "purchase": "user experience",
    }
    assert [name for name, each in found.items() if each.lost_most] == ["purchase"]


def test_what_is_declared_goes_before_the_place() -> None:
    declared = problem(planning={"levers": {"purchase": "coupon"}})
    (found,) = weaknesses(declared, reading(stage("purchase", from_before=0.1)), 1000)
    assert found.lever == "coupon"


def test_a_campaigns_stage_points_to_the_coupon_and_an_empty_first_one_to_the_product() -> None:
    found = weaknesses(campaign(), reading(stage("purchase", from_before=0.1)), 100_000)
    assert [(each.stage, each.lever) for each in found] == [("pageview", "product"), ("purchase", "coupon")]


def test_strong_stages_leave_only_the_one_that_loses_most() -> None:
    found = weaknesses(problem(), reading(stage("click", from_before=0.9), stage("purchase", from_before=0.8)), 1000)
    assert [(each.stage, each.lost_most) for each in found] == [("purchase", True)]


# ---------------------------------------------------------------- what to mend


def test_stages_that_are_skipped_are_told() -> None:
    read = reading(stage("click"), stage("purchase", bypass=0.4, late=0.5))
    (found,) = findings(problem(), read, choose(problem(), read, 1000))
    assert found.startswith("not nested: 40% of the events purchase came without click, 50% of them too late")


def test_days_beyond_the_past_are_told() -> None:
    read = reading(stage("purchase", need=need(50, beyond=True)))
    (found,) = findings(problem(), read, choose(problem(), read, 1000))
    assert found == "the 50 days of purchase end beyond the past: they go on as it went"


def test_a_funnel_names_each_stage_once_and_levers_name_stages() -> None:
    with pytest.raises(ValidationError, match="stage click stands twice"):
        problem(funnel={"stages": ["click", "click"]})
    with pytest.raises(ValidationError, match="levers names basket, which is no stage"):
        problem(planning={"levers": {"basket": "product"}})
    with pytest.raises(ValidationError, match="longer than 0, or session"):
        problem(funnel={"stages": list(NAMES), "within": "0d"})
    assert SEEN not in NAMES
