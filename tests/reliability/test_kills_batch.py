"""Does a batch that is killed again and again, and resumed each time, come out as if nothing had happened?"""

import shutil
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest

from tests.reliability.conftest import Forker, Shop
from tests.reliability.ordeal import SEED, half_written

COMMAND = ("resume-batch", "home", 2)
KILLS = 10
DAY = "date=2017-12-04"
Files = dict[str, bytes]


def files_of(project: Path) -> Files | None:
    """Return every file of the project's batch; None where there is no batch."""
    folder = project / ".recsys/batch/home" / DAY
    if not folder.exists():
        return None
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def parts_of(project: Path) -> int:
    """Count the parts that a run has finished beside the batch's place."""
    return len(list((project / ".recsys/batch/home" / f".{DAY}.partial" / ".parts").glob("part-*.json")))


@pytest.fixture(scope="module")
def undisturbed(forker: Forker, second: Shop) -> Generator[tuple[Files, float]]:
    """The files of a batch that nothing disturbed, and how long it took."""
    project = second.copy("batch-undisturbed")
    answer = forker.run(project, *COMMAND)
    assert answer["error"] == ""
    files = files_of(project)
    assert files is not None
    assert len([name for name in files if name.endswith(".parquet")]) > KILLS
    yield files, answer["seconds"]
    shutil.rmtree(project)


def test_ten_kills_at_random_moments(forker: Forker, second: Shop, undisturbed: tuple[Files, float]) -> None:
    expected, seconds = undisturbed
    chance = np.random.default_rng(SEED)
    project = second.copy("batch-killed")
    suffered = 0
    while suffered < KILLS:
        done = parts_of(project)
        answer = forker.run(project, *COMMAND, kill_after=chance.uniform(0.2, 1) * seconds)
        suffered += answer["killed"]
        if answer["killed"] and files_of(project) is None:
            assert parts_of(project) >= done, "a part that was done is done again"
        else:
            assert answer["error"] == ""
            assert files_of(project) == expected
            project = second.copy("batch-killed")
    assert forker.run(project, *COMMAND)["error"] == ""
    assert files_of(project) == expected
    assert half_written(project) == []
    shutil.rmtree(project)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("step", "number"), [("replace", 1), ("fsync", 4), ("replace", 9), ("rename", 0)])
def test_a_kill_between_any_two_steps(
    forker: Forker, second: Shop, undisturbed: tuple[Files, float], step: str, number: int, when: str
) -> None:
    expected, _ = undisturbed
    project = second.copy("batch-steps")
    assert forker.run(project, *COMMAND, die_at=(step, number, when))["killed"]
    found = files_of(project)
    assert found is None or {name: found[name] for name in expected} == expected
    assert forker.run(project, *COMMAND)["error"] == ""
    assert files_of(project) == expected
    assert half_written(project) == []
    shutil.rmtree(project)
