"""Can rows be learned from at all? What CatBoost would refuse in its own words, or learn from wrongly, in ours."""

import numpy as np

from recsys.errors import ModelError
from recsys.ports import TrainingRows
from recsys.specs.model import GROUPED


def check_rows(rows: TrainingRows, part: str, loss: str, *, watched: bool) -> None:
    """Refuse rows that cannot be learned from, or that nothing could be stopped by.

    Args:
        rows: labels, and the request of each.
        part: training or validation.
        loss: CatBoost's name of it.
        watched: whether a metric of lists watches the fit: it needs requests of more than one row, and events.

    Raises:
        ModelError: naming the part, the value, the rule and what to do.
    """
    if rows.label.size == 0:
        message = f"{part} rows: 0: a fit needs rows to learn from and rows to stop by; widen the window"
        raise ModelError(message)
    _check_labels(rows, part, loss, watched)
    if part == "training":
        _check_both(rows, loss)
    if loss in GROUPED or watched:
        _check_requests(rows, part, loss)


def _check_labels(rows: TrainingRows, part: str, loss: str, watched: bool) -> None:
    label = rows.label
    if not np.isfinite(label).all():
        row = int(np.flatnonzero(~np.isfinite(label))[0])
        message = f"{part} rows: label of row {row:,} is {label[row]}: a label is a finite number; check the target"
        raise ModelError(message)
    rule = ""
    if loss == "Poisson" and label.min() < 0:
        rule, worst = "a count or an amount is not below 0", float(label.min())
    elif loss == "CrossEntropy" and (label.min() < 0 or label.max() > 1):
        rule, worst = "a probability lies in [0, 1]", float(label.min() if label.min() < 0 else label.max())
    elif loss == "Logloss" or watched:
        others = label[(label != 0) & (label != 1)]
        rule, worst = ("an event happened, 1, or did not, 0", float(others[0])) if others.size else ("", 0.0)
    if rule:
        by = f"loss {loss}" if not watched else f"loss {loss}, stopped by a metric of lists"
        message = f"{part} rows: a label is {worst:g}: for {by}, {rule}; choose a loss that fits the target's measure"
        raise ModelError(message)


def _check_both(rows: TrainingRows, loss: str) -> None:
    first = float(rows.label[0])
    if (rows.label == first).all():
        message = (
            f"training rows: all {rows.label.size:,} labels are {first:g}: cannot fit with loss {loss}, which learns"
            " what tells rows apart; widen the window, or check the target"
        )
        raise ModelError(message)


def _check_requests(rows: TrainingRows, part: str, loss: str) -> None:
    starts = np.flatnonzero(np.diff(rows.request, prepend=rows.request[0] - 1))
    if len(np.unique(rows.request[starts])) != len(starts):
        again = rows.request[starts]
        values, counts = np.unique(again, return_counts=True)
        message = (
            f"{part} rows: request {values[counts > 1][0]} comes again after another: rows of one request are"
            " neighbours; sort them by request"
        )
        raise ModelError(message)
    if len(starts) == len(rows.request):
        message = (
            f"{part} rows: each of {len(starts):,} requests has one row: loss {loss} compares the rows of a request;"
            " keep more candidates a request, or use Logloss or RMSE with `stop_by: loss`"
        )
        raise ModelError(message)
    if part == "training" and loss in GROUPED:
        highest = np.maximum.reduceat(rows.label, starts)
        if (highest == np.minimum.reduceat(rows.label, starts)).all():
            message = (
                f"training rows: no request has two different labels: loss {loss} learns what is preferred within a"
                " request; keep what was taken and what was not, or use Logloss"
            )
            raise ModelError(message)
