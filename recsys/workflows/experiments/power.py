"""How large and how long must an experiment be? `recsys experiment power`, by the placement's own past."""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from recsys import schema
from recsys.errors import ExperimentError
from recsys.evaluation.arrivals import Arrivals, arrivals
from recsys.evaluation.metric_definition import metric_definitions
from recsys.evaluation.power import PAST, Need, as_if_before, detectable_now, needs, stage_metrics
from recsys.evaluation.terms import event_types, window_of
from recsys.evaluation.unit_metrics import UnitMetrics, unit_metrics
from recsys.specs.experiment import Experiment
from recsys.specs.online_metric import OnlineMetric
from recsys.specs.problem import Problem
from recsys.specs.traffic import RATIO_UNITS
from recsys.workflows.experiments.analysis import log_tables
from recsys.workflows.workspace import Workspace

_WEEK: Final = timedelta(weeks=1)


@dataclass(frozen=True)
class Powered:
    """What an experiment needs, and what it sees now."""

    experiment: str
    placement: str
    past: tuple[datetime, datetime]
    """The part of the log that it rests on: [from, to), the pre-period before it not counted."""
    covariate_weeks: int
    """Weeks before that from which covariates came."""
    past_units: int
    """Different units in it."""
    coming: Arrivals
    planned_units: int
    planned_weeks: int
    alpha: float
    power: float
    needs: tuple[Need, ...]
    running: dict[str, float | None] | None
    """Smallest effects that the units so far show, by metric; None before the start."""
    exposed_units: int | None
    """Units of the arms so far; None before the start."""

    @property
    def needed_units(self) -> int | None:
        """Units that see the primary's minimum effect; None where the past says nothing about it."""
        return self.needs[0].units

    @property
    def units_for_guardrails(self) -> int | None:
        """Units that prove every guardrail to be within its margin; None without one, or where one says nothing."""
        units = [need.units for need in self.needs if need.role == "guardrail"]
        known = [each for each in units if each is not None]
        return max(known) if known and len(known) == len(units) else None

    def document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "experiment": self.experiment,
            "placement": self.placement,
            "past": {
                "from": self.past[0].isoformat(),
                "to": self.past[1].isoformat(),
                "covariate_weeks": self.covariate_weeks,
                "units": self.past_units,
                "units_by_day": list(self.coming.cumulative),
                "share_of_the_arms": self.coming.share,
            },
            "plan": {
                "units": self.planned_units,
                "weeks": self.planned_weeks,
                "alpha": self.alpha,
                "power": self.power,
                "units_by_its_end": self.coming.after(7 * self.planned_weeks),
            },
            "needs": [asdict(need) for need in self.needs],
            "needed_units": self.needed_units,
            "units_for_guardrails": self.units_for_guardrails,
            "enough": None if self.needed_units is None else self.planned_units >= self.needed_units,
            "running": None
            if self.running is None
            else {"units": self.exposed_units, "detectable_effects": self.running},
        }


def power(workspace: Workspace, name: str) -> Powered:
    """Plan an experiment by what was logged before its start, and see what it can show now.

    The past is as long as the experiment and its pre-period where the log goes back so far; of a shorter one, half is
    the past and half the pre-period.

    Raises:
        ExperimentError: if the default model's lists are not logged for a week and one outcome window before it.
    """
    experiment = workspace.catalog.experiment(name)
    placement = workspace.catalog.placement(experiment.placement)
    problem = workspace.catalog.problem(placement.problem)
    now, (start, end) = workspace.clock.now(), experiment.plan.window()
    until = min(now, start)
    stages = stage_metrics(problem.funnel.stages) if problem.funnel else {}
    declared = {**workspace.catalog.metrics, **stages}
    wanted = experiment.metrics.model_copy(update={"secondary": (*experiment.metrics.secondary, *stages)})
    planned = experiment.model_copy(update={"metrics": wanted})
    longest = window_of(problem.target.horizon, metric_definitions(planned, declared))
    exposures = workspace.event_log.exposures(
        experiment.placement,
        until - timedelta(weeks=experiment.plan.weeks + experiment.metrics.covariate_weeks) - longest,
        until,
    )
    weeks = _weeks(name, experiment, exposures, placement.model, until, longest)
    past, relabelled = as_if_before(planned, exposures, placement.model, until, weeks)
    metrics = _read(workspace, PAST, past, relabelled, problem, declared, until, placement.model)
    coming = arrivals(metrics, past.plan.start, _share(experiment))
    running = now > start
    so_far = None
    if running:
        shown = workspace.event_log.exposures(
            experiment.placement, start - timedelta(weeks=experiment.metrics.covariate_weeks), end
        )
        so_far = _read(workspace, name, experiment, shown, problem, declared, now, placement.model)
    return Powered(
        experiment=name,
        placement=experiment.placement,
        past=(past.plan.start, until),
        covariate_weeks=weeks[1],
        past_units=metrics.units.num_rows,
        coming=coming,
        planned_units=experiment.plan.units,
        planned_weeks=experiment.plan.weeks,
        alpha=experiment.plan.alpha,
        power=experiment.plan.power,
        needs=needs(experiment, metrics, coming, stages),
        running=None if so_far is None else detectable_now(experiment, so_far),
        exposed_units=None if so_far is None else so_far.units.num_rows,
    )


def _weeks(
    name: str, experiment: Experiment, exposures: pa.Table, default_model: str, until: datetime, longest: timedelta
) -> tuple[int, int]:
    """Return how many whole weeks are the past, and how many before it the pre-period."""
    _, own = as_if_before(experiment, exposures, default_model, until, (1, 0))
    oldest = pc.min(own[schema.EVENT_TIMESTAMP]).as_py()
    known = 0 if oldest is None else -((oldest - until) // _WEEK)
    plan, covariate = experiment.plan.weeks, experiment.metrics.covariate_weeks
    weeks = plan if known >= plan + covariate else max(1, min(plan, known // 2 if covariate else known))
    if oldest is None or until - max(oldest, until - weeks * _WEEK) < longest:
        message = (
            f"experiment {name}: no list of placement {experiment.placement} by its default model {default_model} is"
            f" logged whose outcomes are known at {until:%Y-%m-%d %H:%M}: power is judged by such lists; serve the"
            f" placement for some weeks before the start, or try a `recsys replay`"
        )
        raise ExperimentError(message)
    return weeks, max(0, min(covariate, known - weeks))


def _read(
    workspace: Workspace,
    name: str,
    experiment: Experiment,
    exposures: pa.Table,
    problem: Problem,
    declared: dict[str, OnlineMetric],
    now: datetime,
    default_model: str,
) -> UnitMetrics:
    definitions = metric_definitions(experiment, declared)
    start, end = experiment.plan.window()
    since = start - timedelta(weeks=experiment.metrics.covariate_weeks)
    last = min(now, end)
    types = sorted({problem.target.event, *event_types(definitions)})
    log = log_tables(workspace, experiment, exposures, types, since, last)
    return unit_metrics(
        workspace.engine,
        name,
        experiment,
        log,
        now=now,
        horizon=problem.target.horizon,
        event_type=problem.target.event,
        default_model=default_model,
        declared=declared,
    )


def _share(experiment: Experiment) -> float:
    """Return the share of all units that the arms take together now."""
    taken = sum(last - first for first, last in (arm.bucket_range() for arm in experiment.arms.values()))
    if experiment.layer is None:
        return taken / RATIO_UNITS
    first, last = experiment.layer.bucket_range()
    return taken / RATIO_UNITS * (last - first) / RATIO_UNITS
