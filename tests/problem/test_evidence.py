"""Does the past say where a weak stage loses, on shops in which it was planted?"""

import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.adapters.duckdb_engine import DuckDBEngine
from recsys.problem.evidence import ItemLoss, item_loss, of_log, of_segments
from recsys.problem.levers import Weakness, with_evidence
from recsys.problem.rows import SEEN, Stages
from recsys.specs.environment import Limits
from tests.problem.naive import STAGES, Row, event, span, table
from tests.problem.test_planner import problem, reading, stage

ENGINE = DuckDBEngine(Limits(memory="500MB", threads=1), Path(tempfile.gettempdir()) / "funnel-tests")
SESSION = Stages(STAGES, None)
WITHIN = span(SESSION, days=20)


def losses(rows: list[Row], stages: Stages = SESSION, number: int = 2) -> ItemLoss | None:
    path = Path(tempfile.mkdtemp()) / "events.parquet"
    ENGINE.write("select * from rows", {"rows": table(rows)}, path)
    return item_loss(ENGINE, path, stages, number, WITHIN)


def shop(shares: list[float], users: int = 60, *, seed: int = 0, **changes: Any) -> list[Row]:
    """Return users who click every item and order it with its own probability."""
    rng, rows = np.random.default_rng(seed), []
    for item, share in enumerate(shares):
        for user, ordered in enumerate(rng.random(users) < share):
            named = {"user_id": f"u{user}", "item_id": f"i{item}", "session_id": f"s{user}"} | changes
            rows.append(event(len(rows), "click", 30, **named))
            if ordered:
                rows.append(event(len(rows), "order", 31, **named))
    return rows


def test_items_that_were_planted_to_lose_are_found_and_their_figures_are_exact() -> None:
    rows = shop([0.5] * 20 + [0.02] * 5)
    found = losses(rows)
    assert found is not None
    assert (found.items, found.pairs, found.low_items, found.low_pairs) == (25, 1500, 5, 300)
    ordered = [row for row in rows if row["event_type"] == "order"]
    low = [row for row in ordered if int(row["item_id"][1:]) >= 20]
    assert (found.reached, found.low_reached) == (len(ordered), len(low))
    assert found.other_share == pytest.approx(0.5, abs=0.05)


def test_items_that_differ_by_chance_or_somewhat_are_not_found() -> None:
    by_chance = [losses(shop([0.2] * 40, seed=seed)) for seed in range(10)]
    assert [each is not None and each.low_items for each in by_chance] == [0] * 10
    somewhat = losses(shop([0.2, 0.3] * 10, users=1_000))
    assert somewhat is not None
    assert somewhat.low_items == 0


def test_low_items_do_not_hide_one_another() -> None:
    found = losses(shop([0.6] * 24 + [0.08] * 16, users=120))
    assert found is not None
    assert found.low_items == 16
    alone = losses(shop([0.6] * 24 + [0.08], users=120))
    assert alone is not None
    assert alone.low_items == 1


def test_a_user_counts_once_with_an_item_and_what_does_not_count_is_left_out() -> None:
    rows = [event(1, "click", 30), event(2, "click", 40, session_id="s2"), event(3, "order", 41, session_id="s2")]
    rows += [event(4, "order", 31, item_id="i2"), event(5, "click", 30, item_id=None)]
    rows += [event(6, "click", 30, item_id="i3"), event(7, "order", 31, item_id="i3", quantity=0.0)]
    rows += [event(8, "click", 1, item_id="i4"), event(9, "order", 2, item_id="i4")]
    found = losses(rows)
    assert found is not None
    assert (found.items, found.pairs, found.reached) == (2, 2, 1)


def test_without_items_at_both_stages_nothing_is_said() -> None:
    assert losses([event(1, "click", 30, item_id=None), event(2, "order", 31)]) is None
    assert losses([event(1, "click", 30), event(2, "order", 31, item_id=None)]) is None
    assert losses([event(1, "order", 31)], Stages((SEEN, "order"), timedelta(days=1)), 1) is None


def test_a_stage_that_is_weak_by_a_few_items_points_to_the_product() -> None:
    weak = Weakness("purchase", 0.25, "user experience", lost_most=True)
    few = ItemLoss(items=100, pairs=1000, reached=250, low_items=12, low_pairs=600, low_reached=60)
    found = with_evidence(problem(), weak, few, None, None)
    assert found.lever == "product"
    (told,) = found.evidence
    assert told == (
        "by item: with 12 of 100 items 10.0% of who come to them reach purchase, with the others 47.5%; they have 60%"
        " of who come, 72% of the loss: without them purchase is not weak, so look at these items and their prices"
    )
    declared = problem(planning={"levers": {"purchase": "coupon"}})
    assert with_evidence(declared, weak, few, None, None).lever == "user experience"


@pytest.mark.parametrize(
    ("low", "told"),
    [
        ((12, 100, 10), "without them it is 26.7% instead of 25.0%"),
        ((60, 600, 60), "without them it is 47.5% instead of 25.0%"),
        (
            (0, 0, 0),
            "by item: 25.0% of who come to an item reach purchase with it, and none of 100 items",
        ),
    ],
)
def test_a_loss_that_all_items_share_leaves_the_lever_of_its_place(low: tuple[int, int, int], told: str) -> None:
    spread = ItemLoss(100, 1000, 250, *low)
    found = with_evidence(problem(), Weakness("purchase", 0.25, "user experience", lost_most=True), spread, None, None)
    assert found.lever == "user experience"
    assert told in found.evidence[0]


def of_age(name: str, share: float, *, small: bool = False) -> Any:
    return replace(reading(stage("purchase", from_before=share)), segment=name, small=small)


def test_segments_say_whether_a_stage_is_weak_for_all_or_for_some() -> None:
    old, young, few = of_age("old", 0.12), of_age("young", 0.41), of_age("few", 0.01, small=True)
    assert of_segments(problem(), (old, young, few), "age", "purchase") == (
        "by age: weak in 1 of 2 segments, 12.0% (old); 41.0% (young) elsewhere"
    )
    assert of_segments(problem(), (old, of_age("young", 0.2)), "age", "purchase") == (
        "by age: weak in each of 2 segments, 12.0% (old) to 20.0% (young)"
    )
    assert of_segments(problem(), (old, few), "age", "purchase") is None, "one alone compares with nothing"
    assert of_segments(problem(), (old, young), "age", "transfer") is None


def test_a_stage_that_is_skipped_by_what_follows_may_not_be_logged() -> None:
    read = reading(stage("transfer", from_before=0.1), stage("purchase", bypass=0.52))
    assert of_log(problem(), read, 1) == (
        "by the log: 52% of the events purchase came without transfer: before anything is changed, see whether every"
        " transfer is logged"
    )
    assert of_log(problem(), read, 2) is None, "nothing follows it"
    assert of_log(problem(), reading(stage("transfer"), stage("purchase", bypass=0.1)), 1) is None
