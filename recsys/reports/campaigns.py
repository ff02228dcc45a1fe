"""What did an audience's campaigns bring, as one page that anybody can read?

From the JSON document of `recsys evaluate AUDIENCE` and nothing else. It says the same numbers.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from recsys.reports import style
from recsys.reports.drawing import INK, MODEL_COLOUR, Document, drawn, named_rows, new_figure, whisker
from recsys.reports.markup import (
    NOTHING,
    IntervalValues,
    estimate_with,
    facts,
    interval,
    listed,
    number,
    paragraph,
    percent,
    section,
    table,
    text,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_GOOD: Final = frozenset({"ADDS"})
_OPEN: Final = frozenset({"WAIT", "UNCLEAR"})
_CONVENTIONS: Final = """\
Precision is the share of those contacted that acted; recall, of all eligible units that acted, the share that was
contacted. Expected bounds hold what comes if the probabilities are right and units act independently.

What was added is read off those held out who would have been on the list, beside all who were on it, sent or not. Each
unit's acts count from the moment at which the campaign's sending began, in its latest contact alone.

Intervals of shares are Newcombe's, for few may be held out; contacts of one unit belong together. Means have the score
as a covariate (CUPED). Rough is an interval of values too skewed for so few held out.

A channel's figure is of all that happened to its units: where windows overlap, other contacts too.

