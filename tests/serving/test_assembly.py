"""Do candidates get the features that the training join gives them at the same moment?"""

from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from recsys.candidates.pool import to_numpy
from recsys.errors import FeatureError
from recsys.ports import Columns, FeatureSet, RequestTransform, ViewInfo
from recsys.schema import CREATED_TIMESTAMP, EVENT_TIMESTAMP, ITEM, LINE, REQUEST_TIMESTAMP, TIMESTAMP, USER
from recsys.serving.assembly import assemble
from recsys.serving.item_matrix import ItemMatrix, read_matrix
from recsys.serving.lists import Lists
from recsys.serving.unit_rows import UnitRows
from tests.fakes.features import FakeFeatures
from tests.serving.small_shop import DAY, NOW, TICK, history, looked, pair, placement, pushed, row, shop, sold


def online(features: FakeFeatures, wanted: FeatureSet, at: datetime) -> ItemMatrix:
    """Materialize up to a moment and read the matrix."""
    features.materialize(at)
    views = [view for view in wanted.views if view.join_keys == (ITEM,)]
    return read_matrix(features, placement(), views, at)


def assembled(features: FakeFeatures, service: str, unit: str = "u1", at: datetime = NOW) -> Columns:
    """Assemble the columns of all items of the pool."""
    wanted = features.feature_set(service)
    matrix = online(features, wanted, at)
    return assemble(wanted, matrix, UnitRows(features, matrix, [unit], at), Lists.of([np.arange(len(matrix.pool))]), at)


def joined(features: FakeFeatures, wanted: FeatureSet, matrix: ItemMatrix, unit: str, at: datetime) -> Columns:
    """Join the same columns by the past, for every item of the pool."""
    stamps = pa.array([at] * len(matrix.pool), TIMESTAMP)
    entities = pa.table(
        {
            USER: [unit] * len(matrix.pool),
            ITEM: pa.array(matrix.pool.ids, pa.string()),
            LINE: pa.array(matrix.pool.columns[LINE], pa.string()),
            EVENT_TIMESTAMP: stamps,
            REQUEST_TIMESTAMP: stamps,
        }
    )
    table = features.historical(entities, wanted)
    return {name: to_numpy(table[name]) for name in wanted.columns}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("days", [0, 0.5, 3, 7, 20, 45])
def test_training_and_requests_see_the_same(seed: int, days: float) -> None:
    features, at = history(seed), NOW - days * DAY
    wanted = features.feature_set("full")
    matrix = online(features, wanted, at)
    eligible = np.flatnonzero(matrix.pool.eligible)
    for unit in ("u0", "u3", "nobody"):
        past = joined(features, wanted, matrix, unit, at)
        now = assemble(wanted, matrix, UnitRows(features, matrix, [unit], at), Lists.of([eligible]), at)
        assert list(now) == list(wanted.columns)
        for name in wanted.columns:
            np.testing.assert_array_equal(now[name], past[name][eligible], err_msg=name)


def test_requests_after_the_last_materialization_see_what_was_materialized() -> None:
    features = shop(item_week=[sold("a", 1), sold("b", 1)], pair=[pair("u1", "a", 2), pair("u1", "a", 3, NOW + DAY)])
    wanted = features.feature_set("full")
    matrix = online(features, wanted, NOW)
    columns = assemble(
        wanted, matrix, UnitRows(features, matrix, ["u1"], NOW + DAY), Lists.of([np.arange(2)]), NOW + DAY
    )
    assert columns["times"].tolist()[0] == 2
    assert columns["days_since"].tolist()[0] == 1


@pytest.mark.parametrize(("age", "expected"), [(28 * DAY, 5.0), (28 * DAY + TICK, np.nan), (-TICK, np.nan)])
def test_the_ttl_of_pairs_is_enforced(age: timedelta, expected: float) -> None:
    features = shop(item_week=[sold("a", 1)], pair=[pair("u1", "a", 5, NOW - age)])
    features.materialize(NOW + DAY)
    matrix = read_matrix(features, placement(), [], NOW)
    wanted = features.feature_set("frequency")
    columns = assemble(wanted, matrix, UnitRows(features, matrix, ["u1"], NOW), Lists.of([np.arange(1)]), NOW)
    np.testing.assert_array_equal(columns["times"], [expected])


