"""Whom does a campaign reach right now? `recsys serve-batch AUDIENCE --channel NAME`: ONE list of units, as parquet.

The list is cut at the channel's capacity. Its units, features and scores are made as in training, from the online
store; without a champion there is no list, for a campaign that nobody chose is not sent.
"""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from recsys.errors import FeatureError, ModelError, SpecError
from recsys.ports import FeatureSet, Weights
from recsys.serving.units import Selection, select_units
from recsys.specs.catalog import digest
from recsys.specs.model import CatBoostAlgorithm
from recsys.specs.placement import Audience
from recsys.workflows.batch_folder import MANIFEST, partial_folder, put_in_place, settle
from recsys.workflows.exclusive import FEATURES, exclusive, read_written
from recsys.workflows.features import require_materialized
from recsys.workflows.serving import recorded_champion
from recsys.workflows.workspace import Workspace

DEFAULT_ARM: Final = "default"
SCHEMA: Final = pa.schema(
    [
        ("request_id", pa.string()),
        ("user_id", pa.string()),
        ("rank", pa.int32()),
        ("score", pa.float64()),
        ("model_version", pa.string()),
        ("weights", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Campaign:
    """What was written."""

    audience: str
    channel: str
    capacity: int
    at: datetime
    folder: Path
    eligible: int
    """How many units could have been reached."""
    units: int
    """How many are."""
    model_version: str
    weights: int
    expected_precision: float | None
    """Mean probability of those reached: the share of them that should act. None where scores are no probabilities."""
    reused: bool

    @property
    def selects(self) -> bool:
        """Whether the channel reaches less than half of the eligible units: else its list is not a selection."""
        return 2 * self.capacity < self.eligible


def serve_campaign(
    workspace: Workspace, audience: str, channel: str | None, at: datetime | None = None, out: Path | None = None
) -> Campaign:
    """Write the units that a channel reaches, or report the list that is there if it would come out the same.

    Args:
        workspace: the project.
        audience: its name.
        channel: of the audience's problem; its capacity cuts the list.
        at: the list of this moment; the environment's clock by default. A list of the past is final.
        out: the folder; `<state>/batch/<audience>` by default. The channel's and date's part of it is replaced.

    Raises:
        SpecError: if the audience or the channel is not declared.
        ModelError: if the audience's model has no champion.
        FeatureError: if nothing is materialized, or the online store has moved past the moment.
        StoreError: if the same list is being written, or the features are, for too long.
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
    with (
        exclusive(workspace, f"batch-{audience}-{chosen}-{moment:%Y-%m-%d}", command),
        exclusive(workspace, FEATURES, command, shared=True),
    ):
        return _serve(workspace, audience, chosen, moment, out)


def _serve(workspace: Workspace, audience: str, channel: str, moment: datetime, out: Path | None) -> Campaign:
    folder = (out or workspace.state / "batch" / audience) / f"channel={channel}" / f"date={moment:%Y-%m-%d}"
    settle(folder)
    known = read_written(folder / MANIFEST)
    if known is not None and moment < workspace.clock.now():
        return _campaign(folder, known, reused=True)
    declared = workspace.catalog.audience(audience)
    weights = _champion(workspace, audience, declared)
    model = workspace.catalog.model(weights.model_version)
    wanted = workspace.features.feature_set(model.feature_service)
    identity = _identity(workspace, audience, channel, moment, weights, wanted)
    require_materialized(workspace)
    if known is not None and known["identity"] == identity:
        return _campaign(folder, known, reused=True)
    capacity = _capacity(workspace, declared, channel)
    ranker = workspace.registry.load(weights)
    selection = select_units(workspace.features, declared, wanted, ranker, capacity, moment)
    calibrated = isinstance(model.algorithm, CatBoostAlgorithm) and model.algorithm.calibration is not None
    document = {
        "identity": identity,
        "audience": audience,
        "channel": channel,
        "capacity": capacity,
        "at": moment.isoformat(),
        "eligible": selection.eligible,
        "units": len(selection.units),
        "model_version": weights.model_version,
        "weights": weights.number,
        "expected_precision": float(selection.scores.mean()) if calibrated and len(selection.units) else None,
    }
    _write(partial_folder(folder), document, selection)
    put_in_place(folder)
    return _campaign(folder, document, reused=False)


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


def _identity(
    workspace: Workspace, audience: str, channel: str, moment: datetime, weights: Weights, wanted: FeatureSet
) -> str:
    """Digest what the list depends on; refuse a moment that the online store does not stand at."""
    declared = workspace.catalog.audience(audience)
    views = sorted({declared.units.view, *(view.name for view in wanted.views)})
    watermarks = {name: workspace.features.watermark(name) for name in views}
    absent = [name for name, stamp in watermarks.items() if stamp is None]
    if absent:
        message = f"audience {audience}: nothing of view {absent[0]} is materialized; run `recsys features build`"
        raise FeatureError(message)
    newest = max(stamp for stamp in watermarks.values() if stamp is not None)
    if newest > moment:
        message = (
            f"audience {audience} at {moment:%Y-%m-%d}: the online store has moved on to {newest:%Y-%m-%d} and keeps no"
            " past; ask for the list of now"
        )
        raise FeatureError(message)
    return digest(
        {
            "audience": declared.model_dump(mode="json"),
            "channel": workspace.catalog.problem(declared.problem).channels[channel].model_dump(mode="json"),
            "at": moment.isoformat(),
            "watermarks": {name: str(stamp) for name, stamp in watermarks.items()},
            "generations": {name: workspace.features.generation(name) for name in views},
            "weights": [weights.model, weights.number],
        }
    )


# ---------------------------------------------------------------- what is written down


def _write(folder: Path, document: Mapping[str, Any], selection: Selection) -> None:
    name = f"batch/{document['audience']}/{document['channel']}/{document['at']}"
    count = len(selection.units)
    table = pa.table(
        [
            pa.array([str(uuid.uuid5(uuid.NAMESPACE_OID, name))] * count, pa.string()),
            selection.units,
            pa.array(range(1, count + 1), pa.int32()),
            pa.array(selection.scores),
            pa.array([document["model_version"]] * count, pa.string()),
            pa.array([document["weights"]] * count, pa.int64()),
        ],
        schema=SCHEMA,
    )
    target = folder / f"arm={DEFAULT_ARM}" / "part-00000.parquet"
    target.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, target)
    (folder / MANIFEST).write_text(json.dumps(document, indent=2), encoding="utf-8")


def _campaign(folder: Path, document: Mapping[str, Any], *, reused: bool) -> Campaign:
    return Campaign(
        audience=document["audience"],
        channel=document["channel"],
        capacity=document["capacity"],
        at=datetime.fromisoformat(document["at"]),
        folder=folder,
        eligible=document["eligible"],
        units=document["units"],
        model_version=document["model_version"],
        weights=document["weights"],
        expected_precision=document["expected_precision"],
        reused=reused,
    )
