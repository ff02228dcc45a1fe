"""Is one list of units judged as it should be: at its cuts, by time, by activity, never where it selects nothing?"""

from typing import Any

import numpy as np
import pytest
import sklearn.metrics
from numpy.typing import NDArray

from recsys.errors import ModelError
from recsys.modeling.judged import JudgedUnits, Rows
from recsys.modeling.offline_evaluation import MODEL, OfflineReport, ablation, evaluate
from recsys.specs.metric import Metric, reach_metrics
from recsys.specs.model import Gate
from recsys.statistics.bootstrap import Interval

UNITS = 80
MONDAYS = np.array(["2017-11-13", "2017-11-20"], dtype="datetime64[us]")
SIZES = (10, 30)


def judged(*, labels: NDArray[np.float64] | None = None, outside: float = 0, measured: bool = False) -> JudgedUnits:
    """Make two lists of 80 units; the first 20 of each act."""
    numbers = np.tile(np.arange(UNITS), 2)
    label = (numbers < 20).astype(float) if labels is None else labels
    request = np.repeat([0, 1], UNITS)
    return JudgedUnits(
        rows=Rows(label.astype(np.float32), request, numbers),
        users=np.array([f"u{number:03}" for number in numbers], dtype=object),
        history=numbers % 4,
        moments=MONDAYS,
        relevant=np.bincount(request, weights=label) + outside,
        measured=measured,
        splits={"older": MONDAYS[:1].tolist(), "newer": MONDAYS[1:].tolist()},
    )


def perfect(on: JudgedUnits) -> NDArray[np.float64]:
    return on.rows.label.astype(np.float64)


def chance(seed: int = 1) -> NDArray[np.float64]:
    return np.random.default_rng(seed).random(2 * UNITS)


def report(on: JudgedUnits, scores: dict[str, NDArray[np.float64]], **changes: Any) -> OfflineReport:
    sizes = changes.pop("sizes", SIZES)
    names = reach_metrics(measured=on.measured)
    metrics = tuple(Metric(name, size, "global") for size in sizes for name in names)
    gate = Gate.model_validate({"metric": f"{names[0]}@10/global", "against": "baseline"} | changes)
    return evaluate(on, scores, metrics, gate, resamples=200, confidence=0.95)


def test_the_cut_of_each_list() -> None:
    on = judged(outside=4)
    found = report(on, {MODEL: perfect(on), "baseline": chance()})
    metrics = {name: interval.estimate for name, interval in found.metrics[MODEL].items()}
    assert metrics == pytest.approx(
        {
            "precision@10/global": 1,
            "recall@10/global": 10 / 24,
            "precision@30/global": 20 / 30,
            "recall@30/global": 20 / 24,
        }
    )
    assert (found.kind, found.requests, found.units) == ("units", 2, UNITS)
    assert (found.coverage, found.beyond, found.candidates) == ({}, {}, ())


@pytest.mark.parametrize("seed", range(5))
def test_the_cut_agrees_with_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    on = judged(labels=(rng.random(2 * UNITS) < 0.3).astype(float))
    scores = rng.permutation(2 * UNITS).astype(float)
    found = report(on, {MODEL: scores, "baseline": chance()}).metrics[MODEL]
    for size in SIZES:
        precision, recall = [], []
        for time in (0, 1):
            mine = on.rows.request == time
            chosen = scores[mine] >= np.sort(scores[mine])[-size]
            precision.append(sklearn.metrics.precision_score(on.rows.label[mine], chosen))
            recall.append(sklearn.metrics.recall_score(on.rows.label[mine], chosen))
        assert found[f"precision@{size}/global"].estimate == pytest.approx(np.mean(precision), abs=1e-9)
        assert found[f"recall@{size}/global"].estimate == pytest.approx(np.mean(recall), abs=1e-9)


def test_equal_scores_fall_to_the_smaller_id_and_unknown_ones_stand_last() -> None:
    on = judged()
    found = report(on, {MODEL: np.zeros(2 * UNITS), "baseline": np.where(perfect(on) > 0, np.nan, 0.0)})
    assert found.metrics[MODEL]["precision@10/global"].estimate == 1  # the first 20 act
    assert found.metrics["baseline"]["precision@30/global"].estimate == 0
    assert "baseline: 40 of 160 scores are not numbers, and stand last" in found.remarks


def test_the_draws_are_those_of_units_written_out() -> None:
    on = judged(labels=(np.random.default_rng(3).random(2 * UNITS) < 0.3).astype(float))
    scores = chance(4)
    found = report(on, {MODEL: scores, "baseline": chance()}).metrics[MODEL]["precision@10/global"]
    rng = np.random.default_rng(9)
    drawn = []
    for _ in range(3_000):
        units = rng.integers(0, UNITS, UNITS)
        precision = []
        for time in (0, 1):
            rows = time * UNITS + units
            best = rows[np.argsort(-scores[rows], kind="stable")][:10]
            precision.append(on.rows.label[best].mean())
        drawn.append(np.mean(precision))
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert (found.lower, found.upper) == pytest.approx((low, high), abs=0.051)  # a step is 0.05


