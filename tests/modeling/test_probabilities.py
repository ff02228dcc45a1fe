"""Do AUC, log loss, Brier score, reliability and correlations agree with scikit-learn and scipy?"""

import numpy as np
import pytest
import scipy.stats
import sklearn.calibration
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from recsys.errors import ModelError
from recsys.modeling.offline_evaluation import feature_correlation, reliability
from recsys.modeling.offline_evaluation.figures import Resampling
from recsys.modeling.offline_evaluation.probabilities import probability_metrics
from recsys.statistics.bootstrap import Interval

EXAMPLES = settings(deadline=None, derandomize=True, max_examples=60)
RESAMPLING = Resampling(200, 0.95)


def measured(
    scores: NDArray[np.float64], labels: NDArray[np.float32], *, units: int | None = None
) -> dict[str, Interval]:
    codes = np.arange(len(labels)) % (units or len(labels))
    return probability_metrics({"model": scores}, labels, codes, codes.max() + 1, RESAMPLING, ("model",))["model"]


@EXAMPLES
@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=2, max_size=60))
def test_scores_of_probabilities_agree_with_scikit_learn(rows: list[tuple[int, bool]]) -> None:
    probabilities = np.array([eighth / 8 for eighth, _ in rows])
    labels = np.array([label for _, label in rows], dtype=np.float32)
    found = measured(probabilities, labels)
    loss = sklearn.metrics.log_loss(labels, probabilities, labels=[0, 1])
    assert found["log_loss"].estimate == pytest.approx(loss, rel=1e-9, abs=1e-9)
    brier = sklearn.metrics.brier_score_loss(labels, probabilities, pos_label=1)
    assert found["brier"].estimate == pytest.approx(brier, abs=1e-9)
    if labels.any() and not labels.all():
        assert found["auc"].estimate == pytest.approx(sklearn.metrics.roc_auc_score(labels, probabilities), abs=1e-9)
    else:
        assert np.isnan(found["auc"].estimate)


def test_the_interval_of_the_auc_is_that_of_drawing_the_auc_itself() -> None:
    rng = np.random.default_rng(5)
    labels = (rng.random(600) < 0.3).astype(np.float32)
    scores = np.clip(0.3 * labels + 0.7 * rng.random(600), 0, 1)
    draws = rng.integers(0, 600, (600, 600))
    drawn = [sklearn.metrics.roc_auc_score(labels[rows], scores[rows]) for rows in draws]
    low, high = np.quantile(drawn, [0.025, 0.975])
    found = measured(scores, labels)["auc"]
    assert (found.lower, found.upper) == pytest.approx((low, high), abs=0.008)
    assert found.lower < found.estimate < found.upper


def test_rows_of_a_unit_are_drawn_together() -> None:
    rng = np.random.default_rng(5)
    labels = np.tile((rng.random(100) < 0.3).astype(np.float32), 8)
    scores = np.tile(rng.random(100), 8)
    together, apart = measured(scores, labels, units=100)["brier"], measured(scores, labels)["brier"]
    assert together.upper - together.lower > 2 * (apart.upper - apart.lower)


def test_a_score_that_is_not_a_number_stands_below_all() -> None:
    labels = np.array([1, 0, 0], dtype=np.float32)
    found = probability_metrics({"model": np.array([np.nan, -5.0, -np.inf])}, labels, np.arange(3), 3, RESAMPLING, ())
    assert found["model"]["auc"].estimate == 0


@pytest.mark.parametrize("wrong", [1.5, -0.1, np.nan])
def test_what_is_no_probability_is_refused(wrong: float) -> None:
    with pytest.raises(ModelError, match=r"model: 1 of 2 scores are no probabilities, such as .*between 0 and 1"):
        measured(np.array([0.5, wrong]), np.array([0, 1], dtype=np.float32))
    with pytest.raises(ModelError, match=r"reliability: 1 of 2 scores are no probabilities"):
        reliability(np.array([0.5, wrong]), np.array([0, 1], dtype=np.float32))


# ---------------------------------------------------------------- reliability


@EXAMPLES
@given(st.integers(0, 10_000), st.integers(1, 12), st.sampled_from([3, 10, 1_000]))
def test_bins_agree_with_scikit_learn(seed: int, bins: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities = rng.integers(0, levels, 200) / levels
    labels = (rng.random(200) < probabilities).astype(np.float32)
    found = reliability(probabilities, labels, bins)
    observed, predicted = sklearn.calibration.calibration_curve(labels, probabilities, n_bins=bins, strategy="quantile")
    assert [each.observed.estimate for each in found.bins] == pytest.approx(observed.tolist(), abs=1e-9)
    assert [each.predicted for each in found.bins] == pytest.approx(predicted.tolist(), abs=1e-9)
    assert sum(each.count for each in found.bins) == 200


def test_the_error_is_the_mean_distance_of_a_row() -> None:
    found = reliability(np.array([0.1, 0.1, 0.9, 0.9]), np.array([0, 1, 1, 1], dtype=np.float32), 2)
    assert found.error == pytest.approx(0.5 * 0.4 + 0.5 * 0.1)
    low, high = scipy.stats.binomtest(1, 2).proportion_ci(0.95, method="wilson")
    assert found.bins[0].observed == Interval(0.5, low, high)


def test_equal_probabilities_are_one_bin() -> None:
    found = reliability(np.full(50, 0.25), np.zeros(50, dtype=np.float32), 10)
    assert [(each.predicted, each.observed.estimate, each.count) for each in found.bins] == [(0.25, 0, 50)]


def test_without_rows_there_is_no_reliability() -> None:
    with pytest.raises(ModelError, match="no rows"):
        reliability(np.array([]), np.array([], dtype=np.float32))


# ---------------------------------------------------------------- correlation


def test_correlations_agree_with_scipy() -> None:
    rng = np.random.default_rng(8)
    base = rng.normal(size=300)
    columns = {
        "base": base,
        "cube": base**3,
        "minus": -base + 0.1 * rng.normal(size=300),
        "chance": rng.integers(0, 4, 300).astype(float),
        "text": np.array(["a"] * 300, dtype=object),
        "constant": np.ones(300),
    }
    label = (base + rng.normal(size=300) > 0).astype(np.float32)
    found = feature_correlation(columns, label)
    assert found.rows == 300
    assert set(found.label) == {"base", "cube", "minus", "chance", "constant"}
    for name in ("base", "cube", "minus", "chance"):
        assert found.label[name] == pytest.approx(scipy.stats.spearmanr(columns[name], label).statistic, abs=1e-9)
    assert np.isnan(found.label["constant"])
    assert [pair[:2] for pair in found.pairs] == [("base", "cube"), ("base", "minus"), ("cube", "minus")]
    assert [pair[2] for pair in found.pairs] == pytest.approx(
        [1, *[scipy.stats.spearmanr(base, columns["minus"])[0]] * 2]
    )


def test_rows_without_a_value_are_left_out_of_its_pairs() -> None:
    values = np.arange(50.0)
    holes = np.where(values % 5 == 0, np.nan, values)
    found = feature_correlation({"whole": values, "holes": holes}, values)
    assert found.label["holes"] == pytest.approx(1)


def test_a_sample_is_bounded_and_the_same_twice() -> None:
    rng = np.random.default_rng(0)
    columns, label = {"a": rng.random(500), "b": rng.random(500)}, rng.random(500)
    first = feature_correlation(columns, label, rows=100)
    assert first == feature_correlation(columns, label, rows=100)
    assert first.rows == 100
