"""How does the shop's data come in?

`recsys ingest`: events and catalogue as tables, with counts of what was dropped and why.
"""

import json
from dataclasses import asdict, dataclass

from recsys.ports import SourceCount
from recsys.workflows.workspace import Workspace, file_digest


@dataclass(frozen=True)
class Ingestion:
    """What came in."""

    counts: tuple[SourceCount, ...]
    events_digest: str
    reused: bool


def ingest(workspace: Workspace) -> Ingestion:
    """Bring the environment's data source in, or keep what is there if it came from the same source."""
    manifest = workspace.tables / "manifest.json"
    data = workspace.environment.data
    wanted = data.model_dump(mode="json")
    if manifest.exists() and workspace.events.exists():
        known = json.loads(manifest.read_text())
        if known["data"] == wanted and known["events"] == file_digest(workspace.events):
            return Ingestion(tuple(SourceCount(**row) for row in known["counts"]), known["events"], reused=True)
    counts = tuple(workspace.adapters.source().ingest(workspace.tables))
    digest = file_digest(workspace.events)
    document = {"data": wanted, "events": digest, "counts": [asdict(row) for row in counts]}
    partial = manifest.with_suffix(".partial")
    partial.write_text(json.dumps(document, indent=2))
    partial.rename(manifest)
    return Ingestion(counts, digest, reused=False)
