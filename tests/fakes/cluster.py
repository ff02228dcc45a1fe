"""What is a cluster of this one process? Rows in batches of three."""

import pyarrow as pa

from recsys.errors import RecsysError, StoreError
from recsys.ports import BatchFunction


class FakeCluster:
    """Implements `ports.Cluster` here and now."""

    def map_batches(self, function: BatchFunction, rows: pa.Table, schema: pa.Schema) -> pa.Table:
        """Run the function over small batches, one after another."""
        try:
            return pa.Table.from_batches(function(rows.combine_chunks().to_batches(max_chunksize=3)), schema)
        except RecsysError:
            raise
        except Exception as error:
            message = f"a worker failed: {error}"
            raise StoreError(message) from error
