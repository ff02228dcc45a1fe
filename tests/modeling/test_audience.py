"""Is one list of units everybody who could have been reached then, with what each did after?"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from recsys.errors import FeatureError
from recsys.modeling.audience import HISTORY, audience_requests, check_units_alone, eligible_units
from recsys.modeling.requests import ITEM_ROW, REQUEST, Requests
from recsys.ports import ViewInfo
from recsys.schema import EVENT_TIMESTAMP, ITEM, LABEL, REQUEST_TIMESTAMP, TIMESTAMP, USER
from recsys.specs.placement import Audience, Pool
from tests.serving.small_shop import DAY, NOW, TICK, row, shop

EARLIER = NOW - 7 * DAY
FEATURES = shop(
    user_week=[
        row(EARLIER, user_id="b", visits=3.0, seen=None),
        row(EARLIER, user_id="a", visits=1.0, seen=None),
        row(EARLIER, user_id="few", visits=0.5, seen=None),
        row(NOW, user_id="a", visits=2.0, seen=None),
        row(NOW, user_id="unknown", visits=None, seen=None),
        row(NOW, known=NOW + TICK, user_id="late", visits=9.0, seen=None),
        row(EARLIER - TICK, user_id="gone", visits=9.0, seen=None),
    ]
)


def audience(view: str = "user_week", feature: str = "visits", minimum: float = 1.0) -> Audience:
    """Declare who may be reached."""
    return Audience(problem="p", model="m", units=Pool(view=view, feature=feature, minimum=minimum))


def acted(*rows: tuple[datetime, str, float]) -> pa.Table:
    """Make unit labels."""
    return pa.table(
        {
            EVENT_TIMESTAMP: pa.array([at for at, _, _ in rows], TIMESTAMP),
            USER: pa.array([user for _, user, _ in rows], pa.string()),
            LABEL: pa.array([label for _, _, label in rows], pa.float64()),
        }
    )


def requests(labels: pa.Table, times: Sequence[datetime] = (EARLIER, NOW)) -> Requests:
    """Build the lists."""
    return audience_requests(FEATURES, audience(), labels, times)


def test_every_eligible_unit_stands_in_the_list_of_a_decision_time() -> None:
    """By id; too small a feature, an unknown one, a row past its TTL or of later knowledge makes none eligible."""
    made = requests(acted((EARLIER, "b", 1.0), (NOW, "a", 1.0)))
    rows = made.rows.select([REQUEST, USER, LABEL, ITEM_ROW]).to_pylist()
    assert [tuple(each.values()) for each in rows] == [
        (0, "a", 0.0, 0),
        (0, "b", 1.0, 1),
        (0, "gone", 0.0, 2),
        (1, "a", 1.0, 0),
        (1, "b", 0.0, 1),
    ]
    assert made.rows[EVENT_TIMESTAMP].to_pylist() == [EARLIER] * 3 + [NOW] * 2
    assert made.rows[REQUEST_TIMESTAMP].equals(made.rows[EVENT_TIMESTAMP])
    assert ITEM not in made.rows.column_names
    assert made.rows.schema.field(LABEL).type == pa.float32()
    assert made.users.tolist() == [None, None]
    assert made.moments.tolist() == [EARLIER.replace(tzinfo=None), NOW.replace(tzinfo=None)]
    assert made.eligible == {"a", "b", "gone"}


def test_relevant_is_all_that_was_done_in_the_audience_or_not() -> None:
    made = requests(acted((EARLIER, "b", 2.5), (EARLIER, "stranger", 4.0), (NOW, "few", 1.0)))
    assert made.relevant.tolist() == [6.5, 1.0]
    assert made.rows[LABEL].to_pylist() == [0.0, 2.5, 0.0, 0.0, 0.0]


def test_history_is_counted_for_each_row() -> None:
    def histories(users: pa.ChunkedArray, moments: pa.ChunkedArray) -> pa.Array:
        days = [(at - EARLIER).days for at in moments.to_pylist()]
        return pa.array([len(user) + day for user, day in zip(users.to_pylist(), days, strict=True)], pa.int64())

    made = audience_requests(FEATURES, audience(), acted(), (EARLIER, NOW), histories)
    assert made.rows[HISTORY].to_pylist() == [1, 1, 4, 8, 8]


def test_no_units_no_rows() -> None:
    """A decision time before the first feature is a list without anybody."""
    made = requests(acted((NOW - 90 * DAY, "a", 1.0)), (NOW - 90 * DAY,))
    assert (len(made), len(made.rows), made.relevant.tolist()) == (1, 0, [1.0])
    assert len(requests(acted(), ())) == 0


@pytest.mark.parametrize("ttl", [None, timedelta(0)])
def test_a_view_without_a_limit_keeps_its_units(ttl: timedelta | None) -> None:
    rows = pa.table({USER: ["u", "v"], "visits": [1.0, 1.0], EVENT_TIMESTAMP: [datetime(2000, 1, 1, tzinfo=UTC), NOW]})
    assert eligible_units(rows, audience().units, NOW - TICK, ttl).to_pylist() == ["u"]


def test_what_is_no_view_of_units_is_refused() -> None:
    with pytest.raises(FeatureError, match=r"view item_week is keyed by item_id: name a view of user_id alone"):
        audience_requests(FEATURES, audience("item_week", "sold"), acted(), (NOW,))
    with pytest.raises(FeatureError, match=r"'height' is not a feature of view user_week: visits, seen"):
        audience_requests(FEATURES, audience(feature="height"), acted(), (NOW,))
    assert isinstance(FEATURES.view("user_week"), ViewInfo)
    check_units_alone(FEATURES.feature_set(["user_week:visits"]))
    with pytest.raises(FeatureError, match=r"view item_week is keyed by item_id, and the problem selects units"):
        check_units_alone(FEATURES.feature_set(["user_week:visits", "item_week:sold"]))
