"""Were requests answered with the features that training would have seen? `recsys skew`."""

import hashlib
import heapq
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from recsys.decision.alerts import Alert, skew_alerts
from recsys.errors import ExperimentError, ModelError, SpecError
from recsys.evaluation.skew.comparison import compare
from recsys.evaluation.skew.findings import Skew
from recsys.planning.state import APPLY
from recsys.ports import Exposure
from recsys.schema import REQUEST_ID
from recsys.serving.ladder import UNIT_UNKNOWN
from recsys.workflows.exclusive import FEATURES, exclusive
from recsys.workflows.features.table_records import require_events
from recsys.workflows.modeling.training_data import Progress
from recsys.workflows.monitoring.logged_rows import LoggedRows
from recsys.workflows.monitoring.monitored import Monitored, exposures_of, monitored
from recsys.workflows.workspace import Workspace


@dataclass(frozen=True)
class Skewed:
    """What a sample of logged requests shows."""

    of: Monitored
    logged: int
    """Requests in the time that a model answered, and contacts by campaigns."""
    unit_unknown: int
    """Of the sample, those that were answered without the unit's rows, as they say themselves; not compared."""
    unchecked: tuple[str, ...]
    """Views that no table is made of, and versions or weights that are gone, with why."""
    skew: Skew
    alerts: tuple[Alert, ...]


def skew(
    workspace: Workspace,
    name: str | None = None,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    sample: int | None = None,
    progress: Progress | None = None,
) -> Skewed:
    """Compare the logged features of a sample of requests and contacts with the offline tables.

    Args:
        workspace: the project.
        name: an experiment, a model, or a version; all models by default.
        since: the first moment; an experiment's start, or the monitor's lookback, by default.
        until: the moment after the last.
        sample: requests of a model at most; as the monitor declares by default.
        progress: told how far the work is.

    Raises:
        SpecError: if nothing has the name.
        ExperimentError: if no request with logged features is there, or none whose version and weights still are.
        DataError: if there are no events yet.
        FeatureError: if a view or feature is not declared any more.
        StoreError: if the features are built for too long.
    """
    tell = progress or (lambda *_: None)
    require_events(workspace)
    what = monitored(workspace, name, since, until)
    shown = exposures_of(workspace, what, contacts=True)
    found = _sampled(workspace, what, shown, sample or what.limits.skew.sample)
    if not found:
        raise ExperimentError(_why_none(workspace, what, len(shown)))
    mine = [each for each in found if each.fallback != UNIT_UNKNOWN]
    rows = LoggedRows(workspace)
    groups, unchecked = [], []
    with exclusive(workspace, FEATURES, "recsys skew", shared=True):
        for number, (version, exposures) in enumerate(by_definitions := _grouped(workspace, mine)):
            tell(f"features of {version}", number, len(by_definitions))
            try:
                groups.append(rows.logged(version, exposures))
            except (SpecError, ModelError) as error:  # a version or its weights may be gone, and others are still here
                unchecked.append(f"{version}, {len(exposures):,} requests: {' '.join(str(error).split())}")
    if unchecked and not groups:
        message = f"{what.name}: nothing can be compared: {unchecked[0]}"
        raise ExperimentError(message)
    result = compare(groups)
    return Skewed(
        what,
        len(shown),
        len(found) - len(mine),
        (*unchecked, *rows.unchecked),
        result,
        skew_alerts(what.name, result, what.limits.skew),
    )


def document(done: Skewed) -> dict[str, Any]:
    """Return a comparison as JSON values."""
    result = done.skew
    return {
        "of": done.of.name,
        "from": done.of.start.isoformat(),
        "to": done.of.end.isoformat(),
        "logged_requests": done.logged,
        "requests": result.requests,
        "rows": result.rows,
        "skewed_rows": result.skewed_rows,
        "skewed_share": result.skewed_share,
        "restated_rows": result.restated_rows,
        "restated_share": result.restated_share,
        "answered_without_unit": done.unit_unknown,
        "unchecked": list(done.unchecked),
        "findings": [asdict(finding) | {"cause": str(finding.cause)} for finding in result.findings],
        "alerts": [asdict(alert) for alert in done.alerts],
    }


def _sampled(workspace: Workspace, what: Monitored, shown: pa.Table, limit: int) -> list[Exposure]:
    """Read so many requests of each model that have their features, whenever and wherever they were answered."""
    log = workspace.event_log
    places = (*what.placements, *what.audiences)
    kept = {request for place in places for request in log.with_features(place, what.start, what.end)}
    of_model: dict[str, list[str]] = {}
    for request, version in zip(shown[REQUEST_ID].to_pylist(), shown["model_version"].to_pylist(), strict=True):
        if request in kept:
            of_model.setdefault(version.partition("/")[0], []).append(request)
    chosen = [request for mine in of_model.values() for request in heapq.nsmallest(limit, mine, key=_drawn)]
    return [exposure for request in chosen if (exposure := log.request(request)) is not None]


def _drawn(request_id: str) -> bytes:
    """Return what orders requests by chance, and not as the log chose those that keep their features."""
    return hashlib.blake2b(request_id.encode(), digest_size=8, person=b"skew").digest()


def _why_none(workspace: Workspace, what: Monitored, answered: int) -> str:
    time = f"from {what.start:%Y-%m-%d} to {what.end:%Y-%m-%d}"
    other_days = "look at other days (--from, --to)"
    if answered:
        return (
            f"{what.name}: of {answered:,} requests and contacts {time} that a model answered, none has its features"
            f" logged: set `serve.feature_rows` in registry/environments/{workspace.environment_name}.yaml, which"
            f" counts for those that come, or {other_days}"
        )
    nothing = f"{what.name}: no request or contact is logged {time} that a model answered"
    model = what.version or what.model
    known = [] if model is None else workspace.registry.search(model.partition("/")[0])
    if model is not None and not any(model in {each.model, each.model_version} for each in known):
        version = what.version or f"{model}/<version>"
        return f"{nothing}: it was never trained; run `recsys train --model-version {version}`"
    return f"{nothing}: serve lists (`recsys serve`, or `recsys log sent` of a batch), or {other_days}"


def _grouped(workspace: Workspace, exposures: Sequence[Exposure]) -> list[tuple[str, list[Exposure]]]:
    """Group by version, placement and what was changed since, which goes by the applies between."""
    applies = {entry.event_timestamp for entry in workspace.ledger.entries() if entry.action == APPLY}
    groups: dict[tuple[str, int, str, int], list[Exposure]] = {}
    for each in sorted(exposures, key=lambda shown: (shown.made_at, shown.request_id)):
        since = sum(at <= each.made_at for at in applies)
        groups.setdefault((str(each.model_version), each.weights or 0, each.placement, since), []).append(each)
    return [(key[0], found) for key, found in groups.items()]
