"""Do the fake, SQLite and PostgreSQL keep exposures, outcomes and decisions alike?"""

import contextlib
import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from recsys import schema
from recsys.adapters.sql_event_log import SqlEventLog, SqlLedger
from recsys.errors import DataError, DecisionError, StoreError
from recsys.ports import EventLog, Exposure, Ledger, NewIds, RoutedCount, ShownItem
from recsys.serving.group_commit import GroupCommit
from tests.fakes.event_log import FakeEventLog
from tests.fakes.ledger import FakeLedger
from tests.servers import emptied, postgres_database

START = datetime(2017, 12, 4, 6, 0, 0, 123456, tzinfo=UTC)
DAY = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)

BACKENDS = ["fake", "sqlite", pytest.param("postgresql", marks=pytest.mark.server)]
LOGS = [*BACKENDS, "group commit"]


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """Give the URL of a PostgreSQL database of this module's own."""
    with postgres_database() as address:
        yield address


@pytest.fixture(params=LOGS)
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[EventLog, Ledger]]:
    """Give an empty event log and ledger of each technology."""
    if request.param == "fake":
        yield FakeEventLog(), FakeLedger()
    elif request.param == "sqlite":
        log = SqlEventLog(f"sqlite:///{tmp_path}/new folder/event_log.db")
        yield log, log.ledger
        log.close()
    elif request.param == "group commit":
        log = SqlEventLog(f"sqlite:///{tmp_path}/event_log.db")
        grouped = GroupCommit(log, wait_seconds=60)
        yield grouped, log.ledger
        grouped.close()
        log.close()
    else:
        log = SqlEventLog(emptied(request.getfixturevalue("postgres")))
        yield log, log.ledger
        log.close()


@pytest.fixture
def log(stores: tuple[EventLog, Ledger]) -> EventLog:
    """Give the event log."""
    return stores[0]


@pytest.fixture
def ledger(stores: tuple[EventLog, Ledger]) -> Ledger:
    """Give the ledger."""
    return stores[1]


def exposure(request_id: str, at: datetime = START, **changes: Any) -> Exposure:
    """Return an exposure of three items."""
    plain = Exposure(
        request_id=request_id,
        placement="home",
        user_id="household_1",
        session_id=None,
        experiment="home_ranker",
        arm="control",
        overridden=False,
        model_version="basket/v1",
        weights=3,
        fallback=None,
        event_timestamp=at,
        feature_digest="d1",
        watermarks={"pair": "2017-12-04T00:00:00+00:00"},
        items=tuple(ShownItem(f"item_{slot}", slot, 1 / slot, 1.0) for slot in (1, 2, 3)),
    )
    return replace(plain, **changes)


def outcomes(ids: Sequence[str], at: datetime = START, event_type: str = "purchase") -> pa.Table:
    """Return one outcome an id."""
    rows = [
        {
            schema.EVENT_ID: name,
            schema.EVENT_TYPE: event_type,
            schema.USER: "household_1",
            schema.ITEM: "item_1",
            schema.SESSION: None,
            schema.QUANTITY: 2.0,
            schema.VALUE: 3.25,
            schema.EVENT_TIMESTAMP: at,
            schema.CREATED_TIMESTAMP: at + MICROSECOND,
        }
        for name in ids
    ]
    return pa.Table.from_pylist(rows, schema=schema.EVENTS)


