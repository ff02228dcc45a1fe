"""Is what came put beside what was expected, of those really contacted, and are wrong probabilities told?"""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from recsys.evaluation.campaign_lists import SentCampaign, acted_within, calibration, kept
from recsys.statistics.chances import Chances, share_acting, share_reached
from tests.evaluation.campaign_shops import Shop

SHOP = Shop.of(2_000, 4)


@pytest.fixture
def campaign() -> SentCampaign:
    return SHOP.campaign(200, ())


def acts(seed: int, factor: float = 1.0) -> np.ndarray:  # type: ignore[type-arg]
    return np.random.default_rng(seed).random(len(SHOP.ids)) < SHOP.chances * factor


def test_precision_and_recall_are_those_of_who_was_contacted(campaign: SentCampaign) -> None:
    acted = acts(1)
    found = kept(campaign, acted)
    on_list = campaign.on_list
    assert (found.listed, found.sent, found.eligible) == (200, 200, 2_000)
    assert found.precision == pytest.approx(acted[on_list].mean())
    assert found.recall == pytest.approx((acted & on_list).sum() / acted.sum())
    scores = campaign.scores
    assert found.expected_precision == share_acting(scores[on_list])
    assert found.expected_recall == share_reached(Chances.of(scores[on_list]), Chances.of(scores[~on_list]))


def test_what_was_not_sent_is_not_expected_either(campaign: SentCampaign) -> None:
    sent = campaign.on_list & (np.arange(2_000) % 2 == 0)
    table = campaign.eligible
    half = replace(campaign, eligible=table.set_column(table.column_names.index("sent"), "sent", pa.array(sent)))
    acted = acts(2)
    found = kept(half, acted)
    assert (found.listed, found.sent, found.acted) == (200, int(sent.sum()), int((acted & sent).sum()))
    assert found.expected_precision == share_acting(campaign.scores[sent])
    assert found.stated_precision == campaign.stated_precision


def test_right_probabilities_hold_their_promise_in_95_of_100_campaigns(campaign: SentCampaign) -> None:
    found = [kept(campaign, acts(seed)) for seed in range(300)]
    for value, bounds in (("precision", "expected_precision"), ("recall", "expected_recall")):
        held = np.mean([getattr(each, bounds).holds(getattr(each, value)) for each in found])
        assert 0.92 <= held <= 0.99


def test_tenths_and_a_test_tell_probabilities_that_are_twice_too_high(campaign: SentCampaign) -> None:
    (right,) = calibration([campaign], [acts(1)])
    assert right.contacts == 200
    assert sum(each.count for each in right.reliability.bins) == 200
    assert len(right.reliability.bins) == 10
    assert right.p_value > 0.01
    (wrong,) = calibration([campaign], [acts(1, factor=0.5)])
    assert wrong.p_value < 0.001


def test_scores_that_are_no_probabilities_promise_nothing(campaign: SentCampaign) -> None:
    scores = replace(campaign, stated_precision=None, stated_recall=None)
    found = kept(scores, acts(1))
    assert (found.expected_precision, found.expected_recall) == (None, None)
    assert found.precision is not None
    assert calibration([scores], [acts(1)]) == ()


def test_where_nobody_acts_there_is_no_recall(campaign: SentCampaign) -> None:
    nobody = acted_within(campaign, pa.array([], pa.string()))
    assert not nobody.any()
    assert kept(campaign, nobody).recall is None