@pytest.mark.parametrize(("view", "column", "days"), [("user_week", "visits", 7), ("item_stock", "stock", 3)])
def test_the_ttl_of_users_and_items_is_enforced(view: str, column: str, days: int) -> None:
    for age, expected in [(days * DAY, 4.0), (days * DAY + TICK, np.nan)]:
        values = (
            {"user_id": "u1", "visits": 4.0, "seen": NOW} if view == "user_week" else {"item_id": "a", "stock": 4.0}
        )
        features = shop(item_week=[sold("a", 1)], **{view: [row(NOW - age, **values)]})
        np.testing.assert_array_equal(assembled(features, "full")[column], [expected])


def test_a_unit_nobody_knows_has_unknown_features() -> None:
    columns = assembled(shop(item_week=[sold("a", 1), sold("b", 2)]), "full", "nobody")
    for name in ("visits", "stock", "times", "line_times", "days_since", "share"):
        assert np.isnan(columns[name].astype(float)).all(), name
    assert columns["sold"].tolist() == [1, 2]


def test_rows_of_lines_are_matched_by_the_items_line() -> None:
    features = shop(
        item_week=[sold("a", 1, line="x"), sold("b", 1, line="y"), sold("c", 1, line="x")],
        user_line=[
            row(NOW, user_id="u1", line_id="x", line_times=7.0),
            row(NOW, user_id="u1", line_id="gone", line_times=9.0),
            row(NOW, user_id="u2", line_id="y", line_times=8.0),
        ],
    )
    np.testing.assert_array_equal(assembled(features, "full")["line_times"], [7, np.nan, 7])


def test_columns_stand_in_the_order_of_the_service_for_the_rows_that_are_asked() -> None:
    features = shop(item_week=[sold("a", 1), sold("b", 2), sold("c", 3)])
    wanted = features.feature_set("full")
    matrix = online(features, wanted, NOW)
    columns = assemble(wanted, matrix, UnitRows(features, matrix, ["u1"], NOW), Lists.of([np.array([2, 0])]), NOW)
    assert tuple(columns) == wanted.columns
    assert columns["sold"].tolist() == [3, 1]
    assert columns["brand"].tolist() == ["brand of c", "brand of a"]


class CountedFeatures(FakeFeatures):
    """Counts reads of the online store."""

    def __init__(self, features: FakeFeatures) -> None:
        """Take over a shop."""
        self.__dict__.update(features.__dict__)
        self.read: list[str] = []

    def online_group(self, view: str, key: str, *, within: float | None = None) -> pa.Table | None:
        """Count and read."""
        self.read.append(view)
        return super().online_group(view, key, within=within)


def test_every_view_is_read_once_a_request() -> None:
    features = CountedFeatures(shop(item_week=[sold("a", 1)], pair=[pair("u1", "a", 1)]))
    wanted = features.feature_set("full")
    matrix = online(features, wanted, NOW)
    unit = UnitRows(features, matrix, ["u1"], NOW)
    assert unit.history(features.view("pair")) is unit.history(features.view("pair"))
    for _ in range(2):
        assemble(wanted, matrix, unit, Lists.of([np.arange(1)]), NOW)
    assert sorted(features.read) == ["pair", "user_line", "user_week"]


# ---------------------------------------------------------------- views of another shape


def declared(view: ViewInfo, rows: pa.Table, *others: ViewInfo, **tables: pa.Table) -> FakeFeatures:
    """Make a shop of one item and a view of its own."""
    base = shop(item_week=[sold("a", 1)])
    item_week = base.view("item_week")
    week = pa.Table.from_pylist(base._rows["item_week"], schema=base._schemas["item_week"])
    return FakeFeatures([item_week, view, *others], {"item_week": week, view.name: rows, **tables})


def rows_of(**columns: list[object]) -> pa.Table:
    """Make rows of now."""
    count = len(next(iter(columns.values())))
    stamps = pa.array([NOW] * count, TIMESTAMP)
    return pa.table({**columns, EVENT_TIMESTAMP: stamps, CREATED_TIMESTAMP: stamps})


