"""What would an experiment have shown on real history?

`recsys replay` lives it through week by week under the replay clock. Each step brings an online store of the replay's
own up to its moment, asks the resolver for every unit known by then, and logs the answers as exposures; what really
happened in the horizon after it is logged as outcomes. The weeks before the start are served by the default model
alone: they are the covariate. Outcomes of a replay are real, and no list of it has caused them.
"""

import json
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

from recsys.data.knowledge import known_sql
from recsys.errors import ExperimentError
from recsys.experiment.routing import window
from recsys.ports import Exposure
from recsys.schema import EVENTS
from recsys.serving.resolver import Resolver
from recsys.specs.catalog import digest
from recsys.specs.experiment import Experiment
from recsys.specs.placement import Placement
from recsys.workflows.exclusive import FEATURES, REPLAY, exclusive, sweep
from recsys.workflows.features.item_models import fit_item_models, write_item_models
from recsys.workflows.features.table_records import manifest, require_built, require_events
from recsys.workflows.git import author
from recsys.workflows.serving.resolvers import FixedClock, known_units, recorded_champion, resolver_for
from recsys.workflows.workspace import Workspace, file_digest

Progress = Callable[[str, int, int], None]

STEP: Final = timedelta(days=7)
_NAMESPACE: Final = uuid.UUID("2f9ce1a8-6d3a-5b0e-9a51-6f7f0d0e6c11")
"""Of request ids: the same step and unit give the same id, so that a replay that is run again logs nothing twice."""

_OUTCOMES: Final = """
select * from ({known}) where event_type = '{event}' and quantity > 0
  and event_timestamp > timestamptz '{start}' and event_timestamp <= timestamptz '{end}'
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

    A run that was killed half-way is run again: it writes the same ids, so the log ends as if nothing had happened.

    Raises:
        ExperimentError: if the environment has no replay clock, an arm has no weights in service, or the log holds
        another run, or a part of one.
        FeatureError: if the feature tables are not up to date.
        StoreError: if another replay, or other work on the experiment or the features, takes too long.
    """
    workspace.catalog.experiment(name)
    command = f"recsys replay {name}"
    with (
        exclusive(workspace, REPLAY, command),
        exclusive(workspace, f"experiment-{name}", command),
        exclusive(workspace, FEATURES, command, shared=True),
    ):
        return _replay(workspace, name, progress or (lambda *_: None))


def _replay(workspace: Workspace, name: str, tell: Progress) -> Replayed:
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
    require_events(workspace)
    identity = _identity(workspace, experiment)
    transaction, known = _logged(workspace, name, identity)
    if known is not None:
        return known
    require_built(workspace)
    sweep(workspace.state, "clock.*.partial")
    if transaction is None:
        transaction = str(uuid.uuid4())
        _record(workspace, name, transaction, "intent", {"identity": identity}, workspace.clock.now())
    folder = workspace.replay_state / name
    shutil.rmtree(folder, ignore_errors=True)
    exposures, fallbacks = _live_through(workspace, name, experiment, steps, folder, tell)
    end = steps[-1] + target.horizon
    outcomes = workspace.engine.query(
        _OUTCOMES.format(
            known=known_sql("events", end), event=target.event, start=steps[0].isoformat(), end=end.isoformat()
        ),
        {"events": workspace.events},
    )
    workspace.event_log.write_outcomes(outcomes.select(EVENTS.names).cast(EVENTS))
    workspace.clock.move(end)
    done = Replayed(name, len(steps), exposures, len(outcomes), fallbacks, end, reused=False)
    payload = {
        "identity": identity,
        "steps": len(steps),
        "exposures": exposures,
        "outcomes": len(outcomes),
        "fallbacks": fallbacks,
    }
    _record(workspace, name, transaction, "done", payload, end)
    return done


def _record(
    workspace: Workspace, name: str, transaction: str, state: str, payload: Mapping[str, Any], at: datetime
) -> None:
    workspace.ledger.append(
        transaction=transaction,
        state=state,
        action="replay",
        subject=name,
        payload=payload,
        author=author(),
        at=at,
    )


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


def _logged(workspace: Workspace, name: str, identity: str) -> tuple[str | None, Replayed | None]:
    """Return the transaction that the ledger holds of this replay, and what it gave, if it came to its end."""
    runs = [entry for entry in workspace.ledger.entries(name) if entry.action == "replay"]
    if not runs:
        return None, None
    last = runs[-1]
    ended = last.state == "done"
    if last.payload["identity"] != identity:
        message = (
            f"replay of {name}: the event log holds {'a replay' if ended else 'a part of a replay'} of it with other"
            f" weights, data or declaration, run at {last.event_timestamp:%Y-%m-%d}; one log holds one run of an"
            f" experiment: declare a new experiment (with a seed of its own), or start with an empty state folder"
        )
        raise ExperimentError(message)
    if not ended:
        return last.transaction, None
    payload = last.payload
    return last.transaction, Replayed(
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
    features, item_models = workspace.adapters.features(folder), workspace.adapters.item_models(folder)
    placement, memory = workspace.catalog.placement(experiment.placement), workspace.environment.limits.memory_bytes
    resolver = resolver_for(workspace, experiment.placement, features, clock, {name: experiment}, item_models)
    read = _read_views(workspace, placement, experiment)
    logged = fallbacks = 0
    for number, moment in enumerate(steps):
        clock.at = moment
        tell(f"week of {moment:%Y-%m-%d}: materialize", number, len(steps))
        features.materialize(moment, steps[number - 1] if number else None, read)
        fitted = fit_item_models(features, [(experiment.placement, placement)], moment, memory)
        write_item_models(item_models, fitted)
        resolver.refresh()
        units = known_units(workspace, experiment.placement, moment)
        tell(f"week of {moment:%Y-%m-%d}: {len(units):,} requests", number, len(steps))
        answers = list(_answers(resolver, name, moment, units))
        workspace.event_log.write_exposures(answers)
        logged += len(answers)
        fallbacks += sum(answer.fallback is not None for answer in answers)
        tell(f"week of {moment:%Y-%m-%d}: done", number + 1, len(steps))
    return logged, fallbacks


def _read_views(workspace: Workspace, placement: Placement, experiment: Experiment) -> set[str]:
    """Return the views that a replay's answers read: for sources, filters, the arms' models and the champion."""
    versions = {arm.model_version for arm in experiment.arms.values()}
    champion = recorded_champion(workspace, placement.model)
    if champion is not None:
        versions.add(champion.model_version)
    services = {workspace.catalog.model(version).feature_service for version in versions}
    views = {view.name for service in services for view in workspace.features.feature_set(service).views}
    return views | {placement.pool.view, *placement.history_views}


def _answers(resolver: Resolver, name: str, moment: datetime, units: list[str]) -> Iterator[Exposure]:
    for unit in units:
        request_id = str(uuid.uuid5(_NAMESPACE, json.dumps([name, moment.isoformat(), unit])))
        yield resolver.recommend(unit, request_id=request_id).exposure
