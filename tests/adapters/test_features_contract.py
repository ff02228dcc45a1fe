"""Do the fake and Feast give the same features in the past, and describe them alike?"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from recsys.candidates.pool import to_numpy
from recsys.errors import FeatureError
from recsys.ports import FeatureReader, ViewInfo
from recsys.schema import EVENT_TIMESTAMP, ITEM, REQUEST_TIMESTAMP, TIMESTAMP, USER
from tests.adapters.contract_shop import RECENCY, SERVICE, TICK, VIEWS, day, fake, feast, pairs, written


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write and apply the shop once for all tests."""
    return written(tmp_path_factory.mktemp("repository"))


@pytest.fixture(params=["fake", "feast"])
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> FeatureReader:
    """Give a reader of each kind whose online store is empty."""
    if request.param == "fake":
        return fake()
    return feast(request.getfixturevalue("repository"), tmp_path / "online")


class TestDefinitions:
    """What the core has to know of views and services."""

    @pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
    def test_a_view_is_described(self, reader: FeatureReader, view: ViewInfo) -> None:
        """With join keys in the order of its entities, kinds of features and TTL."""
        assert reader.view(view.name) == view

    def test_a_service_is_resolved(self, reader: FeatureReader) -> None:
        """To its columns in order, the views behind them, and the transform."""
        features = reader.feature_set("ranker")
        assert features.name == "ranker"
        assert features.references == SERVICE
        assert features.columns == ("visits", "city", "sales", "brand", "times", "days_since")
        assert {view.name for view in features.views} == {"pair", "item_stats", "user_stats"}
        (transform,) = features.transforms
        assert set(transform.inputs) == set(RECENCY.inputs)
        assert transform.outputs == ("days_since",)
        assert features.digest

    def test_a_transform_brings_the_views_that_it_reads(self, reader: FeatureReader) -> None:
        """Though none of their features is asked for."""
        features = reader.feature_set(["recency:days_since"])
        assert features.columns == ("days_since",)
        assert [view.name for view in features.views] == ["pair"]

    def test_digests_differ_by_what_is_asked(self, reader: FeatureReader) -> None:
        """And agree when the same is asked twice."""
        asked = [["pair:times"], ["pair:last"], ["pair:times", "recency:days_since"]]
        digests = [reader.feature_set(references).digest for references in asked]
        assert len(set(digests)) == 3
        assert [reader.feature_set(references).digest for references in asked] == digests

    @pytest.mark.parametrize(
        "ask",
        [
            lambda reader: reader.view("nobody"),
            lambda reader: reader.view("recency"),
            lambda reader: reader.feature_set("nobody"),
            lambda reader: reader.feature_set(["nobody:times"]),
            lambda reader: reader.feature_set(["pair:nothing"]),
            lambda reader: reader.feature_set(["pair"]),
            lambda reader: reader.snapshot("nobody", day(1)),
            lambda reader: reader.online_group("nobody", "u1"),
            lambda reader: reader.online_all("nobody"),
            lambda reader: reader.watermark("nobody"),
        ],
    )
    def test_unknown_names_are_refused(self, reader: FeatureReader, ask: Callable[[FeatureReader], object]) -> None:
        """By name."""
        with pytest.raises(FeatureError, match=r"nobody|recency|nothing|'pair'"):
            ask(reader)


def entities(*asked: tuple[str | None, str | None, float | None]) -> pa.Table:
    """Make entity rows of users, items and days, which ask at the time of their request."""
    stamps = pa.array([None if at is None else day(at) for _, _, at in asked], TIMESTAMP)
    return pa.table(
        {
            "position": pa.array(range(len(asked)), pa.int64()),
            USER: pa.array([user for user, _, _ in asked], pa.string()),
            ITEM: pa.array([item for _, item, _ in asked], pa.string()),
            EVENT_TIMESTAMP: stamps,
            REQUEST_TIMESTAMP: stamps,
        }
    )


def times_of(reader: FeatureReader, user: str | None, item: str | None, at: float | None) -> float | None:
    """Return `pair:times` of one entity row."""
    joined = reader.historical(entities((user, item, at)), reader.feature_set(["pair:times"]))
    (value,) = to_numpy(joined["times"])
    return None if np.isnan(value) else float(value)


