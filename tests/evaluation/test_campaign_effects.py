"""Is what contacts add read as it was planted, and nothing where nothing was?"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from numpy.typing import NDArray

from recsys.evaluation.campaign_effects import ALL, Brought, brought
from recsys.evaluation.campaign_groups import HELD_OUT, REACHED, groups
from recsys.evaluation.campaign_lists import SentCampaign
from recsys.evaluation.campaign_outcomes import Outcome, compare_acts, compare_means, power_of
from recsys.evaluation.campaign_units import contact_metrics
from recsys.experiment.routing import held_out
from recsys.schema import USER
from recsys.specs.funnel import Planning
from recsys.specs.layer import Layer
from recsys.specs.online_metric import EventCount, OnlineMetric
from recsys.specs.problem import Target
from tests.evaluation.campaign_shops import DAY, MADE, Shop, events
from tests.fakes.engine import FakeEngine

TARGET: Final = Target(event="redeemed", horizon=timedelta(days=14))
NOW: Final = MADE + 60 * DAY
REVENUE: Final = OnlineMetric(
    description="spent", numerator=EventCount(event="purchase", of="any", count="value"), denominator="units"
)
NOBODY: Final = pa.table({USER: pa.array([], pa.string())})
SHOP: Final = Shop.of(4_000, 1)
CAPACITY: Final = 500
SEEDS: Final = 400


def layer(seed: int, share: float = 0.2) -> Layer:
    return Layer(seed=f"campaigns{seed}:", holdout=(0.0, share))


def compared(campaigns: Sequence[SentCampaign], outcomes: pa.Table, **metrics: OnlineMetric) -> tuple[Brought, ...]:
    made = groups(campaigns, NOBODY)
    return brought(FakeEngine(), made, outcomes, TARGET, Planning(), metrics, NOW)


class Draws:
    """The same shop and campaign, with another holdout and other outcomes at each seed."""

    def __init__(self, added: float) -> None:
        """Draw them all; a unit has one contact, so that its sums are what it did."""
        self.acts: list[Outcome] = []
        self.money: list[Outcome] = []
        self.naive: list[tuple[float, float]] = []
        act, spent = contact_metrics(TARGET, {"revenue": REVENUE})
        ids, order = pa.array(SHOP.ids), np.argsort(-SHOP.chances, kind="stable")
        for seed in range(SEEDS):
            generator = np.random.default_rng(seed)
            held = held_out(layer(seed), ids)
            chosen = order[~held[order]][:CAPACITY]
            reached = np.isin(np.arange(len(held)), chosen)
            above = order[: int(np.flatnonzero(order == chosen[-1])[0])]  # without the one at the cut
            acted = generator.random(len(held)) < np.clip(SHOP.chances + added * reached, 0, 1)
            value = 40 * SHOP.chances + generator.lognormal(3, 0.5, len(held)) + 4 * added * reached
            self.naive.append(_wald(acted[reached], acted[~reached]))
            ones, scores = np.ones(len(above)), SHOP.chances[above]
            columns = {"arm": np.where(held[above], HELD_OUT, REACHED)}
            for metric, sums in ((act, acted), (spent, value)):
                columns |= dict(zip(metric.columns, (sums[above].astype(float), ones, scores, ones), strict=True))
            self.units = pa.table(columns)
            for metric, found, compare in ((act, self.acts, compare_acts), (spent, self.money, compare_means)):
                outcome = compare(metric, self.units, CAPACITY, alpha=0.05)
                assert outcome is not None
                found.append(outcome)
        self.act = act

    def holding(self, truth: float) -> float:
        """Return in which share of the draws the interval holds the truth."""
        return float(np.mean([each.absolute.holds(truth) for each in self.acts]))


def _wald(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> tuple[float, float]:
    difference = one.mean() - other.mean()
    half = 1.96 * np.sqrt(one.var() / len(one) + other.var() / len(other))
    return difference - half, difference + half


@pytest.fixture(scope="module")
def effective() -> Draws:
    return Draws(added=0.08)


@pytest.fixture(scope="module")
def idle() -> Draws:
    return Draws(added=0.0)


# ---------------------------------------------------------------- the planted truth


def test_the_interval_holds_what_was_planted(effective: Draws) -> None:
    """In at least 93 % of the draws; and it is on average where the truth is."""
    assert 0.93 <= effective.holding(0.08) <= 0.98
    estimates = [each.absolute.estimate for each in effective.acts]
    assert np.mean(estimates) == pytest.approx(0.08, abs=3 * np.std(estimates) / np.sqrt(SEEDS))


def test_where_a_contact_adds_nothing_nothing_is_claimed_more_often_than_alpha(idle: Draws) -> None:
    claimed = np.mean([not each.absolute.holds(0.0) for each in idle.acts])
    assert claimed <= 0.065
    assert claimed > 0.01


def test_who_was_simply_not_reached_is_the_wrong_comparison(idle: Draws, effective: Draws) -> None:
    """They have lower scores: without any effect that interval never holds 0, and never holds the planted one."""
    assert all(lower > 0 for lower, _ in idle.naive)
    assert not any(lower <= 0.08 <= upper for lower, upper in effective.naive)


def test_money_is_read_with_the_score_as_a_covariate(effective: Draws) -> None:
    assert all(each.cuped for each in effective.money)
    assert np.mean([each.absolute.holds(0.32) for each in effective.money]) >= 0.93
    one = effective.money[0]
    assert one.per_thousand.estimate == pytest.approx(1_000 * one.absolute.estimate)
    assert one.total.upper == pytest.approx(CAPACITY * one.absolute.upper)


def test_the_effect_that_can_be_detected_is_detected_so_often(idle: Draws) -> None:
    """Contacts that add it are said to add in about 8 of 10 draws, by the declared power."""
    power = power_of(idle.act, idle.units, Planning())
    assert power is not None
    held = float(np.mean([each.held_out for each in idle.acts]))
    found = Draws(added=power.detectable * held).acts
    assert 0.7 <= np.mean([each.absolute.lower > 0 for each in found]) <= 0.9
    counts = pc.value_counts(idle.units["arm"]).to_pylist()
    reached, others = (next(one["counts"] for one in counts if one["values"] == arm) for arm in (REACHED, HELD_OUT))
    assert power.needed_reached / power.needed_held_out == pytest.approx(reached / others, rel=0.01)


# ---------------------------------------------------------------- the whole way


def test_a_campaign_is_counted_as_it_was_drawn() -> None:
    """From lists, holdouts and events to both groups' shares."""
    campaign = SHOP.campaign(CAPACITY, (layer(3),))
    acted, outcomes = SHOP.acts(np.random.default_rng(3), campaign.on_list, 0.08, value=0.3)
    (found,) = compared([campaign], outcomes, revenue=REVENUE)
    above = np.asarray(campaign.eligible["above_cut"])
    held = np.asarray(campaign.eligible["held_out"])
    last = np.asarray(pc.fill_null(pc.equal(campaign.eligible["rank"], CAPACITY), False))
    assert found.scope == ALL
    assert found.contacts == {"reached": CAPACITY - 1, "held_out": int((above & held).sum())} == found.units
    assert found.primary is not None
    assert found.primary.reached == pytest.approx(acted[campaign.on_list & ~last].mean())
    assert found.primary.held_out == pytest.approx(acted[above & held].mean())
    assert found.primary.total.estimate == pytest.approx(CAPACITY * found.primary.absolute.estimate)
    assert [one.metric for one in found.metrics] == ["revenue"]
    assert (found.overlapping, found.sent_share) == (0, 1.0)


