"""A ramp of any shape gives sound splits by epoch, and a loss in one epoch is found in that one."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.stats

from recsys.evaluation.health import check_health
from recsys.evaluation.split import EpochSplit, epoch_splits
from recsys.experiment.epochs import Epoch
from recsys.experiment.routing import Router
from recsys.specs.experiment import Experiment
from tests.fakes.engine import FakeEngine

START = datetime(2017, 12, 4, tzinfo=UTC)
WEEK = timedelta(weeks=1)
PROPORTIONAL = ({"control": 0.05, "treatment": 0.05}, {"control": 0.5, "treatment": 0.5})
LOPSIDED = ({"control": 0.1, "treatment": 0.1}, {"control": 0.1, "treatment": 0.4}, {"control": 0.5, "treatment": 0.5})


def declare(ratios: dict[str, float], seed: str = "ramp:") -> Experiment:
    return Experiment.model_validate(
        {
            "hypothesis": "better",
            "placement": "home",
            "seed": seed,
            "arms": {
                "control": {"model_version": "basket/v1", "slot": [0.0, 0.5], "ratio": ratios["control"]},
                "treatment": {"model_version": "basket/v2", "slot": [0.5, 1.0], "ratio": ratios["treatment"]},
            },
            "metrics": {"primary": {"name": "precision@4", "minimum_effect": 0.08}},
            "plan": {"units": 2, "start": "2017-12-04", "weeks": 4},
        }
    )


def epochs_of(*ramps: dict[str, float]) -> tuple[Epoch, ...]:
    starts = [START + number * WEEK for number in range(len(ramps))]
    ends = [*starts[1:], START + 4 * WEEK]
    whole = [{arm: round(ratio * 10_000) for arm, ratio in ramp.items()} for ramp in ramps]
    return tuple(Epoch(*each) for each in zip(starts, ends, whole, strict=True))


def visited(ramps: tuple[dict[str, float], ...], seed: str, units: int = 4_000) -> list[dict[str, Any]]:
    """Let half of all units come in each epoch; the first time that one has an arm is its first exposure."""
    rng = np.random.default_rng(sum(seed.encode()))
    routers = [Router("e", declare(ramp, seed)) for ramp in ramps]
    ids = [f"unit_{number}" for number in range(units)]
    arms = [router.route_many(ids).to_pylist() for router in routers]
    came = rng.random((len(ramps), units)) < 0.5
    rows = []
    for number, unit in enumerate(ids):
        for epoch in range(len(ramps)):
            if came[epoch, number] and arms[epoch][number] is not None:
                at = START + epoch * WEEK + timedelta(hours=1)
                rows.append({"unit": unit, "arm": arms[epoch][number], "at": at})
                break
    return rows


def splits(ramps: tuple[dict[str, float], ...], rows: list[dict[str, Any]], seed: str) -> tuple[EpochSplit, ...]:
    table = pa.table(
        {
            "unit": [row["unit"] for row in rows],
            "arm": [row["arm"] for row in rows],
            "first": [round(row["at"].timestamp() * 1e6) for row in rows],
        }
    )
    return epoch_splits(Router("e", declare(ramps[-1], seed)), table, epochs_of(*ramps))


@pytest.mark.parametrize("ramps", [PROPORTIONAL, LOPSIDED])
def test_p_values_are_uniform_where_nothing_is_lost(ramps: tuple[dict[str, float], ...]) -> None:
    found = [splits(ramps, visited(ramps, f"{number}:"), f"{number}:") for number in range(40)]
    p_values = [split.p_value for each in found for split in each]
    assert scipy.stats.kstest(p_values, "uniform").pvalue > 0.001
    for each in found:
        assert [sum(split.units.values()) for split in each] == [
            pytest.approx(sum(split.expected.values())) for split in each
        ]


def test_the_expected_split_is_that_of_the_opened_buckets() -> None:
    first, second, third = splits(LOPSIDED, visited(LOPSIDED, "w:", 40_000), "w:")
    assert first.expected["control"] == first.expected["treatment"]
    # Of the first ramp's units a quarter come in the second epoch, in equal parts; it opened none but the treatment's.
    share = second.expected["control"] / sum(second.expected.values())
    assert share == pytest.approx(0.1 / 4 / (0.1 / 4 + 0.1 / 4 + 0.3 / 2), abs=0.01)
    share = third.expected["control"] / sum(third.expected.values())
    assert share == pytest.approx((0.1 / 8 + 0.4 / 2) / (0.1 / 8 + 0.4 / 2 + 0.1 / 8 + 0.3 / 4 + 0.1 / 2), abs=0.01)


def test_a_loss_is_found_in_its_epoch() -> None:
    rows = visited(LOPSIDED, "w:", 20_000)
    late = START + WEEK
    kept = [row for number, row in enumerate(rows) if row["at"] < late or row["arm"] == "control" or number % 3]
    first, second, third = splits(LOPSIDED, kept, "w:")
    assert first.p_value > 0.001
    assert second.p_value > 0.001 or second.units["treatment"] < second.expected["treatment"]
    assert third.p_value < 0.001


def test_health_judges_epochs_where_there_are_several() -> None:
    rows = visited(LOPSIDED, "w:", 20_000)
    exposures = pa.Table.from_pylist(
        [
            {
                "request_id": row["unit"],
                "user_id": row["unit"],
                "experiment": "e",
                "arm": row["arm"],
                "overridden": False,
                "model_version": None,
                "fallback": None,
                "event_timestamp": row["at"],
            }
            for row in rows
        ]
    )
    experiment = declare(LOPSIDED[-1], "w:")
    now = START + 4 * WEEK
    pooled = check_health(FakeEngine(), "e", experiment, exposures, now=now)
    assert not pooled.healthy
    found = check_health(FakeEngine(), "e", experiment, exposures, now=now, epochs=epochs_of(*LOPSIDED))
    assert found.healthy
    assert found.sample_ratio_p_value == min(split.p_value for split in found.epochs)
    some = exposures.take(
        [i for i, row in enumerate(rows) if row["at"] < START + 2 * WEEK or i % 3 or row["arm"] == "control"]
    )
    lost = check_health(FakeEngine(), "e", experiment, some, now=now, epochs=epochs_of(*LOPSIDED))
    (failure,) = lost.failures
    assert failure.startswith("The split of allocation epoch 3, from 2017-12-18T00:00, is not the declared one")
