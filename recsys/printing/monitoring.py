"""How do the nightly checks of a model read?"""

import math
from statistics import fmean
from typing import TYPE_CHECKING, Final

from recsys.printing.terminal import interval, narrow, percent
from recsys.printing.width import table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from recsys.decision.alerts import Alert
    from recsys.evaluation.correlation_drift import Correlated
    from recsys.evaluation.drift import ColumnDrift
    from recsys.statistics.bootstrap import Interval
    from recsys.workflows.monitoring.diagnose import Diagnosed
    from recsys.workflows.monitoring.drift import Drifted
    from recsys.workflows.monitoring.signals import Figure
    from recsys.workflows.monitoring.skew import Skewed

_MOST: Final = 20
"""Lines of a table at most; the rest is in --json."""


def skew(done: "Skewed") -> str:
    """Show how many rows differ, and each cause by view and feature."""
    found = done.skew
    time = f"{done.of.start:%Y-%m-%d} to {done.of.end:%Y-%m-%d}"
    restated = f"{found.restated_rows:,} rows ({found.restated_share:.1%})"
    of_a_row = "an item shown" if done.of.placements else "a unit reached"
    rows = f"{found.rows:,} rows (a row is {of_a_row})"
    lines = [
        f"  {done.of.name}: {found.requests:,} of {done.logged:,} requests from {time} compared, {rows}",
        f"  skewed: {found.skewed_rows:,} rows ({found.skewed_share:.1%}); restated since: {restated}",
    ]
    if done.unit_unknown:
        lines.append(f"  answered without the unit's rows, by their own word: {done.unit_unknown:,}; not compared")
    lines += [f"  not checked: {line}" for line in done.unchecked]
    if found.findings:
        shown = found.findings[:_MOST]
        causes = [
            [each.cause, each.view, each.feature, f"{each.rows:,}", f"{each.requests:,}", each.detail] for each in shown
        ]
        lines.append(table(["cause", "view", "feature", "rows", "requests", "what was changed"], causes, right=(3, 4)))
        lines += left_out(len(found.findings))
        firsts = {each.cause: each for each in reversed(shown)}
        lines += [f"  such as ({cause}, {each.feature}): {each.example}" for cause, each in firsts.items()]
    return "\n".join([*lines, *alert_lines(done.alerts)])


def drift(done: "Drifted") -> str:
    """Show which columns moved, how old the views are, and how good the model is, then and now, by week."""
    limits, quality = done.limits, done.quality
    sides = f"{_weeks(done.before)} of its training set beside {_weeks(done.now)} since, all candidates"
    lines = [f"  {done.weights.model_version} (weights {done.weights.number}): {sides}", *_quality(done)]
    if done.left_out:
        told = ", ".join(f"{time:%Y-%m-%d}" for time in done.left_out)
        lines.append(f"  left out, for events ended before their labels were complete: {told}")
    if done.report.units == 1:
        lines.append("  of a single unit nothing can be told from chance")
    rate = limits.drift.false_discovery_rate
    moved = [each for each in done.columns if each.moved(rate)]
    lines.append(
        f"  moved: {len(moved)} of {len(done.columns)} columns (false discovery rate {rate:g}); by stability index:"
    )
    ordered = sorted(done.columns, key=lambda each: 0.0 if math.isnan(each.psi) else -each.psi)[:_MOST]
    weeks = sorted({week for each in ordered for week in each.by_week})
    correlation = {each.column: each for each in done.correlated if each.other == "label"}
    rows = [_column(each, weeks, correlation.get(each.column)) for each in ordered]
    header = ["column", "psi", *weeks, "test", "adjusted p", "unknown", "correlation with label"]
    lines.append(table(header, rows, right=tuple(range(1, len(weeks) + 2))))
    lines += left_out(len(done.columns))
    pairs = [each for each in done.correlated if each.other != "label"]
    if pairs:
        told = ", ".join(f"{each.column} and {each.other}" for each in pairs[:3])
        lines.append(f"  pairs of columns strongly correlated before or now, not both: {len(pairs)}, such as {told}")
    lines.append(_ages(done))
    lines += [f"  LEAK {line}" for line in done.leaks]
    standing = quality.standing(limits.quality.minimum_ratio)
    return "\n".join([*lines, f"  the model is {standing} now", *alert_lines(done.alerts)])


