"""Does the online store still hold what `recsys features build` wrote to it?"""

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from recsys.errors import FeatureError, OnlineStoreError
from recsys.ports import Finding
from recsys.workflows.exclusive import read_written
from recsys.workflows.workspace import Workspace


def marker_path(workspace: Workspace) -> Path:
    """Return the file that says up to when, and from which tables, the store was filled."""
    return workspace.state / "materialized.json"


def watermarks(workspace: Workspace, views: Collection[str]) -> dict[str, str]:
    """Return the newest event time of each view that has rows online, as text."""
    found = {}
    for view in views:
        try:
            newest = workspace.features.watermark(view)
        except OnlineStoreError:
            raise
        except FeatureError:  # a table that no view reads
            continue
        if newest is not None:
            found[view] = newest.isoformat()
    return found


def lost_views(workspace: Workspace, marker: Mapping[str, Any]) -> list[str]:
    """Return the views that were written up to a later time than the store knows of now.

    A server without persistence that was restarted, a store that was emptied, evicted or restored from an older copy.
    """
    written: Mapping[str, str] = marker.get("online", {})
    present = watermarks(workspace, written)
    return [
        view
        for view, moment in written.items()
        if view not in present or datetime.fromisoformat(present[view]) < datetime.fromisoformat(moment)
    ]


def online_finding(workspace: Workspace) -> Iterator[Finding]:
    """Say for `recsys doctor` whether requests find features."""
    name, build = "online features: rows", "run `recsys features build`"
    marker = read_written(marker_path(workspace))
    if marker is None:
        yield Finding(name, "warning", "the online store was not filled, or not to the end", build)
        return
    lost = lost_views(workspace, marker)
    if lost:
        yield Finding(name, "failed", f"the online store has lost rows of {', '.join(lost)}", build)
    else:
        yield Finding(name, "ok", f"as known at {marker['until']}")
