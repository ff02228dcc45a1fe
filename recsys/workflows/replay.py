"""What would an experiment have shown on real history?

`recsys replay` lives it through week by week under the replay clock. Each step brings an online store of the replay's
own up to its moment, asks the resolver for every unit known by then, and logs the answers as exposures; what really
happened in the horizon after it is logged as outcomes. The weeks before the start are served by the default model
alone: they are the covariate. Outcomes of a replay are real, and no list of it has caused them.
"""

import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from recsys.errors import ExperimentError
from recsys.experiment.routing import window
from recsys.ports import Exposure
from recsys.schema import EVENTS
from recsys.serving.resolver import Resolver
from recsys.specs.catalog import digest
from recsys.specs.experiment import Experiment
from recsys.workflows.features import manifest
from recsys.workflows.git import author
from recsys.workflows.serving import FixedClock, known_units, resolver_for
from recsys.workflows.workspace import Workspace, file_digest

Progress = Callable[[str, int, int], None]

STEP: Final = timedelta(days=7)
_NAMESPACE: Final = uuid.UUID("2f9ce1a8-6d3a-5b0e-9a51-6f7f0d0e6c11")
"""Of request ids: the same step and unit give the same id, so that a replay that is run again logs nothing twice."""

_OUTCOMES: Final = """
select * from events
where event_type = '{event}' and event_timestamp > timestamptz '{start}' and event_timestamp <= timestamptz '{end}'
order by event_timestamp, event_id
"""


@runtime_checkable
class MovableClock(Protocol):
    """A clock that a replay may move."""

    def now(self) -> datetime:
        """Return where it stands."""
        ...

    def move(self, to: datetime) -> None:
        """Move it forward."""
        ...


@dataclass(frozen=True)
class Replayed:
    """What a replay logged."""

    experiment: str
    steps: int
    exposures: int
    outcomes: int
    fallbacks: int
    """Exposures that some step of the fallback ladder answered."""
    until: datetime
    """Where the environment's clock stands afterwards."""
    reused: bool


def replay(workspace: Workspace, name: str, progress: Progress | None = None) -> Replayed:
    """Run an experiment over history, or report the run that the log holds already.

    Raises:
        ExperimentError: if the environment has no replay clock, an arm has no weights in service, or the log holds
        another run.
    """
    experiment = workspace.catalog.experiment(name)
    if not isinstance(workspace.clock, MovableClock):
        message = (
            f"replay of {name}: environment {workspace.environment_name} has the system's clock;"
            " give it clock: {replay_from: …} or choose another with --env"
        )
        raise ExperimentError(message)
    placement = workspace.catalog.placement(experiment.placement)
    target = workspace.catalog.problem(placement.problem).target
    steps = list(_steps(experiment))
    identity = _identity(workspace, experiment)
    known = _logged(workspace, name, identity)
    if known is not None:
        return known
    folder = workspace.replay_state / name
    shutil.rmtree(folder, ignore_errors=True)
    exposures, fallbacks = _live_through(workspace, name, experiment, steps, folder, progress or (lambda *_: None))
    end = steps[-1] + target.horizon
    outcomes = workspace.engine.query(
        _OUTCOMES.format(event=target.event, start=steps[0].isoformat(), end=end.isoformat()),
        {"events": workspace.events},
    )
    logged = workspace.event_log.write_outcomes(outcomes.select(EVENTS.names).cast(EVENTS))
    workspace.clock.move(end)
    done = Replayed(name, len(steps), exposures, logged, fallbacks, end, reused=False)
    workspace.ledger.append(
        transaction=str(uuid.uuid4()),
        state="done",
        action="replay",
        subject=name,
        payload={
            "identity": identity,
            "steps": len(steps),
            "exposures": exposures,
            "outcomes": logged,
            "fallbacks": fallbacks,
        },
        author=author(),
        at=end,
    )
    return done


def _steps(experiment: Experiment) -> Iterator[datetime]:
    start, end = window(experiment)
    moment = start - timedelta(weeks=experiment.metrics.covariate_weeks)
    while moment < end:
        yield moment
        moment += STEP


def _identity(workspace: Workspace, experiment: Experiment) -> str:
    """Digest what a replay's answers depend on: declaration, weights of the arms, events and feature tables."""
    weights = {}
    for name, arm in experiment.arms.items():
        model, _, version = arm.model_version.partition("/")
        served = workspace.registry.resolve(model, f"logic-{version}")
        if served is None:
            message = (
                f"arm {name}: {arm.model_version} has no weights in service; run"
                f" `recsys train --model-version {arm.model_version}` until its gate passes"
            )
            raise ExperimentError(message)
        weights[name] = served.number
    return digest(
        {
            "experiment": experiment.model_dump(mode="json"),
            "placement": workspace.catalog.placement(experiment.placement).model_dump(mode="json"),
            "weights": weights,
            "events": file_digest(workspace.events),
            "tables": {name: entry["digest"] for name, entry in manifest(workspace).items()},
        }
    )


def _logged(workspace: Workspace, name: str, identity: str) -> Replayed | None:
    runs = [entry for entry in workspace.ledger.entries(name) if entry.action == "replay" and entry.state == "done"]
    if not runs:
        return None
    last = runs[-1]
    if last.payload["identity"] != identity:
        message = (
            f"replay of {name}: the event log holds a replay of it with other weights, data or declaration, run at"
            f" {last.event_timestamp:%Y-%m-%d}; one log holds one run of an experiment: declare a new"
            f" experiment (with a seed"
            f" of its own), or start with an empty state folder"
        )
        raise ExperimentError(message)
    payload = last.payload
    return Replayed(
        name,
        int(payload["steps"]),
        int(payload["exposures"]),
        int(payload["outcomes"]),
        int(payload["fallbacks"]),
        last.event_timestamp,
        reused=True,
    )


def _live_through(
    workspace: Workspace, name: str, experiment: Experiment, steps: list[datetime], folder: Path, tell: Progress
) -> tuple[int, int]:
    clock = FixedClock(steps[0])
    features = workspace.adapters.features(folder)
    resolver = resolver_for(workspace, experiment.placement, features, clock, {name: experiment})
    logged = fallbacks = 0
    for number, moment in enumerate(steps):
        clock.at = moment
        tell(f"week of {moment:%Y-%m-%d}: materialize", number, len(steps))
        features.materialize(moment, steps[number - 1] if number else None)
        resolver.refresh()
        units = known_units(workspace, experiment.placement, moment)
        tell(f"week of {moment:%Y-%m-%d}: {len(units):,} requests", number, len(steps))
        answers = list(_answers(resolver, name, moment, units))
        workspace.event_log.write_exposures(answers)
        logged += len(answers)
        fallbacks += sum(answer.fallback is not None for answer in answers)
        tell(f"week of {moment:%Y-%m-%d}: done", number + 1, len(steps))
    return logged, fallbacks


def _answers(resolver: Resolver, name: str, moment: datetime, units: list[str]) -> Iterator[Exposure]:
    for unit in units:
        request_id = str(uuid.uuid5(_NAMESPACE, json.dumps([name, moment.isoformat(), unit])))
        yield resolver.recommend(unit, request_id=request_id).exposure
