"""Do the fake, SQLite and PostgreSQL hand out, prune and erase alike?"""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from recsys import schema
from recsys.adapters.sql_event_log import SqlEventArchive, SqlEventLog
from recsys.ports import EventArchive, EventLog, LogRows, RoutedCount
from tests.adapters.test_event_log_contract import BACKENDS, DAY, MICROSECOND, START, exposure, outcomes
from tests.fakes.event_archive import FakeEventArchive
from tests.fakes.event_log import FakeEventLog
from tests.servers import emptied, postgres_database

ASKED = {"k": 3, "candidates": ["i1", "ü"]}
FEATURES = {"item_price": [1.5, None, 2.0]}


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with postgres_database() as address:
        yield address


@pytest.fixture(params=BACKENDS)
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[EventLog, EventArchive]]:
    """Give an empty event log and its archive of each technology."""
    if request.param == "fake":
        fake = FakeEventLog()
        yield fake, FakeEventArchive(fake)
        return
    sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/event_log.db" if sqlite else emptied(request.getfixturevalue("postgres"))
    log = SqlEventLog(url)
    yield log, log.archive
    log.close()


def scanned(archive: EventArchive, table: str, columns: pa.Schema) -> pa.Table:
    """Return a day's rows."""
    return pa.Table.from_batches(archive.scan(table, START, START + DAY), schema=columns)


def test_an_empty_log_has_no_extent_and_no_rows(stores: tuple[EventLog, EventArchive]) -> None:
    _, archive = stores
    assert archive.extent() is None
    assert scanned(archive, "exposures", schema.LOGGED_EXPOSURES).num_rows == 0
    assert sum(archive.prune(START), LogRows()) == LogRows()
    assert archive.erase(["household_1"]) == LogRows()


def test_rows_of_all_placements_and_types_are_handed_out_in_order(stores: tuple[EventLog, EventArchive]) -> None:
    log, archive = stores
    log.write_exposures(
        [
            exposure("b", START + MICROSECOND),
            exposure("c", placement="cart", overridden=True),
            exposure("a", START + MICROSECOND, asked=ASKED, features=FEATURES),
            exposure("before", START - MICROSECOND),
            exposure("after", START + DAY),
        ]
    )
    log.write_outcomes(outcomes(["p"]))
    log.write_outcomes(outcomes(["c"], event_type="click"))
    log.write_outcomes(outcomes(["late"], START + DAY))
    exposures = scanned(archive, "exposures", schema.LOGGED_EXPOSURES)
    assert exposures[schema.REQUEST_ID].to_pylist() == ["c", "a", "b"]
    assert exposures["placement"].to_pylist() == ["cart", "home", "home"]
    assert exposures["overridden"].to_pylist() == [True, False, False]
    assert exposures.select(schema.EXPOSURES.names).slice(1).equals(log.exposures("home", START, START + DAY))
    assert [json.loads(text) for text in exposures["watermarks"].to_pylist()] == [exposure("c").watermarks] * 3
    assert json.loads(exposures["asked"][1].as_py()) == ASKED
    features = exposures["features"].to_pylist()
    assert json.loads(features[1]) == FEATURES
    assert features[0] is features[2] is None
    slots = scanned(archive, "impressions", schema.IMPRESSIONS)
    assert slots[schema.REQUEST_ID].to_pylist() == ["c"] * 3 + ["a"] * 3 + ["b"] * 3
    assert slots[schema.POSITION].to_pylist() == [1, 2, 3] * 3
    events = scanned(archive, "outcomes", schema.EVENTS)
    assert events[schema.EVENT_ID].to_pylist() == ["c", "p"]
    assert archive.extent() == (START - MICROSECOND, START + DAY)


def test_what_is_older_leaves_with_its_slots(stores: tuple[EventLog, EventArchive]) -> None:
    log, archive = stores
    log.write_exposures(exposure(f"r{n}", START + n * DAY) for n in range(4))
    log.write_exposures([exposure("cart", START, placement="cart")])
    for n in range(4):
        log.write_outcomes(outcomes([f"e{n}"], START + n * DAY))
    gone = sum(archive.prune(START + 2 * DAY), LogRows())
    assert gone == LogRows(exposures=3, impressions=9, outcomes=2)
    assert sum(archive.prune(START + 2 * DAY), LogRows()) == LogRows()
    assert archive.extent() == (START + 2 * DAY, START + 3 * DAY)
    assert log.impressions("home", START, START + 9 * DAY).num_rows == 6
    assert log.request("cart") is None
    assert log.outcomes("purchase", START, START + 9 * DAY)[schema.EVENT_ID].to_pylist() == ["e2", "e3"]


