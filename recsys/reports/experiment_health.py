"""Did an experiment run as it was declared, and what answered in it?"""

from collections.abc import Callable, Mapping
from typing import Any

from recsys.reports.drawing import Document
from recsys.reports.markup import (
    NOTHING,
    facts,
    listed,
    minute,
    number,
    p_value,
    paragraph,
    percent,
    section,
    table,
    text,
)


def health(document: Document) -> str:
    """Show whether units were split, shown and logged as it was declared."""
    found = document["analysis"]["health"]
    failures = listed(map(text, found["failures"])) if found["failures"] else paragraph("Everything ran as declared.")
    header = ["arm", "units", "declared share", "exposures", "logged twice", "lists lost", "by a fallback"]
    rows = [
        [
            text(arm),
            number(units),
            percent(found["expected_shares"].get(arm)),
            number(found["exposures"].get(arm)),
            number(found["duplicated_exposures"].get(arm)),
            number(found["lost_lists"].get(arm)),
            percent(found["fallback_share"].get(arm), 2),
        ]
        for arm, units in found["units"].items()
    ]
    pairs = [
        ("sample ratio, p", p_value(found["sample_ratio_p_value"])),
        ("units in several arms", f"{found['multiple_units']:,} ({percent(found['multiple_share'], 2)})"),
        ("assignments that differ when recomputed", number(found["mismatched_units"])),
    ]
    default = found.get("default_units")
    if default:
        pairs.append(("default traffic: units held out, others", f"{default['holdout']:,}, {default['other']:,}"))
    split = [[text(minute(each["start"])), *_against(each), p_value(each["p_value"])] for each in found["epochs"]]
    arms = list(found["units"])
    epochs = table(["epoch from", *map(text, arms), "p"], split, caption="units, and those expected") if split else ""
    return section("Health", failures, table(header, rows), _receipts(found.get("receipts")), facts(pairs), epochs)


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


def served(document: Document, link: Callable[[str], str] = text) -> str:
    """Show which weights answered for each arm, and how often.

    Args:
        document: of `recsys evaluate`.
        link: from a model version to its HTML; its escaped name by default.
    """
    rows = [
        [
            text(arm["arm"]),
            link(each["model_version"]) if each["model_version"] else NOTHING,
            number(each["weights"]),
            number(each["exposures"]),
        ]
        for arm in document["analysis"]["arms"]
        for each in arm["weights"]
    ]
    return section("What answered", table(["arm", "model version", "weights", "exposures"], rows)) if rows else ""