def test_an_act_counts_in_the_latest_contact_before_it_and_windows_that_overlap_are_told() -> None:
    """Two campaigns a week apart, on one channel and on two; each act after both is the second one's."""
    for channel, scopes in (("sms", 1), ("phone", 3)):
        first = SHOP.campaign(CAPACITY, (layer(3),))
        second = SHOP.campaign(CAPACITY, (layer(3),), MADE + 7 * DAY, channel)
        users = pa.array(SHOP.ids).filter(pa.array(first.on_list))
        outcomes = events("redeemed", users, MADE + 8 * DAY)
        found = compared([first, second], outcomes)
        assert len(found) == scopes
        everybody = found[0]
        assert everybody.contacts["reached"] == 2 * (CAPACITY - 1)
        assert everybody.units["reached"] == CAPACITY - 1
        assert everybody.primary is not None
        assert everybody.primary.reached == pytest.approx(0.5)
        assert everybody.overlapping == 2 * (CAPACITY - 1)


def test_what_comes_late_or_is_cancelled_is_none() -> None:
    campaign = SHOP.campaign(CAPACITY, (layer(3),))
    users = pa.array(SHOP.ids)
    late = events("redeemed", users, MADE + 14 * DAY + timedelta(microseconds=1))
    at_once = events("redeemed", users, MADE)
    cancelled = events("redeemed", users, MADE + DAY)
    zero = pa.array(np.zeros(len(users)))
    cancelled = cancelled.set_column(cancelled.column_names.index("quantity"), "quantity", zero)
    (found,) = compared([campaign], pa.concat_tables([late, at_once, cancelled]))
    assert found.primary is not None
    assert (found.primary.reached, found.primary.held_out) == (0, 0)
    assert found.primary.absolute.holds(0.0)
    assert found.power is None


def test_a_holdout_without_anybody_above_the_cut_compares_nothing() -> None:
    nobody = Layer(seed="few:", holdout=(0.0, 0.0001))
    campaign = SHOP.campaign(20, (nobody,))
    (found,) = compared([campaign], events("redeemed", pa.array(SHOP.ids), MADE + DAY))
    assert found.contacts["held_out"] == 0
    assert (found.primary, found.power) == (None, None)


def test_where_everybody_changed_sides_nobody_is_compared() -> None:
    lists = [
        SHOP.campaign(20, (Layer(seed="halves:", holdout=half),), MADE + number * 30 * DAY)
        for number, half in enumerate([(0.0, 0.5), (0.5, 1.0)])
    ]
    made = groups(lists, NOBODY)
    assert made.health.switched > 0
    (found,) = brought(FakeEngine(), made, events("redeemed", pa.array(SHOP.ids), MADE), TARGET, Planning(), {}, NOW)
    assert found.contacts == {"reached": 0, "held_out": 0}
    assert (found.primary, found.power, found.sent_share) == (None, None, 0.0)


@pytest.mark.parametrize("measure", ["count", "amount"])
def test_a_target_that_is_an_amount_is_compared_by_its_mean(measure: str) -> None:
    campaign = SHOP.campaign(CAPACITY, (layer(3),))
    _, outcomes = SHOP.acts(np.random.default_rng(5), campaign.on_list, 0.0, value=2.0)
    target = Target.model_validate({"event": "purchase", "horizon": "14d", "measure": measure})
    (found,) = brought(FakeEngine(), groups([campaign], NOBODY), outcomes, target, Planning(), {}, NOW)
    assert found.primary is not None
    if measure == "amount":
        absolute = found.primary.absolute
        assert abs(absolute.estimate - 2.0) < absolute.upper - absolute.lower  # four standard errors
        assert found.primary.cuped
    else:
        assert found.primary.reached == found.primary.held_out == 1
