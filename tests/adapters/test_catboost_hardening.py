"""What does a fit do with rows, parameters and metrics that do not suit it? One clear line, or the right thing."""

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import catboost
import numpy as np
import pytest

from recsys.adapters.catboost_ranker import CatBoostEstimator
from recsys.adapters.catboost_ranker.estimator import _without_chance
from recsys.adapters.catboost_ranker.matrices import features_data
from recsys.errors import ModelError
from recsys.modeling.metrics import list_metrics, top_k
from recsys.ports import TrainingRows
from recsys.specs.metric import parse_metric
from tests.adapters.test_catboost_ranker import COLUMNS, algorithm, rows

ROOT = Path(__file__).parents[2]
GROUPED = ("QueryRMSE", "QuerySoftMax", "YetiRank", "PairLogit")


def changed(data: TrainingRows, **parts: Any) -> TrainingRows:
    """Return rows with other labels, requests or columns."""
    return TrainingRows(
        {**data.columns, **parts.get("columns", {})}, parts.get("label", data.label), parts.get("request", data.request)
    )


def fit(train: TrainingRows, loss: str = "Logloss", validation: TrainingRows | None = None, **changes: Any) -> Any:
    """Fit a few trees."""
    metric = changes.pop("metric", None)
    estimator = CatBoostEstimator(algorithm(loss, **{"iterations": 5, **changes}), COLUMNS, 1, metric)
    return estimator.fit(train, validation or rows(20, seed=1))


def refused(train: TrainingRows, loss: str = "Logloss", **changes: Any) -> str:
    """Return the one line a fit is refused with."""
    with pytest.raises(ModelError) as raised:
        fit(train, loss, **changes)
    message = str(raised.value)
    assert "\n" not in message
    assert ";" in message, "it says what to do"
    return message


# ---------------------------------------------------------------- labels


@pytest.mark.parametrize("loss", ["Logloss", "CrossEntropy", "RMSE", "MAE", "Poisson", *GROUPED])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_labels_that_are_all_the_same(loss: str, value: float) -> None:
    constant = changed(rows(20), label=np.full(200, value, dtype=np.float32))
    message = refused(constant, loss)
    assert message.startswith(f"training rows: all 200 labels are {value:g}: cannot fit with loss {loss}")


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("loss", ["Logloss", "RMSE", "YetiRank"])
def test_labels_that_are_no_numbers(loss: str, value: float) -> None:
    label = rows(20).label.copy()
    label[7] = value
    assert refused(changed(rows(20), label=label), loss).startswith(f"training rows: label of row 7 is {value}")
    message = refused(rows(20), loss, validation=changed(rows(20), label=label))
    assert message.startswith("validation rows: label of row 7 is")


def test_labels_that_do_not_suit_the_loss() -> None:
    data = rows(20)
    assert "a label is -1: for loss Poisson" in refused(changed(data, label=data.label - 1), "Poisson")
    assert "a label is 2: for loss Logloss" in refused(changed(data, label=data.label * 2))
    assert "a label is 2: for loss CrossEntropy" in refused(changed(data, label=data.label * 2), "CrossEntropy")
    assert "cannot fit with loss QuerySoftMax" in refused(changed(data, label=data.label - 1), "QuerySoftMax")


@pytest.mark.parametrize("loss", ["RMSE", "MAE", "Poisson"])
def test_a_regression_learns_counts_and_amounts(loss: str) -> None:
    """Larger labels score higher; Poisson's scores are log-rates, which keeps the order."""
    generator = np.random.default_rng(3)

    def counted(seed: int) -> TrainingRows:
        data = rows(150, seed)
        rate = np.exp(np.nan_to_num(data.columns["affinity"]))
        return changed(data, label=np.random.default_rng(seed).poisson(rate).astype(np.float32))

    scores = fit(counted(0), loss, validation=counted(1), iterations=60).score(counted(2).columns)
    truth = np.nan_to_num(counted(2).columns["affinity"])
    sample = generator.integers(0, len(truth), (2, 2_000))
    apart = truth[sample[0]] - truth[sample[1]] > 0.5
    assert (scores[sample[0]] > scores[sample[1]])[apart].mean() > 0.9


def test_validation_labels_of_one_kind_stop_a_fit_all_the_same() -> None:
    """Nothing was redeemed that week: the loss falls as it should."""
    nothing = changed(rows(20, seed=1), label=np.zeros(200, dtype=np.float32))
    assert np.isfinite(fit(rows(50), validation=nothing).score(rows(2).columns)).all()


# ---------------------------------------------------------------- requests


@pytest.mark.parametrize("loss", GROUPED)
def test_requests_of_one_row(loss: str) -> None:
    """All of them: nothing to compare. Some of them: they are passed over."""
    alone = changed(rows(20), request=np.arange(200))
    assert f"training rows: each of 200 requests has one row: loss {loss}" in refused(alone, loss)
    assert "validation rows: each of 200" in refused(rows(20), loss, validation=alone)
    mixed = np.concatenate([np.arange(100), np.repeat(np.arange(100, 110), 10)])
    assert np.isfinite(fit(changed(rows(20), request=mixed), loss).score(rows(2).columns)).all()


