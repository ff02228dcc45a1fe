"""How does a fitted CatBoost model score, and travel as a folder?"""

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recsys.adapters.catboost_ranker.calibration import Calibrator, read_calibrator
from recsys.adapters.catboost_ranker.matrices import failures, features_data
from recsys.errors import ModelError
from recsys.ports import Columns

_LARGE: Final = 20_000
"""Rows from which more threads than one pay for their start."""
_RANKER_FILE: Final = "ranker.json"
_MODEL_FILE: Final = "model.cbm"


class CatBoostRanker:
    """`ports.Ranker` over a fitted CatBoost model."""

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - catboost has no types
        threads: int = 1,
        calibrator: Calibrator | None = None,
    ) -> None:
        """Take a fitted model.

        Args:
            model: a `catboost.CatBoost` fitted on FeaturesData or on columns with names.
            threads: threads for more than 20,000 rows; below, one is faster.
            calibrator: makes probabilities of raw scores; None leaves them raw.
        """
        self._model = model
        self._threads = threads
        self._calibrator = calibrator
        names = tuple(model.feature_names_)
        categorical = set(model.get_cat_feature_indices())
        self._numeric = tuple(name for index, name in enumerate(names) if index not in categorical)
        self._categorical = tuple(name for index, name in enumerate(names) if index in categorical)
        if names != self._numeric + self._categorical:
            message = f"catboost model of columns {', '.join(names)}: numbers stand before categories; fit it here"
            raise ModelError(message)

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns it needs, numbers first, in the order of its training."""
        return self._numeric + self._categorical

    @property
    def categorical(self) -> tuple[str, ...]:
        """Return those columns that are categories."""
        return self._categorical

    @property
    def trees(self) -> int:
        """Return how many trees the best iteration left."""
        return int(self._model.tree_count_)

    def importance(self) -> dict[str, float]:
        """Return each column's share of the changes in prediction, in percent, largest first."""
        values = self._model.get_feature_importance(type="PredictionValuesChange")
        pairs = zip(self.columns, (float(value) for value in values), strict=True)
        return dict(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))

    @property
    def calibration(self) -> str | None:
        """Return how its scores became probabilities: sigmoid or isotonic; None where they are raw."""
        return None if self._calibrator is None else str(self._calibrator.to_dict()["type"])

    def score(self, columns: Columns) -> NDArray[np.float64]:
        """Return one score a row, a probability where the model is calibrated, else the formula's raw value.

        Columns are taken by name, so their order does not matter.

        Raises:
            ModelError: if a column is missing, of the wrong type or of another length.
        """
        data = features_data(columns, self._numeric, self._categorical)
        rows = data.get_object_count()
        if rows == 0:
            return np.empty(0)
        with failures("score"):
            raw = self._model.predict(data, thread_count=self._threads if rows > _LARGE else 1)
        scores = np.asarray(raw, dtype=np.float64)
        return scores if self._calibrator is None else self._calibrator.probabilities(scores)

    def contributions(self, columns: Columns) -> dict[str, NDArray[np.float64]]:
        """Return each column's SHAP value (Lundberg and Lee 2017) of the raw score, as CatBoost computes it."""
        import catboost

        data = features_data(columns, self._numeric, self._categorical)
        if data.get_object_count() == 0:
            return {name: np.empty(0) for name in self.columns}
        with failures("take scores apart"):
            values = self._model.get_feature_importance(catboost.Pool(data), type="ShapValues", thread_count=1)
        return {name: np.asarray(values[:, place], dtype=np.float64) for place, name in enumerate(self.columns)}

    def save(self, folder: Path) -> None:
        """Write `ranker.json` and `model.cbm` into a folder, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        self._model.save_model(str(folder / _MODEL_FILE))
        document: dict[str, Any] = {
            "type": "catboost",
            "columns": list(self.columns),
            "categorical": list(self._categorical),
        }
        if self._calibrator is not None:
            document["calibration"] = self._calibrator.to_dict()
        (folder / _RANKER_FILE).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def load_catboost_ranker(folder: Path, threads: int = 1) -> CatBoostRanker:
    """Load what `CatBoostRanker.save` wrote.

    Raises:
        ModelError: if the folder does not hold one, or its model has other columns than its `ranker.json`.
    """
    document, calibrator = _read_document(folder / _RANKER_FILE)
    with failures(f"load {folder / _MODEL_FILE}"):
        ranker = CatBoostRanker(_load_model(folder), threads, calibrator)
    if ranker.columns != tuple(document["columns"]):
        declared = ", ".join(document["columns"])
        message = (
            f"catboost ranker {folder}: its model has columns {', '.join(ranker.columns)}, its {_RANKER_FILE}"
            f" {declared}: they have to be the same; train and register it again"
        )
        raise ModelError(message)
    return ranker


def write_catboost_flavor(bundle: Path, folder: Path, mlflow_model: Any) -> None:  # noqa: ANN401
    """Write a saved ranker as an MLflow model of the catboost flavour: its formula, whose values are raw scores.

    Args:
        bundle: folder that `CatBoostRanker.save` wrote.
        folder: where the MLflow model goes; it must not exist.
        mlflow_model: the `mlflow.models.Model` that describes it, with its signature.
    """
    import catboost
    import mlflow.catboost

    requirements = [f"catboost=={catboost.__version__}", f"numpy=={np.__version__}"]
    mlflow.catboost.save_model(
        _load_model(bundle), str(folder), mlflow_model=mlflow_model, pip_requirements=requirements
    )


def _load_model(folder: Path) -> Any:  # noqa: ANN401 - catboost has no types
    import catboost

    model = catboost.CatBoost()
    model.load_model(str(folder / _MODEL_FILE))
    return model


def _read_document(path: Path) -> tuple[dict[str, Any], Calibrator | None]:
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if document["type"] == "catboost" and isinstance(document["columns"], list):
            calibration = document.get("calibration")
            return document, None if calibration is None else read_calibrator(calibration)
        reason = f"type {document['type']}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
    message = f"catboost ranker {path}: {reason}: a saved one has type catboost and its columns; save it again"
    raise ModelError(message)
