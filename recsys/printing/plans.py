"""How does a plan read?"""

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from recsys.planning.plan import Plan, Step


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
