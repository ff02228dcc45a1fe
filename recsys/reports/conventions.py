"""How is every figure of an offline evaluation to be read?"""

from typing import Final

_LISTS: Final = """\
Gain is binary. NDCG divides by the best list of min(k, taken) hits; recall and average precision divide by all items
that were taken, candidates or not; precision divides by k, also where a list is shorter.

Requests after which nothing was taken are left out, so figures are higher than those of an experiment, in which they
count 0.

Items of equal score stand by their id; an item without a score stands last.

Figures are means over requests, but those of new items and of categories: these are shares of all taken items together.
An item is new if it was first taken less than 28 days before the request.

Coverage is the share of the pool that stood in some list; novelty the mean surprise, in bits, of the items shown;
diversity the share of pairs in a list that are of different segments."""

_UNITS: Final = """\
There is one list of units a decision time, cut at the capacity; figures are means over decision times.

Precision is the share of those reached that acted (value: the mean label); recall the share of all that acted, also of
units outside the audience.

Units of equal score stand by their id; a unit without a score stands last.

Figures by activity are of all decision times together: of the reached units of a segment, those that acted.

AUC, log loss and Brier score are over all rows of all decision times."""

_ALL: Final = """\
Intervals are expanded percentile intervals of a bootstrap that draws units, each with all of its requests. All figures
see the same draws, so ratios are paired.

New units had no earlier event at the decision time; light units at most the median of those that had any, heavy units
more.

A ratio over 0, and a bound that cannot be told, is a dash."""


def conventions(kind: str) -> list[str]:
    """Return one text a convention, for an evaluation of lists or of units."""
    told = {"lists": _LISTS, "units": _UNITS}[kind]
    return [" ".join(each.split()) for each in f"{told}\n\n{_ALL}".split("\n\n")]
