"""What did an experiment show, as one page that anybody can read?

From the JSON document of `recsys evaluate`, and what was overridden since. It says the same numbers.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from recsys.reports import style
from recsys.reports.drawing import INK, Document
from recsys.reports.experiment_charts import experiment_charts
from recsys.reports.experiment_health import health, served
from recsys.reports.experiment_results import effects, funnel, off_policy, settled
from recsys.reports.markup import (
    facts,
    listed,
    minute,
    number,
    paragraph,
    percent,
    section,
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
    document: Document,
    drawn: Mapping[str, str],
    overridden: Sequence[Mapping[str, Any]] = (),
    link: Callable[[str], str] = text,
) -> dict[str, str]:
    """Return the parts of the page by name, as HTML, in their order; empty where the document has nothing to say.

    Args:
        document: of `recsys evaluate`.
        drawn: name of a chart to the figure that shows it, as HTML.
        overridden: as for the page.
        link: from a model version to its HTML; its escaped name by default.
    """
    return {
        "verdict": _verdict(document),
        "overridden": _overridden(overridden),
        "asked": _asked(document),
        "effects": effects(document, drawn),
        "settled": settled(document, drawn),
        "funnel": funnel(document, drawn.get("funnel", "")),
        "off_policy": off_policy(document),
        "health": health(document),
        "served": served(document, link),
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
        + paragraph(f"By {text(each['author'])} at {minute(each['at'].isoformat())} UTC: {text(each['reason'])}")
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
        ("from, to", f"{minute(about['start'])}, {minute(about['end'])} UTC"),
        ("state", f"{analysis['state']} at {minute(analysis['until'])} UTC"),
        ("units exposed, planned", f"{analysis['exposed_units']:,}, {analysis['planned_units']:,}"),
        ("requests left out, window open", number(analysis["left_out_requests"])),
        ("outcome window", f"{analysis['horizon_seconds'] / 86_400:g} days"),
        ("confidence", percent(analysis["confidence"], 2)),
    ]
    if analysis.get("compared_by_epoch"):
        pairs.append(("compared by allocation epoch, units in none", number(analysis["uncompared_units"])))
    if analysis.get("part"):
        pairs.insert(3, ("looked at", f"{minute(analysis['part'][0])} to {minute(analysis['part'][1])} UTC"))
    return section("What was asked", facts((name, text(value)) for name, value in pairs))


def _provenance(document: Document) -> str:
    pairs = [
        ("digest of the declaration", f"<code>{text(document['experiment_digest'])}</code>"),
        ("digest of the analysis", f"<code>{text(document['analysis']['digest'][:16])}</code>"),
        ("frozen", f"{minute(document['frozen'])} UTC" if document["frozen"] else "no"),
    ]
    if document.get("digest"):
        pairs.append(("digest of the report", f"<code>{text(document['digest'])}</code>"))
    return section("Made from", facts(pairs))


def _inline(name: str, svg: str) -> str:
    """Put a drawing into the page, whose ink it takes."""
    return f'<figure role="img" aria-label="{text(name)}">{svg.replace(INK, "currentColor")}</figure>'
