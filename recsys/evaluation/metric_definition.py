"""Which metrics can an experiment declare, and what does each count?"""

import re
from dataclasses import dataclass
from typing import Final, Literal, get_args

from recsys.errors import ExperimentError
from recsys.specs.experiment import Experiment

ORDER_RATE: Final = "order_rate"
"""Share of requests followed by any purchase at all: in a replay of real purchases, where no list was really
shown, it cannot differ between arms but by chance, and so checks the machinery."""

Kind = Literal["precision", "recall", "hit_rate", "mrr", "order_rate"]
_NAME: Final = re.compile(r"^([a-z_]+)@([1-9]\d{0,3})$")


@dataclass(frozen=True)
class MetricDefinition:
    """A metric over requests: a sum of `numerator` over a sum of `denominator`."""

    name: str
    kind: Kind
    k: int | None
    """First slots of the list that count; None where slots play no part."""

    @classmethod
    def parse(cls, name: str) -> "MetricDefinition":
        """Read a metric's name, such as precision@10 or order_rate.

        Raises:
            ExperimentError: if there is no such metric; the message lists those that exist.
        """
        match = _NAME.match(name)
        for kind in get_args(Kind):
            if kind == ORDER_RATE and name == ORDER_RATE:
                return cls(name, kind, None)
            if kind != ORDER_RATE and match is not None and match[1] == kind:
                return cls(name, kind, int(match[2]))
        known = ", ".join(kind if kind == ORDER_RATE else f"{kind}@k" for kind in get_args(Kind))
        message = f"metric {name!r} is not measured in experiments; those that exist are {known}, with k from 1 to 9999"
        raise ExperimentError(message)

    @property
    def numerator(self) -> str:
        """Return the column of the unit's summed numerator."""
        return f"{self.name}:numerator"

    @property
    def denominator(self) -> str:
        """Return the column of the unit's summed denominator."""
        return f"{self.name}:denominator"

    @property
    def covariate_numerator(self) -> str:
        """Return the column of the same numerator over the pre-period."""
        return f"{self.name}:covariate_numerator"

    @property
    def covariate_denominator(self) -> str:
        """Return the column of the same denominator over the pre-period."""
        return f"{self.name}:covariate_denominator"


def metric_definitions(experiment: Experiment) -> tuple[MetricDefinition, ...]:
    """Return every metric an experiment declares, each once, and `order_rate`.

    Raises:
        ExperimentError: if one does not exist.
    """
    metrics = experiment.metrics
    guarded = (guardrail.name for guardrail in metrics.guardrails)
    names = (metrics.primary.name, *guarded, *metrics.secondary, ORDER_RATE)
    return tuple(MetricDefinition.parse(name) for name in dict.fromkeys(names))
