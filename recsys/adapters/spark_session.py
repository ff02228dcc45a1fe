"""How is Spark reached? One session a process, opened when it is first needed; what the first one says holds."""

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from recsys.errors import StoreError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ALWAYS: Final[Mapping[str, str]] = {
    # Timestamps are UTC with microseconds, wherever a worker stands; Arrow and DuckDB read them as such.
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    # What cannot be computed fails instead of becoming null.
    "spark.sql.ansi.enabled": "true",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
}
"""What answers depend on."""

USUAL: Final[Mapping[str, str]] = {
    "spark.app.name": "recsys",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
}
"""What the settings may say otherwise."""

_LOOPBACK: Final[Mapping[str, str]] = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}


def open_session(settings: Mapping[str, str]) -> "SparkSession":
    """Return this process's session; the first caller's settings make it.

    Args:
        settings: Spark's own, such as `spark.master`; beside them hold ALWAYS and, where they say nothing, USUAL.

    Raises:
        StoreError: if pyspark or Java is missing, or Spark does not start.
    """
    try:
        from pyspark.sql import SparkSession
    except ModuleNotFoundError as error:
        message = (
            "engine spark: pyspark is not installed; install the extra: pip install 'recsys[spark]' (in a checkout:"
            " make spark)"
        )
        raise StoreError(message) from error
    if SparkSession.getActiveSession() is None:
        _require_java()
    # Without it workers are started with whatever `python3` is on their path.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    local = settings.get("spark.master", "local").startswith("local")
    builder = SparkSession.builder
    for name, value in {**USUAL, **(_LOOPBACK if local else {}), **settings, **ALWAYS}.items():
        builder = builder.config(name, value)
    try:
        return builder.getOrCreate()
    except Exception as error:  # of Python, of the gateway or of Java
        message = (
            f"engine spark: Spark does not start with master {settings.get('spark.master', 'local')}: {said(error)}; it"
            " needs Java 17 or later, and the master has to be reachable"
        )
        raise StoreError(message) from error


def own_session(settings: Mapping[str, str]) -> "SparkSession":
    """Return a session on the same Spark whose tables have names of their own, and in which ALWAYS holds.

    Raises:
        StoreError: as `open_session`.
    """
    session = open_session(settings).newSession()
    for name, value in ALWAYS.items():
        if name.startswith("spark.sql."):
            session.conf.set(name, value)
    return session


def said(error: Exception) -> str:
    """Return the line that says what happened, whether Python or Java said it: the first with one of Spark's names."""
    lines = [_first_line(str(error))]
    cause = getattr(error, "java_exception", None)
    while cause is not None:
        lines.append(_first_line(str(cause.getMessage())))
        cause = cause.getCause()
    named = [line for line in lines if line.startswith("[")]
    return (named or lines)[0].rstrip(".") or type(error).__name__


def _first_line(text: str) -> str:
    return next(iter(text.splitlines()), "")


def _require_java() -> None:
    home = os.environ.get("JAVA_HOME")
    if (home and (Path(home) / "bin" / "java").exists()) or shutil.which("java"):
        return
    message = (
        "engine spark: no Java here, which the extra recsys[spark] runs on; install Java 17 or later (Debian:"
        " openjdk-17-jre-headless), or let JAVA_HOME name it"
    )
    raise StoreError(message)
