"""Is a word said of campaigns only where the figures bear it?"""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from recsys.decision.campaign_verdict import judge, wait
from recsys.evaluation.campaign_effects import Brought
from recsys.evaluation.campaign_groups import Health
from recsys.evaluation.campaign_outcomes import Outcome, Power
from recsys.statistics.bootstrap import Interval

HEALTH = Health({"reached": 400, "held_out": 100}, 0.2, 0.8, 0.5, 0, 0, 0, {"reached": 0, "held_out": 0}, 1.0, ())
POWER = Power(0.6, 0.1, 9_000, 2_250)


def outcome(lower: float, upper: float) -> Outcome:
    value = Interval((lower + upper) / 2, lower, upper)
    thousand = Interval(*(1_000 * each for each in (value.estimate, lower, upper)))
    return Outcome("redeemed", 0.05, 0.05 + value.estimate, value, value, thousand, thousand, cuped=False, rough=False)


def brought(primary: Outcome | None, power: Power | None = POWER) -> Brought:
    counts = {"reached": 400, "held_out": 100}
    return Brought("all", counts, counts, 1.0, 0, primary, (), power)


@pytest.mark.parametrize(
    ("lower", "upper", "name"), [(0.01, 0.05, "ADDS"), (-0.05, -0.01, "HARMS"), (-0.01, 0.02, "UNCLEAR")]
)
def test_the_interval_decides(lower: float, upper: float, name: str) -> None:
    verdict = judge(brought(outcome(lower, upper)), HEALTH, "redeemed")
    assert verdict.name == name
    assert f"[{1_000 * lower:+,.1f}, {1_000 * upper:+,.1f}]" in verdict.reason


def test_unclear_says_what_could_be_seen_and_what_it_takes() -> None:
    reason = judge(brought(outcome(-0.01, 0.02)), HEALTH, "redeemed").reason
    assert "100 held out show +60% and more; +10% takes 2,250 held out beside 9,000 reached" in reason
    assert "of 100 held out nothing can be seen" in judge(brought(outcome(-0.01, 0.02), None), HEALTH, "r").reason


def test_a_draw_that_is_none_is_invalid_whatever_the_interval_says() -> None:
    verdict = judge(brought(outcome(0.01, 0.05)), replace(HEALTH, failures=("One.", "Two.")), "redeemed")
    assert (verdict.name, verdict.reason) == ("INVALID", "One. Two.")


def test_without_anybody_to_compare_with_nothing_is_said() -> None:
    assert judge(None, None, "redeemed").name == "UNCLEAR"
    assert "name a layer with a holdout" in judge(None, None, "redeemed").reason
    empty = judge(brought(None, None), replace(HEALTH, switched=7), "redeemed")
    assert empty.name == "UNCLEAR"
    assert "7 changed sides with the holdouts" in empty.reason


def test_an_interval_that_is_none_is_unclear() -> None:
    verdict = judge(brought(outcome(math.nan, math.nan)), HEALTH, "spend")
    assert verdict.name == "UNCLEAR"
    assert "too few for an interval" in verdict.reason


def test_what_is_not_mature_waits_until_it_is() -> None:
    complete = datetime(2018, 1, 15, 6, tzinfo=UTC)
    verdict = wait([complete + timedelta(days=1), complete], complete - timedelta(hours=1), None)
    assert verdict.name == "WAIT"
    assert "2 campaigns are not mature: outcomes of the first one are complete at 2018-01-15 06:00" in verdict.reason
    assert wait([], complete, None).reason == "No list of this time was sent and logged."


def test_events_that_are_not_there_yet_are_asked_for() -> None:
    complete = datetime(2018, 1, 15, 6, tzinfo=UTC)
    told = wait([complete], complete, complete - timedelta(days=3)).reason
    assert told == "Events are known up to 2018-01-12 06:00 UTC, and not to the end of a window: run `recsys ingest`."
    assert wait([complete], complete, None).reason.startswith("No event is known")
