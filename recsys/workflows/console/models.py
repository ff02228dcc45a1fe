"""What is known of a registered model: its weights, its champion, where a version comes from, and what was decided?"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from recsys.decision.alias_moves import latest, moves_of
from recsys.decision.champion import champion_status, logic_alias, overrides
from recsys.decision.logic_weights import GATE_TAG, REASON_TAG
from recsys.errors import ModelError, SpecError
from recsys.planning.state import applied_state
from recsys.ports import LedgerEntry, NamedWeights, Weights
from recsys.workflows.declarations.plan import ledger_entries
from recsys.workflows.modeling.judging import REPORT
from recsys.workflows.monitoring.drift import kept_drift
from recsys.workflows.workspace import Workspace

_TAG: Final = "recsys."
_FOR_EVER: Final = "0s"
"""How a view says that its rows do not age."""


def model_summary(workspace: Workspace, registered: NamedWeights, model: str) -> dict[str, Any]:
    """Return a model's versions and who is champion.

    Args:
        workspace: the project.
        registered: what the registry says at this look.
        model: a registered model.

    Raises:
        StoreError: if the registry or the ledger cannot be read.
    """
    weights = registered.search(model)
    status = champion_status(registered, workspace.ledger, model)
    champion = next((each for each in weights if each.number == status.recorded), None)
    named = [version.partition("/")[2] for version in workspace.catalog.models if version.partition("/")[0] == model]
    versions = list(dict.fromkeys([*named, *(each.version for each in weights)]))
    overridden = overrides(workspace.ledger, model)
    return {
        "model": model,
        "champion": None if champion is None else {"model_version": champion.model_version, "weights": champion.number},
        "moved_outside": None if status.agrees else {"alias": _number(status.alias), "recorded": status.recorded},
        "versions": [_version(workspace, registered, model, version) for version in versions],
        "alerts": [] if champion is None else _alerts(workspace, champion),
        "overrides": [
            {"model_version": each.model_version, "reason": each.reason, "refused": list(each.refused)}
            for each in overridden.values()
        ],
    }


def _alerts(workspace: Workspace, champion: Weights) -> list[str]:
    """Return what the last `recsys drift` of these very weights found beyond the monitor's limits."""
    drift = kept_drift(workspace, champion.model_version)
    if drift is None or drift["weights"] != champion.number:
        return []
    return [each["message"] for each in drift.get("alerts") or ()]


def model_document(workspace: Workspace, registered: NamedWeights, model: str, version: str | None) -> dict[str, Any]:
    """Return a model, and one version of it in full.

    Args:
        workspace: the project.
        registered: what the registry says at this look.
        model: a registered model.
        version: one of its versions; the champion's by default, or else the first declared.

    Raises:
        SpecError: if there is no such model or version.
        StoreError: if the registry or the ledger cannot be read.
    """
    summary = model_summary(workspace, registered, model)
    names = [each["version"] for each in summary["versions"]]
    if not names:
        message = f"model {model}: no version of it is declared or registered"
        raise SpecError([message])
    champion = summary["champion"]
    shown = version or (champion["model_version"].partition("/")[2] if champion else names[0])
    if shown not in names:
        message = f"model {model}: version {shown} is neither declared nor registered; there are {', '.join(names)}"
        raise SpecError([message])
    entries = ledger_entries(workspace)
    named = f"{model}/{shown}"
    spec = workspace.catalog.models.get(named)
    weights = [each for each in registered.search(model) if each.version == shown]
    service = spec.feature_service if spec else next((each.tags.get("feast.feature_service") for each in weights), None)
    return {
        **summary,
        "version": shown,
        "declared": None if spec is None else spec.model_dump(mode="json"),
        "weights": [
            {"number": each.number, **{name.removeprefix(_TAG): value for name, value in each.tags.items()}}
            for each in reversed(weights)
        ],
        "placements": sorted(
            [name for name, place in workspace.catalog.placements.items() if place.model == model]
            + [name for name, place in workspace.catalog.audiences.items() if place.model == model]
        ),
        "lineage": None if service is None else lineage(entries, service),
        "report": model_report(workspace, registered, model, shown),
        "drift": kept_drift(workspace, named),
        "ledger": [_entry(each) for each in reversed(latest(workspace.ledger, model))],
    }


def model_report(workspace: Workspace, registered: NamedWeights, model: str, version: str) -> dict[str, Any] | None:
    """Return the offline report of a version's weights in service, or of its newest; None where there is none."""
    served = registered.resolve(model, logic_alias(version))
    mine = [each for each in registered.search(model) if each.version == version]
    weights = served or (mine[-1] if mine else None)
    if weights is None:
        return None
    try:
        found: dict[str, Any] = json.loads(workspace.registry.report(weights, REPORT))
    except ModelError:
        return None
    return found | {"weights": weights.number}


def lineage(entries: Sequence[LedgerEntry], service: str) -> dict[str, Any]:
    """Return what a feature service reads, as it was applied last: its views with their sources, and transforms.

    Args:
        entries: of the whole ledger.
        service: a feature service.
    """
    state = applied_state(entries)
    references: Sequence[str] = state["feature_services"].get(service, {}).get("references", ())
    asked: dict[str, list[str]] = {}
    for reference in references:
        view, _, feature = reference.partition(":")
        asked.setdefault(view, []).append(feature)
    transforms = {name: state["request_transforms"][name] for name in asked if name in state["request_transforms"]}
    read = {view for each in transforms.values() for view in each.get("reads", ())}
    views = {name: state["feature_views"].get(name, {}) for name in sorted({*asked, *read} - transforms.keys())}
    return {
        "service": service,
        "applied": bool(references),
        "views": [_view(name, view, asked.get(name, [])) for name, view in views.items()],
        "transforms": [
            {"name": name, "reads": list(each.get("reads", ())), "gives": asked[name]}
            for name, each in sorted(transforms.items())
        ],
    }


def _view(name: str, view: Mapping[str, Any], gives: list[str]) -> dict[str, Any]:
    source: Mapping[str, Any] = view.get("source") or {}
    options: Mapping[str, Any] = source.get("fileOptions") or {}
    return {
        "name": name,
        "keys": list(view.get("join_keys", ())),
        "ttl": None if view.get("ttl") == _FOR_EVER else view.get("ttl"),
        "gives": gives,
        "source": options.get("uri") or source.get("name"),
        "description": view.get("description") or "",
    }


def _version(workspace: Workspace, registered: NamedWeights, model: str, version: str) -> dict[str, Any]:
    mine = [each for each in registered.search(model) if each.version == version]
    served = registered.resolve(model, logic_alias(version)) if mine else None
    newest = mine[-1].tags if mine else {}
    return {
        "version": version,
        "model_version": f"{model}/{version}",
        "declared": f"{model}/{version}" in workspace.catalog.models,
        "in_service": _number(served),
        "trained": len(mine),
        "gate": newest.get(GATE_TAG),
        "gate_reason": newest.get(REASON_TAG),
        "known_at": newest.get("recsys.known_at"),
    }


def _number(weights: Weights | None) -> int | None:
    return None if weights is None else weights.number


def _entry(entry: LedgerEntry) -> dict[str, Any]:
    told = ("model_version", "experiment", "override", "reason", "digest")
    return {
        "at": entry.event_timestamp.isoformat(),
        "action": entry.action,
        "state": entry.state,
        "author": entry.author,
        "moves": [{"alias": move.alias, "before": move.before, "after": move.after} for move in moves_of(entry)],
        **{name: entry.payload.get(name) for name in told},
    }
