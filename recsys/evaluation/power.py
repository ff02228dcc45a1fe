"""How many units and days does an experiment need, judged by what the default model's lists brought before it?

The past of a placement is read as if it had been an experiment of one arm: the same requests, windows, metrics and
covariates, so that variances are those that the analysis will meet.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

import pyarrow as pa
import pyarrow.compute as pc
from tea_tasting.aggr import Aggregates

from recsys import schema
from recsys.errors import DataError
from recsys.evaluation.arrivals import Arrivals
from recsys.evaluation.series import metric_moments
from recsys.evaluation.unit_metrics import UnitMetrics
from recsys.evaluation.winsorising import winsorise
from recsys.specs.experiment import Experiment, Guardrail, PrimaryMetric
from recsys.specs.online_metric import EventCount, OnlineMetric
from recsys.statistics.effects import ratio_of_means, uses_covariate
from recsys.statistics.power import minimum_detectable_effect, units_for_effect

Role = Literal["primary", "guardrail", "stage"]
PAST: Final = "past"
"""The experiment's name under which the past is read."""
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True)
class Need:
    """What it takes to see an effect in one metric; None where the past says nothing about it."""

    metric: str
    role: Role
    mean: float | None
    """Of the default model."""
    effect: float
    """As declared: the minimum effect, or the margin; of a stage the primary's, as a share."""
    scale: str
    cuped: bool
    """Whether the pre-period's covariate narrows it."""
    units: int | None
    """Over all arms."""
    days: int | None
    """Until so many came, and their windows closed; None where they never would."""
    detectable: float | None
    """The smallest effect that the planned units show, as a share of the mean."""


def stage_metrics(stages: Sequence[str]) -> dict[str, OnlineMetric]:
    """Return a metric for each stage of a funnel: the share of requests with such an event on what was shown."""
    return {
        f"{stage} rate": OnlineMetric(
            description=f"Share of requests whose list led to a {stage}",
            numerator=EventCount(event=stage, count="requests"),
        )
        for stage in stages
    }


def as_if_before(
    experiment: Experiment, exposures: pa.Table, default_model: str, until: datetime, weeks: tuple[int, int]
) -> tuple[Experiment, pa.Table]:
    """Read the past as an experiment that was over at `until`, whose only arm was the default model.

    Args:
        experiment: what is planned.
        exposures: of its placement, as `EventLog.exposures` gives them.
        default_model: the placement's registered model.
        until: where the past ends.
        weeks: of the past experiment, and of the pre-period before it.

    Returns:
        Its declaration, and what the default model answered outside of experiments, as exposures of the experiment
        `PAST` and its control.
    """
    plan = experiment.plan.model_copy(
        update={"start": until - timedelta(weeks=weeks[0]), "weeks": weeks[0], "end": None}
    )
    metrics = experiment.metrics.model_copy(update={"covariate_weeks": weeks[1]})
    past = experiment.model_copy(update={"plan": plan, "metrics": metrics})
    version = exposures["model_version"]
    default = pc.or_(pc.equal(version, default_model), pc.starts_with(version, f"{default_model}/"))
    plain = pc.and_(pc.is_null(exposures["experiment"]), pc.fill_null(default, fill_value=False))
    own = exposures.filter(plain)
    inside = pc.greater_equal(own[schema.EVENT_TIMESTAMP], pa.scalar(plan.start, schema.TIMESTAMP))
    named = {"experiment": PAST, "arm": experiment.control}
    for column, value in named.items():
        filled = pc.if_else(inside, pa.scalar(value), pa.scalar(None, pa.string()))
        own = own.set_column(own.schema.get_field_index(column), column, filled)
    return past, own


def needs(
    experiment: Experiment, past: UnitMetrics, coming: Arrivals, stages: Mapping[str, OnlineMetric]
) -> tuple[Need, ...]:
    """Return what each metric needs: the primary, each guardrail's margin, and the primary's effect at each stage.

    A guardrail is proven to be within its margin when the interval of no effect ends before it, which takes as many
    units as it takes to see an effect of that size.

    Args:
        experiment: what is planned.
        past: unit rows of the past, with every metric.
        coming: how many units come.
        stages: `stage_metrics` of the problem's funnel.
    """
    kept = _kept(past)
    samples = {metric.name: metric_moments(kept, metric) for metric in past.definitions}
    when = coming, math.ceil(past.horizon / _DAY)
    primary = experiment.metrics.primary
    found = [_need(experiment, primary.name, "primary", primary, samples[primary.name], when)]
    found += [
        _need(experiment, guardrail.name, "guardrail", guardrail, samples[guardrail.name], when)
        for guardrail in experiment.metrics.guardrails
    ]
    relative = _relative(primary, ratio_of_means(samples[primary.name]))
    if relative is not None:
        wanted = primary.model_copy(update={"minimum_effect": abs(relative), "scale": "relative"})
        found += [_need(experiment, stage, "stage", wanted, samples[stage], when) for stage in stages]
    return tuple(found)


