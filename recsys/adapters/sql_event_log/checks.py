"""What does `recsys doctor` have to know of the event log and the ledger?"""

from collections.abc import Iterator

from recsys.adapters.sql_checks import sql_findings
from recsys.adapters.sql_event_log import tables
from recsys.adapters.sql_event_log.database import checked_url
from recsys.ports import Finding


def event_log_findings(url: str) -> Iterator[Finding]:
    """Ask the database of a URL; no table is made.

    Raises:
        StoreError: if the URL is not one of a SQLite file or of PostgreSQL by psycopg.
    """
    checked_url(url)
    log = [table.name for table in tables.metadata.sorted_tables if table is not tables.ledger]
    yield from sql_findings("event log", url, log, "the first command that logs")


def ledger_findings(url: str) -> Iterator[Finding]:
    """Ask the same database for its ledger.

    Raises:
        StoreError: if the URL is not one of a SQLite file or of PostgreSQL by psycopg.
    """
    checked_url(url)
    yield from sql_findings("ledger", url, [tables.ledger.name], "the first command that logs")
