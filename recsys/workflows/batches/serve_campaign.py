"""Whom does a campaign reach right now? `recsys serve-batch AUDIENCE --channel NAME`: ONE list of units, as parquet.

The list is cut at the channel's capacity. Its units, features and scores are made as in training, from the online
store; who said no on the channel, or nothing, who is held out and who was forgotten is not in it. Without a champion
there is no list, for a campaign that nobody chose is not sent.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from recsys.errors import FeatureError, ModelError, SpecError
from recsys.ports import FeatureSet, Weights
from recsys.serving.contact import contactable
from recsys.serving.list_rows import ELIGIBLE, MANIFEST
from recsys.serving.units import Selection, select_units
from recsys.specs.catalog import digest
from recsys.specs.model import CatBoostAlgorithm, ModelVersion
from recsys.specs.placement import Audience
from recsys.statistics.bootstrap import Interval
from recsys.statistics.chances import Chances, share_acting, share_reached
from recsys.workflows.batches.campaign_files import Campaign, Tested, campaign_of, plain, write_campaign
from recsys.workflows.batches.folder import batch_folder, lock_name, partial_folder, put_in_place, require_own, settle
from recsys.workflows.batches.unchanged import require_unchanged
from recsys.workflows.data.forget import tombstones
from recsys.workflows.exclusive import FEATURES, exclusive, read_written
from recsys.workflows.features.build import require_materialized
from recsys.workflows.modeling.judging import REPORT
from recsys.workflows.serving.resolvers import recorded_champion
from recsys.workflows.workspace import Workspace

Progress = Callable[[int, int], None]


def serve_campaign(
    workspace: Workspace,
    audience: str,
    channel: str | None,
    at: datetime | None = None,
    out: Path | None = None,
    progress: Progress | None = None,
) -> Campaign:
    """Write the units that a channel reaches, or report the list that is there if it would come out the same.

    Args:
        workspace: the project.
        audience: its name.
        channel: of the audience's problem; its capacity cuts the list.
        at: the list of this moment; the environment's clock by default. A list of the past is final.
        out: the folder; `<state>/batch/<audience>` by default. The channel's and date's part of it is replaced.
        progress: told how many of how many units are scored.

    Raises:
        SpecError: if the audience or the channel is not declared.
        ModelError: if the audience's model has no champion, or one whose features changed since it was trained.
        FeatureError: if nothing is materialized, or the online store has moved past the moment.
        StoreError: if the same list is being written, or the features are, for too long; or if the folder holds
            something else.
    """
    if audience in workspace.catalog.placements:
        problem = (
            f"placement {audience}: --channel {channel}: a placement gives every unit its list; leave --channel out"
        )
        raise SpecError([problem])
    declared = workspace.catalog.audience(audience)
    chosen = _channel(workspace, audience, declared, channel)
    moment = at or workspace.clock.now()
    command = f"recsys serve-batch {audience} --channel {chosen}"
    folder = batch_folder(workspace, audience, out) / f"channel={chosen}" / f"date={moment:%Y-%m-%d}"
    with (
        exclusive(workspace, lock_name(workspace, f"{audience}-{chosen}-{moment:%Y-%m-%d}", folder), command),
        exclusive(workspace, FEATURES, command, shared=True),
    ):
        return _serve(workspace, audience, chosen, moment, folder, progress)


def _serve(
    workspace: Workspace, audience: str, channel: str, moment: datetime, folder: Path, progress: Progress | None
) -> Campaign:
    settle(folder)
    require_own(folder, "audience", audience)
    known = read_written(folder / MANIFEST)
    if known is not None and moment < workspace.clock.now():
        return campaign_of(folder, known, reused=True)
    declared = workspace.catalog.audience(audience)
    weights = _champion(workspace, audience, declared)
    model = workspace.catalog.model(weights.model_version)
    wanted = workspace.features.feature_set(model.feature_service)
    gone = tombstones(workspace)
    watermarks = _watermarks(workspace, audience, channel, moment, wanted)
    identity = _identity(workspace, audience, channel, moment, weights, watermarks, gone)
    require_materialized(workspace)
    ranker = workspace.registry.load(weights)
    require_unchanged(workspace, weights, wanted, ranker)
    if known is not None and known["identity"] == identity:
        return campaign_of(folder, known, reused=True)
    layers = [workspace.catalog.layers[name] for name in declared.holdouts]
    found = contactable(workspace.features, declared, channel, layers, gone, moment)
    capacity = _capacity(workspace, declared, channel)
    selection = select_units(workspace.features, found, wanted, ranker, capacity, moment, progress)
    document = {
        "identity": identity,
        "audience": audience,
        "channel": channel,
        "capacity": capacity,
        "at": moment.isoformat(),
        "eligible": len(found.units),
        "opted_out": found.opted_out,
        "held_out": found.held_out,
        "would_be": int(np.count_nonzero(found.willing & found.held & selection.above_cut)),
        "holdouts": _holdouts(workspace, declared),
        "units": len(selection.units),
        "rows": len(selection.units),
        "model_version": weights.model_version,
        "weights": weights.number,
        "watermarks": {name: stamp.isoformat() for name, stamp in watermarks.items()},
        **_expected(workspace, weights, model, selection),
    }
    feature_rows = workspace.environment.serve.feature_rows
    write_campaign(partial_folder(folder), document, found, selection, feature_rows)
    put_in_place(folder)
    return campaign_of(folder, document, reused=False)


def _expected(workspace: Workspace, weights: Weights, model: ModelVersion, selection: Selection) -> dict[str, Any]:
    """Return what should come of the list, where scores are probabilities, and how right they were before."""
    if not isinstance(model.algorithm, CatBoostAlgorithm) or model.algorithm.calibration is None:
        return {"precision": None, "recall": None, "tested": None}
    reached, everybody = Chances.of(selection.scores), selection.everybody
    others = Chances(max(everybody.mean - reached.mean, 0.0), max(everybody.variance - reached.variance, 0.0))
    return {
        "precision": plain(share_acting(selection.scores)),
        "recall": plain(share_reached(reached, others)),
        "tested": plain(_tested(workspace, weights)),
    }


def _tested(workspace: Workspace, weights: Weights) -> Tested | None:
    """Return how the highest tenth of probabilities did in the test weeks; None where no report says it."""
    try:
        report = json.loads(workspace.registry.report(weights, REPORT))
    except ModelError:
        return None
    bins = report.get("reliability", {}).get("bins")
    return Tested(bins[-1]["predicted"], Interval(**bins[-1]["observed"])) if bins else None


# ---------------------------------------------------------------- what is asked for


def _channel(workspace: Workspace, audience: str, declared: Audience, channel: str | None) -> str:
    channels = workspace.catalog.problem(declared.problem).channels
    if channel not in channels:
        known = ", ".join(f"{name} ({each.capacity:,} units)" for name, each in channels.items())
        given = "none is given" if channel is None else f"{channel} is none of them"
        raise SpecError([f"audience {audience}: channel: {given}; problem {declared.problem} has {known}"])
    return channel


def _capacity(workspace: Workspace, declared: Audience, channel: str) -> int:
    return workspace.catalog.problem(declared.problem).channels[channel].capacity or 0


def _champion(workspace: Workspace, audience: str, declared: Audience) -> Weights:
    weights = recorded_champion(workspace, declared.model)
    if weights is None:
        message = (
            f"audience {audience}: model {declared.model} has no champion, and a campaign has no other list; run"
            f" `recsys promote --model-version {declared.model}/<version>`"
        )
        raise ModelError(message)
    return weights


def _holdouts(workspace: Workspace, declared: Audience) -> dict[str, Any]:
    """Return the layers whose holdouts are kept, as they are now: what they were then is asked when it is evaluated."""
    return {name: workspace.catalog.layers[name].model_dump(mode="json") for name in declared.holdouts}


def _watermarks(
    workspace: Workspace, audience: str, channel: str, moment: datetime, wanted: FeatureSet
) -> dict[str, datetime]:
    """Return how far each view that the list rests on has come; refuse a moment that the store does not stand at."""
    declared = workspace.catalog.audience(audience)
    asked = declared.contact.get(channel)
    views = {declared.units.view, *(view.name for view in wanted.views), *([asked.view] if asked else [])}
    watermarks = {}
    for name in sorted(views):
        stamp = workspace.features.watermark(name)
        if stamp is None:
            message = f"audience {audience}: nothing of view {name} is materialized; run `recsys features build`"
            raise FeatureError(message)
        watermarks[name] = stamp
    newest = max(watermarks.values())
    if newest > moment:
        message = (
            f"audience {audience} at {moment:%Y-%m-%d}: the online store has moved on to {newest:%Y-%m-%d} and keeps no"
            " past; ask for the list of now"
        )
        raise FeatureError(message)
    return watermarks


def _identity(
    workspace: Workspace,
    audience: str,
    channel: str,
    moment: datetime,
    weights: Weights,
    watermarks: Mapping[str, datetime],
    gone: frozenset[str],
) -> str:
    """Digest what the list depends on."""
    declared = workspace.catalog.audience(audience)
    return digest(
        {
            "audience": declared.model_dump(mode="json"),
            "holdouts": list(_holdouts(workspace, declared).values()),
            "files": [ELIGIBLE],
            "channel": workspace.catalog.problem(declared.problem).channels[channel].model_dump(mode="json"),
            "at": moment.isoformat(),
            "watermarks": {name: str(stamp) for name, stamp in watermarks.items()},
            "generations": {name: workspace.features.generation(name) for name in watermarks},
            "weights": [weights.model, weights.number],
            "forgotten": sorted(gone),
            "feature_rows": workspace.environment.serve.feature_rows,
        }
    )
