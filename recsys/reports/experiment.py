"""What did an experiment show, as one page that anybody can read?

From the JSON document of `recsys evaluate`, and what was overridden since. It says the same numbers.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from recsys.reports import style
from recsys.reports.drawing import INK, Document
from recsys.reports.experiment_charts import experiment_charts, shown_effects
from recsys.reports.markup import (
    NOTHING,
    estimate_with,
    facts,
    folded,
    interval,
    listed,
    number,
    paragraph,
    percent,
    section,
    table,
    text,
)

_GOOD: Final = frozenset({"SHIP"})
_OPEN: Final = frozenset({"WAIT", "NONE", "REVIEW", "ITERATE", "UNDERPOWERED"})
_CONVENTIONS: Final = """\
Effects are treatment by control, over units: requests of one unit are not independent. Intervals of ratios are by the
delta method; CUPED takes out what units did before the start.

The fixed interval is for one look, at the planned end. The one valid at every look is wider and holds however often the
page is made while the experiment runs.

An interval without an end, [x, ∞), is of a control whose mean may be 0.

Lists without exploration are valued by those in which nothing was drawn, weighted by how much likelier they are
without a draw: IPS divides by requests, SNIPS by the weights. The mean weight is 1 but for chance; the effective sample
is the number of requests of equal weight that would say as much. No verdict rests on it.

A request counts once its outcome window has closed. Means are as measured; effects may be adjusted by CUPED, and by
winsorising where a metric declares it.

The funnel counts, of the items shown, those that an event of the stage followed in the window; an item that was shown
twice counts twice."""


def experiment_page(document: Document, overridden: Sequence[Mapping[str, Any]] = ()) -> str:
    """Return a self-contained HTML page; it asks nothing of a network.

    Args:
        document: of `recsys evaluate`: experiment, about, analysis, verdict, next, experiment_digest, metrics, frozen,
            and digest where it is frozen.
        overridden: of the arms' versions, those that are champion although something spoke against it: model_version,
            reason, author, at (a datetime) and refused.

    Returns:
        HTML; the same for the same document.
    """
    drawn = {name: _inline(name, svg) for name, svg in experiment_charts(document).items()}
    title = text(document["experiment"])
    about = document["about"]
    owners = ", ".join(f"{text(role)}: {text(team)}" for role, team in about["owners"].items())
    hypothesis = f'<p class="issue">{text(document["analysis"]["hypothesis"])}</p>'
    header = f'<header><h1>{title}</h1>{hypothesis}<p class="issue">{owners}</p></header>'
    body = [header, *experiment_parts(document, drawn, overridden).values()]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{style.PAGE}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in body if part)
        + "\n</body>\n</html>\n"
    )


def experiment_parts(
    document: Document, drawn: Mapping[str, str], overridden: Sequence[Mapping[str, Any]] = ()
) -> dict[str, str]:
    """Return the parts of the page by name, as HTML, in their order; empty where the document has nothing to say.

    Args:
        document: of `recsys evaluate`.
        drawn: name of a chart to the figure that shows it, as HTML.
        overridden: as for the page.
    """
    return {
        "verdict": _verdict(document),
        "overridden": _overridden(overridden),
        "asked": _asked(document),
        "effects": _effects(document, drawn),
        "settled": section("How it settled", drawn.get("cumulative", ""), drawn.get("daily", ""), _settling(document)),
        "funnel": _funnel(document, drawn.get("funnel", "")),
        "off_policy": _off_policy(document),
        "health": _health(document),
        "served": _served(document),
        "conventions": section(
            "How to read it", listed(text(" ".join(each.split())) for each in _CONVENTIONS.split("\n\n"))
        ),
        "provenance": _provenance(document),
    }


def _verdict(document: Document) -> str:
    found = document["verdict"]
    kind = "passed" if found["name"] in _GOOD else "open" if found["name"] in _OPEN else "refused"
    word = "No verdict" if found["name"] == "NONE" else text(found["name"])
    after = document.get("next") or ()
    following = listed(map(_with_commands, after)) if after else ""
    return f'<div class="verdict {kind}"><strong>{word}.</strong>{paragraph(text(found["reason"]))}{following}</div>'


def _overridden(found: Sequence[Mapping[str, Any]]) -> str:
    """Say which version is champion although something spoke against it."""
    told = (
        f'<div class="verdict refused"><strong>Override: {text(each["model_version"])} is champion.</strong>'
        + paragraph(f"By {text(each['author'])} at {_minute(each['at'].isoformat())} UTC: {text(each['reason'])}")
        + listed(f"was refused: {text(line)}" for line in each["refused"])
        + "</div>"
        for each in found
    )
    return "".join(told)


def _with_commands(words: str) -> str:
    """Escape a text, and set what stands in backticks as code."""
    return "".join(
        f"<code>{text(part)}</code>" if number % 2 else text(part) for number, part in enumerate(words.split("`"))
    )


def _asked(document: Document) -> str:
    about, analysis = document["about"], document["analysis"]
    pairs = [
        ("business issue", about["business_issue"]),
        ("placement, unit", f"{about['placement']}, {about['unit']}"),
        ("from, to", f"{_minute(about['start'])}, {_minute(about['end'])} UTC"),
        ("state", f"{analysis['state']} at {_minute(analysis['until'])} UTC"),
        ("units exposed, planned", f"{analysis['exposed_units']:,}, {analysis['planned_units']:,}"),
        ("requests left out, window open", number(analysis["left_out_requests"])),
        ("outcome window", f"{analysis['horizon_seconds'] / 86_400:g} days"),
        ("confidence", percent(analysis["confidence"], 2)),
    ]
    if analysis.get("compared_by_epoch"):
        pairs.append(("compared by allocation epoch, units in none", number(analysis["uncompared_units"])))
    if analysis.get("part"):
        pairs.insert(3, ("looked at", f"{_minute(analysis['part'][0])} to {_minute(analysis['part'][1])} UTC"))
    return section("What was asked", facts((name, text(value)) for name, value in pairs))


def _effects(document: Document, drawn: Mapping[str, str]) -> str:
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
                _p(effect["p_value"]),
                _p(found.get("adjusted_p_value")),
                text(", ".join(remarks)),
            ]
        )
    header = ["metric", *(["treatment"] if several else []), "role", "control", "treatment", "effect", "at every look"]
    header += ["p", "adjusted p", ""]
    primary = next((text(each["effect"]["metric"]) for each in analysis["effects"] if each["role"] == "primary"), None)
    return section("Effects", drawn.get("effects", ""), table(header, rows, marked=primary))


def _settling(document: Document) -> str:
    """Show the figures behind the pictures of how it settled."""
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


def _funnel(document: Document, chart: str) -> str:
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


def _off_policy(document: Document) -> str:
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


def _health(document: Document) -> str:
    health = document["analysis"]["health"]
    failures = listed(map(text, health["failures"])) if health["failures"] else paragraph("Everything ran as declared.")
    header = ["arm", "units", "declared share", "exposures", "stood twice", "lists lost", "by a fallback"]
    rows = [
        [
            text(arm),
            number(units),
            percent(health["expected_shares"].get(arm)),
            number(health["exposures"].get(arm)),
            number(health["duplicated_exposures"].get(arm)),
            number(health["lost_lists"].get(arm)),
            percent(health["fallback_share"].get(arm), 2),
        ]
        for arm, units in health["units"].items()
    ]
    pairs = [
        ("sample ratio, p", _p(health["sample_ratio_p_value"])),
        ("units in several arms", f"{health['multiple_units']:,} ({percent(health['multiple_share'], 2)})"),
        ("assignments that differ when recomputed", number(health["mismatched_units"])),
    ]
    default = health.get("default_units")
    if default:
        pairs.append(("default traffic: units held out, others", f"{default['holdout']:,}, {default['other']:,}"))
    split = [[text(_minute(each["start"])), *_against(each), _p(each["p_value"])] for each in health["epochs"]]
    arms = list(health["units"])
    epochs = table(["epoch from", *map(text, arms), "p"], split, caption="units, and those expected") if split else ""
    return section("Health", failures, table(header, rows), _receipts(health.get("receipts")), facts(pairs), epochs)


def _receipts(found: Mapping[str, Any] | None) -> str:
    """Show what became of the router's decisions, where a service counted them."""
    if found is None:
        return paragraph("Decisions of the router are not compared with exposures: no service counted them.")
    names = ("decided", "received", "lost", "undecided")
    rows = [[text(arm), *(number(found[name][arm]) for name in names)] for arm in found["decided"]]
    caption = f"decisions of the router and exposures received, over {found['hours']:,} hours"
    return table(["arm", "decided", "received", "lost", "never decided"], rows, caption=caption)


