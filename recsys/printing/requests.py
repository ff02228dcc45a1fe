"""How does an explained answer read?"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from recsys.printing.width import table

if TYPE_CHECKING:
    from recsys.serving.explaining import ExplainedItem, Explanation
    from recsys.workflows.requests.why import Why

_PARTS = 3
"""So many contributions of a slot are shown."""


def why(found: "Why", labels: Mapping[str, str] | None = None) -> str:
    """Show who answered, from what, and each slot's way to its place.

    Args:
        found: the answer, explained.
        labels: item id to what it is; none by default.
    """
    said_of = labels or {}
    shown = found.exposure
    session = f", session {shown.session_id}" if shown.session_id else ""
    at = f"{shown.event_timestamp:%Y-%m-%d %H:%M:%S} UTC"
    lines = [
        f"  request {shown.request_id}: {shown.placement} for {shown.user_id}{session} at {at}",
        f"  arm: {_arm(found)}",
    ]
    said = shown.asked.get("context", {})
    if said:
        lines.append(f"  context: {', '.join(f'{name} {value}' for name, value in said.items())}")
    if "channel" in shown.asked:
        lines.append(
            f"  campaign: place {shown.asked['rank']:,} of the {shown.asked['capacity']:,} that"
            f" {shown.asked['channel']} can reach"
        )
    if "made_at" in shown.asked:
        lines.append(f"  sent from a batch that was made at {shown.asked['made_at'][:16]}")
    if found.explanation is None:
        lines.append(f"  answered by: {shown.fallback or 'nothing'}")
        slots = [
            [str(item.position), item.item_id, _score(item.score), *_label(item.item_id, said_of)]
            for item in shown.items
        ]
        header = ["slot", "item", "value", *(["what it is"] if said_of else [])]
        return "\n".join([*lines, table(header, slots, right=(0, 2))])
    fallback = f" ({shown.fallback})" if shown.fallback else ""
    lines += [
        f"  answered by: {shown.model_version}, weights {shown.weights}{fallback}",
        f"  features: {_features(found)}",
        f"  list: {'the same items and scores again' if found.items_equal else 'NOT the same items and scores again'}",
        *_steps(found.explanation),
        _slots(found.explanation, said_of),
    ]
    return "\n".join(lines)


def _arm(found: "Why") -> str:
    shown = found.exposure
    if shown.experiment is None:
        return "none: default traffic"
    how = "by an override" if shown.overridden else "by its bucket"
    if found.arm_now == shown.arm:
        return f"{shown.arm} of {shown.experiment}, {how}; the same by today's declaration"
    return f"{shown.arm} of {shown.experiment}, {how}; by today's declaration {found.arm_now or 'none'}"


def _features(found: "Why") -> str:
    shown = found.exposure
    equal = {True: "equal", False: "DIFFERENT", None: "not logged"}[found.digest_equal]
    told = f"recomputed at the watermark {found.as_of:%Y-%m-%d %H:%M}, digest {equal}"
    if shown.features is None:
        return told
    changed = ", ".join(f"{name} in {count} slots" for name, count in found.differing.items())
    return f"logged row; {told}{': ' + changed if changed else ''}"


def _steps(made: "Explanation") -> list[str]:
    if made.candidates and not made.sources:  # a contact has no sources
        return []
    given = ", ".join(f"{name} {count}" for name, count in made.sources.items())
    twice = sum(made.sources.values()) - made.candidates
    both = "both" if len(made.sources) == 2 else "another too"  # noqa: PLR2004 - two sources
    lines = [f"  candidates: {made.candidates} ({given}{f'; {twice} from {both}' if twice > 0 else ''})"]
    if made.filtered:
        kept = ", ".join(f"{name} {count}" for name, count in made.filtered.items())
        lines.append(f"  kept out by filters: {kept}")
    for stage in made.stages:
        moved = [item for item in stage.after if item not in stage.before]
        gone = [item for item in stage.before if item not in stage.after]
        change = f"in: {', '.join(moved) or 'nobody'}; out: {', '.join(gone) or 'nobody'}"
        if not moved and not gone:
            change = "another order" if stage.before != stage.after else "no change"
        lines.append(f"  {stage.stage}: {change}" + (f" ({stage.left_out} left out)" if stage.left_out else ""))
    return lines


def _label(item: str, labels: Mapping[str, str]) -> list[str]:
    """Return the cell that says what an item is, where any is said."""
    return [labels.get(item, "-")] if labels else []


def _slots(made: "Explanation", labels: Mapping[str, str]) -> str:
    parts = any(each.contributions for each in made.items)
    rows = [
        [
            str(each.item.position),
            each.item.item_id,
            _score(each.item.score),
            str(each.rank or "-"),
            "" if each.item.propensity == 1 else f"{each.item.propensity:.3f}",
            ", ".join(each.sources),
            *_label(each.item.item_id, labels),
            *([_contributions(each)] if parts else []),
        ]
        for each in made.items
    ]
    header = ["slot", "item", "score", "model's rank", "propensity", "sources"]
    header += [*(["what it is"] if labels else []), *(["score by column (SHAP)"] * parts)]
    return table(header, rows, right=(0, 2, 3, 4))


def _contributions(each: "ExplainedItem") -> str:
    first = list(each.contributions.items())[:_PARTS]
    return ", ".join(f"{name} {value:+.3f}" for name, value in first)


def _score(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"
