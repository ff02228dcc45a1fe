"""Do workers follow what changes, and is a killed one replaced, while pages get their lists?"""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from recsys.decision.champion import champion_status
from recsys.ports import Registration
from recsys.wiring import open_workspace
from recsys.workflows.decision.promote import accept
from recsys.workflows.declarations.plan import apply
from tests.chaos.conftest import Answered, Load, Served, Shop, serving
from tests.chaos.own_servers import wait_until

pytestmark = pytest.mark.server

WORKERS = 2
FOLLOWED_SECONDS = 15.0
"""The promise is 5; the machine of the tests may be slow and busy."""


def weights_of_workers(served: Served) -> dict[int, int]:
    """Return each worker's champion of for_you."""
    found = {}
    for line in served.ask("/metrics").body["text"].splitlines():
        if line.startswith("recsys_weights{") and 'placement="for_you"' in line and not line.endswith(" 0.0"):
            pid = int(line.partition('pid="')[2].partition('"')[0])
            found[pid] = max(found.get(pid, 0), int(float(line.rpartition(" ")[2])))
    return found


def by_a_model(answers: list[Answered]) -> set[int]:
    """Return the weights of those answers that a model gave; a slow machine may leave some without time for one."""
    return {answer.body["weights"] for answer in answers if answer.body["weights"] is not None}


def test_a_killed_worker_costs_its_connections_and_is_replaced(shop: Shop, tmp_path: Path) -> None:
    with serving(shop, WORKERS, tmp_path) as served, Load(served, clients=6) as load:
        wait_until(lambda: len(load.answers) > 50, "load")
        (victim, *_) = served.workers()
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: len(served.workers() - {victim}) == WORKERS, "the worker is replaced")
        since = len(load.answers)
        wait_until(lambda: len(load.answers) > since + 50, "load")
    broken = [answer for answer in load.answers if answer.status != 200]
    assert len(broken) <= 6, "one request a connection that the worker had"
    assert all(answer.status == 0 for answer in broken)
    assert all(answer.status == 200 for answer in load.answers[since:])


def test_a_moved_alias_and_an_applied_placement_reach_every_worker(shop: Shop, tmp_path: Path) -> None:
    registry, ledger = shop.workspace.registry, shop.workspace.ledger
    status = champion_status(registry, ledger, "basket")
    assert status.alias is not None
    with serving(shop, WORKERS, tmp_path) as served, Load(served) as load:
        path = shop.workspace.root / "registry/placements/cart.yaml"
        path.write_text((shop.workspace.root / "registry/placements/for_you.yaml").read_text())
        other = shop.workspace.root / "registry/placements/broken.yaml"
        try:
            assert served.ask("/v1/recommend", {"placement": "cart", "user_id": "household_1"}).status == 422
            apply(open_workspace("local", shop.workspace.root))
            other.write_text("k: [")  # a file that is being edited
            asked = {"placement": "cart", "user_id": "household_1", "k": 3}
            wait_until(
                lambda: all(served.ask("/v1/recommend", asked).status == 200 for _ in range(20)), "cart is served"
            )
            assert served.ready()
        finally:
            other.unlink(missing_ok=True)
            path.unlink()
            apply(open_workspace("local", shop.workspace.root))
        wait_until(lambda: all(served.ask("/v1/recommend", asked).status == 422 for _ in range(20)), "cart is gone")
        again = _register_again(shop)
        try:
            began = time.monotonic()
            _move(shop, again)
            wait_until(lambda: set(weights_of_workers(served).values()) == {again}, "all workers follow")
            assert time.monotonic() - began < FOLLOWED_SECONDS
        finally:
            _move(shop, status.alias.number)
    assert {answer.status for answer in load.answers} == {200}
    assert by_a_model(load.answers) == {status.alias.number, again}


def test_weights_that_are_damaged_are_not_served_and_it_is_said_once(shop: Shop, tmp_path: Path) -> None:
    status = champion_status(shop.workspace.registry, shop.workspace.ledger, "basket")
    assert status.alias is not None
    with serving(shop, 1, tmp_path) as served, Load(served) as load:
        wait_until(lambda: None in load.rungs(), "answers")
        artifacts = shop.workspace.state / "mlartifacts"
        known = set(artifacts.rglob("ranker.json"))
        bad = _register_again(shop)
        damaged = [path for path in artifacts.rglob("sample.parquet") if path.with_name("ranker.json") not in known]
        assert damaged
        for path in damaged:
            path.write_bytes(path.read_bytes()[:-20])
        try:
            _move(shop, bad)
            name = f"basket/{bad}"
            wait_until(
                lambda: name in served.ask("/readyz").body["placements"]["for_you"].get("refused", {}), "it is told"
            )
            since = len(load.answers)
            time.sleep(3)  # several polls
            assert served.ready()
            assert served.said.read_text().count(f"weights {name} are not served") == len(
                [each for each in served.ask("/readyz").body["placements"].values() if "refused" in each]
            ), "once a placement, not once a poll"
        finally:
            _move(shop, status.alias.number)
    assert {answer.status for answer in load.answers} == {200}
    assert by_a_model(load.answers[since:]) == {status.alias.number}


def _register_again(shop: Shop) -> int:
    """Register the champion's weights once more, and return their number."""
    registry = shop.workspace.registry
    champion = registry.resolve("basket", "champion")
    assert champion is not None
    ranker = registry.load(champion)
    columns = {name: np.array([1.0, 2.0]) for name in ranker.columns}
    sample = pa.table({**columns, "score": ranker.score(columns)})
    tags = dict(champion.tags)
    return registry.register(Registration(champion.model_version, ranker, tags, {}, {}, {}, sample)).number


def _move(shop: Shop, number: int) -> None:
    """Let the champion be other weights, by alias and on record."""
    registry = shop.workspace.registry
    weights = next(each for each in registry.search("basket") if each.number == number)
    registry.set_alias(weights, "champion")
    accept(shop.workspace, "basket")
