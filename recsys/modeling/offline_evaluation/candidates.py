"""How much of what was taken did each source of candidates offer at all?"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.errors import ModelError
from recsys.modeling.judged import JudgedLists
from recsys.modeling.offline_evaluation.figures import Resampling, UnitSums
from recsys.modeling.offline_evaluation.report import SourceRecall
from recsys.statistics.bootstrap import Interval

UNION: Final = "union"


def source_recall(
    judged: JudgedLists, sources: Sequence[str], sums: UnitSums, resampling: Resampling
) -> tuple[SourceRecall, ...]:
    """Return what the union found, then each source.

    Args:
        judged: the candidates with their bit masks.
        sources: the name of each bit, lowest first.
        sums: takes the sums.
        resampling: how sure the figures are to be.

    Raises:
        ModelError: if a candidate has a bit without a name.
    """
    mask, everything = judged.sources, np.ones(len(judged.rows), dtype=bool)
    offered = {UNION: (everything, everything)}
    if mask is not None and sources:
        if len(mask) and int(mask.max()) >> len(sources):
            message = (
                f"candidate sources: a candidate has bit {int(mask.max()).bit_length() - 1}, and {len(sources)} sources"
                f" have a name ({', '.join(sources)}); build the set anew"
            )
            raise ModelError(message)
        offered |= {name: (mask & (1 << bit) > 0, mask == 1 << bit) for bit, name in enumerate(sources)}
    for name, (all_its_own, alone) in offered.items():
        for key, values in _of_requests(judged, all_its_own, alone).items():
            sums.add(("source", name, key), values)

    def mean(name: str, top: str, bottom: str) -> Interval:
        return sums.mean(("source", name, top), ("source", name, bottom)).interval(resampling.confidence)

    return tuple(
        SourceRecall(
            source=name,
            recall=mean(name, "recall", "requests"),
            share=mean(name, "found", "relevant"),
            only=mean(name, "only", "relevant"),
            candidates=mean(name, "candidates", "requests"),
        )
        for name in offered
    )


def _of_requests(
    judged: JudgedLists, offered: NDArray[np.bool_], alone: NDArray[np.bool_]
) -> dict[str, NDArray[np.float64]]:
    """Return what some candidates found, [requests] each."""
    rows, requests = judged.rows, len(judged.users)
    counted = judged.relevant > 0
    hit = rows.label > 0
    found = np.bincount(rows.request[hit & offered], minlength=requests)
    return {
        "recall": found / np.maximum(judged.relevant, 1),
        "found": found.astype(np.float64),
        "only": np.bincount(rows.request[hit & alone], minlength=requests).astype(np.float64),
        "candidates": np.where(counted, np.bincount(rows.request[offered], minlength=requests), 0.0),
        "requests": counted.astype(np.float64),
        "relevant": np.where(counted, judged.relevant, 0.0),
    }
