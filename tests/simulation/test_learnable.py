"""Is there something to learn: do people buy again what they bought, and the newest most of all?"""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from recsys.specs.simulation import Simulation
from tests.simulation.shops import make, newest

K = 10
DAY = np.timedelta64(86_400_000_000, "us")
WEEK = 7 * DAY


@pytest.fixture(scope="module")
def purchases() -> pd.DataFrame:
    made = make(Simulation(users=3_000))
    return newest(made.events).query("event_type == 'purchase' and quantity > 0")


def ndcg(past: pd.DataFrame, weights: pd.Series, future: pd.Series) -> float:
    """Return the mean NDCG@10 of lists by each user's summed weights, filled up by popularity."""
    popular = past.groupby("item_id").size().sort_values(ascending=False, kind="stable").index[: 3 * K].tolist()
    scores = past.assign(weight=weights).groupby(["user_id", "item_id"]).weight.sum().reset_index()
    scores = scores.sort_values(["user_id", "weight"], ascending=[True, False], kind="stable")
    own = scores.groupby("user_id").item_id.agg(list).to_dict()
    discount = 1 / np.log2(np.arange(2, K + 2))
    found = []
    for user, bought in future.items():
        first = [item for item in own.get(user, []) if item][:K]
        shown = (first + [item for item in popular if item not in first])[:K]
        hits = np.array([item in bought for item in shown])
        found.append((hits * discount).sum() / discount[: min(K, len(bought))].sum())
    return float(np.mean(found))


def test_personal_frequency_beats_popularity_and_recency_adds_to_it(purchases: pd.DataFrame) -> None:
    gains = []
    for weeks in (1, 3, 5, 7):
        cut = purchases.event_timestamp.max().normalize() - weeks * WEEK
        past = purchases[purchases.event_timestamp < cut]
        following = purchases[purchases.event_timestamp.between(cut, cut + WEEK, "left")]
        future = following.groupby("user_id").item_id.agg(set)
        age = (cut - past.event_timestamp) / (60 * DAY)
        nobody = past.assign(user_id="nobody")
        popularity = ndcg(nobody, pd.Series(1.0, nobody.index), future)
        frequency = ndcg(past, pd.Series(1.0, past.index), future)
        decayed = ndcg(past, 0.5**age, future)
        gains.append((popularity, frequency, decayed))
    popularity, frequency, decayed = np.mean(gains, axis=0)
    assert frequency > 2 * popularity
    assert decayed > frequency + 0.005


def test_needs_come_back_in_the_users_own_rhythm() -> None:
    """Where all is shown, looked at and bought, the time between two orders is the declared one."""
    simulation = Simulation(
        users=600,
        days=300,
        segments={"all": {"share": 1, "sessions_per_week": 14}},
        season={"weekly": [1, 1, 1, 1, 1, 1, 1], "yearly": 0, "trend": 0},
        assortment={"items": 500, "quality_spread": 0},
        habits={
            "activity_shape": 1_000,
            "favourites": 1,
            "favourite_lasts": "9999d",
            "repurchase": "30d",
            "repurchase_spread": 0,
            "regularity": 25,
        },
        page={"slots": 1, "favourites": 1, "popular": 0, "position_bias": 0, "per_session": 1},
        funnel={
            "click": {"due": 1, "favourite": 1e-9, "line": 1e-9, "category": 1e-9, "other": 1e-9},
            "transfer": 1,
            "purchase": 1,
        },
        orders={"cancelled": 0, "late": 0},
    )
    bought = make(simulation).events.to_pandas().query("event_type == 'purchase'")
    gaps = bought.groupby(["user_id", "item_id"]).event_timestamp.diff().dropna() / DAY
    # A gap is gamma with a standard deviation of a fifth of its mean; visits come twice a day.
    for share in (0.05, 0.5, 0.95):
        assert gaps.quantile(share) == pytest.approx(stats.gamma.ppf(share, 25, scale=30 / 25), rel=0.03)


def test_loyal_users_stay_with_their_line() -> None:
    lines = {}
    for loyalty in (0.0, 1.0):
        made = make(
            Simulation(
                users=300,
                days=60,
                habits={"loyalty": loyalty},
                assortment={"departments": 5, "categories": 5, "lines": 20},
            )
        )
        bought = made.events.to_pandas().query("event_type == 'purchase'").merge(made.items.to_pandas(), on="item_id")
        per_user = bought.groupby(["user_id", "category"]).agg(lines=("line_id", "nunique"), items=("item_id", "size"))
        lines[loyalty] = per_user[per_user["items"] >= 3].lines.mean()
    assert lines[1.0] < 0.7 * lines[0.0]
