"""Lists without exploration are valued at what they would bring, and refused where no list shows their own items."""

import math
from datetime import timedelta
from typing import Final

import numpy as np
import pyarrow as pa
import pytest

from recsys import schema
from recsys.evaluation.exploration import ArmOffPolicy, off_policy
from recsys.evaluation.unit_metrics import LogTables, unit_metrics
from recsys.experiment.routing import Router, window
from recsys.serving.reranking import Ranked, rerank
from recsys.specs.experiment import Experiment
from recsys.specs.reranking import Explore
from tests.fakes.engine import FakeEngine
from tests.serving.test_reranking import everything, pool_of

DAY: Final = timedelta(days=1)
EXPERIMENT: Final = Experiment.model_validate(
    {
        "hypothesis": "better",
        "placement": "home",
        "seed": "home:",
        "arms": {
            "control": {"model_version": "basket/v1", "slot": [0.0, 0.5], "ratio": 0.5},
            "treatment": {"model_version": "basket/v2", "slot": [0.5, 1.0], "ratio": 0.5},
        },
        "metrics": {"primary": {"name": "precision@3", "minimum_effect": 0.08}, "covariate_weeks": 0},
        "plan": {"units": 2, "start": "2017-12-04", "weeks": 4},
    }
)
START, END = window(EXPERIMENT)
TAKEN: Final = np.array([0.5, 0.45, 0.4, 0.2, 0.1, 0.05, 0.0, 0.0])
"""How often each item is taken where it is shown, by the mean unit; the list's own are the first three."""
TRUTH: Final = TAKEN[:3].mean()
DRAWN_TRUTH: Final = (TAKEN[0] + TAKEN[3:7].mean() + TAKEN[2]) / 3


def stage(share: float) -> Explore:
    return Explore(stage="explore", position=2, among=4, share=share)


def shop(share: float, units: int = 60, seed: int = 0, requests: int = 4) -> LogTables:
    """Return what units took of lists that serving itself drew."""
    rng, router, pool = np.random.default_rng(seed), Router("e", EXPERIMENT), pool_of("a" * len(TAKEN))
    exposures, slots, outcomes = [], [], []
    for number in range(units):
        user = f"{seed}_{number}"
        found = router.route(user)
        assert found is not None
        habit = rng.uniform(0.5, 1.5)
        for visit in range(requests):
            request, at = f"{user}:{visit}", START + visit * 7 * DAY
            ranked = Ranked.of(np.arange(len(TAKEN)), -np.arange(len(TAKEN), dtype=np.float64))
            shown = rerank([stage(share)], ranked, pool, everything, 3, request)
            common = {"request_id": request, "user_id": user, "event_timestamp": at, "overridden": False, "weights": 1}
            exposures.append(common | {"experiment": "e", "arm": found.arm, "model_version": found.model_version})
            for place, (row, propensity) in enumerate(zip(shown.rows, shown.propensities, strict=True), 1):
                item = f"{request}:{row}"
                slots.append({"request_id": request, "position": place, "item_id": item, "propensity": propensity})
                if rng.random() < habit * TAKEN[row]:
                    happened = {"event_id": item, "event_type": "purchase", "user_id": user, "item_id": item}
                    outcomes.append(happened | {"quantity": 1.0, "event_timestamp": at + DAY})
    return LogTables(
        pa.Table.from_pylist(exposures, schema.EXPOSURES),
        pa.Table.from_pylist(slots, schema.IMPRESSIONS),
        pa.Table.from_pylist(outcomes, schema.EVENTS),
    )


def valued(log: LogTables, confidence: float = 0.95) -> tuple[ArmOffPolicy, ...]:
    measured = unit_metrics(FakeEngine(), "e", EXPERIMENT, log, now=END, horizon=2 * DAY, exploration=True)
    return off_policy(EXPERIMENT, measured, confidence)


def test_intervals_hold_what_lists_without_exploration_bring() -> None:
    held, scaled = 0, []
    runs = 30
    for seed in range(runs):
        for found in valued(shop(0.4, seed=seed)):
            assert found.value is not None, found.refused
            for interval in (found.value.ips, found.value.snips):
                held += interval.holds(TRUTH)
                scaled.append((interval.estimate - TRUTH) / ((interval.upper - interval.lower) / 3.92))
    # Two arms and two estimates a run; 2.5 of 120 standard errors of a share of .94, and of a mean of 60 pairs.
    assert held >= 0.94 * 4 * runs - 2.5 * 2 * math.sqrt(0.94 * 0.06 * 2 * runs)
    assert abs(np.mean(scaled)) < 3 / math.sqrt(2 * runs)


def test_what_exploration_costs_is_told() -> None:
    (control, treatment) = valued(shop(0.4, units=500), 0.999)
    assert (control.arm, treatment.arm, control.slots, control.metric) == ("control", "treatment", [2], "precision@3")
    for found in (control, treatment):
        assert found.value is not None
        assert found.value.logged.holds(0.6 * TRUTH + 0.4 * DRAWN_TRUTH)
        assert found.value.gain.holds(0.4 * (TRUTH - DRAWN_TRUTH))
        assert found.value.gain.estimate > 0, "drawn items are taken less"
        assert found.value.largest_weight == pytest.approx(1 / 0.6)
        assert found.value.effective_sample_size == pytest.approx(0.6 * found.value.rounds, rel=0.1)


def test_a_slot_that_is_always_drawn_says_nothing_of_its_own_item() -> None:
    (refused, _) = valued(shop(1.0))
    assert refused.value is None
    assert refused.refused is not None
    words = "control: the target policy shows what the logging policy never does: the list's own item in slot 2 (1);"
    assert refused.refused.startswith(words)
    assert "\n" not in refused.refused
    assert "a `share` of the explore stage below 0.5" in refused.refused


def test_a_log_that_lacks_support_in_a_part_is_refused_by_its_weights() -> None:
    logs = shop(1.0, units=200, requests=1), shop(0.2, units=200, seed=1)
    names = ("exposures", "impressions", "outcomes")
    (refused, _) = valued(LogTables(*(pa.concat_tables([getattr(log, name) for log in logs]) for name in names)))
    assert refused.value is None
    assert refused.refused is not None
    assert "instead of 1: in a part of the log its own items were never shown" in refused.refused


def test_nothing_is_said_where_nothing_is_drawn() -> None:
    log = shop(0.4, units=20)
    sure = log.impressions.set_column(4, "propensity", pa.array(np.ones(log.impressions.num_rows)))
    assert valued(LogTables(log.exposures, sure, log.outcomes)) == ()
