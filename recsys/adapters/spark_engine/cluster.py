"""How does a pure function run on Arrow batches side by side? By Spark's mapInArrow, in its Python workers."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

import recsys.errors
from recsys.adapters.spark_session import own_session, said
from recsys.errors import RecsysError, StoreError
from recsys.ports import BatchFunction

_RAISED: Final = "recsys raised in a worker"
_TOLD: Final = re.compile(rf"{_RAISED}: (\w+): (.*)")


class SparkCluster:
    """The Cluster port: each of Spark's tasks takes some of the rows, in a process of its own.

    The workers need this package, and whatever the function opens, under the same paths and addresses.
    """

    def __init__(self, settings: Mapping[str, str]) -> None:
        """Keep Spark's settings; it starts at the first call."""
        self._settings = settings

    def map_batches(self, function: BatchFunction, rows: pa.Table, schema: pa.Schema) -> pa.Table:
        """Run a function over rows, some in each worker, and bring what it gives to the driver.

        Raises:
            RecsysError: as the function, by its class and message.
            StoreError: if Spark is not here, the function raised anything else, or a worker is lost.
        """
        session = own_session(self._settings)
        from pyspark.sql.pandas.types import from_arrow_schema

        given = session.createDataFrame(rows)
        try:
            made = given.mapInArrow(_Told(function), from_arrow_schema(schema, prefer_timestamp_ntz=False)).toArrow()
        except Exception as error:  # of the function, of the gateway or of Java
            raise _as_raised(error) from error
        return made.cast(schema)


@dataclass(frozen=True)
class _Told:
    """A function whose own errors come back by name: only their text passes from a worker to the driver."""

    function: BatchFunction

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        try:
            yield from self.function(batches)
        except RecsysError as error:
            message = f"{_RAISED}: {type(error).__name__}: {' '.join(str(error).split())}"
            raise RuntimeError(message) from error


def _as_raised(error: Exception) -> RecsysError:
    told = _TOLD.search(str(error))
    kind = getattr(recsys.errors, told[1], None) if told else None
    if told and isinstance(kind, type) and issubclass(kind, RecsysError) and kind.__init__ is RecsysError.__init__:
        return kind(told[2])
    message = f"engine spark: a worker failed: {told[0] if told else said(error)}; what it ran is in Spark's log"
    return StoreError(message)
