"""What happens to the event log when its disk is full, its server hangs, and its process is killed?"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from recsys import schema
from recsys.adapters.sql_event_log import SqlEventLog
from recsys.errors import StoreError
from recsys.serving.group_commit import GroupCommit
from tests.adapters.test_event_log_contract import DAY, START, exposure, outcomes
from tests.servers import emptied, postgres_database
from tests.stalling_proxy import StallingProxy, stalling_proxy

PATIENT = 120.0


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with postgres_database() as address:
        yield address


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.server)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/event_log.db"
    return emptied(request.getfixturevalue("postgres"))


def eventually(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENT
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def written(log: SqlEventLog) -> tuple[list[str], list[str], list[str]]:
    """Return the ids of requests, of their slots, and of clicks."""
    return (
        log.exposures("home", START, START + DAY)[schema.REQUEST_ID].to_pylist(),
        log.impressions("home", START, START + DAY)[schema.REQUEST_ID].to_pylist(),
        log.outcomes("click", START, START + DAY)[schema.EVENT_ID].to_pylist(),
    )


# ---------------------------------------------------------------- a full disk

# Its files may not grow beyond a bound; then the bound is lifted.
_FULL = """
import resource, sys
from tests.adapters.test_event_log_contract import exposure, outcomes
from recsys.adapters.sql_event_log import SqlEventLog
from recsys.errors import StoreError
from recsys.serving.group_commit import GroupCommit
from recsys.ports import ShownItem
log = SqlEventLog(f"sqlite:///{sys.argv[1]}")
grouped = GroupCommit(log, wait_seconds=60)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
grouped.write_exposures([exposure("before")])
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
items = tuple(ShownItem(f"item_{slot}", slot, 1.0) for slot in range(1, 101))
said, number = None, 0
while said is None and number < 10_000:
    try:
        log.write_group([exposure(f"r{number}-{part}", items=items) for part in range(20)], outcomes([f"e{number}"]))
        print("written", number)
    except StoreError as error:
        said = str(error)
    number += 1
