"""Which rows are features joined to? An entity table, checked once."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from feast.infra.offline_stores.offline_store import RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView

from recsys.adapters.asof_offline_store.entity_forms import EVENT_TIMESTAMP, utc
from recsys.adapters.asof_offline_store.sql import Window
from recsys.errors import FeatureError


@dataclass(frozen=True)
class EntityRows:
    """The rows to join features to."""

    table: pa.Table
    """As given, with the time column in UTC."""
    time_column: str

    @classmethod
    def of(cls, table: pa.Table) -> "EntityRows":
        """Take a table as entity rows.

        Raises:
            FeatureError: two columns of one name, or no time column to be found.
        """
        if duplicated := {n for n in table.column_names if table.column_names.count(n) > 1}:
            message = (
                f"entity_df has columns {sorted(duplicated)} more than once: column names must be unique; rename or "
                "drop one"
            )
            raise FeatureError(message)
        name = _time_column(table)
        index = table.schema.get_field_index(name)
        return cls(table.set_column(index, name, _utc(table.column(name), name)), name)

    def column(self, name: str, view: str) -> pa.ChunkedArray:
        """The join key column `name`, plain.

        Raises:
            FeatureError: there is none.
        """
        if name not in self.table.column_names:
            message = (
                f"entity_df has no column {name!r}, which feature view {view!r} joins on (it has "
                f"{', '.join(self.table.column_names)}): add the key column or leave the view out"
            )
            raise FeatureError(message)
        column = self.table.column(name)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_floating(column.type):  # a missing number is NaN there, and NaN = NaN in DuckDB
            column = pc.if_else(pc.is_nan(column), None, column)
        return column

    def check_request_data(self, odfvs: list[OnDemandFeatureView]) -> None:
        """Every request field of the on-demand views must be a column.

        Raises:
            FeatureError: one is not.
        """
        for odfv in odfvs:
            for name in odfv.get_request_data_schema():
                if name not in self.table.column_names:
                    message = (
                        f"entity_df has no column {name!r}, which on-demand view {odfv.name!r} takes from the "
                        "request: add it to the entity rows"
                    )
                    raise FeatureError(message)

    def times(self) -> pa.ChunkedArray:
        """The rows' times as microseconds since 1970, int64."""
        return self.table.column(self.time_column).cast(pa.timestamp("us"), safe=False).cast(pa.int64())

    def window(self) -> Window | None:
        """First and last time asked for; none if there is no time at all."""
        bounds = pc.min_max(self.times())
        first, last = bounds["min"].as_py(), bounds["max"].as_py()
        return None if first is None else Window(first, last)

    def metadata(self, feature_refs: list[str]) -> RetrievalMetadata:
        """What Feast records with a saved dataset."""
        bounds = pc.min_max(self.table.column(self.time_column))
        # Without a row there is no time, but Feast calculates with it after the dataset was written.
        none = datetime(1970, 1, 1, tzinfo=UTC)
        return RetrievalMetadata(
            features=feature_refs,
            keys=[name for name in self.table.column_names if name != self.time_column],
            min_event_timestamp=_datetime(bounds["min"]) or none,
            max_event_timestamp=_datetime(bounds["max"]) or none,
        )


def _datetime(moment: pa.Scalar) -> datetime | None:
    value = moment.cast(pa.timestamp("us", tz="UTC"), safe=False).as_py()
    return value if value is None else value.replace(tzinfo=UTC)


def _time_column(table: pa.Table) -> str:
    if EVENT_TIMESTAMP in table.column_names:
        return EVENT_TIMESTAMP
    candidates = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
    if len(candidates) != 1:
        message = (
            f"entity_df has timestamp columns {candidates}: the join needs exactly one, or a column named "
            f"{EVENT_TIMESTAMP!r}; rename the column that holds each row's time"
        )
        raise FeatureError(message)
    return str(candidates[0])


def _utc(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """A time column as UTC timestamps of its own unit; times without an offset are UTC."""
    kind: Any = column.type
    if pa.types.is_timestamp(kind):
        return column.cast(pa.timestamp(kind.unit, tz="UTC"))
    if pa.types.is_date(kind):
        return column.cast(pa.timestamp("us")).cast(pa.timestamp("us", tz="UTC"))
    if pa.types.is_null(kind):
        return column.cast(pa.timestamp("us", tz="UTC"))
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        message = f"entity_df column {name!r} is {kind}: the rows' times must be timestamps; convert it"
        raise FeatureError(message)
    return pa.chunked_array([pa.Array.from_pandas(utc(column.to_pandas(), name))])
