"""Which servers answer here, for tests that need a real one?

Tests that use these carry the marker `server`, and skip plainly where none answers.
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest
import sqlalchemy as sa

_DEFAULT: Final = "postgresql+psycopg://postgres@127.0.0.1:5432/postgres"
_DEFAULT_REDIS: Final = "redis://127.0.0.1:6379/0"


def postgres_url() -> str | None:
    """Return the URL of a PostgreSQL server that answers, or None.

    `RECSYS_TEST_POSTGRES_URL` names one, as `postgresql+psycopg://user@host:5432/database`; else the local
    server is tried as user postgres, by trust.
    """
    url = _wanted()
    try:
        engine = sa.create_engine(url, connect_args={"connect_timeout": 2})
        with engine.connect():
            pass
        engine.dispose()
    except (sa.exc.SQLAlchemyError, ModuleNotFoundError):
        return None
    return url


@contextmanager
def postgres_database() -> Iterator[str]:
    """Make a database of a random name, give its URL, and drop it; skip the test where no server answers."""
    server = postgres_url()
    if server is None:
        pytest.skip(f"PostgreSQL does not answer at {sa.engine.make_url(_wanted()).render_as_string()}")
    name = f"recsys_test_{uuid.uuid4().hex}"
    _execute(server, f"CREATE DATABASE {name}")
    try:
        yield sa.engine.make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


def emptied(url: str) -> str:
    """Drop every table of a PostgreSQL database and give its URL back."""
    _execute(url, "DROP SCHEMA public CASCADE")
    _execute(url, "CREATE SCHEMA public")
    return url


@contextmanager
def redis_prefix() -> Iterator[tuple[str, str]]:
    """Give the URL of a Redis server that answers and a random key prefix, and delete what is below it afterwards.

    `RECSYS_TEST_REDIS_URL` names a server, else the local one is tried; the test is skipped where none answers.
    """
    redis = pytest.importorskip("redis")
    url, prefix = os.environ.get("RECSYS_TEST_REDIS_URL", _DEFAULT_REDIS), f"recsys_test_{uuid.uuid4().hex}:"
    client = redis.Redis.from_url(url, socket_connect_timeout=2, socket_timeout=10)
    try:
        client.ping()
    except redis.RedisError as error:
        pytest.skip(f"Redis does not answer: {error}")
    try:
        yield url, prefix
    finally:
        for key in client.scan_iter(match=f"{prefix}*", count=1000):
            client.unlink(key)
        client.close()


def _wanted() -> str:
    return os.environ.get("RECSYS_TEST_POSTGRES_URL", _DEFAULT)


def _execute(server: str, statement: str) -> None:
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()
