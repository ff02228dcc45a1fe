"""What did an audience's campaigns bring? `recsys evaluate AUDIENCE`: what came, what was expected, what was added.

Campaigns are those that `recsys log sent` logged. What units did is read from the shop's events, as labels are: as they
are known now, cancellations included.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.data.knowledge import known_sql
from recsys.decision.campaign_verdict import judge, wait
from recsys.errors import DataError
from recsys.evaluation.campaign_effects import Brought, brought
from recsys.evaluation.campaign_groups import Groups, groups
from recsys.evaluation.campaign_lists import SentCampaign, acted_within, calibration, kept
from recsys.evaluation.campaign_units import contact_metrics
from recsys.evaluation.silence import Silence, silence
from recsys.modeling.labels import unit_labels
from recsys.modeling.offline_evaluation.report import plain_values
from recsys.reports.campaigns import campaigns_page
from recsys.schema import EVENT_TIMESTAMP, EVENTS, REQUEST_ID, TIMESTAMP, USER
from recsys.specs.layer import Layer
from recsys.specs.problem import Problem
from recsys.statistics.bootstrap import Interval
from recsys.workflows.data.kept_campaigns import KeptCampaign, kept_campaigns
from recsys.workflows.exclusive import FEATURES, exclusive, write_text
from recsys.workflows.workspace import Workspace

_TIMES: Final = ("made_at", "sent_from", "sent_to")
_INSTANT: Final = timedelta(microseconds=1)


@dataclass(frozen=True)
class CampaignsEvaluated:
    """A report on campaigns."""

    document: dict[str, Any]
    """`audience`, `about`, `from`, `to`, `verdict`, `campaigns`, `calibration`, `brought`, `health`, `waiting`,
    `unsent`, `unknown_contacts`: JSON values."""
    page: Path
    """One HTML file; the JSON document is beside it."""

    @property
    def model_versions(self) -> tuple[str, ...]:
        """The versions that chose the units, each once."""
        return tuple(dict.fromkeys(each["model_version"] for each in self.document["campaigns"]))


def evaluate_campaigns(
    workspace: Workspace,
    audience: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    folder: Path | None = None,
) -> CampaignsEvaluated:
    """Evaluate an audience's campaigns up to the environment's clock.

    Args:
        workspace: the project.
        audience: its name.
        since: lists that were made from this moment on; all by default.
        until: and before this one.
        folder: where the page and its JSON are written; reports/campaigns of the state by default.

    Raises:
        SpecError: if the audience is not declared.
        DataError: if there are no events yet, or what was kept of a campaign is damaged.
        StoreError: if the features are built for too long, or the log cannot be read.
    """
    workspace.catalog.audience(audience)
    if not workspace.events.exists():
        message = f"audience {audience}: {workspace.shown(workspace.events)} is missing; run `recsys ingest` first"
        raise DataError(message)
    with exclusive(workspace, FEATURES, f"recsys evaluate {audience}", shared=True):
        document = _evaluated(workspace, audience, since, until)
    name = audience + ("-part" if since or until else "")
    path = (folder or workspace.state / "reports" / "campaigns") / f"{name}.html"
    write_text(path, campaigns_page(document))
    write_text(path.with_suffix(".json"), json.dumps(document, indent=2, ensure_ascii=False))
    return CampaignsEvaluated(document, path)


def _evaluated(workspace: Workspace, audience: str, since: datetime | None, until: datetime | None) -> dict[str, Any]:
    problem = workspace.catalog.problem(workspace.catalog.audience(audience).problem)
    now = workspace.clock.now()
    chosen = [
        each
        for each in kept_campaigns(workspace, audience)
        if (since is None or each.made_at >= since) and (until is None or each.made_at < until)
    ]
    first = min((each.made_at for each in chosen), default=since or now)
    logged = workspace.event_log.exposures(audience, first, now + _INSTANT)
    sent = [found for each in chosen if (found := _sent(each, logged)) is not None]
    events = silence(workspace.engine, workspace.events, now)
    ready, waiting = _mature(problem, sent, now, events)
    document = {
        "audience": audience,
        "about": _about(problem),
        "from": None if since is None else since.isoformat(),
        "to": None if until is None else until.isoformat(),
        "now": now.isoformat(),
        "waiting": [{**_named(each), "until": at.isoformat()} for each, at in waiting],
        "unsent": len(chosen) - len(sent),
        "unknown_contacts": _unknown(logged, sent) if since is None and until is None else None,
        **_compared(workspace, problem, ready, logged),
    }
    if not ready:
        verdict = wait([at for _, at in waiting], now, None if events is None else events.newest)
        document["verdict"] = asdict(verdict) | {"name": str(verdict.name)}
    return document


def _compared(
    workspace: Workspace, problem: Problem, ready: Sequence[SentCampaign], logged: pa.Table
) -> dict[str, Any]:
    """Return what came of mature campaigns, and what they added."""
    if not ready:
        return {"campaigns": [], "calibration": [], "brought": [], "health": None, "verdict": None}
    now, target = workspace.clock.now(), problem.target
    acted = _acted(workspace, problem, ready)
    confidence = 1 - problem.planning.alpha
    kept_promises = [kept(each, did, confidence=confidence) for each, did in zip(ready, acted, strict=True)]
    with_holdout = [each for each in ready if each.holdouts]
    compared: Groups | None = None
    found: tuple[Brought, ...] = ()
    if with_holdout:
        began = [each.sent_from for each in with_holdout]
        contacted = _between(logged, min(began), max(began) + target.horizon)
        compared = groups(with_holdout, contacted)
        definitions = contact_metrics(target, workspace.catalog.metrics)
        types = {each.event for one in definitions if one.declared for each in one.declared.events}
        outcomes = _outcomes(workspace, sorted(types), min(began), max(began) + target.horizon)
        found = brought(workspace.engine, compared, outcomes, target, problem.planning, workspace.catalog.metrics, now)
    health = None if compared is None else compared.health
    verdict = judge(found[0] if found else None, health, target.event)
    return {
        "campaigns": [
            plain_values(each) | {name: getattr(each, name).isoformat() for name in _TIMES} for each in kept_promises
        ],
        "calibration": plain_values(calibration(ready, acted, confidence=confidence)),
        "brought": plain_values(found),
        "health": plain_values(health),
        "verdict": asdict(verdict) | {"name": str(verdict.name)},
    }


# ---------------------------------------------------------------- what was sent, and when it is mature


def _sent(campaign: KeptCampaign, logged: pa.Table) -> SentCampaign | None:
    """Return a list with who was contacted; None where nobody was."""
    eligible = campaign.eligible()
    place = pc.index_in(eligible[REQUEST_ID], value_set=logged[REQUEST_ID].combine_chunks(), skip_nulls=True)
    place = place.combine_chunks() if isinstance(place, pa.ChunkedArray) else place
    moments = logged[EVENT_TIMESTAMP].take(place.drop_null()).to_pylist()
    if not moments:
        return None
    manifest = campaign.manifest
    layers = tuple(Layer.model_validate(each) for each in manifest["holdouts"].values())
    return SentCampaign(
        channel=manifest["channel"],
        capacity=manifest["capacity"],
        made_at=campaign.made_at,
        sent_from=min(moments),
        sent_to=max(moments),
        model_version=manifest["model_version"],
        holdouts=layers,
        eligible=eligible.append_column("sent", pc.is_valid(place)),
        written={"reached": manifest["units"], "held_out": manifest["would_be"]},
        stated_precision=_interval(manifest["precision"]),
        stated_recall=_interval(manifest["recall"]),
    )


def _mature(
    problem: Problem, sent: Sequence[SentCampaign], now: datetime, events: Silence | None
) -> tuple[list[SentCampaign], list[tuple[SentCampaign, datetime]]]:
    """Return the campaigns whose outcomes are complete, and the others with when theirs are to be."""
    target = problem.target
    ready, waiting = [], []
    for each in sent:
        end = each.sent_from + target.horizon
        if end + target.settle_delay <= now and events is not None and events.covers(end):
            ready.append(each)
        else:
            waiting.append((each, end + target.settle_delay))
    return ready, waiting


def _unknown(logged: pa.Table, sent: Sequence[SentCampaign]) -> int:
    """Count logged contacts of lists of which nothing is kept: of an earlier version, say."""
    return len(logged) - sum(int(np.count_nonzero(each.sent)) for each in sent)


# ---------------------------------------------------------------- what units did


def _acted(workspace: Workspace, problem: Problem, campaigns: Sequence[SentCampaign]) -> list[NDArray[np.bool_]]:
    """Return of each campaign's eligible units who acted within the horizon after the sending began."""
    times = sorted({each.sent_from for each in campaigns})
    labels = unit_labels(workspace.engine, workspace.events, problem.target, times, workspace.clock.now())
    stamps = labels[EVENT_TIMESTAMP].cast(TIMESTAMP)
    return [
        acted_within(each, labels[USER].filter(pc.equal(stamps, pa.scalar(each.sent_from, TIMESTAMP))))
        for each in campaigns
    ]


