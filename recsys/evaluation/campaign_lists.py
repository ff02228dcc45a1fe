"""Did those on a campaign's list act as the campaign said they would?

What was sent counts, from the moment at which the campaign's sending began, as the list's expectation does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.candidates.pool import to_numpy
from recsys.modeling.offline_evaluation.probabilities import Reliability, reliability
from recsys.schema import SCORE, USER
from recsys.specs.layer import Layer
from recsys.statistics.bootstrap import Interval
from recsys.statistics.chances import Chances, share_acting, share_reached
from recsys.statistics.proportions import calibration_p_value


@dataclass(frozen=True)
class SentCampaign:
    """A list that was sent, with all whom it was chosen from."""

    channel: str
    capacity: int
    made_at: datetime
    sent_from: datetime
    """The first contact: what units do counts from here on, for those on the list and those held out alike."""
    sent_to: datetime
    """The last one."""
    model_version: str
    holdouts: tuple[Layer, ...]
    """As they were when the list was made."""
    eligible: pa.Table
    """user_id, score, willing, held_out, above_cut, rank (null off the list), sent (bool), by the id."""
    written: Mapping[str, int]
    """How many there were when it was made: reached, on the list; held_out, above the cut. Users leave by being
    forgotten."""
    stated_precision: Interval | None = None
    """What was to be expected, as it was said then; None where scores are no probabilities."""
    stated_recall: Interval | None = None

    @property
    def sent(self) -> NDArray[np.bool_]:
        """[eligible] who was contacted."""
        return flags(self.eligible, "sent")

    @property
    def on_list(self) -> NDArray[np.bool_]:
        """[eligible] who is on the list, sent or not."""
        return np.asarray(pc.is_valid(self.eligible["rank"]))

    @property
    def scores(self) -> NDArray[np.float64]:
        """[eligible]."""
        return to_numpy(self.eligible[SCORE])


@dataclass(frozen=True)
class Kept:
    """A campaign's promise, and what came."""

    channel: str
    made_at: datetime
    sent_from: datetime
    sent_to: datetime
    model_version: str
    listed: int
    """Units on the list."""
    sent: int
    """How many of them were contacted."""
    acted: int
    """How many of these acted."""
    eligible: int
    eligible_acted: int
    """How many of all eligible units acted, contacted or not."""
    precision: float | None
    """Of those contacted the share that acted."""
    expected_precision: Interval | None
    """What it should lie between if the probabilities are right, of those who were really contacted."""
    stated_precision: Interval | None
    """The same, as it was said of the whole list when it was made."""
    recall: float | None
    """Of all eligible units that acted the share that was contacted."""
    expected_recall: Interval | None
    stated_recall: Interval | None


@dataclass(frozen=True)
class Calibration:
    """A channel's probabilities beside what those contacted did."""

    channel: str
    contacts: int
    predicted: float
    """Mean probability."""
    observed: float
    """Share that acted."""
    p_value: float
    """Spiegelhalter's test of right probabilities; contacts are taken to be independent."""
    reliability: Reliability
    """By tenths of the probabilities, with Wilson's intervals."""


def kept(campaign: SentCampaign, acted: NDArray[np.bool_], *, confidence: float = 0.95) -> Kept:
    """Compare a campaign with what was expected of it.

    Args:
        campaign: the list.
        acted: [eligible] who acted within the horizon after the sending began.
        confidence: of the intervals.
    """
    sent, scores = campaign.sent, campaign.scores
    probable = campaign.stated_precision is not None
    among = Chances.of(scores[sent])
    both, everybody = int(np.count_nonzero(sent & acted)), int(np.count_nonzero(acted))
    return Kept(
        channel=campaign.channel,
        made_at=campaign.made_at,
        sent_from=campaign.sent_from,
        sent_to=campaign.sent_to,
        model_version=campaign.model_version,
        listed=int(np.count_nonzero(campaign.on_list)),
        sent=int(np.count_nonzero(sent)),
        acted=both,
        eligible=len(acted),
        eligible_acted=everybody,
        precision=both / np.count_nonzero(sent) if sent.any() else None,
        expected_precision=share_acting(scores[sent], confidence=confidence) if probable else None,
        stated_precision=campaign.stated_precision,
        recall=both / everybody if everybody else None,
        expected_recall=share_reached(among, Chances.of(scores[~sent]), confidence=confidence) if probable else None,
        stated_recall=campaign.stated_recall,
    )


def calibration(
    campaigns: Sequence[SentCampaign], acted: Sequence[NDArray[np.bool_]], *, confidence: float = 0.95
) -> tuple[Calibration, ...]:
    """Compare each channel's probabilities with what came of them, over all its campaigns.

    Args:
        campaigns: those whose scores are no probabilities are left out.
        acted: of each campaign, as in `kept`.
        confidence: of the intervals of the tenths.

    Returns:
        By channel, in alphabetical order.
    """
    found = []
    for channel in sorted({each.channel for each in campaigns if each.stated_precision is not None}):
        of_channel = [
            (campaign.scores[campaign.sent], did[campaign.sent])
            for campaign, did in zip(campaigns, acted, strict=True)
            if campaign.channel == channel and campaign.stated_precision is not None
        ]
        probabilities, happened = (np.concatenate(parts) for parts in zip(*of_channel, strict=True))
        known = np.isfinite(probabilities)
        probabilities, happened = probabilities[known], happened[known]
        if not len(probabilities):
            continue
        found.append(
            Calibration(
                channel=channel,
                contacts=len(probabilities),
                predicted=float(probabilities.mean()),
                observed=float(happened.mean()),
                p_value=calibration_p_value(probabilities, happened),
                reliability=reliability(probabilities, happened.astype(np.float32), confidence=confidence),
            )
        )
    return tuple(found)


def acted_within(campaign: SentCampaign, acted: pa.Array | pa.ChunkedArray) -> NDArray[np.bool_]:
    """Return [eligible] who is among the units that acted."""
    return np.asarray(pc.is_in(campaign.eligible[USER], value_set=acted))


def flags(table: pa.Table, name: str) -> NDArray[np.bool_]:
    """Return a column of truth values."""
    return np.asarray(table[name])
