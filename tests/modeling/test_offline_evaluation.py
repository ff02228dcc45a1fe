"""Does a version pass its gate when it is better, surely, and only then?"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from recsys.errors import ModelError
from recsys.modeling.judged import Items, JudgedLists, Rows, TakenItems
from recsys.modeling.offline_evaluation import MODEL, OfflineReport, evaluate
from recsys.specs.metric import LIST_METRICS, Metric
from recsys.specs.model import Gate

USERS = 60
CANDIDATES = 8


METRICS = tuple(Metric(name, size, "user") for size in (1, 3) for name in LIST_METRICS)


def judged(*, times: int = 1, outside: int = 0, users: int = USERS) -> JudgedLists:
    """Make requests of 8 candidates, of which the request's number tells the one that was taken.

    Beside it each unit takes `outside` items that were no candidates.
    """
    requests = users * times
    labels = np.zeros((requests, CANDIDATES), dtype=np.float32)
    labels[np.arange(requests), np.arange(requests) % CANDIDATES] = 1
    asked = np.arange(requests)
    taken = np.concatenate([asked % CANDIDATES, np.tile(CANDIDATES + np.arange(outside), requests)])
    return JudgedLists(
        rows=Rows(labels.ravel(), np.repeat(asked, CANDIDATES), np.tile(np.arange(CANDIDATES), requests)),
        item=np.tile(np.arange(CANDIDATES), requests),
        sources=np.tile([1, 1, 1, 2, 2, 2, 3, 3], requests),
        users=np.array([f"u{number % users:03}" for number in range(requests)], dtype=object),
        moments=np.datetime64("2017-11-13", "us") + (asked // users).astype("timedelta64[W]"),
        relevant=np.full(requests, 1.0 + outside),
        history=asked % 5,
        taken=TakenItems(np.concatenate([asked, np.repeat(asked, outside)]), taken, taken == 0),
        items=Items(np.array([*"aabbccdd", *[None] * 8], dtype=object), np.arange(16), users, CANDIDATES * 2),
    )


def perfect(on: JudgedLists) -> NDArray[np.float64]:
    """Score what was taken above the rest."""
    return on.rows.label.astype(np.float64)


def nothing(on: JudgedLists) -> NDArray[np.float64]:
    """Score all alike: ties fall to the first items."""
    return np.zeros(len(on.rows.label))


def noise(on: JudgedLists, seed: int) -> NDArray[np.float64]:
    """Score by chance."""
    return np.random.default_rng(seed).random(len(on.rows.label))


def report(on: JudgedLists, scores: Mapping[str, NDArray[np.float64]], **changes: Any) -> OfflineReport:
    """Evaluate at 1 and 3 slots with a gate on ndcg@3."""
    gate = Gate.model_validate({"metric": "ndcg@3/user", "against": "baseline"} | changes)
    return evaluate(on, scores, METRICS, gate, resamples=200, confidence=0.95, sources=("popular", "personal"))


def test_a_better_model_passes() -> None:
    on = judged()
    found = report(on, {MODEL: perfect(on), "baseline": nothing(on)})
    assert found.gate.passed
    assert found.gate.ratio == found.ratios["baseline"]
    assert found.gate.ratio.lower > 1
    assert found.gate.reason.startswith("ndcg@3/user 1.0000 against baseline's 0.2")
    assert found.gate.reason.endswith("the lower bound is above 1")


@pytest.mark.parametrize("model", [nothing, lambda on: noise(on, 1)])
def test_a_model_that_is_not_surely_better_is_refused(model: Any) -> None:
    on = judged()
    found = report(on, {MODEL: model(on), "baseline": noise(on, 2)})
    assert not found.gate.passed
    assert "at 95%; the lower bound has to be above 1" in found.gate.reason


def test_an_equal_model_is_refused() -> None:
    on = judged()
    found = report(on, {MODEL: perfect(on), "baseline": perfect(on)})
    assert not found.gate.passed
    assert (found.gate.ratio.lower, found.gate.ratio.estimate, found.gate.ratio.upper) == (1, 1, 1)


def test_the_minimum_ratio_is_what_has_to_be_passed() -> None:
    on = judged()
    scores = {MODEL: perfect(on), "baseline": nothing(on)}
    ratio = report(on, scores).gate.ratio
    assert report(on, scores, minimum_ratio=ratio.lower * 0.99).gate.passed
    assert not report(on, scores, minimum_ratio=ratio.lower).gate.passed


def test_a_baseline_without_a_hit_gives_no_verdict_and_no_warning() -> None:
    on = judged(outside=1)
    worst = -perfect(on)
    found = report(on, {MODEL: perfect(on), "baseline": worst}, metric="ndcg@1/user")
    assert found.metrics["baseline"]["ndcg@1/user"].estimate == 0
    both = report(on, {MODEL: worst, "baseline": worst}, metric="ndcg@1/user")
    assert not both.gate.passed


def test_metrics_of_every_ranker_and_size_are_told() -> None:
    on = judged(outside=1)
    found = report(on, {MODEL: perfect(on), "baseline": nothing(on)})
    assert (found.requests, found.units) == (USERS, USERS)
    names = {f"{metric}@{k}/user" for metric in LIST_METRICS for k in (1, 3)}
    assert set(found.metrics) == {MODEL, "baseline"}
    assert all(set(metrics) == names for metrics in found.metrics.values())
    assert found.metrics[MODEL]["recall@3/user"].estimate == pytest.approx(0.5)
    assert found.metrics[MODEL]["precision@1/user"].estimate == 1
    first_three = sum(number % CANDIDATES < 3 for number in range(USERS)) / USERS
    assert found.metrics["baseline"]["precision@3/user"].estimate == pytest.approx(first_three / 3)


def test_intervals_hold_their_estimate_and_are_wider_for_fewer_units() -> None:
    once, repeated = judged(), judged(times=4)
    few = report(once, {MODEL: noise(once, 1), "baseline": nothing(once)}).metrics[MODEL]["mrr@3/user"]
    many = report(repeated, {MODEL: noise(repeated, 1), "baseline": nothing(repeated)}).metrics[MODEL]["mrr@3/user"]
    for interval in (few, many):
        assert interval.lower < interval.estimate < interval.upper
    assert many.upper - many.lower < few.upper - few.lower


def test_requests_of_one_unit_are_one_draw() -> None:
    once, repeated = judged(), judged(times=8)  # every unit's 8 requests: all 8 places of what was taken
    scores = {name: {MODEL: nothing(on), "baseline": nothing(on)} for name, on in (("1", once), ("8", repeated))}
    alone = report(once, scores["1"]).metrics[MODEL]["precision@1/user"]
    together = report(repeated, scores["8"])
    assert (together.requests, together.units) == (8 * USERS, USERS)
    assert together.metrics[MODEL]["precision@1/user"].estimate == pytest.approx(alone.estimate, abs=0.05)


def test_coverage_is_the_share_of_the_pool_that_was_shown() -> None:
    on = judged()
    found = report(on, {MODEL: perfect(on), "baseline": nothing(on)})
    assert found.coverage == {MODEL: 8 / 16, "baseline": 3 / 16}


def test_the_same_evaluation_twice_is_the_same() -> None:
    on = judged(times=2)
    scores = {MODEL: noise(on, 1), "baseline": noise(on, 2)}
    assert report(on, scores) == report(on, scores)


@pytest.mark.parametrize("metric", ["ndcg@7/user", "precision@3/global"])
def test_an_unknown_metric_is_refused_with_the_known_ones(metric: str) -> None:
    on = judged()
    with pytest.raises(ModelError, match=rf"gate\.metric '{metric}': the problem's channels give .*ndcg@3/user"):
        report(on, {MODEL: perfect(on), "baseline": nothing(on)}, metric=metric)


def test_a_report_is_plain_values() -> None:
    on = judged()
    document = report(on, {MODEL: perfect(on), "baseline": nothing(on)}).to_dict()
    assert json.loads(json.dumps(document))["gate"]["passed"] is True
