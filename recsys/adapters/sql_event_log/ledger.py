"""Who decided what and when: an audit that is only ever appended to."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from recsys.adapters.sql_event_log import tables
from recsys.adapters.sql_event_log.database import Database
from recsys.errors import DecisionError
from recsys.ports import LedgerEntry


class SqlLedger:
    """`ports.Ledger` beside the event log; appends take turns, so sequence is the order of commits."""

    def __init__(self, database: Database | str) -> None:
        """Use the event log's database, or open the one of a URL on first use.

        Raises:
            StoreError: if the URL is not one of a SQLite file or of PostgreSQL by psycopg.
        """
        self._database = Database(database) if isinstance(database, str) else database

    def append(
        self,
        *,
        transaction: str,
        state: str,
        action: str,
        subject: str,
        payload: Mapping[str, Any],
        author: str,
        at: datetime,
    ) -> LedgerEntry:
        """Append one entry and return it with its sequence number; it is on disk when this returns.

        Raises:
            DecisionError: if the transaction has ended already, as done or reverted.
            StoreError: if the database cannot be written.
        """
        values = {
            "transaction": transaction,
            "state": state,
            "action": action,
            "subject": subject,
            "payload": dict(payload),
            "author": author,
            "event_timestamp": at.astimezone(UTC),
        }
        try:
            with self._database.writing(f"append {state} of {action} {subject}") as connection:
                return _insert(connection, values)
        except TransactionEndedError as error:
            message = (
                f"transaction {transaction} of {subject} has ended already: it is done or reverted, once;"
                " run history to see which"
            )
            raise DecisionError(message) from error

    def entries(self, subject: str | None = None) -> Sequence[LedgerEntry]:
        """Return entries in order, of one subject or of all."""
        log = tables.ledger
        names = [column for column in log.c if column.name != "written_at"]
        query = sa.select(*names).order_by(log.c.sequence)
        if subject is not None:
            query = query.where(log.c.subject == subject)
        with self._database.reading("read the ledger") as connection:
            return tuple(LedgerEntry(**row) for row in connection.execute(query).mappings())

    def position(self) -> int:
        """Return the sequence number of the last entry; 0 before the first."""
        with self._database.reading("read the ledger") as connection:
            return connection.execute(sa.select(sa.func.max(tables.ledger.c.sequence))).scalar() or 0

    def close(self) -> None:
        """Give all connections back; the ledger may be used again."""
        self._database.close()


class TransactionEndedError(Exception):
    """The database refused a second end of one transaction."""


def _insert(connection: sa.Connection, values: Mapping[str, Any]) -> LedgerEntry:
    if tables.is_postgresql(connection.dialect):
        # A number is drawn before its commit: without the lock a smaller one could appear after a larger.
        connection.exec_driver_sql("LOCK TABLE ledger IN SHARE ROW EXCLUSIVE MODE")
    log = tables.ledger
    statement = (
        sa.insert(log)
        .values(**values, written_at=datetime.now(UTC))
        .returning(*(column for column in log.c if column.name != "written_at"))
    )
    try:
        return LedgerEntry(**connection.execute(statement).mappings().one())
    except sa.exc.IntegrityError as error:
        raise TransactionEndedError from error
