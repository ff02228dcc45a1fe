"""Are the rows of what was shown those of the log, in its order, with what was taken of them?"""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from recsys.candidates.pool import to_numpy
from recsys.modeling.moments import Moments
from recsys.modeling.requests import ITEM_ROW, REQUEST
from recsys.modeling.shown import shown_requests, shown_slots
from recsys.ports import Exposure, ShownItem
from recsys.schema import EVENT_TIMESTAMP, ITEM, LABEL, LINE, REQUEST_ID, SESSION, USER
from tests.fakes.event_log import FakeEventLog
from tests.serving.small_shop import DAY, NOW, pair, placement, shop, sold

WEEK = timedelta(days=7)


def exposure(
    request: str, user: str, items: str, after: timedelta, *, overridden: bool = False, session: str | None = None
) -> Exposure:
    """Make an exposure of items named by one letter each."""
    return Exposure(
        request_id=request,
        placement="home",
        user_id=user,
        session_id=session,
        experiment=None,
        arm=None,
        overridden=overridden,
        model_version="basket/v1",
        weights=1,
        fallback=None,
        event_timestamp=NOW + after,
        feature_digest="",
        watermarks={},
        items=[ShownItem(item, place + 1, 1.0) for place, item in enumerate(items)],
    )


def slots(*exposures: Exposure) -> pa.Table:
    """Log exposures and read their slots back."""
    log = FakeEventLog()
    log.write_exposures(exposures)
    return shown_slots(log, "home", NOW, NOW + WEEK)


def test_slots_are_in_order_of_time_request_and_position() -> None:
    read = slots(
        exposure("r3", "u1", "ba", 2 * DAY),
        exposure("r2", "u2", "c", DAY),
        exposure("r1", "u1", "a", DAY),
        exposure("r4", "tester", "a", DAY, overridden=True),
        exposure("r5", "u1", "a", WEEK),
    )
    assert [(row[REQUEST_ID], row[USER], row[ITEM]) for row in read.to_pylist()] == [
        ("r1", "u1", "a"),
        ("r2", "u2", "c"),
        ("r3", "u1", "b"),
        ("r3", "u1", "a"),
    ]


def test_a_row_a_slot_with_what_was_taken_of_it() -> None:
    features = shop(
        item_week=[sold("a", 1, line="fruit"), sold("b", 1, line="bread"), sold("c", 1, NOW + WEEK, line="milk")]
    )
    read = slots(exposure("r2", "u2", "ab", DAY), exposure("r1", "u1", "bz", 0 * DAY))
    taken = pa.table({REQUEST_ID: ["r2", "r2"], ITEM: ["b", "c"]})
    made = shown_requests(Moments(features), placement(), read, taken, WEEK, [LINE])
    rows = made.rows
    assert rows[REQUEST].to_pylist() == [0, 0, 1, 1]
    assert rows[ITEM].to_pylist() == ["b", "z", "a", "b"]
    assert rows[LINE].to_pylist() == ["bread", "unknown", "fruit", "bread"]
    assert rows[LABEL].to_pylist() == [0, 0, 0, 1]
    assert rows[EVENT_TIMESTAMP].to_pylist() == [NOW, NOW, NOW + DAY, NOW + DAY]
    assert made.users.tolist() == ["u1", "u2"]
    assert made.relevant.tolist() == [0, 1]
    ranks = dict(zip(rows[ITEM].to_pylist(), rows[ITEM_ROW].to_pylist(), strict=True))
    assert sorted(ranks, key=ranks.__getitem__) == ["a", "b", "z"]


def test_nothing_shown_gives_no_rows() -> None:
    made = shown_requests(
        Moments(shop()),
        placement(),
        slots(),
        pa.table({REQUEST_ID: pa.array([], pa.string()), ITEM: pa.array([], pa.string())}),
        WEEK,
        [],
    )
    assert len(made) == 0
    assert len(made.rows) == 0


def test_shown_items_have_what_their_requests_brought_along() -> None:
    sources = [
        {"source": "covisit", "view": "pair", "limit": 4, "minimum": 1, "together": 1, "shrinkage": 0.0},
        {"source": "popular", "order_by": "sold", "limit": 1},
    ]
    features = shop(
        item_week=[sold(item, sales) for item, sales in zip("abc", (1, 2, 3), strict=True)],
        pair=[pair(user, item, 1) for user, item in (("u1", "a"), ("u2", "a"), ("u2", "b"))],
    )
    read = slots(exposure("r1", "u1", "bzca", DAY), exposure("r2", "stranger", "b", DAY))
    nothing = pa.table({REQUEST_ID: pa.array([], pa.string()), ITEM: pa.array([], pa.string())})
    rows = shown_requests(Moments(features), placement(candidates=sources), read, nothing, WEEK, []).rows
    assert rows[ITEM].to_pylist() == ["b", "z", "c", "a", "b"]
    assert rows["sources"].to_pylist() == [1, 0, 2, 0, 0]
    assert rows["covisit_score"].to_pylist() == pytest.approx([1 / 2**0.5, 0, 0, 0, 0])


def test_rows_carry_what_their_requests_said() -> None:
    """As it is declared now; a request that said nothing, or something of another kind, is of an unknown context."""
    kinds = {"device": "text", "basket_value": "number", "since": "time"}
    said = {"device": "phone", "basket_value": 31.5, "since": NOW.isoformat(), "gone": "x"}
    log = FakeEventLog()
    log.write_exposures(
        [
            replace(exposure("r1", "u1", "ab", DAY), asked={"k": 2, "context": said}),
            replace(exposure("r2", "u1", "b", 2 * DAY), asked={"k": 2, "context": {"basket_value": "much"}}),
            exposure("r3", "u1", "a", 3 * DAY),
        ]
    )
    read = shown_slots(log, "home", NOW, NOW + WEEK, kinds)
    taken = read.select([REQUEST_ID, ITEM]).slice(0, 0)
    features = shop(item_week=[sold(item, 1) for item in "ab"])
    rows = shown_requests(Moments(features), placement(), read, taken, WEEK, [], tuple(kinds)).rows
    assert rows["device"].to_pylist() == ["phone", "phone", "unknown", "unknown"]
    assert rows["since"].to_pylist() == [NOW, NOW, None, None]
    np.testing.assert_array_equal(to_numpy(rows["basket_value"]), [31.5, 31.5, np.nan, np.nan])
    assert shown_slots(log, "home", NOW, NOW + WEEK).column_names == read.column_names[:-3]


def test_rows_carry_their_lists_session_where_features_are_keyed_by_it() -> None:
    """And nothing where there was none."""
    read = slots(exposure("r1", "u1", "ab", DAY, session="s1"), exposure("r2", "u1", "a", 2 * DAY))
    features = shop(item_week=[sold(item, 1) for item in "ab"])
    taken = read.select([REQUEST_ID, ITEM]).slice(0, 0)
    made = shown_requests(Moments(features), placement(), read, taken, WEEK, [LINE, SESSION])
    assert made.rows[SESSION].to_pylist() == ["s1", "s1", None]
    assert SESSION not in shown_requests(Moments(features), placement(), read, taken, WEEK, [LINE]).rows.column_names