class TestEventLog:
    """Whatever keeps it, the log does the same."""

    def test_gives_what_requests_said_of_their_moment(self, log: EventLog) -> None:
        """Of those that said something, in the placement and the time that are asked for."""
        said = {"device": 'a "phone" ✓', "basket_value": 0.1 + 0.2, "large": 1e15, "since": "2017-12-04T06:00:00+00:00"}
        log.write_exposures(
            [
                exposure("r1", asked={"k": 3, "candidates": ["context"], "context": said}),
                exposure("r2", START + DAY, asked={"k": 3, "context": {"device": "desk"}}),
                exposure("r3", START + 2 * DAY, asked={"k": 3, "context": {"device": "late"}}),
                exposure("r4", asked={"k": 3, "candidates": ["a"]}),
                exposure("r5"),
                exposure("r6", placement="cart", asked={"k": 3, "context": {"device": "tv"}}),
            ]
        )
        found = log.contexts("home", START, START + 2 * DAY)
        assert found.schema.names == schema.CONTEXTS.names
        rows = dict(zip(found["request_id"].to_pylist(), map(json.loads, found["context"].to_pylist()), strict=True))
        assert rows == {"r1": said, "r2": {"device": "desk"}}
        again = log.request("r1")
        assert again is not None
        assert again.asked["context"] == said
        assert len(log.contexts("home", START + 9 * DAY, START + 10 * DAY)) == 0

    def test_gives_a_request_back_as_it_was(self, log: EventLog) -> None:
        """Every field survives, to the microsecond."""
        plain = exposure("r1")
        nobody = exposure("r2", experiment=None, arm=None, model_version=None, weights=None)
        bare = replace(nobody, fallback="popular", items=())
        assert log.write_exposures([plain, bare]) == 2
        assert log.request("r1") == plain
        assert log.request("r2") == bare
        assert log.request("nobody") is None

    def test_keeps_what_was_asked_and_a_sampled_row(self, log: EventLog) -> None:
        features = {"price": [1.5, None], "brand": ["a", "b"], "last": ["2017-12-04T00:00:00", None]}
        shown = exposure("r1", asked={"k": 2, "candidates": ["a", "ü"]}, features=features)
        assert log.write_exposures([shown, exposure("r2")]) == 2
        assert log.request("r1") == shown
        plain = log.request("r2")
        assert plain is not None
        assert (plain.asked, plain.features) == ({}, None)

    def test_tells_which_requests_have_their_features(self, log: EventLog) -> None:
        """In the placement and the time that are asked for, by their ids."""
        features = {"price": [1.5]}
        log.write_exposures(
            [
                exposure("r2", START + DAY, features=features),
                exposure("r1", features={}),
                exposure("r3", START + 2 * DAY, features=features),
                exposure("r4"),
                exposure("r5", placement="cart", features=features),
            ]
        )
        assert log.with_features("home", START, START + 2 * DAY) == ["r1", "r2"]
        assert log.with_features("home", START + 9 * DAY, START + 10 * DAY) == []

    def test_writes_a_request_once(self, log: EventLog) -> None:
        """A second write of an id changes nothing, not even its slots."""
        first = exposure("r1")
        again = exposure("r1", arm="treatment", items=(ShownItem("other", 9, 0.0),))
        assert log.write_exposures([first, again]) == 1
        assert log.write_exposures([again, exposure("r2")]) == 1
        assert log.request("r1") == first
        assert log.impressions("home", START, START + DAY).num_rows == 6

    def test_reads_a_window_in_order(self, log: EventLog) -> None:
        """The start is inside, the end is not; ties of time fall to the code points of the id."""
        log.write_exposures(
            [
                exposure("early", START - MICROSECOND),
                exposure("b", START),
                exposure("B", START),
                exposure("late", START + DAY - MICROSECOND, overridden=True),
                exposure("after", START + DAY),
                exposure("elsewhere", START, placement="cart"),
            ]
        )
        found = log.exposures("home", START, START + DAY)
        assert found[schema.REQUEST_ID].to_pylist() == ["B", "b", "late"]
        assert found["overridden"].to_pylist() == [False, False, True]
        assert found.schema.field(schema.EVENT_TIMESTAMP).type == schema.TIMESTAMP
        assert found[schema.EVENT_TIMESTAMP].to_pylist() == [START, START, START + DAY - MICROSECOND]
        slots = log.impressions("home", START, START + DAY)
        assert slots[schema.REQUEST_ID].to_pylist() == ["B"] * 3 + ["b"] * 3 + ["late"] * 3
        assert slots[schema.POSITION].to_pylist() == [1, 2, 3] * 3
        assert slots.schema.types == [pa.string(), pa.int64(), pa.string(), pa.float64(), pa.float64()]

    def test_gives_the_newest_of_a_placement(self, log: EventLog) -> None:
        """So many of them, the newest first, whatever their order of arrival."""
        moments = {"b": START + DAY, "d": START + 3 * DAY, "a": START, "c": START + 2 * DAY}
        log.write_exposures(
            [exposure(name, moment, overridden=name == "c") for name, moment in moments.items()]
            + [exposure("elsewhere", START + 9 * DAY, placement="cart")]
        )
        found = log.recent("home", 3)
        assert found[schema.REQUEST_ID].to_pylist() == ["d", "c", "b"]
        assert found["overridden"].to_pylist() == [False, True, False]
        assert found.schema == schema.EXPOSURES
        assert log.recent("home", 9).num_rows == 4
        assert log.recent("nowhere", 3).num_rows == 0

    def test_reads_nothing_as_an_empty_table(self, log: EventLog) -> None:
        """No rows, all columns."""
        for table in (log.exposures("home", START, START), log.impressions("home", START, START)):
            assert table.num_rows == 0
            assert schema.REQUEST_ID in table.column_names
        assert log.outcomes("purchase", START, START).schema == schema.EVENTS

    def test_keeps_scores_that_are_no_numbers(self, log: EventLog) -> None:
        """NaN and the infinities come back as themselves."""
        scores = [math.nan, math.inf, -math.inf]
        items = tuple(ShownItem("item", slot, score) for slot, score in enumerate(scores, 1))
        log.write_exposures([exposure("r1", items=items)])
        given = log.impressions("home", START, START + DAY)[schema.SCORE].to_pylist()
        assert math.isnan(given[0])
        assert given[1:] == scores[1:]

    def test_keeps_times_of_other_zones(self, log: EventLog) -> None:
        """A moment is a moment in every zone."""
        log.write_exposures([exposure("r1", START.astimezone(timezone(timedelta(hours=-5))))])
        assert log.exposures("home", START, START + MICROSECOND)[schema.EVENT_TIMESTAMP].to_pylist() == [START]

    def test_keeps_text_of_any_language(self, log: EventLog) -> None:
        """Ids are any text."""
        odd = exposure("żółć-'\"%s?-🛒", user_id="семья")
        log.write_exposures([odd])
        assert log.request(odd.request_id) == odd

    def test_writes_outcomes_once(self, log: EventLog) -> None:
        """A second write of an id changes nothing."""
        assert log.write_outcomes(outcomes(["e2", "e1", "e2"])) == 2
        assert log.write_outcomes(outcomes(["e1", "e3"], START + MICROSECOND)) == 1
        assert log.write_outcomes(outcomes([])) == 0
        log.write_outcomes(outcomes(["m"], event_type="mailed"))
        assert log.event_types() == ["mailed", "purchase"]
        found = log.outcomes("purchase", START, START + DAY)
        assert found.schema == schema.EVENTS
        assert found[schema.EVENT_ID].to_pylist() == ["e1", "e2", "e3"]
        assert found.slice(0, 1).equals(outcomes(["e1"]))
        assert log.outcomes("purchase", START, START + MICROSECOND).num_rows == 2

    def test_a_session_is_read_back_as_it_became_known(self, log: EventLog) -> None:
        """Its first events of some types, whatever they are written with; times are exact."""

        def acts(session: str | None, *said: tuple[str, int], event_type: str = "click") -> pa.Table:
            table = outcomes([name for name, _ in said], event_type=event_type)
            known = pa.array([START + number * MICROSECOND for _, number in said], schema.TIMESTAMP)
            place = table.schema.get_field_index
            table = table.set_column(place(schema.CREATED_TIMESTAMP), schema.CREATED_TIMESTAMP, known)
            sessions = pa.array([session] * len(said), pa.string())
            return table.set_column(place(schema.SESSION), schema.SESSION, sessions).cast(schema.EVENTS)

        log.write_outcomes(acts("s2", ("e5", 7), ("e4", 7), ("e1", 9), ("e2", 1)))
        log.write_outcomes(acts("s1", ("f1", 3)))
        log.write_outcomes(acts("s1", ("f2", 2), event_type="transfer"))
        log.write_outcomes(acts("s1", ("f3", 1), event_type="purchase"))
        log.write_outcomes(acts(None, ("g1", 1)))
        log.write_outcomes(acts("s3", ("h1", 1)))

        def read(sessions: Sequence[str], types: Sequence[str], first: int) -> list[str]:
            found = log.session_events(sessions, types, first)
            assert found.schema == schema.EVENTS
            named: list[str] = found[schema.EVENT_ID].to_pylist()
            return named

        assert read(["s2", "s1", "s2"], ["click", "transfer"], 9) == ["f2", "f1", "e2", "e4", "e5", "e1"]
        assert read(["s2", "s1"], ["click"], 2) == ["f1", "e2", "e4"]
        assert read([], ["click"], 9) == read(["s1"], [], 9) == read(["nobody"], ["click"], 9) == []
        written = acts("s2", ("e2", 1))
        assert log.session_events(["s2"], ["click"], 1).equals(written)
        many = [f"t{number:04}" for number in range(1_200)]
        assert read([*many, "s3"], ["click"], 9) == ["h1"]

    def test_refuses_outcomes_that_break_the_schema(self, log: EventLog) -> None:
        """The message names the column."""
        with pytest.raises(DataError, match=schema.VALUE):
            log.write_outcomes(outcomes(["e1"]).drop_columns([schema.VALUE]))
        nameless = outcomes(["e1"]).set_column(0, schema.EVENT_ID, pa.array([None], pa.string()))
        with pytest.raises(DataError, match=schema.EVENT_ID):
            log.write_outcomes(nameless)

    def test_writes_a_group_and_says_what_was_new(self, log: EventLog) -> None:
        """Exposures and outcomes of many callers, each id once; the first of equal ids counts."""
        log.write_exposures([exposure("r1")])
        log.write_outcomes(outcomes(["e1"]))
        second = exposure("r2", arm="treatment")
        wanted = [exposure("r1", arm="late"), second, exposure("r2", arm="later")]
        assert log.write_group(wanted, outcomes(["e2", "e1"])) == NewIds(frozenset({"r2"}), frozenset({"e2"}))
        assert log.request("r1") == exposure("r1")
        assert log.request("r2") == second
        assert log.outcomes("purchase", START, START + DAY)[schema.EVENT_ID].to_pylist() == ["e1", "e2"]
        assert log.outcomes("purchase", START, START + DAY).slice(1, 1).equals(outcomes(["e2"]))
        assert log.write_group([], outcomes([])) == NewIds(frozenset(), frozenset())

    def test_keeps_the_last_count_of_each_source_and_adds_sources_up(self, log: EventLog) -> None:
        """With a group or without; by arm and hour, of one experiment."""
        hour = RoutedCount.period_of(START)
        first = [RoutedCount("w1", "home_ranker", arm, hour, 3) for arm in ("control", "treatment")]
        log.write_group([exposure("r1")], outcomes([]), first)
        later = RoutedCount("w1", "home_ranker", "control", hour + timedelta(hours=1), 1)
        other = RoutedCount("w2", "home_ranker", "control", hour, 4)
        stranger = RoutedCount("w1", "another", "control", hour, 9)
        for _ in range(2):
            log.write_group([], outcomes([]), [replace(first[0], decided=5, excused=2), later, other, stranger])
        found = log.routed("home_ranker")
        assert found.schema == schema.ROUTED
        assert [tuple(row.values()) for row in found.to_pylist()] == [
            ("control", hour, 9, 2),
            ("control", hour + timedelta(hours=1), 1, 0),
            ("treatment", hour, 3, 0),
        ]
        assert log.routed("nobody").num_rows == 0

    def test_counts_are_made_of_what_turns_out_to_be_new(self, log: EventLog) -> None:
        """In the transaction that writes it, so that a retry after a kill counts nothing twice and misses nothing."""
        hour = RoutedCount.period_of(START)

        def counted(new: Collection[str]) -> list[RoutedCount]:
            source = "-".join(sorted(new))
            return [RoutedCount(source, "home_ranker", "control", hour, len(new))] if new else []

        log.write_group([exposure("r1"), exposure("r2")], outcomes([]), counted)
        log.write_group([exposure("r2"), exposure("r3")], outcomes([]), counted)
        log.write_group([exposure("r1")], outcomes([]), counted)
        assert log.routed("home_ranker")["decided"].to_pylist() == [3]

    def test_answers(self, log: EventLog) -> None:
        """A log that is there can be reached."""
        log.ping()


