"""What does `recsys doctor` have to know of Spark and its workers?"""

import platform
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import pyarrow as pa

import recsys
from recsys.adapters.spark_engine.cluster import SparkCluster
from recsys.adapters.spark_session import open_session
from recsys.errors import StoreError
from recsys.ports import Finding

_VERSIONS: Final = pa.schema([("python", pa.string()), ("recsys", pa.string())])


def spark_findings(settings: Mapping[str, str]) -> Iterator[Finding]:
    """Start Spark, and ask a worker which Python and which recsys it has.

    Args:
        settings: Spark's.
    """
    try:
        version = open_session(settings).version
    except StoreError as error:
        yield Finding("engine: spark", "failed", str(error))
        return
    yield Finding("engine: spark", "ok", f"Spark {version} on {settings.get('spark.master', 'its own master')}")
    name = "engine: workers"
    try:
        told = SparkCluster(settings).map_batches(versions, pa.table({"asked": [1]}), _VERSIONS).to_pylist()[0]
    except StoreError as error:
        yield Finding(name, "failed", str(error), "install recsys where workers run; PYSPARK_PYTHON names their Python")
        return
    found = f"Python {told['python']}, recsys {told['recsys']}"
    if told != here():
        yield Finding(
            name, "failed", found, f"install what is here: {', '.join(' '.join(one) for one in here().items())}"
        )
    else:
        yield Finding(name, "ok", found)


def versions(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Tell what a worker has, a row a row."""
    for batch in batches:
        yield pa.RecordBatch.from_pylist([here()] * batch.num_rows, _VERSIONS)


def here() -> dict[str, str]:
    """Return the versions that lists and pickles depend on."""
    return {"python": ".".join(platform.python_version_tuple()[:2]), "recsys": recsys.__version__}
