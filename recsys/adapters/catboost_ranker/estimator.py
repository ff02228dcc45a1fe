"""How is a CatBoost ranker fitted?"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from recsys.adapters.catboost_ranker.matrices import failures, features_data
from recsys.adapters.catboost_ranker.ranker import CatBoostRanker, load_catboost_ranker
from recsys.errors import ModelError
from recsys.ports import TrainingRows
from recsys.specs.model import CatBoostAlgorithm

_RANKING: Final = frozenset({"QueryRMSE", "QuerySoftMax", "YetiRank", "PairLogit"})
"""Losses that compare the rows of one request."""

Progress = Callable[[int, int], None]


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
                message = f"algorithm: categorical {name} is no column of the feature service: {', '.join(columns)}"
                raise ModelError(message)
        self._spec = spec
        self._threads = threads
        self._numeric = tuple(name for name in columns if name not in spec.categorical)
        self._categorical = tuple(name for name in columns if name in spec.categorical)

    def fit(self, train: TrainingRows, validation: TrainingRows, progress: Progress | None = None) -> CatBoostRanker:
        """Learn from `train` and keep the iteration that is best on `validation`.

        Raises:
            ModelError: if either has no rows, or CatBoost cannot learn from them.
        """
        import catboost

        model = catboost.CatBoost(self._parameters())
        with failures(f"fit with loss {self._spec.loss}"):
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
            # The default depends on the loss: QuerySoftMax's 100 makes an iteration 5 to 18 times slower.
            parameters["leaf_estimation_iterations"] = 1
        return parameters

    def _pool(self, rows: TrainingRows, name: str) -> Any:  # noqa: ANN401 - catboost has no types
        import catboost

        if rows.label.size == 0:
            message = f"{name} rows: 0: a fit needs rows to learn from and rows to stop by; widen the window"
            raise ModelError(message)
        group = rows.request if self._spec.loss in _RANKING else None
        return catboost.Pool(features_data(rows.columns, self._numeric, self._categorical), rows.label, group_id=group)


class _ProgressCallback:
    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._total = total

    def after_iteration(self, info: Any) -> bool:  # noqa: ANN401 - catboost has no types
        self._progress(int(info.iteration), self._total)
        return True
