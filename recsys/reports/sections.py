"""What does the page of an offline evaluation say, part by part?

Each function returns HTML, and nothing where the document has nothing to say.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from recsys.reports.charts import segment_metric
from recsys.reports.drawing import MODEL, Document, label
from recsys.reports.markup import (
    NOTHING,
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
    value_at,
)

_MANY: Final = 12
"""Rows of a table from which it is folded away."""

_OF_GROUP: Final = {
    "split": "By split",
    "decision_time": "By decision time",
    "activity": "New, light and heavy units",
    "item_age": "New and old items",
    "category": "By category of the items",
}


def ranker_name(document: Document, ranker: str) -> str:
    """Return how a ranker is called: the model by its version; escaped."""
    return text(label(document, ranker))


def verdict(document: Document) -> str:
    """Say whether the version earned its place, and by how much."""
    gate = document["gate"]
    word, kind = ("Passed its gate", "passed") if gate["passed"] else ("Refused by its gate", "refused")
    metric, against, ratio = gate["metric"], gate["against"], gate["ratio"]
    values = [value_at(document, "metrics", ranker, metric, "estimate") for ranker in (MODEL, against)]
    said = ""
    if None not in (*values, *ratio.values()):
        change, low, high = (_change(ratio[key]) for key in ("estimate", "lower", "upper"))
        said = paragraph(
            f"On {text(metric)} it reaches {number(values[0])} where {ranker_name(document, against)} reaches"
            f" {number(values[1])}:"
            f" {change} (between {low} and {high} at {percent(gate['confidence'], 0)} confidence)."
        )
    reason = paragraph(f'<span class="bounds">{text(gate["reason"])}</span>')
    return f'<div class="verdict {kind}"><strong>{word}.</strong>{said}{reason}</div>'


def _change(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.1f} %"


def asked(document: Document) -> str:
    """Say what was predicted, and on which weeks."""
    lists = document["kind"] == "lists"
    tested = [day for split in document.get("splits") or [] for day in split["test"]]
    trained = [day for split in document.get("splits") or [] for day in split["train"]]
    pairs: list[tuple[str, object]] = [
        ("problem", document.get("problem")),
        ("known at", _day(document.get("known_at"))),
        ("judged on", _days(tested)),
        ("fitted on", _days(trained)),
        ("training rows", _count(document.get("train_rows"))),
        ("requests" if lists else "lists of units", _count(document["requests"])),
        ("units", _count(document["units"])),
        ("eligible units, shortest list", _count(value_at(document, "cuts", "eligible"))),
        ("splits", _count(len(document["splits"])) if len(document.get("splits") or []) > 1 else None),
    ]
    known = [(name, text(value)) for name, value in pairs if value]
    return section("What was asked", facts(known))


def _day(moment: str | None) -> str | None:
    return moment[:10] if moment else None


def _days(moments: Sequence[str]) -> str | None:
    if not moments:
        return None
    return f"{len(set(moments))} decision times, {min(moments)[:10]} to {max(moments)[:10]}"


def _count(value: float | None) -> str | None:
    return None if value is None else f"{value:,.0f}"


def metrics(document: Document, chart: str) -> str:
    """Show every metric of every ranker, and the paired ratios."""
    names = list(document["metrics"][MODEL])
    rows = [
        [ranker_name(document, ranker), *(interval(values[name]) for name in names)]
        for ranker, values in document["metrics"].items()
    ]
    found = table(["ranker", *map(text, names)], rows, marked=ranker_name(document, MODEL))
    ratios: Mapping[str, Mapping[str, Any]] = document.get("metric_ratios") or {}
    baselines = list(next(iter(ratios.values()), {}))
    paired = [
        [ranker_name(document, other), *(interval(ratios[name][other], 3) for name in names)] for other in baselines
    ]
    caption = f"{ranker_name(document, MODEL)} by each other ranker, paired: above 1 it is better"
    beside = table(["against", *map(text, names)], paired, caption=caption) if paired else ""
    return section("All rankers on the same requests", found, chart, beside)


def segments(document: Document, group: str, chart: str) -> str:
    """Show the rankers in each segment of a group."""
    found = value_at(document, "segments", group)
    metric = segment_metric(document, group)
    if not found or metric is None:
        return ""
    rankers = list(found[0]["metrics"])
    sizes = list(found[0]["sizes"])
    header = ["segment", "share", *sizes, *(ranker_name(document, ranker) for ranker in rankers)]
    rows = [
        [
            text(each["name"]),
            percent(each["share"]),
            *(number(each["sizes"][size]) for size in sizes),
            *(interval(each["metrics"][ranker][metric]) for ranker in rankers),
        ]
        for each in found
    ]
    told = table(header, rows, caption=text(metric))
    if len(rows) > _MANY:
        told = folded("All of them", told)
    cut = value_at(document, "cuts", "activity")
    note = ""
    if group == "activity" and cut is not None:
        note = paragraph(f"Earlier events: new units had none, light ones up to {number(cut, 0)}, heavy ones more.")
    return section(_OF_GROUP[group], note, chart, told, _whole_segments(document, found, metric))


def _whole_segments(document: Document, found: Sequence[Mapping[str, Any]], shown: str) -> str:
    """Show the model's other metrics in each segment."""
    others = [name for name in found[0]["metrics"][MODEL] if name != shown]
    rows = [[text(each["name"]), *(interval(each["metrics"][MODEL][name]) for name in others)] for each in found]
    if not others:
        return ""
    return folded(
        "Other metrics of the model", table(["segment", *map(text, others)], rows, caption=ranker_name(document, MODEL))
    )


