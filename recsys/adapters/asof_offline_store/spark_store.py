"""How does the ASOF store join where one machine is not enough? The same rules and rows, by statements of Spark.

Views, sources and checks are those of the ASOF store: a source is a FileSource of parquet files, in folders that every
executor sees. Entity rows and what was found for them pass through the driver, as Arrow; histories do not.
"""

from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from feast.data_source import DataSource
from feast.repo_config import RepoConfig

from recsys.adapters.asof_offline_store import spark_sql, sql
from recsys.adapters.asof_offline_store.connection import connected
from recsys.adapters.asof_offline_store.entity_rows import EntityRows
from recsys.adapters.asof_offline_store.join import check_key_types, questions, widen
from recsys.adapters.asof_offline_store.parquet_source import Parquet, parquet
from recsys.adapters.asof_offline_store.store import AsofOfflineStore, AsofOfflineStoreConfig, with_features
from recsys.adapters.asof_offline_store.view_plan import ViewPlan
from recsys.adapters.spark_session import own_session, said
from recsys.errors import FeatureError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

TYPE: Final = "recsys.adapters.asof_offline_store.spark_store.SparkAsofOfflineStore"


class SparkAsofOfflineStoreConfig(AsofOfflineStoreConfig):
    """`offline_store:` of feature_store.yaml."""

    type: Literal["recsys.adapters.asof_offline_store.spark_store.SparkAsofOfflineStore"] = TYPE  # type: ignore[assignment]
    """Selects this store."""

    spark_conf: dict[str, str] | None = None
    """Spark's settings, `spark.master` among them, where this is the first to ask for a session."""


class SparkAsofOfflineStore(AsofOfflineStore):
    """Point-in-time joins as known at each entity row's time, on Spark."""

    @staticmethod
    def _joined(config: RepoConfig, plans: list[ViewPlan], entities: EntityRows) -> pa.Table:
        session = own_session(config.offline_store.spark_conf or {})
        result, window = entities.table, entities.window()
        for plan in plans:
            pull = plan.pull
            if not pull.features:
                continue
            probe = questions(plan, entities)
            source = _described(config, plan, probe)
            _register(session, source)
            session.createDataFrame(probe).createOrReplaceTempView("entity")
            query = spark_sql.joined(source, pull, window.with_ttl(pull.ttl) if window else None)
            found = _arrow(session, query, f"source {source.label} of feature view {plan.name!r}")
            for (_, name), column in zip(pull.features, widen(found, len(probe)), strict=True):
                result = result.append_column(name, column)
        return result

    @staticmethod
    def _latest(config: RepoConfig, data_source: DataSource, pull: sql.Pull, start: int, end: int) -> pa.Table:
        session = own_session(config.offline_store.spark_conf or {})
        with connected(config) as connection:
            source = parquet(connection, data_source, str(config.repo_path))
        _register(session, source)
        query = spark_sql.latest(source, with_features(pull, source), start, end)
        return _arrow(session, query, f"source {source.label}")


def _described(config: RepoConfig, plan: ViewPlan, probe: pa.Table) -> Parquet:
    """Describe a view's files, by the footers alone, and refuse keys that can never be equal."""
    with connected(config) as connection:
        source = parquet(connection, plan.source, str(config.repo_path))
        connection.register("entity", probe)
        check_key_types(connection, plan, source)
    return source


def _register(session: "SparkSession", source: Parquet) -> None:
    """Let `source` name the files' rows, with the number of their file and their number in it."""
    from pyspark.sql import functions

    paths = [path if "://" in path else f"file://{path}" for path in source.paths]
    frame = session.read.option("mergeSchema", len(paths) > 1).parquet(*paths)
    place = functions.col("_metadata.row_index").alias(sql.PLACE)
    file = functions.input_file_name().alias(spark_sql.FILE)
    order = {path: number for number, path in enumerate(source.paths)}
    numbered = [(address, order.get(unquote(urlsplit(address).path), 0)) for address in frame.inputFiles()]
    if len(numbered) == 1:
        rows = frame.select("*", place).withColumn(spark_sql.FILE, functions.lit(0))
    else:
        names = session.createDataFrame(numbered, [spark_sql.FILE, "number"])
        rows = frame.select("*", file, place).join(functions.broadcast(names), spark_sql.FILE)
        rows = rows.drop(spark_sql.FILE).withColumnRenamed("number", spark_sql.FILE)
    rows.createOrReplaceTempView("source")


def _arrow(session: "SparkSession", query: str, label: str) -> pa.Table:
    """Run a query.

    Raises:
        FeatureError: it failed; the message names the source it reads.
    """
    try:
        return session.sql(query).toArrow()
    except Exception as error:  # of Python, of the gateway or of Java
        message = (
            f"{label}: the query failed on Spark: {said(error)}: where a file is damaged, delete it and build it anew"
        )
        raise FeatureError(message) from error
