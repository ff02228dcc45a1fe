"""What is a cluster of this one process? Rows in batches of three, and functions that are pickled as for another."""

import pickle

import pyarrow as pa

from recsys.errors import RecsysError, StoreError
from recsys.ports import BatchFunction


class FakeCluster:
    """Implements `ports.Cluster` here and now."""

    def map_batches(self, function: BatchFunction, rows: pa.Table, schema: pa.Schema) -> pa.Table:
        """Run a copy of the function over small batches, one after another."""
        try:
            there: BatchFunction = pickle.loads(pickle.dumps(function))  # noqa: S301 - written a moment ago
            return pa.Table.from_batches(there(rows.combine_chunks().to_batches(max_chunksize=3)), schema)
        except RecsysError:
            raise
        except Exception as error:
            message = f"a worker failed: {error}"
            raise StoreError(message) from error
