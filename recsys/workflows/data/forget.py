"""How is a user forgotten? `recsys forget USER`: erased wherever recsys keeps rows of users, with a tombstone.

A tombstone in the ledger says that somebody was forgotten, and not who: a digest of the id. It is on record before the
first row goes, so that an ingest after a kill leaves the user out already; the same command again erases what is left.
"""

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from recsys.data.forgotten import tombstone
from recsys.modeling.decision_times import TEST
from recsys.modeling.requests import REQUEST
from recsys.modeling.training_set import (
    DOCUMENT,
    PART,
    REQUESTS,
    TABLES,
    TAKEN,
    TrainingSet,
    read_training_set,
    tables_digest,
)
from recsys.ports import ErasedOnline, LedgerEntry
from recsys.schema import SESSION, USER
from recsys.workflows.data.erasing import (
    counted,
    erase_rows,
    erase_sessions,
    erase_users,
    of_users,
    parquet_files,
    sessions_of,
    shadow,
)
from recsys.workflows.data.kept_campaigns import FOLDER as CAMPAIGNS
from recsys.workflows.exclusive import EVENT_LOG, FEATURES, exclusive, read_written, sweep, write_by_rename
from recsys.workflows.git import author
from recsys.workflows.workspace import Workspace, file_digest

FORGET: Final = "forget"
SUBJECT: Final = "forgotten users"
"""Of the ledger; no model has a space in its name."""
UNREACHED: Final = (
    "what was learned from them: weights, their samples of feature values without ids, reports, item-item models",
    "sums over many users (of items, say) until `recsys features build` makes them without these users",
    "the shop's own data: the source of `recsys ingest`",
    "copies elsewhere: exports, batches written with --out, backups; PostgreSQL's dead rows until its vacuum",
)


@dataclass(frozen=True)
class Forgotten:
    """What was erased."""

    tombstones: tuple[str, ...]
    rows: Mapping[str, int]
    """Where, to how many rows; places without any are left out."""
    unreached: tuple[str, ...]
    """What may still be of them."""


def forget(workspace: Workspace, users: Sequence[str]) -> Forgotten:
    """Erase users from the event log, the online stores, the tables, training sets and batches.

    Feature tables are then not those of the present events: commands that need them ask for `recsys features build`.

    Raises:
        DataError: if a file cannot be read.
        FeatureError: if the online store cannot be written.
        StoreError: if the log cannot be written, or another command works on the features for too long.
    """
    wanted = tuple(dict.fromkeys(users))
    with (
        exclusive(workspace, EVENT_LOG, "recsys forget"),
        exclusive(workspace, FEATURES, "recsys forget"),
    ):
        transaction, known = _begun(workspace, wanted)
        # Sessions first: once the log is without the users nobody knows whose they were.
        sessions = _sessions(workspace, wanted)
        online = list(_online(workspace, wanted, sessions))
        visits = _visits(workspace, sessions)
        rows = counted(asdict(workspace.event_archive.erase(wanted)), "event log: ")
        for where, erased in online:
            rows |= counted(erased.rows, f"{where}: ")
        rows |= {**visits, **_tables(workspace, wanted), **_sets(workspace, wanted), **_batches(workspace, wanted)}
        if rows or not known:
            _record(workspace, transaction, "done", wanted, rows)
    unreached = [f"online view {view}: its rows are kept under another key" for view in _views(online)]
    return Forgotten(tuple(map(tombstone, wanted)), rows, (*_named(workspace, wanted), *unreached, *UNREACHED))


def tombstones(workspace: Workspace) -> frozenset[str]:
    """Return the digests of all who were forgotten, or are being."""
    return frozenset(one for entry in workspace.ledger.entries(SUBJECT) for one in entry.payload["users"])


def _begun(workspace: Workspace, users: Sequence[str]) -> tuple[str, bool]:
    """Return the transaction to record this in, and whether nothing has to be recorded if nothing is found."""
    entries = workspace.ledger.entries(SUBJECT)
    digests = sorted(map(tombstone, users))
    ended = {entry.transaction for entry in entries if entry.state != "intent"}
    for entry in entries:
        if entry.transaction not in ended and sorted(entry.payload["users"]) == digests:
            return entry.transaction, False
    transaction = str(uuid.uuid4())
    if set(digests) <= {one for entry in entries for one in entry.payload["users"]}:
        return transaction, True
    _record(workspace, transaction, "intent", users, {})
    return transaction, False


def _record(
    workspace: Workspace, transaction: str, state: str, users: Sequence[str], rows: Mapping[str, int]
) -> LedgerEntry:
    return workspace.ledger.append(
        transaction=transaction,
        state=state,
        action=FORGET,
        subject=SUBJECT,
        payload={"users": [tombstone(user) for user in users], "rows": dict(rows)},
        author=author(),
        at=workspace.clock.now(),
    )


def _sessions(workspace: Workspace, users: Sequence[str]) -> tuple[str, ...]:
    """Return the users' sessions, by the event log and by the shop's events."""
    found = set(workspace.event_archive.sessions(users))
    if workspace.events.exists():
        found |= sessions_of(workspace.events, users)
    return tuple(sorted(found))


def _visits(workspace: Workspace, sessions: Sequence[str]) -> dict[str, int]:
    """Erase sessions from the feature tables that are keyed by them."""
    rows: dict[str, int] = {}
    for path in parquet_files(workspace.feature_tables) if sessions else ():
        name = path.parent.relative_to(workspace.state).as_posix()
        rows[name] = rows.get(name, 0) + erase_sessions(path, sessions)
    return counted(rows, "")


