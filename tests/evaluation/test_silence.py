"""Are events that ended told from a shop that is closed on some days?"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from recsys.evaluation.silence import silence
from tests.events import write_events
from tests.fakes.engine import FakeEngine

MONDAY = datetime(2024, 1, 1, tzinfo=UTC)
WEEK, DAY, HOUR = timedelta(weeks=1), timedelta(days=1), timedelta(hours=1)
CLOSED = 6
"""On Sundays."""


@pytest.fixture
def events(tmp_path: Path) -> Path:
    """Four weeks of a shop that is open from 8 to 20 on six days; of an order on Mondays it knows a day later."""
    rows = []
    for day in range(28):
        for hour in range(8, 20) if day % 7 != CLOSED else ():
            at = MONDAY + day * DAY + hour * HOUR + timedelta(minutes=30)
            kind = "purchase" if day % 7 == 0 else "click"
            known = at + DAY if kind == "purchase" else at
            rows.append({"event_id": f"{day}-{hour}", "event_type": kind, "event_timestamp": at})
            rows[-1] |= {"created_timestamp": known, "user_id": "u"}
    return write_events(tmp_path / "events.parquet", rows)


def test_a_closed_sunday_is_no_end_of_events(events: Path) -> None:
    found = silence(FakeEngine(), events, MONDAY + 4 * WEEK)
    assert found is not None
    assert (found.newest, found.longest) == (MONDAY + 26 * DAY + 20 * HOUR, 37 * HOUR)
    assert found.covers(MONDAY + 4 * WEEK)
    assert found.days == pytest.approx(28 / 24)


def test_a_longer_silence_than_any_before_is(events: Path) -> None:
    found = silence(FakeEngine(), events, MONDAY + 6 * WEEK)
    assert found is not None
    assert found.covers(MONDAY + 4 * WEEK)
    assert not found.covers(MONDAY + 4 * WEEK + DAY)
    assert found.days == pytest.approx(15 + 4 / 24)
    assert found.longest_days == pytest.approx(37 / 24)


def test_each_type_has_silences_of_its_own(events: Path) -> None:
    now = MONDAY + 4 * WEEK + DAY
    found = silence(FakeEngine(), events, now, "purchase")
    assert found is not None
    assert (found.of, found.newest) == ("purchase", MONDAY + 3 * WEEK + 20 * HOUR)
    assert found.longest == 6 * DAY + 13 * HOUR
    assert found.covers(MONDAY + 4 * WEEK)
    assert silence(FakeEngine(), events, now, "it's none") is None


def test_what_was_not_known_yet_does_not_count(events: Path) -> None:
    found = silence(FakeEngine(), events, MONDAY + 3 * WEEK + DAY, "purchase")
    assert found is not None
    assert found.newest == MONDAY + 2 * WEEK + 20 * HOUR


def test_how_a_shop_began_says_nothing_of_now(tmp_path: Path) -> None:
    """One order, half a year of nothing, and then one an hour for 30 weeks."""
    moments = [MONDAY - 26 * WEEK, *(MONDAY + hour * HOUR for hour in range(30 * 7 * 24))]
    rows = [
        {"event_id": str(at), "event_type": "purchase", "event_timestamp": at, "created_timestamp": at}
        for at in moments
    ]
    found = silence(FakeEngine(), write_events(tmp_path / "events.parquet", rows), MONDAY + 40 * WEEK)
    assert found is not None
    assert found.longest == HOUR