class TestLedger:
    """Whatever keeps it, the ledger does the same."""

    def append(self, ledger: Ledger, transaction: str, state: str, subject: str = "basket") -> int:
        """Append an entry and return its number."""
        payload = {"aliases": {"champion": {"before": None, "after": 2}}, "reason": "żółć"}
        entry = ledger.append(
            transaction=transaction,
            state=state,
            action="promote",
            subject=subject,
            payload=payload,
            author="ada",
            at=START,
        )
        assert (entry.payload, entry.event_timestamp, entry.state) == (payload, START, state)
        return entry.sequence

    def test_gives_entries_back_in_order(self, ledger: Ledger) -> None:
        """All of them, or those of one subject."""
        assert ledger.position() == 0
        numbers = [
            self.append(ledger, "t1", "intent"),
            self.append(ledger, "t2", "intent", "coupon"),
            self.append(ledger, "t1", "done"),
        ]
        assert numbers == sorted(set(numbers))
        assert ledger.position() == numbers[-1]
        assert [entry.sequence for entry in ledger.entries()] == numbers
        assert [entry.state for entry in ledger.entries("basket")] == ["intent", "done"]
        assert ledger.entries("nothing") == ()
        assert ledger.entries("coupon")[0].payload["aliases"]["champion"]["before"] is None

    @pytest.mark.parametrize("second", ["done", "reverted"])
    def test_ends_a_transaction_once(self, ledger: Ledger, second: str) -> None:
        """Whoever is later is refused, and nothing is appended."""
        self.append(ledger, "t1", "intent")
        self.append(ledger, "t1", "done")
        with pytest.raises(DecisionError, match="t1"):
            self.append(ledger, "t1", second)
        assert len(ledger.entries()) == 2


