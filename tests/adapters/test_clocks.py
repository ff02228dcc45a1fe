"""Do clocks stand, move and stay in UTC?"""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from recsys.adapters.clocks import ReplayedClock, SystemClock
from recsys.errors import StoreError
from tests.fakes.clock import FixedClock

START = datetime(2017, 12, 4, tzinfo=UTC)
WEEK = timedelta(weeks=1)


@pytest.mark.parametrize("kind", ["fake", "system", "replayed"])
def test_every_clock_is_in_utc_and_does_not_go_back(kind: str, tmp_path: Path) -> None:
    clocks: dict[str, FixedClock | SystemClock | ReplayedClock] = {
        "fake": FixedClock(START),
        "system": SystemClock(),
        "replayed": ReplayedClock(tmp_path / "clock.json", START),
    }
    first, second = clocks[kind].now(), clocks[kind].now()
    assert first <= second
    assert first.utcoffset() == second.utcoffset() == timedelta(0)


def test_the_system_clock_is_in_utc() -> None:
    before = datetime.now(UTC)
    now = SystemClock().now()
    assert before <= now <= datetime.now(UTC)
    assert now.utcoffset() == timedelta(0)


def test_a_replayed_clock_stands_at_its_start(tmp_path: Path) -> None:
    assert ReplayedClock(tmp_path / "clock.json", START).now() == START
    assert not list(tmp_path.iterdir())


def test_a_move_is_seen_by_every_process(tmp_path: Path) -> None:
    path = tmp_path / "state" / "clock.json"
    clock, other = ReplayedClock(path, START), ReplayedClock(path, START)
    clock.move(START + WEEK)
    assert clock.now() == other.now() == START + WEEK
    assert [file.name for file in path.parent.iterdir()] == ["clock.json"]


def test_it_never_goes_back(tmp_path: Path) -> None:
    clock = ReplayedClock(tmp_path / "clock.json", START)
    for to, expected in [(-WEEK, START), (2 * WEEK, START + 2 * WEEK), (WEEK, START + 2 * WEEK)]:
        clock.move(START + to)
        assert clock.now() == expected


def test_other_zones_are_the_same_moment(tmp_path: Path) -> None:
    clock = ReplayedClock(tmp_path / "clock.json", START)
    clock.move((START + WEEK).astimezone(timezone(timedelta(hours=9))))
    assert clock.now() == START + WEEK


@pytest.mark.parametrize("content", ["", "not JSON", "[]", "{}", '{"now": null}', '{"now": "soon"}', '"2017"'])
def test_a_file_that_is_none_of_its_own_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "clock.json"
    path.write_text(content)
    with pytest.raises(StoreError, match=r"clock\.json: cannot be read .*delete the file to start at 2017-12-04"):
        ReplayedClock(path, START).now()