def _against(split: Mapping[str, Any]) -> list[str]:
    """Write each arm's units beside those expected."""
    return [f"{units:,} of {split['expected'][arm]:,.0f}" for arm, units in split["units"].items()]


def _served(document: Document) -> str:
    rows = [
        [text(arm["arm"]), text(each["model_version"] or NOTHING), number(each["weights"]), number(each["exposures"])]
        for arm in document["analysis"]["arms"]
        for each in arm["weights"]
    ]
    return section("What answered", table(["arm", "model version", "weights", "exposures"], rows)) if rows else ""


def _provenance(document: Document) -> str:
    pairs = [
        ("digest of the declaration", f"<code>{text(document['experiment_digest'])}</code>"),
        ("digest of the analysis", f"<code>{text(document['analysis']['digest'][:16])}</code>"),
        ("frozen", text(document["frozen"] or "no")),
    ]
    if document.get("digest"):
        pairs.append(("digest of the report", f"<code>{text(document['digest'])}</code>"))
    return section("Made from", facts(pairs))


def _relative(values: Mapping[str, float | None]) -> str:
    found = (values[name] for name in ("estimate", "lower", "upper"))
    estimate, lower, upper = (None if value is None else f"{100 * value:+.2f}" for value in found)
    return estimate_with(estimate and f"{estimate} %", lower, upper)


def _p(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2g}"


def _minute(moment: str) -> str:
    return moment[:16].replace("T", " ")


def _inline(name: str, svg: str) -> str:
    """Put a drawing into the page, whose ink it takes."""
    return f'<figure role="img" aria-label="{text(name)}">{svg.replace(INK, "currentColor")}</figure>'
