"""How well are new items found, and the items of each category?

Figures of items are shares of all that was taken together, not means over requests: most requests hold no new item, and
few hold one of every category.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.modeling.judged import JudgedLists
from recsys.modeling.metrics import TopK
from recsys.modeling.offline_evaluation.figures import Resampling, UnitSums
from recsys.modeling.offline_evaluation.report import Segment
from recsys.statistics.bootstrap import Interval

CATEGORIES: Final = 12
"""The largest by taken items are shown."""

ITEM_AGE: Final = ("new", "old")


def item_segments(
    judged: JudgedLists,
    lists: Mapping[str, TopK],
    sizes: Sequence[int],
    codes: NDArray[np.int64],
    units: int,
    resampling: Resampling,
) -> dict[str, tuple[Segment, ...]]:
    """Tell taken items apart by age and by category.

    Args:
        judged: what was taken.
        lists: ranker to its lists.
        sizes: slots.
        codes: [requests] the unit's number.
        units: how many there are.
        resampling: of units.

    Returns:
        item_age and category (where items have one) to their segments, with recall@k (hits by taken items of the
        segment) and share_of_hits@k (of all hits, those in the segment).
    """
    taken, items = judged.taken, judged.items
    if not len(taken.item):
        return {}
    by_age = np.where(taken.new, 0, 1).astype(np.int64)
    segments: dict[str, tuple[Sequence[str], NDArray[np.int64]]] = {"item_age": (ITEM_AGE, by_age)}
    names, category_of = _categories(items.segment, taken.item)
    if names:
        segments["category"] = (names, category_of[taken.item])
    hits = {
        (ranker, size): _hit_items(judged, ranked.hits[:, :size], ranked.rows[:, :size])
        for ranker, ranked in lists.items()
        for size in sizes
    }
    return {
        group: _judge(judged, names, part, hits, UnitSums(codes, units, resampling.resamples), resampling)
        for group, (names, part) in segments.items()
    }


def _judge(
    judged: JudgedLists,
    names: Sequence[str],
    part: NDArray[np.int64],
    hits: Mapping[tuple[str, int], NDArray[np.int64]],
    sums: UnitSums,
    resampling: Resampling,
) -> tuple[Segment, ...]:
    codes = sums.codes[judged.taken.request]
    everything = np.ones(len(part))
    sums.add_parts([("taken", name) for name in names], everything, part, codes)
    for (ranker, size), hit in hits.items():
        mine = codes[hit]
        sums.add(("hits", ranker, size), everything[: len(hit)], mine)
        sums.add_parts([("hits", ranker, size, name) for name in names], everything[: len(hit)], part[hit], mine)

    def metrics(name: str, ranker: str) -> dict[str, Interval]:
        found = {}
        for size in sorted({size for _, size in hits}):
            top = ("hits", ranker, size, name)
            found[f"recall@{size}"] = sums.mean(top, ("taken", name)).interval(resampling.confidence)
            found[f"share_of_hits@{size}"] = sums.mean(top, ("hits", ranker, size)).interval(resampling.confidence)
        return found

    rankers = list(dict.fromkeys(ranker for ranker, _ in hits))
    return tuple(
        Segment(
            name=name,
            share=sums.total(("taken", name)) / len(part),
            sizes={"taken": int(sums.total(("taken", name)))},
            metrics={ranker: metrics(name, ranker) for ranker in rankers},
        )
        for name in names
    )


def _hit_items(judged: JudgedLists, hits: NDArray[np.bool_], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return which of the taken items stood in the lists."""
    taken, items = judged.taken, len(judged.items.buyers)
    known = taken.request * items + taken.item
    order = np.argsort(known, kind="stable")
    hit = rows[hits]
    wanted = judged.rows.request[hit] * items + judged.item[hit]
    places = np.minimum(np.searchsorted(known, wanted, sorter=order), len(known) - 1)
    found: NDArray[np.int64] = order[places]
    hits_taken: NDArray[np.int64] = found[known[found] == wanted]
    return hits_taken


def _categories(segment: NDArray[np.object_], taken: NDArray[np.int64]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return the largest categories by taken items, and each item's place among them, -1 elsewhere."""
    there = np.array([name is not None for name in segment], dtype=bool)
    names, codes = np.unique(segment[there].astype(str), return_inverse=True)
    code_of = np.full(len(segment), -1, dtype=np.int64)
    code_of[there] = codes
    counts = np.bincount(code_of[taken][code_of[taken] >= 0], minlength=len(names))
    largest = [code for code in np.argsort(-counts, kind="stable")[:CATEGORIES] if counts[code]]
    place = np.full(len(names) + 1, -1, dtype=np.int64)
    place[largest] = np.arange(len(largest))
    place_of: NDArray[np.int64] = place[code_of]
    return tuple(str(names[code]) for code in largest), place_of
