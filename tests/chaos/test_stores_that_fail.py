"""Do pages get their lists while stores hang, vanish and come back, and at a start without any of them?"""

from pathlib import Path

import pytest

from recsys.serving.ladder import LAST_GOOD, POPULAR, UNIT_UNKNOWN
from tests.chaos.conftest import LONGEST_SECONDS, Answered, Load, Shop, serving
from tests.chaos.own_servers import wait_until
from tests.chaos.proxy import HANG, REFUSE, THROUGH

pytestmark = pytest.mark.server

RUNGS = {"redis": UNIT_UNKNOWN, "postgres": LAST_GOOD, "mlflow": LAST_GOOD}
"""What answers say while a store is away."""


def assert_answered(answers: list[Answered]) -> None:
    """Check that every request got a list in time, by a model unless it says otherwise."""
    assert {answer.status for answer in answers} == {200}
    assert max(answer.seconds for answer in answers) < LONGEST_SECONDS
    assert all(answer.body["items"] for answer in answers)
    for answer in answers:
        by_a_model = answer.body["fallback"] != POPULAR
        assert answer.body["model_version"] == ("basket/v1" if by_a_model else None)


@pytest.mark.parametrize("mode", [HANG, REFUSE])
def test_stores_that_go_and_come_back_in_mid_load_fail_no_request(shop: Shop, tmp_path: Path, mode: str) -> None:
    with serving(shop, 1, tmp_path) as served, Load(served) as load:
        wait_until(lambda: None in load.rungs(), "answers with nothing given up")
        for store, rung in RUNGS.items():
            since = len(load.answers)
            shop.stores[store].be(mode)
            wait_until(lambda: rung in load.rungs(since), f"{store} is missed")  # noqa: B023 - waited for here
            assert served.ready(), "it answers, so it is ready"
            shop.stores[store].be(THROUGH)
            wait_until(lambda: load.answers[-1].body["fallback"] is None, f"{store} is used again")
    assert_answered(load.answers)


@pytest.mark.parametrize("mode", [HANG, REFUSE])
def test_a_start_without_any_store_answers_from_the_copy_and_returns(shop: Shop, tmp_path: Path, mode: str) -> None:
    with serving(shop, 1, tmp_path) as served:
        before = served.list()
        wait_until((shop.workspace.state / "serving/placements/for_you.json").exists, "the copy is written")
    shop.all_be(mode)
    try:
        with serving(shop, 1, tmp_path) as served:
            told = served.ask("/readyz").body["placements"]["for_you"]
            assert told["copied"]
            assert told["champion"] == "basket/v1"
            answers = [served.list() for _ in range(20)]
            assert_answered(answers)
            assert {answer.body["fallback"] for answer in answers} <= {UNIT_UNKNOWN, POPULAR}
            wait_until(lambda: served.list().body["fallback"] == UNIT_UNKNOWN, "no time is spent on waiting")
            assert 'recsys_from_local_copy{placement="for_you"} 1' in served.ask("/metrics").body["text"]
            shop.all_be(THROUGH)
            wait_until(lambda: served.list().body["fallback"] is None, "everything is followed again")
            assert served.list().body["items"] == before.body["items"]
            assert "copied" not in served.ask("/readyz").body["placements"]["for_you"]
    finally:
        shop.all_be(THROUGH)
