"""What does a campaign's list look like on disk, and what does it say of itself?"""

import json
import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys.serving.contact import Contactable
from recsys.serving.feature_sample import sampled_contacts, slot_texts
from recsys.serving.list_rows import DEFAULT_ARM, ELIGIBLE, MANIFEST
from recsys.serving.units import Selection
from recsys.statistics.bootstrap import Interval

SCHEMA: Final = pa.schema(
    [
        ("request_id", pa.string()),
        ("user_id", pa.string()),
        ("rank", pa.int32()),
        ("score", pa.float64()),
        ("propensity", pa.float64()),
        ("experiment", pa.string()),
        ("model_version", pa.string()),
        ("weights", pa.int64()),
        ("feature_digest", pa.string()),
        ("features", pa.string()),
    ]
)
"""One row a unit that is reached; `rank` counts from 1. `experiment` is null: no experiment splits an audience.
`features` is a JSON object of a sample of units, column to the value that the model read; else null."""
ELIGIBLE_SCHEMA: Final = pa.schema(
    [
        ("user_id", pa.string()),
        ("score", pa.float64()),
        ("willing", pa.bool_()),
        ("held_out", pa.bool_()),
        ("above_cut", pa.bool_()),
        ("rank", pa.int32()),
        ("request_id", pa.string()),
    ]
)
"""One row an eligible unit, by its id. `above_cut` is who would be on the list, were nobody held out and had nobody
said no; `rank` and `request_id` are those of the list, null of all who are not on it."""


@dataclass(frozen=True)
class Tested:
    """What came of the highest tenth of probabilities in the weeks that the version was tested on."""

    predicted: float
    """Their mean probability."""
    observed: Interval
    """The share that acted."""


@dataclass(frozen=True)
class Campaign:
    """What was written."""

    audience: str
    channel: str
    capacity: int
    at: datetime
    folder: Path
    eligible: int
    """How many units the campaign is about."""
    opted_out: int
    """How many of them the channel may not contact."""
    held_out: int
    """How many of the others are in a holdout."""
    would_be: int
    """How many of those held out stand above the cut: whom the others on the list can be compared with."""
    units: int
    """How many are reached."""
    model_version: str
    weights: int
    precision: Interval | None
    """The share of those reached that should act, and what it will lie between (95 %) if the probabilities are right.
    None where scores are no probabilities."""
    recall: Interval | None
    """Likewise, of all eligible units that should act the share that is reached."""
    tested: Tested | None
    """How right the probabilities were before."""
    reused: bool

    @property
    def reachable(self) -> int:
        """How many units may be reached."""
        return self.eligible - self.opted_out - self.held_out

    @property
    def selects(self) -> bool:
        """Whether the channel reaches less than half of the reachable units: else its list is not a selection."""
        return 2 * self.capacity < self.reachable


def write_campaign(
    folder: Path, document: Mapping[str, Any], found: Contactable, selection: Selection, feature_rows: float
) -> None:
    """Write a list, all whom it was chosen from, and its manifest into a folder, which is made.

    Args:
        folder: the list's.
        document: the manifest.
        found: who is eligible.
        selection: the units.
        feature_rows: the share of contacts whose features are written with them, `CONTACTS` at least if any.
    """
    count = len(selection.units)
    name = f"batch/{document['audience']}/{document['channel']}/{document['at']}"
    requests = [str(uuid.uuid5(uuid.NAMESPACE_OID, f"{name}/{unit}")) for unit in selection.units.to_pylist()]
    table = pa.table(
        [
            pa.array(requests, pa.string()),
            selection.units,
            pa.array(range(1, count + 1), pa.int32()),
            pa.array(selection.scores),
            pa.array([1.0] * count, pa.float64()),
            pa.nulls(count, pa.string()),
            pa.array([document["model_version"]] * count, pa.string()),
            pa.array([document["weights"]] * count, pa.int64()),
            selection.digests,
            pa.array(_features(selection, requests, feature_rows), pa.string()),
        ],
        schema=SCHEMA,
    )
    target = folder / f"arm={DEFAULT_ARM}" / "part-00000.parquet"
    target.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, target)
    pq.write_table(_eligible(found, selection, requests), folder / ELIGIBLE, compression="zstd")
    (folder / MANIFEST).write_text(json.dumps(document, indent=2), encoding="utf-8")


def _eligible(found: Contactable, selection: Selection, requests: Sequence[str]) -> pa.Table:
    """Return who was eligible, who would have been chosen, and who was."""
    place = pc.index_in(found.units, value_set=selection.units)
    return pa.table(
        [
            found.units,
            pa.array(selection.all_scores),
            pa.array(found.willing),
            pa.array(found.held),
            pa.array(selection.above_cut),
            pc.add(place, pa.scalar(1, pa.int32())),
            pa.array(requests, pa.string()).take(place),
        ],
        schema=ELIGIBLE_SCHEMA,
    )


def _features(selection: Selection, requests: Sequence[str], share: float) -> list[str | None]:
    """Return the features of the contacts of the sample that have a score."""
    told: list[str | None] = [None] * len(requests)
    kept = [place for place in sampled_contacts(requests, share) if not math.isnan(selection.scores[place])]
    for place, text in zip(kept, slot_texts(selection.features(kept)), strict=True):
        told[place] = text
    return told


def campaign_of(folder: Path, document: Mapping[str, Any], *, reused: bool) -> Campaign:
    """Return what a manifest says; one of an earlier version knew of no opt-outs, holdouts and intervals."""
    tested = document.get("tested")
    return Campaign(
        audience=document["audience"],
        channel=document["channel"],
        capacity=document["capacity"],
        at=datetime.fromisoformat(document["at"]),
        folder=folder,
        eligible=document["eligible"],
        opted_out=document.get("opted_out", 0),
        held_out=document.get("held_out", 0),
        would_be=document.get("would_be", 0),
        units=document["units"],
        model_version=document["model_version"],
        weights=document["weights"],
        precision=_interval(document.get("precision")),
        recall=_interval(document.get("recall")),
        tested=None if tested is None else Tested(tested["predicted"], Interval(**tested["observed"])),
        reused=reused,
    )


def plain(value: Interval | Tested | None) -> dict[str, Any] | None:
    """Return an interval, or what was tested, as JSON values."""
    return None if value is None else asdict(value)


def _interval(document: Mapping[str, float] | None) -> Interval | None:
    return None if document is None else Interval(**document)