def _online(workspace: Workspace, users: Sequence[str], sessions: Sequence[str]) -> Iterator[tuple[str, ErasedOnline]]:
    """Erase them from the online store, and from those of replays; there are none before Feast's first apply."""
    if not workspace.adapters.feature_repository().registered().get("feature_views"):
        return
    yield "online store", workspace.features.erase(USER, users)
    if sessions:
        yield "online store", workspace.features.erase(SESSION, sessions)
    for registry in sorted(workspace.replay_state.glob("*/registry.db")):
        replayed = workspace.adapters.features(registry.parent)
        yield f"replay of {registry.parent.name}", replayed.erase(USER, users)


def _views(online: Sequence[tuple[str, ErasedOnline]]) -> list[str]:
    return list(dict.fromkeys(view for _, erased in online for view in erased.unreached))


def _tables(workspace: Workspace, users: Sequence[str]) -> dict[str, int]:
    """Erase them from the shop's tables, which keep passing for ingested, and from feature tables, which go stale."""
    manifest = workspace.tables / "manifest.json"
    for folder in (workspace.tables, workspace.feature_tables):
        sweep(folder, "**/*.partial")
    sweep(workspace.tables, ".incoming")
    sweep(workspace.state, "spill-*")
    known = read_written(manifest)
    current = known is not None and workspace.events.exists() and known["events"] == file_digest(workspace.events)
    rows = _files(workspace, workspace.tables, users) | _files(workspace, workspace.feature_tables, users)
    if current and known["events"] != (present := file_digest(workspace.events)):
        write_by_rename(manifest, {**known, "events": present})
    return rows


def _files(workspace: Workspace, folder: Path, users: Sequence[str]) -> dict[str, int]:
    """Erase them from all parquet files below a folder; counts are by the file's folder or, in it, the file."""
    rows: dict[str, int] = {}
    for path in parquet_files(folder):
        place = path.parent if path.name.startswith(("until-", "part-")) else path.with_suffix("")
        name = place.relative_to(workspace.state).as_posix()
        rows[name] = rows.get(name, 0) + erase_users(path, users)
    return counted(rows, "")


def _sets(workspace: Workspace, users: Sequence[str]) -> dict[str, int]:
    """Erase them from training sets; each says so in its document, with its digests before and after."""
    sweep(workspace.datasets, "**/.*.partial")
    rows: dict[str, int] = {}
    for document in sorted(workspace.datasets.rglob(DOCUMENT)):
        found = read_training_set(document.parent)
        if found is not None:
            name = document.parent.relative_to(workspace.state).as_posix()
            rows[name] = _erased_set(workspace, found, users)
    return counted(rows, "")


def _erased_set(workspace: Workspace, found: TrainingSet, users: Sequence[str]) -> int:
    """Write a set without users beside it, then let it take the set's place."""
    folder, leaves = found.folder, of_users(users)
    beside = folder.with_name(f".{folder.name}.partial")
    shadow(folder, beside, [DOCUMENT])
    requests = found.rows(REQUESTS, [PART, REQUEST, USER])
    mine = requests.filter(leaves(requests.combine_chunks()))
    asked = {row[REQUEST] for row in mine.to_pylist() if row[PART] == TEST}
    rows: dict[str, int] = {}
    for name in TABLES:
        path = beside / f"{name}.parquet"
        rows[name] = erase_rows(path, (REQUEST,), _asked(asked)) if name == TAKEN else erase_users(path, users)
    gone = counted(rows, "")
    if gone:
        erased = {
            "at": workspace.clock.now().isoformat(),
            "users": len(users),
            "rows": gone,
            "digest_before": found.digest,
        }
        told: dict[str, Any] = {**found.document, "digest": tables_digest(beside)}
        told["erased"] = [*found.document.get("erased", ()), erased]
        (beside / DOCUMENT).write_text(json.dumps(told, indent=2), encoding="utf-8")
        aside = folder.with_name(f".{folder.name}.before.partial")
        folder.rename(aside)
        beside.rename(folder)
    sweep(folder.parent, f".{folder.name}*.partial")
    return sum(gone.values())


def _asked(requests: set[int]) -> Any:  # noqa: ANN401 - a mask of erase_rows
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = pa.array(sorted(requests), pa.int64())
    return lambda batch: pc.is_in(batch.column(REQUEST).cast(pa.int64()), value_set=wanted)


def _batches(workspace: Workspace, users: Sequence[str]) -> dict[str, int]:
    """Erase them from batches, from what is kept of those that were sent, and from what killed ones left."""
    rows: dict[str, int] = {}
    for batches in (workspace.state / "batch", workspace.state / CAMPAIGNS):
        sweep(batches, "**/.*.partial")
        for path in parquet_files(batches):
            name = path.parent.relative_to(workspace.state).as_posix()
            rows[name] = rows.get(name, 0) + erase_users(path, users)
    return counted(rows, "")


def _named(workspace: Workspace, users: Sequence[str]) -> Iterator[str]:
    """Name declarations that hold a user's id, which no command edits, and not the id."""
    for name, experiment in workspace.catalog.experiments.items():
        if set(users) & set(experiment.overrides):
            yield f"registry/experiments/{name}.yaml: an override names one of them, and so does what was applied"
