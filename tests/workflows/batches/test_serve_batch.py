"""Does a batch hold what requests would get, go on where it was ended, and never leave half of one as a whole one?"""

import errno
import json
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from recsys.errors import ModelError, OnlineStoreError, StoreError
from recsys.ports import Groups
from recsys.schema import USER
from recsys.serving.list_rows import DEFAULT_ARM, LIST_ROWS, MANIFEST
from recsys.workflows.batches import serve_batch as module
from recsys.workflows.batches.folder import lock_name, partial_folder
from recsys.workflows.batches.lists import request_id
from recsys.workflows.batches.parts import BatchParts
from recsys.workflows.batches.sent import log_sent
from recsys.workflows.batches.serve_batch import Batch
from recsys.workflows.exclusive import exclusive
from recsys.workflows.serving.resolvers import FixedClock, resolver_for
from tests.specs.registry_files import EXPERIMENT, MODEL, PLACEMENT
from tests.workflows.batch_project import HOUSEHOLDS, BatchProject, shop
from tests.workflows.batches.test_serve_campaign import files_no_larger_than
from tests.workflows.small_project import START


@pytest.fixture
def project(tmp_path: Path) -> BatchProject:
    return BatchProject(tmp_path)


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Return every file of a batch."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def lists_of(done: Batch) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each unit with their arm, checked to stand together and by rank."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(done.folder.glob("arm=*/*.parquet")):
        table = pq.read_table(path, partitioning=None)
        assert table.schema.remove_metadata() == LIST_ROWS
        for row in table.to_pylist():
            row["arm"] = path.parent.name.removeprefix("arm=")
            found.setdefault(row[USER], []).append(row)
            assert row["rank"] == len(found[row[USER]])
    return found


# ---------------------------------------------------------------- what it holds


def test_every_unit_gets_what_a_request_at_that_moment_would_get(project: BatchProject) -> None:
    project.change(EXPERIMENT, "arms.control.ratio", 0.3)
    project.change(EXPERIMENT, "overrides", {"h003": "treatment", "h004": "control"})
    done = project.serve()
    lists = lists_of(done)
    workspace = project.open()
    resolver = resolver_for(workspace, "home", clock=FixedClock(START))
    resolver.refresh()
    assert done.units == len(lists) == HOUSEHOLDS
    for unit, rows in lists.items():
        exposure = resolver.recommend(unit, request_id=request_id("home", START, unit)).exposure
        assert [row["item_id"] for row in rows] == [item.item_id for item in exposure.items]
        assert [row["propensity"] for row in rows] == [item.propensity for item in exposure.items]
        for row, item in zip(rows, exposure.items, strict=True):
            assert row["score"] == item.score or (math.isnan(row["score"]) and math.isnan(item.score))
            assert row["request_id"] == exposure.request_id
            assert (row["model_version"], row["weights"]) == (exposure.model_version, exposure.weights)
            assert (row["experiment"], row["overridden"]) == (exposure.experiment, exposure.overridden)
            assert (row["fallback"], row["feature_digest"]) == (exposure.fallback, exposure.feature_digest)
            assert row["arm"] == (exposure.arm or DEFAULT_ARM)
    assert {path.name for path in done.folder.glob("arm=*")} == {"arm=control", "arm=treatment", "arm=default"}
    assert [lists[unit][0]["overridden"] for unit in ("h003", "h004")] == [True, True]
    assert {row["propensity"] for rows in lists.values() for row in rows} == {1.0, 0.2}


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_batch_that_was_sent_is_logged_as_its_requests_would_have_been(project: BatchProject, share: float) -> None:
    """With the features of the same ones."""
    project.change("environments/local.yaml", "serve.feature_rows", share)
    done = project.serve()
    workspace = project.open()
    assert log_sent(workspace, done.folder).new == HOUSEHOLDS
    resolver = resolver_for(workspace, "home", clock=FixedClock(START))
    resolver.refresh()
    with_features = 0
    for unit in lists_of(done):
        asked = resolver.recommend(unit, request_id=request_id("home", START, unit)).exposure
        logged = workspace.event_log.request(asked.request_id)
        assert logged is not None
        assert logged.features == asked.features
        with_features += logged.features is not None
        assert (logged.arm, logged.weights, logged.feature_digest) == (asked.arm, asked.weights, asked.feature_digest)
        assert logged.watermarks == asked.watermarks
        assert repr(logged.items) == repr(asked.items)
    assert with_features == HOUSEHOLDS * share or 0 < with_features < HOUSEHOLDS


