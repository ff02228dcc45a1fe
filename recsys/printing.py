"""How do results read on a terminal?"""

import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from recsys.decision.promotion import Promotion
    from recsys.planning.plan import Plan, Step
    from recsys.ports import LedgerEntry
    from recsys.workflows.evaluate import Evaluated
    from recsys.workflows.features import BuiltTable
    from recsys.workflows.ingest import Ingestion
    from recsys.workflows.replay import Replayed
    from recsys.workflows.serve_batch import Batch
    from recsys.workflows.train import Trained
    from recsys.workflows.workspace import Workspace

_WIDTH: Final = 24


class Bar:
    """A progress bar on stderr when that is a terminal, and silence elsewhere."""

    def __init__(self) -> None:
        """Draw nothing yet."""
        self._shown = sys.stderr.isatty()
        self._started: dict[str, float] = {}

    def __enter__(self) -> Self:
        """Return the bar."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Wipe the line."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def say(self, what: str) -> None:
        """Show what is being done."""
        self._draw(f"… {what}")

    def update(self, what: str, done: int, total: int) -> None:
        """Show how far something is, and how long it will take."""
        started = self._started.setdefault(what, time.monotonic())
        filled = _WIDTH * done // max(total, 1)
        spent = time.monotonic() - started
        left = f", {spent * (total - done) / done:.0f} s left" if done and total > 1 else ""
        self._draw(f"[{'#' * filled}{'.' * (_WIDTH - filled)}] {what} {done:,}/{total:,}{left}")

    def _draw(self, line: str) -> None:
        if self._shown:
            sys.stderr.write(f"\r\x1b[K{line}")
            sys.stderr.flush()


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Lay out a plain table; columns in `right` are aligned to the right."""
    cells = [list(header), *[list(row) for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = []
    for number, row in enumerate(cells):
        parts = [
            text.rjust(width) if column in right else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  " + "  ".join(parts).rstrip())
        if number == 0:
            lines.append("  " + "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def ingestion(done: "Ingestion", workspace: "Workspace") -> str:
    """Show what was read and dropped."""
    rows = [
        [count.rows, f"{count.read:,}", f"{count.dropped:,}", count.why if count.dropped else ""]
        for count in done.counts
    ]
    where = workspace.shown(workspace.tables)
    state = "up to date" if done.reused else "written"
    return (
        table(["rows", "read", "dropped", "why"], rows, right=(1, 2))
        + f"\n  {state}: {where}/ (events {done.events_digest})"
    )


def features(tables: "Sequence[BuiltTable]", until: Any, kept: bool, workspace: "Workspace") -> str:  # noqa: ANN401
    """Show the feature tables and up to when they are online."""
    online = f"online store {'already ' if kept else ''}at {until:%Y-%m-%d %H:%M} UTC"
    return feature_tables(tables, workspace) + f"\n  {online}"


def feature_tables(tables: "Sequence[BuiltTable]", workspace: "Workspace") -> str:
    """Show the feature tables."""
    rows = [[built.name, f"{built.rows:,}", "up to date" if built.reused else "built"] for built in tables]
    return table(["table", "rows", ""], rows, right=(1,)) + f"\n  in {workspace.shown(workspace.feature_tables)}/"


def trained(done: "Trained") -> str:
    """Show a version's offline metrics beside its baselines, and its gate."""
    report = done.report
    metrics: Mapping[str, Mapping[str, Mapping[str, float]]] = report["metrics"]
    names = list(metrics["model"])
    rows = []
    for ranker, values in metrics.items():
        label = done.weights.model_version if ranker == "model" else ranker
        rows.append([label, *[_interval(values[name], 4) for name in names]])
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


def replayed(done: "Replayed") -> str:
    """Show what a replay logged."""
    if done.reused:
        return f"  logged before: {done.exposures:,} exposures over {done.steps} weeks, {done.outcomes:,} outcomes"
    return (
        f"  {done.exposures:,} exposures over {done.steps} weeks ({done.fallbacks:,} by a fallback),"
        f" {done.outcomes:,} purchases"
        f" logged as outcomes\n  the clock stands at {done.until:%Y-%m-%d}"
    )


def evaluation(done: "Evaluated") -> str:
    """Show health, arms, effects and the verdict."""
    analysis, verdict = done.document["analysis"], done.document["verdict"]
    arms = [[arm["arm"], arm["model_version"], f"{arm['units']:,}", f"{arm['requests']:,}"] for arm in analysis["arms"]]
    effects = [
        [
            found["effect"]["metric"],
            found["role"],
            f"{found['effect']['control']:.4f}",
            f"{found['effect']['treatment']:.4f}",
            _percent(found["effect"]["relative"]),
            f"{found['effect']['p_value']:.2g}",
            "CUPED" if found["effect"]["cuped"] else "",
        ]
        for found in analysis["effects"]
    ]
    lines = [
        f"  {analysis['hypothesis']}",
        table(["arm", "model version", "units", "requests"], arms, right=(2, 3)),
        table(["metric", "role", "control", "treatment", "relative effect", "p", ""], effects, right=(2, 3)),
        f"  health: {_health(analysis['health'])}",
        f"  {_reached(analysis)}",
        f"  verdict: {verdict['name']}. {verdict['reason']}",
    ]
    frozen = done.document["frozen"]
    if frozen:
        lines.append(
            f"  report frozen at {frozen[:10]}{' before' if done.reused else ''}, digest {done.document['digest']}"
        )
    return "\n".join(lines)


def _health(health: Mapping[str, Any]) -> str:
    return (
        f"{'; '.join(health['failures']) or 'sound'} (sample ratio p = {health['sample_ratio_p_value']:.2f}, units in"
        f" several arms {health['multiple_share']:.2%}, assignments recomputed: {health['mismatched_units']} differ)"
    )


def _reached(analysis: Mapping[str, Any]) -> str:
    return (
        f"{analysis['state']} at {analysis['until'][:10]}: {analysis['exposed_units']:,} of"
        f" {analysis['planned_units']:,} planned units; {analysis['left_out_requests']:,} requests left out, their"
        " outcome window is open"
    )


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


def _interval(value: Mapping[str, float], digits: int) -> str:
    return f"{value['estimate']:.{digits}f} [{value['lower']:.{digits}f}, {value['upper']:.{digits}f}]"


def _percent(value: Mapping[str, float | None]) -> str:
    estimate, lower, upper = (value[name] for name in ("estimate", "lower", "upper"))
    if estimate is None or lower is None or upper is None:
        return "not defined"
    return f"{estimate:+.1%} [{lower:+.1%}, {upper:+.1%}]"


_SIGNS: Final = {"added": "+", "changed": "~", "removed": "-"}
_SHOWN_CHARACTERS: Final = 40


def plan(made: "Plan") -> str:
    """Show every difference, the fields that changed, and what it hits."""
    if not made.steps:
        return f"  No changes: {made.environment} is as declared"
    lines = [line for step in made.steps for line in _step(step)]
    counts = ", ".join(
        f"{number} {change}" for change in _SIGNS if (number := sum(step.change == change for step in made.steps))
    )
    return "\n".join([*lines, f"  plan {made.digest} of {made.environment} at {made.at:%Y-%m-%d %H:%M}: {counts}"])


def plan_document(made: "Plan", transaction: str | None = None) -> dict[str, Any]:
    """Return a plan as JSON values; with its transaction, if it was applied."""
    return {
        "environment": made.environment,
        "at": made.at.isoformat(),
        "digest": made.digest,
        "transaction": transaction,
        "steps": [
            {
                "subject": step.subject,
                "change": step.change,
                "before": step.before,
                "after": step.after,
                "fields": [
                    {"field": change.field, "before": change.before, "after": change.after} for change in step.fields
                ],
                "hits": {
                    "model_versions": list(step.hits.model_versions),
                    "arms": list(step.hits.arms),
                    "running": list(step.hits.running),
                },
                "notes": list(step.notes),
            }
            for step in made.steps
        ],
        "refused": list(made.refused),
    }


def applied(made: "Plan", transaction: str | None) -> str:
    """Show what an apply did."""
    if transaction is None:
        return plan(made)
    return f"{plan(made)}\n  applied; recorded as apply {transaction}"


def _step(step: "Step") -> list[str]:
    lines = [f"  {_SIGNS[step.change]} {step.subject}"]
    lines += [f"      {change.field}: {_values(change.before, change.after)}" for change in step.fields]
    hits = {"model versions": step.hits.model_versions, "arms": step.hits.arms, "running": step.hits.running}
    named = [f"{label} {', '.join(names)}" for label, names in hits.items() if names]
    if named:
        lines.append(f"      hits {'; '.join(named)}")
    return lines + [f"      {note}" for note in step.notes]


def _values(before: object, after: object) -> str:
    old, new = _short(before), _short(after)
    return "edited" if old == new else f"{old} -> {new}"  # long texts that begin alike, such as code


def _short(value: object) -> str:
    text = "none" if value is None else " ".join(str(value).split())
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 1]}…"
