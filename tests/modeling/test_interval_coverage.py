"""Do the intervals of an offline evaluation hold the truth as often as they say?

Shops are simulated whose truth is known in closed form. Each repetition is a new shop with draws of its own; how often
its interval held the truth has to agree with 95 % by the exact binomial interval at 99.9 %.
"""

from collections.abc import Iterator

import numpy as np
import pytest
import scipy.special
import scipy.stats

from recsys.modeling.judged import JudgedUnits, Rows
from recsys.modeling.metrics import list_metrics
from recsys.modeling.offline_evaluation.figures import Figure, Resampling, UnitSums
from recsys.modeling.offline_evaluation.reach import reach
from recsys.modeling.offline_evaluation.request_groups import Group
from recsys.specs.metric import Metric

REPETITIONS = 2_000
RESAMPLES = 119
"""So few cover as well as many, because bounds are the (resamples + 1) p-th draws."""
CONFIDENCE = 0.95

UNITS = 250
SLOTS = np.array([0.12, 0.10, 0.08, 0.06, 0.05])
"""The chance of a hit in each slot of a list, for a unit of mean taste."""
WORSE = 0.8
"""The baseline's chances by the model's."""
TASTES = np.array([0.2, 0.6, 1.0, 2.0, 4.0])
TASTE_SHARES = np.array([0.25, 0.25, 0.3, 0.15, 0.05])

DECISION_TIMES = 2
CHANCE, STEEPNESS = 0.8, 2.0
"""A unit whose score is s acts with probability CHANCE * s ** STEEPNESS; scores are uniform."""


def covers(held: int, repetitions: int = REPETITIONS) -> bool:
    """Tell whether the coverage agrees with the confidence."""
    bounds = scipy.stats.binomtest(held, repetitions).proportion_ci(0.999, method="exact")
    return bool(bounds.low <= CONFIDENCE <= bounds.high)


# ---------------------------------------------------------------- lists


def list_shops() -> Iterator[tuple[Figure, Figure]]:
    """Yield the precision@5 of the model and of the baseline in shops whose units differ in taste and in requests."""
    rng = np.random.default_rng(20171204)
    for seed in range(REPETITIONS):
        requests = rng.geometric(0.4, UNITS)
        codes = np.repeat(np.arange(UNITS), requests)
        chances = rng.choice(TASTES, UNITS, p=TASTE_SHARES)[codes, np.newaxis] * SLOTS
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("recsys.modeling.offline_evaluation.figures.SEED", seed)
            sums = UnitSums(codes, UNITS, RESAMPLES)
            sums.add("requests", np.ones(len(codes)))
            for name, by in (("model", 1.0), ("baseline", WORSE)):
                hits = rng.random(chances.shape) < by * chances
                sums.add(name, list_metrics(hits, np.full(len(codes), 5.0))["precision"])
            yield sums.mean("model", "requests"), sums.mean("baseline", "requests")


def test_means_over_requests_and_their_paired_ratios() -> None:
    truth = float(TASTES @ TASTE_SHARES * SLOTS.mean())
    means = ratios = 0
    for model, baseline in list_shops():
        means += model.interval(CONFIDENCE).holds(truth)
        ratios += model.over(baseline).interval(CONFIDENCE).holds(1 / WORSE)
    assert covers(means), means
    assert covers(ratios), ratios


# ---------------------------------------------------------------- one list of units


def unit_shops(units: int, capacity: int, chance: float, repetitions: int) -> Iterator[tuple[Figure, Figure]]:
    """Yield the precision of the true order and of an order by chance, at a capacity."""
    rng = np.random.default_rng(20171211)
    rows = DECISION_TIMES * units
    users = np.tile(np.array([f"{unit:04}" for unit in range(units)], dtype=object), DECISION_TIMES)
    request = np.repeat(np.arange(DECISION_TIMES), units)
    for seed in range(repetitions):
        truth, anything = (np.tile(rng.random(units), DECISION_TIMES) for _ in range(2))
        label = (rng.random(rows) < chance * truth**STEEPNESS).astype(np.float32)
        judged = JudgedUnits(
            rows=Rows(label, request, np.arange(rows)),
            users=users,
            history=np.zeros(rows, dtype=np.int64),
            moments=np.datetime64("2017-11-13", "us") + np.arange(DECISION_TIMES).astype("timedelta64[W]"),
            relevant=np.bincount(request, weights=label),
            measured=False,
        )
        metric = Metric("precision", capacity, "global")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("recsys.modeling.offline_evaluation.reach.SEED", seed)
            whole = Group("whole", ("whole",), judged.history)
            scores = {"model": truth, "baseline": anything}
            found = reach(judged, scores, (metric,), whole, Resampling(RESAMPLES, CONFIDENCE))
        yield found.precision("model", capacity), found.precision("baseline", capacity)


def true_precision(units: int, capacity: int, chance: float) -> float:
    """Return the expected precision of the true order: the mean of s ** STEEPNESS over the largest order statistics."""
    rank = np.arange(units - capacity + 1, units + 1)
    powers = scipy.special.betaln(rank + STEEPNESS, units - rank + 1) - scipy.special.betaln(rank, units - rank + 1)
    return float(chance * np.exp(powers).mean())


def test_one_list_of_units_cut_at_its_capacity() -> None:
    # At 300. A cut that moves with the draw adds some 0.8 / sqrt(capacity) to the variance, so short lists cover more.
    truth, by_chance = true_precision(800, 300, CHANCE), CHANCE / (STEEPNESS + 1)
    means = ratios = 0
    for model, baseline in unit_shops(800, 300, CHANCE, REPETITIONS):
        means += model.interval(CONFIDENCE).holds(truth)
        ratios += model.over(baseline).interval(CONFIDENCE).holds(truth / by_chance)
    assert covers(means), means
    assert covers(ratios), ratios


def test_a_list_with_few_hits_is_remarked_for_a_reason() -> None:
    # With 3 hits expected in the model's lists and 1 in the baseline's, bounds are too near to each other.
    few, repetitions = 0.15, 400
    truth, by_chance = true_precision(200, 10, few), few / (STEEPNESS + 1)
    held = sum(
        model.over(baseline).interval(CONFIDENCE).holds(truth / by_chance)
        for model, baseline in unit_shops(200, 10, few, repetitions)
    )
    assert not covers(held, repetitions)
