"""Is an alert what passes a limit of the monitor, and nothing else?"""

from dataclasses import replace

import pytest

from recsys.decision.alerts import drift_alerts, quality_alerts, skew_alerts
from recsys.evaluation.drift import ColumnDrift, Correlated
from recsys.evaluation.quality import Quality
from recsys.evaluation.skew.causes import Cause
from recsys.evaluation.skew.findings import Finding, Skew
from recsys.specs.monitor import DriftLimits, QualityLimits, SkewLimits
from recsys.statistics.bootstrap import Interval

STILL = ColumnDrift("price", 0.01, {}, "ks", 0.5, 0.5, 0.0, 0.0)
FINDING = Finding(Cause.LATE, "user_item", "pair_baskets", 3, 1, "a row")
FINE = Quality(
    "ndcg@10/user",
    "frequency",
    Interval(0.3, 0.28, 0.32),
    Interval(0.29, 0.27, 0.31),
    Interval(0.97, 0.9, 1.05),
    None,
    Interval(1.1, 1.05, 1.15),
)


def test_skew_alerts_beyond_the_allowed_share() -> None:
    found = Skew(10, 100, 3, 30, (FINDING,))
    (alert, restated) = skew_alerts("basket", found, SkewLimits())
    assert (alert.check, alert.value, alert.limit) == ("skew", 0.03, 0.0)
    assert "3 of 100 rows (3.0%)" in alert.message
    assert "most by late materialize of user_item" in alert.message
    assert "30 of 100 rows (30.0%) were restated since" in restated.message
    assert skew_alerts("basket", found, SkewLimits(maximum_share=0.03, maximum_restated_share=0.3)) == ()
    assert skew_alerts("basket", Skew(10, 100, 0, 0), SkewLimits()) == ()


@pytest.mark.parametrize(
    ("psi", "adjusted", "alerts"), [(0.3, 0.001, 1), (0.3, 0.2, 0), (0.2, 0.001, 0), (float("nan"), 0.001, 0)]
)
def test_a_column_alerts_that_moved_far_and_not_by_chance(psi: float, adjusted: float, alerts: int) -> None:
    column = replace(STILL, psi=psi, adjusted_p_value=adjusted)
    assert len(drift_alerts([column], [], DriftLimits())) == alerts


def test_what_became_unknown_and_a_correlation_that_moved_alert() -> None:
    gone = replace(STILL, missing_before=0.1, missing_now=0.25)
    turned, pair = Correlated("price", "label", 0.2, -0.05), Correlated("price", "size", 0.9, 0.1)
    alerts = drift_alerts([gone], [turned, pair], DriftLimits())
    assert [round(alert.value, 9) for alert in alerts] == [0.15, 0.25]
    assert "unknown in 25.0% of the rows, before in 10.0%" in alerts[0].message
    assert "rank correlation with the label -0.050, before +0.200" in alerts[1].message
    assert drift_alerts([STILL], [replace(turned, now=float("nan"))], DriftLimits()) == ()


def test_a_model_that_surely_fell_alerts() -> None:
    assert quality_alerts(FINE, QualityLimits()) == ()
    fallen = replace(FINE, ratio=Interval(0.7, 0.6, 0.8))
    assert (
        "surely below quality.minimum_ratio 0.9 (upper bound 0.80)"
        in quality_alerts(fallen, QualityLimits())[0].message
    )
    behind = replace(FINE, over_baseline=Interval(0.8, 0.7, 0.9))
    assert "0.80 of frequency's, surely below it" in quality_alerts(behind, QualityLimits())[0].message
    off = replace(FINE, calibration_error=0.06)
    assert quality_alerts(off, QualityLimits())[0].subject == "calibration"
    assert quality_alerts(off, QualityLimits(maximum_calibration_error=0.1)) == ()
