"""Are the lists broad, surprising and varied, beside being right?"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from recsys.modeling.judged import JudgedLists
from recsys.modeling.offline_evaluation.figures import Resampling, UnitSums
from recsys.statistics.bootstrap import Interval


def beyond_accuracy(
    judged: JudgedLists, shown: Mapping[tuple[str, int], NDArray[np.int64]], sums: UnitSums, resampling: Resampling
) -> dict[str, dict[str, Interval]]:
    """Return coverage@k, novelty@k and diversity@k of each ranker.

    - coverage: the share of the pool's items that stood in some list; of all lists together, so without bounds.
    - novelty: mean over lists of the mean surprise of their items, -log2(buyers / units) bits; an item that nobody had
      bought counts as if one unit had (Zhou et al., Solving the apparent diversity-accuracy dilemma, PNAS 2010).
    - diversity: mean over lists of the share of pairs of items that are not of one segment; items without a segment are
      left out, and lists with fewer than two items (Ziegler et al., Improving recommendation lists through topic
      diversification, WWW 2005).

    Args:
        judged: segments and buyers of the items.
        shown: (ranker, size) to [requests, size] items, -1 where there is none.
        sums: takes the sums.
        resampling: how sure the figures are to be.
    """
    counted = judged.relevant > 0
    segments = _segment_codes(judged.items.segment)
    surprise = -np.log2(np.maximum(judged.items.buyers, 1) / max(judged.items.units, 1))
    for key, items in shown.items():
        there = (items >= 0) & counted[:, np.newaxis]
        kinds = np.where(there, segments[items], -1)
        for name, (top, bottom) in {
            "novelty": (np.where(there, surprise[items], 0.0).sum(axis=1), there.sum(axis=1)),
            "diversity": _different_pairs(kinds),
        }.items():
            sums.add((name, *key), top / np.maximum(bottom, 1))
            sums.add((name, *key, "lists"), (bottom > 0).astype(np.float64))
    found: dict[str, dict[str, Interval]] = {}
    for (ranker, size), items in shown.items():
        metrics = {f"coverage@{size}": Interval(coverage(judged, items), np.nan, np.nan)}
        for name in ("novelty", "diversity"):
            mean = sums.mean((name, ranker, size), (name, ranker, size, "lists"))
            metrics[f"{name}@{size}"] = mean.interval(resampling.confidence)
        found.setdefault(ranker, {}).update(metrics)
    return found


def coverage(judged: JudgedLists, shown: NDArray[np.int64]) -> float:
    """Return the share of the pool's items that stand in some list, [requests, size], -1 where there is none."""
    seen = np.zeros(len(judged.items.buyers), dtype=bool)
    seen[shown[shown >= 0]] = True
    return int(seen.sum()) / max(judged.items.pool_size, 1)


def _segment_codes(segment: NDArray[np.object_]) -> NDArray[np.int64]:
    there = np.array([name is not None for name in segment], dtype=bool)
    codes = np.full(len(segment), -1, dtype=np.int64)
    codes[there] = np.unique(segment[there].astype(str), return_inverse=True)[1]
    return codes


def _different_pairs(segments: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many pairs of each list are of two segments, and how many pairs it has; -1 is no item."""
    count = (segments >= 0).sum(axis=1)
    pairs = count * (count - 1) // 2
    ordered = np.sort(segments, axis=1)
    new = np.ones(segments.shape, dtype=bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    place = np.arange(segments.shape[1])
    # Each item makes a pair with every earlier one of its run.
    run_start = np.maximum.accumulate(np.where(new, place, 0), axis=1)
    same = np.where(ordered >= 0, place - run_start, 0).sum(axis=1)
    return pairs - same, pairs
