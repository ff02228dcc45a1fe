"""How does it read whom a campaign reaches, and what was sent?"""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recsys.statistics.bootstrap import Interval
    from recsys.workflows.batches.campaign_files import Campaign
    from recsys.workflows.batches.sent import Sent
    from recsys.workflows.workspace import Workspace


def campaign(done: "Campaign", workspace: "Workspace") -> str:
    """Show whom a campaign reaches, and what should come of it."""
    state = " (up to date)" if done.reused else ""
    by = f"{done.model_version} (weights {done.weights})"
    lines = [f"  {done.channel}: {done.units:,} of {done.reachable:,} units by {by}{state}"]
    if done.reachable < done.eligible:
        lines.append(
            f"  of {done.eligible:,} eligible ones {done.opted_out:,} may not be contacted there and"
            f" {done.held_out:,} are held out"
        )
    if done.held_out:
        lines.append(
            f"  {done.would_be:,} of these would be on the list: what it brings is read off them (`recsys evaluate"
            f" {done.audience}`)"
        )
    if done.precision is not None and done.recall is not None:
        lines.append(
            f"  expected: precision {_percent(done.precision)}, recall {_percent(done.recall)} of the eligible"
            " (95 %, if the probabilities are right)"
        )
    if done.tested is not None:
        lines.append(
            f"  the highest tenth in its test weeks: {done.tested.predicted:.1%} expected,"
            f" {_percent(done.tested.observed)} came"
        )
    if not done.selects:
        lines.append(f"  note: {done.capacity:,} are half of the units that may be reached or more: not a selection")
    return "\n".join([*lines, f"  in {workspace.shown(done.folder)}/"])


def _percent(found: "Interval") -> str:
    return f"{found.estimate:.1%} [{found.lower:.1%}, {found.upper:.1%}]"


def campaign_document(done: "Campaign", workspace: "Workspace") -> dict[str, Any]:
    """Return whom a campaign reaches as JSON values."""
    return {
        "audience": done.audience,
        "channel": done.channel,
        "capacity": done.capacity,
        "at": done.at.isoformat(),
        "folder": workspace.shown(done.folder),
        "eligible": done.eligible,
        "opted_out": done.opted_out,
        "held_out": done.held_out,
        "would_be": done.would_be,
        "units": done.units,
        "model_version": done.model_version,
        "weights": done.weights,
        "expected_precision": None if done.precision is None else asdict(done.precision),
        "expected_recall": None if done.recall is None else asdict(done.recall),
        "tested": None if done.tested is None else asdict(done.tested),
        "selects": done.selects,
        "reused": done.reused,
    }


def sent(done: "Sent", workspace: "Workspace") -> str:
    """Show what was logged of a batch."""
    known = done.lists - done.new
    lines = [
        f"  {done.place}: {done.lists:,} lists of {done.made_at:%Y-%m-%d %H:%M}, sent at {done.at:%Y-%m-%d %H:%M} UTC",
        f"  {done.new:,} exposures logged{f'; {known:,} were logged before' if known else ''}",
    ]
    if done.left_out:
        lines.append(f"  {done.left_out:,} lists were not sent, by the file of ids")
    if done.forgotten:
        lines.append(f"  {done.forgotten:,} lists are of users who were forgotten since: not logged")
    if done.unknown:
        lines.append(f"  note: {done.unknown:,} ids of the file have no list in {workspace.shown(done.folder)}/")
    return "\n".join(lines)


def sent_document(done: "Sent", workspace: "Workspace") -> dict[str, Any]:
    """Return it as JSON values."""
    return {
        **asdict(done),
        "folder": workspace.shown(done.folder),
        "made_at": done.made_at.isoformat(),
        "at": done.at.isoformat(),
    }