@pytest.mark.parametrize("loss", GROUPED)
def test_requests_that_prefer_nothing(loss: str) -> None:
    """Whole requests taken, whole requests not: no pair within any."""
    label = (rows(20).request % 2).astype(np.float32)
    assert f"no request has two different labels: loss {loss}" in refused(changed(rows(20), label=label), loss)


@pytest.mark.parametrize("loss", GROUPED)
def test_requests_that_are_torn_apart(loss: str) -> None:
    request = rows(20).request.copy()
    request[-1] = 0
    assert "training rows: request 0 comes again after another" in refused(changed(rows(20), request=request), loss)
    assert np.isfinite(fit(changed(rows(20), request=request)).score(rows(2).columns)).all(), "Logloss does not ask"


# ---------------------------------------------------------------- columns


def test_a_missing_feature() -> None:
    data = rows(20)
    columns = {name: values for name, values in data.columns.items() if name != "recency"}
    with pytest.raises(ModelError, match=r"column recency is missing: the model learns from affinity, noise, recency"):
        fit(TrainingRows(columns, data.label, data.request))


def test_numbers_that_are_none() -> None:
    """NaN, infinite, beyond float32, a column of nothing else: learned from, and scored."""
    data = rows(50)
    strange = np.array([np.nan, np.inf, -np.inf, 1e300, -1e300])
    columns = {"affinity": np.where(np.arange(500) < 5, strange[np.arange(500) % 5], data.columns["affinity"])}
    columns["noise"] = np.full(500, np.nan)
    fitted = fit(changed(data, columns=columns))
    asked = {**rows(1, seed=3).columns, "affinity": np.tile(strange, 2), "noise": np.full(10, np.inf)}
    assert np.isfinite(fitted.score(asked)).all()


def test_columns_that_say_nothing() -> None:
    constant = {name: np.ones(200) for name in ("affinity", "noise", "recency")} | {"brand": np.full(200, "a")}
    message = refused(changed(rows(20), columns=constant))
    assert message.startswith("catboost: cannot fit with loss Logloss: ")
    assert "All features are either constant or ignored" in message


# ---------------------------------------------------------------- parameters


@pytest.mark.parametrize("loss", ["Logloss", "YetiRank"])
def test_every_parameter_reaches_catboost(loss: str) -> None:
    """Each changes the model."""
    data, unseen = rows(200), rows(50, seed=2).columns
    plain = fit(data, loss, iterations=20).score(unseen)
    for field, value in {
        "random_strength": 20.0,
        "min_data_in_leaf": 200,
        "depth": 2,
        "l2_leaf_reg": 50.0,
        "learning_rate": 0.3,
        "seed": 9,
    }.items():
        assert not np.array_equal(fit(data, loss, iterations=20, **{field: value}).score(unseen), plain), field


def test_categories_are_combined_up_to_what_is_said() -> None:
    """Two categories that only tell something together."""
    generator = np.random.default_rng(0)

    def checkered(seed: int) -> TrainingRows:
        data = rows(200, seed)
        left, right = generator.integers(0, 8, (2, 2_000))
        label = ((left + right) % 2).astype(np.float32)
        texts = {"affinity": left.astype(str).astype(object), "brand": right.astype(str).astype(object)}
        return changed(data, columns=texts, label=label)

    train, stop, unseen = checkered(0), checkered(1), checkered(2)
    accuracy = []
    for complexity in (1, 2):
        spec = algorithm(iterations=60, depth=2, categorical=("affinity", "brand"), max_ctr_complexity=complexity)
        scores = CatBoostEstimator(spec, COLUMNS, 1).fit(train, stop).score(unseen.columns)
        accuracy.append(float(np.mean((scores > 0) == (unseen.label > 0))))
    assert accuracy[0] < 0.75
    assert accuracy[1] > 0.95


def test_parameters_that_catboost_refuses() -> None:
    """In its own words, in one line."""
    estimator = CatBoostEstimator(algorithm(), COLUMNS, 1)
    parameters = estimator._parameters() | {"depth": 40}
    estimator._parameters = lambda: parameters  # type: ignore[method-assign]
    with pytest.raises(ModelError, match=r"^catboost: cannot fit with loss Logloss: .*Maximum tree depth is 16; check"):
        estimator.fit(rows(20), rows(20, seed=1))


# ---------------------------------------------------------------- stopping


@pytest.mark.parametrize("name", ["ndcg", "precision", "recall", "map", "mrr"])
@pytest.mark.parametrize("loss", ["Logloss", "YetiRank", "QuerySoftMax", "RMSE"])
def test_a_metric_of_lists_stops_a_fit(loss: str, name: str) -> None:
    """The iteration that is kept is the best one by our own figure of the validation rows."""
    stop = rows(60, seed=1)
    fitted = fit(
        rows(200),
        loss,
        validation=stop,
        metric=parse_metric(f"{name}@3/user"),
        stop_by="metric",
        iterations=40,
        early_stopping_rounds=40,
    )
    taken = np.bincount(stop.request, weights=stop.label).astype(np.int64)
    values = []
    data = features_data(stop.columns, ("affinity", "noise", "recency"), ("brand",))
    for scores in fitted._model.staged_predict(data):
        ranked = top_k(np.asarray(scores, dtype=float), stop.label, stop.request, np.tile(np.arange(10), 60), 60, 3)
        values.append(list_metrics(ranked.hits[taken > 0], taken[taken > 0]).get(name, np.zeros(1)).mean())
    # CatBoost breaks ties within a request otherwise, so an early tree may differ a little.
    assert values[-1] == pytest.approx(max(values), abs=0.02)


