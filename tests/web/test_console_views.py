"""Do the views say what their documents say: traffic on its line, and a verdict by the rules that make it?"""

from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from recsys.decision.verdict import VerdictName, decide
from recsys.web.console.traffic_view import WIDTH, layer_line, traffic_lines, traffic_table
from recsys.web.console.verdict_view import conditions
from recsys.web.console.views import placement_view, request_view
from tests.decision.test_verdict import END, START, analysis, declare

DECLARED: dict[str, Any] = {
    "slots": {"b": {"slot": [0.4, 1.0], "taken": [0.4, 0.6]}, "a": {"slot": [0.0, 0.4], "taken": [0.0, 0.1]}},
    "layer": None,
    "epochs": [
        {"start": "2024-02-05T00:00:00+00:00", "end": "2024-02-07T12:30:00+00:00", "ratios": {"a": 0.1}},
        {"start": "2024-02-07T12:30:00+00:00", "end": "2024-03-04T00:00:00+00:00", "ratios": {"a": 0.1, "b": 0.2}},
    ],
}


def test_each_epoch_is_a_line_on_which_arms_stand_in_their_slots() -> None:
    first, second = traffic_lines(DECLARED)
    assert (first.label, second.label) == ("2024-02-05 to 2024-02-07 12:30", "2024-02-07 12:30 to 2024-03-04")
    drawn = [(bar.kind, bar.hue, bar.x, bar.width) for bar in second.bars]
    assert drawn == [("slot", 0, 0, 4000), ("taken", 0, 0, 1000), ("slot", 1, 4000, 6000), ("taken", 1, 4000, 2000)]
    assert [bar.kind for bar in first.bars] == ["slot", "taken", "slot"], "b did not exist yet"
    assert traffic_table(DECLARED)[0] == [
        "2024-02-05",
        "2024-02-07 12:30",
        "10 % of all, of a slot from 0 to 0.4",
        "not there yet",
    ]


def test_a_layer_is_a_line_with_the_experiments_range_and_the_holdout() -> None:
    assert layer_line(DECLARED) is None
    layer = {"name": "page", "range": [0.5, 1.0], "holdout": [0.0, 0.1]}
    line = layer_line(DECLARED | {"layer": layer})
    assert line is not None
    assert [(bar.kind, bar.x, bar.width) for bar in line.bars] == [
        ("range", WIDTH // 2, WIDTH // 2),
        ("holdout", 0, 1000),
    ]


def test_a_list_says_how_each_item_moved_from_stage_to_stage() -> None:
    made = {
        "stages": [{"stage": "cap", "before": ["a", "b", "c"], "after": ["a", "c"], "left_out": 1}],
        "items": [{"item_id": "a", "features": {"x": 1.0}}, {"item_id": "c", "features": {"y": 2.0}}],
    }
    found = request_view({"recomputed": made})
    assert found["steps"] == ["the model's order", "cap"]
    rows = [[(cell["item"], cell["move"]) for cell in row] for row in found["slots"]]
    assert rows == [[("a", ""), ("a", "")], [("b", ""), ("c", "up 1")], [("c", ""), ("", "")]]
    assert found["features"] == [("x", [1.0, None]), ("y", [None, 2.0])]
    assert found["shared"] == []
    slots = [{"item_id": item, "features": {"of_user": 3.0, "of_item": item}} for item in "ab"]
    found = request_view({"recomputed": {"stages": [], "items": slots}})
    assert found["shared"] == [("of_user", 3.0)]
    assert found["features"] == [("of_item", ["a", "b"])]
    assert request_view({"recomputed": {"stages": [], "items": slots[:1]}})["shared"] == []


def test_lists_beside_each_other_are_compared_with_the_first() -> None:
    lists = [{"items": [{"item_id": item, "score": None} for item in order]} for order in ("abc", "bad", "")]
    found = placement_view({"testers": []}, None, [], {"lists": lists}, user_id="u1")
    moves = [[item["move"] for item in each["items"]] for each in found["lists"]]
    assert moves == [["", "", ""], ["up 1", "down 1", "new"], []]
    assert [each["common"] for each in found["lists"]] == [3, 2, 0]


# ---------------------------------------------------------------- verdicts


BOUNDS = st.one_of(
    st.tuples(st.floats(-0.3, 0.3), st.floats(0, 0.3)).map(lambda pair: (pair[0], pair[0] + pair[1])),
    st.just((float("nan"), float("nan"))),
)


def document(evidence: Any, experiment: Any, planned_end: Any) -> dict[str, Any]:
    """Return as much of the page's document as the conditions read."""
    return {
        "metrics": experiment.metrics.model_dump(mode="json"),
        "end": experiment.plan.window()[1].isoformat(),
        "planned_end": planned_end.isoformat(),
        "report": {"analysis": evidence.to_dict()},
    }


@given(
    primary=BOUNDS,
    guardrail=BOUNDS,
    state=st.sampled_from(["cut", "ended", "running"]),
    failures=st.sampled_from([(), (), ("The split is off.",)]),
    early=st.sampled_from([0, 0, 3]),
    direction=st.sampled_from(["higher_is_better", "lower_is_better"]),
    scale=st.sampled_from(["relative", "absolute"]),
)
def test_every_condition_holds_exactly_where_the_verdict_is_ship(
    primary: Any, guardrail: Any, state: Any, failures: Any, early: int, direction: str, scale: str
) -> None:
    fields = {"scale": scale, "direction": direction}
    experiment = declare(
        primary={"name": "precision@10", "minimum_effect": 0.08, **fields},
        guardrails=[{"name": "mrr@10", "margin": 0.05, **fields}],
    )
    evidence = analysis(primary, guardrail, state=state, failures=failures, always=primary, guardrail_always=guardrail)
    planned_end = END + timedelta(days=early)
    now = START + timedelta(days=10) if state == "running" else END
    verdict = decide(evidence, experiment, now, planned_end=planned_end)
    found = conditions(document(evidence, experiment, planned_end))
    assert all(each.holds for each in found) == (verdict.name == VerdictName.SHIP)
    assert len(found) == 4


def test_before_the_first_report_there_are_no_conditions() -> None:
    assert conditions({"report": None}) == []
