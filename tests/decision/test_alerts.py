"""Is an alert what passes a limit of the monitor, and nothing else?"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from recsys.decision.alerts import drift_alerts, quality_alerts, silence_alerts, skew_alerts
from recsys.evaluation.correlation_drift import Correlated
from recsys.evaluation.drift import ColumnDrift
from recsys.evaluation.quality import Calibration, Quality
from recsys.evaluation.silence import Silence
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
    gone = replace(STILL, missing_before=0.1, missing_now=0.25, adjusted_p_value=0.001)
    turned, pair = Correlated("price", "label", 0.2, -0.05, 0.0005, 0.001), Correlated("price", "size", 0.9, 0.1)
    alerts = drift_alerts([gone], [turned, pair], DriftLimits())
    assert [round(alert.value, 9) for alert in alerts] == [0.15, 0.25]
    assert "unknown in 25.0% of the rows, before in 10.0%" in alerts[0].message
    assert "rank correlation with the label -0.050, before +0.200 (adjusted p 0.001)" in alerts[1].message
    by_chance = drift_alerts(
        [replace(gone, adjusted_p_value=0.2)], [replace(turned, adjusted_p_value=0.2)], DriftLimits()
    )
    assert by_chance == ()
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
    off = replace(FINE, calibration=Calibration(0.06, 0.001))
    assert quality_alerts(off, QualityLimits())[0].subject == "calibration"
    for by_chance in (0.02, float("nan")):
        assert quality_alerts(replace(FINE, calibration=Calibration(0.06, by_chance)), QualityLimits()) == ()
    assert quality_alerts(off, QualityLimits(maximum_calibration_error=0.1)) == ()


def test_events_that_ended_alert_with_what_is_left_out() -> None:
    now = datetime(2024, 1, 15, tzinfo=UTC)
    ended = Silence("purchase", now - timedelta(days=9), timedelta(days=1.5), now)
    (alert,) = silence_alerts([datetime(2024, 1, 1, tzinfo=UTC)], [ended])
    assert (alert.check, alert.subject, alert.value, alert.limit) == ("events", "purchase", 9.0, 1.5)
    assert alert.message.startswith("events: no purchase is known since 2024-01-06 00:00, 9.0 days, and in the half")
    assert "decisions from 2024-01-01 on are left out; run `recsys ingest`" in alert.message
    assert silence_alerts([], []) == ()
