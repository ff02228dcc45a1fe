"""Is Spark here, for tests that need one? One small session a process.

Tests that use it carry the marker `spark`, and skip plainly where pyspark or Java is missing.
"""

import importlib.util
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import pytest

SETTINGS: Final[Mapping[str, str]] = {
    "spark.master": "local[2]",
    "spark.driver.memory": "1g",
    "spark.sql.shuffle.partitions": "2",
    # Tables of a few rows: to compile a plan takes longer than to interpret it.
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.adaptive.enabled": "false",
}


@contextmanager
def spark_session() -> Iterator[Mapping[str, str]]:
    """Start Spark, give its settings, and stop it; skip the test where it cannot be."""
    if importlib.util.find_spec("pyspark") is None:
        pytest.skip("pyspark is not installed: make spark")
    if shutil.which("java") is None and not os.environ.get("JAVA_HOME"):
        pytest.skip("no Java here, which Spark runs on")
    from recsys.adapters.spark_session import open_session

    session = open_session(SETTINGS)
    yield SETTINGS
    session.stop()