print("refused", said)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
log.write_group([exposure(f"r{number}-{part}", items=items) for part in range(20)], outcomes([f"e{number}"]))
print("written", number)
print("grouped", grouped.write_exposures([exposure("after")]))
grouped.close()
"""


def test_a_full_disk_refuses_whole_groups_and_works_again_when_there_is_space(tmp_path: Path) -> None:
    """No group is torn, and nobody has to restart anything."""
    path = tmp_path / "event_log.db"
    ran = subprocess.run(
        [sys.executable, "-c", _FULL, str(path)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    lines = [line.partition(" ")[::2] for line in ran.stdout.splitlines()]
    kept = [number for said, number in lines if said == "written"]
    refusal = next(text for said, text in lines if said == "refused")
    assert "free disk space" in refusal
    assert len(kept) >= 2, "some before the disk was full, one after"
    assert ("grouped", "1") in lines
    log = SqlEventLog(f"sqlite:///{path}")
    requests, slots, _ = written(log)
    groups = {f"r{number}-{part}" for number in kept for part in range(20)}
    assert set(requests) == groups | {"before", "after"}
    assert len(slots) == 100 * len(groups) + 2 * 3
    events = log.outcomes("purchase", START, START + DAY)[schema.EVENT_ID].to_pylist()
    assert sorted(events) == sorted(f"e{number}" for number in kept)
    log.close()


def test_a_database_at_its_limit_keeps_what_is_buffered(tmp_path: Path) -> None:
    """What waits is written once there is room, and nothing of it is lost."""
    log = SqlEventLog(f"sqlite:///{tmp_path}/event_log.db")
    limit = {"pages": 40}
    sa.event.listen(
        log._database.engine,
        "checkout",
        lambda connection, *_: connection.execute(f"PRAGMA max_page_count = {limit['pages']}"),
    )
    grouped = GroupCommit(log, "buffered", queue_rows=1_000, wait_seconds=0.05, gather_seconds=0.0)
    accepted: list[str] = []

    def fill() -> None:
        for number in range(100_000):
            grouped.write_exposures([exposure(f"r{number}")])
            accepted.append(f"r{number}")

    with pytest.raises(StoreError, match="rows wait"):
        fill()
    with pytest.raises(StoreError, match="disk is full"):
        log.write_exposures(exposure(f"direct{number}") for number in range(10_000))
    limit["pages"] = 100_000
    eventually(lambda: grouped.waiting == 0)
    assert grouped.close() == 0
    requests, slots, _ = written(log)
    assert sorted(requests) == sorted(accepted)
    assert sorted(slots) == sorted(accepted * 3)
    log.close()


# ---------------------------------------------------------------- a server that hangs


@pytest.fixture
def hanging(postgres: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[StallingProxy, SqlEventLog, SqlEventLog]]:
    """Give a proxy, a log behind it, and the same log reached directly; bounds are shorter than in life."""
    monkeypatch.setattr("recsys.adapters.sql_event_log.database._WAIT_SECONDS", 2)
    monkeypatch.setattr("recsys.adapters.sql_event_log.postgresql.SILENCE_SECONDS", 1.0)
    address = make_url(emptied(postgres))
    direct = SqlEventLog(postgres)
    direct.ping()
    with stalling_proxy(address.host or "127.0.0.1", address.port or 5432) as proxy:
        behind = SqlEventLog(address.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False))
        behind.ping()
        yield proxy, behind, direct
        behind.close()
    direct.close()


@pytest.mark.server
def test_a_hung_server_is_given_up_in_bounded_time(hanging: tuple[StallingProxy, SqlEventLog, SqlEventLog]) -> None:
    """Its silence tells, even where its kernel takes every byte."""
    proxy, behind, direct = hanging
    proxy.stall()
    begun = time.monotonic()
    with pytest.raises(StoreError, match="check that the server runs"):
        behind.write_exposures([exposure("r1")])
    assert time.monotonic() - begun < PATIENT / 4
    assert direct.request("r1") is None
    proxy.resume()
    behind.write_exposures([exposure("r2")])
    assert direct.request("r2") == exposure("r2")


@pytest.mark.server
def test_a_server_that_thinks_for_long_is_not_taken_for_hung(
    hanging: tuple[StallingProxy, SqlEventLog, SqlEventLog],
) -> None:
    """A read may be silent for longer than a write."""
    _, behind, _ = hanging
    database = behind._database
    with database.reading("think") as connection, database.patient(connection):
        assert connection.execute(sa.text("select 1 from pg_sleep(2.5)")).scalar_one() == 1
    with pytest.raises(StoreError, match="said nothing for 1 s"), database.reading("think") as connection:
        connection.execute(sa.text("select 1 from pg_sleep(2.5)"))


@pytest.mark.server
def test_writers_live_through_a_hung_server(hanging: tuple[StallingProxy, SqlEventLog, SqlEventLog]) -> None:
    """Acknowledged ones are refused in time, buffered ones are written once when it is back."""
    proxy, behind, direct = hanging
    grouped = GroupCommit(behind, "buffered", wait_seconds=0.5)
    assert grouped.write_outcomes(outcomes(["e1"], event_type="click")) == 1
    proxy.stall()
    names = [f"r{number}" for number in range(20)]
    for name in names:
        grouped.write_exposures([exposure(name)])
    begun = time.monotonic()
    with pytest.raises(StoreError):
        grouped.write_outcomes(outcomes(["e2"], event_type="click"))
    assert time.monotonic() - begun < PATIENT / 4
    proxy.resume()
    eventually(lambda: grouped.waiting == 0)

    def taken() -> bool:
        with contextlib.suppress(StoreError):
            return grouped.write_outcomes(outcomes(["e2", "e3"], event_type="click")) in {1, 2}
        return False

    eventually(taken)
    assert grouped.close() == 0
    requests, slots, events = written(direct)
    assert sorted(requests) == sorted(names)
    assert sorted(slots) == sorted(names * 3)
    assert events == ["e1", "e2", "e3"]


@pytest.mark.server
def test_connections_that_are_cut_lose_nothing_that_was_acknowledged(postgres: str) -> None:
    """The server ends every connection of the log, again and again, while many write."""
    log = SqlEventLog(emptied(postgres))
    grouped = GroupCommit(log, wait_seconds=PATIENT)
    ended, acknowledged, lock = threading.Event(), [], threading.Lock()

    def write(writer: int) -> None:
        for number in range(100_000):
            if ended.is_set():
                return
            name = f"{writer}-{number}"
            with contextlib.suppress(StoreError):
                grouped.write_exposures([exposure(name)])
                with lock:
                    acknowledged.append(name)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    cut = sa.create_engine(postgres)
    with cut.connect() as connection:
        for done in range(1, 6):
            eventually(lambda done=done: len(acknowledged) >= 20 * done)
            connection.execute(
                sa.text(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where datname = current_database() and pid <> pg_backend_pid()"
                )
            )
    cut.dispose()
    eventually(lambda: len(acknowledged) >= 150)
    ended.set()
    for thread in threads:
        thread.join(PATIENT)
    grouped.close()
    requests, slots, _ = written(log)
    assert set(acknowledged) <= set(requests)
    assert sorted(slots) == sorted(requests * 3)
    log.close()


# ---------------------------------------------------------------- a process that is killed

# Four threads write what they can, and say what was accepted.
_WRITERS = """
import itertools, os, sys, threading
from tests.adapters.test_event_log_contract import exposure, outcomes
from recsys.adapters.sql_event_log import SqlEventLog
from recsys.errors import StoreError
from recsys.serving.group_commit import GroupCommit
grouped = GroupCommit(SqlEventLog(sys.argv[1]), sys.argv[2], queue_rows=2_000, wait_seconds=60)
def write(writer):
    for number in itertools.count():
        name = f"{writer}-{number}"
        if writer == 3:
            grouped.write_outcomes(outcomes([name], event_type="click"))
        else:
            grouped.write_exposures([exposure(name)])
        os.write(1, f"{name}\\n".encode())
