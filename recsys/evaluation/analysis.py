"""What did an experiment do to its metrics: effects, intervals and series, from unit rows?

Everything here is a function of the log up to the planned end, so that a later look at a finished experiment
gives the same content and the same digest.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.compute as pc

from recsys.evaluation.exploration import ArmOffPolicy, off_policy
from recsys.evaluation.health import Health
from recsys.evaluation.metric_definition import MetricDefinition
from recsys.evaluation.power import units_for_minimum_effect
from recsys.evaluation.ramps import STRATUM, pair_moments, uncompared
from recsys.evaluation.series import CumulativePoint, SeriesPoint, means, metric_moments, series, total, values
from recsys.evaluation.unit_metrics import UnitMetrics, funnel_column
from recsys.evaluation.winsorising import Winsorised, winsorise
from recsys.experiment.routing import window
from recsys.specs.experiment import Experiment
from recsys.specs.online_metric import ORDER_RATE
from recsys.statistics.bootstrap import Interval
from recsys.statistics.effects import Effect, effect
from recsys.statistics.multiplicity import adjusted_p_values
from recsys.statistics.sequential import always_valid

Role = Literal["primary", "guardrail", "secondary", "check"]
State = Literal["running", "cut", "ended", "part"]
_DAYS_A_WEEK: Final = 7
_LARGEST_LOG: Final = 700.0
"""The exponential of more does not fit into a float; a bound so far off says nothing anyway."""


@dataclass(frozen=True)
class ArmEffect:
    """One metric of one treatment arm against the control."""

    treatment_arm: str
    role: Role
    effect: Effect
    """At the confidence of the plan, divided by the number of treatments (Bonferroni)."""
    always_absolute: Interval
    """Bounds of the absolute effect that hold at every look; what a running experiment is judged by."""
    always_relative: Interval
    """The same of the relative effect."""
    adjusted_p_value: float | None = None
    """Of a secondary metric, adjusted for the number of them and of treatments; compared with the plan's alpha."""


@dataclass(frozen=True)
class ArmSummary:
    """What one arm showed and got, without any adjustment."""

    arm: str
    model_version: str
    units: int
    """Units with at least one request that counts."""
    requests: int
    """Requests that count."""
    means: Mapping[str, float]
    weights: Sequence[Mapping[str, Any]]
    """Versions that answered: model_version, weights, exposures."""
    funnel: Mapping[str, int] = field(default_factory=dict)
    """From the widest stage on: impressions, and the items of these that an event of each further stage followed."""