def test_another_share_of_features_is_another_batch(project: BatchProject) -> None:
    project.serve()
    assert project.serve().reused
    project.change("environments/local.yaml", "serve.feature_rows", 1.0)
    assert not project.serve().reused


def test_units_that_no_model_answers_get_what_everybody_takes(project: BatchProject) -> None:
    project.registry_kept.delete_alias("basket", "logic-v2")
    done = project.serve()
    rows = pq.read_table(done.folder / "arm=treatment").to_pylist()
    assert {(row["model_version"], row["weights"]) for row in rows} == {(None, None)}
    assert {row["fallback"] for row in rows} == {"popular list: no model could answer"}
    assert done.answered_by["popular list: no model could answer"] + done.answered_by["basket/v1"] == HOUSEHOLDS


def test_the_manifest_says_what_a_batch_is_made_from(project: BatchProject) -> None:
    done = project.serve()
    document = json.loads((done.folder / MANIFEST).read_text())
    assert (document["placement"], document["at"]) == ("home", START.isoformat())
    assert set(document["watermarks"]) == {"item_weekly", "user_item"}
    assert (document["units"], document["rows"]) == (HOUSEHOLDS, done.rows)
    assert sorted(path.name for path in done.folder.iterdir()) == [MANIFEST, "arm=control", "arm=treatment"]


# ---------------------------------------------------------------- the same again, or another


def test_what_would_come_out_the_same_is_not_made_again(project: BatchProject) -> None:
    first = project.serve()
    assert not first.reused
    assert project.serve().reused


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [(PLACEMENT, "k", 5), (PLACEMENT, "rerank", []), (EXPERIMENT, "arms.treatment.ratio", 0.4)],
)
def test_another_declaration_makes_another_batch(project: BatchProject, path: str, name: str, value: object) -> None:
    before = bytes_of(project.serve().folder)
    if name == "k":
        project.change(PLACEMENT, "rerank", [])
    project.change(path, name, value)
    done = project.serve()
    assert not done.reused
    assert bytes_of(done.folder) != before


def test_two_runs_give_the_same_bytes(project: BatchProject, tmp_path: Path) -> None:
    assert bytes_of(project.serve(out=tmp_path / "a").folder) == bytes_of(project.serve(out=tmp_path / "b").folder)


# ---------------------------------------------------------------- ended and completed


class EndedError(Exception):
    """Stands for a kill."""


