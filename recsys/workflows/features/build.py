"""How do events become features?

`recsys features build`: a table a view, grown by the periods that are over, then up to the clock into the online store,
with the item-item models that candidate sources ask.
"""

import shutil
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from recsys.data.knowledge import fingerprint
from recsys.data.steps import due_steps, last_known, last_period
from recsys.errors import FeatureError
from recsys.ports import FeatureTable, Step
from recsys.specs.catalog import digest
from recsys.workflows.exclusive import FEATURES, exclusive, read_written, sweep, write_by_rename
from recsys.workflows.features.item_models import MadeItemModel, fit_item_models, needed_models, write_item_models
from recsys.workflows.features.online_rows import lost_views, marker_path, watermarks
from recsys.workflows.features.table_records import (
    BUILD,
    declared_tables,
    definition,
    input_digests,
    is_current,
    is_whole,
    manifest,
    manifest_path,
    require_events,
    sources,
    table_folder,
    transforms_module,
)
from recsys.workflows.workspace import Workspace

_COMMAND: Final = "recsys features build"


@dataclass(frozen=True)
class BuiltTable:
    """One feature table."""

    name: str
    rows: int
    """In all."""
    added: int
    """By this build; 0 when it was up to date."""
    until: datetime
    """The end of the last period in it."""
    reused: bool
    """Whether there was nothing to do."""


def build_tables(
    workspace: Workspace, progress: Callable[[str], None] | None = None, *, rebuild: bool = False
) -> list[BuiltTable]:
    """Bring every feature table up to the last period that is over, and every stream table up to the newest event.

    A table grows: each step is a file of its own, and what a late event or a cancellation changes in earlier periods is
    appended as another version of those rows. It is made from the beginning where its transform changed, or where
    events that it was built from did: sources only append.

    A step is noted in the manifest after its file is whole: a killed build goes on where it was. A table that is made
    from the beginning again is made beside the old one.

    Args:
        workspace: the project.
        progress: told which table is being made, and up to when.
        rebuild: make all tables from the beginning, such as after a correction of the catalogue, which has no time.

    Raises:
        DataError: if there are no events yet.
        FeatureError: if a transform does not run.
        StoreError: if another command works on the tables for too long.
    """
    with exclusive(workspace, FEATURES, BUILD):
        require_events(workspace)
        sweep(workspace.feature_tables, "**/*.partial")
        sweep(workspace.state, "spill-*")
        build = _Build(workspace, progress or (lambda _: None))
        return [build.table(table, rebuild=rebuild) for table in declared_tables(workspace).values()]


