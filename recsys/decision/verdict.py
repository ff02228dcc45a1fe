"""What follows from an experiment's evidence?

Rules, tried in order; the first that matches stands. Harm and gain are judged by the always-valid bounds
while the experiment runs, and by the fixed interval once its planned end has come. An experiment that was ended before
its plan may have been ended on a good day, for which a fixed interval makes no allowance: it is judged by the
always-valid bounds, which may stop it for harm and never ship it.

INVALID       health failed
STOP          primary or a guardrail significantly harmed
WAIT          before the planned end
SHIP          primary's interval on the good side of 0, and every guardrail's within its margin
REVIEW        primary good, a guardrail unproven
ITERATE       an earlier stage (a secondary metric) or the offline metric moved, and the primary did not
UNDERPOWERED  the interval holds both 0 and the minimum effect, the planned units were not reached, or the experiment
              was ended before its plan
STOP          the interval excludes the minimum effect
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Literal

from recsys.decision.intervals import number, oriented, text
from recsys.errors import DecisionError
from recsys.evaluation.analysis import Analysis, ArmEffect
from recsys.experiment.routing import window
from recsys.specs.experiment import Experiment, Guardrail, PrimaryMetric
from recsys.statistics.bootstrap import Interval


class VerdictName(StrEnum):
    """All that can follow."""

    INVALID = "INVALID"
    STOP = "STOP"
    WAIT = "WAIT"
    SHIP = "SHIP"
    REVIEW = "REVIEW"
    ITERATE = "ITERATE"
    UNDERPOWERED = "UNDERPOWERED"


@dataclass(frozen=True)
class Verdict:
    """What follows, and why."""

    name: VerdictName
    reason: str
    """One sentence, with the figures it rests on."""
    treatment_arm: str | None
    """The arm it is about; None where it is about the experiment as a whole."""
    model_version: str | None
    """The logic that arm serves."""


_PREFERENCE: Final = (
    VerdictName.SHIP,
    VerdictName.REVIEW,
    VerdictName.ITERATE,
    VerdictName.UNDERPOWERED,
    VerdictName.STOP,
)
"""Which arm's verdict stands where several treatments were tried."""


def decide(
    analysis: Analysis,
    experiment: Experiment,
    now: datetime,
    *,
    offline: bool | None = None,
    planned_end: datetime | None = None,
) -> Verdict:
    """Apply the rules.

    Args:
        analysis: the evidence.
        experiment: the declaration it was taken under.
        now: the environment's time.
        offline: whether the offline metric of the treatment improved when its weights were registered; None
            if unknown.
        planned_end: the end that the plan had when the experiment started; that of the declaration by default.

    Returns:
        The verdict. With several treatments, a harmed one stops a running experiment; at the end the best
        arm's verdict stands, and among equals the larger primary effect.

    Raises:
        DecisionError: if the planned end has come and the analysis was taken before it, or it is one of a part.
    """
    _, end = window(experiment)
    if analysis.state == "part":
        message = f"experiment {analysis.experiment}: a part of it was looked at: a verdict needs the whole experiment"
        raise DecisionError(message)
    if now >= end and analysis.state == "running":
        message = (
            f"experiment {analysis.experiment}: the analysis ends at {analysis.until} and the planned end,"
            f" {end.isoformat()}, has come; a verdict needs the whole experiment: evaluate it again"
        )
        raise DecisionError(message)
    if not analysis.health.healthy:
        return Verdict(VerdictName.INVALID, " ".join(analysis.health.failures), None, None)
    treatments = [arm for arm in experiment.arms if arm != experiment.control]
    if analysis.state == "running":
        harmed = (_harm(analysis, experiment, arm, running=True) for arm in treatments)
        return next((verdict for verdict in harmed if verdict), None) or _wait(analysis, end, now)
    if planned_end is not None and end < planned_end:
        verdicts = [_ended_early(analysis, experiment, arm, planned_end - end, offline=offline) for arm in treatments]
    else:
        verdicts = [_decide_arm(analysis, experiment, arm, offline=offline) for arm in treatments]
    return min(verdicts, key=lambda verdict: (_PREFERENCE.index(verdict.name), -_gain(analysis, experiment, verdict)))


def _decide_arm(analysis: Analysis, experiment: Experiment, arm: str, *, offline: bool | None) -> Verdict:
    harmed = _harm(analysis, experiment, arm, running=False)
    if harmed:
        return harmed
    primary = experiment.metrics.primary
    interval = _fixed(_primary(analysis, arm), primary.scale)
    gain = oriented(interval, primary.direction)
    figures = f"{primary.name} of {arm} moved by {text(interval, primary.scale)}"
    version = experiment.arms[arm].model_version
    if gain.lower > 0:
        return _ship_or_review(analysis, experiment, arm, figures)
    moved = list(_moved(analysis, arm, experiment.plan.alpha, offline=offline, always=False))
    if moved:
        stages = " and ".join(moved)
        reason = f"{stages}, but {figures}, which holds 0: look for leakage, skew, position bias or a wrong stage."
        return Verdict(VerdictName.ITERATE, reason, arm, version)
    short = analysis.exposed_units < analysis.planned_units
    minimum = number(primary.minimum_effect, primary.scale)
    if short or not gain.upper < primary.minimum_effect:
        cause = f"it holds both 0 and the smallest effect worth shipping, {minimum}"
        if short:
            cause = f"only {analysis.exposed_units} of {analysis.planned_units} planned units were exposed by the end"
        elif not math.isfinite(gain.upper):
            cause = "there is too little for an interval: a mean not surely above 0, or fewer than two units in an arm"
        needed = analysis.needed_units
        more = "" if needed is None else f"; to see {minimum} takes {needed:,} units"
        return Verdict(VerdictName.UNDERPOWERED, f"{figures}; {cause}{more}.", arm, version)
    reason = f"{figures}, which excludes the smallest effect worth shipping, {minimum}."
    return Verdict(VerdictName.STOP, reason, arm, version)


