"""How does the shop's data come in?

`recsys ingest`: events, catalogue and users as tables, by the contract; what is refused is counted, with why.
"""

import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import pyarrow as pa

from recsys.data.contract import REASON, judged_events_sql, judged_rows_sql, typed_sql
from recsys.data.forgotten import forgotten_sql
from recsys.errors import DataError
from recsys.ports import Delivery, SourceCount
from recsys.schema import (
    CREATED_TIMESTAMP,
    EVENT_ID,
    EVENT_TABLE,
    EVENT_TIMESTAMP,
    EVENTS,
    ITEM,
    ITEMS,
    QUANTITY,
    SESSION,
    USER,
    USERS,
    VALUE,
)
from recsys.specs.base import format_duration
from recsys.workflows.data.forget import tombstones
from recsys.workflows.exclusive import FEATURES, exclusive, read_written, sweep, write_by_rename
from recsys.workflows.workspace import Workspace, file_digest

_OPTIONAL: Final = {ITEM, SESSION, QUANTITY, VALUE}
_TABLES: Final = {"events": EVENT_TABLE, "items": ITEMS, "users": USERS}
_ADVICE: Final = "mend it where it is made, or its contract in the environment's `data`"


@dataclass(frozen=True)
class Ingestion:
    """What came in."""

    counts: tuple[SourceCount, ...]
    """By the source itself, then by the contract."""
    events_digest: str
    reused: bool


def ingest(workspace: Workspace) -> Ingestion:
    """Bring the environment's data source in, or keep what is there if the source has not changed.

    Rows that break the contract are kept aside in `<tables>/refused/`, with their reason; rows of users who were
    forgotten are left out before, and counted. Killed on the way it leaves no manifest, so that the next run brings
    everything in again.

    Raises:
        DataError: if the source cannot be read, or breaks its contract as a whole: then the tables stay as they were.
        StoreError: if another command works on the tables for too long.
    """
    with exclusive(workspace, FEATURES, "recsys ingest"):
        return _bring_in(workspace)


def _bring_in(workspace: Workspace) -> Ingestion:
    manifest = workspace.tables / "manifest.json"
    source = workspace.adapters.source()
    wanted = {"data": workspace.environment.data.model_dump(mode="json"), "version": source.version()}
    known = read_written(manifest)
    if (
        known is not None
        and {name: known.get(name) for name in wanted} == wanted
        and all((workspace.tables / f"{name}.parquet").exists() for name in _TABLES)
        and known["events"] == file_digest(workspace.events)
    ):
        return Ingestion(tuple(SourceCount(**row) for row in known["counts"]), known["events"], reused=True)
    sweep(workspace.tables, "**/*.partial")
    incoming = workspace.tables / ".incoming"
    shutil.rmtree(incoming, ignore_errors=True)
    incoming.mkdir(parents=True)
    try:
        delivery, forgotten = _without_forgotten(workspace, source.deliver(incoming), incoming)
        counts = (*forgotten, *_accept(workspace, delivery, incoming, manifest))
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    events = file_digest(workspace.events)
    write_by_rename(manifest, {**wanted, "events": events, "counts": [asdict(row) for row in counts]})
    return Ingestion(counts, events, reused=False)


def _without_forgotten(
    workspace: Workspace, delivery: Delivery, incoming: Path
) -> tuple[Delivery, tuple[SourceCount, ...]]:
    """Leave out who was forgotten, before anything of them is kept, and count the rows."""
    digests = tombstones(workspace)
    if not digests:
        return delivery, ()
    counts: list[SourceCount] = []
    kept = {"events": delivery.events, "users": delivery.users}
    engine, condition = workspace.engine, forgotten_sql(USER, digests)
    for name, path in kept.items():
        if USER not in engine.query(f"select * from {name} limit 0", {name: path}).column_names:
            continue  # refused by its name afterwards
        sql = f"select count(*) as read, count(*) filter ({condition}) as gone from {name}"
        (found,) = engine.query(sql, {name: path}).to_pylist()
        if found["gone"]:
            kept[name] = incoming / f"known-{name}.parquet"
            engine.write(f"select * from {name} where not {condition}", {name: path}, kept[name])
            counts.append(SourceCount(f"{name}, of forgotten users", found["read"], found["gone"], "recsys forget"))
    return replace(delivery, events=kept["events"], users=kept["users"]), tuple(counts)


