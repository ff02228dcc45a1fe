"""How do queries and feature transforms run?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import pyarrow as pa


@dataclass(frozen=True)
class FeatureTable:
    """What a feature repository's transforms.py says of one table."""

    name: str
    code: str
    """Normalized code of its transform, with all it reaches: what a digest of its logic covers."""
    keys: tuple[str, ...]
    """The columns that, with `event_timestamp`, name a row; the first is a column of the events, on whose events of
    the same value alone a row depends."""
    period: timedelta
    """Rows stand at whole multiples of it since Monday 1970-01-05."""
    active_periods: int
    """For how many periods after an event the rows of its first key go on changing."""
    events: tuple[str, ...] = ()
    """Of a stream table the types of the events that it is made of: its rows stand at events, not at periods' ends, and
    are of the events of one value of the first key (a session). Empty of a table of periods."""

    @property
    def is_stream(self) -> bool:
        """Whether it is a stream table."""
        return bool(self.events)


@dataclass(frozen=True)
class Step:
    """Some periods of a feature table that are made at once, from the events known at their end."""

    after: datetime | None
    """The rows of periods that end later than this are new; None makes all."""
    until: datetime
    """The end of the last period."""
    restates: bool = False
    """Whether something about earlier periods became known: then it is one period, and changed rows of earlier ones
    get another version, known at `until`."""


class Streams(Protocol):
    """The transforms of stream tables, prepared to be run again and again on few events; safe for threads."""

    def rows(self, table: FeatureTable, events: pa.Table) -> pa.Table:
        """Return the newest row of each key, as the table would have it once these events are known.

        Args:
            table: which table.
            events: `schema.EVENTS`; each event once, all that are known of each value of the first key.

        Returns:
            Keys, features, `event_timestamp` and `created_timestamp`.

        Raises:
            FeatureError: if the transform does not run on these events.
        """
        ...


class Engine(Protocol):
    """Runs SQL over Arrow tables and parquet files, and feature transforms, with bounded memory."""

    def query(self, sql: str, tables: Mapping[str, pa.Table | Path] | None = None) -> pa.Table:
        """Run DuckDB's SQL.

        Each name in `tables` can be selected from; a Path is a parquet file or a folder of them.
        """
        ...

    def write(self, sql: str, tables: Mapping[str, pa.Table | Path], output: Path) -> int:
        """Run DuckDB's SQL and write what it gives to a parquet file, by rename.

        Returns its number of rows.
        """
        ...

    def transform(
        self, module: Path, table: FeatureTable, step: Step, sources: Mapping[str, Path], existing: Path, output: Path
    ) -> int:
        """Make the rows of one step of a feature table and write them as parquet, by rename.

        A stream table's step has its rows known in (after, until]: the transform is run on every set of events that was
        known in turn, so that no row can know of a later event.

        A row whose key is null names nothing and is left out. A float that differs from its newest version by less than
        1e-9 of the larger has not changed: the order of a sum is no change.

        Args:
            module: the feature repository's transforms.py.
            table: which table.
            step: which periods.
            sources: parquet files by the names of the transform's parameters; `events` is always one.
            existing: the folder of the table's earlier steps; it may be missing.
            output: the file to write; it may be a folder of part files, which readers of parquet take as one.

        Returns:
            The number of rows written.

        Raises:
            FeatureError: if the transform is not there or does not run on these sources.
        """
        ...

    def recompute(
        self, module: Path, table: FeatureTable, at: datetime, sources: Mapping[str, Path], units: pa.Array
    ) -> pa.Table:
        """Run a transform anew on nothing but the events known at a moment, for some values of the first key.

        Returns:
            The newest row of each key at that moment: keys, features and `event_timestamp`.

        Raises:
            FeatureError: if the transform is not there or does not run on these sources.
        """
        ...

    def streams(self, module: Path, tables: Sequence[FeatureTable], sources: Mapping[str, Path]) -> Streams:
        """Prepare the transforms of stream tables to be run on events as they come in.

        Args:
            module: the feature repository's transforms.py.
            tables: stream tables.
            sources: parquet files by the names of the transforms' parameters; `events` is not read.

        Raises:
            FeatureError: if a transform is not there or does not fit these sources.
        """
        ...
