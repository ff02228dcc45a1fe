"""What is looked after: an experiment's lists, or those of a model, wherever they are shown or sent?"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from recsys.errors import SpecError
from recsys.experiment.routing import window
from recsys.schema import EXPOSURES
from recsys.specs.catalog import Catalog
from recsys.specs.monitor import Monitor
from recsys.workflows.workspace import Workspace

ALL: Final = "every model"


@dataclass(frozen=True)
class Monitored:
    """Some logged lists."""

    name: str
    """As it was asked for."""
    experiment: str | None
    """Where it is one."""
    model: str | None
    """The registered model, such as basket; None where all are meant."""
    version: str | None
    """One of its versions, such as basket/v2, where one was named."""
    placements: tuple[str, ...]
    """Where its lists are shown."""
    audiences: tuple[str, ...]
    """Whom its campaigns reach."""
    start: datetime
    """The first moment."""
    end: datetime
    """The moment after the last."""
    limits: Monitor
    """Of the model."""


def monitored(
    workspace: Workspace, name: str | None, since: datetime | None = None, until: datetime | None = None
) -> Monitored:
    """Find what a name means: an experiment, a model, one of its versions, or all models.

    Args:
        workspace: the project.
        name: of an experiment, of a model (basket) or of a version (basket/v2); all models by default.
        since: the first moment; of an experiment its start, else the monitor's lookback before `until` by default.
        until: the moment after the last; the environment's time by default, of an experiment its end at the latest.

    Raises:
        SpecError: if nothing has the name.
    """
    catalog = workspace.catalog
    clock = workspace.clock.now()
    # What was answered at this very moment counts: a replay's clock stands still while lists are made.
    now = clock + timedelta(microseconds=1)
    if name is not None and name in catalog.experiments:
        experiment = catalog.experiments[name]
        start, end = window(experiment)
        placement = catalog.placement(experiment.placement)
        limits = catalog.monitor(placement.model)
        last = until or max(min(now, end), start)
        return Monitored(name, name, placement.model, None, (experiment.placement,), (), since or start, last, limits)
    if name is None:
        end = until or now
        limits = Monitor()
        places, audiences = tuple(catalog.placements), tuple(catalog.audiences)
        first = since or (until or clock) - limits.lookback
        return Monitored(ALL, None, None, None, places, audiences, first, end, limits)
    model = name.partition("/")[0]
    if name not in catalog.models and name not in catalog.registered_models():
        raise SpecError([_unknown(catalog, name)])
    problems = {spec.problem for version, spec in catalog.models.items() if version.partition("/")[0] == model}
    places = tuple(place for place, spec in catalog.placements.items() if spec.problem in problems)
    audiences = tuple(name for name, spec in catalog.audiences.items() if spec.problem in problems)
    limits = catalog.monitor(model)
    end = until or now
    version = name if name in catalog.models else None
    first = since or (until or clock) - limits.lookback
    return Monitored(name, None, model, version, places, audiences, first, end, limits)


def _unknown(catalog: Catalog, name: str) -> str:
    model = name.partition("/")[0]
    versions = sorted(version for version in catalog.models if version.partition("/")[0] == model)
    if versions:
        return f"{name}: model {model} has no such version; it has {', '.join(versions)}"
    experiments = ", ".join(sorted(catalog.experiments)) or "none"
    models = ", ".join(catalog.registered_models()) or "none"
    return f"{name}: neither an experiment nor a model; experiments: {experiments}; models: {models}"


def exposures_of(workspace: Workspace, what: Monitored, *, contacts: bool = False) -> pa.Table:
    """Return the exposures of what is looked after that a model answered, testers left out.

    Args:
        workspace: the project.
        what: the lists.
        contacts: whether the contacts of its campaigns are among them.

    Returns:
        As `EventLog.exposures`, placements one after another.
    """
    tables = [EXPOSURES.empty_table()]
    for place in (*what.placements, *(what.audiences if contacts else ())):
        shown = workspace.event_log.exposures(place, what.start, what.end)
        shown = shown.filter(pc.and_(pc.is_valid(shown["model_version"]), pc.invert(shown["overridden"])))
        if what.experiment is not None:
            shown = shown.filter(pc.fill_null(pc.equal(shown["experiment"], what.experiment), False))
        elif what.version is not None:
            shown = shown.filter(pc.equal(shown["model_version"], what.version))
        elif what.model is not None:
            shown = shown.filter(pc.starts_with(shown["model_version"], f"{what.model}/"))
        tables.append(shown)
    return pa.concat_tables(tables)


def given_up(workspace: Workspace, what: Monitored) -> float | None:
    """Return the share of the lists that some step of the fallback ladder answered; None where there were none."""
    lists = steps = 0
    for placement in what.placements:
        shown = workspace.event_log.exposures(placement, what.start, what.end)
        lists += len(shown)
        steps += len(shown) - shown["fallback"].null_count
    return steps / lists if lists else None
