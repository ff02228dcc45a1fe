"""How does the shop's data come in?

`recsys ingest`: events and catalogue as tables, with counts of what was dropped and why.
"""

from dataclasses import asdict, dataclass

from recsys.ports import SourceCount
from recsys.workflows.exclusive import FEATURES, exclusive, read_written, sweep, write_by_rename
from recsys.workflows.workspace import Workspace, file_digest


@dataclass(frozen=True)
class Ingestion:
    """What came in."""

    counts: tuple[SourceCount, ...]
    events_digest: str
    reused: bool


def ingest(workspace: Workspace) -> Ingestion:
    """Bring the environment's data source in, or keep what is there if it came from the same source.

    Killed on the way it leaves no manifest, so that the next run brings everything in again.

    Raises:
        DataError: if the source cannot be read.
        StoreError: if another command works on the tables for too long.
    """
    with exclusive(workspace, FEATURES, "recsys ingest"):
        return _bring_in(workspace)


def _bring_in(workspace: Workspace) -> Ingestion:
    manifest = workspace.tables / "manifest.json"
    data = workspace.environment.data
    wanted = data.model_dump(mode="json")
    if manifest.exists() and workspace.events.exists():
        known = read_written(manifest)
        if known is not None and known["data"] == wanted and known["events"] == file_digest(workspace.events):
            return Ingestion(tuple(SourceCount(**row) for row in known["counts"]), known["events"], reused=True)
    sweep(workspace.tables, "*.partial")
    manifest.unlink(missing_ok=True)
    counts = tuple(workspace.adapters.source().ingest(workspace.tables))
    digest = file_digest(workspace.events)
    document = {"data": wanted, "events": digest, "counts": [asdict(row) for row in counts]}
    write_by_rename(manifest, document)
    return Ingestion(counts, digest, reused=False)