Intervals are for one look at a time that was chosen beforehand, one figure at a time."""


def campaigns_page(document: Document) -> str:
    """Return a self-contained HTML page; it asks nothing of a network.

    Args:
        document: of `recsys evaluate AUDIENCE`.

    Returns:
        HTML; the same for the same document.
    """
    figures = {name: _inline(name, svg) for name, svg in drawn({"added": _chart}, document).items()}
    title, about = text(document["audience"]), document["about"]
    owners = ", ".join(f"{text(role)}: {text(team)}" for role, team in about["owners"].items())
    issue = f'<p class="issue">{text(about["business_issue"])}</p>'
    body = [
        f'<header><h1>{title}</h1>{issue}<p class="issue">{owners}</p></header>',
        _verdict(document["verdict"]),
        section("What contacts added", figures.get("added", ""), _added(document)),
        section("What came", _came(document)),
        section("Calibration", _calibration(document)),
        section("Health", _health(document)),
        section("What is not in it", _left_out(document)),
        section("How to read it", listed(text(" ".join(each.split())) for each in _CONVENTIONS.split("\n\n"))),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{style.PAGE}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in body if part)
        + "\n</body>\n</html>\n"
    )


def _verdict(verdict: Mapping[str, Any]) -> str:
    name = verdict["name"]
    kind = "passed" if name in _GOOD else "open" if name in _OPEN else "refused"
    return f'<div class="verdict {kind}"><strong>{text(name)}.</strong>{paragraph(text(verdict["reason"]))}</div>'


def _added(document: Document) -> str:
    rows = []
    for each in document["brought"]:
        for outcome in (each["primary"], *each["metrics"]):
            if outcome is None:
                rows.append([text(each["scope"]), *[NOTHING] * 7])
                continue
            rows.append(
                [
                    text(each["scope"]),
                    text(outcome["metric"]),
                    number(outcome["held_out"]),
                    number(outcome["reached"]),
                    _relative(outcome["relative"]),
                    interval(outcome["per_thousand"], 1),
                    interval(outcome["total"], 0),
                    ", ".join(word for word in ("cuped", "rough") if outcome[word]),
                ]
            )
    if not rows:
        return ""
    header = ["contacts", "figure", "held out", "reached", "relative", "by 1,000 contacts", "in all", ""]
    return table(header, rows) + listed(_scope(each) for each in document["brought"])


def _relative(value: IntervalValues) -> str:
    return estimate_with(*(None if value[key] is None else f"{value[key]:+.1%}" for key in _BOUNDS))


_BOUNDS: Final = ("estimate", "lower", "upper")


def _scope(found: Mapping[str, Any]) -> str:
    contacts, units, power = found["contacts"], found["units"], found["power"]
    told = (
        f"{text(found['scope'])}: {number(contacts['reached'])} contacts of {number(units['reached'])} units,"
        f" {percent(found['sent_share'], 0)} of them sent, {number(found['overlapping'])} in windows that overlap;"
        f" beside {number(contacts['held_out'])} of {number(units['held_out'])} units held out"
    )
    if power is None:
        return f"{told}: nothing can be seen"
    return (
        f"{told}, who show {power['detectable']:+.0%} and more; {power['minimum_effect']:+.0%} takes"
        f" {number(power['needed_held_out'])} held out beside {number(power['needed_reached'])} reached"
    )


def _came(document: Document) -> str:
    rows = [
        [
            f"{text(each['channel'])} {text(each['made_at'][:16])}",
            text(each["sent_from"][:16]),
            f"{number(each['sent'])} of {number(each['listed'])}",
            percent(each["precision"]),
            _expected(each["expected_precision"]),
            percent(each["recall"]),
            _expected(each["expected_recall"]),
            text(each["model_version"]),
        ]
        for each in document["campaigns"]
    ]
    header = ["list", "sent from", "sent", "precision", "expected", "recall", "expected", "by"]
    return table(header, rows) if rows else ""


def _expected(value: IntervalValues | None) -> str:
    if value is None:
        return NOTHING
    return estimate_with(*(None if value[key] is None else percent(value[key]) for key in _BOUNDS))


def _calibration(document: Document) -> str:
    parts = []
    for each in document["calibration"]:
        rows = [
            [str(place), percent(one["predicted"]), _expected(one["observed"]), number(one["count"])]
            for place, one in enumerate(each["reliability"]["bins"], start=1)
        ]
        caption = (
            f"{text(each['channel'])}: {percent(each['predicted'])} expected, {percent(each['observed'])} came of"
            f" {number(each['contacts'])} contacts; p = {number(each['p_value'], 3)} that so much is chance"
        )
        parts.append(table(["tenth", "predicted", "acted", "contacts"], rows, caption=caption))
    return "".join(parts)


def _health(document: Document) -> str:
    health = document["health"]
    if health is None:
        return ""
    units = health["units"]
    pairs = [
        ("units reached, held out", f"{number(units['reached'])}, {number(units['held_out'])}"),
        ("held out by the layers", percent(health["held_out_share"])),
        ("sample ratio, p", number(health["sample_ratio_p_value"], 3)),
        ("scores alike, p", number(health["score_p_value"], 3)),
        ("held out, and contacted", number(health["contacted"])),
        ("changed sides with the holdouts", number(health["switched"])),
        ("forgotten since", f"{number(health['lost']['reached'])}, {number(health['lost']['held_out'])}"),
    ]
    return facts(pairs) + (listed(map(text, health["failures"])) if health["failures"] else "")


def _left_out(document: Document) -> str:
    told = [
        f"{text(each['channel'])} {text(each['made_at'][:16])}: {number(each['sent'])} contacts, complete at"
        f" {text(each['until'][:16])}"
        for each in document["waiting"]
    ]
    if document["unsent"]:
        told.append(f"{number(document['unsent'])} lists of which no contact is in the log")
    if document["unknown_contacts"]:
        told.append(f"{number(document['unknown_contacts'])} contacts of lists of which nothing is kept")
    return listed(told) if told else ""


def _chart(document: Document) -> "Figure | None":
    """What 1,000 contacts add, of all channels and of each."""
    found = [each for each in document["brought"] if each["primary"] is not None]
    if not found:
        return None
    figure, (axes,) = new_figure(8, 0.8 + 0.4 * len(found))
    for place, each in enumerate(found):
        whisker(axes, place, each["primary"]["per_thousand"], MODEL_COLOUR)
    axes.axvline(0.0, color=INK, linewidth=1, linestyle="--")
    named_rows(axes, [each["scope"] for each in found])
    axes.set_title(f"{document['about']['event']} that 1,000 contacts add", loc="left")
    return figure


def _inline(name: str, svg: str) -> str:
    """Put a drawing into the page, whose ink it takes."""
    return f'<figure role="img" aria-label="{text(name)}">{svg.replace(INK, "currentColor")}</figure>'
