"""What does a verdict rest on, and what would change it? Each rule with its figure of now."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from recsys.web.console.reads import Document


@dataclass(frozen=True)
class Condition:
    """One thing that has to hold for a treatment to ship."""

    about: str
    now: str
    """The figure."""
    rule: str
    holds: bool
    otherwise: str
    """What would change the verdict here."""


def conditions(document: Document) -> list[Condition]:
    """Return what has to hold for SHIP, of every treatment; nothing before the first report.

    Args:
        document: of an experiment, with its report.
    """
    report = document["report"]
    if report is None:
        return []
    return [*_of_all(document), *(found for arm in _treatments(report) for found in _of_arm(document, arm))]


def _of_all(document: Document) -> Iterator[Condition]:
    analysis = document["report"]["analysis"]
    failures = analysis["health"]["failures"]
    yield Condition(
        "health",
        "sound" if not failures else f"{len(failures)} failed",
        "nothing failed",
        not failures,
        "any failure makes it INVALID" if not failures else "a new experiment with a new seed",
    )
    over = analysis["state"] != "running"
    yield Condition(
        "planned end",
        f"{analysis['state']} at {analysis['until'][:10]}",
        f"reached, {document['planned_end'][:10]}",
        over and document["end"] >= document["planned_end"],
        "before it a look may stop for harm only",
    )


def _of_arm(document: Document, arm: str) -> Iterator[Condition]:
    metrics, analysis = document["metrics"], document["report"]["analysis"]
    several = len(_treatments(document["report"])) > 1
    primary = metrics["primary"]
    for role, metric, limit in [("primary", primary, 0.0)] + [
        ("guardrail", each, -each["margin"]) for each in metrics["guardrails"]
    ]:
        found = _effect(analysis, arm, role, metric["name"])
        if found is None:
            continue
        bounds = _bounds(found, metric["scale"], running=analysis["state"] == "running")
        low, _ = _oriented(bounds, metric["direction"])
        holds = low is not None and low > limit
        yield Condition(
            f"{role} {metric['name']}" + (f" of {arm}" if several else ""),
            _written(bounds, metric["scale"]),
            _rule(metric, limit),
            holds,
            _otherwise(analysis, role, metric, holds=holds),
        )


def _rule(metric: Document, limit: float) -> str:
    if metric["direction"] == "higher_is_better":
        return f"lower bound above {_number(limit, metric['scale'])}"
    return f"upper bound below {_number(-limit, metric['scale'])}"


def _otherwise(analysis: Document, role: str, metric: Document, *, holds: bool) -> str:
    if role == "guardrail":
        within = "an interval beyond the margin asks for REVIEW, harm for STOP"
        return within if holds else "a narrower interval, or less harm"
    if holds:
        return "an interval that holds 0"
    wanted = _number(metric["minimum_effect"], metric["scale"])
    needed = analysis.get("needed_units")
    units = f"{analysis['exposed_units']:,} of {analysis['planned_units']:,} planned units"
    more = f"; to see {wanted} takes {needed:,}" if needed else ""
    return f"an interval off 0 ({units} so far{more}); one that excludes {wanted} says STOP: it is too small"


def _effect(analysis: Document, arm: str, role: str, metric: str) -> Any:  # noqa: ANN401 - JSON values
    return next(
        (
            each
            for each in analysis["effects"]
            if (each["treatment_arm"], each["role"], each["effect"]["metric"]) == (arm, role, metric)
        ),
        None,
    )


def _bounds(found: Document, scale: str, *, running: bool) -> Document:
    """Return the interval that counts: while it runs the one valid at every look, at the end the fixed one."""
    bounds: Document = found[f"always_{scale}"] if running else found["effect"][scale]
    return bounds


def _oriented(bounds: Document, direction: str) -> tuple[float | None, float | None]:
    """Return the bounds of the gain."""
    lower, upper = bounds["lower"], bounds["upper"]
    if direction == "higher_is_better":
        return lower, upper
    return (None if upper is None else -upper), (None if lower is None else -lower)


def _written(bounds: Document, scale: str) -> str:
    estimate, lower, upper = (bounds[name] for name in ("estimate", "lower", "upper"))
    if estimate is None or lower is None:
        return "not known yet"
    above = "no bound" if upper is None else _number(upper, scale)
    return f"{_number(estimate, scale)} [{_number(lower, scale)}, {above}]"


def _number(value: float, scale: str) -> str:
    if not value:
        return "0"
    return f"{100 * value:+.2f} %" if scale == "relative" else f"{value:+.4g}"


def _treatments(report: Document) -> list[str]:
    return list(dict.fromkeys(each["treatment_arm"] for each in report["analysis"]["effects"]))
