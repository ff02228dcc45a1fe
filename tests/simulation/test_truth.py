"""Does a shop behave as its truth says? Realised counts against exact bounds; the seeds are fixed.

Given what was shown, every slot is a trial of its own with a known probability. Such a count is never further out than
a binomial one with the mean probability (Hoeffding 1956), so binomial bounds hold for it. A bound is missed with a
probability below one in a million.
"""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from recsys.specs.simulation import Simulation
from tests.simulation.shops import Made, make, newest

SURE = 1 - 1e-6
STAGES = ("click", "transfer", "purchase")
TRIAL: Any = {
    "arms": {
        "control": {"ratio": 0.5},
        "treatment": {"ratio": 0.5, "effects": {"click": 0.2, "transfer": -0.1, "purchase": 0.1}},
    }
}


@pytest.fixture(scope="module")
def shop() -> Made:
    """A shop of which everything is written, with a trial from its first day to its last."""
    return make(Simulation(seed=7, users=4_000, days=84, complete=True, trial=TRIAL))


@pytest.fixture(scope="module")
def slots(shop: Made) -> pd.DataFrame:
    """One row a shown slot: where, in which arm, and which stages it reached."""
    shown = shop.impressions.to_pandas().merge(
        shop.exposures.select(["request_id", "user_id", "arm", "explored"]).to_pandas(), on="request_id"
    )
    events = shop.events.to_pandas().drop_duplicates("event_id")
    events["request_id"] = events.event_id.str.rsplit("-", n=1).str[0]
    for stage in STAGES:
        reached = events.loc[events.event_type == stage, ["request_id", "item_id"]].assign(**{stage: True})
        shown = shown.merge(reached, on=["request_id", "item_id"], how="left")
        shown[stage] = shown[stage].notna()
    return shown


def assert_binomial(count: int, trials: int, probability: float) -> None:
    low, high = stats.binom.interval(SURE, trials, probability)
    assert low <= count <= high, f"{count} of {trials} at {probability:.5f}: outside [{low:.0f}, {high:.0f}]"


def test_every_stage_is_reached_as_often_as_the_truth_says(shop: Made, slots: pd.DataFrame) -> None:
    truth = shop.truth["funnel"]
    assert truth["slots"] == len(slots)
    for stage in STAGES:
        rate = truth["rates"][f"{stage}_per_pageview"] / shop.simulation.page.slots
        assert_binomial(int(slots[stage].sum()), len(slots), rate)
    pages = slots.groupby("request_id").purchase.any()
    assert_binomial(int(pages.sum()), len(pages), truth["rates"]["pageviews_with_purchase"])


def test_rates_of_the_truth_belong_together(shop: Made) -> None:
    rates = shop.truth["funnel"]["rates"]
    clicks = rates["click_per_slot"] * shop.simulation.page.slots
    assert rates["click_per_pageview"] == pytest.approx(clicks)
    assert rates["transfer_per_pageview"] == pytest.approx(clicks * rates["transfer_per_click"])
    assert rates["purchase_per_pageview"] == pytest.approx(
        clicks * rates["transfer_per_click"] * rates["purchase_per_transfer"]
    )
    assert sum(shop.truth["funnel"]["shown"].values()) == pytest.approx(1)


def test_conditional_rates_are_the_declared_ones_where_items_and_users_are_alike() -> None:
    plain = Simulation(
        users=500,
        days=28,
        assortment={"quality_spread": 0},
        segments={"all": {"share": 1, "sessions_per_week": 2}},
        funnel={"transfer": 0.7, "purchase": 0.4, "click": dict.fromkeys(("due", *RELATIONS), 0.3)},
    )
    made = make(plain)
    rates, examined = made.truth["funnel"]["rates"], made.truth["funnel"]["examination"]
    assert rates["click_per_slot"] == pytest.approx(0.3 * np.mean(examined))
    assert rates["transfer_per_click"] == pytest.approx(0.7)
    assert rates["purchase_per_transfer"] == pytest.approx(0.4)


