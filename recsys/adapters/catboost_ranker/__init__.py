"""How is a CatBoost ensemble fitted, scored, saved and loaded, with its columns pinned by name?

Numbers travel as float32 and categories as texts; numbers come first and categories last, in training, in scoring
and in `columns` alike.
Scores are raw values of the formula (log-odds for Logloss): what `mlflow.catboost.load_model(...).predict`
gives. Where the algorithm is calibrated they are probabilities, and MLflow's own predict still gives the raw values.

- `checks`: rows that cannot be learned from, refused in one line
- `stopping`: which of CatBoost's metrics watches a fit
- `estimator`: `CatBoostEstimator`, the port `Estimator`
- `calibration`: raw scores to probabilities, by numbers that travel as JSON
- `ranker`: `CatBoostRanker`, the port `Ranker`; how it is loaded, and how MLflow sees it
- `matrices`: columns by name to CatBoost's input
"""

from recsys.adapters.catboost_ranker.estimator import CatBoostEstimator
from recsys.adapters.catboost_ranker.matrices import NO_CATEGORY
from recsys.adapters.catboost_ranker.ranker import CatBoostRanker, load_catboost_ranker, write_catboost_flavor

__all__ = [
    "NO_CATEGORY",
    "CatBoostEstimator",
    "CatBoostRanker",
    "load_catboost_ranker",
    "write_catboost_flavor",
]
