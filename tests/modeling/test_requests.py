"""Are past requests those that would have been answered then, and are positives never lost?"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recsys.candidates.fitted import PoolModel, model_key
from recsys.candidates.pool import instant
from recsys.candidates.retrieval import Retrieval
from recsys.modeling.given import completed
from recsys.modeling.moments import Moments
from recsys.modeling.requests import ITEM_ROW, REQUEST, Requests, Sampling, build_requests
from recsys.ports import FeatureReader
from recsys.schema import EVENT_TIMESTAMP, ITEM, LABEL, LINE, REQUEST_TIMESTAMP, SESSION, TIMESTAMP, USER
from recsys.serving.item_matrix import read_matrix
from recsys.serving.unit_rows import UnitRows
from recsys.specs.candidates import label
from recsys.workflows.features.item_models import fit_item_models, write_item_models
from tests.fakes.features import FakeFeatures
from tests.fakes.item_models import FakeItemModels
from tests.serving.small_shop import DAY, NOW, PAIR, history, looked, pair, placement, shop, sold

EARLIER = NOW - 7 * DAY


def taken(*rows: tuple[datetime, str, str], label: Sequence[float] = ()) -> pa.Table:
    """Make positives: decision time, unit, item and label, which is 1 by default."""
    return pa.table(
        {
            EVENT_TIMESTAMP: pa.array([at for at, _, _ in rows], TIMESTAMP),
            USER: pa.array([user for _, user, _ in rows], pa.string()),
            ITEM: pa.array([item for _, _, item in rows], pa.string()),
            LABEL: pa.array(label or [1.0] * len(rows), pa.float64()),
        }
    )


def requests(
    positives: pa.Table,
    features: FeatureReader | None = None,
    decision_times: Sequence[datetime] = (NOW,),
    sampling: Sampling | None = None,
    **changes: Any,
) -> Requests:
    """Build the requests of the small shop."""
    moments = Moments(features or small())
    return build_requests(moments, placement(**changes), positives, decision_times, sampling or Sampling(), [LINE])


def small() -> FakeFeatures:
    """Give a shop of six items, in which u1 has a history with three."""
    return shop(
        item_week=[sold(item, sales, line=item) for item, sales in zip("abcdef", (1, 6, 5, 4, 3, 0), strict=True)],
        pair=[pair("u1", "a", 2), pair("u1", "e", 9), pair("u1", "f", 5)],
    )


def items_of(built: Requests, request: int = 0) -> list[str]:
    """Return the candidates of one request, in their order."""
    mask = np.array(built.rows[REQUEST]) == request
    found: list[str] = built.rows.filter(pa.array(mask))[ITEM].to_pylist()
    return found


def test_candidates_are_those_of_the_placement_in_its_order() -> None:
    built = requests(taken((NOW, "u1", "b"), (NOW, "u2", "b")))
    assert built.users.tolist() == ["u1", "u2"]
    assert items_of(built, 0) == ["e", "a", "b", "c", "d"]
    assert items_of(built, 1) == ["b", "c", "d", "e"]
    assert len(built) == 2


def test_rows_tell_what_the_join_and_the_metrics_need() -> None:
    built = requests(taken((NOW, "u1", "b"), (NOW, "u1", "e")))
    rows = built.rows
    assert rows[LABEL].to_pylist() == [1, 0, 1, 0, 0]
    assert rows[LABEL].type == pa.float32()
    assert rows[LINE].to_pylist() == rows[ITEM].to_pylist()
    assert set(rows[USER].to_pylist()) == {"u1"}
    assert set(rows[EVENT_TIMESTAMP].to_pylist()) == set(rows[REQUEST_TIMESTAMP].to_pylist()) == {NOW}
    assert rows[EVENT_TIMESTAMP].type == TIMESTAMP
    by_row = [item for _, item in sorted(zip(rows[ITEM_ROW].to_pylist(), rows[ITEM].to_pylist(), strict=True))]
    assert by_row == sorted(by_row)
    assert len(built.eligible) == 5


def test_requests_of_several_moments_are_numbered_through() -> None:
    features = shop(
        item_week=[sold("a", 1, EARLIER), sold("b", 1, EARLIER), sold("a", 1), sold("b", 1), sold("c", 1)],
        pair=[pair("u1", "b", 1, EARLIER)],
    )
    positives = taken((EARLIER, "u2", "a"), (NOW, "u2", "a"), (EARLIER, "u1", "a"))
    built = requests(positives, features, (EARLIER, NOW))
    assert built.users.tolist() == ["u1", "u2", "u2"]
    assert built.rows[REQUEST].to_pylist() == [0, 0, 1, 1, 2, 2, 2]
    assert items_of(built, 0) == ["b", "a"]
    assert items_of(built, 2) == ["a", "b", "c"]
    assert built.rows[EVENT_TIMESTAMP].to_pylist() == [EARLIER] * 4 + [NOW] * 3
    assert len(built.eligible) == 3


def test_what_was_taken_beside_the_candidates_counts_as_relevant() -> None:
    positives = taken((NOW, "u1", "b"), (NOW, "u1", "nowhere"), (NOW, "u1", "f"), (NOW, "u2", "nowhere"))
    built = requests(positives)
    assert built.relevant.tolist() == [3, 1]
    assert built.rows[LABEL].to_numpy().sum() == 1


def test_a_unit_without_any_candidate_keeps_its_request() -> None:
    built = requests(
        taken((NOW, "u1", "b"), (NOW, "u2", "b")),
        candidates=[{"source": "personal", "view": "pair", "order_by": ["times"], "limit": 4}],
    )
    assert built.users.tolist() == ["u1", "u2"]
    assert set(built.rows[REQUEST].to_pylist()) == {0}


def test_a_moment_at_which_nothing_was_taken_has_no_requests() -> None:
    built = requests(taken((NOW, "u1", "b")), decision_times=(EARLIER, NOW))
    assert built.users.tolist() == ["u1"]
    assert set(built.rows[REQUEST].to_pylist()) == {0}


class TestSampling:
    """Some of what was not taken is left out, and nothing else."""

    POSITIVES = taken(*[(NOW, f"u{number}", item) for number in range(1, 30) for item in "be"])

    @pytest.mark.parametrize("per_request", [1, 2])
    def test_positives_always_stay(self, per_request: int) -> None:
        """With so many of the others."""
        built = requests(self.POSITIVES, sampling=Sampling(per_request))
        labels = np.bincount(built.rows[REQUEST].to_numpy(), weights=built.rows[LABEL].to_numpy())
        counts = np.bincount(built.rows[REQUEST].to_numpy())
        assert set(labels) == {2}
        assert set(counts) == {2 + per_request}

    def test_the_order_of_the_candidates_stays(self) -> None:
        """Rows of a request come as the sources gave them."""
        whole, sampled = requests(self.POSITIVES), requests(self.POSITIVES, sampling=Sampling(1))
        for request in range(len(whole)):
            kept = items_of(sampled, request)
            assert kept == [item for item in items_of(whole, request) if item in kept]

    def test_a_large_enough_sample_is_all(self) -> None:
        """Nothing is drawn twice."""
        assert requests(self.POSITIVES, sampling=Sampling(99)).rows.equals(requests(self.POSITIVES).rows)

    def test_equal_seeds_draw_equal_samples(self) -> None:
        """And others do not."""
        first, again, other = (requests(self.POSITIVES, sampling=Sampling(1, seed)) for seed in (0, 0, 1))
        assert first.rows.equals(again.rows)
        assert not first.rows.equals(other.rows)

    def test_a_request_without_a_positive_is_left_out(self) -> None:
        """It has nothing to teach; requests that are judged on stay."""
        positives = taken((NOW, "u1", "nowhere"), (NOW, "u2", "b"))
        assert requests(positives, sampling=Sampling(2)).users.tolist() == ["u2"]
        assert requests(positives).users.tolist() == ["u1", "u2"]


COVISIT = {"source": "covisit", "view": "pair", "limit": 4, "minimum": 1, "together": 1, "shrinkage": 0.0}
PERSONAL = {"source": "personal", "view": "pair", "order_by": ["times"], "limit": 4}
BEST = {"source": "popular", "order_by": "sold", "limit": 4}
WEIGHED = COVISIT | {"name": "weighed", "strength": "times", "own": False}
EASE = {"source": "ease", "view": "pair", "limit": 3, "minimum": 1, "l2": 2.0}
PLACEMENTS = {
    "plain": {},
    "all": {
        "candidates": [PERSONAL, COVISIT, WEIGHED, EASE, BEST | {"by": "brand", "per_value": 1}],
        "new_units": [BEST | {"name": "starters"}],
    },
    "filtered": {
        "candidates": [EASE, COVISIT, BEST],
        "filters": [
            {"filter": "seen", "view": "pair", "by": "last", "within": "14d"},
            {"filter": "items", "deny": ["i2"]},
        ],
    },
}


@pytest.mark.parametrize("changes", PLACEMENTS.values(), ids=PLACEMENTS)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("days", [0, 1, 9.5, 28])
def test_candidates_are_what_the_online_store_would_have_given(seed: int, days: float, changes: dict[str, Any]) -> None:
    at = NOW - days * DAY
    features, spec = history(seed), placement(**changes)
    units = [f"u{number}" for number in range(7)]
    built = requests(taken(*[(at, unit, "nothing anybody has") for unit in units]), features, (at,), **changes)
    features.materialize(at)
    store = FakeItemModels()
    write_item_models(store, fit_item_models(features, [("home", spec)], at, 10**9))
    matrix = read_matrix(features, spec, [], at)
    models = {
        label(source): PoolModel(fitted, matrix.pool)
        for source in spec.fitted
        if (fitted := store.read(model_key(source, spec.pool))) is not None
    }
    retrieval = Retrieval(spec, matrix.pool, models)
    for number, unit in enumerate(units):
        rows = UnitRows(features, matrix, [unit], at)
        online = retrieval.candidates(lambda _, rows=rows: rows.history(PAIR), instant(at))  # type: ignore[misc]
        assert items_of(built, number) == matrix.pool.ids[online.rows].tolist()
        past = built.rows.filter(pa.array(built.rows[REQUEST].to_numpy() == number))
        assert past["sources"].to_pylist() == online.sources.tolist()
        for name, scores in online.scores.items():
            assert past[name].to_pylist() == scores.tolist()


class CountedFeatures(FakeFeatures):
    """Counts what is read of the past."""

    def __init__(self, features: FakeFeatures) -> None:
        """Take over a shop."""
        self.__dict__.update(features.__dict__)
        self.read: list[tuple[str, datetime]] = []

    def snapshot(self, view: str, as_of: datetime, features: Sequence[str] | None = None) -> pa.Table:
        """Count and read."""
        self.read.append((view, as_of))
        return super().snapshot(view, as_of, features)


def test_a_moment_is_read_once_a_candidate_specification() -> None:
    features = CountedFeatures(small())
    moments = Moments(features)
    assert moments.at(placement(), NOW) is moments.at(placement(k=9), NOW)
    assert features.read == [("item_week", NOW), ("pair", NOW)]
    other = placement(pool={"view": "item_week", "feature": "sold", "minimum": 5})
    assert moments.at(other, NOW) is not moments.at(placement(), NOW)
    moments.at(placement(), EARLIER)
    assert len(features.read) == 6


def test_a_label_is_what_was_measured_of_its_item() -> None:
    """Counts and amounts reach the rows of their items; what was not taken has 0."""
    built = requests(taken((NOW, "u1", "b"), (NOW, "u1", "nowhere"), (NOW, "u1", "a"), label=[2.5, 9.0, 4.0]))
    of_item = dict(zip(built.rows[ITEM].to_pylist(), built.rows[LABEL].to_pylist(), strict=True))
    assert {item: label for item, label in of_item.items() if label} == {"a": 4.0, "b": 2.5}
    assert built.relevant.tolist() == [3.0]


def test_rows_tell_which_sources_gave_them_and_what_each_says_of_them() -> None:
    features = shop(
        item_week=[sold(item, sales, line=item) for item, sales in zip("abcd", (1, 2, 3, 4), strict=True)],
        pair=[pair(user, item, 1) for user, item in (("u1", "a"), ("u2", "a"), ("u2", "b"), ("u3", "c"))],
    )
    built = requests(taken((NOW, "u1", "d")), features, candidates=[PERSONAL, COVISIT, BEST | {"limit": 1}])
    assert items_of(built) == ["a", "b", "d"]
    assert built.rows["sources"].to_pylist() == [1, 2, 4]
    assert built.rows["sources"].type == pa.int64()
    assert built.rows["covisit_score"].to_pylist() == pytest.approx([0, 1 / 2**0.5, 0])
    assert built.rows["covisit_score"].type == pa.float64()
    assert "covisit_score" not in requests(taken((NOW, "u1", "d")), features).rows.column_names


def test_a_sample_keeps_its_rows_bits_and_scores() -> None:
    changes = {"candidates": [PERSONAL, COVISIT, BEST]}
    whole, sampled = (
        requests(TestSampling.POSITIVES, sampling=sampling, **changes) for sampling in (Sampling(), Sampling(1))
    )
    for request in range(len(whole)):
        of_all = whole.rows.filter(pa.array(whole.rows[REQUEST].to_numpy() == request)).to_pylist()
        some = sampled.rows.filter(pa.array(sampled.rows[REQUEST].to_numpy() == request)).to_pylist()
        assert some
        assert all(row in of_all for row in some)


def test_the_past_of_a_model_ends_at_its_decision_time() -> None:
    """The same request of the earlier moment, with and without what came after it."""
    weeks = [sold(item, 1, at) for item in "abc" for at in (EARLIER, NOW)]
    before = [pair("u1", "a", 1, EARLIER), pair("u2", "a", 1, EARLIER), pair("u2", "b", 1, EARLIER)]
    after = [pair(user, "c", 1, NOW) for user in ("u1", "u2", "u3")]
    made = [
        requests(taken((EARLIER, "u1", "b")), shop(item_week=weeks, pair=rows), (EARLIER,), candidates=[COVISIT]).rows
        for rows in (before, [*before, *after])
    ]
    assert made[0].equals(made[1])
    assert made[0][ITEM].to_pylist() == ["b"]


def test_what_the_filters_keep_out_of_a_list_is_not_relevant_for_it() -> None:
    positives = taken((NOW, "u1", "a"), (NOW, "u1", "b"), (NOW, "u1", "nowhere"), (NOW, "u2", "c"), (NOW, "u3", "e"))
    filters = [{"filter": "seen", "view": "pair"}, {"filter": "items", "deny": ["e"]}]
    built = requests(positives, filters=filters)
    assert built.users.tolist() == ["u1", "u2"]
    assert built.relevant.tolist() == [2, 1]
    assert list(zip(built.taken[USER].to_pylist(), built.taken[ITEM].to_pylist(), strict=True)) == [
        ("u1", "b"),
        ("u1", "nowhere"),
        ("u2", "c"),
    ]
    assert items_of(built, 0) == ["b", "c", "d"]


def test_models_that_take_too_much_are_forgotten_and_fitted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsys.modeling.moments.KEPT_BYTES", 1)
    features = history(3)
    spec = placement(candidates=[{"source": "ease", "view": "pair", "limit": 4, "minimum": 1}])
    moments = Moments(features)
    first = moments.at(spec, EARLIER)
    moments.at(spec, NOW)
    again = moments.at(spec, EARLIER)
    assert again is not first
    unit = next(iter(first.histories["pair"]))
    one, other = (known.retrieval.candidates(known.histories_of(unit), known.instant) for known in (first, again))
    np.testing.assert_array_equal(one.scores["ease_score"], other.scores["ease_score"])


def test_a_request_of_a_decision_time_has_no_session() -> None:
    """Even where a session has the name of the unit; models of sources are fitted on sessions all the same."""
    items = [sold(item, sales, line=item) for item, sales in zip("abcd", (1, 6, 5, 4), strict=True)]
    visits = [looked(session, item, 1.0) for session in ("u1", "s1", "s2") for item in "ab"]
    features = shop(item_week=items, visit=visits)
    sources = [
        {"source": "personal", "name": "visited", "view": "visit", "order_by": ["looked"], "limit": 4},
        {"source": "covisit", "view": "visit", "limit": 4, "minimum": 1, "together": 1, "own": True},
        {"source": "popular", "order_by": "sold", "limit": 2},
    ]
    moments = Moments(features)
    declared = placement(candidates=sources, filters=[{"filter": "seen", "view": "visit"}])
    built = build_requests(moments, declared, taken((NOW, "u1", "b")), (NOW,), Sampling(), [LINE, SESSION])
    assert items_of(built) == ["b", "c"]
    assert built.rows[SESSION].to_pylist() == [None, None]
    assert set(built.rows["covisit_score"].to_pylist()) == {0.0}
    assert moments.at(declared, NOW).retrieval.models["covisit"].nbytes > 0
    lacking = built.rows.drop_columns([SESSION, LINE])
    again = completed(moments, declared, lacking, [LINE, SESSION], [])
    assert again.select([SESSION, LINE]).equals(built.rows.select([SESSION, LINE]))
