"""Where do exposures, outcomes and decisions live, so that a kill -9 loses nothing that was acknowledged?

One SQL database by URL: a SQLite file (WAL, synchronous=FULL) on one machine, PostgreSQL
(`postgresql+psycopg://…`) for many.

- `tables`: what the tables look like, and how a person reads them
- `database`: the connection, its bounds in time, and its failures as `StoreError`
- `event_log`: `SqlEventLog`, the port `EventLog`
- `archive`: `SqlEventArchive`, the port `EventArchive`
- `ledger`: `SqlLedger`, the port `Ledger`
- `checks`: what `recsys doctor` asks
- `postgresql`: a connection that notices a server that hangs
"""

from recsys.adapters.sql_event_log.archive import SqlEventArchive
from recsys.adapters.sql_event_log.checks import event_log_findings, ledger_findings
from recsys.adapters.sql_event_log.event_log import SqlEventLog
from recsys.adapters.sql_event_log.ledger import SqlLedger

__all__ = ["SqlEventArchive", "SqlEventLog", "SqlLedger", "event_log_findings", "ledger_findings"]