def _accept(workspace: Workspace, delivery: Delivery, incoming: Path, manifest: Path) -> tuple[SourceCount, ...]:
    """Judge a delivery, then write what is accepted and what is refused."""
    contract, replayed = workspace.environment.data.contract, workspace.environment.clock != "system"
    latest = None if replayed else workspace.clock.now().isoformat()
    typed = _typed(
        workspace, "events", delivery.events, EVENTS, [name for name in EVENTS.names if name not in _OPTIONAL]
    )
    judged = {
        "events": (judged_events_sql(typed, contract, latest), delivery.events),
    }
    for name, path, schema, key in (("items", delivery.items, ITEMS, ITEM), ("users", delivery.users, USERS, USER)):
        judged[name] = (judged_rows_sql(_typed(workspace, name, path, schema, [key]), key, schema.names), path)
    counts = list(delivery.counts)
    for name, (sql, path) in judged.items():
        workspace.engine.write(sql, {name: path}, incoming / f"judged-{name}.parquet")
        counts.append(_counted(workspace, name, incoming / f"judged-{name}.parquet"))
    _check_whole(workspace, counts[-3], incoming / "judged-events.parquet")
    manifest.unlink(missing_ok=True)
    order = {"events": [EVENT_TIMESTAMP, EVENT_ID, CREATED_TIMESTAMP], "items": [ITEM], "users": [USER]}
    for name, schema in _TABLES.items():
        tables = {"judged": incoming / f"judged-{name}.parquet"}
        columns, keys = ", ".join(schema.names), ", ".join(order[name])
        accepted = f"select {columns} from judged where {REASON} is null order by {keys}"
        workspace.engine.write(accepted, tables, workspace.tables / f"{name}.parquet")
        refused = f"select {REASON}, {columns} from judged where {REASON} is not null order by all"
        workspace.engine.write(refused, tables, workspace.tables / "refused" / f"{name}.parquet")
    return tuple(counts)


def _typed(workspace: Workspace, name: str, path: Path, wanted: pa.Schema, required: list[str]) -> str:
    found = workspace.engine.query(f"select * from {name} limit 0", {name: path}).schema
    return typed_sql(name, found, wanted, required)


def _counted(workspace: Workspace, name: str, judged: Path) -> SourceCount:
    sql = f"select {REASON}, count(*) as rows from judged group by all order by rows desc, {REASON}"
    found: list[dict[str, str | int | None]] = workspace.engine.query(sql, {"judged": judged}).to_pylist()
    refused = {str(row[REASON]): int(row["rows"] or 0) for row in found if row[REASON] is not None}
    read = sum(int(row["rows"] or 0) for row in found)
    why = "; ".join(f"{reason} ({rows:,})" for reason, rows in refused.items())
    return SourceCount(f"{name}, by the contract", read, sum(refused.values()), why)


def _check_whole(workspace: Workspace, events: SourceCount, judged: Path) -> None:
    """Refuse a delivery of events that is empty, too old, or largely refused.

    Raises:
        DataError: naming the rule, what was found, and what to do.
    """
    contract = workspace.environment.data.contract
    share = events.dropped / events.read if events.read else 0.0
    if events.read == events.dropped or share > contract.maximum_refused_share:
        found = (
            f"{events.dropped:,} of {events.read:,} rows refused ({share:.1%}): {events.why}" if events.read else "none"
        )
        message = (
            f"events: {found}; the contract takes deliveries with at most {contract.maximum_refused_share:.1%} refused"
            f" and some accepted; nothing was changed: {_ADVICE}"
        )
        raise DataError(message)
    if contract.fresh_within is None:
        return
    sql = f"select max({EVENT_TIMESTAMP}) as newest from judged where {REASON} is null"
    newest, now = workspace.engine.query(sql, {"judged": judged})["newest"][0].as_py(), workspace.clock.now()
    if now - newest > contract.fresh_within:
        message = (
            f"events: the newest is of {newest:%Y-%m-%d %H:%M}, it is {now:%Y-%m-%d %H:%M}, and the contract asks for"
            f" one within {format_duration(contract.fresh_within)}; nothing was changed: {_ADVICE}"
        )
        raise DataError(message)
