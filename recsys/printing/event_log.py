"""How does it read what left the event log?"""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from recsys.printing.width import table

if TYPE_CHECKING:
    from recsys.ports import LogRows
    from recsys.workflows.data.forget import Forgotten
    from recsys.workflows.experiments.event_log import Exported, Pruned


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
    kept = (
        f"\n  {done.campaigns:,} campaigns: whom they were chosen from is not kept any more" if done.campaigns else ""
    )
    return f"{_rows(done.rows)}\n  deleted: all before {done.before:%Y-%m-%d}; the ledger stays{kept}"


def pruned_document(done: "Pruned") -> dict[str, Any]:
    """Return it as JSON values."""
    return {"before": done.before.isoformat(), "rows": asdict(done.rows), "campaigns": done.campaigns}


def forgotten(done: "Forgotten") -> str:
    """Show where how many rows were, and what is not reached."""
    lines = []
    if done.rows:
        rows = [[where, f"{count:,}"] for where, count in done.rows.items()]
        lines.append(table(["erased from", "rows"], rows, right=(1,)))
    else:
        lines.append("  nothing of them was found")
    lines += [f"  on record as {one[:16]}…" for one in done.tombstones]
    lines += [f"  not reached: {what}" for what in done.unreached]
    if any(where.startswith(("tables/", "features/")) for where in done.rows):
        lines.append("  next: `recsys features build`")
    return "\n".join(lines)


def forgotten_document(done: "Forgotten") -> dict[str, Any]:
    """Return it as JSON values."""
    return {
        "tombstones": list(done.tombstones),
        "rows": dict(done.rows),
        "total": sum(done.rows.values()),
        "unreached": list(done.unreached),
    }


def _rows(rows: "LogRows") -> str:
    return table(["table", "rows"], [[name, f"{count:,}"] for name, count in asdict(rows).items()], right=(1,))