@dataclass(frozen=True)
class Analysis:
    """The evidence a verdict rests on."""

    experiment: str
    hypothesis: str
    state: State
    """running: before the planned end · cut: over, with the planned units · ended: over without them · part: only some
    of its requests were looked at, and no verdict follows."""
    until: str
    """What was logged before this counts: the planned end, or now while that is to come."""
    cut: str | None
    """The first moment at which the planned units were exposed and the whole weeks over; the decision is
    frozen there."""
    horizon_seconds: float
    """How long after a request an outcome counts; a request closer than this to `until` is left out."""
    planned_units: int
    exposed_units: int
    """Units of all arms exposed so far, those seen in several arms among them."""
    left_out_units: int
    """Units without a closed window, and those seen in several arms."""
    left_out_requests: int
    """Requests whose window is still open at `until`."""
    confidence: float
    arms: Sequence[ArmSummary]
    effects: Sequence[ArmEffect]
    daily: Sequence[SeriesPoint]
    weekly: Sequence[SeriesPoint]
    health: Health
    winsorised: Sequence[Winsorised] = ()
    """Metrics whose units were lowered to a limit, in the effects only; means and series are as measured."""
    part: tuple[str, str] | None = None
    """[from, to) of the requests that were looked at; None for all."""
    compared_by_epoch: bool = False
    """Whether arms were compared within the allocation epochs in which units came new, as they did not grow in
    proportion."""
    uncompared_units: int = 0
    """Units in no epoch's comparison: they had come before an arm reached them."""
    cumulative: Sequence[CumulativePoint] = ()
    """The effect on the primary metric up to the end of each day with a request that counts."""
    needed_units: int | None = None
    """Units over all arms that show the primary's minimum effect with the plan's power, by the control's units here;
    None where they say nothing."""
    off_policy: Sequence[ArmOffPolicy] = ()
    """What each arm's lists would have brought without their exploration slot; nothing where none was drawn."""

    def of(self, treatment_arm: str, role: Role) -> tuple[ArmEffect, ...]:
        """Return the effects of one treatment arm in one role."""
        return tuple(found for found in self.effects if (found.treatment_arm, found.role) == (treatment_arm, role))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values, what is not a finite number as null, and `digest`."""
        content: dict[str, Any] = _jsonable(asdict(self))
        content["health"]["healthy"] = self.health.healthy
        return content | {"digest": _digest(content)}

    def digest(self) -> str:
        """Return the SHA-256 of the content: equal evidence, equal digest."""
        return str(self.to_dict()["digest"])


def analyse(name: str, experiment: Experiment, metrics: UnitMetrics, health: Health) -> Analysis:
    """Compare every treatment arm with the control in every metric.

    Args:
        name: the experiment's name.
        experiment: its declaration.
        metrics: unit rows, daily sums and weight versions; they say up to when the log counts.
        health: its health, taken at the same time.

    Returns:
        The analysis; the same for every look after the planned end, while the log up to it stays the same.
    """
    units = metrics.units
    exposed = units.num_rows
    over = metrics.until >= window(experiment)[1]
    cut = decision_cut(experiment, units["first_exposure"], now=metrics.until)
    kept = metrics.analysed
    capped, winsorised = winsorise(kept, metrics.definitions)
    confidence = 1 - experiment.plan.alpha / (len(experiment.arms) - 1)
    part = metrics.part
    state: State = "cut" if cut else "ended" if over else "running"
    return Analysis(
        experiment=name,
        hypothesis=experiment.hypothesis,
        state=state if part is None else "part",
        until=metrics.until.isoformat(),
        cut=cut.isoformat() if cut and part is None else None,
        horizon_seconds=metrics.horizon.total_seconds(),
        planned_units=experiment.plan.units,
        exposed_units=exposed,
        left_out_units=exposed - kept.num_rows,
        left_out_requests=total(units, "exposures") - total(units, "requests"),
        confidence=confidence,
        arms=tuple(_summary(arm, experiment, kept, metrics) for arm in experiment.arms),
        effects=_controlled(experiment, tuple(_effects(experiment, capped, metrics.definitions, confidence))),
        daily=tuple(series(experiment, metrics, days=1)),
        weekly=tuple(series(experiment, metrics, days=_DAYS_A_WEEK)),
        health=health,
        winsorised=winsorised,
        compared_by_epoch=STRATUM in kept.column_names,
        uncompared_units=uncompared(kept, experiment),
        part=None if part is None else (part.start.isoformat(), part.end.isoformat()),
        needed_units=_needed(experiment, capped, metrics.definitions),
        off_policy=off_policy(experiment, metrics, confidence),
    )


def decision_cut(experiment: Experiment, first_exposures: pa.ChunkedArray, *, now: datetime) -> datetime | None:
    """Return the first moment at which the planned units were exposed and the planned weeks over.

    Args:
        experiment: its declaration.
        first_exposures: when each unit was first exposed, timestamp[us, UTC].
        now: the environment's time.

    Returns:
        The moment, or None while it has not come. No unit is assigned after the planned end, so it is that
        end, or never.
    """
    _, end = window(experiment)
    in_time = pc.sum(pc.less(first_exposures, pa.scalar(end, first_exposures.type))).as_py() or 0
    return end if now >= end and in_time >= experiment.plan.units else None


def _effects(
    experiment: Experiment, kept: pa.Table, definitions: Sequence[MetricDefinition], confidence: float
) -> Iterator[ArmEffect]:
    arms = {arm: kept.filter(pc.equal(kept["arm"], arm)) for arm in experiment.arms}
    beside = [STRATUM] if STRATUM in kept.column_names else []
    for metric in definitions:
        columns = {arm: {name: values(rows, name) for name in (*metric.columns, *beside)} for arm, rows in arms.items()}
        for arm in experiment.arms:
            if arm != experiment.control:
                control, treatment = pair_moments(columns[experiment.control], columns[arm], metric)
                found = effect(metric.name, control, treatment, confidence=confidence)
                for role in _roles(experiment, metric.name):
                    yield with_bounds(experiment, arm, role, found, 1 - confidence)


def _needed(experiment: Experiment, kept: pa.Table, definitions: Sequence[MetricDefinition]) -> int | None:
    (primary,) = (metric for metric in definitions if metric.name == experiment.metrics.primary.name)
    control = kept.filter(pc.equal(kept["arm"], experiment.control))
    return units_for_minimum_effect(experiment, metric_moments(control, primary))


def _controlled(experiment: Experiment, effects: Sequence[ArmEffect]) -> tuple[ArmEffect, ...]:
    """Adjust the p-values of the secondary metrics of all treatments, as one family."""
    p_values = [found.effect.p_value for found in effects if found.role == "secondary"]
    adjusted = iter(adjusted_p_values(p_values, experiment.metrics.secondary_control))
    return tuple(
        replace(found, adjusted_p_value=next(adjusted)) if found.role == "secondary" else found for found in effects
    )


def with_bounds(experiment: Experiment, arm: str, role: Role, found: Effect, alpha: float) -> ArmEffect:
    """Add bounds that hold at every look; those of the ratio are taken on its log."""
    if not math.isfinite(found.standard_error + found.log_standard_error):
        unknown = replace(found.absolute, lower=math.nan, upper=math.nan)
        return ArmEffect(arm, role, found, unknown, replace(unknown, estimate=found.relative.estimate))
    units = found.control_units + found.treatment_units
    # A pair of arms gets its share of the planned units; the bounds are narrowest when it is there.
    ratios = {name: declared.ratio for name, declared in experiment.arms.items()}
    pair = (ratios[experiment.control] + ratios[arm]) / sum(ratios.values())
    planned = max(1, round(experiment.plan.units * pair))
    absolute = always_valid(found.absolute.estimate, found.standard_error, units, planned_units=planned, alpha=alpha)
    log_ratio = math.log1p(found.relative.estimate)
    log = always_valid(log_ratio, found.log_standard_error, units, planned_units=planned, alpha=alpha)
    lower, upper = (math.expm1(min(bound, _LARGEST_LOG)) for bound in (log.lower, log.upper))
    return ArmEffect(arm, role, found, absolute, Interval(found.relative.estimate, lower, upper))


def _roles(experiment: Experiment, metric: str) -> Iterator[Role]:
    """Yield every role a metric plays; order_rate is always a check."""
    declared = experiment.metrics
    if metric == declared.primary.name:
        yield "primary"
    if metric in {guardrail.name for guardrail in declared.guardrails}:
        yield "guardrail"
    if metric in declared.secondary:
        yield "secondary"
    if metric == ORDER_RATE:
        yield "check"


def _summary(arm: str, experiment: Experiment, kept: pa.Table, metrics: UnitMetrics) -> ArmSummary:
    rows = kept.filter(pc.equal(kept["arm"], arm))
    weights = metrics.weights.filter(pc.equal(metrics.weights["arm"], arm)).drop_columns("arm")
    return ArmSummary(
        arm=arm,
        model_version=experiment.arms[arm].model_version,
        units=rows.num_rows,
        requests=total(rows, "requests"),
        means=means(rows, metrics.definitions),
        weights=tuple(weights.to_pylist()),
        funnel={stage: round(float(values(rows, funnel_column(stage)).sum())) for stage in metrics.stages},
    )


def _jsonable(value: Any) -> Any:  # noqa: ANN401 - walks whatever asdict built
    if isinstance(value, Mapping):
        return {str(key): _jsonable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(inner) for inner in value]
    if isinstance(value, float):
        # Twelve digits are more than any figure carries, and fewer than rounding may change.
        return float(f"{value:.12g}") if math.isfinite(value) else None
    return value


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
