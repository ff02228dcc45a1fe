"""How does it read what left the event log?"""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from recsys.printing.terminal import table

if TYPE_CHECKING:
    from recsys.ports import LogRows
    from recsys.workflows.event_log import Exported, Pruned


def exported(done: "Exported") -> str:
    """Show what was written."""
    until = f"{done.start:%Y-%m-%d} to {done.end:%Y-%m-%d}, the last day not included"
    return f"{_rows(done.rows)}\n  {done.files:,} files in {done.folder}/: {until}"


def exported_document(done: "Exported") -> dict[str, Any]:
    """Return it as JSON values."""
    return {
        "folder": str(done.folder),
        "from": done.start.isoformat(),
        "to": done.end.isoformat(),
        "rows": asdict(done.rows),
        "files": done.files,
    }


def pruned(done: "Pruned") -> str:
    """Show what was deleted."""
    return f"{_rows(done.rows)}\n  deleted: all before {done.before:%Y-%m-%d}; the ledger stays"


def pruned_document(done: "Pruned") -> dict[str, Any]:
    """Return it as JSON values."""
    return {"before": done.before.isoformat(), "rows": asdict(done.rows)}


def _rows(rows: "LogRows") -> str:
    return table(["table", "rows"], [[name, f"{count:,}"] for name, count in asdict(rows).items()], right=(1,))
