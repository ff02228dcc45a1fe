"""What does `recsys doctor` have to know of Spark?"""

from collections.abc import Iterator, Mapping

from recsys.adapters.spark_session import open_session, said
from recsys.errors import StoreError
from recsys.ports import Finding


def spark_findings(settings: Mapping[str, str]) -> Iterator[Finding]:
    """Start Spark as a command would, and let its workers count.

    Args:
        settings: Spark's own, such as `spark.master`.
    """
    try:
        session = open_session(settings)
    except StoreError as error:
        yield Finding("engine: spark", "failed", str(error))
        return
    context = session.sparkContext
    yield Finding("engine: spark", "ok", f"Spark {session.version}, master {context.master}")
    try:
        counted = session.range(1000).count()
    except Exception as error:  # noqa: BLE001 - of Python, of the gateway or of Java
        advice = "look at the workers' logs: they need the same Python and packages as this machine"
        yield Finding("engine: spark's workers", "failed", said(error), advice)
        return
    yield Finding("engine: spark's workers", "ok", f"{context.defaultParallelism} cores counted to {counted:,}")
