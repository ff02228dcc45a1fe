"""How do the nightly checks of a model read?"""

from typing import TYPE_CHECKING, Final

from recsys.printing.terminal import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recsys.decision.alerts import Alert
    from recsys.workflows.skew import Skewed

_MOST: Final = 20
"""Lines of a table at most; the rest is in --json."""


def skew(done: "Skewed") -> str:
    """Show how many rows differ, and each cause by view and feature."""
    found = done.skew
    time = f"{done.of.start:%Y-%m-%d} to {done.of.end:%Y-%m-%d}"
    restated = f"{found.restated_rows:,} rows ({found.restated_share:.1%})"
    lines = [
        f"  {done.of.name}: {found.requests:,} of {done.logged:,} requests from {time} compared, {found.rows:,} rows",
        f"  skewed: {found.skewed_rows:,} rows ({found.skewed_share:.1%}); restated since: {restated}",
    ]
    if done.unit_unknown:
        lines.append(f"  answered without the unit's rows, by their own word: {done.unit_unknown:,}; not compared")
    lines += [f"  not checked: {line}" for line in done.unchecked]
    if found.findings:
        shown = found.findings[:_MOST]
        rows = [
            [each.cause, each.view, each.feature, f"{each.rows:,}", f"{each.requests:,}", each.detail] for each in shown
        ]
        lines.append(table(["cause", "view", "feature", "rows", "requests", "what was changed"], rows, right=(3, 4)))
        lines += left_out(len(found.findings))
        firsts = {each.cause: each for each in reversed(shown)}
        lines += [f"  such as ({cause}, {each.feature}): {each.example}" for cause, each in firsts.items()]
    return "\n".join([*lines, *alert_lines(done.alerts)])


def left_out(count: int) -> list[str]:
    """Say how many lines of a table are not shown."""
    return [f"  and {count - _MOST:,} more: --json has them all"] if count > _MOST else []


def alert_lines(alerts: "Sequence[Alert]") -> list[str]:
    """Show what passed a limit, a line each."""
    return [f"  ALERT {alert.message}" for alert in alerts] or ["  nothing beyond the monitor's limits"]
