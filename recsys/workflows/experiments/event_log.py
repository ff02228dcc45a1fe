"""How does the event log leave its database? `recsys log export`: to parquet; `recsys log prune`: for good."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from recsys import schema
from recsys.errors import DataError, ExperimentError, SpecError
from recsys.experiment.routing import window
from recsys.ports import LogRows
from recsys.specs.base import format_duration
from recsys.workflows.data.kept_campaigns import forget_lists
from recsys.workflows.exclusive import EVENT_LOG, exclusive, renamed_to, sweep
from recsys.workflows.experiments.evaluate import frozen_report
from recsys.workflows.workspace import Workspace

Progress = Callable[[str, int, int], None]

TABLES: Final = {
    "exposures": schema.LOGGED_EXPOSURES,
    "impressions": schema.IMPRESSIONS,
    "outcomes": schema.EVENTS,
}
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True)
class Exported:
    """What was written."""

    folder: Path
    start: datetime
    end: datetime
    rows: LogRows
    files: int


@dataclass(frozen=True)
class Pruned:
    """What was deleted."""

    before: datetime
    rows: LogRows
    campaigns: int = 0
    """Of how many campaigns it is not kept any more whom they were chosen from."""


def export_log(
    workspace: Workspace,
    output: Path,
    start: datetime | None = None,
    end: datetime | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Write the log as parquet: `<output>/<table>/date=<day>/part-00000.parquet`, a file a table and UTC day.

    Files are written beside their place and renamed: killed on the way, the same command again completes it. A day that
    the log has no rows of is left as it is, so that what was pruned since stays exported.

    Args:
        workspace: the project.
        output: the folder; it is made.
        start: the first day, by the environment's clock; the oldest by default.
        end: the day after the last; all there is by default.
        progress: told which day is being written.

    Raises:
        DataError: if a moment is no UTC midnight, or the start is not before the end.
        StoreError: if the log cannot be read.
    """
    first, last = _days(workspace, start, end)
    tell = progress or (lambda *_: None)
    sweep(output, "*/date=*/*.partial")
    counts, files = dict.fromkeys(TABLES, 0), 0
    days = (last - first) // _DAY
    for number in range(days):
        day = first + number * _DAY
        tell(f"export, {day:%Y-%m-%d}", number, days)
        for table, columns in TABLES.items():
            target = output / table / f"date={day:%Y-%m-%d}" / "part-00000.parquet"
            rows = _write(workspace.event_archive.scan(table, day, day + _DAY), columns, target)
            counts[table] += rows
            files += rows > 0
    return Exported(output, first, last, LogRows(**counts), files)


def prune_before(workspace: Workspace, before: datetime | None = None) -> datetime:
    """Return what `prune_log` would delete up to: the moment given, or the environment's retention before now.

    Raises:
        SpecError: if neither is there.
        DataError: if the moment is no UTC midnight.
        ExperimentError: if an experiment whose report is not frozen needs what is older.
    """
    retention = workspace.environment.retention
    if before is None:
        if retention is None:
            message = (
                f"environment {workspace.environment_name}: retention is not declared: declare it, such as"
                " `retention: 400d`, or say --before"
            )
            raise SpecError([message])
        before = _midnight(workspace.clock.now() - retention)
    elif before != _midnight(before):
        message = f"before {before.isoformat()}: the log is pruned by whole UTC days: give a date"
        raise DataError(message)
    for name, experiment in workspace.catalog.experiments.items():
        since = window(experiment)[0] - timedelta(weeks=experiment.metrics.covariate_weeks)
        if since < before and frozen_report(workspace, name) is None:
            shown = f" (retention {format_duration(retention)})" if retention else ""
            message = (
                f"prune before {before:%Y-%m-%d}{shown}: experiment {name} has no frozen report and needs exposures and"
                f" outcomes since {since:%Y-%m-%d}: evaluate it to its end first, or prune before then"
            )
            raise ExperimentError(message)
    return before


def prune_log(workspace: Workspace, before: datetime | None = None, progress: Progress | None = None) -> Pruned:
    """Delete exposures, impressions and outcomes of the days before a moment; the ledger stays as it is.

    With the last contact of a campaign it goes, too, whom its list was chosen from.

    A bounded number of rows a transaction: writers get their turn, and a kill leaves whole requests.

    Args:
        workspace: the project.
        before: the first day that stays; by the environment's retention by default.
        progress: told how many rows are gone.

    Raises:
        SpecError: if neither a moment nor a retention is there.
        DataError: if the moment is no UTC midnight.
        ExperimentError: if an experiment whose report is not frozen needs what is older.
        StoreError: if the log cannot be written, or is being pruned for too long.
    """
    with exclusive(workspace, EVENT_LOG, "recsys log prune"):
        moment, gone = prune_before(workspace, before), LogRows()
        for part in workspace.event_archive.prune(moment):
            gone += part
            if progress is not None:
                deleted = gone.exposures + gone.outcomes
                progress("requests and outcomes deleted", deleted, deleted)
        campaigns = forget_lists(workspace, moment)
    return Pruned(moment, gone, campaigns)


def _days(workspace: Workspace, start: datetime | None, end: datetime | None) -> tuple[datetime, datetime]:
    for name, moment in (("from", start), ("to", end)):
        if moment is not None and moment != _midnight(moment):
            message = f"{name} {moment.isoformat()}: the log is exported by whole UTC days: give a date"
            raise DataError(message)
    extent = workspace.event_archive.extent()
    now = _midnight(workspace.clock.now())
    oldest, newest = (now, now) if extent is None else extent
    first = _midnight(oldest) if start is None else start
    last = max(first, _midnight(newest) + (_DAY if extent else timedelta(0))) if end is None else end
    if last < first:
        message = f"from {first:%Y-%m-%d} to {last:%Y-%m-%d}: the first day comes after the last"
        raise DataError(message)
    # Days outside of what there is have no rows: nobody has to look for them.
    return max(first, min(_midnight(oldest), last)), max(first, min(last, _midnight(newest) + _DAY))


def _write(batches: Iterator[pa.RecordBatch], columns: pa.Schema, target: Path) -> int:
    """Write batches to a parquet file by rename; nothing where there are none."""
    first = next(batches, None)
    if first is None:
        return 0
    rows = 0
    with renamed_to(target) as partial, pq.ParquetWriter(partial, columns, compression="zstd") as writer:
        for batch in chain([first], batches):
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


def _midnight(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
