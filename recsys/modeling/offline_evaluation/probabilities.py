"""Do scores tell those who act from those who do not, and are they probabilities that can be believed?"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from recsys.errors import ModelError
from recsys.modeling.offline_evaluation.figures import Figure, Resampling, UnitSums
from recsys.statistics.bootstrap import Interval


@dataclass(frozen=True)
class Bin:
    """Rows of about the same probability."""

    predicted: float
    """Mean probability."""
    observed: Interval
    """Share of positives, with Wilson's interval."""
    count: int


@dataclass(frozen=True)
class Reliability:
    """Probabilities beside what came of them."""

    bins: tuple[Bin, ...]
    """By ascending probability; fewer than asked for where many rows share one."""
    error: float
    """Expected calibration error: the mean over rows of the bin's |predicted - observed|."""
    confidence: float


def probability_metrics(
    scores: Mapping[str, NDArray[np.float64]],
    labels: NDArray[np.float32],
    codes: NDArray[np.int64],
    units: int,
    resampling: Resampling,
    probabilities: Collection[str],
) -> dict[str, dict[str, Interval]]:
    """Return AUC, and of probabilities log loss and Brier score, over all rows.

    Rows of all requests are one pool. Intervals draw the units; that of the AUC draws its two mean placements (DeLong
    et al., Comparing the areas under correlated ROC curves, Biometrics 1988), which equals drawing the AUC itself up
    to terms of order 1 / units. Log loss clips probabilities by the resolution of float64, as scikit-learn does.

    Args:
        scores: ranker to [rows].
        labels: [rows] above 0 is a positive.
        codes: [rows] the unit's number.
        units: how many there are.
        resampling: how sure the figures are to be.
        probabilities: rankers whose scores are probabilities.

    Returns:
        Ranker to metric; auc is not a number where all labels are alike.

    Raises:
        ModelError: if a probability is not a number from 0 to 1.
    """
    positive = labels > 0
    sums = UnitSums(codes, units, resampling.resamples)
    sums.add("rows", np.ones(len(labels)))
    sums.add("positive", positive.astype(np.float64))
    sums.add("negative", (~positive).astype(np.float64))
    for ranker, values in scores.items():
        above, below = _placements(values, positive)
        sums.add((ranker, "above"), above)
        sums.add((ranker, "below"), below)
        if ranker in probabilities:
            _require_probabilities(ranker, values)
            clipped = np.clip(values, np.finfo(np.float64).eps, 1 - np.finfo(np.float64).eps)
            sums.add((ranker, "log_loss"), -np.log(np.where(positive, clipped, 1 - clipped)))
            sums.add((ranker, "brier"), (values - positive) ** 2)
    found = {}
    for ranker in scores:
        above_mean, below_mean = sums.mean((ranker, "above"), "positive"), sums.mean((ranker, "below"), "negative")
        # Each of the two means is the AUC; a draw moves both, and their moves add up.
        moved = above_mean.draws + below_mean.draws - above_mean.estimate
        both = positive.any() and not positive.all()
        metrics = {"auc": Figure(above_mean.estimate if both else np.nan, moved, units)}
        if ranker in probabilities:
            metrics |= {name: sums.mean((ranker, name), "rows") for name in ("log_loss", "brier")}
        found[ranker] = {name: figure.interval(resampling.confidence) for name, figure in metrics.items()}
    return found


def reliability(
    probabilities: NDArray[np.float64], labels: NDArray[np.float32], bins: int = 10, *, confidence: float = 0.95
) -> Reliability:
    """Compare probabilities with what came of them, in bins of about as many rows.

    Args:
        probabilities: [rows] in [0, 1].
        labels: [rows] above 0 is a positive.
        bins: how many; cut at quantiles of the probabilities.
        confidence: of Wilson's interval of each bin's share (Wilson, JASA 1927), for which rows are independent.

    Raises:
        ModelError: if there is no row, or a probability is not a number from 0 to 1.
    """
    _require_probabilities("reliability", probabilities)
    if not len(probabilities):
        message = "reliability: there are no rows to compare probabilities with"
        raise ModelError(message)
    edges = np.quantile(probabilities, np.linspace(0, 1, bins + 1))
    part = np.searchsorted(edges[1:-1], probabilities)
    counts = np.bincount(part, minlength=bins)
    predicted, observed = (np.bincount(part, weights=each, minlength=bins) for each in (probabilities, labels > 0))
    found = []
    for count, total, positives in zip(counts.tolist(), predicted.tolist(), observed.tolist(), strict=True):
        if count:
            wilson = scipy.stats.binomtest(round(positives), count).proportion_ci(confidence, method="wilson")
            found.append(Bin(total / count, Interval(positives / count, float(wilson.low), float(wilson.high)), count))
    error = sum(each.count * abs(each.predicted - each.observed.estimate) for each in found) / len(probabilities)
    return Reliability(tuple(found), error, confidence)


def _placements(
    scores: NDArray[np.float64], positive: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return of each positive the share of negatives below it, of each negative that of positives above it; else 0.

    Ties count half; NaN stands below all numbers.
    """
    ranks = scipy.stats.rankdata(np.nan_to_num(scores, nan=-np.inf, posinf=np.inf, neginf=np.finfo(np.float64).min))
    above, below = np.zeros(len(scores)), np.zeros(len(scores))
    positives, negatives = np.count_nonzero(positive), np.count_nonzero(~positive)
    if positives and negatives:
        above[positive] = (ranks[positive] - scipy.stats.rankdata(ranks[positive])) / negatives
        below[~positive] = 1 - (ranks[~positive] - scipy.stats.rankdata(ranks[~positive])) / positives
    return above, below


def _require_probabilities(what: str, values: NDArray[np.float64]) -> None:
    wrong = values[~((values >= 0) & (values <= 1))]
    if len(wrong):
        message = (
            f"{what}: {len(wrong):,} of {len(values):,} scores are no probabilities, such as {wrong[0]:g};"
            " they lie between 0 and 1"
        )
        raise ModelError(message)
