"""What did an experiment do to its metrics, how did that settle, and what came of the lists on the way?

Each function returns HTML, and nothing where the document has nothing to say.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from recsys.reports.drawing import Document
from recsys.reports.experiment_charts import shown_effects
from recsys.reports.markup import (
    estimate_with,
    folded,
    interval,
    listed,
    number,
    p_value,
    percent,
    section,
    table,
    text,
)


def effects(document: Document, drawn: Mapping[str, str]) -> str:
    """Show each metric's effect with both kinds of interval."""
    analysis = document["analysis"]
    several = len({each["treatment_arm"] for each in analysis["effects"]}) > 1
    lowered = {each["metric"]: each for each in analysis.get("winsorised") or ()}
    rows = []
    for found in shown_effects(document):
        effect = found["effect"]
        roles = [
            each["role"]
            for each in analysis["effects"]
            if (each["treatment_arm"], each["effect"]["metric"]) == (found["treatment_arm"], effect["metric"])
        ]
        remarks = ["CUPED"] if effect["cuped"] else []
        if effect["metric"] in lowered:
            limit = lowered[effect["metric"]]
            remarks.append(f"{limit['units']:,} units winsorised to {limit['limit']:g}")
        rows.append(
            [
                text(effect["metric"]),
                *([text(found["treatment_arm"])] if several else []),
                text(", ".join(roles)),
                number(effect["control"]),
                number(effect["treatment"]),
                _relative(effect["relative"]),
                _relative(found["always_relative"]),
                p_value(effect["p_value"]),
                p_value(found.get("adjusted_p_value")),
                text(", ".join(remarks)),
            ]
        )
    header = ["metric", *(["treatment"] if several else []), "role", "control", "treatment", "effect", "at every look"]
    header += ["p", "adjusted p", "adjusted by"]
    percents = f"{100 * analysis['confidence']:g} %"
    caption = f"means of the arms as measured; effects relative to the control, with intervals of {percents} confidence"
    primary = next((text(each["effect"]["metric"]) for each in analysis["effects"] if each["role"] == "primary"), None)
    return section("Effects", drawn.get("effects", ""), table(header, rows, marked=primary, caption=caption))


def settled(document: Document, drawn: Mapping[str, str]) -> str:
    """Show how the effect on the primary metric and the arms' means settled, with the figures behind the pictures."""
    return section("How it settled", drawn.get("cumulative", ""), drawn.get("daily", ""), _settling(document))


def _settling(document: Document) -> str:
    analysis = document["analysis"]
    points = analysis.get("cumulative") or []
    rows = [
        [
            text(each["end"][:10]),
            text(each["treatment_arm"]),
            _relative(each["relative"]),
            _relative(each["always_relative"]),
        ]
        for each in points
    ]
    header = ["before", "treatment", "effect", "at every look"]
    grown = folded("Effect on the primary metric up to each day", table(header, rows)) if rows else ""
    return grown + _means("day", analysis["daily"]) + _means("week", analysis["weekly"])


def _means(period: str, points: Sequence[Mapping[str, Any]]) -> str:
    names = list(points[0]["means"]) if points else []
    rows = [
        [
            text(each["start"][:10]),
            text(each["arm"]),
            number(each["requests"]),
            *(number(each["means"][n]) for n in names),
        ]
        for each in points
    ]
    header = [f"{period} from" if period == "week" else period, "arm", "requests", *map(text, names)]
    return folded(f"Means by {period}", table(header, rows)) if rows else ""


def funnel(document: Document, chart: str) -> str:
    """Show what came of the items that each arm showed, stage by stage."""
    arms = [each for each in document["analysis"]["arms"] if each.get("funnel")]
    if not arms:
        return ""
    stages = list(arms[0]["funnel"])
    header = ["arm", "units", "requests", *map(text, stages)]
    rows = [
        [text(arm["arm"]), number(arm["units"]), number(arm["requests"]), *(_stage(arm, stage) for stage in stages)]
        for arm in arms
    ]
    return section("Funnel", chart, table(header, rows))


def _stage(arm: Mapping[str, Any], stage: str) -> str:
    count, shown = arm["funnel"][stage], arm["funnel"]["impressions"]
    if stage == "impressions" or not shown:
        return number(count)
    return f'{count:,} <span class="bounds">{percent(count / shown, 2)}</span>'


def off_policy(document: Document) -> str:
    """Show what lists without exploration would have brought."""
    found: Sequence[Mapping[str, Any]] = document["analysis"].get("off_policy") or ()
    refused = [text(each["refused"]) for each in found if each["value"] is None]
    rows = [
        [
            text(each["arm"]),
            text(each["metric"]),
            ", ".join(map(str, each["slots"])),
            *(interval(each["value"][name]) for name in ("logged", "ips", "snips", "gain", "mean_weight")),
            f"{each['value']['effective_sample_size']:,.0f} of {each['value']['rounds']:,}",
        ]
        for each in found
        if each["value"] is not None
    ]
    header = ["arm", "metric a request", "drawn slots", "as logged", "IPS", "SNIPS", "IPS - logged", "mean weight"]
    told = table([*header, "effective sample"], rows) if rows else ""
    return section("Lists without exploration", told, listed(refused) if refused else "")


def _relative(values: Mapping[str, float | None]) -> str:
    found = (values[name] for name in ("estimate", "lower", "upper"))
    estimate, lower, upper = (None if value is None else f"{100 * value:+.2f}" for value in found)
    return estimate_with(estimate and f"{estimate} %", lower, upper)