def end_at(project: BatchProject, monkeypatch: pytest.MonkeyPatch, number: int = 5) -> None:
    """Let a run end before it writes a part."""
    write = BatchParts.write

    def until(self: BatchParts, part: int, *rest: Any) -> Any:
        if part == number:
            raise EndedError
        return write(self, part, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(BatchParts, "write", until)
        with pytest.raises(EndedError):
            project.serve()


def test_resume_keeps_the_parts_that_are_written(
    project: BatchProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = bytes_of(project.serve(out=tmp_path / "whole").folder)
    end_at(project, monkeypatch)
    folder = project.root / ".recsys/batch/home" / f"date={START:%Y-%m-%d}"
    assert not folder.exists()
    kept = {path: path.stat().st_ino for path in partial_folder(folder).rglob("*.parquet")}
    told: list[tuple[int, int, int]] = []
    done = project.serve(resume=True, progress=lambda *numbers: told.append(numbers))
    assert done.resumed == 5 * 8
    assert bytes_of(done.folder) == whole
    assert {(folder / path.relative_to(partial_folder(folder))).stat().st_ino for path in kept} == set(kept.values())
    assert [units for units, _, _ in told] == [0, *range(8, HOUSEHOLDS, 8), HOUSEHOLDS]
    assert {total for _, total, _ in told} == {HOUSEHOLDS}
    assert told[5] == (40, HOUSEHOLDS, 0)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_without_resume_everything_is_made_again(project: BatchProject, monkeypatch: pytest.MonkeyPatch) -> None:
    end_at(project, monkeypatch)
    done = project.serve()
    assert (done.resumed, done.units) == (0, HOUSEHOLDS)


@pytest.mark.parametrize("changed", ["declaration", "units", "parts"])
def test_parts_of_another_batch_are_not_resumed(
    project: BatchProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    end_at(project, monkeypatch)
    options: Mapping[str, int] = {}
    if changed == "declaration":
        project.change(PLACEMENT, "rerank", [])
    elif changed == "units":
        project.buy(HOUSEHOLDS - 1)
    else:
        options = {"units_a_part": 9}
    done = project.serve(resume=True, **options)
    assert done.resumed == 0
    assert bytes_of(done.folder) == bytes_of(project.serve(out=tmp_path / "whole", **options).folder)


def test_a_batch_that_was_begun_today_is_resumed_at_its_moment(
    project: BatchProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    end_at(project, monkeypatch)
    project.clock.set(START.replace(hour=7))
    done = project.serve(resume=True)
    assert (done.resumed, done.at) == (40, START)


def test_a_batch_killed_before_its_markers_are_removed_is_whole(project: BatchProject) -> None:
    done = project.serve()
    before = bytes_of(done.folder)
    (done.folder / ".parts").mkdir()
    (done.folder / ".parts/part-00000.json").write_text("{}")
    assert project.serve(resume=True).reused
    assert bytes_of(done.folder) == before


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_second_run_into_one_folder_is_refused_while_the_first_writes(
    project: BatchProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: bool
) -> None:
    out = tmp_path / "out" if elsewhere else None
    folder = (out or project.root / ".recsys/batch/home") / f"date={START:%Y-%m-%d}"
    name = lock_name(project.open(), f"home-{START:%Y-%m-%d}", folder)
    monkeypatch.setattr(module, "exclusive", partial(exclusive, wait_seconds=0.0))
    with (
        exclusive(project.open(), name, "recsys serve-batch home"),
        pytest.raises(StoreError, match="refused after 0 s: `recsys serve-batch home`"),
    ):
        project.serve(out=out, resume=True)
    assert not folder.exists()
    assert project.serve(out=out).units == HOUSEHOLDS


def test_a_full_disk_is_one_clear_line_and_leaves_no_half_of_a_batch(project: BatchProject, tmp_path: Path) -> None:
    whole = bytes_of(project.serve(out=tmp_path / "whole").folder)
    folder = tmp_path / "out" / f"date={START:%Y-%m-%d}"
    workspace = project.open()
    with files_no_larger_than(2_000), pytest.raises(StoreError) as refused:
        project.serve(workspace, out=tmp_path / "out")
    told = str(refused.value)
    assert "\n" not in told
    assert f"batch folder {partial_folder(folder)}: cannot be written: " in told
    assert "free disk space, or check that this user may write there, then run `recsys serve-batch home --date" in told
    assert isinstance(refused.value.__cause__, OSError)
    assert refused.value.__cause__.errno in {errno.EFBIG, None}
    assert not folder.exists()
    assert not list(partial_folder(folder).rglob("*.parquet")), "what was not written whole has no name"
    assert bytes_of(project.serve(out=tmp_path / "out", resume=True).folder) == whole


def test_a_feature_that_left_the_service_since_training_is_named_before_anything_is_written(
    project: BatchProject,
) -> None:
    project.online = shop([])
    project.online.services = None  # type: ignore[attr-defined] # replaced below
    project.online._services["basket_full"] = ["item_weekly:item_baskets_28d"]
    project.online.materialize(START)
    with pytest.raises(
        ModelError,
        match=r"weights 1 of basket/v1: feature service basket_full changed .*: it has no pair_baskets any more",
    ):
        project.serve()
    assert not (project.root / ".recsys/batch").exists()


def test_a_version_whose_logic_changed_is_refused(project: BatchProject) -> None:
    project.change(MODEL, "algorithm.feature", "item_baskets_28d")
    with pytest.raises(ModelError, match=r"weights 1 of basket/v1: .* changed since they were trained"):
        project.serve()


def test_a_store_that_fails_half_way_ends_the_batch_and_its_parts_are_kept(
    project: BatchProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = project.online.online_groups
    asked: list[str] = []

    def failing(keys: Mapping[str, Any]) -> Mapping[str, Groups]:
        asked.extend(keys["user_item"])
        if "h050" in asked:
            message = "online store: connection lost"
            raise OnlineStoreError(message)
        return read(keys)

    with monkeypatch.context() as patched:
        patched.setattr(project.online, "online_groups", failing)
        with pytest.raises(OnlineStoreError, match="connection lost"):
            project.serve()
    done = project.serve(resume=True)
    assert done.resumed == 48
    assert set(done.answered_by) == {"basket/v1", "basket/v2"}
