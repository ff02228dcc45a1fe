"""What had a session done when its request was answered? Its rows, made anew from the events that were known then."""

from collections.abc import Mapping
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from recsys.data.streams import FIRST_EVENTS
from recsys.ports import Exposure, FeatureTable, Streams
from recsys.schema import CREATED_TIMESTAMP, TIMESTAMP
from recsys.workflows.features.table_records import declared_tables, sources, transforms_module
from recsys.workflows.workspace import Workspace


class PastSessions:
    """The rows of sessions as requests read them."""

    def __init__(self, workspace: Workspace) -> None:
        """Prepare nothing yet."""
        self._workspace = workspace
        self._streams: tuple[Mapping[str, FeatureTable], Streams] | None = None

    def rows(self, exposure: Exposure, view: str, known_at: datetime | None) -> pa.Table | None:
        """Return a session's rows in a view, or None where it had none.

        Args:
            exposure: of the session.
            view: keyed by the session.
            known_at: when the newest of what the request read became known; None where it read nothing.
        """
        if known_at is None or exposure.session_id is None:
            return None
        if self._streams is None:
            self._streams = self._prepared()
        tables_of, prepared = self._streams
        types = sorted({name for table in tables_of.values() for name in table.events})
        events = self._workspace.event_log.session_events([exposure.session_id], types, FIRST_EVENTS)
        then = events.filter(pc.less_equal(events[CREATED_TIMESTAMP], pa.scalar(known_at, TIMESTAMP)))
        rows = prepared.rows(tables_of[view], then)
        return rows if len(rows) else None

    def _prepared(self) -> tuple[Mapping[str, FeatureTable], Streams]:
        tables = [table for table in declared_tables(self._workspace).values() if table.is_stream]
        module = transforms_module(self._workspace)
        return {table.name: table for table in tables}, self._workspace.engine.streams(
            module, tables, sources(self._workspace)
        )
