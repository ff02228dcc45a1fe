"""Does a version pass its gate when it is better, surely, and only then?"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from recsys.errors import ModelError
from recsys.modeling.judged import Items, JudgedLists, Rows, TakenItems
from recsys.modeling.offline_evaluation import MODEL, OfflineReport, Segment, ablation, evaluate
from recsys.modeling.offline_evaluation.beyond import _different_pairs
from recsys.specs.metric import LIST_METRICS, Metric
from recsys.specs.model import Gate
from recsys.statistics.bootstrap import Interval

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


# ---------------------------------------------------------------- ratios and the gate


def test_every_metric_has_its_paired_ratio() -> None:
    on = judged()
    found = report(on, {MODEL: perfect(on), "baseline": nothing(on), "other": noise(on, 1)})
    assert set(found.metric_ratios) == {str(metric) for metric in METRICS}
    assert all(set(ratios) == {"baseline", "other"} for ratios in found.metric_ratios.values())
    assert found.metric_ratios["ndcg@3/user"] == found.ratios
    model, other = (found.metrics[name]["map@3/user"].estimate for name in (MODEL, "other"))
    assert found.metric_ratios["map@3/user"]["other"].estimate == pytest.approx(model / other)


def test_a_shuffled_label_model_fails_the_gate() -> None:
    on = judged(times=4)
    learned = perfect(on) + noise(on, 1)
    shuffled = np.random.default_rng(2).permutation(learned.reshape(-1, CANDIDATES)).ravel()
    assert report(on, {MODEL: learned, "baseline": noise(on, 3)}).gate.passed
    found = report(on, {MODEL: shuffled, "baseline": noise(on, 3)})
    assert not found.gate.passed
    assert "has to be above 1" in found.gate.reason


def test_the_gate_has_a_confidence_of_its_own() -> None:
    on = judged()
    scores = {MODEL: perfect(on) + noise(on, 1), "baseline": noise(on, 2)}
    strict, usual = report(on, scores, confidence=0.99), report(on, scores)
    assert strict.gate.ratio.lower < usual.gate.ratio.lower
    assert strict.ratios == usual.ratios
    assert "at 99%" in strict.gate.reason
    assert (strict.gate.metric, strict.gate.against, strict.gate.confidence) == ("ndcg@3/user", "baseline", 0.99)


def test_a_baseline_of_nothing_proves_nothing() -> None:
    on = judged(outside=1)
    found = report(on, {MODEL: perfect(on), "baseline": -perfect(on)}, metric="ndcg@1/user")
    assert not found.gate.passed
    assert found.gate.reason.endswith("a baseline of 0 gives no ratio, so that nothing is proved")
    assert found.to_dict()["ratios"]["baseline"] == {"estimate": None, "lower": None, "upper": None}


def test_one_unit_proves_nothing() -> None:
    on = judged(users=1, times=9)
    found = report(on, {MODEL: perfect(on), "baseline": noise(on, 1)})
    assert found.units == 1
    assert not found.gate.passed
    assert found.gate.reason.endswith("of 1 unit, which gives no interval, so that nothing is proved")
    assert found.to_dict()["metrics"][MODEL]["ndcg@3/user"] == {"estimate": 1.0, "lower": None, "upper": None}


def test_a_baseline_with_one_hit_has_a_lower_bound_only() -> None:
    on = judged()
    lucky = np.where(np.repeat(on.users == "u007", CANDIDATES), perfect(on), -perfect(on))
    found = report(on, {MODEL: perfect(on), "baseline": lucky}, metric="ndcg@1/user")
    assert found.gate.passed
    assert 1 < found.gate.ratio.lower < found.gate.ratio.estimate
    assert found.to_dict()["gate"]["ratio"]["upper"] is None  # some draws miss that unit


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({MODEL: perfect}, "gate.against 'baseline': baseline has no scores; scored were model"),
        ({"baseline": perfect}, "gate.against 'baseline': model has no scores; scored were baseline"),
        ({MODEL: lambda _: np.zeros(3), "baseline": perfect}, r"scores of model: shape \(3,\), and there are 480 rows"),
    ],
)
def test_scores_that_do_not_fit_are_refused(scores: Mapping[str, Any], message: str) -> None:
    on = judged()
    with pytest.raises(ModelError, match=message):
        report(on, {name: score(on) for name, score in scores.items()})


def test_without_anything_taken_there_is_nothing_to_judge_on() -> None:
    on = judged()
    for empty in (replace(on, relevant=np.zeros(USERS)), replace(on, relevant=np.zeros(0))):
        with pytest.raises(ModelError, match=r"nothing to judge on: of \d+ test requests none has anything"):
            report(empty, {MODEL: perfect(on), "baseline": nothing(on)})


def test_requests_without_anything_taken_are_left_out() -> None:
    on = judged()
    some = np.arange(USERS) < 20
    label = np.where(np.repeat(some, CANDIDATES), on.rows.label, 0).astype(np.float32)
    kept = np.flatnonzero(some)
    fewer = replace(
        on,
        rows=replace(on.rows, label=label),
        relevant=some.astype(float),
        taken=TakenItems(kept, kept % CANDIDATES, kept < 5),
    )
    found = report(fewer, {MODEL: label.astype(float), "baseline": nothing(on)})
    assert (found.requests, found.units) == (20, 20)
    assert found.metrics[MODEL]["ndcg@3/user"].estimate == 1


def test_unknown_scores_are_remarked() -> None:
    on = judged()
    found = report(on, {MODEL: perfect(on), "baseline": np.full(len(on.rows), np.nan)})
    assert found.remarks == ("baseline: 480 of 480 scores are not numbers, and stand last",)


# ---------------------------------------------------------------- told apart


def names(segments: Sequence[Segment]) -> list[str]:
    return [segment.name for segment in segments]


def test_times_splits_and_activity_are_told_apart() -> None:
    on = judged(times=4)
    times = np.unique(on.moments)
    on = replace(on, splits={"older": times[:2].tolist(), "newer": times[2:].tolist()})
    found = report(on, {MODEL: perfect(on), "baseline": nothing(on)})
    assert list(found.segments)[:3] == ["split", "decision_time", "activity"]
    assert names(found.segments["split"]) == ["older", "newer"]
    assert names(found.segments["decision_time"]) == ["2017-11-13", "2017-11-20", "2017-11-27", "2017-12-04"]
    assert [dict(each.sizes) for each in found.segments["split"]] == [{"requests": 120, "units": 60}] * 2
    assert names(found.segments["activity"]) == ["new", "light", "heavy"]
    assert found.cuts == {"activity": 2.5}  # of 1, 2, 3 and 4 earlier events
    assert [each.share for each in found.segments["activity"]] == pytest.approx([0.2, 0.4, 0.4])
    # The parts are the whole again.
    whole = found.metrics["baseline"]["ndcg@3/user"].estimate
    for segments in (found.segments["split"], found.segments["decision_time"], found.segments["activity"]):
        parts = [each.share * each.metrics["baseline"]["ndcg@3/user"].estimate for each in segments]
        assert sum(parts) == pytest.approx(whole)


def test_new_items_and_categories_are_told_apart() -> None:
    on = judged(outside=2)
    found = report(on, {MODEL: perfect(on), "baseline": nothing(on)})
    new, old = found.segments["item_age"]
    fresh = sum(number % CANDIDATES == 0 for number in range(USERS))
    assert (dict(new.sizes), dict(old.sizes)) == ({"taken": fresh}, {"taken": 3 * USERS - fresh})
    assert new.metrics[MODEL]["recall@1"].estimate == 1
    assert old.metrics[MODEL]["recall@1"].estimate == pytest.approx((USERS - fresh) / (3 * USERS - fresh))
    assert new.metrics["baseline"]["share_of_hits@1"].estimate == 1  # only the first item is ever shown
    categories = found.segments["category"]
    assert names(categories) == ["a", "b", "c", "d"]
    taken = [sum(number % CANDIDATES // 2 == place for number in range(USERS)) for place in range(4)]
    assert [each.sizes["taken"] for each in categories] == taken
    assert [each.share for each in categories] == pytest.approx([count / (3 * USERS) for count in taken])
    assert [each.metrics["baseline"]["recall@1"].estimate for each in categories] == [fresh / taken[0], 0, 0, 0]


def test_without_categories_there_are_none() -> None:
    on = judged()
    plain = replace(on, items=replace(on.items, segment=np.full(16, None, dtype=object)))
    found = report(plain, {MODEL: perfect(on), "baseline": nothing(on)})
    assert "category" not in found.segments
    assert np.isnan(found.beyond[MODEL]["diversity@3"].estimate)


# ---------------------------------------------------------------- beyond accuracy


def test_novelty_diversity_and_coverage_by_hand() -> None:
    on = judged()
    found = report(on, {MODEL: perfect(on), "baseline": nothing(on)}).beyond["baseline"]
    # Every list shows items 0, 1 and 2: bought by nobody, 1 and 2 of 60; segments a, a, b.
    surprise = [-np.log2(max(buyers, 1) / USERS) for buyers in (0, 1, 2)]
    assert found["novelty@3"].estimate == pytest.approx(np.mean(surprise))
    assert (found["novelty@3"].lower, found["novelty@3"].upper) == pytest.approx((found["novelty@3"].estimate,) * 2)
    assert found["diversity@3"].estimate == pytest.approx(2 / 3)
    assert found["coverage@3"].estimate == 3 / 16
    assert np.isnan(found["diversity@1"].estimate)
    assert found["novelty@1"].estimate == pytest.approx(surprise[0])


@pytest.mark.parametrize("seed", range(3))
def test_diversity_counts_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    segments = rng.integers(-1, 4, (30, 7))
    different, pairs = _different_pairs(segments)
    for shown, found, of in zip(segments.tolist(), different.tolist(), pairs.tolist(), strict=True):
        there = [(first, second) for first, second in combinations([each for each in shown if each >= 0], 2)]
        assert (found, of) == (sum(first != second for first, second in there), len(there))


# ---------------------------------------------------------------- candidates


def test_what_the_sources_found() -> None:
    on = judged(outside=1)
    union, popular, personal = report(on, {MODEL: perfect(on), "baseline": nothing(on)}).candidates
    assert [each.source for each in (union, popular, personal)] == ["union", "popular", "personal"]
    assert union.recall.estimate == union.share.estimate == 0.5
    assert union.candidates.estimate == CANDIDATES
    place = np.arange(USERS) % CANDIDATES
    by_popular = np.isin(place, [0, 1, 2, 6, 7]).sum()
    assert popular.share.estimate == pytest.approx(by_popular / (2 * USERS))
    assert popular.only.estimate == pytest.approx(np.isin(place, [0, 1, 2]).sum() / (2 * USERS))
    assert (popular.candidates.estimate, personal.candidates.estimate) == (5, 5)


def test_recall_is_no_larger_than_the_union_of_candidates() -> None:
    on = judged(outside=3)
    found = report(on, {MODEL: perfect(on), "baseline": nothing(on)})
    assert found.metrics[MODEL]["recall@3/user"].estimate <= found.candidates[0].recall.estimate


def test_a_source_without_a_name_is_told() -> None:
    on = judged()
    gate = Gate.model_validate({"metric": "ndcg@3/user", "against": "baseline"})
    scores = {MODEL: perfect(on), "baseline": nothing(on)}
    with pytest.raises(ModelError, match=r"a candidate has bit 1, and 1 sources have a name \(popular\)"):
        evaluate(on, scores, METRICS, gate, resamples=10, confidence=0.95, sources=("popular",))


# ---------------------------------------------------------------- ablation


def test_a_block_that_is_worth_something() -> None:
    on = judged(times=2)
    without = nothing(on)
    without[: USERS * CANDIDATES] = np.nan  # the older split
    scores = {MODEL: perfect(on), "block": without, "idle": perfect(on)}
    found = ablation(on, scores, METRICS[0], resamples=100, confidence=0.95)
    assert found["block"].ratio.upper < 1
    assert found["idle"].ratio == Interval(1, 1, 1)
    assert set(found) == {"block", "idle"}
    with pytest.raises(ModelError, match="no decision time has anything relevant and was scored by every fit"):
        ablation(on, {MODEL: np.full(len(on.rows), np.nan)}, METRICS[0], resamples=100, confidence=0.95)
