"""What may be said of what an audience's campaigns brought? It is a report: no model is promoted by it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from recsys.evaluation.campaign_effects import Brought
from recsys.evaluation.campaign_groups import HELD_OUT, Health


class CampaignVerdictName(StrEnum):
    """First match wins."""

    WAIT = "WAIT"
    """No campaign's window is over yet."""
    INVALID = "INVALID"
    """The groups are not what the draw would have made them."""
    ADDS = "ADDS"
    """The interval lies above 0: more of the target because of the contacts."""
    HARMS = "HARMS"
    """It lies below."""
    UNCLEAR = "UNCLEAR"
    """It holds 0, or nobody is there to compare with."""


@dataclass(frozen=True)
class CampaignVerdict:
    """A word, and why."""

    name: CampaignVerdictName
    reason: str


def wait(complete: Sequence[datetime], now: datetime, known_until: datetime | None) -> CampaignVerdict:
    """Say why nothing can be read yet.

    Args:
        complete: when the outcomes of each campaign that was sent are to be complete.
        now: the environment's time.
        known_until: the end of the hour of the newest event.
    """
    if not complete:
        reason = "No list of this time was sent and logged."
    elif (first := min(complete)) > now:
        told = "campaign is" if len(complete) == 1 else "campaigns are"
        reason = (
            f"{len(complete)} {told} not mature: outcomes of the first one are complete at {first:%Y-%m-%d %H:%M} UTC."
        )
    elif known_until is None:
        reason = "No event is known: run `recsys ingest`."
    else:
        reason = (
            f"Events are known up to {known_until:%Y-%m-%d %H:%M} UTC, and not to the end of a window:"
            " run `recsys ingest`."
        )
    return CampaignVerdict(CampaignVerdictName.WAIT, reason)


def judge(found: Brought | None, health: Health | None, event: str) -> CampaignVerdict:
    """Say what contacts added.

    Args:
        found: of all channels together; None where no campaign held anybody out.
        health: of the groups; likewise.
        event: the target's type.
    """
    if found is None or health is None:
        reason = "Nobody was held out, so nobody can be compared with: name a layer with a holdout in `holdouts`."
        return CampaignVerdict(CampaignVerdictName.UNCLEAR, reason)
    if health.failures:
        return CampaignVerdict(CampaignVerdictName.INVALID, " ".join(health.failures))
    primary = found.primary
    if primary is None:
        switched = f", and {health.switched:,} changed sides with the holdouts" if health.switched else ""
        reason = f"Of those held out nobody was above the cut{switched}: there is nobody to compare with."
        return CampaignVerdict(CampaignVerdictName.UNCLEAR, reason)
    absolute = primary.absolute
    shown = (
        f"{event}: {primary.per_thousand.estimate:+,.1f} by 1,000 contacts"
        f" [{primary.per_thousand.lower:+,.1f}, {primary.per_thousand.upper:+,.1f}],"
        f" {primary.reached:.4g} reached beside {primary.held_out:.4g} held out"
    )
    if absolute.lower > 0:
        return CampaignVerdict(CampaignVerdictName.ADDS, f"{shown}.")
    if absolute.upper < 0:
        return CampaignVerdict(CampaignVerdictName.HARMS, f"{shown}.")
    if math.isnan(absolute.lower):
        shown = (
            f"{event}: {primary.reached:.4g} reached beside {primary.held_out:.4g} held out, too few for an interval"
        )
    return CampaignVerdict(CampaignVerdictName.UNCLEAR, f"{shown}{_could_see(found)}.")


def _could_see(found: Brought) -> str:
    held, power = found.units[HELD_OUT], found.power
    if power is None:
        return f"; of {held:,} held out nothing can be seen"
    return (
        f"; {held:,} held out show {power.detectable:+.0%} and more; {power.minimum_effect:+.0%} takes"
        f" {power.needed_held_out:,} held out beside {power.needed_reached:,} reached"
    )
