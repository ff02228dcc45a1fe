"""Is each view online as before or as it should be after a `features build` was killed, and no half table read?"""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.conftest import edit
from tests.reliability.conftest import HOUSEHOLDS, Forker, Shop
from tests.reliability.ordeal import half_written, ordeal

MORE = HOUSEHOLDS + 1


@pytest.fixture(scope="module")
def changed(first: Shop, forker: Forker) -> Shop:
    """The first shop, with purchases that came in after its features were built."""
    project = first.copy("changed")
    bring_in(forker, project, MORE)
    return Shop(project, first.scratch)


def bring_in(forker: Forker, project: Path, households: int) -> None:
    """Let the shop have so many households."""
    edit(project / "registry/environments/local.yaml", lambda spec: spec["data"].update(households=households))
    done = forker.run(project, "ingest")
    assert not done["error"], done


@pytest.fixture(scope="module")
def kept(forker: Forker, changed: Shop, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """What an undisturbed build changes: where all of it is kept, before and after."""
    folder = tmp_path_factory.mktemp("kept")
    before, after = str(folder / "before"), str(folder / "after")
    project = changed.copy("undisturbed")
    forker.look(project, "keep_features", before)
    assert forker.run(project, "features")["error"] == ""
    forker.look(project, "keep_features", after)
    same = forker.look(project, "features", before, after)["same"]
    assert all(folders == [after] for folders in same.values()), same
    shutil.rmtree(project)
    return before, after


def is_built(forker: Forker, after: str) -> Callable[[Path], None]:
    """Return the check that all tables and views are as after an undisturbed build."""

    def final(project: Path) -> None:
        found = forker.look(project, "features", after)
        assert all(found["same"].values()), found
        assert not found["refused"]

    return final


def test_features_build(forker: Forker, changed: Shop, kept: tuple[str, str]) -> None:
    before, after = kept

    def check(project: Path) -> None:
        found = forker.look(project, "features", before, after)
        for name in (name for name, same in found["same"].items() if not same):
            # On the way, and then no command reads it.
            table, _, place = name.partition(".")
            assert (place, found["strange"][name]) == ("table", 0), found
            assert table in found["refused"], found
        assert found["answers"] == answers

    answers = forker.look(changed.template, "answers")
    ordeal(forker, changed, ("features",), check, is_built(forker, after))


@pytest.mark.parametrize(
    "step",
    [
        ("transform", 0, "after"),
        ("transform", 2, "before"),
        ("write_arrow", 1, "after"),
        ("replace", 1, "before"),
        ("fsync", 0, "after"),
    ],
)
def test_a_build_killed_between_two_steps(
    forker: Forker, changed: Shop, kept: tuple[str, str], step: tuple[str, int, str]
) -> None:
    project = changed.copy("step")
    assert forker.run(project, "features", die_at=step)["killed"]
    assert forker.run(project, "features")["error"] == ""
    is_built(forker, kept[1])(project)
    assert half_written(project) == []


@pytest.mark.parametrize("step", [("transform", 0, "after"), ("transform", 2, "before"), ("write_arrow", 1, "after")])
def test_a_build_that_was_reverted_after_a_kill_is_not_taken_for_done(
    forker: Forker, changed: Shop, kept: tuple[str, str], step: tuple[str, int, str]
) -> None:
    project = changed.copy("reverted")
    assert forker.run(project, "features", die_at=step)["killed"]
    bring_in(forker, project, HOUSEHOLDS)
    # A table is made anew beside the old one: killed before the first took its place, all are as before.
    same = forker.look(project, "features", *kept)["same"]
    as_before = all(same[name] == [kept[0]] for name in same if name.endswith(".table"))
    assert as_before == (step == ("transform", 0, "after"))
    refused = forker.run(project, "train", "basket/v2")
    assert ("features build" in refused["error"]) != as_before
    assert forker.run(project, "features")["error"] == ""
    same = forker.look(project, "features", *kept)["same"]
    assert all(same[name] == [kept[0]] for name in same if name.endswith(".table")), same
