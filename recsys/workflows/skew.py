"""Were requests answered with the features that training would have seen? `recsys skew`."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from recsys.decision.alerts import Alert, skew_alerts
from recsys.errors import ExperimentError
from recsys.evaluation.skew.comparison import compare
from recsys.evaluation.skew.findings import Skew
from recsys.planning.state import APPLY
from recsys.ports import Exposure
from recsys.schema import REQUEST_ID
from recsys.serving.ladder import UNIT_UNKNOWN, drawn
from recsys.workflows.exclusive import FEATURES, exclusive
from recsys.workflows.logged_rows import LoggedRows
from recsys.workflows.monitored import Monitored, exposures_of, monitored
from recsys.workflows.table_records import require_events
from recsys.workflows.training_data import Progress
from recsys.workflows.workspace import Workspace

_WITHOUT: Final = 50
"""So many requests in a row without logged features, in the order of the sample, end the search for more."""


@dataclass(frozen=True)
class Skewed:
    """What a sample of logged requests shows."""

    of: Monitored
    logged: int
    """Requests in the time that a model answered."""
    unit_unknown: int
    """Of the sample, those that were answered without the unit's rows, as they say themselves; not compared."""
    unchecked: tuple[str, ...]
    """Views that no table is made of, with why."""
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
    """Compare the logged features of a sample of requests with the offline tables.

    Args:
        workspace: the project.
        name: an experiment, a model, or a version; all models by default.
        since: the first moment; an experiment's start, or the monitor's lookback, by default.
        until: the moment after the last.
        sample: requests at most; as the monitor declares by default.
        progress: told how far the work is.

    Raises:
        SpecError: if nothing has the name.
        ExperimentError: if no request with logged features is there.
        DataError: if there are no events yet.
        FeatureError: if a view or feature is not declared any more.
        StoreError: if the features are built for too long.
    """
    tell = progress or (lambda *_: None)
    require_events(workspace)
    what = monitored(workspace, name, since, until)
    limit = sample or what.limits.skew.sample
    shown = exposures_of(workspace, what)
    found = list(_sampled(workspace, shown[REQUEST_ID].to_pylist(), limit))
    if not found:
        message = (
            f"{what.name}: {len(shown):,} requests from {what.start:%Y-%m-%d} to {what.end:%Y-%m-%d} were answered by a"
            " model, and none has its features logged: set `serve.feature_rows` in registry/environments/"
            f"{workspace.environment_name}.yaml, or look at other days (--from, --to)"
        )
        raise ExperimentError(message)
    mine = [each for each in found if each.fallback != UNIT_UNKNOWN]
    rows, groups = LoggedRows(workspace), []
    with exclusive(workspace, FEATURES, "recsys skew", shared=True):
        for number, (version, exposures) in enumerate(by_definitions := _grouped(workspace, mine)):
            tell(f"features of {version}", number, len(by_definitions))
            groups.append(rows.logged(version, exposures))
    result = compare(groups)
    return Skewed(
        what,
        len(shown),
        len(found) - len(mine),
        rows.unchecked,
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


def _sampled(workspace: Workspace, requests: Sequence[str], limit: int) -> Iterator[Exposure]:
    """Read requests with logged features, in the order in which any share of them is sampled."""
    found = without = 0
    for request in sorted(requests, key=drawn):
        if found == limit or without == _WITHOUT:
            return
        exposure = workspace.event_log.request(request)
        if exposure is None or exposure.features is None:
            without += 1
            continue
        without = 0
        found += 1
        yield exposure


def _grouped(workspace: Workspace, exposures: Sequence[Exposure]) -> list[tuple[str, list[Exposure]]]:
    """Group by version, placement and what was changed since, which goes by the applies between."""
    applies = {entry.event_timestamp for entry in workspace.ledger.entries() if entry.action == APPLY}
    groups: dict[tuple[str, int, str, int], list[Exposure]] = {}
    for each in sorted(exposures, key=lambda shown: (shown.made_at, shown.request_id)):
        since = sum(at <= each.made_at for at in applies)
        groups.setdefault((str(each.model_version), each.weights or 0, each.placement, since), []).append(each)
    return [(key[0], found) for key, found in groups.items()]