class _Build:
    """One run over all tables."""

    def __init__(self, workspace: Workspace, progress: Callable[[str], None]) -> None:
        self._workspace = workspace
        self._progress = progress
        self._inputs = input_digests(workspace)
        self._known = manifest(workspace)
        self._fingerprints: dict[tuple[datetime, tuple[str, ...]], str] = {}
        self._ends: dict[timedelta | None, datetime] = {}

    def table(self, table: FeatureTable, *, rebuild: bool) -> BuiltTable:
        entry, folder = self._known.get(table.name), table_folder(self._workspace, table.name)
        if entry is not None and not rebuild and is_current(self._workspace, entry, table, self._inputs):
            return BuiltTable(table.name, entry["rows"], 0, datetime.fromisoformat(entry["until"]), reused=True)
        before = 0
        if entry is not None and (rebuild or not self._continues(table, entry)):
            noted = self._replace(table, folder)
        elif entry is not None:
            before = entry["rows"]
            noted = self._grow(table, entry, folder)
        else:
            noted = self._grow(table, self._beginning(table), folder)
        done = datetime.fromisoformat(noted["until"])
        return BuiltTable(table.name, noted["rows"], noted["rows"] - before, done, reused=noted["rows"] == before)

    def _grow(self, table: FeatureTable, entry: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        """Add the steps that are due in place, and note each: a killed build goes on after the last one noted."""
        for path in folder.glob("*.parquet"):
            if path.name not in entry["files"]:  # whole, but killed before it was noted
                sweep(folder, path.name)
        noted = dict(entry)
        for path, until, rows in self._steps(table, entry, folder):
            noted = self._noted(table, noted, {**noted["files"], path.name: rows}, until, finished=False)
            self._write_down(table, noted)
        finished = self._noted(table, noted, noted["files"], self._until(table), finished=True)
        self._write_down(table, finished)
        return finished

    def _replace(self, table: FeatureTable, folder: Path) -> dict[str, Any]:
        """Make a table from the beginning beside the old one, which is there for its readers until the last moment."""
        beside, old = (folder.with_name(f".{folder.name}.{which}") for which in ("new", "old"))
        for left in (beside, old):
            shutil.rmtree(left, ignore_errors=True)
        beginning = self._beginning(table)
        files = {path.name: rows for path, _, rows in self._steps(table, beginning, beside)}
        finished = self._noted(table, beginning, files, self._until(table), finished=True)
        # Killed from here on, the table has no entry, and the next build makes it from the beginning.
        self._known.pop(table.name)
        write_by_rename(manifest_path(self._workspace), self._known)
        if folder.exists():
            folder.rename(old)
        beside.rename(folder)
        self._write_down(table, finished)
        shutil.rmtree(old, ignore_errors=True)
        return finished

    def _steps(
        self, table: FeatureTable, entry: Mapping[str, Any], folder: Path
    ) -> Generator[tuple[Path, datetime, int]]:
        """Make the files that are due, one after another."""
        workspace = self._workspace
        after = None if entry["until"] is None else datetime.fromisoformat(entry["until"])
        for step in self._due(table, after):
            self._progress(f"{table.name} up to {step.until:%Y-%m-%d}")
            moment = f"{step.until:%Y%m%dT%H%M%S%f}" if table.is_stream else f"{step.until:%Y%m%d}"
            path = folder / f"until-{moment}.parquet"
            rows = workspace.engine.transform(
                transforms_module(workspace), table, step, sources(workspace), existing=folder, output=path
            )
            if table.is_stream and not rows and entry["files"]:
                sweep(folder, path.name)  # nothing happened in its sessions, and a shop may build every hour
                continue
            yield path, step.until, rows

    def _due(self, table: FeatureTable, after: datetime | None) -> Sequence[Step]:
        workspace, until = self._workspace, self._until(table)
        if not table.is_stream:
            return due_steps(workspace.engine, workspace.events, table.period, after, until)
        return [Step(after, until)] if after is None or after < until else []

    def _beginning(self, table: FeatureTable) -> dict[str, Any]:
        """Return the entry of a table without rows; `origin` tells one that is made anew from one that grew."""
        others = [self._inputs[name] for name in sorted(self._inputs) if name != "events"]
        made_from = [definition(table), *others, self._fingerprint(table, self._until(table))]
        return {"digest": definition(table), "origin": digest(made_from), "files": {}, "until": None, "rows": 0}

    def _noted(
        self,
        table: FeatureTable,
        entry: Mapping[str, Any],
        files: Mapping[str, int],
        until: datetime,
        *,
        finished: bool,
    ) -> dict[str, Any]:
        """Say how far a table is; one that is not finished has no inputs, so that it passes for none."""
        return {
            **entry,
            "files": dict(files),
            "until": until.isoformat(),
            "known": self._fingerprint(table, until),
            "inputs": self._inputs if finished else {},
            "rows": sum(files.values()),
        }

    def _write_down(self, table: FeatureTable, entry: dict[str, Any]) -> None:
        self._known[table.name] = entry
        write_by_rename(manifest_path(self._workspace), self._known)

    def _until(self, table: FeatureTable) -> datetime:
        """Return up to where a table can be made; the lock is held, so that the events stay as they are."""
        engine, events = self._workspace.engine, self._workspace.events
        period = None if table.is_stream else table.period
        if period not in self._ends:
            self._ends[period] = last_known(engine, events) if period is None else last_period(engine, events, period)
        return self._ends[period]

    def _continues(self, table: FeatureTable, entry: Mapping[str, Any]) -> bool:
        """Say whether a table can grow: same transform, and the events that it was made from are all there as then."""
        if entry["digest"] != definition(table) or not is_whole(self._workspace, table.name, entry):
            return False
        until = datetime.fromisoformat(entry["until"])
        if self._until(table) < until:
            return False  # its newest events have gone: what comes back later may be others
        return bool(entry["known"] == self._fingerprint(table, until))

    def _fingerprint(self, table: FeatureTable, until: datetime) -> str:
        key = until, table.events
        if key not in self._fingerprints:
            self._fingerprints[key] = fingerprint(self._workspace.engine, self._workspace.events, *key)
        return self._fingerprints[key]


@dataclass(frozen=True)
class Materialized:
    """What stands online."""

    until: datetime
    """The clock's time: nothing that happened or became known later is there."""
    reused: bool
    """Whether it stood there already."""
    item_models: tuple[MadeItemModel, ...]
    """The item-item models that were made for candidate sources."""


def materialize(workspace: Workspace, progress: Callable[[str], None] | None = None) -> Materialized:
    """Bring the online store and the item-item models of candidate sources up to the environment's clock.

    The marker that says so leaves before the first row is written and comes back after the last one: a run after a kill
    writes everything again. So does one that finds less online than it left there.

    Args:
        workspace: the project.
        progress: told what is being made.

    Raises:
        FeatureError: if an item-item model cannot be made; nothing is written then.
        StoreError: if another command works on the features for too long.
    """
    with exclusive(workspace, FEATURES, BUILD):
        return _materialize(workspace, progress or (lambda _: None))


def _materialize(workspace: Workspace, tell: Callable[[str], None]) -> Materialized:
    now = workspace.clock.now()
    marker = marker_path(workspace)
    tables, placements = manifest(workspace), workspace.catalog.placements
    models = needed_models(placements.values())
    wanted = {
        "until": now.isoformat(),
        # A table that only grew is brought up to date; one made from the beginning is written anew.
        "tables": digest({name: entry["origin"] for name, entry in tables.items()}),
        "grown": {name: entry["until"] for name, entry in tables.items()},
        "item_models": sorted(models),
    }
    known = read_written(marker) or {}
    written = {name: value for name, value in known.items() if name != "online"}
    lost = bool(known) and bool(lost_views(workspace, known))
    if written == wanted and not lost and all(workspace.item_models.generation(key) for key in models):
        return Materialized(now, reused=True, item_models=())
    since = None
    if known and not lost and known["tables"] == wanted["tables"]:
        since = min(datetime.fromisoformat(moment) for moment in (known["until"], *known["grown"].values()))
    tell("item-item models")
    fitted = fit_item_models(workspace.features, placements.items(), now, workspace.environment.limits.memory_bytes)
    sweep(workspace.state, "materialized.*.partial")
    marker.unlink(missing_ok=True)
    tell("online store")
    workspace.features.materialize(now, since)
    made = write_item_models(workspace.item_models, fitted)
    write_by_rename(marker, {**wanted, "online": watermarks(workspace, tables)})
    return Materialized(now, reused=False, item_models=made)


def require_materialized(workspace: Workspace) -> None:
    """Refuse to read lists from an online store whose filling was killed half-way.

    Raises:
        FeatureError: if it was never filled to the end.
    """
    if not marker_path(workspace).exists():
        message = (
            f"online store: no materialization came to its end ({workspace.shown(marker_path(workspace))} is missing):"
            f" its views may be of different moments; run `{BUILD}`"
        )
        raise FeatureError(message)
