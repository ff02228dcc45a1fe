"""When is a model's health worth waking somebody for?"""

from collections.abc import Iterator, Mapping
from datetime import timedelta

from pydantic import Field

from recsys.specs.base import Duration, Spec


class SkewLimits(Spec):
    """Of `recsys skew`: logged features against the offline tables."""

    sample: int = Field(default=200, ge=1)
    """Requests with logged features, or contacts of campaigns, that are compared at most."""
    maximum_share: float = Field(default=0.0, ge=0, le=1)
    """Of the shown rows, the share that may have a value which serving got wrong."""
    maximum_restated_share: float = Field(default=0.2, ge=0, le=1)
    """The share that may have a value that is known to be otherwise today: of late and cancelled orders, mostly."""


class DriftLimits(Spec):
    """Of `recsys drift`: recent weeks against the training set."""

    maximum_psi: float = Field(default=0.25, gt=0)
    """Population stability index of a column that moved (by the test below); the credit scorers' convention is .1 for
    a change to watch and .25 for one to act on."""
    false_discovery_rate: float = Field(default=0.01, gt=0, lt=1)
    """Of the columns and weeks that are said to have moved, the share that have not."""
    maximum_missing_rise: float = Field(default=0.1, gt=0, le=1)
    """By how much a column's share of unknown values may grow."""
    maximum_correlation_change: float = Field(default=0.1, gt=0, le=2)
    """By how much a column's rank correlation with the label may move."""


class QualityLimits(Spec):
    """Of `recsys drift`: the offline metric on matured labels."""

    minimum_ratio: float = Field(default=0.9, gt=0)
    """The gate's metric now, as a part of what it was when the weights were judged; an upper bound below it alerts."""
    maximum_calibration_error: float = Field(default=0.05, gt=0, le=1)
    """Expected calibration error, where scores are probabilities."""


class Monitor(Spec):
    """registry/monitors/<model>.yaml: what the nightly checks of a model allow; without one the defaults hold."""

    lookback: Duration = Field(default=timedelta(weeks=4), gt=timedelta(0))
    """How far back logged requests are looked at."""
    weeks: int = Field(default=4, ge=1, le=52)
    """How many matured decision times the model is judged on anew."""
    skew: SkewLimits = SkewLimits()
    """Of logged features."""
    drift: DriftLimits = DriftLimits()
    """Of distributions."""
    quality: QualityLimits = QualityLimits()
    """Of lists and probabilities."""


def monitor_findings(monitors: Mapping[str, Monitor], models: set[str], root: str) -> Iterator[str]:
    """Find monitors of models that have no version.

    Args:
        monitors: by name.
        models: names of the versions that there are files of, such as basket/v2.
        root: what errors call registry/.
    """
    known = {name.partition("/")[0] for name in models}
    for name in monitors:
        if name not in known:
            listed = ", ".join(sorted(known)) or "none"
            yield f"{root}/monitors/{name}.yaml: name: a monitor has its model's name; models: {listed}"
