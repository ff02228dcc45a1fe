"""What is a ledger, in memory?"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from recsys.errors import DecisionError
from recsys.ports import LedgerEntry


class FakeLedger:
    """`ports.Ledger` that forgets everything with its process."""

    def __init__(self) -> None:
        """Start empty."""
        self._entries: list[LedgerEntry] = []

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
        """Append one entry; a transaction ends once."""
        ended = any(entry.transaction == transaction and entry.state != "intent" for entry in self._entries)
        if ended and state != "intent":
            message = f"transaction {transaction} of {subject} has ended already"
            raise DecisionError(message)
        entry = LedgerEntry(
            sequence=len(self._entries) + 1,
            transaction=transaction,
            state=state,
            action=action,
            subject=subject,
            # As a database would: nothing but JSON comes back, and nobody else holds the same object.
            payload=json.loads(json.dumps(dict(payload))),
            author=author,
            event_timestamp=at.astimezone(UTC),
        )
        self._entries.append(entry)
        return entry

    def position(self) -> int:
        """Return the sequence number of the last entry."""
        return len(self._entries)

    def entries(self, subject: str | None = None) -> Sequence[LedgerEntry]:
        """Return entries in order, of one subject or of all."""
        return tuple(entry for entry in self._entries if subject in {None, entry.subject})
