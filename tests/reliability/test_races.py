"""Do two of the same command at once end well: one after the other, or one refused by name?"""

import shutil
from pathlib import Path
from typing import Any

from tests.reliability.conftest import Forker, Shop
from tests.reliability.records import check_promoted, log_of, replays_of
from tests.reliability.test_kills_registry import check_trained


def race(forker: Forker, project: Path, *command: str) -> list[dict[str, Any]]:
    """Run the same command twice at once; returns how both ended."""
    answers = forker.together(*({"project": str(project), "command": command} for _ in range(2)))
    assert not any(answer["killed"] for answer in answers)
    return answers


def test_two_trains_of_one_version_register_once(forker: Forker, first: Shop) -> None:
    project = first.copy("race-train")
    assert [answer["error"] for answer in race(forker, project, "train", "basket/v2")] == ["", ""]
    check_trained(forker)(project)


def test_two_promotions_move_the_champion_once(forker: Forker, second: Shop) -> None:
    for _ in range(5):
        project = second.copy("race-promote")
        assert [answer["error"] for answer in race(forker, project, "promote", "home_ranker")] == ["", ""]
        check_promoted(project)


def test_two_builds_give_what_one_gives(forker: Forker, first: Shop, tmp_path: Path) -> None:
    project = first.copy("race-features")
    expected = str(tmp_path / "expected")
    forker.look(project, "keep_features", expected)
    shutil.rmtree(project / ".recsys/features")
    (project / ".recsys/materialized.json").unlink()
    assert [answer["error"] for answer in race(forker, project, "features")] == ["", ""]
    found = forker.look(project, "features", expected)
    assert all(found["same"].values()), found
    assert not found["refused"]


def test_two_replays_log_one_run(forker: Forker, second: Shop) -> None:
    alone = second.copy("race-alone")
    assert forker.run(alone, "replay", "home_ranker")["error"] == ""
    project = second.copy("race-replay")
    assert [answer["error"] for answer in race(forker, project, "replay", "home_ranker")] == ["", ""]
    assert log_of(project) == log_of(alone)
    assert len(list(replays_of(project))) == 1


def test_two_batches_leave_one(forker: Forker, second: Shop) -> None:
    project = second.copy("race-batch")
    assert [answer["error"] for answer in race(forker, project, "serve-batch", "home")] == ["", ""]
    assert [path.name for path in (project / ".recsys/batch/home").iterdir()] == ["date=2017-12-04"]