def beyond(document: Document) -> str:
    """Show how broad, surprising and varied the lists are."""
    found = document.get("beyond") or {}
    if not found:
        return ""
    names = list(found[MODEL])
    rows = [
        [ranker_name(document, ranker), *(interval(values[name], 3) for name in names)]
        for ranker, values in found.items()
    ]
    return section(
        "Beside being right", table(["ranker", *map(text, names)], rows, marked=ranker_name(document, MODEL))
    )


def candidates(document: Document, chart: str) -> str:
    """Show what the sources of candidates found."""
    sources = document.get("candidates") or []
    if not sources:
        return ""
    rows = [
        [
            text(each["source"]),
            interval(each["recall"], 3),
            interval(each["share"], 3),
            NOTHING if each["source"] == "union" else interval(each["only"], 3),
            interval(each["candidates"], 1),
        ]
        for each in sources
    ]
    header = ["source", "recall, mean of requests", "share of all taken", "found by no other", "candidates a request"]
    told = paragraph("What is no candidate cannot be ranked: no recall@k is larger than the union's.")
    return section("Candidates", told, chart, table(header, rows, marked="union"))


def probabilities(document: Document, chart: str) -> str:
    """Show how well scores tell units apart, and how far probabilities can be believed."""
    found = document.get("probabilities") or {}
    names = list(dict.fromkeys(name for values in found.values() for name in values))
    rows = [
        [
            ranker_name(document, ranker),
            *(interval(values[name]) if name in values else NOTHING for name in names),
        ]
        for ranker, values in found.items()
    ]
    scored = table(["ranker", *map(text, names)], rows, marked=ranker_name(document, MODEL)) if rows else ""
    bins = value_at(document, "reliability", "bins") or []
    error = value_at(document, "reliability", "error")
    said = binned = ""
    if bins:
        said = paragraph(
            "Rows in bins of about as many, by predicted probability. Expected calibration error:"
            f" {number(error)}, the mean distance of a bin from what came of it."
        )
        cells = [[number(each["predicted"]), interval(each["observed"]), number(each["count"])] for each in bins]
        binned = folded("The bins", table(["predicted", "acted", "rows"], cells))
    return section("As probabilities", scored, said, chart, binned)


def provenance(document: Document) -> str:
    """Say what the figures were made from."""
    digests = document.get("digests") or {}
    named = {"data": document["data_digest"]} | dict(digests) if document.get("data_digest") else dict(digests)
    versions = document.get("versions") or {}
    pairs = [(f"digest of {name}", f"<code>{text(value)}</code>") for name, value in named.items()]
    pairs += [(text(name), text(value)) for name, value in versions.items()]
    pairs += [
        ("resamples of units", number(document["resamples"])),
        ("confidence of intervals", percent(document["confidence"], 0)),
    ]
    return section("Made from", facts(pairs))


def remarks(document: Document) -> str:
    """Say what to know before a figure is believed."""
    return section("To be noted", listed(map(text, document.get("remarks") or []))) if document.get("remarks") else ""