RELATIONS = ("favourite", "line", "category", "other")


def test_every_arm_is_as_its_truth_says(shop: Made, slots: pd.DataFrame) -> None:
    for name, arm in shop.truth["trial"]["arms"].items():
        own = slots[slots.arm == name]
        assert arm["slots"] == len(own)
        for stage in STAGES:
            rate = arm["rates"][f"{stage}_per_pageview"] / shop.simulation.page.slots
            assert_binomial(int(own[stage].sum()), len(own), rate)


def test_true_effects_are_the_declared_ones(shop: Made) -> None:
    trial = shop.truth["trial"]
    effects = trial["arms"]["treatment"]["effects"]
    assert (effects["click_per_slot"], effects["transfer_per_click"], effects["purchase_per_transfer"]) == (
        0.2,
        -0.1,
        0.1,
    )
    assert effects["purchase_per_pageview"] == pytest.approx(1.2 * 0.9 * 1.1 - 1)
    assert set(trial["arms"]["control"]["effects"].values()) == {0.0}
    all_had, none_had = trial["arms"]["treatment"]["if_all_had"], trial["if_none_had"]
    for rate, effect in effects.items():
        assert all_had[rate] / none_had[rate] - 1 == pytest.approx(effect)


@pytest.mark.parametrize("stage", STAGES)
def test_an_experiment_finds_the_effect(shop: Made, slots: pd.DataFrame, stage: str) -> None:
    """Users are what is assigned: the difference of ratios by the delta method, five standard errors wide."""
    effect = shop.truth["trial"]["arms"]["treatment"]["effects"][f"{stage}_per_pageview"]
    users = slots.groupby(["arm", "user_id"])[stage].agg(["sum", "count"])
    mean, variance = {}, {}
    for arm in ("control", "treatment"):
        reached, shown = users.loc[arm, "sum"].to_numpy(float), users.loc[arm, "count"].to_numpy(float)
        mean[arm] = reached.sum() / shown.sum()
        variance[arm] = np.var(reached - mean[arm] * shown) / shown.mean() ** 2 / len(shown)
    ratio = mean["treatment"] / mean["control"]
    error = ratio * np.sqrt(sum(variance[arm] / mean[arm] ** 2 for arm in mean))
    assert abs(ratio - 1 - effect) < 5 * error
    assert error < 0.05


def test_without_a_trial_there_is_no_arm() -> None:
    made = make(Simulation(users=20, days=10))
    assert made.truth["trial"] is None
    assert made.exposures["arm"].null_count == len(made.exposures)


def test_explored_pages_show_the_position_bias_as_it_is(shop: Made, slots: pd.DataFrame) -> None:
    """In random order every position has the same items: clicks fall as looks do."""
    explored = slots[slots.explored]
    assert_binomial(explored.request_id.nunique(), slots.request_id.nunique(), shop.simulation.page.explored)
    clicks = explored.groupby("position").click.agg(["sum", "count"])
    examined = np.array(shop.truth["funnel"]["examination"])
    overall = clicks["sum"].sum() / (clicks["count"] * examined).sum()
    for count, shown, look in zip(clicks["sum"], clicks["count"], examined, strict=True):
        assert_binomial(int(count), int(shown), overall * look)
    assert slope(clicks) == pytest.approx(-shop.simulation.page.position_bias, abs=0.08)


def test_ranked_pages_show_more_than_the_position_bias(shop: Made, slots: pd.DataFrame) -> None:
    ranked = slots[~slots.explored].groupby("position").click.agg(["sum", "count"])
    assert slope(ranked) < -shop.simulation.page.position_bias - 0.3


def slope(clicks: pd.DataFrame) -> float:
    """Return how the logarithm of the click rate falls with the logarithm of the position."""
    return float(np.polyfit(np.log(clicks.index.to_numpy(float)), np.log(clicks["sum"] / clicks["count"]), 1)[0])