def test_sessions_of_users_are_found(stores: tuple[EventLog, EventArchive]) -> None:
    log, archive = stores
    log.write_exposures([exposure("one", session_id="s2"), exposure("none", session_id=None)])
    log.write_exposures([exposure("theirs", user_id="household_2", session_id="s3")])
    log.write_outcomes(outcomes(["e1"]).set_column(4, schema.SESSION, pa.array(["s1"])))
    assert archive.sessions(["household_1", "nobody"]) == ("s1", "s2")
    assert archive.sessions(["nobody"]) == ()


def test_users_leave_and_others_stay(stores: tuple[EventLog, EventArchive]) -> None:
    log, archive = stores
    log.write_exposures([exposure("mine"), exposure("theirs", user_id="household_2")])
    log.write_exposures([exposure("cart", placement="cart")])
    log.write_outcomes(outcomes(["mine", "mine_2"]))
    theirs = outcomes(["theirs"]).set_column(2, schema.USER, pa.array(["household_10"]))
    log.write_outcomes(theirs)
    assert archive.erase(["household_1", "nobody"]) == LogRows(exposures=2, impressions=6, outcomes=2)
    assert archive.erase(["household_1", "nobody"]) == LogRows()
    assert log.request("theirs") == replace(exposure("theirs"), user_id="household_2")
    assert log.outcomes("purchase", START, START + DAY)[schema.EVENT_ID].to_pylist() == ["theirs"]
    assert log.impressions("home", START, START + DAY).num_rows == 3


def test_counts_of_decisions_leave_with_their_day_and_who_is_forgotten_is_excused(
    stores: tuple[EventLog, EventArchive],
) -> None:
    log, archive = stores
    hour = RoutedCount.period_of(START)
    counts = [RoutedCount("w", "home_ranker", "control", hour + n * DAY, 3) for n in range(2)]
    shown = [exposure("mine"), exposure("mine_2", START + DAY), exposure("theirs", START + DAY, user_id="household_2")]
    testers = [exposure("tester", overridden=True), exposure("default", experiment=None, arm=None)]
    log.write_group([*shown, *testers], outcomes([]), counts)
    archive.erase(["household_1"])
    rows = [("control", hour, 3, 1), ("control", hour + DAY, 3, 1)]
    assert [tuple(row.values()) for row in log.routed("home_ranker").to_pylist()] == rows
    sum(archive.prune(RoutedCount.period_of(START) + DAY), LogRows())
    assert [tuple(row.values()) for row in log.routed("home_ranker").to_pylist()] == rows[1:]


def test_many_rows_leave_in_many_transactions(tmp_path: Path) -> None:
    log = SqlEventLog(f"sqlite:///{tmp_path}/event_log.db")
    log.write_exposures(exposure(f"r{n:04d}", START + timedelta(seconds=n)) for n in range(2_500))
    parts = list(log.archive.prune(START + timedelta(seconds=2_200)))
    assert [part.exposures for part in parts] == [1_000, 1_000, 200]
    assert [part.impressions for part in parts] == [3_000, 3_000, 600]
    assert log.archive.erase(["household_1"]) == LogRows(300, 900, 0)
    log.close()


def test_what_was_erased_is_not_left_in_the_file(tmp_path: Path) -> None:
    """Neither in free pages nor in the write-ahead log, as far as SQLite can help."""
    name = "a-user-with-a-name-of-its-own"
    log = SqlEventLog(f"sqlite:///{tmp_path}/event_log.db")
    log.write_exposures(exposure(f"r{n}", user_id=name if n % 3 == 0 else "other") for n in range(3_000))
    on_disk = [path.read_bytes() for path in tmp_path.iterdir()]
    assert any(name.encode() in content for content in on_disk)
    log.archive.erase([name])
    assert not [path.name for path in tmp_path.iterdir() if name.encode() in path.read_bytes()]
    assert log.exposures("home", START, START + DAY).num_rows == 2_000
    log.close()


def test_an_archive_opens_by_itself(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path}/event_log.db"
    log = SqlEventLog(address)
    log.write_outcomes(outcomes(["e"]))
    archive = SqlEventArchive(address)
    assert archive.extent() == (START, START)
    archive.close()
    log.close()
