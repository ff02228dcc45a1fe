"""How does it read what an audience's campaigns brought?"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from recsys.printing.terminal import interval, percent
from recsys.printing.width import table

if TYPE_CHECKING:
    from recsys.workflows.batches.evaluate_campaigns import CampaignsEvaluated


def campaigns_evaluated(done: "CampaignsEvaluated", page: str) -> str:
    """Show what came beside what was expected, what was added, and the verdict."""
    document = done.document
    lines = [f"  {document['about']['business_issue']}"]
    if document["campaigns"]:
        lines.append(_came(document))
    lines += [_calibrated(each) for each in document["calibration"]]
    if document["brought"]:
        lines.append(_added(document))
    lines += [line for each in document["brought"] for line in _scope(each)]
    if document["health"] is not None:
        lines.append(_health(document["health"]))
    lines += _left_out(document)
    verdict = document["verdict"]
    return "\n".join([*lines, f"  verdict: {verdict['name']}. {verdict['reason']}", f"  report: {page}"])


def _came(document: Mapping[str, Any]) -> str:
    rows = [
        [
            each["channel"],
            each["made_at"][:10],
            f"{each['sent']:,} of {each['listed']:,}",
            _share(each["precision"]),
            _expected(each["expected_precision"]),
            _share(each["recall"]),
            _expected(each["expected_recall"]),
        ]
        for each in document["campaigns"]
    ]
    return table(["channel", "made", "sent", "precision", "expected", "recall", "expected"], rows, right=(2, 3, 5))


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _expected(value: Mapping[str, float] | None) -> str:
    if value is None:
        return "-"
    return f"{value['estimate']:.1%} [{value['lower']:.1%}, {value['upper']:.1%}]"


def _calibrated(found: Mapping[str, Any]) -> str:
    p_value = "" if found["p_value"] is None else f" (p = {found['p_value']:.2g})"
    return (
        f"  {found['channel']}: {found['predicted']:.1%} of {found['contacts']:,} contacts expected to act,"
        f" {found['observed']:.1%} did{p_value}"
    )


def _added(document: Mapping[str, Any]) -> str:
    rows = [
        [
            each["scope"],
            outcome["metric"],
            f"{outcome['held_out']:,.4g}",
            f"{outcome['reached']:,.4g}",
            percent(outcome["relative"]),
            interval(outcome["per_thousand"], 1),
            ", ".join(word for word in ("cuped", "rough") if outcome[word]),
        ]
        for each in document["brought"]
        for outcome in (each["primary"], *each["metrics"])
        if outcome is not None
    ]
    header = ["contacts", "figure", "held out", "reached", "relative effect", "by 1,000 contacts", ""]
    return table(header, rows, right=(2, 3))


def _scope(found: Mapping[str, Any]) -> Iterator[str]:
    contacts, power = found["contacts"], found["power"]
    told = (
        f"  {found['scope']}: {contacts['reached']:,} contacts ({found['sent_share']:.0%} sent) beside"
        f" {contacts['held_out']:,} held out"
    )
    if found["overlapping"]:
        told += f"; {found['overlapping']:,} in windows that overlap"
    if power is not None:
        told += f"; they show {power['detectable']:+.0%} and more"
    yield told


def _health(health: Mapping[str, Any]) -> str:
    scores = "" if health["score_p_value"] is None else f", scores alike p = {health['score_p_value']:.2f}"
    told = (
        f"  health: {'unsound' if health['failures'] else 'sound'} (held out {health['held_out_share']:.1%} by the"
        f" layers, sample ratio p = {health['sample_ratio_p_value']:.2f}{scores}"
    )
    if health["switched"]:
        told += f"; {health['switched']:,} units changed sides with the holdouts"
    if health["contacted"]:
        told += f"; {health['contacted']:,} held out were contacted"
    lost = health["lost"]
    if any(lost.values()):
        told += f"; forgotten since: {lost['reached']:,} reached, {lost['held_out']:,} held out"
    return f"{told})"


def _left_out(document: Mapping[str, Any]) -> Iterator[str]:
    for each in document["waiting"]:
        made, until = each["made_at"][:10], each["until"][:16]
        yield f"  waits: {each['channel']} of {made}, {each['sent']:,} contacts, until {until}"
    if document["unsent"]:
        yield f"  note: of {document['unsent']:,} lists no contact is in the log"
    if document["unknown_contacts"]:
        yield f"  note: {document['unknown_contacts']:,} contacts are of lists of which nothing is kept"
