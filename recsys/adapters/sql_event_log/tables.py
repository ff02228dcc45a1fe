"""What do the tables of the event log look like, and how does a person read them?

Times are UTC and exact to the microsecond. PostgreSQL keeps `timestamptz` (plain to read in psql, in UTC
after `SET timezone = 'UTC'`); SQLite has no such type and keeps integer microseconds since 1970:

    SELECT request_id, strftime('%F %T', event_timestamp / 1000000, 'unixepoch') FROM exposures;

`event_timestamp` is by the environment's clock, `written_at` by the wall: they part in a replay only. Ids
sort by their code points everywhere (collation C), so that both databases, Arrow and Python agree on the
order.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

from recsys import schema

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def to_microseconds(moment: datetime) -> int:
    """Return a UTC time as microseconds since 1970; a time without a zone is refused."""
    return (moment - _EPOCH) // _MICROSECOND


def from_microseconds(value: int) -> datetime:
    """Return microseconds since 1970 as a UTC time."""
    return _EPOCH + value * _MICROSECOND


class UtcMicroseconds(sa.types.TypeDecorator[datetime]):
    """A UTC time: `timestamptz` in PostgreSQL, integer microseconds in SQLite."""

    impl = sa.BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """Choose the column type of this database."""
        native = TIMESTAMP(timezone=True, precision=6) if is_postgresql(dialect) else sa.BigInteger()
        return dialect.type_descriptor(native)

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> Any:  # noqa: ANN401
        """Write a time the way this database keeps it."""
        return None if value is None else encode_time(value, dialect)

    def process_result_value(self, value: Any, dialect: Any) -> datetime | None:  # noqa: ANN401, ARG002
        """Read a time the way this database keeps it."""
        if value is None or isinstance(value, datetime):
            return value
        return from_microseconds(value)


def encode_time(moment: datetime, dialect: sa.Dialect) -> Any:  # noqa: ANN401 - two column types
    """Return a time as the raw driver of this database takes it."""
    return moment if is_postgresql(dialect) else to_microseconds(moment)


def microseconds(column: sa.ColumnElement[datetime], dialect: sa.Dialect) -> sa.ColumnElement[int]:
    """Select a time as integer microseconds, whatever the database keeps."""
    if not is_postgresql(dialect):
        return sa.type_coerce(column, sa.BigInteger)
    # EXTRACT gives a decimal number, so nothing is rounded.
    return sa.cast(sa.extract("epoch", column) * sa.literal_column("1000000"), sa.BigInteger)


def json_text(column: sa.ColumnElement[Any], key: str, dialect: sa.Dialect) -> sa.ColumnElement[str]:
    """Select what a JSON object has under a key, as JSON text; NULL where it has no such key."""
    if is_postgresql(dialect):
        return sa.cast(column.op("->")(sa.literal(key, sa.Text)), sa.Text)
    return sa.func.json_extract(column, f'$."{key}"', type_=sa.Text)


def is_postgresql(dialect: sa.Dialect) -> bool:
    """Say which of the two databases this is."""
    return dialect.name == "postgresql"


def _text(name: str, **options: Any) -> sa.Column[str]:  # noqa: ANN401 - handed through to sa.Column
    return sa.Column(name, sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), **options)


def _real(name: str) -> sa.Column[float]:
    # SQLite turns NaN into NULL, so a number column can never be NOT NULL.
    return sa.Column(name, sa.Double)


def _time(name: str) -> sa.Column[datetime]:
    return sa.Column(name, UtcMicroseconds, nullable=False)


def _json(name: str, **options: Any) -> sa.Column[Any]:  # noqa: ANN401 - handed through to sa.Column
    kind = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
    return sa.Column(name, kind, **options)


metadata: Final = sa.MetaData()

exposures: Final = sa.Table(
    "exposures",
    metadata,
    _text(schema.REQUEST_ID, primary_key=True),
    _text("placement", nullable=False),
    _text(schema.USER, nullable=False),
    _text(schema.SESSION),
    _text("experiment"),
    _text("arm"),
    sa.Column("overridden", sa.Boolean, nullable=False),
    _text("model_version"),
    sa.Column("weights", sa.BigInteger),
    _text("fallback"),
    _time(schema.EVENT_TIMESTAMP),
    _text("feature_digest", nullable=False),
    _json("watermarks", nullable=False),
    _json("asked"),
    _json("features"),
    _time("written_at"),
    sa.Index("exposures_by_placement_and_time", "placement", schema.EVENT_TIMESTAMP),
)

impressions: Final = sa.Table(
    "impressions",
    metadata,
    _text(schema.REQUEST_ID, primary_key=True),
    sa.Column(schema.POSITION, sa.Integer, primary_key=True, autoincrement=False),
    _text(schema.ITEM, nullable=False),
    _real(schema.SCORE),
    _real(schema.PROPENSITY),
    sqlite_with_rowid=False,
)

OUTCOMES_BY_SESSION: Final = "outcomes_by_session"
"""The index that logs of an earlier version lack."""

outcomes: Final = sa.Table(
    "outcomes",
    metadata,
    _text(schema.EVENT_ID, primary_key=True),
    _text(schema.EVENT_TYPE, nullable=False),
    _text(schema.USER, nullable=False),
    _text(schema.ITEM),
    _text(schema.SESSION),
    _real(schema.QUANTITY),
    _real(schema.VALUE),
    _time(schema.EVENT_TIMESTAMP),
    _time(schema.CREATED_TIMESTAMP),
    _time("written_at"),
    sa.Index("outcomes_by_type_and_time", schema.EVENT_TYPE, schema.EVENT_TIMESTAMP),
    sa.Index(OUTCOMES_BY_SESSION, schema.SESSION, schema.EVENT_TYPE),
)

routed: Final = sa.Table(
    "routed",
    metadata,
    _text("source", primary_key=True),
    _text("experiment", primary_key=True),
    _text("arm", primary_key=True),
    sa.Column("period", UtcMicroseconds, primary_key=True),
    sa.Column("decided", sa.BigInteger, nullable=False),
    sa.Column("excused", sa.BigInteger, nullable=False),
    _time("written_at"),
    sqlite_with_rowid=False,
)

ledger: Final = sa.Table(
    "ledger",
    metadata,
    sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    _text("transaction", nullable=False),
    _text("state", nullable=False),
    _text("action", nullable=False),
    _text("subject", nullable=False),
    _json("payload", nullable=False),
    _text("author", nullable=False),
    _time(schema.EVENT_TIMESTAMP),
    _time("written_at"),
    sa.Index("ledger_by_subject", "subject", "sequence"),
    sqlite_autoincrement=True,
)

# A transaction ends once, whoever gets there first: a live promotion and a recovery cannot both end it.
sa.Index(
    "ledger_one_end",
    ledger.c.transaction,
    unique=True,
    sqlite_where=ledger.c.state != "intent",
    postgresql_where=ledger.c.state != "intent",
)
