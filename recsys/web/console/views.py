"""What does each page show of its document? Pure functions: from documents to what a template lays out."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

from markupsafe import Markup

from recsys.reports import sections
from recsys.reports.experiment import experiment_parts
from recsys.reports.feature_section import features
from recsys.reports.funnel import funnel_parts
from recsys.reports.markup import text, value_at
from recsys.web.console.reads import Document
from recsys.web.console.traffic_view import arms_in_order, layer_line, traffic_lines, traffic_table
from recsys.web.console.verdict_view import conditions

Context = Mapping[str, Any]

_CHART_WORDS: Final = {
    "effects": "Relative effects with both kinds of interval",
    "cumulative": "The effect on the primary metric up to each day, with both kinds of interval",
    "daily": "The primary metric of each arm by day",
    "funnel": "The share that comes to each stage of the funnel",
    "metrics": "Every metric of every ranker, with its interval",
    "splits": "The gate's metric by split",
    "decision_times": "The gate's metric by decision time",
    "candidates": "What each source of candidates found",
    "reliability": "Predicted probabilities beside what came of them",
    "ablation": "The gate's metric without each block of features",
    "importance": "The features that the model leans on most",
    "correlation": "The features that move with the label most",
}
_MANY_STEPS: Final = 2
_SUGGESTED: Final = 8
_NOBODY: Final = "somebody_new"
"""A user whom no shop knows, for the list of those who come for the first time."""


def overview_view(document: Document, live: Document) -> Context:
    """Show everything by problem; what serves in this process comes beside what is recorded.

    Args:
        document: of `ConsoleReads.overview`.
        live: placements (name to what it answers from), breakers (store to state), troubles and ready.
    """
    return {"page": document, "live": live, "attention": [*_live_attention(live), *document["attention"]]}


def problem_view(document: Document) -> Context:
    """Show a problem, with the funnel that was kept of it last."""
    kept = document["funnel"]
    parts = {} if kept is None else funnel_parts(kept, _figures("problems", document["problem"], kept, ["funnel"]))
    return {"page": document, "parts": _safe(parts)}


def model_view(document: Document) -> Context:
    """Show a model, one version of it with its offline report."""
    report = document["report"]
    parts = {} if report is None else _offline_parts(document, report)
    moved = [{**each, "moves": [_move(move) for move in each["moves"]]} for each in document["ledger"]]
    drift = document["drift"]
    moves = sorted(drift["columns"], key=lambda each: -(each["psi"] or 0.0)) if drift and drift["now"] else []
    return {"page": document, "parts": parts, "ledger": moved, "columns": moves}


def experiment_view(document: Document) -> Context:
    """Show an experiment with its traffic and its report."""
    report = document["report"]
    parts: Mapping[str, str] = {}
    if report is not None:
        figures = _figures("experiments", document["experiment"], report, _experiment_charts(report))
        # What it says to do next was done: a report promotes once.
        parts = experiment_parts(report | {"next": ()} if document["promoted"] else report, figures, link=_version)
    return {
        "page": document,
        "arms": arms_in_order(document),
        "lines": traffic_lines(document),
        "layer": layer_line(document),
        "traffic": traffic_table(document),
        "conditions": conditions(document),
        "parts": _safe(parts),
    }


def request_view(document: Document) -> Context:
    """Show an explained request: the list before and after each stage, and the features of each slot."""
    made = document["recomputed"]
    steps: list[tuple[str, Sequence[str]]] = []
    if made is not None:
        final = [each["item_id"] for each in made["items"]]
        first = made["stages"][0]["before"] if made["stages"] else final
        steps = [("the model's order", first), *((each["stage"], each["after"]) for each in made["stages"])]
    items = [] if made is None else made["items"]
    rows = [
        (name, [each["features"].get(name) for each in items])
        for name in dict.fromkeys(name for each in items for name in each["features"])
    ]
    shared = [name for name, values in rows if len(values) > 1 and len(set(map(repr, values))) == 1]
    return {
        "page": document,
        "steps": [name for name, _ in steps],
        "slots": _slots([order for _, order in steps]),
        "shared": [(name, values[0]) for name, values in rows if name in shared],
        "features": [(name, values) for name, values in rows if name not in shared],
        "items": items,
    }


def ask_view(recent: Sequence[Document], request_id: str = "", failure: object = None) -> Context:
    """Ask for a request's id.

    Args:
        recent: requests to choose from.
        request_id: the one that was asked for; empty where none was.
        failure: why it is not explained; None where none was asked for.
    """
    return {"recent": recent, "request_id": request_id, "failure": failure}


def placement_view(
    document: Document,
    live: Document | None,
    recent: Sequence[Document],
    tried: Document | None,
    *,
    user_id: str,
) -> Context:
    """Show a placement, and the lists that a user would get from each model on it.

    Args:
        document: of `ConsoleReads.placement`.
        live: what it answers from; None where this process does not serve it.
        recent: requests that it answered of late, whose users are suggested.
        tried: of `serving.preview`; None where nobody was asked for.
        user_id: who was asked for; empty where nobody was.
    """
    lists = [] if tried is None else tried["lists"]
    first = [each["item_id"] for each in lists[0]["items"]] if lists else []
    compared = [
        {
            **each,
            "items": [{**item, "move": _moved(item["item_id"], place, first)} for place, item in _places(each)],
            "common": sum(item["item_id"] in first for item in each["items"]),
        }
        for each in lists
    ]
    return {
        "page": document,
        "live": live,
        "suggested": (
            ("Asked of late:", [each["user_id"] for each in recent][:_SUGGESTED]),
            ("Testers:", document["testers"]),
            ("Never seen:", [_NOBODY]),
        ),
        "user_id": user_id,
        "tried": tried,
        "lists": compared,
    }


# ---------------------------------------------------------------- live


def _live_attention(live: Document) -> list[dict[str, str]]:
    found = [
        {"what": f"{store}: not asked for a while, its questions failed (breaker {state}).", "command": "recsys doctor"}
        for store, state in live["breakers"].items()
        if state != "closed"
    ]
    found += [{"what": f"{name}: {why}", "command": ""} for name, why in live["troubles"].items()]
    said: dict[str, list[str]] = {}
    for placement, served in live["placements"].items():
        for words in _of_placement(served):
            said.setdefault(words, []).append(placement)
    for words, places in said.items():
        several = "Placements" if len(places) > 1 else "Placement"
        found.append({"what": f"{several} {', '.join(places)}: {words}", "command": ""})
    return found


def _of_placement(served: Document) -> Iterator[str]:
    """Yield what is wrong with what a placement is answered from."""
    if served.get("copied"):
        yield f"answered from the local copy of {served['copied'][:16].replace('T', ' ')} UTC."
    for store, why in served.get("troubles", {}).items():
        yield f"{store} cannot be followed: {why}"
    for weights, why in served.get("refused", {}).items():
        yield f"weights {weights} are not served: {why}"


# ---------------------------------------------------------------- reports


def _offline_parts(document: Document, report: Document) -> Mapping[str, Markup]:
    shown = _offline_charts(report)
    figures = _figures("models", f"{document['model']}/{document['version']}", report, shown)
    over = ("split", figures["splits"]) if "splits" in figures else ("decision_time", figures.get("decision_times", ""))
    parts = {
        "verdict": sections.verdict(report),
        "asked": sections.asked(report),
        "metrics": sections.metrics(report, figures.get("metrics", "")),
        "over_time": sections.segments(report, *over),
        "activity": sections.segments(report, "activity", ""),
        "candidates": sections.candidates(report, figures.get("candidates", "")),
        "probabilities": sections.probabilities(report, figures.get("reliability", "")),
        "features": features(report, figures),
        "remarks": sections.remarks(report),
        "provenance": sections.provenance(report),
    }
    return _safe(parts)


def _version(named: str) -> str:
    """Return a link to a model version's page, as HTML."""
    model, _, version = named.partition("/")
    return f'<a href="/models/{quote(model)}?{text(urlencode({"version": version}))}">{text(named)}</a>'


