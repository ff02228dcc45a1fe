"""How does MLflow score by one feature, on a machine that knows MLflow and numpy and nothing of recsys?

This file travels inside the logged model as its code, so it imports nothing of this package. Its rule for
missing values is the one of `recsys.modeling.feature_ranker`; a test keeps the two the same.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def write_feature_flavor(bundle: Path, folder: Path, mlflow_model: Any) -> None:  # noqa: ANN401
    """Write a saved ranker of one feature as an MLflow model of the pyfunc flavour.

    Args:
        bundle: folder that holds the `ranker.json` of a feature ranker.
        folder: where the MLflow model goes; it must not exist.
        mlflow_model: the `mlflow.models.Model` that describes it, with its signature.
    """
    import mlflow.pyfunc

    mlflow.pyfunc.save_model(
        str(folder),
        loader_module=Path(__file__).stem,
        data_path=str(bundle / "ranker.json"),
        code_paths=[__file__],
        mlflow_model=mlflow_model,
        pip_requirements=[f"mlflow=={mlflow.__version__}", f"numpy=={np.__version__}"],
    )


class FeatureModel:
    """What `mlflow.pyfunc.load_model` gives."""

    def __init__(self, feature: str) -> None:
        """Take the feature to order by."""
        self._feature = feature

    def predict(self, frame: Any, params: Any = None) -> NDArray[np.float64]:  # noqa: ANN401, ARG002
        """Return one score a row of a DataFrame; MLflow hands over `params`, of which there are none."""
        lowest = float(np.finfo(np.float32).min)
        scores = np.array(frame[self._feature], dtype=np.float64)
        return np.nan_to_num(scores, copy=False, nan=lowest, posinf=-lowest, neginf=lowest)


def _load_pyfunc(path: str) -> FeatureModel:
    return FeatureModel(json.loads(Path(path).read_text(encoding="utf-8"))["feature"])
