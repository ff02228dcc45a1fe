"""How does it read what an experiment needs?"""

from typing import TYPE_CHECKING

from recsys.printing.width import table

if TYPE_CHECKING:
    from recsys.evaluation.power import Need
    from recsys.workflows.experiments.power import Powered


def power(found: "Powered") -> str:
    """Show what each metric needs, whether the plan has it, and what the experiment sees now."""
    start, end = found.past
    before = f", and {found.covariate_weeks} weeks before it as covariate" if found.covariate_weeks else ""
    rows = [
        [
            need.metric,
            need.role,
            "unknown" if need.mean is None else f"{need.mean:.4f}",
            f"{need.effect:.1%}" if need.scale == "relative" else f"{need.effect:g}",
            "CUPED" if need.cuped else "",
            "unknown" if need.units is None else f"{need.units:,}",
            _days(need),
            "unknown" if need.detectable is None else f"{need.detectable:.1%}",
        ]
        for need in found.needs
    ]
    header = ["metric", "role", "mean", "effect", "", "units", "days", f"seen by {found.planned_units:,}"]
    lines = [
        f"  by {found.past_units:,} units of placement {found.placement}, {start:%Y-%m-%d} to {end:%Y-%m-%d}{before}",
        table(header, rows, right=(2, 3, 5, 6, 7)),
        f"  {_plan(found)}",
    ]
    if found.running is not None:
        seen = ", ".join(
            f"{metric} {'unknown' if effect is None else f'{effect:.1%}'}" for metric, effect in found.running.items()
        )
        lines.append(f"  now: {found.exposed_units:,} units are exposed, and show effects from: {seen}")
    return "\n".join(lines)


def _days(need: "Need") -> str:
    if need.units is None:
        return "unknown"
    return "never" if need.days is None else f"{need.days:,}"


def _plan(found: "Powered") -> str:
    planned, needed, guarded = found.planned_units, found.needed_units, found.units_for_guardrails
    if needed is None:
        compared = "and what it needs is unknown"
    else:
        compared = f"{'and' if planned >= needed else 'but'} this needs {needed:,}"
    if guarded is not None:
        compared += f"; to prove every guardrail too takes {guarded:,}"
    coming = found.coming.after(7 * found.planned_weeks)
    terms = f"alpha {found.alpha:g}, power {found.power:g}"
    arriving = f"some {coming:,} come in its {found.planned_weeks} weeks"
    return f"the plan has {planned:,} units, {compared}\n  {terms}; {arriving}"
