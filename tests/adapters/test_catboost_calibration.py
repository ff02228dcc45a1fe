"""Are calibrated scores scikit-learn's own probabilities, in the order of the raw ones, after a save as well?"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from recsys.adapters.catboost_ranker import CatBoostEstimator, load_catboost_ranker
from recsys.adapters.catboost_ranker.calibration import TIE_BREAK, Isotonic, fit_calibrator, read_calibrator
from recsys.errors import ModelError
from tests.adapters.test_catboost_ranker import COLUMNS, algorithm, rows


def scored(count: int = 3_000, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return log-odds that are far too sure of themselves, and events by the true ones."""
    generator = np.random.default_rng(seed)
    truth = generator.normal(-2, 1.0, count)
    labels = (generator.random(count) < 1 / (1 + np.exp(-truth))).astype(np.float32)
    return 3 * truth + 1, labels


def platt_targets(labels: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the targets of Platt's paper."""
    events = int(labels.sum())
    return np.where(labels > 0, (events + 1) / (events + 2), 1 / (len(labels) - events + 2))


class Identity(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier whose score is its input."""

    def fit(self, _values: Any, _labels: Any) -> "Identity":
        """Learn nothing."""
        self.classes_ = np.array([0, 1])
        return self

    def decision_function(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the input."""
        return values[:, 0]

    def predict(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the class by the sign of the input."""
        return (values[:, 0] > 0).astype(np.int64)


def test_sigmoid_is_scikit_learns_logistic_regression() -> None:
    """With each row once of either class, weighing its soft target; to 1e-9."""
    scores, labels = scored()
    target = platt_targets(labels)
    oracle = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-12, max_iter=1000).fit(
        np.concatenate([scores, scores]).reshape(-1, 1),
        np.repeat([1, 0], len(scores)),
        sample_weight=np.concatenate([target, 1 - target]),
    )
    given_ = fit_calibrator("sigmoid", scores, labels).probabilities(scores)
    assert given_ == pytest.approx(oracle.predict_proba(scores.reshape(-1, 1))[:, 1], abs=1e-9)


def test_sigmoid_is_scikit_learns_calibrated_classifier() -> None:
    """Its own Platt scaling stops at a coarser tolerance."""
    scores, labels = scored()

    oracle = CalibratedClassifierCV(FrozenEstimator(Identity().fit(None, None)), method="sigmoid")
    oracle.fit(scores.reshape(-1, 1), labels)
    expected = oracle.predict_proba(scores.reshape(-1, 1))[:, 1]
    assert fit_calibrator("sigmoid", scores, labels).probabilities(scores) == pytest.approx(expected, abs=1e-4)


def test_isotonic_is_scikit_learns() -> None:
    """Inside and outside the range it was fitted on, to 1e-9."""
    scores, labels = scored()
    oracle = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(scores, labels)
    asked = np.concatenate([scores, np.linspace(scores.min() - 5, scores.max() + 5, 1_000)])
    given_ = fit_calibrator("isotonic", scores, labels).probabilities(asked)
    assert given_ == pytest.approx(oracle.predict(asked), abs=1e-9)


@pytest.mark.parametrize("kind", ["sigmoid", "isotonic"])
def test_calibration_makes_probabilities_true(kind: str) -> None:
    """On rows it was not fitted on: a better log loss, and a mean that is the share of events."""
    calibrator = fit_calibrator(kind, *scored())
    scores, labels = scored(20_000, seed=1)
    made = calibrator.probabilities(scores)
    assert log_loss(labels, np.clip(made, 1e-6, 1 - 1e-6)) < 0.75 * log_loss(labels, 1 / (1 + np.exp(-scores)))
    assert made.mean() == pytest.approx(labels.mean(), abs=0.01)


@given(scores=st.lists(st.integers(-2_000, 2_000), min_size=2, max_size=50, unique=True))
@pytest.mark.parametrize("kind", ["sigmoid", "isotonic"])
def test_order_does_not_change(kind: str, scores: list[int]) -> None:
    """A higher score is a higher probability, in one step of the isotonic map as well."""
    made = fit_calibrator(kind, *scored()).probabilities(np.array(sorted(scores)) / 200)
    assert (np.diff(made) > 0).all()
    assert made.min() >= 0
    assert made.max() <= 1


def test_a_perfect_separation_is_no_certainty() -> None:
    """Platt's targets leave room for what was not seen."""
    scores = np.array([-2.0, -1.5, -1.0, 1.0, 1.5])
    labels = (scores > 0).astype(np.float32)
    made = fit_calibrator("sigmoid", scores, labels).probabilities(scores)
    assert 0.001 < made.min() < 0.3
    assert 0.7 < made.max() < 0.999


def test_refuses_what_gives_no_probability() -> None:
    """One label only; scores that run against the events."""
    scores, labels = scored()
    for kind in ("sigmoid", "isotonic"):
        with pytest.raises(ModelError, match=rf"calibration {kind}: all 3,000 validation labels are 0: .* needs both"):
            fit_calibrator(kind, scores, np.zeros_like(labels))
    for useless, slope in ((-scores, "-"), (np.ones_like(scores), "0")):
        with pytest.raises(ModelError, match=rf"higher scores do not go with more events \(slope {slope}"):
            fit_calibrator("sigmoid", useless, labels)


def test_what_is_saved_are_numbers() -> None:
    """JSON gives every number back exactly."""
    for kind in ("sigmoid", "isotonic"):
        fitted = fit_calibrator(kind, *scored())
        assert read_calibrator(json.loads(json.dumps(fitted.to_dict()))) == fitted
    with pytest.raises(ValueError, match="calibration of type beta"):
        read_calibrator({"type": "beta"})


def test_a_tie_is_broken_by_no_more_than_is_said() -> None:
    """Two scores of one step."""
    made = Isotonic((0.0, 1.0), (0.5, 0.5)).probabilities(np.array([0.1, 0.9]))
    assert 0 < made[1] - made[0] < TIE_BREAK


@pytest.mark.parametrize("kind", ["sigmoid", "isotonic"])
def test_a_ranker_gives_probabilities_after_a_save_as_well(kind: str, tmp_path: Path) -> None:
    """The formula is that of the uncalibrated fit, and the map is fitted on the validation rows."""
    stop = rows(60, seed=1)
    calibrated = CatBoostEstimator(algorithm(calibration=kind), COLUMNS, threads=2).fit(rows(200), stop)
    plain = CatBoostEstimator(algorithm(), COLUMNS, threads=2).fit(rows(200), stop)
    unseen = rows(50, seed=2).columns
    made = calibrated.score(unseen)
    oracle = fit_calibrator(kind, plain.score(stop.columns), stop.label)
    assert made == pytest.approx(oracle.probabilities(plain.score(unseen)), abs=1e-12)
    assert calibrated.calibration == kind
    assert plain.calibration is None
    calibrated.save(tmp_path)
    loaded = load_catboost_ranker(tmp_path)
    assert loaded.calibration == kind
    assert np.array_equal(loaded.score(unseen), made)
    plain.save(tmp_path / "plain")
    assert (tmp_path / "model.cbm").read_bytes() == (tmp_path / "plain" / "model.cbm").read_bytes()


def test_refuses_a_damaged_calibration(tmp_path: Path) -> None:
    """It is read with the columns."""
    CatBoostEstimator(algorithm(calibration="sigmoid"), COLUMNS, threads=1).fit(rows(50), rows(20)).save(tmp_path)
    document = json.loads((tmp_path / "ranker.json").read_text())
    del document["calibration"]["slope"]
    (tmp_path / "ranker.json").write_text(json.dumps(document))
    with pytest.raises(ModelError, match=r"ranker\.json: KeyError: 'slope'"):
        load_catboost_ranker(tmp_path)
