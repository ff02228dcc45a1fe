"""Whom is it fair to compare with those that a campaign chose?

Those who were held out and would have been chosen too: scored at the same moment, willing to be contacted, above the
same cut. Who is held out is drawn by hash, so that both differ by the contact alone, as long as earlier contacts did
not change who stands there: by features, by consent, by who is eligible. Everybody else who was not contacted has a
lower score, and acts less, contacted or not.

The last one on a list that is full is compared with nobody: whoever stands right at the cut is never held out. Without
that unit, of those above the cut each is as likely as the others to be one who was held out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.stats
from numpy.typing import NDArray

from recsys.candidates.pool import to_numpy
from recsys.evaluation.campaign_lists import SentCampaign, flags
from recsys.evaluation.health import MULTIPLE_EXPOSURE_LIMIT, SAMPLE_RATIO_ALPHA
from recsys.experiment.bucketing import BUCKETS
from recsys.experiment.routing import held_out_by_any
from recsys.schema import EVENT_TIMESTAMP, SCORE, TIMESTAMP, USER
from recsys.specs.layer import Layer

REACHED: Final = "reached"
HELD_OUT: Final = "held_out"


@dataclass(frozen=True)
class Health:
    """Whether both groups are what the draw would have made them."""

    units: Mapping[str, int]
    """By group; each unit once, in however many campaigns it was chosen."""
    held_out_share: float
    """The share of both groups that the holdouts give."""
    sample_ratio_p_value: float
    """Of so uneven a split, were units drawn so; exact, by the binomial distribution."""
    score_p_value: float
    """Of scores so differently distributed in both groups (Kolmogorov and Smirnov's test); NaN without two groups."""
    mismatched: int
    """Rows whose unit is held out in the file and not by its id, or the other way round."""
    switched: int
    """Units that some campaigns held out and others did not, as the holdouts changed: compared with nobody."""
    contacted: int
    """Units held out that were contacted all the same."""
    lost: Mapping[str, int]
    """Of each group, those who were forgotten since the lists were made."""
    lost_p_value: float
    """Of losses so different (Fisher's exact test)."""
    failures: tuple[str, ...]
    """What makes a comparison invalid, a sentence each."""


@dataclass(frozen=True)
class Groups:
    """What is compared."""

    contacts: pa.Table
    """One row a unit and campaign: request_id (its own, no logged one), user_id, channel, arm (reached or held_out),
    event_timestamp (when the campaign's sending began), score, sent (bool)."""
    chosen: Mapping[str, int]
    """Contacts that lists asked for, by channel: those that are compared with nobody too."""
    health: Health


def groups(campaigns: Sequence[SentCampaign], contacted: pa.Table) -> Groups:
    """Put those on the lists beside those who would have been on them.

    Args:
        campaigns: mature ones whose audience held somebody out, at least one.
        contacted: user_id and event_timestamp of the logged contacts of these campaigns' audience from the first
            sending to the end of the last window.
    """
    parts = [_contacts(number, campaign) for number, campaign in enumerate(campaigns)]
    contacts = pa.concat_tables(parts)
    configurations = _configurations(campaigns)
    every, some = _held(configurations, contacts[USER])
    switched = some & ~every
    kept = contacts.filter(pa.array(~switched))
    chosen: dict[str, int] = {}
    for campaign in campaigns:
        count = int(np.count_nonzero(campaign.on_list))
        chosen[campaign.channel] = chosen.get(campaign.channel, 0) + count
    mismatched = sum(_mismatched(campaign) for campaign in campaigns)
    found = pc.count_distinct(contacts[USER].filter(pa.array(switched))).as_py()
    return Groups(kept, chosen, _health(campaigns, kept, contacted, configurations, mismatched, int(found)))


def held_out_share(configurations: Sequence[tuple[Layer, ...]]) -> float:
    """Return which share of the units that every configuration holds out, or none does, are held out.

    Buckets of one seed are the same in all configurations, those of different seeds are independent.

    Args:
        configurations: each the layers whose holdouts counted at some time.

    Returns:
        0 where there are no holdouts.
    """
    seeds = sorted({layer.seed for layers in configurations for layer in layers})
    pieces = [list(_pieces(seed, configurations)) for seed in seeds]
    always = never = 0.0
    for cell in product(*pieces):
        chance = float(np.prod([(end - first) / BUCKETS for first, end in cell])) if cell else 1.0
        at = dict(zip(seeds, (first for first, _ in cell), strict=True))
        holds = [any(_holds(layer, at[layer.seed]) for layer in layers) for layers in configurations]
        always += chance * all(holds)
        never += chance * (not any(holds))
    return always / (always + never) if always + never else 0.0


def _contacts(number: int, campaign: SentCampaign) -> pa.Table:
    """Return whom a campaign chose or would have chosen, without the one that stands at the cut."""
    eligible = campaign.eligible
    held = flags(eligible, "held_out")
    compared = flags(eligible, "willing") & flags(eligible, "above_cut")
    last = np.asarray(pc.fill_null(pc.equal(eligible["rank"], campaign.capacity), False))
    rows = eligible.filter(pa.array(compared & (held | campaign.on_list) & ~last))
    count = len(rows)
    units = rows[USER].cast(pa.string())
    return pa.table(
        {
            "request_id": pc.binary_join_element_wise(pa.array([f"{number:06d}"] * count, pa.string()), units, "/"),
            USER: units,
            "channel": pa.array([campaign.channel] * count, pa.string()),
            "arm": pc.if_else(rows["held_out"], pa.scalar(HELD_OUT), pa.scalar(REACHED)),
            EVENT_TIMESTAMP: pa.array([campaign.sent_from] * count, TIMESTAMP),
            SCORE: rows[SCORE],
            "sent": rows["sent"],
        }
    )


def _configurations(campaigns: Sequence[SentCampaign]) -> list[tuple[Layer, ...]]:
    return list(dict.fromkeys(campaign.holdouts for campaign in campaigns))


def _held(
    configurations: Sequence[tuple[Layer, ...]], units: pa.ChunkedArray
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return of [units] whether every configuration holds them out, and whether some does."""
    every, some = np.ones(len(units), dtype=np.bool_), np.zeros(len(units), dtype=np.bool_)
    for layers in configurations:
        held = held_out_by_any(layers, units)
        every &= held
        some |= held
    return every, some


def _mismatched(campaign: SentCampaign) -> int:
    computed = held_out_by_any(campaign.holdouts, campaign.eligible[USER])
    return int(np.count_nonzero(computed != flags(campaign.eligible, "held_out")))


def _pieces(seed: str, configurations: Sequence[tuple[Layer, ...]]) -> list[tuple[int, int]]:
    """Cut a seed's buckets where a holdout begins or ends."""
    ends = {0, BUCKETS}
    for layers in configurations:
        for layer in layers:
            if layer.seed == seed:
                ends.update(layer.holdout_range())
    return list(pairwise(sorted(ends)))


def _holds(layer: Layer, at: int) -> bool:
    first, last = layer.holdout_range()
    return first <= at < last


def _health(
    campaigns: Sequence[SentCampaign],
    contacts: pa.Table,
    contacted: pa.Table,
    configurations: Sequence[tuple[Layer, ...]],
    mismatched: int,
    switched: int,
) -> Health:
    units = contacts.group_by([USER, "arm"], use_threads=False).aggregate([(SCORE, "mean")])
    of = {arm: units.filter(pc.equal(units["arm"], arm)) for arm in (REACHED, HELD_OUT)}
    counts = {arm: len(rows) for arm, rows in of.items()}
    share = held_out_share(configurations)
    split = _split(counts, share)
    scores = _score_p_value(*(to_numpy(rows[f"{SCORE}_mean"]) for rows in of.values()))
    held = of[HELD_OUT][USER]
    reached_anyway = int(pc.count_distinct(contacted[USER].filter(pc.is_in(contacted[USER], value_set=held))).as_py())
    lost, lost_p_value = _lost(campaigns)
    failures = []
    if split < SAMPLE_RATIO_ALPHA:
        failures.append(
            f"Of {sum(counts.values()):,} units above the cut {counts[HELD_OUT]:,} are held out, and the holdouts hold"
            f" {share:.1%} out (p = {split:.1e} < {SAMPLE_RATIO_ALPHA}): campaigns changed the features, the consent or"
            " the eligibility of those they reach, or a file was edited; give the layer a new seed, which draws anew."
        )
    if scores < SAMPLE_RATIO_ALPHA:
        failures.append(
            f"Above the cut, scores of those held out are others than of those reached (p = {scores:.1e} <"
            f" {SAMPLE_RATIO_ALPHA}): features say who was contacted before; give the layer a new seed, which draws"
            " anew."
        )
    if mismatched:
        failures.append(
            f"{mismatched:,} rows say another holdout than their ids give: a kept list was edited; restore it."
        )
    if counts[HELD_OUT] and reached_anyway >= MULTIPLE_EXPOSURE_LIMIT * counts[HELD_OUT]:
        failures.append(
            f"{reached_anyway:,} of {counts[HELD_OUT]:,} units held out were contacted all the same, the limit is"
            f" {MULTIPLE_EXPOSURE_LIMIT:.0%}; find which list reached them."
        )
    if lost_p_value < SAMPLE_RATIO_ALPHA:
        failures.append(
            f"Since the lists were made {lost[REACHED]:,} of those reached and {lost[HELD_OUT]:,} of those held out"
            f" were forgotten (p = {lost_p_value:.1e} < {SAMPLE_RATIO_ALPHA}): who is left does not compare."
        )
    return Health(
        units=counts,
        held_out_share=share,
        sample_ratio_p_value=split,
        score_p_value=scores,
        mismatched=mismatched,
        switched=switched,
        contacted=reached_anyway,
        lost=lost,
        lost_p_value=lost_p_value,
        failures=tuple(failures),
    )


def _split(counts: Mapping[str, int], share: float) -> float:
    total = sum(counts.values())
    if not total or not share:
        return 1.0
    return float(scipy.stats.binomtest(counts[HELD_OUT], total, share).pvalue)


def _score_p_value(reached: NDArray[np.float64], held: NDArray[np.float64]) -> float:
    known = [values[np.isfinite(values)] for values in (reached, held)]
    if not all(len(values) for values in known):
        return float("nan")
    return float(scipy.stats.ks_2samp(*known, method="asymp").pvalue)


def _lost(campaigns: Sequence[SentCampaign]) -> tuple[dict[str, int], float]:
    written = {arm: sum(each.written[arm] for each in campaigns) for arm in (REACHED, HELD_OUT)}
    still = {
        REACHED: sum(int(np.count_nonzero(each.on_list)) for each in campaigns),
        HELD_OUT: sum(_would_be(each) for each in campaigns),
    }
    lost = {arm: max(written[arm] - still[arm], 0) for arm in written}  # an edited list may have gained some
    return lost, float(scipy.stats.fisher_exact([list(lost.values()), list(still.values())]).pvalue)


def _would_be(campaign: SentCampaign) -> int:
    eligible = campaign.eligible
    return int(
        np.count_nonzero(flags(eligible, "willing") & flags(eligible, "above_cut") & flags(eligible, "held_out"))
    )
