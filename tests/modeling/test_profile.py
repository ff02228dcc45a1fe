"""Does the profile of a training set count what is in it?"""

from datetime import UTC, datetime, timedelta

import pyarrow as pa

from recsys.modeling.profile import by_week, profile
from recsys.ports import FeatureSet, ViewInfo
from recsys.schema import EVENT_TIMESTAMP, LABEL, TIMESTAMP

MONDAY = datetime(2024, 1, 1, tzinfo=UTC)
WEEK = timedelta(days=7)
FEATURES = FeatureSet(
    name="some",
    columns=("times", "category"),
    references=("pair:times", "pair:category"),
    views=(ViewInfo("pair", ("user_id",), ("times", "category"), {"times": "number", "category": "text"}, None),),
)


def test_rows_positives_ages_and_what_is_missing_by_decision_time() -> None:
    at = [MONDAY + WEEK, MONDAY, MONDAY, MONDAY]
    rows = pa.table(
        {
            EVENT_TIMESTAMP: pa.array(at, TIMESTAMP),
            LABEL: pa.array([1, 0, 1, 0], pa.float32()),
            "times": pa.array([None, 1.0, float("nan"), 2.0]),
            "category": pa.array(["a", "b", None, "c"]),
        }
    )
    matched = pa.table(
        {
            EVENT_TIMESTAMP: pa.array(
                [None, MONDAY - timedelta(days=1), MONDAY - timedelta(days=4), MONDAY - timedelta(hours=12)], TIMESTAMP
            )
        }
    )
    first, second = profile(rows, FEATURES, {"pair": matched}, {"click": pa.array([True, True, True, False])})
    assert first == {
        "decision_time": "2024-01-01T00:00:00+00:00",
        "rows": 3,
        "positives": 1,
        "stages": {"click": 2},
        "views": {"pair": {"missing": 0.0, "median_age_days": 1.0, "oldest_days": 4.0}},
        "missing": {"times": 0.333333, "category": 0.333333},
    }
    assert second["views"]["pair"] == {"missing": 1.0, "median_age_days": None, "oldest_days": None}
    assert by_week([first, second]) == [
        ["2024-01-01", "3", "1", "1.0 d, 0% none"],
        ["2024-01-08", "1", "1", "- d, 100% none"],
    ]
