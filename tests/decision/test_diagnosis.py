"""Does each combination of signals and evidence lead to the trouble that the table says, cell by cell?"""

import itertools

import pytest

from recsys.decision.diagnosis import (
    GIVEN_UP,
    TABLE,
    WITHOUT_CLICKS,
    Diagnosis,
    Evidence,
    Signal,
    Trouble,
    diagnose,
    signal,
)
from recsys.statistics.bootstrap import Interval

GOOD: Signal = "good"
BAD: Signal = "bad"
UNCLEAR: Signal = "unclear"
NONE: Signal = "none"
FELL = Evidence(recall_then=Interval(0.40, 0.38, 0.42), recall_now=Interval(0.30, 0.28, 0.32))


def found(model: Signal, clicks: Signal, orders: Signal, evidence: Evidence | None = None) -> Diagnosis:
    """Diagnose a version of a model."""
    return diagnose(model, clicks, orders, evidence or Evidence(), name="home_ranker", version="basket/v2")


@pytest.mark.parametrize(
    ("model", "clicks", "orders", "trouble", "says"),
    [
        (GOOD, GOOD, GOOD, Trouble.NONE, "people click and order"),
        (GOOD, GOOD, BAD, Trouble.STAGE, "the gain is lost after the click"),
        (GOOD, BAD, GOOD, Trouble.PAGE, "not by way of the list"),
        (GOOD, BAD, BAD, Trouble.STAGE, "does nothing for those who see it"),
        (BAD, GOOD, GOOD, Trouble.MODEL, "does not measure what helps"),
        (BAD, GOOD, BAD, Trouble.MODEL, "does not know what is ordered"),
        (BAD, BAD, GOOD, Trouble.MODEL, "orders hold up by themselves"),
        (BAD, BAD, BAD, Trouble.MODEL, "the model is bad offline, and so are its lists"),
    ],
)
def test_each_cell(model: Signal, clicks: Signal, orders: Signal, trouble: Trouble, says: str) -> None:
    made = found(model, clicks, orders)
    assert made.trouble == trouble
    assert says in made.reason
    assert made.cell == (model, clicks, orders)
    assert bool(made.next_steps) == (trouble != Trouble.NONE)
    assert not any("{" in step.replace("{source: shown}", "") for step in made.next_steps)


def test_the_table_has_every_combination_of_good_and_bad() -> None:
    assert set(TABLE) == set(itertools.product((GOOD, BAD), repeat=3))


@pytest.mark.parametrize(
    ("cell", "trouble", "clearer"),
    [
        ((GOOD, UNCLEAR, BAD), Trouble.STAGE, ["Clicks"]),
        ((BAD, UNCLEAR, GOOD), Trouble.MODEL, ["Clicks"]),
        ((BAD, UNCLEAR, UNCLEAR), Trouble.MODEL, ["Clicks", "Orders"]),
        ((GOOD, UNCLEAR, GOOD), Trouble.UNCLEAR, ["Clicks"]),
        ((GOOD, GOOD, UNCLEAR), Trouble.UNCLEAR, ["Orders"]),
        ((GOOD, UNCLEAR, UNCLEAR), Trouble.UNCLEAR, ["Clicks", "Orders"]),
        ((UNCLEAR, GOOD, GOOD), Trouble.UNCLEAR, ["Model"]),
        ((UNCLEAR, UNCLEAR, UNCLEAR), Trouble.UNCLEAR, ["Model", "Clicks", "Orders"]),
    ],
)
def test_what_is_unclear_is_claimed_only_where_it_does_not_matter(
    cell: tuple[Signal, Signal, Signal], trouble: Trouble, clearer: list[str]
) -> None:
    made = found(*cell)
    assert made.trouble == trouble
    assert "not enough" in made.reason
    told = [step.partition(":")[0] for step in made.next_steps]
    assert [word for word in told if word in {"Model", "Clicks", "Orders"}] == clearer


@pytest.mark.parametrize(
    ("model", "orders", "trouble", "says"),
    [
        (GOOD, GOOD, Trouble.NONE, "the model is good, and people order"),
        (GOOD, BAD, Trouble.STAGE, "does nothing for those who see it"),
        (BAD, GOOD, Trouble.MODEL, "orders hold up by themselves"),
        (BAD, BAD, Trouble.MODEL, "the model is bad offline"),
        (BAD, UNCLEAR, Trouble.MODEL, "orders are unclear"),
        (GOOD, UNCLEAR, Trouble.UNCLEAR, "clicks are none, orders are unclear"),
        (UNCLEAR, BAD, Trouble.UNCLEAR, "the model is unclear"),
    ],
)
def test_where_there_are_no_clicks_model_and_orders_decide(
    model: Signal, orders: Signal, trouble: Trouble, says: str
) -> None:
    made = found(model, NONE, orders)
    assert (made.trouble, made.cell) == (trouble, (model, NONE, orders))
    assert says in made.reason
    assert bool(made.next_steps) == (trouble != Trouble.NONE)
    assert not any(step.startswith("Clicks") or "click" in step.lower() for step in made.next_steps)


