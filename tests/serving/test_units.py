"""Does a campaign reach the units with the highest scores, by the values that a training row would have?"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from recsys.candidates.pool import to_numpy
from recsys.errors import FeatureError
from recsys.ports import Columns, FeatureSet, RequestTransform, ViewInfo
from recsys.schema import CREATED_TIMESTAMP, EVENT_TIMESTAMP, REQUEST_TIMESTAMP, TIMESTAMP, USER
from recsys.serving import units as units_module
from recsys.serving.contact import Contactable, contactable
from recsys.serving.ranking import feature_digest, row_digests
from recsys.serving.units import AudienceRows, select_units
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
    served = AudienceRows(features, wanted, units, NOW).columns(np.arange(len(units)))
    assert list(served) == list(wanted.columns)
    for name, values in served.items():
        np.testing.assert_array_equal(values, to_numpy(trained[name]), err_msg=name)
    assert served["age"].tolist() == ["age of a", "unknown", "age of c", "age of gone", "unknown", "unknown"]
    assert np.isnan(served["visits"][[3, 4]]).all()
    assert served["days_since"][0] == 2


def everybody(features: FakeFeatures, audience: Audience = AUDIENCE) -> Contactable:
    return contactable(features, audience, "sms", [], frozenset(), NOW)


@pytest.mark.parametrize(
    ("capacity", "reached"), [(1, ["a"]), (2, ["a", "b"]), (3, ["a", "b", "c"]), (9, ["a", "b", "c"])]
)
def test_the_best_are_reached_and_equal_ones_by_id(features: FakeFeatures, capacity: int, reached: list[str]) -> None:
    """Also where the capacity is larger than the list."""
    wanted = features.feature_set(["active:visits"])
    found = select_units(features, everybody(features), wanted, FakeRanker((("visits", 1.0),)), capacity, NOW)
    assert found.units.to_pylist() == reached
    assert found.scores.tolist() == [5.0, 2.0, 2.0][: len(reached)]
    assert found.everybody.mean == 9.0
    columns = AudienceRows(features, wanted, found.units, NOW).columns(np.arange(len(reached)))
    assert found.digests.to_pylist() == [feature_digest(columns, np.array([row])) for row in range(len(reached))]


def test_an_audience_without_anybody_has_an_empty_list(features: FakeFeatures) -> None:
    nobody = Audience(problem="p", model="m", units=Pool(view="active", feature="visits", minimum=99))
    wanted = features.feature_set(["active:visits"])
    found = select_units(features, everybody(features, nobody), wanted, FakeRanker((("visits", 1.0),)), 3, NOW)
    assert (found.units.to_pylist(), found.scores.tolist(), found.everybody.mean) == ([], [], 0.0)


class TableRanker(FakeRanker):
    """Scores each unit as a table says."""

    table: NDArray[np.float64]

    def score(self, columns: Columns) -> NDArray[np.float64]:
        return np.asarray(self.table[columns["visits"].astype(np.int64)])


@given(
    st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, float("nan"), -np.inf]), min_size=1, max_size=30),
    st.data(),
    st.integers(1, 12),
    st.integers(1, 8),
)
@settings(max_examples=60, deadline=None)
def test_chunks_and_ties_do_not_change_who_is_reached(
    scores: list[float], data: st.DataObject, capacity: int, chunk: int
) -> None:
    """A full stable sort of all who may be reached, cut at the capacity, says the same, and who is above the cut."""
    held = np.array(data.draw(st.lists(st.booleans(), min_size=len(scores), max_size=len(scores))), dtype=bool)
    ids = [f"u{number:02d}" for number in range(len(scores))]
    rows = [row(NOW, user_id=user, visits=float(at), seen=NOW) for at, user in enumerate(ids)]
    schema = pa.schema([(EVENT_TIMESTAMP, TIMESTAMP), (CREATED_TIMESTAMP, TIMESTAMP), (USER, pa.string())])
    active = pa.Table.from_pylist(rows, pa.schema([*schema, ("visits", pa.float64()), ("seen", TIMESTAMP)]))
    made = FakeFeatures((ACTIVE,), {"active": active})
    made.materialize(NOW)
    found = Contactable(pa.array(ids), np.ones(len(scores), dtype=bool), held)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(units_module, "CHUNK_UNITS", chunk)
        ranker = type("Scores", (TableRanker,), {"table": np.array(scores)})((("visits", 1.0),))
        chosen = select_units(made, found, made.feature_set(["active:visits"]), ranker, capacity, NOW)
    worth = np.nan_to_num(np.array(scores), nan=-np.inf, neginf=-np.inf)
    ordered = np.argsort(-worth, kind="stable").tolist()
    order = [at for at in ordered if not held[at]][:capacity]
    assert chosen.units.to_pylist() == [ids[at] for at in order]
    np.testing.assert_array_equal(chosen.scores, np.array(scores)[order])
    np.testing.assert_array_equal(chosen.all_scores, scores)
    walked = ordered if len(order) < capacity else ordered[: ordered.index(order[-1]) + 1]
    assert set(np.flatnonzero(chosen.above_cut).tolist()) == set(walked)


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_a_digest_of_each_row_is_that_of_the_row_alone(rows: int) -> None:
    """Numbers, unknown ones too, texts beyond ASCII, and times."""
    random = np.random.default_rng(rows)
    columns: dict[str, NDArray[Any]] = {
        "number": np.where(random.random(rows) < 0.3, np.nan, random.random(rows)),
        "text": np.array([random.choice(["", "é", "unknown", "x\x00y"]) for _ in range(rows)], dtype=object),
        "time": random.integers(0, 10**15, rows).astype("datetime64[us]"),
        "small": random.random(rows).astype(np.float32),
    }
    assert row_digests(columns) == [feature_digest(columns, np.array([row])) for row in range(rows)]


def test_progress_is_told_by_units(features: FakeFeatures, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units_module, "CHUNK_UNITS", 2)
    told: list[tuple[int, int]] = []
    wanted = features.feature_set(["active:visits"])
    ranker = FakeRanker((("visits", 1.0),))
    select_units(features, everybody(features), wanted, ranker, 2, NOW, lambda done, total: told.append((done, total)))
    assert told == [(2, 3), (3, 3)]


def test_features_of_items_are_refused(features: FakeFeatures) -> None:
    wanted: FeatureSet = features.feature_set(["pair:times"])
    with pytest.raises(FeatureError, match="view pair is keyed by user_id, item_id, and the problem selects units"):
        AudienceRows(features, wanted, pa.array(["a"]), NOW)