def _outcomes(workspace: Workspace, types: Sequence[str], start: datetime, end: datetime) -> pa.Table:
    """Return the shop's events of some types from one moment to another, as they are known now."""
    named = ", ".join("'" + each.replace("'", "''") + "'" for each in types)
    sql = (
        f"select {', '.join(EVENTS.names)} from ({known_sql('events', workspace.clock.now())})"
        f" where event_type in ({named}) and event_timestamp >= timestamptz '{start.isoformat()}'"
        f" and event_timestamp <= timestamptz '{end.isoformat()}'"
    )
    return workspace.engine.query(sql, {"events": workspace.events})


def _between(logged: pa.Table, start: datetime, end: datetime) -> pa.Table:
    stamps = logged[EVENT_TIMESTAMP].cast(TIMESTAMP)
    after = pc.greater_equal(stamps, pa.scalar(start, TIMESTAMP))
    return logged.filter(pc.and_(after, pc.less_equal(stamps, pa.scalar(end, TIMESTAMP))))


# ---------------------------------------------------------------- as JSON


def _about(problem: Problem) -> dict[str, Any]:
    target = problem.target
    return {
        "business_issue": problem.business_issue,
        "owners": problem.owners.model_dump(mode="json"),
        "event": target.event,
        "measure": target.measure,
        "horizon_days": target.horizon / timedelta(days=1),
        "alpha": problem.planning.alpha,
        "power": problem.planning.power,
    }


def _named(campaign: SentCampaign) -> dict[str, Any]:
    return {
        "channel": campaign.channel,
        "made_at": campaign.made_at.isoformat(),
        "sent_from": campaign.sent_from.isoformat(),
        "sent": int(np.count_nonzero(campaign.sent)),
    }


def _interval(value: Mapping[str, float] | None) -> Interval | None:
    return None if value is None else Interval(**value)
