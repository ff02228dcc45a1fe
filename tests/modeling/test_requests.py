"""Are past requests those that would have been answered then, and are positives never lost?"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recsys.candidates.sources import candidates
from recsys.modeling.moments import Moments
from recsys.modeling.requests import ITEM_ROW, REQUEST, Requests, Sampling, build_requests
from recsys.ports import FeatureReader
from recsys.schema import EVENT_TIMESTAMP, ITEM, LABEL, LINE, REQUEST_TIMESTAMP, TIMESTAMP, USER
from recsys.serving.assembly import UnitRows
from recsys.serving.item_matrix import read_matrix
from tests.fakes.features import FakeFeatures
from tests.serving.small_shop import DAY, NOW, PAIR, history, pair, placement, shop, sold

EARLIER = NOW - 7 * DAY


def taken(*rows: tuple[datetime, str, str]) -> pa.Table:
    """Make positives: decision time, unit and item."""
    return pa.table(
        {
            EVENT_TIMESTAMP: pa.array([at for at, _, _ in rows], TIMESTAMP),
            USER: pa.array([user for _, user, _ in rows], pa.string()),
            ITEM: pa.array([item for _, _, item in rows], pa.string()),
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


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("days", [0, 1, 9.5, 28])
def test_candidates_are_what_the_online_store_would_have_given(seed: int, days: float) -> None:
    at = NOW - days * DAY
    features, spec = history(seed), placement()
    units = [f"u{number}" for number in range(7)]
    built = requests(taken(*[(at, unit, "i0") for unit in units]), features, (at,))
    features.materialize(at)
    matrix = read_matrix(features, spec, [], at)
    for number, unit in enumerate(units):
        rows = UnitRows(features, matrix, unit, at)
        online = candidates(spec.candidates, matrix.pool, lambda _, rows=rows: rows.history(PAIR))  # type: ignore[misc]
        assert items_of(built, number) == matrix.pool.ids[online].tolist()


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