def test_orders_are_late_and_cancelled_as_often_as_declared(shop: Made) -> None:
    orders = shop.events.to_pandas().query("event_type == 'purchase'").sort_values("created_timestamp")
    first = orders.drop_duplicates("event_id")
    delay = first.created_timestamp - first.event_timestamp
    spec = shop.simulation.orders
    late = delay > pd.Timedelta(0)
    assert_binomial(int(late.sum()), len(first), spec.late)
    assert delay[late].min() >= spec.late_by[0]
    assert delay[late].max() <= spec.late_by[1]
    assert_binomial(int((newest(shop.events).quantity == 0).sum()), len(first), spec.cancelled)
    second = orders[orders.quantity == 0].merge(first, on="event_id")
    waited = second.created_timestamp_x - second.created_timestamp_y
    assert waited.min() >= spec.cancelled_after[0]
    assert waited.max() <= spec.cancelled_after[1]
    more = int((first.quantity > 1).sum())
    assert_binomial(more, len(first), spec.more_than_one)
    assert first.quantity.mean() == pytest.approx(shop.truth["orders"]["mean_quantity"], rel=0.05)


def test_sessions_follow_the_seasons() -> None:
    """Given the users, sessions of a day are Poisson: their sum and their spread over days are known."""
    simulation = Simulation(
        users=3_000,
        days=364,
        start="2023-01-01",
        segments={"all": {"share": 1, "sessions_per_week": 0.7}},
        season={"yearly": 0.4, "peak": 180, "trend": 0.5},
    )
    made = make(simulation)
    sessions = made.exposures.to_pandas().drop_duplicates("session_id")
    day = ((sessions.event_timestamp - simulation.start).dt.days).to_numpy()
    count = np.bincount(day, minlength=simulation.days)
    weights = np.array(made.truth["sessions"]["day_weights"])
    mean = made.truth["sessions"]["expected"] * weights / weights.sum()
    low, high = stats.poisson.interval(SURE, mean.sum())
    assert low <= count.sum() <= high
    chi_square = float(((count - mean) ** 2 / mean).sum())
    assert stats.chi2.ppf(1e-6, simulation.days) < chi_square < stats.chi2.isf(1e-6, simulation.days)
    weekday = (simulation.start.weekday() + np.arange(simulation.days)) % 7
    by_weekday = np.array([count[weekday == each].mean() for each in range(7)])
    declared = np.array(simulation.season.weekly)
    assert by_weekday / by_weekday.mean() == pytest.approx(declared / declared.mean(), rel=0.05)
    # The peak lies in the middle of the year, and the second half has half a year's growth on the first.
    assert count[150:210].mean() > 1.5 * count[:30].mean()
    assert count[-90:].sum() > 1.2 * count[:90].sum()


def test_segments_have_their_shares_and_their_activity() -> None:
    segments = {
        "light": {"share": 0.75, "sessions_per_week": 0.5},
        "heavy": {"share": 0.25, "sessions_per_week": 4.0},
    }
    made = make(Simulation(users=4_000, days=28, segments=segments, season={"trend": 0, "yearly": 0}))
    heavy = made.truth["segments"]["heavy"]["users"]
    assert_binomial(heavy, 4_000, 0.25)
    assert made.truth["sessions"]["expected"] == pytest.approx(4 * (heavy * 4 + (4_000 - heavy) * 0.5), rel=0.05)


def test_the_first_days_are_like_all_others() -> None:
    """Without a trend or joining users nothing tells the beginning from the end."""
    segments = {"light": {"share": 0.8, "sessions_per_week": 0.7}, "heavy": {"share": 0.2, "sessions_per_week": 5}}
    made = make(Simulation(users=4_000, days=70, complete=True, segments=segments))
    events = made.events.to_pandas().drop_duplicates("event_id")
    week = (events.event_timestamp - made.simulation.start).dt.days // 7
    counts = pd.crosstab(week, events.event_type)
    orders = counts["purchase"] / counts["pageview"]
    assert orders.to_numpy() == pytest.approx(orders.mean(), rel=0.08)
