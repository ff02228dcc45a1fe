"""What does a problem's funnel say, as one page that anybody can read?

From the JSON document of `recsys funnel` and nothing else. It says the same numbers.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from recsys.reports import style
from recsys.reports.drawing import INK, MODEL_COLOUR, Document, drawn, named_rows, new_figure
from recsys.reports.markup import NOTHING, facts, folded, listed, number, paragraph, percent, section, table, text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MANY: Final = 12
_CONVENTIONS: Final = """\
An event of a stage follows if one of the stage before came before it, in the session or the window; repeated events
count each, users and visits once. What came without the stage before is not in the funnel.

Value after it is the share of the last stage's value (of its events, where they have none) that came after the stage.
Correlations are over users; per visit, how often a user comes plays no part.

Units and days are those of an experiment of two arms of the same size that sees the declared effect on what a visit (a
unit, where sessions do not count) brings. Days that end beyond the past go on as it went. In brackets: between what
units and days lie, as the past is a sample of units (95 %). Never: there would not be enough units in ten years."""


def funnel_page(document: Document) -> str:
    """Return a self-contained HTML page; it asks nothing of a network.

    Args:
        document: of `recsys funnel`.

    Returns:
        HTML; the same for the same document.
    """
    figures = {name: _inline(name, svg) for name, svg in funnel_charts(document).items()}
    title = text(document["problem"])
    owners = ", ".join(f"{text(role)}: {text(team)}" for role, team in document["owners"].items())
    issue = f'<p class="issue">{text(document["business_issue"])}</p>'
    body = [
        f'<header><h1>{title}</h1>{issue}<p class="issue">{owners}</p></header>',
        *funnel_parts(document, figures).values(),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{style.PAGE}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in body if part)
        + "\n</body>\n</html>\n"
    )


def funnel_charts(document: Document) -> dict[str, str]:
    """Draw what a document has figures for: name to SVG without a background."""
    return drawn({"funnel": _chart}, document)


def funnel_parts(document: Document, figures: Mapping[str, str]) -> dict[str, str]:
    """Return the parts of the page by name, as HTML, in their order; empty where there is nothing to say.

    Args:
        document: of `recsys funnel`.
        figures: name of a chart to the figure that shows it, as HTML.
    """
    findings = document["findings"]
    return {
        "verdict": _verdict(document),
        "asked": section("What was asked", _asked(document)),
        "stages": section("Funnel", figures.get("funnel", ""), _stages(document)),
        "worth": section("Worth and need", _worth(document)),
        "channels": section("Channels", _channels(document)),
        "weak": section("Weak stages", _weak(document)),
        "segments": section("By segment", _segments(document)),
        "findings": section("What to mend first", listed(map(text, findings)) if findings else ""),
        "left_out": section("What was left out", _left_out(document)),
        "conventions": section(
            "How to read it", listed(text(" ".join(each.split())) for each in _CONVENTIONS.split("\n\n"))
        ),
    }


def _verdict(document: Document) -> str:
    stage = document["model_stage"]
    word, kind = ("Not a problem for a model", "refused") if stage is None else (f"Model {stage}", "passed")
    said = "".join(paragraph(text(reason)) for reason in document["reasons"])
    return f'<div class="verdict {kind}"><strong>{text(word)}.</strong>{said}</div>'


def _asked(document: Document) -> str:
    planning = document["planning"]
    pairs: list[tuple[str, object]] = [
        ("from", document["from"][:10]),
        ("to", document["to"][:10]),
        ("entered before", document["entered_before"][:10]),
        ("a stage follows within", document["within"]),
        ("known units", number(document["known_units"])),
        ("effect to see", percent(planning["minimum_effect"])),
        ("alpha, power", f"{planning['alpha']:g}, {planning['power']:g}"),
        ("traffic", percent(planning["traffic"], 0)),
        ("days allowed", number(planning["maximum_days"])),
    ]
    return facts((name, text(value)) for name, value in pairs)


def _stages(document: Document) -> str:
    rows = [
        [
            text(each["stage"]),
            number(each["users"]),
            number(each["visits"]),
            number(each["events"]),
            percent(each["from_before"]),
            percent(each["from_top"]),
        ]
        for each in document["funnel"]["stages"]
    ]
    return table(["stage", "users", "visits", "events", "of stage before", "of top"], rows)


def _worth(document: Document) -> str:
    rows = []
    for each in document["funnel"]["stages"]:
        need = each["need"] or {}
        rows.append(
            [
                text(each["stage"]),
                percent(each["value_share"]),
                number(each["correlation"], 2),
                number(each["correlation_per_visit"], 2),
                number(each["events_per_user"], 2),
                number(each["events_per_day"], 1),
                number(need.get("units")) + _between(need, "units"),
                _days(each["need"]) + _between(need, "days"),
                percent(need.get("detectable")),
            ]
        )
    header = ["stage", "value after it", "correlation", "per visit", "per user", "per day", "units", "days", "detects"]
    return table(header, rows, marked=None if document["model_stage"] is None else text(document["model_stage"]))


def _days(need: "dict[str, Any] | None") -> str:
    if need is None:
        return NOTHING
    if need["units"] is None:
        return "unknown"
    return "never" if need["days"] is None else number(need["days"])


def _between(of: "Mapping[str, Any]", name: str) -> str:
    """Return the bounds of a number; a document that was kept before there were any has none."""
    found = of.get(f"{name}_bounds")
    if found is None:
        return ""
    lower, upper = ("never" if found[each] is None else number(found[each]) for each in ("lower", "upper"))
    return f" [{lower}, {upper}]"


def _channels(document: Document) -> str:
    told = []
    for each in document["channels"]:
        days = None if each["days"] is None else number(each["days"]) + _between(each, "days")
        tested = "" if days is None else f"; a test takes it {days} days"
        metric = "no metric" if each["metric"] is None else text(each["metric"])
        told.append(f"{text(each['channel'])}: <strong>{metric}</strong>: {text(each['reason'])}{tested}")
    return listed(told)


def _weak(document: Document) -> str:
    told = [
        f"{text(each['stage'])}: {percent(each['share'])} of those before reach it"
        + (", the least of all" if each["lost_most"] else "")
        + f": <strong>{text(each['lever'])}</strong>"
        + "".join(f"<br>{text(told)}" for told in each.get("evidence", ()))
        for each in document["weak"]
    ]
    return listed(told) if told else ""


def _segments(document: Document) -> str:
    segments = document["segments"]
    if not segments:
        return ""
    names = [text(each["stage"]) for each in segments[0]["stages"]]
    header = [
        text(document["by"]),
        "users",
        *(f"{name} of {before}" for before, name in pairwise(names)),
        *(f"days to test {name}" for name in names[1:]),
    ]
    rows = []
    for segment in segments:
        later = segment["stages"][1:]
        days = [NOTHING if segment["small"] else _days(each["need"]) + _between(each["need"], "days") for each in later]
        name = text(segment["segment"]) + (" (small)" if segment["small"] else "")
        rows.append([name, number(segment["users"]), *(percent(each["from_before"]) for each in later), *days])
    laid = table(header, rows)
    return folded(f"{len(rows)} segments", laid) if len(rows) > _MANY else laid


def _left_out(document: Document) -> str:
    told = [
        f"{text(each['stage'])}: {number(each['rows'])} of {number(each['read'])} rows: {text(each['why'])}"
        for each in document["dropped"]
    ]
    told += [
        f"{text(each['stage'])}: {percent(each['bypass'])} of its events came without the stage before: left out"
        for each in document["funnel"]["stages"]
        if each["bypass"]
    ]
    told += [f"at ingest: {text(each)}" for each in document["refused"]]
    return listed(told) if told else ""


def _chart(document: Document) -> "Figure | None":
    """What share of the first stage each one has."""
    stages = document["funnel"]["stages"]
    shares = [100.0, *(100 * (each["from_top"] or 0.0) for each in stages[1:])]
    figure, (axes,) = new_figure(8, 0.6 + 0.4 * len(stages))
    axes.barh(range(len(stages)), shares, height=0.7, color=MODEL_COLOUR)
    for place, share in enumerate(shares):
        axes.annotate(f" {share:.1f} %", (share, place), va="center", fontsize=8)
    named_rows(axes, [each["stage"] for each in stages])
    axes.margins(x=0.12)
    axes.set_title("of 100 that enter, those that reach the stage", loc="left")
    return figure


def _inline(name: str, svg: str) -> str:
    """Put a drawing into the page, whose ink it takes."""
    return f'<figure role="img" aria-label="{text(name)}">{svg.replace(INK, "currentColor")}</figure>'
