"""How do feature transforms run where one machine is not enough? On Spark, by the same Ibis expressions.

- `engine`: `SparkEngine`, the Engine port; transforms on Spark, queries on a local engine
- `checks`: what `recsys doctor` asks
- `cluster`: `SparkCluster`, the Cluster port, by mapInArrow
- `checks`: what `recsys doctor` asks of it
- `expressions`: what of an Ibis expression Spark would take for something else
"""

from recsys.adapters.spark_engine.checks import spark_findings
from recsys.adapters.spark_engine.cluster import SparkCluster
from recsys.adapters.spark_engine.engine import SparkEngine

__all__ = ["SparkCluster", "SparkEngine", "spark_findings"]