def _quality(done: "Drifted") -> list[str]:
    found = done.quality
    then, now, ratio, over = (_told(each) for each in (found.then, found.now, found.ratio, found.over_baseline))
    before = "" if found.over_baseline_then is None else f", before {_told(found.over_baseline_then)}"
    lines = [
        f"  {found.metric}: {now} now, {then} when it was trained: ratio {ratio}",
        f"  over {found.against} on the same requests: {over}{before}",
    ]
    by_week = done.report.segments.get("decision_time", ())
    if by_week:
        told = "; ".join(f"{each.name} {narrow(_plain(each.metrics['model'][found.metric]))}" for each in by_week)
        lines.append(f"  by week: {told}")
    if found.calibration is not None:
        off = found.calibration
        chance = "too few to tell from chance" if math.isnan(off.p_value) else f"by chance with p {off.p_value:.2g}"
        lines.append(f"  probabilities are off by {off.error:.4f} on average, {chance}")
    if found.total is not None:
        lines.append(f"  what was predicted is {_told(found.total)} of what came, in total")
    return lines


def _told(value: "Interval") -> str:
    return interval(_plain(value), 3)


def _plain(value: "Interval") -> dict[str, float | None]:
    """Return an interval as its printers take it: bounds that are not there are None."""
    bounds = {"estimate": value.estimate, "lower": value.lower, "upper": value.upper}
    return {name: bound if math.isfinite(bound) else None for name, bound in bounds.items()}


def _column(each: "ColumnDrift", weeks: "Sequence[str]", pair: "Correlated | None") -> list[str]:
    gone = "" if each.missing_before == each.missing_now else f"{each.missing_before:.1%} -> {each.missing_now:.1%}"
    with_label = "" if pair is None else f"{_signed(pair.before)} -> {_signed(pair.now)}"
    by_week = [f"{each.by_week[week]:.3f}" if week in each.by_week else "-" for week in weeks]
    p_value = "-" if math.isnan(each.adjusted_p_value) else f"{each.adjusted_p_value:.2g}"
    index = "-" if math.isnan(each.psi) else f"{each.psi:.3f}"
    return [each.column, index, *by_week, each.test, p_value, gone, with_label]


def _signed(correlation: float) -> str:
    return "-" if math.isnan(correlation) else f"{correlation:+.3f}"


def _ages(done: "Drifted") -> str:
    """Lay out how old what matched each view is, and in how many rows nothing matched."""
    rows = []
    for view in done.profiles["now"][0]["views"]:
        row = [view]
        for side in ("before", "now"):
            entries = [entry["views"][view] for entry in done.profiles[side] if view in entry["views"]]
            ages = [entry["median_age_days"] for entry in entries if entry["median_age_days"] is not None]
            row.append(f"{fmean(ages):.1f}" if ages else "-")
            row.append(f"{fmean(entry['missing'] for entry in entries):.1%}" if entries else "-")
        rows.append(row)
    return table(["view", "age before, days", "none", "age now, days", "none"], rows, right=(1, 2, 3, 4))


def _weeks(times: "Sequence[datetime]") -> str:
    return f"{len(times)} weeks from {times[0]:%Y-%m-%d}" if len(times) > 1 else f"the week of {times[0]:%Y-%m-%d}"


def trouble(found: "Sequence[Diagnosed]") -> str:
    """Show the three signals with their figures, where the trouble is, and the next steps."""
    lines = []
    for each in found:
        of = f"{each.name}, arm {each.arm}" if each.arm else each.name
        lines.append(f"  {of}: {each.version}, {each.state}")
        signals = (("model", each.model), ("clicks", each.clicks), ("orders", each.orders))
        rows = [
            [name, said.signal, said.metric, *(("", "") if said.interval is None else (said.kind, _measured(said)))]
            for name, said in signals
        ]
        lines.append(table(["signal", "", "by", "kind", "estimate"], rows))
        lines.append(f"  trouble: {each.diagnosis.trouble}: {each.diagnosis.reason}")
        lines += [f"  next: {step}" for step in each.diagnosis.next_steps]
        lines += [f"  not looked at: {remark}" for remark in each.remarks]
    return "\n".join(lines)


def _measured(said: "Figure") -> str:
    """Write an estimate in the unit of its kind: a ratio as so many times, a relative effect in percent."""
    bounds = _plain(said.interval) if said.interval is not None else {}
    if said.kind == "relative effect":
        return percent(bounds)
    return interval(bounds, 3).replace(" [", " × [", 1) if bounds["lower"] is not None else interval(bounds, 3)


def left_out(count: int) -> list[str]:
    """Say how many lines of a table are not shown."""
    return [f"  and {count - _MOST:,} more: --json has them all"] if count > _MOST else []


def alert_lines(alerts: "Sequence[Alert]") -> list[str]:
    """Show what passed a limit, a line each."""
    return [f"  ALERT {alert.message}" for alert in alerts] or ["  nothing beyond the monitor's limits"]
