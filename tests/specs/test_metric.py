"""Metrics are written as name@size/scope, and a problem's channels give them."""

import pytest

from recsys.specs.metric import Metric, parse_metric
from recsys.specs.problem import Problem

LISTS = {
    "business_issue": "Too few products are found",
    "owners": {"product": "growth", "engineering": "ml"},
    "target": {"event": "purchase", "horizon": "7d"},
    "formulation": "ranking",
    "channels": {"feed": {"k": 10}, "page": {"k": 4}, "mail": {"k": 10}},
}
UNITS = LISTS | {
    "entity": {"item": None},
    "formulation": "classification",
    "channels": {"phone": {"capacity": 10}, "email": {"capacity": 500}},
}


def test_a_metric_is_read_as_it_is_written() -> None:
    assert parse_metric("ndcg@10/user") == Metric("ndcg", 10, "user")
    assert str(parse_metric("precision@100/global")) == "precision@100/global"


@pytest.mark.parametrize("text", ["ndcg", "ndcg@10", "ndcg@0/user", "ndcg@10/unit", "@10/user", "ndcg@10/user "])
def test_another_way_to_write_it_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write it as name@size/scope, such as ndcg@10/user"):
        parse_metric(text)


def test_list_channels_give_metrics_per_user() -> None:
    assert [str(metric) for metric in Problem.model_validate(LISTS).metrics()] == [
        f"{name}@{k}/user" for k in (4, 10) for name in ("ndcg", "precision", "recall", "mrr", "map")
    ]


def test_capacities_give_metrics_of_one_list() -> None:
    problem = Problem.model_validate(UNITS)
    assert not problem.lists
    assert [str(metric) for metric in problem.metrics()] == [
        "precision@10/global",
        "recall@10/global",
        "precision@500/global",
        "recall@500/global",
    ]


def test_a_regression_measures_what_was_reached() -> None:
    target = {"event": "purchase", "horizon": "7d", "measure": "amount"}
    problem = Problem.model_validate(UNITS | {"formulation": "regression", "target": target})
    assert [str(metric) for metric in problem.metrics()][:2] == ["value@10/global", "recall@10/global"]


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"channels": {"phone": {"capacity": 10}}, "formulation": "classification"}, "a problem that selects units"),
        ({"entity": {"item": None}, "formulation": "classification"}, "entity.item is null: give a capacity"),
        ({"target": {"event": "purchase", "horizon": "7d", "measure": "count"}}, "a regression predicts a count"),
        ({"formulation": "regression"}, "a regression predicts a count"),
    ],
)
def test_a_problem_that_does_not_hold_together_is_refused(changes: dict[str, object], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        Problem.model_validate(LISTS | changes)
