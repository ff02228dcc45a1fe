"""How does a function run on rows where one machine is not enough?"""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import pyarrow as pa

BatchFunction = Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]
"""Makes rows of rows: it can be pickled, opens what it reads, and says of a row the same in whatever batch."""


class Cluster(Protocol):
    """Processes, here or elsewhere, that run a function side by side."""

    def map_batches(self, function: BatchFunction, rows: pa.Table, schema: pa.Schema) -> pa.Table:
        """Run a function over rows, some in each process.

        Args:
            function: what makes rows of rows.
            rows: what it reads.
            schema: what it gives.

        Returns:
            What it gave, in the order of what it read.

        Raises:
            RecsysError: as the function, by its class and message.
            StoreError: if the function raised anything else, or its process is lost.
        """
        ...
