"""How is a metric written, and which ones does a channel give?

`ndcg@10/user` is the mean over requests of a figure of each unit's list, `precision@100/global` a figure of one list of
units, cut at a capacity. The two are different metrics and never compared.
"""

import re
from dataclasses import dataclass
from typing import Final, Literal

LIST_METRICS: Final = ("ndcg", "precision", "recall", "mrr", "map")
"""Of each unit's list of items, at k slots."""

_PATTERN: Final = re.compile(r"(?P<name>[a-z]+)@(?P<size>[1-9][0-9]*)/(?P<scope>user|global)")


@dataclass(frozen=True)
class Metric:
    """One figure of a ranking."""

    name: str
    """ndcg, precision, recall, mrr, map; of one list of units precision, recall or value."""
    size: int
    """Slots of each list, or the capacity of the one list of units."""
    scope: Literal["user", "global"]
    """user: the mean over requests; global: of one list of units a decision time."""

    def __str__(self) -> str:
        """Return how it is written."""
        return f"{self.name}@{self.size}/{self.scope}"


def parse_metric(text: str) -> Metric:
    """Read a metric such as ndcg@10/user.

    Raises:
        ValueError: if it is not written so.
    """
    match = _PATTERN.fullmatch(text)
    if match is None:
        message = f"metric {text!r}: write it as name@size/scope, such as ndcg@10/user or precision@100/global"
        raise ValueError(message)
    scope: Literal["user", "global"] = "user" if match["scope"] == "user" else "global"
    return Metric(match["name"], int(match["size"]), scope)


def reach_metrics(*, measured: bool) -> tuple[str, ...]:
    """Return the metrics of one list of units.

    Args:
        measured: whether the label is a count or an amount: then `value` is its mean over the units reached, and recall
            the share of all of it that they give; otherwise precision is the share of those reached that acted.
    """
    return ("value", "recall") if measured else ("precision", "recall")
