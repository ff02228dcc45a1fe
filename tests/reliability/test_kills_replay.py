"""Does a `replay` or a `serve-batch` killed at any moment leave what the next run completes, and nothing twice?"""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from recsys.schema import USER
from tests.reliability.conftest import Forker, Shop
from tests.reliability.ordeal import ordeal
from tests.reliability.records import check_registry, log_of, registry_of, replays_of


def test_replay(forker: Forker, second: Shop) -> None:
    done = second.copy("replay-done")
    start = forker.look(done, "clock")
    assert forker.run(done, "replay", "home_ranker")["error"] == ""
    expected, record = log_of(done), list(replays_of(done))
    end = forker.look(done, "clock")
    assert expected["exposures"][0] > 0
    assert start != end

    def check(project: Path) -> None:
        check_registry(project)
        for table, (rows, _) in log_of(project).items():
            assert rows <= expected[table][0]
        assert forker.look(project, "clock") in (start, end)

    def final(project: Path) -> None:
        check_registry(project)
        assert log_of(project) == expected
        assert list(replays_of(project)) == record
        assert forker.look(project, "clock") == end

    ordeal(forker, second, ("replay", "home_ranker"), check, final)
    shutil.rmtree(done)


def test_a_half_replay_is_not_completed_by_other_weights(forker: Forker, second: Shop) -> None:
    project = second.copy("replay-half")
    killed = forker.run(project, "replay", "home_ranker", die_at=("write_exposures", 0, "after"))
    assert killed["killed"]
    with registry_of(project) as registry, registry:
        registry.execute("update registered_model_aliases set version = 1 where alias = 'logic-v2'")
    assert "a part of a replay" in forker.run(project, "replay", "home_ranker")["error"]


@pytest.mark.parametrize("number", [0, 1])
def test_a_batch_killed_while_it_replaces_another(forker: Forker, second: Shop, number: int) -> None:
    project = second.copy("batch")
    assert forker.run(project, "serve-batch", "home")["error"] == ""
    folder = project / ".recsys/batch/home/date=2017-12-04"
    old = (folder / "_manifest.json").read_text()
    assert forker.run(project, "promote", "home_ranker")["error"] == ""
    assert forker.run(project, "serve-batch", "home", die_at=("rename", number, "after"))["killed"]
    assert forker.run(project, "serve-batch", "home")["error"] == ""
    assert (folder / "_manifest.json").read_text() != old
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    rows = pq.read_table(folder)
    assert len(rows) == 10 * len(set(rows[USER].to_pylist()))
