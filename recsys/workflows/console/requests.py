"""Which requests were answered of late, for those who want one explained?"""

from datetime import datetime
from typing import Any, Final

from recsys.schema import EVENT_TIMESTAMP, REQUEST_ID, USER
from recsys.workflows.console.places import places
from recsys.workflows.workspace import Workspace

_SHOWN: Final = 12
_READ: Final = 200
"""Of one placement: a replay logs a whole step at one moment, and what is shown should be of many users and arms."""


def recent_requests(workspace: Workspace, placement: str | None = None) -> list[dict[str, Any]]:
    """Return requests that were answered of late, the newest first, of each user one.

    Args:
        workspace: the project.
        placement: of this one; of all that are declared by default.

    Raises:
        StoreError: if the event log cannot be read.
    """
    names = [name for _, name, _ in places(workspace.catalog)] if placement is None else [placement]
    found = [row | {"placement": name} for name in names for row in _of(workspace, name)]
    found.sort(key=_moment, reverse=True)
    return [
        {
            "request_id": row[REQUEST_ID],
            "placement": row["placement"],
            "user_id": row[USER],
            "at": row[EVENT_TIMESTAMP].isoformat(),
            "experiment": row["experiment"],
            "arm": row["arm"],
            "model_version": row["model_version"],
            "fallback": row["fallback"],
        }
        for row in found[:_SHOWN]
    ]


def _of(workspace: Workspace, placement: str) -> list[dict[str, Any]]:
    """Return the newest requests of a placement: by turns one of each kind of answer, and each user once."""
    rows = workspace.event_log.recent(placement, _READ).to_pylist()
    users: dict[str, dict[str, Any]] = {}
    for row in rows:
        users.setdefault(row[USER], row)
    turns: dict[tuple[Any, ...], int] = {}
    ranked = []
    for row in users.values():
        kind = (row["experiment"], row["arm"], row["model_version"], row["fallback"])
        turns[kind] = turns.get(kind, -1) + 1
        ranked.append((turns[kind], row))
    ranked.sort(key=lambda pair: pair[0])
    return [row for _, row in ranked[:_SHOWN]]


def _moment(row: dict[str, Any]) -> datetime:
    moment: datetime = row[EVENT_TIMESTAMP]
    return moment
