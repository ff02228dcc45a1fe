"""How is a CatBoost ensemble fitted, scored, saved and loaded, with its columns pinned by name?

Numbers travel as one float32 matrix and categories as one matrix of bytes (CatBoost's FeaturesData, its fastest
input), so numbers come first and categories last, in training, in scoring and in `columns` alike. Scores are raw
values of the formula (log-odds for Logloss): what `mlflow.catboost.load_model(…).predict` gives.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys.errors import ModelError
from recsys.ports import Columns, TrainingRows
from recsys.specs.model import CatBoostAlgorithm

NO_CATEGORY: Final = "__null__"
"""The category of a row without one: CatBoost refuses None."""

_RANKING: Final = frozenset({"QueryRMSE", "QuerySoftMax", "YetiRank", "PairLogit"})
_LARGE: Final = 20_000
"""Rows from which more threads than one pay for their start."""
_RANKER_FILE: Final = "ranker.json"
_MODEL_FILE: Final = "model.cbm"

Progress = Callable[[int, int], None]


class CatBoostRanker:
    """`ports.Ranker` over a fitted CatBoost model."""

    def __init__(self, model: Any, threads: int = 1) -> None:  # noqa: ANN401 - catboost has no types
        """Take a fitted model.

        Args:
            model: a `catboost.CatBoost` fitted on FeaturesData or on columns with names.
            threads: threads for more than 20,000 rows; below, one is faster.
        """
        self._model = model
        self._threads = threads
        names = tuple(model.feature_names_)
        categorical = set(model.get_cat_feature_indices())
        self._numeric = tuple(name for index, name in enumerate(names) if index not in categorical)
        self._categorical = tuple(name for index, name in enumerate(names) if index in categorical)
        if names != self._numeric + self._categorical:
            message = (
                f"catboost model of columns {', '.join(names)}: numbers stand before categories; fit it here"
            )
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

    def score(self, columns: Columns) -> NDArray[np.float64]:
        """Return one raw score a row; columns are taken by name, so their order does not matter.

        Raises:
            ModelError: if a column is missing, of the wrong type or of another length.
        """
        data = _features_data(columns, self._numeric, self._categorical)
        rows = data.get_object_count()
        if rows == 0:
            return np.empty(0)
        with _failures("score"):
            scores = self._model.predict(data, thread_count=self._threads if rows > _LARGE else 1)
        return np.asarray(scores, dtype=np.float64)

    def save(self, folder: Path) -> None:
        """Write `ranker.json` and `model.cbm` into a folder, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        self._model.save_model(str(folder / _MODEL_FILE))
        document = {"type": "catboost", "columns": list(self.columns), "categorical": list(self._categorical)}
        (folder / _RANKER_FILE).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def load_catboost_ranker(folder: Path, threads: int = 1) -> CatBoostRanker:
    """Load what `CatBoostRanker.save` wrote.

    Raises:
        ModelError: if the folder does not hold one, or its model has other columns than its `ranker.json`.
    """
    document = _read_document(folder / _RANKER_FILE)
    with _failures(f"load {folder / _MODEL_FILE}"):
        ranker = CatBoostRanker(_load_model(folder), threads)
    if ranker.columns != tuple(document["columns"]):
        declared = ", ".join(document["columns"])
        message = (
            f"catboost ranker {folder}: its model has columns {', '.join(ranker.columns)}, its {_RANKER_FILE}"
            f" {declared}: they have to be the same; train and register it again"
        )
        raise ModelError(message)
    return ranker


def write_catboost_flavor(bundle: Path, folder: Path, mlflow_model: Any) -> None:  # noqa: ANN401 - mlflow.models.Model
    """Write a saved ranker as an MLflow model of the catboost flavour.

    Args:
        bundle: folder that `CatBoostRanker.save` wrote.
        folder: where the MLflow model goes; it must not exist.
        mlflow_model: the `mlflow.models.Model` that describes it, with its signature.
    """
    import catboost  # noqa: PLC0415 - 1.5 s of import, only where weights are written
    import mlflow.catboost  # noqa: PLC0415 - 3 s of import, only where weights are written

    requirements = [f"catboost=={catboost.__version__}", f"numpy=={np.__version__}"]
    mlflow.catboost.save_model(
        _load_model(bundle), str(folder), mlflow_model=mlflow_model, pip_requirements=requirements
    )