def _safe(parts: Mapping[str, str]) -> Mapping[str, Markup]:
    """Let a template lay out parts of reports as they are: their texts were escaped where they were written."""
    return {name: Markup(part) for name, part in parts.items()}  # noqa: S704


def _offline_charts(report: Document) -> list[str]:
    """Return the charts that a report has figures for."""
    found = ["metrics"]
    found += [name for name in ("candidates", "importance", "ablation") if report.get(name)]
    found += ["reliability"] if value_at(report, "reliability", "bins") else []
    found += ["correlation"] if any((value_at(report, "correlation", "label") or {}).values()) else []
    metric = value_at(report, "gate", "metric")
    for name, group in (("splits", "split"), ("decision_times", "decision_time")):
        segments = value_at(report, "segments", group) or []
        if len(segments) >= _MANY_STEPS and metric in segments[0]["metrics"]["model"]:
            found.append(name)
    return found


def _experiment_charts(report: Document) -> list[str]:
    analysis = report["analysis"]
    known = [each for each in analysis["effects"] if each["effect"]["relative"]["lower"] is not None]
    found = ["effects"] if known else []
    points = [each for each in analysis.get("cumulative") or [] if each["relative"]["lower"] is not None]
    arms = {each["treatment_arm"] for each in points}
    found += ["cumulative"] if points and len(points) >= _MANY_STEPS * len(arms) else []
    found += ["daily"] if len({each["start"] for each in analysis["daily"]}) >= _MANY_STEPS else []
    shown = [each for each in analysis["arms"] if (each.get("funnel") or {}).get("impressions")]
    return [*found, *(["funnel"] if shown and len(shown[0]["funnel"]) > 1 else [])]


def _figures(kind: str, subject: str, report: Document, names: Sequence[str]) -> dict[str, str]:
    """Return the figures of some charts, as HTML; their address changes with the report, so that they may be kept."""
    stamp = hashlib.sha256(json.dumps(report, sort_keys=True).encode()).hexdigest()[:12]
    found = {}
    for name in names:
        source = text(f"/charts/{kind}/{quote(subject)}/{name}.svg?{urlencode({'of': stamp})}")
        words = text(_CHART_WORDS[name])
        found[name] = f'<figure class="chart"><a href="{source}"><img src="{source}" alt="{words}"></a></figure>'
    return found


def _move(move: Document) -> str:
    return f"{move['alias']}: {move['before'] or 'none'} → {move['after']}"


# ---------------------------------------------------------------- lists


def _slots(orders: Sequence[Sequence[str]]) -> list[list[dict[str, str]]]:
    """Return a row a slot, a cell a step: the item, and how it came there from the step before."""
    rows = []
    for place in range(max(map(len, orders), default=0)):
        row = []
        for step, order in enumerate(orders):
            item = order[place] if place < len(order) else ""
            move = _moved(item, place, orders[step - 1]) if step and item else ""
            row.append({"item": item, "move": move})
        rows.append(row)
    return rows


def _places(made: Document) -> list[tuple[int, Document]]:
    return list(enumerate(made["items"]))


def _moved(item: str, place: int, before: Sequence[str]) -> str:
    """Say how an item stands to a list before: up, down, new, or nothing."""
    if item not in before:
        return "new"
    shift = before.index(item) - place
    return "" if not shift else f"up {shift}" if shift > 0 else f"down {-shift}"
