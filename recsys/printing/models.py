"""How do a training, the champion's moves and a batch of lists read?"""

from typing import TYPE_CHECKING, Any

from recsys.printing.terminal import interval, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from recsys.decision.promotion import Promotion
    from recsys.ports import LedgerEntry
    from recsys.workflows.serve_batch import Batch
    from recsys.workflows.train import Trained
    from recsys.workflows.workspace import Workspace


def trained(done: "Trained") -> str:
    """Show a version's offline metrics beside its baselines, and its gate."""
    report = done.report
    metrics: Mapping[str, Mapping[str, Mapping[str, float]]] = report["metrics"]
    names = list(metrics["model"])
    rows = []
    for ranker, values in metrics.items():
        label = done.weights.model_version if ranker == "model" else ranker
        rows.append([label, *[interval(values[name], 4) for name in names]])
    gate = report["gate"]
    test = report["split"]["test"]
    requests = f"{report['requests']:,} requests of {report['units']:,} units"
    weeks = f"weeks from {test[0][:10]} to {test[-1][:10]}; known at {report['known_at'][:10]}"
    registered = " (already registered)" if done.reused else ""
    lines = [
        f"  {requests}, {weeks}; {report['train_rows']:,} training rows",
        table(["ranker", *names], rows),
        f"  gate {'PASSED' if gate['passed'] else 'REFUSED'}: {gate['reason']}",
        f"  {done.weights.model} version {done.weights.number}{registered}: {_service(done)}",
    ]
    return "\n".join(lines)


def _service(done: "Trained") -> str:
    if done.in_service:
        return f"in service as logic-{done.weights.version}{', and champion' if done.refreshed else ''}"
    if done.report["gate"]["passed"]:
        return "passed its gate; newer weights of the same logic are in service"
    return "kept with its reason (tag recsys.gate=failed), not in service"


def batch(done: "Batch", workspace: "Workspace") -> str:
    """Show what a batch wrote."""
    answered = ", ".join(f"{units:,} by {name}" for name, units in sorted(done.answered_by.items()))
    state = " (up to date)" if done.reused else ""
    return f"  {done.units:,} units ({answered}), {done.rows:,} rows{state}\n  in {workspace.shown(done.folder)}/"


def promotion(done: "Promotion") -> str:
    """Show how the champion moved."""
    before = done.before.model_version if done.before else "none"
    after = done.after.model_version if done.after else "none"
    if not done.changed:
        return (
            f"  {done.model}: nothing to do, the champion is {after} (weights"
            f" {done.after.number if done.after else '-'})"
        )
    number = f" (weights {done.after.number})" if done.after else ""
    return f"  {done.model}: champion {before} -> {after}{number}; recorded as {done.action} {done.transaction}"


def promotion_document(done: "Promotion") -> dict[str, Any]:
    """Return a promotion as JSON values."""
    return {
        "action": done.action,
        "model": done.model,
        "before": done.before.model_version if done.before else None,
        "after": done.after.model_version if done.after else None,
        "weights": done.after.number if done.after else None,
        "changed": done.changed,
        "transaction": done.transaction,
    }


def history(model: str, entries: "Sequence[LedgerEntry]") -> str:
    """Show a model's record."""
    if not entries:
        return f"  {model}: nothing recorded"
    rows = [
        [
            f"{entry.event_timestamp:%Y-%m-%d %H:%M}",
            entry.action,
            entry.state,
            str(entry.payload.get("model_version", "")),
            str(entry.payload.get("experiment", "")),
            entry.author,
        ]
        for entry in entries
    ]
    return table(["clock", "action", "state", "model version", "experiment", "author"], rows)


def history_document(entries: "Sequence[LedgerEntry]") -> list[dict[str, Any]]:
    """Return a model's record as JSON values."""
    return [
        {
            "sequence": entry.sequence,
            "transaction": entry.transaction,
            "state": entry.state,
            "action": entry.action,
            "payload": dict(entry.payload),
            "author": entry.author,
            "at": entry.event_timestamp.isoformat(),
        }
        for entry in entries
    ]