class CatBoostEstimator:
    """`ports.Estimator` of one CatBoost algorithm over given columns."""

    def __init__(self, spec: CatBoostAlgorithm, columns: tuple[str, ...], threads: int) -> None:
        """Check that the spec fits the columns.

        Args:
            spec: loss, size and seed.
            columns: the feature service's columns.
            threads: for the fit, and for scoring of many rows.

        Raises:
            ModelError: if a categorical column is not among the columns.
        """
        for name in spec.categorical:
            if name not in columns:
                message = (
                    f"algorithm: categorical {name} is no column of the feature service: {', '.join(columns)}"
                )
                raise ModelError(message)
        self._spec = spec
        self._threads = threads
        self._numeric = tuple(name for name in columns if name not in spec.categorical)
        self._categorical = tuple(name for name in columns if name in spec.categorical)

    def fit(
        self, train: TrainingRows, validation: TrainingRows, progress: Progress | None = None
    ) -> CatBoostRanker:
        """Learn from `train` and keep the iteration that is best on `validation`.

        Raises:
            ModelError: if either has no rows, or CatBoost cannot learn from them.
        """
        import catboost  # noqa: PLC0415 - 1.5 s of import, only where it fits

        model = catboost.CatBoost(self._parameters())
        with _failures(f"fit with loss {self._spec.loss}"):
            model.fit(
                self._pool(train, "training"),
                eval_set=self._pool(validation, "validation"),
                callbacks=[_ProgressCallback(progress, self._spec.iterations)] if progress else None,
            )
        return CatBoostRanker(model, self._threads)

    def load(self, folder: Path) -> CatBoostRanker:
        """Load what this estimator's ranker saved."""
        return load_catboost_ranker(folder, self._threads)

    def _parameters(self) -> dict[str, Any]:
        spec = self._spec
        parameters: dict[str, Any] = {
            "loss_function": spec.loss,
            "iterations": spec.iterations,
            "depth": spec.depth,
            "learning_rate": spec.learning_rate,
            "l2_leaf_reg": spec.l2_leaf_reg,
            "od_type": "Iter",
            "od_wait": spec.early_stopping_rounds,
            "use_best_model": True,
            "random_seed": spec.seed,
            "thread_count": self._threads,
            "logging_level": "Silent",
            "allow_writing_files": False,
        }
        if spec.loss in _RANKING:
            # CatBoost's default depends on the loss: 100 for QuerySoftMax makes an iteration 5 to 18 times slower.
            parameters["leaf_estimation_iterations"] = 1
        return parameters

    def _pool(self, rows: TrainingRows, name: str) -> Any:  # noqa: ANN401 - catboost has no types
        import catboost  # noqa: PLC0415 - as above

        if rows.label.size == 0:
            message = f"{name} rows: 0: a fit needs rows to learn from and rows to stop by; widen the window"
            raise ModelError(message)
        group = rows.request if self._spec.loss in _RANKING else None
        return catboost.Pool(
            _features_data(rows.columns, self._numeric, self._categorical), rows.label, group_id=group
        )


class _ProgressCallback:
    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._total = total

    def after_iteration(self, info: Any) -> bool:  # noqa: ANN401 - catboost has no types
        self._progress(int(info.iteration), self._total)
        return True


def _features_data(columns: Columns, numeric: Sequence[str], categorical: Sequence[str]) -> Any:  # noqa: ANN401
    import catboost  # noqa: PLC0415 - as above

    _check_present(columns, (*numeric, *categorical))
    return catboost.FeaturesData(
        num_feature_data=_numeric_matrix(columns, numeric),
        cat_feature_data=_category_matrix(columns, categorical),
        num_feature_names=list(numeric) or None,
        cat_feature_names=list(categorical) or None,
    )


def _check_present(columns: Columns, names: Sequence[str]) -> None:
    for name in names:
        if name not in columns:
            message = f"catboost: column {name} is missing: the model learns from {', '.join(names)}; give it all"
            raise ModelError(message)
        if len(columns[name]) != len(columns[names[0]]):
            message = (
                f"catboost: column {name} has {len(columns[name])} rows and {names[0]} {len(columns[names[0]])}:"
                " every column has one value a row"
            )
            raise ModelError(message)


def _numeric_matrix(columns: Columns, names: Sequence[str]) -> NDArray[np.float32] | None:
    if not names:
        return None
    # Column by column in memory: CatBoost reads this order twice as fast as rows.
    matrix = np.empty((len(columns[names[0]]), len(names)), dtype=np.float32, order="F")
    for index, name in enumerate(names):
        values = columns[name]
        if values.dtype.kind not in "fiub":
            message = (
                f"catboost: column {name} is of {values.dtype}: a number is needed;"
                " list a text under algorithm.categorical, turn a time into an age"
            )
            raise ModelError(message)
        matrix[:, index] = values
    return matrix


def _category_matrix(columns: Columns, names: Sequence[str]) -> NDArray[np.object_] | None:
    if not names:
        return None
    matrix = np.empty((len(columns[names[0]]), len(names)), dtype=object, order="F")
    for index, name in enumerate(names):
        matrix[:, index] = _categories(name, columns[name])
    return matrix


def _categories(name: str, values: NDArray[Any]) -> NDArray[np.object_]:
    """Return each category as bytes; each distinct text is encoded once."""
    try:
        encoded = pa.array(values, pa.string()).fill_null(NO_CATEGORY).dictionary_encode()
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        message = (
            f"catboost: column {name} is of {values.dtype}: a category is a text or null; cast it in its view"
        )
        raise ModelError(message) from error
    texts = np.array([text.encode() for text in encoded.dictionary.to_pylist()], dtype=object)
    return np.asarray(texts[encoded.indices.to_numpy(zero_copy_only=False)], dtype=object)


def _load_model(folder: Path) -> Any:  # noqa: ANN401 - catboost has no types
    import catboost  # noqa: PLC0415 - as above

    model = catboost.CatBoost()
    model.load_model(str(folder / _MODEL_FILE))
    return model


def _read_document(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if document["type"] == "catboost" and isinstance(document["columns"], list):
            return document
        reason = f"type {document['type']}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
    message = (
        f"catboost ranker {path}: {reason}: a saved one has type catboost and its columns; save it again"
    )
    raise ModelError(message)


@contextmanager
def _failures(what: str) -> Iterator[None]:
    import catboost  # noqa: PLC0415 - as above

    try:
        yield
    except catboost.CatBoostError as error:
        reason = str(error).strip().splitlines()[0]
        message = f"catboost: cannot {what}: {reason}; check labels, groups and columns of the rows"
        raise ModelError(message) from error
