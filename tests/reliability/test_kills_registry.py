"""Does a `train` or a `promote` killed at any moment leave weights, aliases and ledger in agreement?"""

from collections.abc import Callable
from pathlib import Path

import pytest

from recsys.decision.alias_moves import CHAMPION
from tests.reliability.conftest import Forker, Shop
from tests.reliability.ordeal import ordeal
from tests.reliability.records import check_ended, check_promoted, check_registry, version_of


def check_trained(forker: Forker) -> Callable[[Path], None]:
    """Return the check for one set of weights of v2, in service by the record, and loadable."""

    def final(project: Path) -> None:
        check_ended(project)
        service = forker.look(project, "weights_in_service")
        assert service["v2"] == [service["served"]]
        assert service["columns"]
        assert version_of(project, CHAMPION) == 1

    return final


def test_train(forker: Forker, first: Shop) -> None:
    ordeal(forker, first, ("train", "basket/v2"), check_registry, check_trained(forker))


@pytest.mark.parametrize(
    "step",
    [
        ("record_run", 0, "after"),
        ("record_model", 0, "after"),
        ("record_version", 0, "after"),
        ("append", 0, "after"),
        ("set_alias", 0, "after"),
        ("append", 1, "after"),
    ],
)
def test_train_killed_between_two_steps(forker: Forker, first: Shop, step: tuple[str, int, str]) -> None:
    project = first.copy("train-step")
    assert forker.run(project, "train", "basket/v2", die_at=step)["killed"]
    check_registry(project)
    assert forker.run(project, "train", "basket/v2")["error"] == ""
    check_trained(forker)(project)


def test_promote(forker: Forker, second: Shop) -> None:
    ordeal(forker, second, ("promote", "home_ranker"), check_registry, check_promoted)


@pytest.mark.parametrize(
    "step",
    [
        ("append", 0, "after"),
        ("set_alias", 0, "after"),
        ("append", 1, "after"),
    ],
)
def test_promote_killed_between_two_steps(forker: Forker, second: Shop, step: tuple[str, int, str]) -> None:
    project = second.copy("promote-step")
    assert forker.run(project, "promote", "home_ranker", die_at=step)["killed"]
    check_registry(project)
    assert forker.run(project, "promote", "home_ranker")["error"] == ""
    check_promoted(project)
