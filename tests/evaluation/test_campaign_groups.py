"""Are those held out the ones who would have been chosen, and is it found where they are not?"""

import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from recsys.evaluation.campaign_groups import HELD_OUT, REACHED, groups, held_out_share
from recsys.evaluation.campaign_lists import SentCampaign
from recsys.experiment.bucketing import buckets
from recsys.schema import SCORE, USER
from recsys.specs.layer import Layer
from tests.evaluation.campaign_shops import DAY, MADE, Shop

SHOP = Shop.of(3_000, 2)
NOBODY = pa.table({USER: pa.array([], pa.string())})
LAYER = Layer(seed="campaigns:", holdout=(0.0, 0.2))


def with_column(campaign: SentCampaign, name: str, values: pa.Array) -> SentCampaign:
    table = campaign.eligible
    return replace(campaign, eligible=table.set_column(table.column_names.index(name), name, values))


def test_both_groups_stand_above_the_cut_and_the_one_right_at_it_in_neither() -> None:
    campaign = SHOP.campaign(300, (LAYER,))
    contacts = groups([campaign], NOBODY).contacts
    scores = campaign.scores[np.argsort(-campaign.scores)]
    cut = campaign.scores[campaign.on_list].min()
    assert contacts[SCORE].to_numpy().min() > cut
    assert len(contacts) == int((scores > cut).sum())
    by_hash = buckets("campaigns:", contacts[USER]) < 2_000
    assert (np.asarray(pc.equal(contacts["arm"], HELD_OUT)) == by_hash).all()


def test_a_list_that_is_not_full_has_no_cut() -> None:
    campaign = SHOP.campaign(300, (LAYER,))
    campaign = replace(campaign, capacity=3_000)
    units = groups([campaign], NOBODY).health.units
    assert units[REACHED] == 300


def test_who_may_not_be_contacted_is_in_no_group() -> None:
    campaign = SHOP.campaign(300, (LAYER,))
    some = np.arange(3_000) % 2 == 0
    rank = campaign.eligible["rank"].to_numpy(zero_copy_only=False)
    quiet = with_column(campaign, "willing", pa.array(some))
    quiet = with_column(quiet, "rank", pa.array(np.where(some, rank, np.nan), from_pandas=True).cast(pa.int32()))
    found = groups([quiet], NOBODY).contacts[USER].to_pylist()
    assert found
    assert set(found) <= {unit for unit, is_willing in zip(SHOP.ids, some, strict=True) if is_willing}


def test_a_split_that_is_not_the_draws_is_invalid_and_one_that_is_is_not() -> None:
    """Contacts that lower the scores of those held out, as a count of mails does, take them from above the cut."""
    campaign = SHOP.campaign(300, (LAYER,))
    assert groups([campaign], NOBODY).health.failures == ()
    held = np.asarray(campaign.eligible["held_out"])
    above = np.asarray(campaign.eligible["above_cut"]) & ~(held & (np.arange(3_000) % 5 > 0))
    found = groups([with_column(campaign, "above_cut", pa.array(above))], NOBODY).health
    assert found.sample_ratio_p_value < 0.001
    assert "give the layer a new seed" in found.failures[0]


def test_other_scores_above_the_cut_are_invalid_where_the_numbers_agree() -> None:
    campaign = SHOP.campaign(300, (LAYER,))
    held = np.asarray(campaign.eligible["held_out"])
    moved = with_column(campaign, SCORE, pa.array(np.where(held, campaign.scores * 1.6, campaign.scores)))
    found = groups([moved], NOBODY).health
    assert found.sample_ratio_p_value > 0.001
    assert found.score_p_value < 0.001
    assert "Above the cut, scores of those held out are others" in " ".join(found.failures)


def test_the_draw_itself_fails_as_seldom_as_the_level_says() -> None:
    """Of 300 seeds of a layer hardly any has a split or scores that are called unsound at 1 in 1,000."""
    found = [
        groups([SHOP.campaign(200, (Layer(seed=f"c{seed}:", holdout=(0.0, 0.1)),))], NOBODY).health
        for seed in range(300)
    ]
    assert sum(bool(each.failures) for each in found) <= 3
    values = np.array([each.score_p_value for each in found])
    assert 0.01 <= np.mean(values < 0.05) <= 0.1


def test_holdouts_that_grew_compare_those_who_never_changed_sides() -> None:
    """Read as they were applied then: who was reached first and held out later is in neither group."""
    wider = Layer(seed="campaigns:", holdout=(0.0, 0.3))
    first = SHOP.campaign(300, (LAYER,))
    second = SHOP.campaign(300, (wider,), MADE + 30 * DAY)
    found = groups([first, second], NOBODY)
    at = buckets("campaigns:", found.contacts[USER])
    arms = np.asarray(pc.equal(found.contacts["arm"], HELD_OUT))
    assert (at[arms] < 2_000).all()
    assert (at[~arms] >= 3_000).all()
    assert found.health.switched > 0
    assert found.health.held_out_share == pytest.approx(0.2 / 0.9)
    assert found.health.failures == ()


@pytest.mark.parametrize(
    ("configurations", "share"),
    [
        ([()], 0.0),
        ([(LAYER,)], 0.2),
        ([(LAYER, Layer(seed="other:", holdout=(0.5, 0.6)))], 1 - 0.8 * 0.9),
        ([(LAYER,), (Layer(seed="campaigns:", holdout=(0.1, 0.3)),)], 0.1 / 0.8),
        ([(LAYER,), (Layer(seed="other:", holdout=(0.0, 0.1)),)], 0.02 / (0.02 + 0.8 * 0.9)),
        ([(LAYER,), ()], 0.0),
    ],
)
def test_the_share_that_holdouts_give_is_exact(configurations: list[tuple[Layer, ...]], share: float) -> None:
    assert held_out_share(configurations) == pytest.approx(share)


def test_what_spoils_a_comparison_is_told() -> None:
    """Files that were edited, contacts of those held out, and losses that differ."""
    campaign = SHOP.campaign(300, (LAYER,))
    held = np.asarray(campaign.eligible["held_out"]).copy()
    held[:5] = ~held[:5]
    edited = groups([with_column(campaign, "held_out", pa.array(held))], NOBODY).health
    assert edited.mismatched == 5
    assert "5 rows say another holdout than their ids give" in " ".join(edited.failures)
    contacts = groups([campaign], NOBODY).contacts
    users = contacts[USER].filter(pc.equal(contacts["arm"], HELD_OUT)).slice(0, 4)
    crossed = groups([campaign], pa.table({USER: users})).health
    assert crossed.contacted == 4
    assert "4 of" in crossed.failures[0]
    before = replace(campaign, written={REACHED: 400, HELD_OUT: campaign.written[HELD_OUT]})
    lost = groups([before], NOBODY).health
    assert lost.lost == {REACHED: 100, HELD_OUT: 0}
    assert "100 of those reached and 0 of those held out were forgotten" in lost.failures[-1]


def test_scores_without_numbers_are_compared_by_those_that_have_one() -> None:
    campaign = SHOP.campaign(300, (LAYER,))
    nothing = with_column(campaign, SCORE, pa.array(np.full(3_000, np.nan)))
    assert math.isnan(groups([nothing], NOBODY).health.score_p_value)
