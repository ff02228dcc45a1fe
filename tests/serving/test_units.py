"""Does a campaign reach the units with the highest scores, by the values that a training row would have?"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recsys.candidates.pool import to_numpy
from recsys.errors import FeatureError
from recsys.ports import FeatureSet, RequestTransform, ViewInfo
from recsys.schema import CREATED_TIMESTAMP, EVENT_TIMESTAMP, REQUEST_TIMESTAMP, TIMESTAMP, USER
from recsys.serving.units import select_units, unit_columns
from recsys.specs.placement import Audience, Pool
from tests.fakes.features import FakeFeatures
from tests.fakes.ranker import FakeRanker
from tests.serving.small_shop import DAY, NOW, TICK, row

ACTIVE = ViewInfo("active", (USER,), ("visits", "seen"), {"visits": "number", "seen": "time"}, 7 * DAY)
PROFILE = ViewInfo("profile", (USER,), ("age",), {"age": "text"}, None)
PAIR = ViewInfo("pair", (USER, "item_id"), ("times",), {"times": "number"}, None)
AUDIENCE = Audience(problem="p", model="m", units=Pool(view="active", feature="visits", minimum=1))
WANTED = ["active:visits", "profile:age", "ages:days_since"]


def ages(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Bring a state to the time of the request."""
    return {"days_since": (inputs[REQUEST_TIMESTAMP] - inputs["seen"]) / np.timedelta64(86_400_000_000, "us")}


@pytest.fixture
def features() -> FakeFeatures:
    """Give five units: one with everything, one past the TTL at `NOW`, one without a profile, one too small."""
    active = [
        row(NOW, user_id="c", visits=2.0, seen=NOW - DAY),
        row(NOW - 7 * DAY - TICK, user_id="gone", visits=9.0, seen=NOW),
        row(NOW - DAY, user_id="b", visits=2.0, seen=None),
        row(NOW, user_id="small", visits=0.5, seen=NOW),
        row(NOW, user_id="a", visits=5.0, seen=NOW - 2 * DAY),
    ]
    schema = pa.schema([(EVENT_TIMESTAMP, TIMESTAMP), (CREATED_TIMESTAMP, TIMESTAMP), (USER, pa.string())])
    profile = [row(NOW - 99 * DAY, user_id=user, age=f"age of {user}") for user in ("a", "c", "gone")]
    made = FakeFeatures(
        (ACTIVE, PROFILE, PAIR),
        {
            "active": pa.Table.from_pylist(active, pa.schema([*schema, ("visits", pa.float64()), ("seen", TIMESTAMP)])),
            "profile": pa.Table.from_pylist(profile, pa.schema([*schema, ("age", pa.string())])),
            "pair": pa.schema([*schema, ("item_id", pa.string()), ("times", pa.float64())]).empty_table(),
        },
        transforms=[RequestTransform("ages", ("seen", REQUEST_TIMESTAMP), ("days_since",), ages)],
    )
    made.materialize(NOW)
    return made


def test_columns_are_those_of_a_training_row(features: FakeFeatures) -> None:
    """Also of units that a view does not know, or no longer."""
    wanted = features.feature_set(WANTED)
    units = pa.array(["a", "b", "c", "gone", "nobody", "small"])
    stamps = pa.array([NOW] * len(units), TIMESTAMP)
    asked = pa.table({USER: units, EVENT_TIMESTAMP: stamps, REQUEST_TIMESTAMP: stamps})
    trained = features.historical(asked, wanted)
    served = unit_columns(features, wanted, units, NOW)
    assert list(served) == list(wanted.columns)
    for name, values in served.items():
        np.testing.assert_array_equal(values, to_numpy(trained[name]), err_msg=name)
    assert served["age"].tolist() == ["age of a", "unknown", "age of c", "age of gone", "unknown", "unknown"]
    assert np.isnan(served["visits"][[3, 4]]).all()
    assert served["days_since"][0] == 2


@pytest.mark.parametrize(
    ("capacity", "reached"), [(1, ["a"]), (2, ["a", "b"]), (3, ["a", "b", "c"]), (9, ["a", "b", "c"])]
)
def test_the_best_are_reached_and_equal_ones_by_id(features: FakeFeatures, capacity: int, reached: list[str]) -> None:
    ranker = FakeRanker((("visits", 1.0),))
    found = select_units(features, AUDIENCE, features.feature_set(["active:visits"]), ranker, capacity, NOW)
    assert found.units.to_pylist() == reached
    assert found.scores.tolist() == [5.0, 2.0, 2.0][: len(reached)]
    assert found.eligible == 3


def test_features_of_items_are_refused(features: FakeFeatures) -> None:
    wanted: FeatureSet = features.feature_set(["pair:times"])
    with pytest.raises(FeatureError, match="view pair is keyed by user_id, item_id, and the problem selects units"):
        unit_columns(features, wanted, pa.array(["a"]), NOW)