@pytest.fixture(params=BACKENDS[1:])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Give the URL of an empty database of each technology."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/event_log.db"
    else:
        yield emptied(request.getfixturevalue("postgres"))


def test_many_writers_at_once(url: str) -> None:
    """Writers that race for the same ids and for new tables write each request once."""
    logs = [SqlEventLog(url) for _ in range(4)]
    counts: list[int] = []

    def write(log: SqlEventLog, offset: int) -> None:
        for start in range(0, 200, 20):
            names = [f"r{(start + step + offset) % 200}" for step in range(40)]
            counts.append(log.write_exposures(exposure(name) for name in names))
            log.ledger.append(
                transaction=f"{offset}-{start}",
                state="intent",
                action="promote",
                subject="basket",
                payload={},
                author="ada",
                at=START,
            )

    threads = [threading.Thread(target=write, args=(log, offset * 50)) for offset, log in enumerate(logs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 200
    assert logs[0].impressions("home", START, START + DAY).num_rows == 600
    assert len(logs[0].ledger.entries()) == 40
    for log in logs:
        log.close()


def test_a_database_of_an_earlier_version_gets_its_columns(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    first = SqlEventLog(url)
    first.write_exposures([exposure("r1")])
    first.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "log.db")) as database:
        database.execute("ALTER TABLE exposures DROP COLUMN asked")
        database.execute("ALTER TABLE exposures DROP COLUMN features")
    again = SqlEventLog(url)
    assert again.request("r1") == exposure("r1")
    assert again.write_exposures([exposure("r2", asked={"k": 3})]) == 1
    again.close()


def test_a_large_batch_is_whole(tmp_path: Path) -> None:
    """100,000 slots of 10,000 requests are written in one call and read back."""
    log = SqlEventLog(f"sqlite:///{tmp_path}/event_log.db")
    items = tuple(ShownItem(f"item_{slot}", slot, 1 / slot) for slot in range(1, 11))
    assert log.write_exposures(exposure(f"r{n:05d}", items=items) for n in range(10_000)) == 10_000
    assert log.impressions("home", START, START + DAY).num_rows == 100_000
    log.close()


# It imports no more than it needs: most of the test's time is the start of its processes.
_WRITER = """
import sys
from datetime import datetime, UTC
from recsys.adapters.sql_event_log import SqlEventLog
from recsys.ports import Exposure, ShownItem
log, at = SqlEventLog(sys.argv[1]), datetime(2017, 12, 4, 7, tzinfo=UTC)
slots = [ShownItem(f"item_{slot}", slot, 1.0) for slot in (1, 2, 3)]
for number in range(100_000):
    name = f"{sys.argv[2]}-{number}"
    plain = Exposure(name, "home", "u", None, None, None, False, None, None, None, at, "", {}, slots)
    log.write_exposures([plain])
    print(name, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is POSIX")
def test_a_killed_writer_loses_nothing_it_acknowledged(url: str) -> None:
    """After kill -9, every acknowledged request is there with all its slots, and no request has only some."""
    acknowledged: list[str] = []
    with contextlib.ExitStack() as stack:
        writers = [
            stack.enter_context(
                subprocess.Popen([sys.executable, "-c", _WRITER, url, str(kill)], stdout=subprocess.PIPE, text=True)
            )
            for kill in range(3)
        ]
        for kill, writer in enumerate(writers):
            assert writer.stdout is not None
            acknowledged.extend(writer.stdout.readline().strip() for _ in range(20 + 7 * kill))
            os.kill(writer.pid, signal.SIGKILL)
            # What it said before it died was acknowledged too.
            acknowledged.extend(line.strip() for line in writer.stdout if line.endswith("\n"))
    log = SqlEventLog(url)
    found = log.exposures("home", START, START + DAY)[schema.REQUEST_ID].to_pylist()
    slots = log.impressions("home", START, START + DAY)[schema.REQUEST_ID].to_pylist()
    assert set(acknowledged) <= set(found)
    assert len(found) <= len(acknowledged) + 3
    assert sorted(slots) == sorted(found * 3)
    log.close()


class TestFailures:
    """Each names the log, never its password, and says what to do."""

    @pytest.mark.parametrize(
        ("url", "words"),
        [
            ("nonsense", "sqlite:///"),
            ("sqlite://", "in memory"),
            ("mysql://ada:secret@127.0.0.1/shop", "mysql is not supported"),
            ("postgresql+psycopg://ada:secret@host:port/shop", "cannot be read"),
        ],
    )
    def test_a_url_that_is_not_one(self, url: str, words: str) -> None:
        """It is refused before anything is opened."""
        with pytest.raises(StoreError, match=words) as caught:
            SqlEventLog(url)
        assert "secret" not in str(caught.value)

    def test_a_server_that_is_not_there(self) -> None:
        """It is said within the time to connect."""
        log = SqlEventLog("postgresql+psycopg://ada:secret@127.0.0.1:1/shop")
        with pytest.raises(StoreError, match="check that the server runs") as caught:
            log.ping()
        assert "secret" not in str(caught.value)

    def test_a_file_of_another_kind(self, tmp_path: Path) -> None:
        """It is left as it is."""
        path = tmp_path / "event_log.db"
        path.write_text("not a database " * 100)
        with pytest.raises(StoreError, match="move it away"):
            SqlEventLog(f"sqlite:///{path}").ping()
        assert path.read_text().startswith("not a database")

    def test_a_folder_that_cannot_be_made(self, tmp_path: Path) -> None:
        """A file stands where the folder should be."""
        (tmp_path / "state").write_text("")
        with pytest.raises(StoreError, match="folder exists"):
            SqlEventLog(f"sqlite:///{tmp_path}/state/event_log.db").ping()

    def test_a_locked_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A writer waits for its turn, but not for ever."""
        monkeypatch.setattr("recsys.adapters.sql_event_log.database._WAIT_SECONDS", 1)
        log = SqlEventLog(f"sqlite:///{tmp_path}/event_log.db")
        log.ping()
        with sqlite3.connect(tmp_path / "event_log.db", isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError, match="held the file"):
                log.write_exposures([exposure("r1")])
            other.execute("ROLLBACK")
        other.close()
        assert log.write_exposures([exposure("r1")]) == 1

    def test_an_id_that_no_database_keeps(self, tmp_path: Path) -> None:
        """Half of a surrogate pair is no text."""
        log = SqlEventLog(f"sqlite:///{tmp_path}/event_log.db")
        with pytest.raises(DataError, match="ids are text"):
            log.write_exposures([exposure("\ud800")])
        with pytest.raises(DataError, match="ids are text"):
            log.write_group([exposure("r1"), exposure("\ud800")], outcomes(["e1"]))
        assert log.request("r1") is None
        assert log.outcomes("purchase", START, START + DAY).num_rows == 0


def test_the_ledger_opens_by_itself(tmp_path: Path) -> None:
    """A ledger by URL is the one of the event log."""
    address = f"sqlite:///{tmp_path}/event_log.db"
    ledger = SqlLedger(address)
    ledger.append(transaction="t", state="intent", action="start", subject="home", payload={}, author="ada", at=START)
    assert [entry.subject for entry in SqlEventLog(address).ledger.entries()] == ["home"]
    ledger.close()


def test_import_is_light() -> None:
    """Reading the log needs no MLflow and no CatBoost."""
    script = "import recsys.adapters.sql_event_log, sys; print({'mlflow', 'catboost', 'feast'} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "set()"


def test_a_log_of_before_gets_the_index_that_sessions_are_read_by(tmp_path: Path) -> None:
    """With everything that was in it."""
    path = tmp_path / "log.db"
    log = SqlEventLog(f"sqlite:///{path}")
    log.write_outcomes(outcomes(["e1"]))
    log.close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP INDEX outcomes_by_session")
    log = SqlEventLog(f"sqlite:///{path}")
    assert log.outcomes("purchase", START, START + DAY).num_rows == 1
    log.close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        query = "SELECT name FROM sqlite_master WHERE type = 'index' AND name = 'outcomes_by_session'"
        assert connection.execute(query).fetchall() == [("outcomes_by_session",)]
        plan = connection.execute(
            "EXPLAIN QUERY PLAN"
            " SELECT *, row_number() OVER (PARTITION BY session_id ORDER BY created_timestamp, event_id)"
            f" FROM outcomes WHERE session_id IN ({', '.join('?' * 500)}) AND event_type IN ('click', 'transfer')",
            list("abcde" * 100),
        ).fetchall()
    assert "outcomes_by_session" in str(plan)