class TestHistorical:
    """As known at each row's time."""

    @pytest.mark.parametrize(
        ("user", "item", "at", "expected"),
        [
            ("u1", "i1", 1 - TICK, None),
            ("u1", "i1", 1, 1.0),  # known from its own moment on
            ("u1", "i1", 5, 2.0),
            ("u1", "i1", 6 - TICK, 2.0),
            ("u1", "i1", 6, 3.0),  # of one event the newest created
            ("u1", "i1", 12 - TICK, 3.0),
            ("u1", "i1", 12, 9.0),  # known late
            ("u1", "i1", 18, 9.0),  # the TTL counts from the event
            ("u1", "i1", 18 + TICK, None),
            ("u1", "i2", 12, 4.0),
            ("u1", "i2", 12 + TICK, None),
            ("u3", "i1", 15, None),  # known when its TTL was over
            ("u2", "i1", 4, None),  # there, and null
            ("u9", "i1", 5, None),
            (None, "i1", 5, None),
            ("u1", None, 5, None),
            ("u1", "i1", None, None),
        ],
    )
    def test_the_newest_row_known_by_then_counts(
        self, reader: FeatureReader, user: str | None, item: str | None, at: float | None, expected: float | None
    ) -> None:
        """Within its TTL, borders included; null keys and times match nothing."""
        assert times_of(reader, user, item, at) == expected

    def test_every_row_comes_back_once_and_in_order(self, reader: FeatureReader) -> None:
        """Repeated rows as well, with the columns they came with."""
        asked = entities(("u2", "i2", 9), ("u1", "i1", 9), ("u2", "i2", 9), ("u9", "i9", 1), ("u1", "i1", 2))
        joined = reader.historical(asked, reader.feature_set("ranker"))
        assert joined["position"].to_pylist() == [0, 1, 2, 3, 4]
        assert joined[USER].to_pylist() == asked[USER].to_pylist()
        assert to_numpy(joined["visits"]).tolist()[:3] == [5, 2, 5]
        assert to_numpy(joined["sales"]).tolist()[:3] == [20, 11, 20]
        assert to_numpy(joined["brand"]).tolist() == ["unknown", "acme", "unknown", "unknown", "acme"]
        assert to_numpy(joined["city"]).tolist() == ["unknown", "Łódź", "unknown", "unknown", "Łódź"]

    def test_request_time_features_are_computed_from_the_joined_ones(self, reader: FeatureReader) -> None:
        """By the row's own request time; unknown stays unknown."""
        asked = entities(("u1", "i1", 9.5), ("u1", "i1", 1.25), ("u9", "i1", 3))
        joined = reader.historical(asked, reader.feature_set(["recency:days_since"]))
        np.testing.assert_allclose(to_numpy(joined["days_since"]), [4.5, 0.25, np.nan])

    def test_no_rows_are_no_rows(self, reader: FeatureReader) -> None:
        """An empty table comes back with its columns."""
        joined = reader.historical(entities(), reader.feature_set(["pair:times"]))
        assert len(joined) == 0
        assert "times" in joined.column_names


class TestSnapshot:
    """What a materialize at that moment would put online."""

    @pytest.mark.parametrize(
        ("at", "expected"),
        [
            (0.5, {}),
            (5, {("u1", "i1"): 2, ("u1", "i2"): 4, ("u2", "i1"): -1}),
            (12, {("u1", "i1"): 9, ("u1", "i2"): 4, ("u2", "i1"): -1}),
            (12 + TICK, {("u1", "i1"): 9, ("u2", "i1"): -1}),
            (13 + TICK, {("u1", "i1"): 9}),
        ],
    )
    def test_holds_every_entitys_newest_live_row(
        self, reader: FeatureReader, at: float, expected: dict[tuple[str, str], float]
    ) -> None:
        """As known then, borders of the TTL included."""
        assert pairs(reader.snapshot("pair", day(at))) == expected

    def test_leaves_out_what_became_known_past_its_ttl(self, reader: FeatureReader) -> None:
        """However fresh the news."""
        assert ("u3", "i1") not in pairs(reader.snapshot("pair", day(15)))

    def test_gives_the_features_that_are_asked_for(self, reader: FeatureReader) -> None:
        """Beside the join keys and the time of the event."""
        table = reader.snapshot("item_stats", day(8), ["brand"])
        assert {ITEM, "brand", EVENT_TIMESTAMP} <= set(table.column_names)
        assert "sales" not in table.column_names
        assert sorted(table[ITEM].to_pylist()) == ["i1", "i2"]
        stamps = dict(zip(table[ITEM].to_pylist(), table[EVENT_TIMESTAMP].to_pylist(), strict=True))
        assert stamps == {"i1": day(7), "i2": day(2)}
