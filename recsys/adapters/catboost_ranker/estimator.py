"""How is a CatBoost ranker fitted?"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from recsys.adapters.catboost_ranker.calibration import fit_calibrator
from recsys.adapters.catboost_ranker.checks import check_rows
from recsys.adapters.catboost_ranker.matrices import failures, training_frame
from recsys.adapters.catboost_ranker.ranker import CatBoostRanker, load_catboost_ranker
from recsys.adapters.catboost_ranker.stopping import watching_metric
from recsys.errors import ModelError
from recsys.ports import TrainingRows
from recsys.specs.metric import Metric
from recsys.specs.model import GROUPED, CatBoostAlgorithm

Progress = Callable[[int, int], None]


class CatBoostEstimator:
    """`ports.Estimator` of one CatBoost algorithm over given columns."""

    def __init__(
        self, spec: CatBoostAlgorithm, columns: tuple[str, ...], threads: int, metric: Metric | None = None
    ) -> None:
        """Check that the spec fits the columns and the metric.

        Args:
            spec: loss, size, seed, stopping and calibration.
            columns: the feature service's columns.
            threads: for the fit, and for scoring of many rows.
            metric: the gate's; what stops the fit where the spec says `stop_by: metric`.

        Raises:
            ModelError: if a categorical column is not among the columns, or CatBoost has no metric like the one to
                stop by.
        """
        for name in spec.categorical:
            if name not in columns:
                message = f"algorithm: categorical {name} is no column of the feature service: {', '.join(columns)}"
                raise ModelError(message)
        self._spec = spec
        self._threads = threads
        self._watching = watching_metric(spec, metric)
        self._numeric = tuple(name for name in columns if name not in spec.categorical)
        self._categorical = tuple(name for name in columns if name in spec.categorical)

    def fit(self, train: TrainingRows, validation: TrainingRows, progress: Progress | None = None) -> CatBoostRanker:
        """Learn from `train`, keep the iteration that is best on `validation`, and calibrate on it.

        The same rows, spec and number of threads give the same model file, to the last byte.

        Raises:
            ModelError: if either has no rows, or CatBoost cannot learn from them.
        """
        import catboost

        model = catboost.CatBoost(self._parameters())
        stop_by, learned = self._pool(validation, "validation"), self._pool(train, "training")
        pa.default_memory_pool().release_unused()  # what categories were numbered with
        with failures(f"fit with loss {self._spec.loss}"):
            model.fit(
                learned,
                eval_set=stop_by,
                callbacks=[_ProgressCallback(progress, self._spec.iterations)] if progress else None,
            )
        calibrator = None
        if self._spec.calibration is not None:
            scores = np.asarray(model.predict(stop_by, thread_count=self._threads), dtype=np.float64)
            calibrator = fit_calibrator(self._spec.calibration, scores, validation.label)
        return CatBoostRanker(_without_chance(model), self._threads, calibrator)

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
            "random_strength": spec.random_strength,
            "max_ctr_complexity": spec.max_ctr_complexity,
            "od_type": "Iter",
            "od_wait": spec.early_stopping_rounds,
            "use_best_model": True,
            "random_seed": spec.seed,
            "thread_count": self._threads,
            "logging_level": "Silent",
            "allow_writing_files": False,
        }
        if self._watching is not None:
            parameters["eval_metric"] = self._watching
        if spec.min_data_in_leaf > 1:
            # CatBoost's symmetric trees pass over min_data_in_leaf without a word.
            parameters |= {"grow_policy": "Depthwise", "min_data_in_leaf": spec.min_data_in_leaf}
        if spec.loss in GROUPED:
            # The default depends on the loss: QuerySoftMax's 100 makes an iteration 5 to 18 times slower.
            parameters["leaf_estimation_iterations"] = 1
        return parameters

    def _pool(self, rows: TrainingRows, part: str) -> Any:  # noqa: ANN401 - catboost has no types
        import catboost

        check_rows(rows, part, self._spec.loss, watched=self._watching is not None)
        grouped = self._spec.loss in GROUPED or self._watching is not None
        data = training_frame(rows.columns, self._numeric, self._categorical)
        with failures(f"read the {part} rows"):
            return catboost.Pool(
                data, rows.label, cat_features=list(self._categorical), group_id=rows.request if grouped else None
            )


def _without_chance(model: Any) -> Any:  # noqa: ANN401 - catboost has no types
    """Take out of a model's metadata what differs between two fits of the same rows: the time and a random id."""
    metadata = model.get_metadata()
    for name in ("train_finish_time", "model_guid"):
        if name in metadata:
            del metadata[name]
    return model


class _ProgressCallback:
    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._total = total

    def after_iteration(self, info: Any) -> bool:  # noqa: ANN401 - catboost has no types
        self._progress(int(info.iteration), self._total)
        return True