for writer in range(4):
    threading.Thread(target=write, args=(writer,)).start()
"""


def accepted_before_a_kill(url: str, durability: str, lines: int) -> list[str]:
    """Let a process write, kill it -9 after some lines, and return all that it said was accepted."""
    with subprocess.Popen(
        [sys.executable, "-c", _WRITERS, url, durability],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        assert process.stdout is not None
        accepted = [process.stdout.readline().strip() for _ in range(lines)]
        os.kill(process.pid, signal.SIGKILL)
        accepted += [line.strip() for line in process.stdout if line.endswith("\n")]
    assert "" not in accepted
    return accepted


@pytest.mark.parametrize("lines", [5, 200])
def test_a_kill_loses_nothing_acknowledged_and_writes_nothing_twice(url: str, lines: int) -> None:
    """Of exposures and of outcomes."""
    accepted = accepted_before_a_kill(url, "acknowledged", lines)
    log = SqlEventLog(url)
    requests, slots, events = written(log)
    found = [*requests, *events]
    assert set(accepted) <= set(found)
    assert len(found) == len(set(found)) <= len(accepted) + 4
    assert sorted(slots) == sorted(requests * 3)
    log.close()


@pytest.mark.parametrize("lines", [5, 400])
def test_a_kill_loses_the_end_of_what_was_buffered(url: str, lines: int) -> None:
    """No more than waited: of each writer the last ones; and no event, which are acknowledged always."""
    accepted = accepted_before_a_kill(url, "buffered", lines)
    log = SqlEventLog(url)
    requests, slots, events = written(log)
    found = {*requests, *events}
    assert sorted(slots) == sorted(requests * 3)
    for writer in range(4):
        mine = [name for name in accepted if name.startswith(f"{writer}-")]
        lost = [name for name in mine if name not in found]
        assert mine[len(mine) - len(lost) :] == lost
        assert not lost or writer != 3
    assert len([name for name in accepted if name not in found]) * 4 <= 2_000
    log.close()


def test_a_kill_while_the_store_is_down_loses_the_queue_at_most(tmp_path: Path) -> None:
    """Nothing of it was acknowledged; the bound is the queue's."""
    url = f"sqlite:///{tmp_path}/event_log.db"
    log = SqlEventLog(url)
    with log._database.engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO ledger VALUES (1, 't', 'intent', 'a', 's', '{}', 'ada', 0, 0)")
        accepted = accepted_before_a_kill(url, "buffered", 400)
    assert all(not name.startswith("3-") for name in accepted)
    assert 400 <= len(accepted) <= 2_000 // 4
    assert written(log) == ([], [], [])
    log.close()


# The log is down until two thousand lists were answered; then it takes one group, and the process is killed.
_KILLED_AFTER_A_GROUP = """
import os, signal, sys
from tests.adapters.test_event_log_contract import exposure
from recsys.adapters.sql_event_log import SqlEventLog
from recsys.errors import StoreError
from recsys.serving.group_commit import GroupCommit
class Killed(SqlEventLog):
    down = True
    def write_group(self, exposures, outcomes, routed=()):
        if self.down:
            raise StoreError("down")
        super().write_group(exposures, outcomes, routed)
        os.kill(os.getpid(), signal.SIGKILL)
log = Killed(sys.argv[1])
grouped = GroupCommit(log, "buffered", wait_seconds=60)
for number in range(2_000):
    shown = exposure(f"r{number}")
    grouped.decided(shown)
    grouped.write_exposures([shown])
log.down = False
signal.pause()
"""


def test_exposures_that_a_killed_worker_had_buffered_are_counted_as_lost(url: str) -> None:
    """Decisions went to the log ahead of their exposures, in the group before the kill."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", _KILLED_AFTER_A_GROUP, url], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    log = SqlEventLog(url)
    requests, _, _ = written(log)
    (counted,) = log.routed("home_ranker").to_pylist()
    assert (counted["arm"], counted["decided"], counted["excused"]) == ("control", 2_000, 0)
    assert 0 < len(requests) < 2_000, "a group has 5,000 rows at most"
    log.close()
