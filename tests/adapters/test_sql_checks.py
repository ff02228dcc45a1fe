"""What does a doctor say of a database that is closed, deaf, read-only, missing, damaged, or of another time?"""

import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

import pytest
import sqlalchemy as sa

from recsys.adapters import sql_checks
from recsys.adapters.sql_checks import sql_findings
from recsys.adapters.sql_event_log import SqlEventLog, event_log_findings, ledger_findings
from recsys.ports import Finding
from tests.servers import postgres_database
from tests.stalling_proxy import StallingProxy

SECRET = "top" + "secret"


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgres_database() as url:
        yield url


@pytest.fixture
def reader(database: str) -> Iterator[str]:
    """A role that may read the event log's tables, and nothing else; its URL."""
    log = SqlEventLog(database)
    log.ledger.entries()
    log.close()
    role = f"recsys_reader_{uuid.uuid4().hex}"
    engine = sa.create_engine(database, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {role} LOGIN PASSWORD '{SECRET}'")
        connection.exec_driver_sql(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
        yield sa.make_url(database).set(username=role, password=SECRET).render_as_string(hide_password=False)
        connection.exec_driver_sql(f"DROP OWNED BY {role}")
        connection.exec_driver_sql(f"DROP ROLE {role}")
    engine.dispose()


def found(url: str, *tables: str) -> dict[str, Finding]:
    return {each.name: each for each in sql_findings("store", url, tables or ("things",), "the first write")}


@pytest.mark.server
def test_an_empty_database_is_ok_and_stays_empty() -> None:
    with postgres_database() as url:
        said = {each.name: each for each in event_log_findings(url)}
        assert {each.status for each in said.values()} == {"ok"}
        assert "may make its tables" in said["event log: permission"].found
        engine = sa.create_engine(url)
        assert sa.inspect(engine).get_table_names() == []
        engine.dispose()


@pytest.mark.server
def test_a_role_that_may_only_read_fails_by_its_name_and_what_it_may_not(reader: str) -> None:
    for findings in (event_log_findings(reader), ledger_findings(reader)):
        said = {each.name.partition(": ")[2]: each for each in findings}
        assert said["connection"].status == "ok"
        assert SECRET not in said["connection"].found
        assert said["permission"].status == "failed"
        assert f"{sa.make_url(reader).username} may not write" in said["permission"].found
        assert "permission denied" in said["permission"].found


@pytest.mark.server
def test_a_session_that_takes_no_writes_fails(database: str) -> None:
    log = SqlEventLog(database)
    log.ledger.entries()
    log.close()
    url = sa.make_url(database).update_query_dict({"options": "-c default_transaction_read_only=on"})
    said = {each.name: each for each in event_log_findings(url.render_as_string(hide_password=False))}
    assert said["event log: permission"].status == "failed"
    assert "read-only transaction" in said["event log: permission"].found


@pytest.mark.server
def test_a_database_that_is_not_there_says_how_to_make_it(database: str) -> None:
    url = sa.make_url(database).set(database="recsys_not_there").render_as_string(hide_password=False)
    said = found(url)["store: connection"]
    assert said.status == "failed"
    assert said.advice == "create it: createdb recsys_not_there"


def test_a_closed_port_fails_without_the_password() -> None:
    pytest.importorskip("psycopg")
    said = found("postgresql+psycopg://who:topsecret@127.0.0.1:1/shop")
    assert list(said) == ["store: connection"]
    assert said["store: connection"].status == "failed"
    assert "who:***@127.0.0.1:1/shop" in said["store: connection"].found
    assert "start the server" in said["store: connection"].advice


@pytest.mark.server
def test_a_server_that_says_nothing_is_given_up(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_checks, "_WAIT_SECONDS", 2)  # the least that the client takes
    parsed = sa.make_url(database)
    proxy = StallingProxy(str(parsed.host), parsed.port or 5432)
    proxy.stall()
    began = time.monotonic()
    try:
        url = parsed.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
        assert found(url)["store: connection"].status == "failed"
    finally:
        proxy.close()
    assert time.monotonic() - began < 15


@pytest.mark.server
@pytest.mark.parametrize(("behind", "status"), [(0, "ok"), (10, "warning"), (300, "failed")])
def test_clocks_that_differ_are_told(database: str, monkeypatch: pytest.MonkeyPatch, behind: int, status: str) -> None:
    class Shifted(datetime):
        """This machine's clock, which a test cannot set."""

        @classmethod
        def now(cls, _zone: object = None) -> Self:
            return datetime.now(UTC) - timedelta(seconds=behind)  # type: ignore[return-value]

    monkeypatch.setattr(sql_checks, "datetime", Shifted)
    said = found(database)["store: clock"]
    assert said.status == status
    assert said.found.startswith("ahead of" if behind else ("ahead of", "behind"))


@pytest.mark.server
def test_an_old_server_fails(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_checks, "_POSTGRESQL", (99, 0))
    said = found(database)["store: version"]
    assert said.status == "failed"
    assert "99.0" in said.advice


def test_a_file_that_is_not_there_yet_is_ok_and_is_not_made(tmp_path: Path) -> None:
    said = found(f"sqlite:///{tmp_path}/new/store.db")
    assert said["store: connection"].status == "ok"
    assert "the first write" in said["store: connection"].found
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_none_of_sqlite_fails(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"this was a database once" * 100)
    said = found(f"sqlite:///{tmp_path}/store.db")["store: connection"]
    assert said.status == "failed"
    assert "not a database" in said.found


def test_a_file_that_another_holds_fails_in_bounded_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3

    monkeypatch.setattr(sql_checks, "_WAIT_SECONDS", 0.1)
    holder = sqlite3.connect(tmp_path / "store.db")
    holder.execute("create table things (thing)")
    holder.execute("begin immediate")
    said = found(f"sqlite:///{tmp_path}/store.db")["store: permission"]
    holder.close()
    assert said.status == "failed"
    assert "locked" in said.found


def test_the_tables_of_a_file_are_tried_without_a_change(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/event_log.db"
    log = SqlEventLog(url)
    log.ledger.entries()
    log.close()
    before = (tmp_path / "event_log.db").read_bytes()
    said = {each.name: each for each in [*event_log_findings(url), *ledger_findings(url)]}
    assert {each.status for each in said.values()} == {"ok"}
    assert "may read and write" in said["ledger: permission"].found
    assert (tmp_path / "event_log.db").read_bytes() == before