def units_for_minimum_effect(experiment: Experiment, sample: Aggregates) -> int | None:
    """Return how many units over all arms show the primary's minimum effect, or None where the sample says nothing.

    Args:
        experiment: with its minimum effect, power, error and arms.
        sample: `moments` of the control's units in the primary metric.
    """
    relative = _relative(experiment.metrics.primary, ratio_of_means(sample))
    return None if relative is None else _units(experiment, sample, relative)


def detectable_now(experiment: Experiment, metrics: UnitMetrics) -> dict[str, float | None]:
    """Return the smallest effect that the units so far show, by metric, as a share of the control's mean.

    Args:
        experiment: what runs.
        metrics: its unit rows.

    Returns:
        Primary and guardrails; of several treatments the one that sees least. None where nothing can be said yet.
    """
    kept = _kept(metrics)
    counts = {arm: int(pc.sum(pc.equal(kept["arm"], arm)).as_py() or 0) for arm in experiment.arms}
    control = counts.pop(experiment.control)
    rows = kept.filter(pc.equal(kept["arm"], experiment.control))
    roles = {experiment.metrics.primary.name, *(guardrail.name for guardrail in experiment.metrics.guardrails)}
    return {
        metric.name: _largest(
            [
                _detectable(experiment, metric_moments(rows, metric), control + units, units / control)
                if control and units
                else None
                for units in counts.values()
            ]
        )
        for metric in metrics.definitions
        if metric.name in roles
    }


def _need(
    experiment: Experiment,
    metric: str,
    role: Role,
    wanted: PrimaryMetric | Guardrail,
    sample: Aggregates,
    when: tuple[Arrivals, int],
) -> Need:
    mean = ratio_of_means(sample)
    relative = _relative(wanted, mean)
    units = None if relative is None else _units(experiment, sample, relative)
    coming, window_days = when
    days = None if units is None else coming.days_for(units)
    shown = [
        _detectable(experiment, sample, round(experiment.plan.units * share), ratio)
        for ratio, share in _pairs(experiment)
    ]
    return Need(
        metric=metric,
        role=role,
        mean=mean if math.isfinite(mean) else None,
        effect=_size(wanted),
        scale=wanted.scale,
        cuped=uses_covariate(sample),
        units=units,
        days=None if days is None else days + window_days,
        detectable=_largest(shown),
    )


def _size(wanted: PrimaryMetric | Guardrail) -> float:
    return wanted.minimum_effect if isinstance(wanted, PrimaryMetric) else wanted.margin


def _relative(wanted: PrimaryMetric | Guardrail, mean: float) -> float | None:
    """Return the signed effect as a share of the mean: a good one of the primary, a bad one of a guardrail."""
    if wanted.scale == "absolute" and not mean > 0:
        return None
    size = _size(wanted) / (mean if wanted.scale == "absolute" else 1.0)
    rises = (wanted.direction == "higher_is_better") == isinstance(wanted, PrimaryMetric)
    return size if rises else -size


def _pairs(experiment: Experiment) -> list[tuple[float, float]]:
    """Return for each treatment its units for each of the control's, and both arms' share of all units."""
    ratios = {name: arm.ratio for name, arm in experiment.arms.items()}
    control, total = ratios[experiment.control], sum(ratios.values())
    return [
        (ratio / control, (ratio + control) / total) for name, ratio in ratios.items() if name != experiment.control
    ]


def _alpha(experiment: Experiment) -> float:
    return experiment.plan.alpha / (len(experiment.arms) - 1)


def _units(experiment: Experiment, sample: Aggregates, relative: float) -> int | None:
    """Return the units over all arms; of several treatments those of the one that needs most."""
    alpha, power = _alpha(experiment), experiment.plan.power
    try:
        return max(
            math.ceil(units_for_effect(sample, relative, ratio=ratio, alpha=alpha, power=power) / share)
            for ratio, share in _pairs(experiment)
        )
    except DataError:  # the past says nothing about this metric, or the margin is all there is
        return None


def _detectable(experiment: Experiment, sample: Aggregates, units: int, ratio: float) -> float | None:
    try:
        return minimum_detectable_effect(
            sample, units, ratio=ratio, alpha=_alpha(experiment), power=experiment.plan.power
        )
    except DataError:
        return None


def _largest(found: Sequence[float | None]) -> float | None:
    known = [each for each in found if each is not None]
    return max(known) if known and len(known) == len(found) else None


def _kept(metrics: UnitMetrics) -> pa.Table:
    """Return the units that an analysis counts, lowered as it lowers them."""
    return winsorise(metrics.analysed, metrics.definitions)[0]
