"""Which metrics can an experiment declare, and what does each count?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from recsys.errors import ExperimentError
from recsys.specs.experiment import Experiment
from recsys.specs.online_metric import BUILT_IN, ORDER_RATE, OnlineMetric, built_in

DECLARED: Final = "declared"
"""The kind of a metric of registry/metrics/."""


@dataclass(frozen=True)
class MetricDefinition:
    """A metric over requests: a sum of `numerator` over a sum of `denominator`."""

    name: str
    kind: str
    """precision, recall, hit_rate, mrr, order_rate, or declared."""
    k: int | None
    """First slots of the list that count; None where slots play no part, or where the declaration says it."""
    declared: OnlineMetric | None = None
    """Of a declared metric what it counts."""

    @classmethod
    def parse(cls, name: str, declared: Mapping[str, OnlineMetric] | None = None) -> "MetricDefinition":
        """Find a metric by its name, such as precision@10, order_rate or the name of a declared one.

        Args:
            name: the metric's.
            declared: registry/metrics/, by name.

        Raises:
            ExperimentError: if there is no such metric; the message lists those that exist.
        """
        found = built_in(name)
        if found is not None:
            return cls(name, *found)
        if declared and name in declared:
            return cls(name, DECLARED, None, declared[name])
        others = f"; declared under registry/metrics/: {', '.join(sorted(declared or ())) or 'none'}"
        message = f"metric {name!r} is not measured in experiments; those that exist are {BUILT_IN}{others}"
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

    @property
    def columns(self) -> tuple[str, str, str, str]:
        """Return all four columns of a unit."""
        return self.numerator, self.denominator, self.covariate_numerator, self.covariate_denominator


def metric_definitions(
    experiment: Experiment, declared: Mapping[str, OnlineMetric] | None = None
) -> tuple[MetricDefinition, ...]:
    """Return every metric an experiment names, each once, and `order_rate`.

    Args:
        experiment: the declaration.
        declared: registry/metrics/, by name.

    Raises:
        ExperimentError: if one does not exist.
    """
    names = (*experiment.metrics.names(), ORDER_RATE)
    return tuple(MetricDefinition.parse(name, declared) for name in dict.fromkeys(names))