def _ended_early(
    analysis: Analysis, experiment: Experiment, arm: str, early: timedelta, *, offline: bool | None
) -> Verdict:
    """Judge by the bounds that hold at every look: whoever chose the end may have looked before."""
    harmed = _harm(analysis, experiment, arm, running=True)
    if harmed:
        return harmed
    primary = experiment.metrics.primary
    interval = _always(_primary(analysis, arm), primary.scale)
    gain = oriented(interval, primary.direction)
    figures = f"{primary.name} of {arm} moved by {text(interval, primary.scale)} (bounds valid at every look)"
    version = experiment.arms[arm].model_version
    moved = list(_moved(analysis, arm, experiment.plan.alpha, offline=offline, always=True))
    if moved and not gain.lower > 0:
        reason = (
            f"{' and '.join(moved)}, but {figures} and {ended_before(early)}: look for leakage, skew, position bias or"
            " a wrong stage."
        )
        return Verdict(VerdictName.ITERATE, reason, arm, version)
    reason = f"{figures}; {ended_before(early)}, and only its planned end can ship: run it again to its end."
    return Verdict(VerdictName.UNDERPOWERED, reason, arm, version)


def ended_before(early: timedelta) -> str:
    """Say by how much an experiment ended before its plan, in begun days."""
    days = math.ceil(early / timedelta(days=1))
    return f"it ended {days} day{'s' if days > 1 else ''} before its plan"


def _ship_or_review(analysis: Analysis, experiment: Experiment, arm: str, figures: str) -> Verdict:
    version = experiment.arms[arm].model_version
    unproven: list[str] = []
    proven: list[str] = []
    for guardrail, found in _guardrails(analysis, experiment, arm):
        interval = _fixed(found, guardrail.scale)
        said = (
            f"{guardrail.name} moved by {text(interval, guardrail.scale)}"
            f" with a margin of {number(guardrail.margin, guardrail.scale)}"
        )
        within = oriented(interval, guardrail.direction).lower > -guardrail.margin
        (proven if within else unproven).append(said)
    if unproven:
        reason = f"{figures}, but a guardrail is not proven to be within its margin: {'; '.join(unproven)}."
        return Verdict(VerdictName.REVIEW, reason, arm, version)
    kept = f"every guardrail is within its margin: {'; '.join(proven)}" if proven else "no guardrail is declared"
    return Verdict(VerdictName.SHIP, f"{figures}, and {kept}.", arm, version)


def _harm(analysis: Analysis, experiment: Experiment, arm: str, *, running: bool) -> Verdict | None:
    """Return STOP where a metric is surely worse, beyond the harm that its margin surely covers."""
    primary = experiment.metrics.primary
    checks: list[tuple[PrimaryMetric | Guardrail, ArmEffect, float]] = [(primary, _primary(analysis, arm), 0.0)]
    checks += [(guardrail, found, guardrail.margin) for guardrail, found in _guardrails(analysis, experiment, arm)]
    for metric, found, accepted in checks:
        interval = _always(found, metric.scale) if running else _fixed(found, metric.scale)
        gain = oriented(interval, metric.direction)
        if gain.upper < 0 and gain.lower < -accepted:
            bounds = "bounds valid at every look" if running else f"{analysis.confidence:.4g} confidence"
            role = "primary" if metric is primary else "guardrail"
            figures = f"{text(interval, metric.scale)} ({bounds})"
            reason = f"The {role} {metric.name} of {arm} is harmed: it moved by {figures}."
            return Verdict(VerdictName.STOP, reason, arm, experiment.arms[arm].model_version)
    return None


def _wait(analysis: Analysis, end: datetime, now: datetime) -> Verdict:
    days = math.ceil((end - now).total_seconds() / 86_400)
    reason = (
        f"{analysis.exposed_units} of {analysis.planned_units} planned units are exposed and the planned end,"
        f" {end.isoformat()}, is {days} days away."
    )
    return Verdict(VerdictName.WAIT, reason, None, None)


def _moved(analysis: Analysis, arm: str, alpha: float, *, offline: bool | None, always: bool) -> Iterator[str]:
    if offline:
        yield "The offline metric improved"
    for found in analysis.of(arm, "secondary"):
        interval = found.always_relative if always else found.effect.relative
        surely = found.adjusted_p_value is None or found.adjusted_p_value <= alpha
        if interval.lower > 0 and surely:
            yield f"{found.effect.metric} moved by {text(interval, 'relative')}"


def _primary(analysis: Analysis, arm: str) -> ArmEffect:
    (found,) = analysis.of(arm, "primary")
    return found


def _guardrails(analysis: Analysis, experiment: Experiment, arm: str) -> Iterator[tuple[Guardrail, ArmEffect]]:
    found = {effect.effect.metric: effect for effect in analysis.of(arm, "guardrail")}
    for guardrail in experiment.metrics.guardrails:
        yield guardrail, found[guardrail.name]


def _gain(analysis: Analysis, experiment: Experiment, verdict: Verdict) -> float:
    primary = experiment.metrics.primary
    interval = _fixed(_primary(analysis, str(verdict.treatment_arm)), primary.scale)
    estimate = oriented(interval, primary.direction).estimate
    return estimate if math.isfinite(estimate) else -math.inf


def _fixed(found: ArmEffect, scale: Literal["relative", "absolute"]) -> Interval:
    return found.effect.relative if scale == "relative" else found.effect.absolute


def _always(found: ArmEffect, scale: Literal["relative", "absolute"]) -> Interval:
    return found.always_relative if scale == "relative" else found.always_absolute
