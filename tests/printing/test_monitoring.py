"""Does a comparison read well where there is little to compare?"""

import math
from datetime import UTC, datetime

from recsys.decision.diagnosis import Evidence, diagnose
from recsys.evaluation.correlation_drift import Correlated
from recsys.evaluation.drift import ColumnDrift
from recsys.evaluation.quality import Calibration, Quality
from recsys.modeling.offline_evaluation import GateResult, OfflineReport, Segment
from recsys.ports import Weights
from recsys.printing import drift, trouble
from recsys.specs.monitor import Monitor
from recsys.statistics.bootstrap import Interval
from recsys.workflows.monitoring.diagnose import Diagnosed, document
from recsys.workflows.monitoring.drift import Drifted
from recsys.workflows.monitoring.signals import Figure

MONDAY = datetime(2024, 1, 8, tzinfo=UTC)
NONE = Interval(math.nan, math.nan, math.nan)
UNBOUNDED = Interval(1.0, -math.inf, math.inf)
COLUMNS = (
    ColumnDrift("spend", 0.31, {"2024-01-08": 0.31}, "ks", 1e-9, 2e-9, 0.0, 0.125),
    ColumnDrift("empty", math.nan, {}, "none", math.nan, math.nan, 1.0, 1.0),
)


def shown(quality: Quality, left_out: tuple[datetime, ...] = (), units: int = 20) -> str:
    """Return what is printed of a campaign with two columns."""
    metrics = {"model": {quality.metric: quality.now}}
    report = OfflineReport(
        kind="units",
        requests=1,
        units=units,
        resamples=10,
        confidence=0.95,
        metrics=metrics,
        ratios={},
        metric_ratios={},
        coverage={},
        gate=GateResult(passed=True, reason="", ratio=NONE),
        segments={"decision_time": (Segment("2024-01-08", 1.0, {}, metrics),)},
    )
    pairs = (Correlated("spend", "label", 0.2, math.nan), Correlated("spend", "empty", math.nan, 0.9))
    entries = [{"views": {"user_weekly": {"missing": 1.0, "median_age_days": None, "oldest_days": None}}}]
    profiles = {"before": entries, "now": entries}
    weights = Weights("coupon", 1, "v1", {})
    return drift(
        Drifted(weights, (MONDAY,), (MONDAY,), left_out, COLUMNS, pairs, profiles, report, quality, Monitor(), (), ())
    )


def test_bounds_that_are_not_there_are_not_written() -> None:
    quality = Quality("recall@50/global", "spend", UNBOUNDED, UNBOUNDED, NONE, None, UNBOUNDED)
    text = shown(quality, (MONDAY,))
    assert "recall@50/global: 1.000 now, 1.000 when it was trained: ratio not defined" in text
    assert "by week: 2024-01-08 1.0000\n" in text
    assert "left out, for events ended before their labels were complete: 2024-01-08" in text
    assert "inf" not in text
    (empty,) = [line for line in text.splitlines() if line.lstrip().startswith("empty")]
    assert empty.split() == ["empty", "-", "-", "none", "-"]


def test_what_probabilities_and_totals_say_is_told_with_its_chance() -> None:
    quality = Quality("recall@50/global", "spend", UNBOUNDED, UNBOUNDED, NONE, None, UNBOUNDED)
    off = shown(Quality(**vars(quality) | {"calibration": Calibration(0.042, 0.032)}))
    assert "probabilities are off by 0.0420 on average, by chance with p 0.032" in off
    few = shown(Quality(**vars(quality) | {"calibration": Calibration(0.042, math.nan)}))
    assert "probabilities are off by 0.0420 on average, too few to tell from chance" in few
    total = shown(Quality(**vars(quality) | {"total": Interval(1.2, 1.0, 1.4)}))
    assert "what was predicted is 1.200 [1.000, 1.400] of what came, in total" in total


def test_of_one_unit_it_is_said_that_nothing_can_be_told() -> None:
    quality = Quality("recall@50/global", "spend", UNBOUNDED, UNBOUNDED, NONE, None, UNBOUNDED)
    assert "of a single unit nothing can be told from chance" in shown(quality, units=1)
    assert "of a single unit" not in shown(quality, units=2)


def test_each_signal_is_told_in_the_unit_of_its_kind() -> None:
    model = Figure("good", "ndcg@10/user over popularity", Interval(1.097, 1.05, 1.15), "ratio")
    clicks = Figure("good", "precision@10", Interval(0.11, 0.044, math.inf))
    orders = Figure("unclear", "nothing was logged yet")
    made = diagnose("good", "good", "unclear", Evidence(), name="home", version="basket/v2")
    found = [Diagnosed("home", "treatment", "basket/v2", "ended", model, clicks, orders, made, ())]
    said = " ".join(trouble(found).split())
    assert "model good ndcg@10/user over popularity ratio 1.097 × [1.050, 1.150]" in said
    assert "clicks good precision@10 relative effect +11.0% [+4.4%, ∞)" in said
    assert "orders unclear nothing was logged yet trouble" in said.replace("─", "")
    assert [document(found)[0][name]["kind"] for name in ("model", "clicks")] == ["ratio", "relative effect"]