def columns_of(features: FakeFeatures, *references: str) -> tuple[Columns, Columns]:
    """Return what a request sees of item a, and what the join sees."""
    wanted = features.feature_set(references)
    matrix = online(features, wanted, NOW)
    past = joined(features, wanted, matrix, "u1", NOW)
    return assemble(wanted, matrix, UnitRows(features, matrix, ["u1"], NOW), Lists.of([np.arange(1)]), NOW), past


@pytest.mark.parametrize("city", ["Łódź", None])
def test_texts_of_a_user_are_texts_as_in_training(city: str | None) -> None:
    view = ViewInfo("profile", (USER,), ("city",), {"city": "text"}, None)
    table = rows_of(user_id=["u1"], city=pa.array([city], pa.string()))
    now, past = columns_of(declared(view, table), "profile:city")
    assert now["city"].tolist() == past["city"].tolist() == [city or "unknown"]
    assert now["city"].dtype == past["city"].dtype == np.dtype(object)


def test_two_views_that_share_a_feature_name_are_not_read_together() -> None:
    one = ViewInfo("one", (USER,), ("count",), {"count": "number"}, None)
    two = ViewInfo("two", (USER,), ("count", "other"), {"count": "number", "other": "number"}, None)
    features = declared(
        one, rows_of(user_id=["u1"], count=[1.0]), two, two=rows_of(user_id=["u1"], count=[2.0], other=[3.0])
    )
    with pytest.raises(FeatureError, match="views one and two both have a feature 'count'"):
        features.feature_set(["one:count", "two:other"])


def test_a_view_keyed_by_something_that_requests_do_not_have_is_refused() -> None:
    store = ViewInfo("store", ("store_id",), ("size",), {"size": "number"}, None)
    features = declared(store, rows_of(store_id=["s"], size=[1.0]))
    wanted = features.feature_set(["store:size"])
    matrix = online(features, wanted, NOW)
    with pytest.raises(FeatureError, match="feature view store: keyed by store_id"):
        assemble(wanted, matrix, UnitRows(features, matrix, ["u1"], NOW), Lists.of([np.arange(1)]), NOW)


def test_a_transform_without_its_input_is_refused() -> None:
    features = shop(item_week=[sold("a", 1)])
    lost = RequestTransform("lost", ("nothing",), ("x",), lambda inputs: inputs)
    wanted = FeatureSet("lost", ("x",), ("lost:x",), (), (lost,))
    matrix = online(features, wanted, NOW)
    with pytest.raises(FeatureError, match="request-time features lost: input 'nothing'"):
        assemble(wanted, matrix, UnitRows(features, matrix, ["u1"], NOW), Lists.of([np.arange(1)]), NOW)


def visited(session: str | None, at: datetime = NOW) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Assemble what a session did, and say what was read of it."""
    features = shop(item_week=[sold("a", 3), sold("b", 2), sold("c", 1)])
    wanted = features.feature_set("visit")
    matrix = online(features, wanted, NOW)
    earlier = NOW - 2 * timedelta(hours=1)
    pushed(features, "visit", looked("s1", "b", 2.0, earlier, NOW), looked("s1", "c", 1.0, NOW - 2 * DAY))
    pushed(features, "visit", looked("u1", "a", 9.0))
    pushed(features, "visit_total", row(earlier, session_id="s1", pages=4.0))
    unit = UnitRows(features, matrix, ["u1"], at, [session])
    columns = assemble(wanted, matrix, unit, Lists.of([np.arange(3)]), at)
    values = {name: columns[name].tolist() for name in ("looked", "pages")}
    return values, unit.session_watermarks()


def test_a_requests_session_brings_what_was_done_in_it() -> None:
    """A row past its TTL is unknown, and so is what the user of the same id did."""
    values, watermarks = visited("s1")
    np.testing.assert_array_equal(values["looked"], [np.nan, 2, np.nan])
    assert values["pages"] == [4, 4, 4]
    earlier = NOW - 2 * timedelta(hours=1)
    assert watermarks == {"visit": NOW.isoformat(), "visit_total": earlier.isoformat()}


@pytest.mark.parametrize("session", [None, "s2"])
def test_without_a_session_nothing_is_known_of_it(session: str | None) -> None:
    values, watermarks = visited(session)
    assert np.isnan([values["looked"], values["pages"]]).all()
    assert watermarks == {}
