"""Where do trained weights, their evidence and their aliases live, so that MLflow's own tools can read them?

One registration is a finished run in experiment `recsys/<model>` (parameters, metrics, `reports/`), a
logged model with the algorithm's own MLflow flavour, and a version of registered model `<model>`. Inside
the logged model, folder `ranker/` holds the bundle that `load` reads: `ranker.json`, the ranker's own
files, and `sample.parquet`, rows with the scores that a load has to reproduce. MLflow forbids `@` in the
names of metrics: `ndcg@10/user` is stored as `ndcg_at_10/user` (`metric_to_mlflow` and back).

- `registry`: `MlflowRegistry`, the port `ModelRegistry`
- `recording`: how one registration is written
- `connection`: the client, its bounds in time, and its failures as `StoreError`
- `changes`: whether anything has changed, for little
- `checks`: what `recsys doctor` asks
- `sample`: whether a ranker gives the scores it gave at its training
"""

from recsys.adapters.mlflow_registry.checks import artifact_findings, mlflow_findings
from recsys.adapters.mlflow_registry.connection import prepare_mlflow
from recsys.adapters.mlflow_registry.recording import FlavorWriter, metric_from_mlflow, metric_to_mlflow
from recsys.adapters.mlflow_registry.registry import Loader, MlflowRegistry

__all__ = [
    "FlavorWriter",
    "Loader",
    "MlflowRegistry",
    "artifact_findings",
    "metric_from_mlflow",
    "metric_to_mlflow",
    "mlflow_findings",
    "prepare_mlflow",
]