def test_without_clicks_every_combination_says_what_a_row_of_the_table_with_clicks_can_say() -> None:
    assert set(WITHOUT_CLICKS) == set(itertools.product((GOOD, BAD), repeat=2))
    for (model, orders), cell in WITHOUT_CLICKS.items():
        assert cell.trouble in {TABLE[model, clicks, orders].trouble for clicks in (GOOD, BAD)}
        assert "click" not in cell.meaning


@pytest.mark.parametrize("cell", list(itertools.product((GOOD, BAD, UNCLEAR), repeat=3)))
def test_evidence_goes_before_the_table_in_its_order(cell: tuple[Signal, Signal, Signal]) -> None:
    everything = Evidence(
        invalid=("The split is not the declared one.",),
        skewed="late materialize of user_item",
        drifted=("price",),
        given_up=2 * GIVEN_UP,
        recall_then=FELL.recall_then,
        recall_now=FELL.recall_now,
    )
    made = found(*cell, everything)
    assert made.trouble == Trouble.MEASUREMENT
    assert "The split is not the declared one." in made.reason
    healthy = Evidence(skewed=everything.skewed, given_up=everything.given_up)
    fine = cell == (GOOD, GOOD, GOOD)
    assert found(*cell, healthy).trouble == (Trouble.NONE if fine else Trouble.PAGE)
    skewed = found(*cell, Evidence(skewed=everything.skewed, given_up=GIVEN_UP))
    assert skewed.trouble == (Trouble.NONE if fine else Trouble.FEATURES)
    assert fine or "`recsys skew home_ranker`" in skewed.next_steps[0]


@pytest.mark.parametrize("rest", list(itertools.product((GOOD, BAD, UNCLEAR), repeat=2)))
def test_a_bad_model_is_of_features_that_moved_or_of_candidates_that_fell(rest: tuple[Signal, Signal]) -> None:
    moved = Evidence(drifted=("price", "score"), recall_then=FELL.recall_then, recall_now=FELL.recall_now)
    assert found(BAD, *rest, moved).trouble == Trouble.FEATURES
    assert "price, score moved" in found(BAD, *rest, moved).reason
    assert found(BAD, *rest, FELL).trouble == Trouble.ASSORTMENT
    assert "hold 0.300 of what is taken, and held 0.400" in found(BAD, *rest, FELL).reason
    for each in (moved, FELL):  # a good model lives with either
        assert found(GOOD, *rest, each) == diagnose(GOOD, *rest, each, name="home_ranker", version="basket/v2")
        assert found(GOOD, *rest, each).trouble == found(GOOD, *rest).trouble


def test_a_signal_is_what_the_whole_interval_says() -> None:
    assert signal(Interval(0.1, 0.01, 0.2)) == GOOD
    assert signal(Interval(-0.1, -0.2, -0.01)) == BAD
    assert signal(Interval(0.1, -0.01, 0.2)) == UNCLEAR
    assert signal(Interval(float("nan"), float("nan"), float("nan"))) == UNCLEAR


def test_of_a_campaign_nobody_is_told_to_count_clicks() -> None:
    steps = found(GOOD, UNCLEAR, UNCLEAR, Evidence(campaign=True)).next_steps
    assert [step.partition(":")[0] for step in steps] == ["Orders"]
    assert "hold some units out" in steps[0]
    young = found(UNCLEAR, UNCLEAR, UNCLEAR, Evidence(campaign=True)).next_steps
    assert [step.partition(":")[0] for step in young] == ["Model", "Orders"]


def test_of_many_columns_that_moved_a_sentence_names_some() -> None:
    few, many = (tuple(f"c{number}" for number in range(count)) for count in (5, 12))
    assert found(BAD, GOOD, GOOD, Evidence(drifted=few)).reason.endswith("c0, c1, c2, c3, c4 moved")
    assert found(BAD, GOOD, GOOD, Evidence(drifted=many)).reason.endswith("c0, c1, c2, c3, c4 and 7 more moved")
