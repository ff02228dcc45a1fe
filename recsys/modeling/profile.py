"""What is in a training set: how many rows and positives, how much is missing and how old is it, week by week?"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.candidates.pool import to_numpy
from recsys.ports import FeatureSet
from recsys.schema import EVENT_TIMESTAMP, LABEL

DAY_US = 86_400_000_000


def profile(
    rows: pa.Table, features: FeatureSet, clocks: Mapping[str, pa.Table], stages: Mapping[str, pa.Array]
) -> list[dict[str, Any]]:
    """Describe rows by decision time.

    Args:
        rows: event_timestamp, label and the columns of `features`.
        features: what was joined.
        clocks: view to its `event_timestamp` for every row, null where nothing matched.
        stages: further stages of the funnel, to whether each row reached it within the horizon.

    Returns:
        One entry a decision time, ascending: rows, positives, `stages` (rows that reached each), `views` (share of rows
        without a match, median age in days of what matched), `missing` (share of unknown values a feature).
    """
    moments = to_numpy(rows[EVENT_TIMESTAMP])
    label = rows[LABEL].to_numpy()
    missing = {name: _missing(rows[name]) for name in features.columns}
    ages = {view: _ages(moments, clock[EVENT_TIMESTAMP]) for view, clock in clocks.items()}
    reached = {stage: np.asarray(flags, dtype=bool) for stage, flags in stages.items()}
    entries = []
    for moment in np.unique(moments):
        mine = moments == moment
        entries.append(
            {
                "decision_time": f"{np.datetime_as_string(moment, unit='s')}+00:00",
                "rows": int(mine.sum()),
                "positives": int(label[mine].sum()),
                "stages": {stage: int(flags[mine].sum()) for stage, flags in reached.items()},
                "views": {view: _age(age[mine]) for view, age in ages.items()},
                "missing": {name: round(float(flags[mine].mean()), 6) for name, flags in missing.items()},
            }
        )
    return entries


def by_week(entries: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return the entries as rows of text: decision time, rows, positives, and each view's median age and missing."""
    lines = []
    for entry in entries:
        views = [
            f"{'-' if view['median_age_days'] is None else format(view['median_age_days'], '.1f')} d,"
            f" {view['missing']:.0%} none"
            for view in entry["views"].values()
        ]
        lines.append([entry["decision_time"][:10], f"{entry['rows']:,}", f"{entry['positives']:,}", *views])
    return lines


def _missing(column: pa.ChunkedArray) -> np.ndarray:
    gone = pc.is_null(column, nan_is_null=True)
    return np.asarray(gone.to_numpy(zero_copy_only=False), dtype=bool)


def _ages(moments: np.ndarray, matched: pa.ChunkedArray) -> np.ndarray:
    """Return ages in days, NaN where nothing matched."""
    at = to_numpy(matched)
    age = (moments - at).astype("timedelta64[us]").astype(float) / DAY_US
    return np.where(np.isnat(at), np.nan, age)


def _age(age: np.ndarray) -> dict[str, float | None]:
    known = age[~np.isnan(age)]
    return {
        "missing": round(1 - len(known) / len(age), 6),
        "median_age_days": round(float(np.median(known)), 6) if len(known) else None,
        "oldest_days": round(float(known.max()), 6) if len(known) else None,
    }
