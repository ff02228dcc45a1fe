"""How sure is one of many metrics, given that many were looked at?

Thin over tea-tasting: Benjamini and Hochberg's procedure keeps the false discovery rate (of what is called moved, the
share that is not), Holm's keeps the family-wise error rate (that anything is called moved that is not) under any
dependence.
"""

import math
from collections.abc import Sequence
from typing import Literal

from tea_tasting.experiment import ExperimentResult
from tea_tasting.multiplicity import adjust_fdr, adjust_fwer


def adjusted_p_values(p_values: Sequence[float], control: Literal["fdr", "fwer"]) -> tuple[float, ...]:
    """Adjust p-values for their number, so that each is compared with the error rate of them all.

    Args:
        p_values: one a hypothesis; NaN of one that could not be tested, which then is none of them.
        control: which error is kept.

    Returns:
        Adjusted p-values in the same order; NaN where there was none.
    """
    tested = {str(place): {"pvalue": value} for place, value in enumerate(p_values) if not math.isnan(value)}
    if not tested:
        return tuple(p_values)
    results = ExperimentResult(tested)
    if control == "fdr":
        (adjusted,) = adjust_fdr(results).values()
    else:
        (adjusted,) = adjust_fwer(results, arbitrary_dependence=True, method="bonferroni").values()
    found = {name: float(result["pvalue_adj"]) for name, result in adjusted.items()}
    return tuple(found.get(str(place), math.nan) for place in range(len(p_values)))
