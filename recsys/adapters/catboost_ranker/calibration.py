"""How do raw scores become probabilities, by a handful of numbers that travel as JSON?

Both maps keep the order of scores. They are fitted with scikit-learn on the rows that stopped the fit early, and give
what scikit-learn would: what is saved are its numbers, never its objects.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from recsys.errors import ModelError

Scores = NDArray[np.float64]

TIE_BREAK: Final = 1e-9
"""Weight of the raw score's own sigmoid in an isotonic probability: it orders what shares a step, and moves no
probability by more."""


class Calibrator(Protocol):
    """A non-decreasing map of raw scores to probabilities."""

    def probabilities(self, scores: Scores) -> Scores:
        """Return one probability a score."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return its type and its numbers, for JSON."""
        ...


@dataclass(frozen=True)
class Sigmoid:
    """1 / (1 + exp(-(slope · score + intercept))): Platt 1999, Probabilistic Outputs for Support Vector Machines."""

    slope: float
    """Above 0."""
    intercept: float

    def probabilities(self, scores: Scores) -> Scores:
        """Return one probability a score."""
        return _expit(self.slope * scores + self.intercept)

    def to_dict(self) -> dict[str, Any]:
        """Return its type and its numbers."""
        return {"type": "sigmoid", **asdict(self)}


@dataclass(frozen=True)
class Isotonic:
    """Linear between thresholds, constant beyond: Zadrozny and Elkan 2002, Transforming Classifier Scores."""

    scores: tuple[float, ...]
    """Thresholds, ascending."""
    values: tuple[float, ...]
    """The probability at each, non-decreasing."""

    def probabilities(self, scores: Scores) -> Scores:
        """Return one probability a score; scores of one step keep their order by `TIE_BREAK`."""
        steps = np.interp(scores, self.scores, self.values)
        return np.asarray((1 - TIE_BREAK) * steps + TIE_BREAK * _expit(scores), dtype=np.float64)

    def to_dict(self) -> dict[str, Any]:
        """Return its type and its numbers."""
        return {"type": "isotonic", "scores": list(self.scores), "values": list(self.values)}


def fit_calibrator(kind: str, scores: Scores, labels: NDArray[np.float32]) -> Calibrator:
    """Fit a calibrator.

    Args:
        kind: sigmoid or isotonic.
        scores: [rows] raw scores of rows that were not learned from.
        labels: [rows] 0 or 1.

    Raises:
        ModelError: if the rows have one label only, or higher scores mean fewer events.
    """
    positive = labels > 0
    if positive.all() or not positive.any():
        message = (
            f"algorithm.calibration {kind}: all {len(labels):,} validation labels are {int(positive.any())}:"
            " a probability needs both; validate on more decision times, or check the target"
        )
        raise ModelError(message)
    return _sigmoid(scores, positive) if kind == "sigmoid" else _isotonic(scores, positive)


def read_calibrator(document: Mapping[str, Any]) -> Calibrator:
    """Return what `Calibrator.to_dict` wrote.

    Raises:
        KeyError, TypeError, ValueError: if it is no calibrator.
    """
    if document["type"] == "sigmoid":
        return Sigmoid(float(document["slope"]), float(document["intercept"]))
    if document["type"] == "isotonic":
        scores = tuple(float(value) for value in document["scores"])
        values = tuple(float(value) for value in document["values"])
        if scores and len(scores) == len(values):
            return Isotonic(scores, values)
    message = f"calibration of type {document['type']}"
    raise ValueError(message)


def _sigmoid(scores: Scores, positive: NDArray[np.bool_]) -> Sigmoid:
    """Fit Platt's two numbers, with his targets, which keep a perfect separation from ending in certainty.

    A soft target t is a row of each class, weighing t and 1 - t.
    """
    from sklearn.linear_model import LogisticRegression

    events, others = int(positive.sum()), int((~positive).sum())
    target = np.where(positive, (events + 1) / (events + 2), 1 / (others + 2))
    slope = 0.0
    if np.ptp(scores) > 0:
        # Newton's steps do not depend on the scale of scores.
        regression = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10, max_iter=1000)
        regression.fit(
            np.concatenate([scores, scores]).reshape(-1, 1),
            np.repeat([1, 0], len(scores)),
            sample_weight=np.concatenate([target, 1 - target]),
        )
        slope, intercept = float(regression.coef_[0, 0]), float(regression.intercept_[0])
    if slope <= 0:
        message = (
            "algorithm.calibration sigmoid: on the validation rows higher scores do not go with more events (slope"
            f" {slope:.3g}): the model orders them no better than chance; mend the model, or leave calibration out"
        )
        raise ModelError(message)
    return Sigmoid(slope, intercept)


def _isotonic(scores: Scores, positive: NDArray[np.bool_]) -> Isotonic:
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(y_min=0.0, y_max=1.0, increasing=True, out_of_bounds="clip")
    fitted.fit(scores, positive.astype(np.float64))
    return Isotonic(tuple(fitted.X_thresholds_.tolist()), tuple(fitted.y_thresholds_.tolist()))


def _expit(values: Scores) -> Scores:
    from scipy.special import expit

    return np.asarray(expit(values), dtype=np.float64)