def test_the_first_of_one_list_stop_a_fit() -> None:
    """A request is a decision time: 200 units each, and the first 20 are reached."""
    train = changed(rows(200), request=np.repeat(np.arange(10), 200))
    stop = changed(rows(40, seed=1), request=np.repeat(np.arange(2), 200))
    for metric in ("precision@20/global", "recall@20/global"):
        fitted = fit(train, validation=stop, metric=parse_metric(metric), stop_by="metric", calibration="sigmoid")
        assert 0 < fitted.score(rows(2).columns).min() < fitted.score(rows(2).columns).max() < 1


def test_a_metric_that_catboost_lacks() -> None:
    for metric, loss in (("value@100/global", "RMSE"), ("recall@100/global", "Poisson"), ("ndcg@10/user", "MAE")):
        with pytest.raises(ModelError, match=rf"no metric like {metric} for loss {loss}; it has .*use `stop_by: loss`"):
            CatBoostEstimator(algorithm(loss, stop_by="metric"), COLUMNS, 1, parse_metric(metric))
    with pytest.raises(ModelError, match="no metric was given"):
        CatBoostEstimator(algorithm(stop_by="metric"), COLUMNS, 1)
    counts = changed(rows(20), label=rows(20).label * 3)
    message = refused(counts, "RMSE", stop_by="metric", metric=parse_metric("ndcg@10/user"))
    assert "a label is 3: for loss RMSE, stopped by a metric of lists" in message


# ---------------------------------------------------------------- the same model file


@pytest.mark.parametrize("loss", ["Logloss", "YetiRank"])
@pytest.mark.parametrize("categorical", [(), ("brand",), ("brand", "affinity")])
def test_a_frame_of_codes_is_learned_from_as_texts_are(loss: str, categorical: tuple[str, ...], tmp_path: Path) -> None:
    """The model file of a fit is the one that CatBoost gives for the same rows as FeaturesData, byte by byte."""
    texts = {"affinity": np.where(rows(300).label > 0, "ü", "z").astype(object)} if "affinity" in categorical else {}
    columns = tuple(name for name in COLUMNS if name != "brand" or categorical)
    data = changed(rows(300), columns=texts)
    estimator = CatBoostEstimator(algorithm(loss, categorical=categorical), columns, threads=2)
    estimator.fit(data, data).save(tmp_path)
    numeric = tuple(name for name in columns if name not in categorical)
    pool = catboost.Pool(
        features_data(data.columns, numeric, tuple(name for name in columns if name in categorical)),
        data.label,
        group_id=data.request if loss == "YetiRank" else None,
    )
    model = catboost.CatBoost(estimator._parameters()).fit(pool, eval_set=pool)
    _without_chance(model).save_model(str(tmp_path / "other.cbm"))
    assert (tmp_path / "model.cbm").read_bytes() == (tmp_path / "other.cbm").read_bytes()


def test_a_fit_leaves_its_columns_alone() -> None:
    """CatBoost reads float32 columns where they are: they stay as they were, and can be written to."""
    data = changed(
        rows(50), columns={name: rows(50).columns[name].astype(np.float32) for name in ("affinity", "noise")}
    )
    before = {name: values.copy() for name, values in data.columns.items()}
    fit(data)
    for name, values in data.columns.items():
        assert values.flags.writeable
        assert np.array_equal(values[values == values], before[name][values == values])  # noqa: PLR0124 - not NaN


FIT = """
import sys
from pathlib import Path
from recsys.adapters.catboost_ranker import CatBoostEstimator
from recsys.adapters.catboost_ranker.matrices import features_data
from tests.adapters.test_catboost_ranker import COLUMNS, algorithm, rows
spec = algorithm(sys.argv[2], calibration="isotonic" if sys.argv[2] == "Logloss" else None)
CatBoostEstimator(spec, COLUMNS, threads=2).fit(rows(300), rows(50, seed=1)).save(Path(sys.argv[1]))
"""


@pytest.mark.parametrize("loss", ["Logloss", "YetiRank"])
def test_two_processes_write_the_same_files(loss: str, tmp_path: Path) -> None:
    """The same rows, spec and seed, on two threads: every file of the bundle, byte by byte."""
    digests = []
    for name in ("first", "second"):
        command = [sys.executable, "-c", FIT, str(tmp_path / name), loss]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        files = sorted((tmp_path / name).iterdir())
        digests.append({file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files})
    assert digests[0] == digests[1]
    assert set(digests[0]) == {"model.cbm", "ranker.json"}