def test_measured_labels_give_their_value() -> None:
    amounts = np.tile(np.arange(UNITS, dtype=float)[::-1], 2)
    on = judged(labels=amounts, measured=True)
    found = report(on, {MODEL: perfect(on), "baseline": chance()})
    best = np.arange(70, 80)
    assert found.metrics[MODEL]["value@10/global"].estimate == pytest.approx(best.mean())
    assert found.metrics[MODEL]["recall@10/global"].estimate == pytest.approx(best.sum() / amounts[:UNITS].sum())
    assert found.probabilities == {}
    assert "value@10" in found.segments["activity"][0].metrics[MODEL]


# ---------------------------------------------------------------- told apart


def test_times_and_splits_are_told_apart() -> None:
    on = judged()
    scores = perfect(on)
    scores[UNITS:] *= -1  # wrong in the second week
    found = report(on, {MODEL: scores, "baseline": chance()})
    for group, names in (("decision_time", ["2017-11-13", "2017-11-20"]), ("split", ["older", "newer"])):
        segments = found.segments[group]
        assert [each.name for each in segments] == names
        assert [each.metrics[MODEL]["precision@10/global"].estimate for each in segments] == [1, 0]
        assert [dict(each.sizes) for each in segments] == [{"requests": 1, "units": UNITS}] * 2


def test_units_are_told_apart_by_what_they_did_before() -> None:
    on = judged()
    found = report(on, {MODEL: perfect(on), "baseline": chance()})
    segments = found.segments["activity"]
    assert [each.name for each in segments] == ["new", "light", "heavy"]
    assert found.cuts == {"activity": 2, "eligible": UNITS}
    assert [each.share for each in segments] == [0.25, 0.5, 0.25]
    assert sum(each.metrics[MODEL]["share_of_list@30"].estimate for each in segments) == pytest.approx(1)
    # Of 20 that act a list, in the order of their ids, 5 are new, and all are reached at 30.
    assert segments[0].metrics[MODEL]["recall@30"].estimate == 1
    assert segments[0].metrics[MODEL]["precision@10"].estimate == 1


def test_every_ranker_of_events_has_its_auc() -> None:
    on = judged()
    found = report(on, {MODEL: perfect(on), "baseline": -perfect(on)})
    assert {name: dict(each)["auc"].estimate for name, each in found.probabilities.items()} == {MODEL: 1, "baseline": 0}


# ---------------------------------------------------------------- what cannot be told


def test_a_capacity_of_half_of_the_units_is_not_a_selection() -> None:
    on = judged()
    scores = {MODEL: perfect(on), "baseline": chance()}
    found = report(on, scores, sizes=(10, 40))
    remark = "precision@40/global: a capacity of 40 is at least half of the 80 eligible units: not a selection"
    assert remark in found.remarks
    assert found.metrics[MODEL]["precision@40/global"].estimate == 0.5
    with pytest.raises(ModelError, match=rf"gate\.metric 'precision@40/global': {remark}; gate on a smaller capacity"):
        report(on, scores, sizes=(10, 40), metric="precision@40/global")
    assert not any("not a selection" in each for each in report(on, scores, sizes=(10, 39)).remarks)


def test_few_hits_are_remarked() -> None:
    labels = np.zeros(2 * UNITS)
    labels[[3, 90]] = 1
    on = judged(labels=labels)
    found = report(on, {MODEL: perfect(on), "baseline": np.zeros(2 * UNITS)})
    assert (
        "@10/global: few hits in all lists together (model 2, baseline 1); with fewer than 20 the bounds, and those of"
        " ratios, are too near to each other"
    ) in found.remarks


def test_a_time_without_anything_relevant_is_left_out_of_recall() -> None:
    labels = np.zeros(2 * UNITS)
    labels[:20] = 1
    on = judged(labels=labels)
    found = report(on, {MODEL: perfect(on), "baseline": chance()})
    assert found.metrics[MODEL]["recall@10/global"].estimate == 0.5
    assert found.metrics[MODEL]["precision@10/global"].estimate == 0.5


def test_a_shuffled_model_fails_the_gate() -> None:
    on = judged()
    better = perfect(on) + 0.8 * chance(2)
    shuffled = np.random.default_rng(3).permutation(perfect(on))
    assert report(on, {MODEL: better, "baseline": chance()}).gate.passed
    assert not report(on, {MODEL: shuffled, "baseline": chance()}).gate.passed


def test_lists_of_items_are_not_what_is_judged() -> None:
    on = judged()
    gate = Gate.model_validate({"metric": "ndcg@10/user", "against": "baseline"})
    with pytest.raises(ModelError, match=r"metric ndcg@10/user: what is judged are units: metrics are /global"):
        evaluate(on, {MODEL: perfect(on)}, (Metric("ndcg", 10, "user"),), gate, resamples=10, confidence=0.95)


def test_an_ablation_leaves_out_times_that_some_fit_did_not_score() -> None:
    on = judged()
    without = -perfect(on)
    without[:UNITS] = np.nan
    metric = Metric("precision", 10, "global")
    found = ablation(on, {MODEL: perfect(on), "block": without}, metric, resamples=100, confidence=0.95)
    assert found["block"].metric == Interval(0, 0, 0)
    assert found["block"].ratio == Interval(0, 0, 0)
    same = ablation(on, {MODEL: perfect(on), "block": perfect(on)}, metric, resamples=100, confidence=0.95)
    assert same["block"].ratio == Interval(1, 1, 1)
